"""What step 3 is made of besides its loop: what scores, checks that name causes, alarms, presets, samples."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from small_ppo import PROMPTS, SMALL, small_policy, small_reward, small_run

from rather import cli
from rather.batches.trees import Tree
from rather.errors import BadSetting, CheckFailed
from rather.models.load import save_policy
from rather.models.reward_folder import save_reward_model
from rather.models.tiny import TinyConfig, tiny
from rather.run import Run, read_done, read_log, read_metrics
from rather.stages import ppo_checks
from rather.stages.alarms import WINDOW, Alarms
from rather.stages.episodes import Episodes
from rather.stages.ppo import train_ppo
from rather.stages.ppo_checks import SelfTest
from rather.stages.ppo_config import PRESETS, PPOConfig
from rather.stages.ppo_start import first_critic, is_reward_itself, truncation_token
from rather.stages.scorers import BadScore, ByModel, encoded_again, http_judge, named_judge, reward_named, scorer_of
from rather.stages.steps import Share

SHARE = Share(4096)


def episodes(texts=("one two", "", "a fox sees"), finished=(True, True, False)) -> Episodes:
    """Responses that somebody gave, without a sampler."""
    policy = small_policy()
    ids = [policy.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    ids = [[*row, *([policy.tokenizer.eos_token_id] if end else [])] for row, end in zip(ids, finished, strict=True)]
    trees = tuple(Tree(np.array([0, 5, 6], np.int32), (np.array(row, np.int32),), str(n)) for n, row in enumerate(ids))
    lengths = torch.tensor([len(row) for row in ids])
    table = torch.zeros(len(ids), int(lengths.max()))
    return Episodes(tuple(PROMPTS[: len(texts)]), trees, tuple(texts), torch.tensor(finished), lengths, table)


# ---- what scores


def lengths_of(prompts, texts):
    return [len(text) for text in texts]


def test_a_function_scores_texts_and_one_that_is_wrong_stops_the_run():
    found = scorer_of(lengths_of, small_policy())(episodes(), SHARE)
    assert found.scores.tolist() == [7.0, 0.0, 10.0]
    wrong = {
        "division by zero": lambda prompts, texts: [1 / 0],
        "gave 2 scores for 3": lambda prompts, texts: [1.0, 2.0],
        "gave nan as a score": lambda prompts, texts: [1.0, 2.0, math.nan],
        "Expected 3 numbers": lambda prompts, texts: None,
    }
    for words, judge in wrong.items():
        with pytest.raises(BadScore, match=words):
            scorer_of(judge, small_policy())(episodes(), SHARE)


def test_an_ensemble_is_its_mean_its_worst_or_its_mean_less_the_spread():
    judges = [lambda p, t: [1.0, 5.0, 0.0], lambda p, t: [3.0, 5.0, -4.0]]
    for how, expected in (("mean", [2, 5, -2]), ("worst", [1, 5, -4]), ("mean-spread", [1.5, 5, -3])):
        found = scorer_of(judges, small_policy(), ensemble=how, spread_coef=0.5)(episodes(), SHARE)
        assert found.scores.tolist() == expected
        assert found.spread.tolist() == [1, 0, 2]
    with pytest.raises(BadSetting, match="nothing that scores"):
        scorer_of([], small_policy())


def test_two_reward_models_and_a_function_may_be_one_ensemble(tmp_path):
    small_run(tmp_path, reward=[small_reward(), small_reward(seed=2), lengths_of], ensemble="mean-spread")
    assert all(row["objective/score_spread"] > 0 for row in read_metrics(tmp_path))


@contextmanager
def server(answer: bytes) -> Iterator[tuple[str, list]]:
    """A program behind a URL on this machine, and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/score", asked
    finally:
        http.shutdown()
        http.server_close()


def test_a_url_scores_prompts_and_responses():
    with server(b'{"scores": [1, 2.5, -3]}') as (url, asked):
        assert scorer_of(http_judge(url), small_policy())(episodes(), SHARE).scores.tolist() == [1, 2.5, -3]
    assert asked == [{"prompts": [p.prompt for p in PROMPTS[:3]], "responses": ["one two", "", "a fox sees"]}]


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense", b"[1, 2, 3]", b'{"reward": 1}', b'{"scores": [1]}', b'{"scores": "abc"}', b"\xff"]
)
def test_a_url_that_answers_anything_else_is_words(answer):
    with server(answer) as (url, _), pytest.raises(BadScore):
        scorer_of(http_judge(url), small_policy())(episodes(), SHARE)


def test_a_url_where_nobody_listens_is_words():
    with pytest.raises(BadScore, match="Is the program running"):
        scorer_of(http_judge("http://127.0.0.1:9/score"), small_policy())(episodes(), SHARE)


@pytest.mark.parametrize("name", ["nowhere.at_all:score", "math:no_such_thing", "math:pi", "rather.limits:"])
def test_a_function_that_is_not_there_is_words(name):
    with pytest.raises(BadSetting):
        named_judge(name)
    assert reward_named("math:sqrt") is math.sqrt


def test_a_reward_model_of_another_tokenizer_reads_the_text_in_its_own_words():
    other = tiny(TinyConfig(vocabulary=265, hidden=32, layers=1), ["zz"], torch.Generator().manual_seed(0))
    trees = encoded_again(other.tokenizer, episodes(), "\n")
    eos = other.tokenizer.eos_token_id
    assert [other.tokenizer.decode(tree.responses[0], skip_special_tokens=True) for tree in trees] == [
        "one two",
        "",
        "a fox sees",
    ]
    assert [int((tree.responses[0] == eos).sum()) for tree in trees] == [1, 1, 0], "what did not end has no EOS"
    reward = replace(small_reward(), tokenizer=other.tokenizer)
    with pytest.raises(BadSetting, match=r"not the policy's[\s\S]*critic_from=policy"):
        first_critic(small_policy(), reward, PPOConfig())
    first_critic(small_policy(), reward, PPOConfig(critic_from="policy"))
    assert not ByModel(reward, small_policy()).same_tokens


def test_a_critic_from_a_reward_that_is_no_model_is_refused():
    with pytest.raises(BadSetting, match="there is none"):
        first_critic(small_policy(), lengths_of, PPOConfig())


def test_a_reward_model_that_learned_from_another_separator_is_refused():
    reward = replace(small_reward(), scoring={"separator": "\n\n", "slope": None})
    with pytest.raises(BadSetting, match=r"joined by '\\n\\n'; here they are joined by '\\n'"):
        ByModel(reward, small_policy())
    ByModel(reward, small_policy(), separator="\n\n")


def test_a_score_with_length_taken_off_is_not_what_the_critic_begins_with():
    config = PPOConfig()
    assert is_reward_itself(small_reward(), config)
    assert is_reward_itself([small_reward()], config)
    assert not is_reward_itself(replace(small_reward(), scoring={"slope": 0.1}), config)
    assert not is_reward_itself([small_reward(), small_reward()], config)


# ---- the self-test; faults planted in whole runs are in test_ppo_faults.py


def test_a_policy_that_never_ends_is_named(tmp_path):
    with pytest.raises(SelfTest, match=r"none of 16 responses ended within 2 tokens[\s\S]*1\. the demonstrations"):
        small_run(tmp_path, missing_eos="replace", max_new_tokens=2)


def test_a_temperature_on_one_side_is_named():
    logps = -torch.rand(100, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SelfTest, match=r"sampler and trainer disagree[\s\S]*1\. the temperature \(0\.7\)"):
        ppo_checks.sampler_is_trainer(logps, logps / 0.7, exact=True, temperature=0.7)
    assert ppo_checks.sampler_is_trainer(logps, logps + 1e-5, exact=True, temperature=0.7) < 1e-4


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (None, "nobody has measured it"),
        ({"groups": {"validation": {"accuracy": {"reason": "too few"}}}}, "nobody has measured it"),
        ({"groups": [1]}, "nobody has measured it"),
        ({"groups": {"validation": {"accuracy": {"interval": ["a", 1], "n": 3}}}}, "nobody has measured it"),
        ({"groups": {"validation": {"accuracy": {"interval": [0.61, 0.7], "n": 300}}}}, "0.610 to 0.700"),
    ],
)
def test_what_is_known_of_the_reward_model_is_said(report, words):
    assert words in ppo_checks.reward_model_knows(report)


def test_a_reward_model_at_chance_is_named():
    report = {"groups": {"validation": {"accuracy": {"value": 0.52, "interval": [0.47, 0.57], "n": 300}}}}
    with pytest.raises(SelfTest, match=r"no better than a coin[\s\S]*1\. too few comparisons"):
        ppo_checks.reward_model_knows(report)


def test_ppo_ptx_without_text_says_what_to_type(tmp_path):
    config = PPOConfig(**SMALL)
    with pytest.raises(BadSetting, match="ptx_coef=0"), Run.open(tmp_path, config) as run:
        train_ppo(small_policy(), small_reward(), PROMPTS, [], run, config)


def test_a_truncation_token_that_is_no_token_is_refused():
    with pytest.raises(BadSetting, match="Expected one token"):
        truncation_token(small_policy(), PPOConfig(truncate_token="the whole sentence"))
    assert truncation_token(small_policy(), PPOConfig(truncate_token=".")) is not None


# ---- alarms

QUIET = {
    "objective/scores": 0.0, "objective/kl": 1.0, "objective/kl_se": 0.1, "objective/kl_coef": 0.02,
    "policy/entropy_avg": 3.0, "policy/approxkl_avg": 0.01, "policy/clipfrac_avg": 0.05, "loss/value_avg": 0.1,
    "val/explained_variance": 0.3, "grad_norm": 1.0, "response/length": 40.0, "response/length_slope": 0.01,
    "response/finished": 0.95, "response/distinct_2": 0.6, "response/top_opening": 0.1, "second_opinion/scores": 0.0,
}  # fmt: skip


def raised(config: PPOConfig | None = None, iterations: int = 4 * WINDOW, **lines) -> list[str]:
    """Names of the alarms of a run whose metrics move in a line from one value to another, with a little noise."""
    rng, alarms, names = np.random.default_rng(0), Alarms(config or PPOConfig()), []
    for step in range(iterations):
        row = {"step": step + 1}
        for name, quiet in {**QUIET, **lines}.items():
            start, end = quiet if isinstance(quiet, tuple) else (quiet, quiet)
            row[name] = start + (end - start) * step / (iterations - 1) + 0.01 * abs(start - end or 0.1) * rng.normal()
        names += [alarm.name for alarm in alarms.check(row)]
    return names


def test_a_quiet_run_raises_none():
    assert raised() == []


@pytest.mark.parametrize(
    ("name", "lines", "settings"),
    [
        ("negative_kl", {"objective/kl": -1.0}, {}),
        ("kl_budget", {"objective/kl": 9.0}, {"kl_budget": 5.0}),
        ("kl_drift", {"objective/kl": (1.0, 9.0)}, {}),
        ("reward_hacking", {"objective/scores": (0.0, 2.0), "second_opinion/scores": (1.0, -1.0)}, {}),
        ("reward_hacking", {"objective/scores": (0.0, 2.0), "objective/score_spread": (0.1, 0.5)}, {}),
        ("mode_collapse", {"response/top_opening": (0.1, 0.7)}, {}),
        ("mode_collapse", {"policy/entropy_avg": (3.0, 0.5), "response/distinct_2": (0.6, 0.2)}, {}),
        ("length", {"response/length": (40.0, 80.0), "objective/scores": (0.0, 0.4)}, {}),
        ("truncation", {"response/finished": 0.4}, {}),
        ("clipping", {"policy/clipfrac_avg": 0.5}, {}),
        ("clipping", {"policy/approxkl_avg": 0.3}, {}),
        ("critic", {"val/explained_variance": -0.5}, {}),
        ("critic", {"loss/value_avg": (0.1, 5.0)}, {}),
        ("controller", {"objective/kl_coef": (0.1, 0.004)}, {"kl_target": 6.0, "kl_coef": 0.1}),
        ("controller", {"objective/kl": 20.0}, {"kl_target": 6.0, "kl_coef": 0.1}),
    ],
)
def test_each_alarm_is_raised_by_what_it_is_for_and_once(name, lines, settings):
    if "second_opinion/scores" not in lines:
        lines = {**lines, "second_opinion/scores": lines.get("objective/scores", 0.0)}
    assert raised(PPOConfig(**settings), **lines) == [name]


def test_a_critic_that_knows_nothing_yet_is_said_before_the_policy_has_gone_far():
    def rows(n):
        return [{"step": at, **QUIET, "val/explained_variance": -1.4} for at in range(n)]

    knows_nothing = rows(1)[0]
    for alone in (0, 4):
        config = PPOConfig(value_iterations=alone)
        assert Alarms(config, rows(alone + 3)).check(knows_nothing) == []
        (alarm,) = Alarms(config, rows(alone + 4)).check(knows_nothing)
        assert f"value_iterations={2 * alone or 10} critic_learning_rate=3.6e-05" in alarm.do
        assert Alarms(config, rows(alone + 4)).check(QUIET | {"step": 9}) == [], "it has begun to explain something"


def test_a_gradient_that_jumps_is_an_alarm():
    alarms = Alarms(PPOConfig(), [{"step": n, **QUIET} for n in range(20)])
    assert [alarm.name for alarm in alarms.check({"step": 20, **QUIET, "grad_norm": 30.0})] == ["gradients"]


def test_length_that_pays_for_itself_is_no_alarm():
    assert "length" not in raised(**{"response/length": (40.0, 80.0), "objective/scores": (0.0, 3.0)})


def test_a_resumed_run_raises_what_it_would_have_raised():
    rows = [{"step": n, **QUIET, "response/finished": 0.4} for n in range(5)]
    assert Alarms(PPOConfig(), rows).check(rows[-1]) == [], "it has been raised before"


def test_stop_on_ends_the_run_at_its_last_checkpoint(tmp_path):
    settings = {"learning_rate": 0.1, "warmup": 0, "episodes": 160, "stop_on": ["clipping"], "missing_eos": "keep"}
    result = small_run(tmp_path / "run", **settings)
    assert result["stopped_by"] == "clipping"
    assert read_done(tmp_path / "run")["step"] == 2
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [1, 2, 3], "what it was stopped by is to be seen"
    with pytest.raises(CheckFailed, match=r"stop_on: clipping[\s\S]*no checkpoint"):
        small_run(tmp_path / "other", **settings, checkpoint_every=100)


# ---- settings


def test_presets_are_what_they_were():
    """A preset named after a paper never changes its meaning: this table is not to be edited."""
    expected = {
        "instructgpt-ptx": (256_000, 512, 64, 1, 1e-5, 9e-6, 0.02, None, 1.0, 27.8, False, 0.992),
        "instructgpt": (256_000, 512, 64, 1, 8e-6, 9e-6, 0.02, None, 1.0, 0.0, False, 0.992),
        "ziegler2019": (1_000_000, 512, 512, 4, 1e-5, 1e-5, 0.15, 6.0, 0.7, 0.0, True, 0.0),
        "summarize": (1_000_000, 512, 512, 4, 1.5e-5, 1.5e-5, 0.05, None, 1.0, 0.0, False, 0.0),
    }
    for name, values in expected.items():
        c = PPOConfig.load(overrides=[f"preset={name}"])
        found = (c.episodes, c.batch_size, c.minibatch_size, c.inner_epochs, c.learning_rate, c.critic_learning_rate)
        found += (c.kl_coef, c.kl_target, c.temperature, c.ptx_coef, c.whiten_rewards, c.ema_decay)
        assert found == values, name
    assert set(expected) == set(PRESETS)


def test_what_is_given_counts_more_than_the_preset_and_is_read_back(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[ppo]\npreset = "ziegler2019"\nkl_coef = 0.3\n')
    config = PPOConfig.load(recipe, ["learning_rate=2e-5", "temperature=1.0"], table="ppo")
    assert (config.kl_coef, config.learning_rate, config.temperature, config.kl_target) == (0.3, 2e-5, 1.0, 6.0)
    with Run.open(tmp_path / "run", config):
        pass
    assert PPOConfig.load(tmp_path / "run" / "config.toml") == config


@pytest.mark.parametrize(
    "words",
    ["preset=instructgtp", "minibatch_size=60", "stop_on=['everything']", "temperature=0", "kl_target=6 kl_coef=0"],
)
def test_settings_that_cannot_be_are_words(words):
    with pytest.raises(BadSetting):
        PPOConfig.load(overrides=words.split(" "))


# ---- the doors


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    (folder / "init").mkdir()
    (folder / "reward").mkdir()
    policy = small_policy()
    save_policy(policy, folder / "init" / "checkpoint")
    save_reward_model(small_reward().model, policy.tokenizer, folder / "reward" / "checkpoint", [[0, 5, 6]])
    rows = [json.dumps({"id": p.id, "prompt": p.prompt}) for p in PROMPTS]
    (folder / "prompts.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "pretraining.jsonl").write_text('{"id": "1", "text": "the old cat sees a fox ."}\n')
    return folder


def door(*words) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(word) for word in words])
    return left.value.code


def test_rather_ppo_learns_from_a_story_and_rather_look_shows_it(story, capsys):
    settings = [f"{key}={str(value).lower()}" for key, value in SMALL.items()]
    assert door("ppo", story, *settings, "--json") == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["episode"] == 32
    assert "nobody has measured it" in out.err
    for by in ("kl", "values", "advantages"):
        assert door("look", story / "ppo", "--by", by, "-n", 2, "--step", 1) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("step 1, coloured by")
        assert shown.count(", KL ") == 2
    assert "s an iteration: " in shown
    assert all(f"{part} " in shown for part in ("sample", "score", "reference", "value", "update", "rest"))
    assert door("look", story / "ppo", "--json") == 0
    looked = json.loads(capsys.readouterr().out)
    assert looked["step"] == 2
    parts = {name: seconds for name, seconds in looked["timings"].items() if name != "time/iteration"}
    assert sum(parts.values()) == pytest.approx(looked["timings"]["time/iteration"], abs=1e-4)
    assert door("look", story / "ppo", "--step", 9) == 2
    assert "2 steps, 1 to 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "{}\n",
        '{"step": 1, "tokens": ["a"], "kl": []}\n',
        '{"step": 1, "tokens": [1], "kl": ["a"], "prompt": 3}\n',
        '{"step": 1, "response": "of another stage"}\n',
        "[]\n",
    ],
)
def test_look_has_words_for_samples_that_are_not_those_of_ppo(tmp_path, lines, capsys):
    (tmp_path / "samples.jsonl").write_text(lines)
    assert door("look", tmp_path) == 2
    assert "Expected" in capsys.readouterr().err or lines == "[]\n"
    assert door("look", tmp_path / "nowhere") == 2


def test_hostile_text_is_shown_and_not_obeyed(tmp_path, capsys):
    row = {"step": 1, "prompt": "\x1b[2J", "tokens": ["\x1b]0;title\x07", "\u202e"], "kl": [9.0, -9.0]}
    (tmp_path / "samples.jsonl").write_text(json.dumps({**row, "score": 1, "kl_sum": 0, "finished": True}) + "\n")
    assert door("look", tmp_path) == 0
    assert not set("\x1b\x07\u202e") & set(capsys.readouterr().out)


def test_rather_ppo_says_what_is_missing(tmp_path, capsys):
    assert door("ppo", tmp_path) == 2
    assert "rather init" in capsys.readouterr().err


def test_samples_say_what_is_known_of_each_token(story):
    for row in read_log(story / "ppo" / "samples.jsonl"):
        assert len(row["tokens"]) == len(row["kl"]) == len(row["values"]) == len(row["advantages"])
        assert row["kl_sum"] == pytest.approx(sum(row["kl"]), abs=1e-3)
