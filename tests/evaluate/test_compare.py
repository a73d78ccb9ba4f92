"""rather compare: policies at equal drift and equal reward; what nobody measured is said to be so, and is never 0."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from pydantic import Field

from rather.cli import compare as door
from rather.config import Config
from rather.errors import BadFile, BadSetting, NotReady, RatherError
from rather.evaluate.compare import as_object, at_equal, read_at, shared_levels
from rather.evaluate.compare_reading import courses_of
from rather.run import Run
from rather.statistics import best_of_n_kl


class PPO(Config):
    """The settings by which a stage is known, and no more."""

    model: str = Field("none", description="made up")
    reward: str = Field("none", description="made up")
    gae_lambda: float = Field(0.95, description="made up")
    ptx_coef: float = Field(0.0, description="made up")


class DPO(Config):
    model: str = Field("none", description="made up")
    form: str = Field("sigmoid", description="made up")
    flip_rate: float = Field(0.0, description="made up")


class BestOfN(Config):
    model: str = Field("none", description="made up")
    ranked: int = Field(4, description="made up")
    samples: int = Field(8, description="made up")


def stage(folder: Path, settings: Config, rows: list[dict[str, Any]]) -> Path:
    with Run.open(folder, settings) as run:
        for step, row in enumerate(rows, start=1):
            run.metrics(step, row)
        run.checkpoint.mkdir()
        (run.checkpoint / "x").write_text("made up")
        run.finish(len(rows), {})
    return folder


def ppo(folder: Path, kl: list[float], scores: list[float], gold: list[float] | None = None, **settings: Any) -> Path:
    rows = []
    for at, (drift, score) in enumerate(zip(kl, scores, strict=True)):
        row = {"episode": 100 * (at + 1), "objective/kl": drift, "objective/kl_se": 0.1, "objective/scores": score}
        row |= {"objective/scores_std": 2.0, "response/length": 10.0, "policy/entropy_avg": 1.0 - 0.1 * at}
        rows.append(row | ({"world/gold": gold[at], "world/gold_se": 0.05} if gold else {}))
    return stage(folder, PPO(**settings), rows)


def best_of_n(folder: Path, scores: list[float]) -> Path:
    stage(folder, BestOfN(), [{"objective/scores": scores[0]}])
    curve = [
        {"n": 2**k, "kl": 99.0, "score": {"value": s, "interval": [s - 0.1, s + 0.1], "prompts": 50}}
        for k, s in enumerate(scores)
    ]
    (folder / "curve.json").write_text(json.dumps({"samples": 8, "prompts": 50, "curve": curve}))
    return folder


@pytest.fixture
def story(tmp_path) -> Path:
    run = tmp_path / "run"
    ppo(run / "ppo", [0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 1.5, 1.6], gold=[0.0, 0.5, 0.7, 0.4])
    ppo(run / "ppo-ptx", [0.0, 2.0, 4.5], [0.0, 1.2, 1.8], ptx_coef=27.8)
    best_of_n(run / "best-of-n", [0.0, 0.6, 1.0, 1.3])
    stage(run / "dpo", DPO(), [{"loss": 0.7}, {"loss": 0.6}])
    return run


def by_name(path: Path) -> dict[str, Any]:
    return {course.name: course for course in courses_of(path)}


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(door.command, [str(word) for word in words])


def test_methods_are_known_by_their_settings_and_not_by_their_names(story):
    (story / "ppo").rename(story / "anything")
    found = {name: course.method for name, course in by_name(story).items()}
    assert found == {"anything": "PPO", "ppo-ptx": "PPO-ptx", "best-of-n": "best-of-n", "dpo": "DPO"}


def test_a_policy_is_read_between_the_two_points_where_it_reaches_the_level(story):
    read = read_at(by_name(story)["ppo"], "kl", 2.0)
    assert read.place == "step 2 to 3"
    assert read.values["kl"].value == pytest.approx(2.0)
    assert read.values["reward"].value == pytest.approx(1.25)
    assert read.values["gold"].value == pytest.approx(0.6)
    assert read.values["entropy"].value == pytest.approx(0.85)
    assert read.tokens == pytest.approx(2500)  # 100 responses of 10 tokens an iteration
    low, high = read.values["reward"].interval
    assert (high - low) / 2 == pytest.approx(1.96 * 2.0 / math.sqrt(100))
    low, high = read.values["gold"].interval
    assert (high - low) / 2 == pytest.approx(1.96 * 0.05)
    assert read.values["entropy"].interval is None


def test_it_is_the_first_time_that_counts_and_what_was_never_reached_is_none(tmp_path):
    course = by_name(ppo(tmp_path / "run" / "ppo", [0, 3.0, 1.0, 3.5], [0, 1.0, 2.0, 3.0]))["ppo"]
    assert read_at(course, "kl", 1.5).place == "step 1 to 2"
    assert read_at(course, "kl", 3.5).values["reward"].value == 3.0
    assert read_at(course, "kl", 3.6) is None
    assert read_at(course, "reward", 2.5).values["kl"].value == pytest.approx(2.25)
    late = by_name(ppo(tmp_path / "late" / "ppo", [2.0, 3.0], [1.0, 2.0]))["ppo"]
    assert read_at(late, "kl", 1.0) is None  # it was beyond it when it was first seen


def test_best_of_n_brings_its_analytic_kl_and_not_the_file_s(story):
    course = by_name(story)["best-of-n"]
    assert [point.values["kl"].value for point in course.points] == [best_of_n_kl(n) for n in (1, 2, 4, 8)]
    assert course.points[-1].values["reward"].interval == (1.2, 1.4000000000000001)
    assert read_at(course, "kl", best_of_n_kl(4)).place == "n = 4"


def test_levels_are_where_courses_end_and_at_least_two_came(story):
    courses = list(by_name(story).values())
    levels = [level.level for level in at_equal(courses, "kl")]
    bon = best_of_n_kl(8)
    assert levels == pytest.approx([bon / 2, bon, 4.0])  # 4.5 is PPO-ptx's alone
    assert [level.level for level in at_equal(courses, "kl", [4.4])] == [4.4]  # asked for, and shown as not reached
    assert at_equal(courses, "kl", [4.4])[0].matched["ppo"] is None
    assert shared_levels([], "kl") == []


def test_equal_reward_needs_one_scorer(story, tmp_path):
    ppo(story / "other", [0.0, 1.0, 4.0], [0.0, 50.0, 99.0], reward="somebody:else")
    levels = at_equal(list(by_name(story).values()), "reward")
    assert levels
    assert all("other" not in level.matched for level in levels)
    done = invoke(story)
    assert "Reward is by" in done.output
    assert "somebody:else for other" in done.output


def test_what_was_not_measured_is_said_to_be_so_and_is_never_0(story):
    done = invoke(story)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("dpo ")]
    assert lines[0].count("not measured") == 8  # all but the seconds
    assert all(re.match(r"dpo +not measured$", line) for line in lines[1:])
    assert len(lines) == 1 + 3 + 2  # as they ended, at three levels of KL, and at two of reward
    assert "dpo: it logged no KL:  rather compare RUN --measure  samples it" in done.output
    (said,) = [p for p in json.loads(invoke(story, "--json").output)["policies"] if p["policy"] == "dpo"]
    assert set(said["ended"].values()) == {None}
    assert (said["tax"], said["tokens"]) == (None, None)


def test_what_was_measured_afterwards_is_where_it_ended(story):
    grades = {"base": [1.0] * 20, "ppo": [1.0] * 15 + [0.0] * 5}
    stage(story / "base", Config(), [{"loss": 1.0}])
    stage(story / "init", PPOless(model=str(story / "base" / "checkpoint")), [{"loss": 1.0}])
    (story / "evaluate").mkdir()
    for name, column in grades.items():
        answers = {"t1": {"gold": {"value": 0.33, "interval": [0.3, 0.36], "n": 400}}}
        found = {"about": {}, "answers": answers, "grades": {"reading": column, "sums": column[::-1]}}
        (story / "evaluate" / f"{name}.json").write_text(json.dumps(found))
    course = by_name(story)["ppo"]
    assert (course.ended["gold"].value, course.ended["gold"].n) == (0.33, 400)
    assert course.tax.value == pytest.approx(0.25)
    one = 0.25 - course.tax.interval[0]
    assert 0 < one < 0.25  # two benchmarks: narrower than either
    assert by_name(story)["ppo-ptx"].tax is None


class PPOless(Config):
    model: str = Field("none", description="made up")


def test_measurements_of_other_weights_are_left_out(story):
    (story / "compare").mkdir()
    (story / "compare" / "dpo.json").write_text(json.dumps({"about": {"weights": "old"}, "kl": {"value": 1.0}}))
    (story / "dpo" / "checkpoint" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(RatherError):
        courses_of(story)  # the weights cannot be read at all
    (story / "dpo" / "checkpoint" / "model.safetensors").unlink()
    (story / "dpo" / "checkpoint" / "x").unlink()
    (story / "dpo" / "checkpoint").rmdir()
    course = by_name(story)["dpo"]
    assert course.ended == {}
    assert any("changed since --measure" in note for note in course.notes)


def test_several_runs_are_told_apart_and_a_stage_s_own_folder_is_enough(story, tmp_path):
    other = ppo(tmp_path / "other" / "ppo", [0.0, 4.0], [0.0, 2.0])
    done = json.loads(invoke(story / "ppo", other, "--kl", 2, "--json").output)
    assert [p["policy"] for p in done["policies"]] == [f"{story}/ppo", f"{other.parent}/ppo"]
    (level,) = [level for level in done["matched"] if level["by"] == "kl"]
    assert [p["reward"]["value"] for p in level["policies"].values()] == pytest.approx([1.25, 1.0])


def test_cost_is_what_it_took_until_there(story):
    course = by_name(story)["ppo"]
    assert course.seconds is not None
    assert read_at(course, "kl", 1.0).seconds == pytest.approx(course.seconds / 2)
    events = story / "ppo" / "events.jsonl"
    events.write_text(events.read_text() + '{"time": "2026-01-01T00:00:00+00:00", "event": "resumed"}\n')
    assert by_name(story)["ppo"].seconds is None  # interrupted: nobody knows for how long


def test_figures_stand_alone_and_points_are_a_table(story, tmp_path):
    done = invoke(story, "--figures", tmp_path / "figures")
    assert done.exit_code == 0, done.output
    svg = ElementTree.fromstring((tmp_path / "figures" / "reward-by-kl.svg").read_text())
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    rows = list(csv.DictReader((tmp_path / "figures" / "points.csv").open()))
    (row,) = [row for row in rows if (row["policy"], row["place"]) == ("ppo", "step 2")]
    assert (row["kl"], row["reward"], row["gold"]) == ("1.0", "1.0", "0.5")
    assert {row["gold"] for row in rows if row["policy"] == "best-of-n"} == {""}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("ppo/metrics.jsonl", "not JSON\n"),
        ("ppo/metrics.jsonl", "[1, 2]\n"),
        ("ppo/config.toml", "gae_lambda = = 1"),
        ("best-of-n/curve.json", "{"),
        ("best-of-n/curve.json", '{"curve": [{"n": -3, "score": {"value": 1}}]}'),
        ("best-of-n/curve.json", '{"curve": [{"n": "2", "score": {"value": 1}}]}'),
        ("compare/dpo.json", '{"kl": {"value": 1}}'),
        ("evaluate/ppo.json", "[]"),
        ("ppo/events.jsonl", '{"event": "started", "time": 5}\n{"event": "finished", "time": {}}\n'),
    ],
)
def test_folders_that_are_not_what_a_run_writes_are_refused_in_words(story, file, content):
    (story / file).parent.mkdir(exist_ok=True)
    (story / file).write_text(content)
    with pytest.raises(RatherError, match=r"\S"):
        courses_of(story)


@pytest.mark.parametrize(
    "row",
    [
        {"step": 1, "objective/kl": None, "objective/scores": 1.0},
        {"step": 1, "objective/kl": "3", "objective/scores": [1.0]},
        {"step": 1, "objective/kl": 1.0, "episode": "many", "objective/scores_std": {}},
        {"step": 1, "objective/kl": 10**400},
    ],
)
def test_a_metric_that_is_no_number_is_not_measured(story, row):
    (story / "ppo" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert invoke(story, "--json").exit_code == 0
    (story / "best-of-n" / "curve.json").write_text('{"curve": {"n": 1}}')
    assert invoke(story).exit_code == 0


def test_what_is_not_there_is_said(tmp_path, story):
    with pytest.raises(NotReady, match="There is no folder"):
        courses_of(tmp_path / "nowhere")
    stage(tmp_path / "run2" / "base", Config(), [{"loss": 1.0}])
    with pytest.raises(NotReady, match="no policy to compare"):
        courses_of(tmp_path / "run2")
    with pytest.raises(BadSetting, match="above 0"):
        at_equal(courses_of(story), "kl", [0.0])
    done = invoke(story, "--measure")
    assert isinstance(done.exception, NotReady)
    (story / "prompts.jsonl").write_text("not a record\n")
    assert isinstance(invoke(story, "--measure").exception, RatherError)
    assert not isinstance(done.exception, BadFile)


def test_everything_is_in_the_object(story):
    courses = courses_of(story)
    found = as_object(courses, at_equal(courses, "kl"))
    json.dumps(found, allow_nan=False)
    assert [p["points"] for p in found["policies"] if p["policy"] == "ppo"] == [4]
    assert all(set(level["policies"]) == {p["policy"] for p in found["policies"]} for level in found["matched"])
