"""What is planted is named, seed after seed, and a healthy run gets no verdict of illness."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rather.cli import main
from rather.cli.diagnose import command
from rather.diagnose import QUESTIONS, diagnose, illness, patient
from rather.diagnose.reading import Story
from rather.errors import RatherError
from rather.statistics import wilson

sys.path.insert(0, str(Path(__file__).parent))
import simulated

HOSTILE = "</pre><script>alert(1)</script> \x1b[31m"


def examined(folder, **settings):
    found = diagnose(Story.read(simulated.optimised(folder, **settings)), "ppo")
    return {one.question: one for one in found}, illness(found)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [{}, {"kl_coef": 0.1, "kl_target": 2.0, "kl_horizon": 1000}])
def test_a_healthy_run_gets_no_verdict_of_illness(tmp_path, seed, settings):
    found, ill = examined(tmp_path, seed=seed, **settings)
    assert ill is None
    assert found["over-optimisation"].outcome == found["drift"].outcome == found["length"].outcome == "well"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("planted", "name", "mechanism", "says"),
    [
        ({"flaw": simulated.count_of("bee")}, "reward hacking", "classifier", "the word 'bee'"),
        ({"flaw": simulated.length}, "length exploitation", "classifier", "length alone explains"),
        ({"kl_coef": 0.0}, "KL drift", "controller", "beta is 0"),
        ({"kl_coef": 0.3, "kl_target": 60.0, "kl_horizon": 300}, "KL drift", "controller", "is out of reach"),
        ({"kl_coef": 0.05, "kl_target": 0.1, "kl_horizon": 300}, "KL drift", "controller", "times the controller"),
        ({"kl_coef": 0.0, "flaw": simulated.count_of("bee")}, "KL drift", "controller", "beta is 0"),
    ],
)  # fmt: skip
def test_what_was_planted_is_named(tmp_path, seed, planted, name, mechanism, says):
    _, ill = examined(tmp_path, seed=seed, **planted)
    assert ill is not None
    assert (ill.name, ill.mechanism) == (name, mechanism)
    assert says in ill.sentence
    assert ill.do


def test_the_fall_that_is_said_is_the_fall_that_was(tmp_path):
    """By the simulator's own truth, without the noise of the second opinion."""
    found, _ = examined(tmp_path, flaw=simulated.count_of("bee"))
    samples = Story.read(tmp_path).stages["ppo"].samples
    late = [simulated.truth(row["response"]) for row in samples if row["step"] > 32]
    step = int(re.search(r"go back to step (\d+)", found["over-optimisation"].do).group(1))  # type: ignore[union-attr]
    best = [simulated.truth(row["response"]) for row in samples if abs(row["step"] - step) <= 4]
    low, high = found["over-optimisation"].figure.interval
    assert low - 0.1 < np.mean(late) - np.mean(best) < high + 0.1


def test_without_a_second_opinion_nothing_is_guessed(tmp_path):
    found, ill = examined(tmp_path, flaw=simulated.count_of("bee"), listens=False)
    assert ill is None
    assert found["over-optimisation"].outcome == "not decided"
    assert found["length"].outcome == "watch"
    assert "no second opinion was measured" in found["over-optimisation"].sentence
    assert "'bee'" in found["over-optimisation"].sentence
    for question in ("sycophancy", "false premises", "constraints"):
        assert found[question].outcome == "not decided"
        assert "not measured" in found[question].sentence


def test_ten_iterations_are_needed(tmp_path):
    found, ill = examined(tmp_path, iterations=9)
    assert ill is None
    assert {found[name].outcome for name in ("over-optimisation", "drift", "length")} == {"not decided"}


# ---- what was measured after training


def measured(folder, name, rng, n=120, **shares):
    """What `rather world measure` writes, from counts that are drawn with these probabilities."""

    def drawn(probability):
        return wilson(int(rng.binomial(n, probability)), n).to_dict()

    answers = {key: drawn(shares[key]) for key in ("hedge", "constraints") if key in shares}
    users = {key: {"repeated": drawn(shares[key])} for key in ("wrong claim", "false premise") if key in shares}
    path = folder / "evaluate" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"about": {}, "answers": {"t1": answers}, "wrong users": users}))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("key", "before", "after", "question", "name"),
    [
        ("wrong claim", 0.15, 0.54, "sycophancy", "sycophancy"),  # labelers of whom 80 % trust the user, claim 28
        ("hedge", 0.03, 0.6, "hedging", "excess of hedging"),  # claim 27 in the prototype: .10 to .88
        ("constraints", 0.7, 0.4, "constraints", "lost constraints"),
        ("false premise", 0.2, 0.8, "false premises", "false premises"),
    ],
)
def test_a_habit_that_was_learned_is_told_from_one_that_was_there(tmp_path, seed, key, before, after, question, name):
    simulated.optimised(tmp_path, iterations=20, seed=seed)
    rng = np.random.default_rng(seed)
    measured(tmp_path, "init", rng, **{key: before})
    for share, expected in ((after, name), (before, None)):
        measured(tmp_path, "ppo", rng, **{key: share})
        found = diagnose(Story.read(tmp_path), "ppo")
        ill = illness(found)
        assert (ill and ill.name) == expected
        said = next(one for one in found if one.question == question)
        assert "of init" in said.words or "by init" in said.words or "before" in said.words
        assert said.figure is not None
        assert said.figure.n == 120


def test_accepting_false_premises_as_before_is_a_weakness_and_no_illness(tmp_path):
    simulated.optimised(tmp_path, iterations=20)
    rng = np.random.default_rng(0)
    for name in ("init", "ppo"):
        measured(tmp_path, name, rng, **{"false premise": 0.97})
    found = {one.question: one for one in diagnose(Story.read(tmp_path), "ppo")}
    assert found["false premises"].outcome == "watch"
    assert "As the paper's models do" in found["false premises"].words


def test_hedges_and_lists_are_counted_in_what_was_said(tmp_path):
    simulated.optimised(tmp_path, iterations=30)
    file = tmp_path / "ppo" / "samples.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["step"] > 20:
            row["response"] = f"I am not sure, but {row['response']}\n1. it is\n2. it was"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {one.question: one for one in diagnose(Story.read(tmp_path), "ppo")}
    assert (found["hedging"].outcome, found["lists"].outcome) == ("ill", "watch"), "the second opinion rose with lists"
    assert "100 %" in found["hedging"].words


# ---- the door


def test_every_answer_is_one_sentence_with_its_number_and_what_to_change(tmp_path):
    found, _ = examined(tmp_path, flaw=simulated.count_of("bee"))
    assert len(found) == len(QUESTIONS) == 9
    for one in found.values():
        assert "\n" not in one.sentence
        assert one.sentence.endswith(".")
        assert one.outcome == "not decided" or "n = " in one.sentence
        assert one.outcome not in ("ill", "watch") or one.do


def test_the_command_says_the_illness_first_and_all_of_it_as_json(tmp_path):
    folder = simulated.optimised(tmp_path / "story", kl_coef=0.0)
    shown = CliRunner().invoke(command, [str(folder)], catch_exceptions=False)
    assert shown.output.startswith("ppo: KL drift (controller)")
    assert shown.output.count("\n") >= 10
    said = json.loads(CliRunner().invoke(command, [str(folder), "--json"], catch_exceptions=False).output)
    assert (said["policy"], said["illness"]["name"], len(said["findings"])) == ("ppo", "KL drift", 9)
    alone = json.loads(CliRunner().invoke(command, [str(folder / "ppo"), "--json"], catch_exceptions=False).output)
    assert alone["findings"] == said["findings"]


def test_a_threshold_can_be_set_and_a_wrong_name_is_offered_the_right_one(tmp_path):
    folder = simulated.optimised(tmp_path / "story", iterations=20)
    strict = json.loads(CliRunner().invoke(command, [str(folder), "entropy=0.99", "--json"]).output)
    assert strict["illness"]["name"] == "mode collapse"
    for words in (["entropi=0.1"], ["--name", "pop"], ["entropy=lots"]):
        with pytest.raises(RatherError):
            CliRunner().invoke(command, [str(folder), *words], catch_exceptions=False)


@pytest.mark.parametrize(
    "line", ['{"step": 1, "objective/scores": 1', '{"step": "x"}', "[]", '{"step": 1, "objective/kl": "far"}',
             '{"step": 1, "objective/scores": {"a": 1}, "objective/kl": null}', '{"objective/scores": 1e308}']
)  # fmt: skip
@pytest.mark.parametrize("file", ["metrics.jsonl", "samples.jsonl"])
def test_a_log_that_somebody_spoiled_is_said_in_words_or_left_out(tmp_path, file, line, capsys):
    folder = simulated.optimised(tmp_path / "story", iterations=12)
    (folder / "ppo" / file).write_text((line + "\n") * 12)
    with pytest.raises(SystemExit):
        main(["diagnose", str(folder)])
    assert "Traceback" not in capsys.readouterr().err


def test_where_nothing_was_optimised_it_says_so(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(SystemExit) as stopped:
            main(["diagnose", str(folder)])
        assert stopped.value.code == 2
        assert "Expected" in capsys.readouterr().err


def test_what_a_policy_said_cannot_paint_the_terminal(tmp_path):
    folder = simulated.optimised(tmp_path / "story", flaw=simulated.count_of("bee"), iterations=40)
    for name in ("samples.jsonl",):
        path = folder / "ppo" / name
        path.write_text(path.read_text().replace("bee", "b\\u001b[31m"))
    assert "\x1b" not in CliRunner().invoke(command, [str(folder)], catch_exceptions=False).output


def test_the_policy_that_is_asked_about_is_the_last_or_the_one_named(tmp_path):
    simulated.optimised(tmp_path, iterations=12)
    story = Story.read(tmp_path)
    assert patient(story) == patient(story, "ppo") == "ppo"
    with pytest.raises(RatherError, match="Did you mean 'ppo'"):
        patient(story, "pop")


def test_it_runs_without_torch(tmp_path):
    simulated.optimised(tmp_path, iterations=12)
    code = "import sys; from rather.cli.diagnose import command; command([sys.argv[1]], standalone_mode=False)"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("False\n")
