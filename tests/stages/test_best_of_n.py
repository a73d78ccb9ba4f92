"""Best-of-N: the curve is unbiased, what is kept is the best, and a run that was stopped goes on."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_ppo import PROMPTS, small_policy, small_reward

from rather.cli.best_of_n import command
from rather.errors import BadFile, BadSetting, NotReady
from rather.models.load import save_policy
from rather.records import Demonstration, Prompt, Ranking, read, write
from rather.rollout import Sampling, draw_seeds
from rather.run import Run, read_log, read_metrics
from rather.stages.best_of_n import BestOfNConfig, best_of_n, curve_of, ranked, selected
from rather.stages.episodes import episodes_of, response_scores, sample_shared
from rather.stages.grpo_rewards import Rewards
from rather.stages.ppo_start import fitting_prompts
from rather.stages.steps import Share
from rather.verifiers import Verdict, VerifierFailed

CONFIG = BestOfNConfig(
    samples=6, batch_size=4, max_new_tokens=6, precision="fp32", missing_eos="keep", ranked=3, checkpoint_every=1
)
FEW = PROMPTS[:10]


def words(prompts, texts):
    return [float(len(text)) for text in texts]


def run_it(folder: Path, config: BestOfNConfig = CONFIG, rewards: Rewards | None = None, resume=False, **more) -> dict:
    rewards = rewards or Rewards({"words": 2.0}, models={"words": words})
    with Run.open(folder, config, resume=resume) as run:
        run.watch = more.pop("watch", None)
        return best_of_n(small_policy(), rewards, FEW, run, config, **more)


def test_the_curve_is_the_mean_over_all_sets_of_n(tmp_path):
    run_it(tmp_path, gold=lambda prompt, texts, finished: [-float(text.count("e")) for text in texts])
    rows = list(read_log(tmp_path / "samples.jsonl"))
    assert [row["id"] for row in rows] == [prompt.id for prompt in FEW]
    assert rows[0]["scores"] == [2.0 * len(text) for text in rows[0]["responses"]]
    said = json.loads((tmp_path / "curve.json").read_text())["curve"]
    assert [point["n"] for point in said] == [1, 2, 4, 6]
    for point in said:
        best, gold = [], []
        for row in rows:
            sets = list(combinations(range(6), point["n"]))
            best.append(np.mean([max(row["scores"][k] for k in some) for some in sets]))
            # Of equals each is taken as often as the others.
            gold.append(np.mean([np.mean([row["gold"][k] for k in some
                                          if row["scores"][k] == max(row["scores"][j] for j in some)])
                                 for some in sets]))  # fmt: skip
        assert point["score"]["value"] == pytest.approx(np.mean(best))
        assert point["gold"]["value"] == pytest.approx(np.mean(gold), abs=0.15)
        assert point["kl"] == pytest.approx(np.log(point["n"]) - (point["n"] - 1) / point["n"])


def test_what_is_kept_is_the_best_that_ended_and_says_something():
    row = {"responses": ["a", " ", "long", "cut", "a"], "finished": [True, True, True, False, True],
           "scores": [1.0, 9.0, 2.0, 8.0, 1.0]}  # fmt: skip
    prompt = Prompt(id="7", prompt="say", category="chat", split="train")
    [best] = selected([prompt], [row], CONFIG)
    assert (best.id, best.response, best.category, best.split) == ("7", "long", "chat", "train")
    assert selected([prompt], [row], CONFIG.model_copy(update={"least_score": 3.0})) == []
    [order] = ranked([prompt], [row], CONFIG)
    assert [one.text for one in order.responses] == [" ", "long", "a"]  # best, middle, worst of four different ones
    assert order.ranks == (1, 2, 3)
    assert ranked([prompt], [row | {"scores": [1.0] * 5}], CONFIG) == []


def test_it_writes_demonstrations_and_rankings_that_other_stages_read(tmp_path):
    result = run_it(tmp_path)
    orders = list(read(tmp_path / "rankings.jsonl", Ranking))
    assert len(orders) == result["rankings"] == 10
    assert all(one.ranks[0] == 1 and len(one.responses) <= 3 for one in orders)
    assert result["demonstrations"] == len((tmp_path / "demonstrations.jsonl").read_text().splitlines())
    if result["demonstrations"]:
        assert all(one.labeler == "best of 6" for one in read(tmp_path / "demonstrations.jsonl", Demonstration))
    assert result["score of the best"] > result["score of one"]


@pytest.mark.parametrize("stop", [1, 2])
def test_stopped_and_resumed_is_the_same_to_the_byte(tmp_path, stop):
    class Stopped(Exception):
        pass

    def at(step: int, values) -> None:
        if step == stop:
            raise Stopped

    run_it(tmp_path / "whole")
    with pytest.raises(Stopped):
        run_it(tmp_path / "stopped", watch=at)
    run_it(tmp_path / "stopped", resume=True)
    for name in ("metrics.jsonl", "samples.jsonl", "curve.json", "demonstrations.jsonl", "rankings.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_reward_model_a_function_and_a_verifier_add_up_by_weight(tmp_path):
    policy, reward = small_policy(), small_reward()
    cases = {prompt.id: {"answer": "the cat"} for prompt in FEW}

    def first_word(response, case):
        return Verdict(float(response.startswith(case["answer"][:3])), "begins with it")

    rewards = Rewards({"model": 2.0, "words": 0.5, "first": 3.0}, {"model": reward, "words": words},
                      {"first": first_word}, cases)  # fmt: skip
    judge = rewards.judging(policy, torch.float32, "\n")

    policy, prompts, asked = fitting_prompts(policy, FEW, CONFIG)
    seeds = draw_seeds(torch.Generator().manual_seed(3), len(prompts), 2)
    rollout = sample_shared(policy, asked, Sampling(max_new_tokens=6, samples=2), seeds)
    episodes = episodes_of(policy, prompts, rollout, torch.device("cpu"))
    assert [prompt.id for prompt in episodes.prompts] == [p.id for p in prompts for _ in range(2)]
    found = judge(episodes, Share(200))
    alone = response_scores(reward.model, episodes.trees, Share(200))
    wanted = 2 * alone + torch.tensor([0.5 * len(t) + 3.0 * t.startswith("the") for t in episodes.texts])
    torch.testing.assert_close(found.total, wanted)
    assert list(found.parts) == ["model", "words", "first"]


def test_a_verifier_that_fails_stops_the_run_and_its_sample_is_saved(tmp_path):
    def broken(response, case):
        raise RuntimeError("out of order")

    rewards = Rewards({"mine": 1.0}, verifiers={"mine": broken}, cases={p.id: {"answer": p} for p in FEW})
    with pytest.raises(VerifierFailed, match="out of order"):
        run_it(tmp_path, rewards=rewards)
    saved = json.loads((tmp_path / "failed.json").read_text())
    assert saved["verifier"] == "mine"
    assert saved["case"]["id"] == FEW[0].id
    assert read_metrics(tmp_path) == []


def test_a_response_that_does_not_end_is_scored_as_chosen(tmp_path):
    run_it(tmp_path, CONFIG.model_copy(update={"missing_eos": "replace", "missing_eos_score": -7.0}))
    for row in read_log(tmp_path / "samples.jsonl"):
        assert [score == -7.0 for score in row["scores"]] == [not ended for ended in row["finished"]]


def test_gold_that_falls_is_seen_on_the_curve():
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(200):
        scores = rng.normal(size=64)
        rows.append({"scores": scores.tolist(), "gold": (scores - 0.4 * scores**2).tolist()})
    gold = [point["gold"]["value"] for point in curve_of(rows, 64)]
    assert max(gold) > gold[0]
    assert max(gold) > gold[-1]


# ---- the verb


@pytest.fixture
def story(tmp_path) -> Path:
    (tmp_path / "run" / "sft").mkdir(parents=True)
    save_policy(small_policy(), tmp_path / "run" / "sft" / "checkpoint")
    write(tmp_path / "run" / "prompts.jsonl", FEW)
    return tmp_path / "run"


def verb(*given: object) -> dict:
    outcome = CliRunner().invoke(command, [*map(str, given), "--json"], catch_exceptions=False, standalone_mode=False)
    return json.loads(outcome.stdout.splitlines()[-1])


QUICK = ("samples=2", "max_new_tokens=6", "precision=fp32", "batch_size=8")


def test_the_verb_takes_verifiers_with_the_fields_of_the_records(story):
    rows = [{"id": str(n), "prompt": f"the {n}", "answer": "the cat", "pattern": "a"} for n in range(9)]
    (story / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = verb(story, *QUICK, f"prompts={story}/cases.jsonl", "rewards={exact=1.0, pattern=0.5}", "count=8")
    assert (found["prompts"], found["samples"], found["scored by"]) == (8, 2, "exact, pattern")
    assert found["run"] == str(story / "best-of-n")


def test_the_verb_takes_the_verifiable_world(story):
    found = verb(story, *QUICK, "prompts=sums:0:sum:1", "count=4", "split=test")
    assert found["scored by"] == "world"
    assert found["prompts"] == 4


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["model=nowhere"], Exception, "nowhere"),
        (["prompts=nowhere.jsonl"], BadFile, "nowhere.jsonl"),
        ([], NotReady, "reward/checkpoint"),
        (["rewards={nubmer=1.0}"], BadSetting, "Did you mean 'number'"),
        (["rewards={number=1.0}"], Exception, "no 'answer'"),
        (["prompts=sums:x"], BadSetting, "There is no world"),
        (["sample=3"], BadSetting, "Did you mean 'samples'"),
    ],
)
def test_what_is_missing_or_wrong_is_said(story, words, error, said):
    with pytest.raises(error, match=said):
        verb(story, *QUICK, *words)
    assert not (story / "best-of-n" / "DONE").exists()
