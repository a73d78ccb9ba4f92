"""`rather run`: which stages run, which do not, why, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rather.errors import BadFile, BadSetting, RatherError
from rather.pipeline import CHAPTERS
from rather.pipeline_memory import AGAIN, FILE, READS, RESUME, Memory, Why
from rather.pipeline_recipe import KNOWN, TRAINED, Recipe
from rather.run import Run

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
SFT = """
[story]
stages = ["sft sft-s"]
[sft-s]
model = "{run}/base-s/checkpoint"
epochs = 2
"""


@pytest.fixture
def sft(tmp_path):
    """A recipe of one stage whose inputs are there."""
    (tmp_path / "s.toml").write_text(SFT)
    folder = tmp_path / "run"
    (folder / "base-s" / "checkpoint").mkdir(parents=True)
    (folder / "base-s" / "checkpoint" / "model.safetensors").write_text("weights")
    (folder / "demonstrations.jsonl").write_text("{}\n")
    return Recipe.read(tmp_path / "s.toml", folder)


def finished(recipe: Recipe, remember: bool = True) -> None:
    (step,) = recipe.steps
    memory = Memory.of(recipe)
    if remember:
        memory.begin(step, memory.asked(step))
    with Run.open(recipe.folder / step.name, step.settings) as run:
        run.finish(1, {})
    if remember:
        memory.finish(step, 1.0)


def why(recipe: Recipe) -> Why | None:
    memory = Memory.of(recipe)
    return memory.why(recipe.steps[0], memory.asked(recipe.steps[0]))


def test_a_stage_runs_once(sft):
    assert why(sft) == Why("new")
    finished(sft)
    assert why(sft) is None


def test_the_settings_that_changed_are_named(sft):
    finished(sft)
    changed = Recipe.read(sft.path, sft.folder, ["sft-s.epochs=3", "sft-s.seed=1"])
    assert why(changed) == Why("epochs was 2, is 3; seed was 0, is 1", AGAIN)


def test_an_input_counts_by_its_content_and_not_by_its_time(sft):
    finished(sft)
    weights = sft.folder / "base-s" / "checkpoint" / "model.safetensors"
    os.utime(weights, (1, time.time() + 100))
    assert why(sft) is None
    weights.write_text("others")
    assert why(sft) == Why("base-s/checkpoint changed", AGAIN)
    weights.write_text("weights")
    (sft.folder / "demonstrations-validation.jsonl").write_text("{}\n")
    assert why(sft) == Why("demonstrations-validation.jsonl is new", AGAIN)
    (sft.folder / "demonstrations-validation.jsonl").unlink()
    (sft.folder / "demonstrations.jsonl").unlink()
    assert why(sft) == Why("demonstrations.jsonl is gone", AGAIN)


def test_an_interrupted_stage_goes_on_unless_what_it_was_begun_with_has_changed(sft):
    finished(sft)
    (sft.folder / "sft-s" / "DONE").unlink()
    assert why(sft) == Why("it was interrupted", RESUME)
    (sft.folder / "demonstrations.jsonl").write_text("{}\n{}\n")
    assert why(sft) == Why("demonstrations.jsonl changed", AGAIN)


def test_what_was_to_be_thrown_away_and_is_still_there_is_not_taken_for_the_new_one(sft):
    finished(sft)
    (sft.folder / "demonstrations.jsonl").write_text("{}\n{}\n")
    memory, (step,) = Memory.of(sft), sft.steps
    memory.begin(step, memory.asked(step), again=True)  # and killed while it loads its model: nothing has gone yet
    assert why(sft) == Why("what it is to replace is still there", AGAIN)
    (sft.folder / step.name / "DONE").unlink()
    (sft.folder / step.name / "events.jsonl").write_text('{"event": "started", "pid": 2}\n')  # killed after that
    assert why(sft) == Why("it was interrupted", RESUME)
    memory.finish(step, 1.0)
    assert "replaces" not in json.loads((sft.folder / FILE).read_text())["stages"][step.name]


def test_a_stage_that_was_run_by_its_own_verb_is_kept_if_it_is_the_same(sft):
    finished(sft, remember=False)
    assert why(sft) is None
    later = time.time() + 100
    os.utime(sft.folder / "demonstrations.jsonl", (later, later))
    assert why(sft) == Why("demonstrations.jsonl is newer", AGAIN)
    changed = Recipe.read(sft.path, sft.folder, ["sft-s.epochs=3"])
    assert why(changed) == Why("it was run with other settings: epochs was 2, is 3", AGAIN)


def test_another_recipe_does_not_throw_away_what_this_one_made(sft, tmp_path):
    finished(sft)
    (tmp_path / "other.toml").write_text(SFT)
    with pytest.raises(BadSetting, match=r"belongs to the recipe s\.toml"):
        Memory.of(Recipe.read(tmp_path / "other.toml", sft.folder))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"recipe": 1, "stages": []}', '{"recipe": "s.toml", "stages": {"sft-s": {}}}']
)
def test_a_memory_that_cannot_be_read_is_named(sft, content):
    (sft.folder / FILE).write_text(content)
    with pytest.raises(BadFile, match=r"pipeline\.json cannot be read"):
        Memory.of(sft)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[sft]\nepochs = 1\n", "has no table"),
        ("[story]\nstages = []\n", "stages"),
        ('[story]\nstages = ["sfd"]\n', "Did you mean 'sft'"),
        ('[story]\nstages = ["sft a b"]\n', "there is no stage"),
        ('[story]\nstages = ["sft ../x"]\n', "no name of a folder"),
        ('[story]\nstages = [""]\n', "there is no stage"),
        ('[story]\nstages = ["sft", "sft"]\n', "two stages leave 'sft'"),
        ('[story]\nstages = ["sft sft-s"]\n[sft-x]\nepochs = 1\n', r"no stage reads \[sft-x\]. Did you mean 'sft-s'"),
        ('[story]\nstages = ["sft"]\n[sft]\nepoch = 1\n', "Did you mean 'epochs'"),
        ('[story]\nstages = ["world"]\n[world]\nworld = "mars"\n', "There is no world"),
        ('[story]\nstages = ["sft"]\nname = "x"\n', "there is no setting 'name'"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_before_anything_starts(tmp_path, text, says):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RatherError, match=says):
        Recipe.read(tmp_path / "r.toml", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["epochs=3", "stf-s.epochs=3", "sft-s.epoch=3"])
def test_a_setting_of_no_stage_is_refused(sft, text):
    with pytest.raises(BadSetting):
        Recipe.read(sft.path, sft.folder, [text])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_ours_can_be_read(path):
    recipe = Recipe.read(path, Path("run/x"))
    assert [step for step in recipe.steps if "{run}" in step.settings.model_dump_json()] == []


def test_every_stage_has_its_place_in_every_table():
    assert list(CHAPTERS) == list(KNOWN)
    assert set(READS) == set(TRAINED)


# ---- the whole story on the smallest world

STORY = ROOT / "tests" / "smallest_story.toml"
QUIET = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def started(folder: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "rather", "run", str(STORY), "story", *more]
    return subprocess.Popen(words, cwd=folder, env=QUIET, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_whole_story_killed_resumed_and_then_left_alone(tmp_path, jobs):
    process = started(tmp_path, "--jobs", jobs)
    metrics = tmp_path / "story" / "ppo" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[0]
    assert metrics.exists(), said
    assert not (tmp_path / "story" / "report.html").exists()

    said = started(tmp_path, "--jobs", jobs).communicate()[0]
    assert "== sft-s: as it was" in said
    assert "== ppo: it was interrupted" in said, said
    assert "The report:" in said, said
    page = (tmp_path / "story" / "report.html").read_text()
    assert "Whom labelers prefer" in page
    assert "Side by side" in page

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "story").rglob("*") if path.is_file()}
    said = json.loads(started(tmp_path, "--json").communicate()[0].splitlines()[-1])
    assert set(said["stages"].values()) == {"as it was"}
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "story").rglob("*") if path.is_file()}
    assert {p: t for p, t in after.items() if p.name != ".lock"} == {
        p: t for p, t in before.items() if p.name != ".lock"
    }
