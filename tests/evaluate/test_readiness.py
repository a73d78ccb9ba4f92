"""Before step 3: each question, answered by files as stages write them, and by none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rather.cli import main
from rather.evaluate.readiness import Asked, Line, readiness, verdict


def share(value: float, low: float, high: float, n: int = 500) -> dict[str, Any]:
    return {"value": value, "interval": [low, high], "n": n, "clusters": n}


def report(**changed: Any) -> dict[str, Any]:
    """What `rather reward report` writes of a reward model that is as good as the paper's."""
    found: dict[str, Any] = {
        "groups": {"train": {"pairs": 60_000, "prompts": 3000}},
        "agreement": {"training labelers": {"agreement": {"dropped": share(0.726, 0.71, 0.74)}}},
        "length": {
            "rule": "the longer wins",
            "baseline": share(0.55, 0.53, 0.57),
            "model - baseline": share(0.17, 0.14, 0.2),
        },
        "coverage": {
            "outside": share(0.02, 0.01, 0.03, 4000),
            "by": {"category": {"value": 0.0}, "length": {"value": 0.015}, "vocabulary": {"value": 0.005}},
        },
    }
    for dotted, value in changed.items():
        *path, last = dotted.split("__")
        place = found
        for key in path:
            place = place[key.replace("_", " ")]
        place[last.replace("_", " ")] = value
    return found


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A story of which nothing is wrong."""
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "report.json").write_text(json.dumps(report()))
    epochs(tmp_path, [0.1, 0.4, 0.3])
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Why?"}\n' * 20)
    (tmp_path / "pretraining.jsonl").write_text('{"text": "the web"}\n')
    return tmp_path


def epochs(folder: Path, rewards: list[float | None], name: str = "sft") -> None:
    rows = [{"epoch": at, "val/loss": 1.0 / at} | ({} if r is None else {"val/reward": r})
            for at, r in enumerate(rewards, 1)]  # fmt: skip
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "selection.json").write_text(json.dumps({"chosen": 1, "epochs": rows}))


def asked(folder: Path, **given: Any) -> Asked:
    return Asked(**{"prompts": folder / "prompts.jsonl", **given})


def of(name: str, folder: Path, **given: Any) -> Line:
    (line,) = (line for line in readiness(folder, asked(folder, **given)) if line.name == name)
    return line


def rewrite(folder: Path, **changed: Any) -> None:
    (folder / "reward" / "report.json").write_text(json.dumps(report(**changed)))


def test_a_story_with_which_nothing_is_wrong_is_ready(story):
    lines = readiness(story, asked(story))
    assert {line.outcome for line in lines} == {"fine"}
    assert verdict(lines) == "Ready for step 3"
    assert all(any(c.isdigit() for c in line.figure) for line in lines if line.name != "pretraining")


def test_where_nothing_was_measured_nothing_is_said_to_be_fine(tmp_path):
    lines = readiness(tmp_path, Asked())
    assert {line.name: line.outcome for line in lines if line.outcome != "not measured"} == {"pretraining": "look"}
    assert all(line.do for line in lines)
    assert verdict(lines).startswith("Not ready: pretraining; not measured: checkable, pairs")


def test_answers_that_a_program_can_check_want_grpo(story):
    rows = [{"prompt": "2 + 2?", "answer": "4"}, {"prompt": "a list", "pattern": "- "}, {"prompt": "Why?"}]
    (story / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = of("checkable", story)
    assert (line.outcome, "2 of 3 prompts" in line.figure, "rather grpo" in line.do) == ("look", True, True)


def test_few_pairs_want_dpo(story):
    rewrite(story, groups__train={"pairs": 9_999, "prompts": 500})
    line = of("pairs", story)
    assert line.outcome == "look"
    assert line.figure == "9,999 pairs without ties, of 500 prompts"
    assert "rather dpo" in line.do


@pytest.mark.parametrize(("found", "outcome"), [((0.6, 0.57, 0.63), "look"), ((0.55, 0.49, 0.7), "look"),
                                                ((0.66, 0.6, 0.72), "fine")])  # fmt: skip
def test_labelers_who_agree_too_little_are_named(story, found, outcome):
    rewrite(story, agreement__training_labelers={"agreement": {"dropped": share(*found)}})
    assert of("agreement", story).outcome == outcome


def test_where_no_prompt_was_ranked_twice_the_reason_is_said_and_simulated_labelers_are_asked(story):
    rewrite(story, agreement__training_labelers={"agreement": {"dropped": {"reason": "nobody shares a prompt"}}})
    assert of("agreement", story).figure == "nobody shares a prompt"
    about = {"agreement": {"training": share(0.726, 0.7, 0.75)}}
    (story / "rankings.about.json").write_text(json.dumps(about))
    assert of("agreement", story).outcome == "fine"


@pytest.mark.parametrize("lead", [(0.1, -0.01, 0.2), (0.02, 0.01, 0.03), (-0.1, -0.2, 0.0)])
def test_a_reward_model_at_or_near_the_length_baseline_is_named(story, lead):
    rewrite(
        story, length={"rule": "the longer wins", "baseline": share(0.6, 0.5, 0.7), "model - baseline": share(*lead)}
    )
    line = of("length baseline", story)
    assert line.outcome == "look"
    assert '"the longer wins", which is right on 60.0%' in line.figure


def test_an_sft_model_whose_reward_still_climbs_is_named(story):
    epochs(story, [0.1, 0.2, 0.35])
    line = of("sft", story)
    assert line.outcome == "look"
    assert line.figure == "sft: reward 0.2, then 0.35 in the last of 3 epochs"
    assert "epochs=6" in line.do
    epochs(story, [0.1, None, 0.3])
    assert of("sft", story).outcome == "not measured"


def test_the_model_that_rl_starts_from_may_climb_because_it_is_stopped_early_on_purpose(story):
    epochs(story, [0.1, 0.2], name="init")
    assert of("sft", story).outcome == "fine"
    (story / "sft" / "selection.json").unlink()
    assert of("sft", story).outcome == "look"


def test_prompts_that_the_reward_model_has_not_seen_are_counted(story):
    found = report()["coverage"] | {"outside": share(0.3, 0.28, 0.32, 4000)}
    rewrite(story, coverage=found)
    line = of("coverage", story)
    assert line.outcome == "look"
    assert "30.0% (28.0% to 32.0%, n = 500) of 4,000 prompts" in line.figure.replace("n = 4,000", "n = 500")
    assert "most by their length" in line.figure


def test_text_for_the_mix_is_a_file_a_world_or_what_the_base_was_trained_on(story):
    (story / "pretraining.jsonl").unlink()
    assert of("pretraining", story).outcome == "look"
    assert of("pretraining", story, texts="marn:0").outcome == "fine"
    assert of("pretraining", story, texts="nowhere.jsonl").outcome == "look"
    (story / "base-s").mkdir()
    (story / "base-s" / "config.toml").write_text('texts = "marn:0"\n')
    assert of("pretraining", story).outcome == "fine"


def test_without_the_mix_the_tax_matters_where_benchmarks_are_measured(story):
    assert of("pretraining", story, ptx=False).outcome == "not measured"
    (story / "evaluate").mkdir()
    (story / "evaluate" / "base.json").write_text("{}")
    assert of("pretraining", story, ptx=False).outcome == "look"


BROKEN = ["", "[]", "null", "{", '{"groups": []}', '{"groups": {"train": {"pairs": "many"}}, "length": 1}',
          '{"agreement": {"training labelers": {"agreement": {"dropped": {"value": "x", "interval": [0]}}}}}',
          '{"coverage": {"outside": {"value": 1, "interval": ["a", "b"]}}, "length": {"baseline": null}}']  # fmt: skip


@pytest.mark.parametrize("content", BROKEN)
def test_what_cannot_be_read_is_not_measured(story, content):
    for name in ("reward/report.json", "sft/selection.json", "rankings.about.json"):
        (story / name).write_text(content)
    (story / "prompts.jsonl").write_text("{" if content.startswith("{") else content)
    lines = readiness(story, asked(story))
    assert {line.outcome for line in lines if line.name != "pretraining"} == {"not measured"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["ready", *map(str, args)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(end.value.code or 0), out, err

    return run


def test_the_verb_says_each_line_and_leaves_them_in_a_file(run, story):
    code, said, _ = run(story)
    assert code == 0
    assert said.endswith("\nReady for step 3\n")
    assert json.loads((story / "readiness.json").read_text())["verdict"] == "Ready for step 3"
    rewrite(story, groups__train={"pairs": 12, "prompts": 4})
    code, said, _ = run(story, "--json")
    assert (code, json.loads(said)["verdict"]) == (1, "Not ready: pairs")


def test_the_verb_takes_the_settings_of_step_3(run, story, tmp_path):
    (story / "reward").rename(story / "reward-2")
    assert "reward-2" not in run(story)[1]
    code, said, _ = run(story, f"reward={story / 'reward-2' / 'checkpoint'}", "preset=instructgpt")
    assert code == 0
    assert "no pretraining mix" in said
    recipe = tmp_path / "r.toml"
    recipe.write_text('[ppo-2]\npreset = "instructgpt"\nreward = "{run}/reward-2/checkpoint"\n')
    assert run(story, recipe, "--name", "ppo-2")[1] == said


@pytest.mark.parametrize(("args", "words"), [(("nowhere",), "There is no nowhere"), (("kl_coeff=1",), "kl_coef")])
def test_wrong_use_is_said_in_words(run, args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    code, said, err = run(*args)
    assert (code, said) == (2, "")
    assert words in err
