"""`rather new`: a project that can be read, checked, planned and run as it is, and that replaces nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rather.cli import main
from rather.models.load import save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.pipeline_recipe import Recipe
from rather.records import Demonstration, Prompt, Ranking, Text, read

QUIET = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([*map(str, args)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    policy = tiny(
        TinyConfig(vocabulary=300, hidden=16, layers=1, heads=2, context=96), ["a cod"] * 9, torch.Generator()
    )
    return save_policy(policy, tmp_path / "tiny")


def test_a_project_is_a_recipe_and_records_that_pass_the_check(run, tmp_path):
    folder = tmp_path / "deep" / "mine"
    code, said, _ = run("new", folder)
    assert code == 0
    assert f"rather run {folder}/recipe.toml {folder}" in said
    assert {path.name for path in folder.iterdir()} == {
        "recipe.toml", "prompts.jsonl", "demonstrations.jsonl", "rankings.jsonl", "texts.jsonl",
    }  # fmt: skip
    for name, kind in {"prompts": Prompt, "demonstrations": Demonstration, "rankings": Ranking, "texts": Text}.items():
        assert run("data", "check", folder / f"{name}.jsonl")[0] == 0
        assert len(list(read(folder / f"{name}.jsonl", kind))) >= 60


def test_its_recipe_is_read_and_planned_before_anything_runs(run, tmp_path):
    run("new", tmp_path / "mine")
    story = Recipe.read(tmp_path / "mine" / "recipe.toml", tmp_path / "mine")
    assert [one.name for one in story.steps] == ["base", "sft", "init", "reward", "ppo", "report"]
    code, said, _ = run("plan", tmp_path / "mine" / "recipe.toml", tmp_path / "mine", "--no-time", "--json")
    plan = json.loads(said)
    assert (code, plan["fits"]) == (0, True)
    assert all(one["work"] for one in plan["stages"] if one["stage"] != "report")


def test_labelers_share_prompts_so_that_their_agreement_is_known(run, tmp_path):
    run("new", tmp_path / "mine")
    by_prompt: dict[str, set[str | None]] = {}
    for ranking in read(tmp_path / "mine" / "rankings.jsonl", Ranking):
        by_prompt.setdefault(str(ranking.prompt), set()).add(ranking.labeler)
    assert sum(len(labelers) > 1 for labelers in by_prompt.values()) >= 20


def test_a_model_of_ones_own_is_named_wherever_the_recipe_is_run_from(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(model.parent)
    assert run("new", tmp_path / "mine", "--model", "./tiny")[0] == 0
    story = Recipe.read(tmp_path / "mine" / "recipe.toml", tmp_path / "mine")
    assert [one.name for one in story.steps] == ["sft", "init", "reward", "ppo", "report"]
    assert story.steps[0].settings.model == story.steps[1].settings.model == str(model)
    run("new", tmp_path / "hub", "--model", "owner/name")
    assert Recipe.read(tmp_path / "hub" / "recipe.toml", tmp_path / "hub").steps[0].settings.model == "owner/name"


@pytest.mark.parametrize("there", ["a file", "a full folder"])
def test_what_is_there_is_left_as_it_is(run, tmp_path, there):
    place = tmp_path / "mine"
    if there == "a file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "notes.txt").write_text("mine")
    code, said, err = run("new", place)
    assert (code, said) == (2, "")
    assert "is there already, and is left as it is" in err
    assert (place if there == "a file" else place / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert run("new", tmp_path / "empty")[0] == 0


def test_a_model_that_is_not_there_is_named_and_nothing_is_written(run, tmp_path):
    code, _, err = run("new", tmp_path / "mine", "--model", "./nowhere")
    assert code == 2
    assert "There is no folder ./nowhere" in err
    assert not (tmp_path / "mine").exists()


def test_a_name_cannot_write_into_the_recipe(run, tmp_path):
    folder = tmp_path / 'a "name"\nstages = []'
    assert run("new", folder)[0] == 0
    assert len(Recipe.read(folder / "recipe.toml", folder).steps) == 6


@pytest.mark.slow
def test_it_runs_as_it_is_to_a_report(tmp_path):
    for words in (["new", "mine"], ["run", "mine/recipe.toml", "mine"]):
        done = subprocess.run([sys.executable, "-m", "rather", *words], cwd=tmp_path, env=QUIET, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert (tmp_path / "mine" / "report.html").exists()
    assert (tmp_path / "mine" / "ppo" / "checkpoint-ema").is_dir()
    assert "verdict" in json.loads((tmp_path / "mine" / "readiness.json").read_text())
