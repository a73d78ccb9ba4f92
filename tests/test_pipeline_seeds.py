"""`seeds = 3` in a recipe: one story told three times, with other chance and the same base models."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from rather.cli import main
from rather.cli.pretrain import command as pretrain
from rather.cli.run import command
from rather.cli.stage import settings_of, sorted_out
from rather.errors import BadFile, BadSetting, NotReady, RatherError
from rather.pipeline import Told, story
from rather.pipeline_recipe import Recipe
from rather.pipeline_seeds import common, of_seed, refuse_mixing, stories, tell_together
from rather.pipeline_side_by_side import CONTEXT
from rather.records import Demonstration, write
from rather.run import read_done
from rather.run.seeds import each_seed, seeds_in, write_seeds

sys.path.insert(0, str(Path(__file__).parent / "report"))
import written

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "recipes" / "paper-in-miniature.toml"
SMALL = """
[story]
stages = ["pretrain base", "sft one", "sft two", "report"]
seeds = 2

[base]
size = "xs"
texts = "{run}/texts.jsonl"
tokens = 3000
validation_tokens = 1000

[sft]
epochs = 1
batch_size = 8
max_new_tokens = 4
validation_prompts = 2
precision = "fp32"
keep = "chosen"

[two]
model = "{run}/one/checkpoint"
epochs = 1
max_new_tokens = 4
validation_prompts = 2
precision = "fp32"
keep = "chosen"
seed = 5
"""
STAGES = ("one", "two")
SILENT = Told(lambda step, why: None, lambda words: None)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """The bytes are the same where the number of threads is."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def put_records(folder: Path) -> None:
    """What people hand in: it lies in RUN, for all seeds."""
    folder.mkdir(parents=True)
    things = {"snow": "white", "coal": "black", "grass": "green", "blood": "red", "sky": "blue", "gold": "yellow"}
    asked = ("color of {} ?", "what color is {} ?", "{} : which color ?", "and {} ?")
    said = [
        Demonstration(id=f"{at} {thing}", prompt=how.format(thing), response=f"it is {color} .", labeler="program")
        for at, how in enumerate(asked)
        for thing, color in things.items()
    ]
    write(folder / "demonstrations.jsonl", said)
    texts = [json.dumps({"text": f"{at} {one.prompt} {one.response}"}) for at in range(40) for one in said]
    (folder / "texts.jsonl").write_text("\n".join(texts) + "\n")


def small(folder: Path, *overrides: str, seeds: int = 2) -> Recipe:
    (folder.parent / "r.toml").write_text(SMALL.replace("seeds = 2", f"seeds = {seeds}"))
    if not folder.exists():
        put_records(folder)
    return Recipe.read(folder.parent / "r.toml", folder, overrides)


def weights(seed: Path) -> dict[str, str]:
    return {name: read_done(seed / name)["files"]["checkpoint/model.safetensors"] for name in ("base", *STAGES)}


# ---- what a seed is


def seeds_of(recipe: Recipe) -> dict[str, int]:
    return {step.name: step.settings.seed for step in recipe.steps if hasattr(step.settings, "seed")}


def test_in_seed_k_every_seed_is_k_more_and_what_measures_draws_anew_too():
    recipe = Recipe.read(PAPER, Path("run"), ["ppo.seed=7", "ppo-beta-0.05.seed=3"])
    first, third = seeds_of(of_seed(recipe, 0)), seeds_of(of_seed(recipe, 2))
    assert first == seeds_of(recipe)
    assert (first["ppo"], first["ppo-beta-0.05"], first["ppo-beta-0"]) == (7, 3, 0)
    assert third == {name: seed + 2 for name, seed in first.items() if not name.startswith("base-")}
    assert "measure" in third


def test_rounds_are_told_apart_in_every_seed(tmp_path):
    (tmp_path / "r.toml").write_text('[story]\nstages = ["rank", "reward", "ppo"]\nrounds = 2\n[ppo-2]\nseed = 4\n')
    found = seeds_of(of_seed(Recipe.read(tmp_path / "r.toml", Path("run"), ["ppo.seed=9"]), 1))
    assert found == {"rankings": 1, "reward": 1, "ppo": 10, "rankings-2": 2, "reward-2": 1, "ppo-2": 5}


@pytest.mark.parametrize("name", ["rankings", "ppo-beta-0.05", "reward-2"])
def test_the_verb_that_is_printed_makes_the_same_alone(name):
    (one,) = (step for step in of_seed(Recipe.read(PAPER, Path("run")), 2).steps if step.name == name)
    words = [word for word in one.command[1:] if word not in ("rank", "--name", "--out", name, f"{name}.jsonl")]
    folder, path, overrides = sorted_out(words)
    assert folder == Path("run/seed-2")
    assert settings_of(type(one.settings), folder, path, overrides, name, one.verb) == one.settings


def test_base_models_and_what_they_read_come_before_all_seeds(tmp_path):
    first = common(of_seed(Recipe.read(PAPER, Path("run")), 0))
    assert sorted(step.name for step in first.steps) == ["base-l", "base-s", "base-xs"]
    text = '[story]\nstages = ["world", "sft", "pretrain"]\n[base]\ntexts = "{run}/web.jsonl"\n[sft]\nmodel = "x/y"\n'
    (tmp_path / "r.toml").write_text(text)
    assert [step.name for step in common(of_seed(Recipe.read(tmp_path / "r.toml"), 0)).steps] == ["world", "base"]


# ---- told


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Path:
    """Two seeds, made in one process; nobody writes into it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as here:
        here.setenv("OMP_NUM_THREADS", "1")
        recipe = small(tmp_path_factory.mktemp("told") / "run")
        done = stories(recipe, SILENT)
    torch.set_num_threads(threads)
    assert done == {
        "seed-0": dict.fromkeys(("base", *STAGES, "report"), "new"),
        "seed-1": dict.fromkeys((*STAGES, "report"), "new"),
    }
    return recipe.folder


@pytest.fixture
def mine(told, tmp_path) -> Path:
    """A copy. Settings name their folder, so that it lies where the other did by name."""
    shutil.copytree(told.parent, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy" / "run"


def test_seeds_differ_in_all_but_the_base_model_which_is_a_relative_link(told):
    first, second = weights(told / "seed-0"), weights(told / "seed-1")
    assert {name for name in first if first[name] == second[name]} == {"base"}
    assert (told / "seed-1" / "base").readlink() == Path("../seed-0/base")
    assert (told / "seed-1" / "texts.jsonl").readlink() == Path("../texts.jsonl")
    assert seeds_in(told) == [told / "seed-0", told / "seed-1"]
    page = (told / "report.html").read_text()
    assert "<title>run: seed-0, seed-1: report" in page
    assert "-&gt; ../seed-0/base" in page


def test_seed_0_is_the_story_as_it_is_without_seeds(told, tmp_path):
    recipe = small(tmp_path / "run", seeds=1)
    story(recipe, SILENT)
    assert weights(tmp_path / "run") == weights(told / "seed-0")


def test_side_by_side_they_are_the_same_bytes_and_their_lines_say_whose_they_are(told, tmp_path, capsys):
    recipe = small(tmp_path / "run")
    stories(recipe, SILENT, jobs=2)
    for name in ("seed-0", "seed-1"):
        assert weights(tmp_path / "run" / name) == weights(told / name)
    said = capsys.readouterr().out.splitlines()
    assert "seed-1: == one: new" in said
    assert [line for line in said if line.startswith("seed-1: $ rather sft ") and " seed=6 --name two" in line]
    again = stories(recipe, SILENT, jobs=2)
    assert {why for stages in again.values() for why in stages.values()} == {"as it was"}


def test_a_base_that_changed_is_what_every_seed_is_made_from_again(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stories(small(Path("run")), SILENT)
    done = stories(small(Path("run"), "base.tokens=4000"), SILENT)
    assert done["seed-0"]["base"] == "tokens was 3000, is 4000"
    assert done["seed-0"]["one"] == done["seed-1"]["one"] == "base/checkpoint changed"
    assert weights(Path("run/seed-1"))["base"] == weights(Path("run/seed-0"))["base"]

    shutil.rmtree("run/seed-0/base")  # now a link points nowhere
    done = stories(small(Path("run"), "base.tokens=4000"), SILENT)
    assert (done["seed-0"]["base"], done["seed-1"]["one"]) == ("what it made is gone", "as it was")

    raised = stories(small(Path("run"), "base.tokens=4000", seeds=3), SILENT)
    assert raised["seed-1"]["two"] == "as it was"
    assert raised["seed-2"]["two"] == "new"
    words: list[str] = []
    stories(small(Path("run"), "base.tokens=4000"), Told(lambda step, why: None, words.append))
    assert [said for said in words if "run/seed-2 stays there, and is not counted: there are 2 seeds now" in said]
    assert seeds_in(Path("run")) == [Path("run/seed-0"), Path("run/seed-1")]
    assert "seed-2" not in Path("run/report.html").read_text()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_seed_that_fails_stops_the_others_and_the_same_command_goes_on(told, tmp_path, jobs):
    recipe = small(tmp_path / "run")
    own = tmp_path / "run" / "seed-1" / "demonstrations.jsonl"  # counts for this seed
    own.parent.mkdir()
    own.write_text("{\n")
    with pytest.raises(RatherError, match=r"seed-1/demonstrations\.jsonl:1" if jobs == 1 else r"^seed-1: ") as failed:
        stories(recipe, SILENT, jobs)
    assert failed.value.exit_code == 2
    assert CONTEXT.active_children() == []
    assert not (tmp_path / "run" / "report.html").exists()
    own.unlink()
    done = stories(recipe, SILENT, jobs)
    assert done["seed-0"]["base"] == "as it was"
    assert weights(tmp_path / "run" / "seed-1") == weights(told / "seed-1")


def test_what_was_killed_goes_on_where_it_was(mine, tmp_path):
    """As after a kill: a stage without its end, and a link that was not made yet."""
    (mine / "seed-1" / "two" / "DONE").unlink()
    (mine / "seed-1" / "base").unlink()
    (mine / "seed-1" / ".base.unfinished").symlink_to("../seed-0/base")
    (mine / "report.html").unlink()
    recipe = Recipe.read(mine.parent / "r.toml", mine)
    memory = mine / "seed-1" / "pipeline.json"
    stories(recipe, SILENT)
    assert json.loads(memory.read_text())["stages"]["two"]["done"]
    assert (mine / "seed-1" / "base" / "DONE").exists()
    assert (mine / "report.html").exists()
    assert [path.name for path in (mine / "seed-1").iterdir() if path.name.endswith(".unfinished")] == []


def test_records_that_are_taken_away_are_missed(told, mine):
    recipe = Recipe.read(mine.parent / "r.toml", mine)
    (mine / "demonstrations.jsonl").unlink()
    with pytest.raises(NotReady, match=r"There is no .*demonstrations\.jsonl"):
        stories(recipe, SILENT)
    assert not os.path.lexists(mine / "seed-1" / "demonstrations.jsonl")


# ---- what is refused


def refused(folder: Path, seeds: int) -> str:
    with pytest.raises(BadSetting) as error:
        refuse_mixing(small(folder, seeds=seeds))
    return str(error.value)


def test_a_folder_is_of_one_story_or_of_seeds(tmp_path, told, mine):
    run = tmp_path / "run"
    put_records(run)
    refuse_mixing(small(run, seeds=3))
    (run / "pipeline.json").write_text("{}")
    assert f"rather run {tmp_path}/r.toml {run}-seeds --seeds 3" in refused(run, 3)
    refuse_mixing(small(run, seeds=1))
    (mine / "seeds.json").unlink()  # as the words about a damaged one say
    for folder in (told, mine):
        with pytest.raises(BadSetting, match="has seeds of a story: seed-0, seed-1") as error:
            refuse_mixing(replace(Recipe.read(told.parent / "r.toml", folder), seeds=1))
        assert f"{folder}/seed-0 --seeds 1" in str(error.value)


def test_a_seed_does_not_become_a_second_seed_0(told, tmp_path, monkeypatch):
    recipe = replace(Recipe.read(told.parent / "r.toml", told), seeds=1)
    with pytest.raises(BadSetting, match="would become a second seed-0") as error:
        refuse_mixing(replace(recipe, folder=told / "seed-1"))
    assert f"{told} --seeds 2 --plan" in str(error.value)
    monkeypatch.chdir(told)
    with pytest.raises(BadSetting, match="is one of 2 seeds"):
        refuse_mixing(replace(recipe, folder=Path("seed-1")))
    (tmp_path / "seeds.json").write_text("beans")  # somebody's own file
    for folder in (told / "seed-0", told / "seed-2", tmp_path / "garden", tmp_path / "other" / "seed-1"):
        refuse_mixing(replace(recipe, folder=folder))


def test_the_verb_of_a_stage_does_not_write_through_the_link_into_another_seed(mine):
    kept = (mine / "seed-0" / "base" / "checkpoint" / "model.safetensors").read_bytes()
    with pytest.raises(BadSetting, match="common to several seeds") as error:
        pretrain.main([str(mine / "seed-1"), str(mine.parent / "r.toml"), "--again"], standalone_mode=False)
    assert str(mine / "seed-0") in str(error.value)
    assert (mine / "seed-0" / "base" / "checkpoint" / "model.safetensors").read_bytes() == kept


def test_a_base_of_a_seed_s_own_is_not_taken_for_the_common_one(mine):
    (mine / "seed-1" / "base").unlink()
    (mine / "seed-1" / "base").mkdir()
    assert "is no link" in refused(mine, 2)


@pytest.mark.parametrize("count", ["0", "-1", '"two"', "true", "1000"])
def test_a_number_of_seeds_that_is_none_is_refused(tmp_path, count):
    (tmp_path / "r.toml").write_text(SMALL.replace("seeds = 2", f"seeds = {count}"))
    with pytest.raises(BadSetting, match="seeds"):
        Recipe.read(tmp_path / "r.toml")
    said = CliRunner().invoke(command, [str(tmp_path / "r.toml"), "--seeds", count])
    assert said.exit_code == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"seeds": "3"}', '{"seeds": 1}', '{"seeds": true}', "[" * 9999]
)
def test_a_list_of_seeds_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "seeds.json").write_text(content)
    with pytest.raises(BadFile, match=r"seeds\.json cannot be read"):
        seeds_in(tmp_path)


def test_a_run_that_is_no_folder_of_seeds_is_itself(tmp_path):
    write_seeds(tmp_path, 2)
    (tmp_path / "file").write_text("")
    runs = [tmp_path / "x", tmp_path, tmp_path / "file"]
    assert each_seed(runs) == [tmp_path / "x", tmp_path / "seed-0", tmp_path / "seed-1", tmp_path / "file"]


# ---- what they say together


@pytest.fixture
def three(tmp_path) -> Recipe:
    """Three seeds that have been judged."""
    (tmp_path / "r.toml").write_text('[story]\nstages = ["claims", "report"]\nseeds = 3\n')
    for number, win in enumerate((0.7, 0.8, 0.3)):
        made = written.story(tmp_path / "run" / f"seed-{number}", win=win)
        found = json.loads((made / "claims.json").read_text())
        found["claims"][0]["outcome"] = "pass" if win > 0.5 else "fail"
        written.write(made / "claims.json", found)
    write_seeds(tmp_path / "run", 3)
    return Recipe.read(tmp_path / "r.toml", tmp_path / "run")


def test_the_claims_of_all_seeds_are_one_table_in_the_form_of_a_single_run_s(three):
    tell_together(three, SILENT)
    found = json.loads((three.folder / "claims.json").read_text())
    first, second = found["claims"]
    assert (first["claim"], first["outcome"], first["passed"], first["seeds"]) == (5, "pass", 2, 3)
    assert first["figure"] == pytest.approx(0.6)
    assert first["interval"] == pytest.approx([0.26, 0.84])
    assert first["n"] == 600
    assert {name: (of["outcome"], of["why"]) for name, of in first["runs"].items()} == {
        "seed-0": ("pass", "win 0.7 (>= 0.55)"),
        "seed-1": ("pass", "win 0.8 (>= 0.55)"),
        "seed-2": ("fail", "win 0.3 (>= 0.55)"),
    }
    assert (second["outcome"], second["passed"], second["interval"]) == ("fail", 0, None)


def test_a_seed_that_was_held_against_another_criterion_speaks_for_neither_side(three):
    path = three.folder / "seed-1" / "claims.json"
    found = json.loads(path.read_text())
    found["claims"][0]["criterion"] = "win >= .5"
    del found["claims"][1]
    written.write(path, found)
    tell_together(three, SILENT)
    first, second = json.loads((three.folder / "claims.json").read_text())["claims"]
    assert first["outcome"] == "not decided"
    assert first["runs"]["seed-1"]["why"] == "it was held against another criterion: win >= .5"
    assert second["runs"]["seed-1"]["outcome"] == "not decided"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"claims": {}}'])
def test_a_table_of_a_seed_that_is_damaged_is_named_and_nothing_is_written(three, content):
    (three.folder / "seed-2" / "claims.json").write_text(content)
    with pytest.raises(BadFile, match=r"seed-2/claims\.json"):
        tell_together(three, SILENT)
    assert not (three.folder / "claims.json").exists()
    assert not (three.folder / "report.html").exists()


def test_verbs_that_compare_runs_take_a_folder_of_seeds_for_its_seeds(three, capsys):
    with pytest.raises(SystemExit):
        main(["report", str(three.folder)])
    said = capsys.readouterr().out
    assert "Of 2 claims of the paper, over 3 runs, 1 pass, 1 fail" in said
    page = (three.folder / "report.html").read_text()
    assert "The claims of the paper, over 3 seeds" in page


@pytest.mark.parametrize("verb", ["diagnose", "ready", "compare", "world measure", "track --to tensorboard"])
def test_verbs_that_read_one_story_ask_for_one_seed_and_write_nothing(three, verb, capsys):
    before = sorted(three.folder.iterdir())
    with pytest.raises(SystemExit) as end:
        main([*verb.split(), str(three.folder)])
    assert end.value.code == 2
    assert f"Name it:  {three.folder}/seed-0" in capsys.readouterr().err
    assert sorted(three.folder.iterdir()) == before


# ---- the door


def test_the_plan_says_what_is_common_and_what_is_each_seed_s_own(tmp_path):
    recipe = small(tmp_path / "run")
    words = [str(recipe.path), str(recipe.folder), "--plan"]
    said = CliRunner().invoke(command, words).output
    assert "base             new   (common to all seeds)" in said
    assert said.count("(common to all seeds)") == 1
    assert "base: those of seed-0, by a link" in said
    assert f"$ rather sft {recipe.folder}/seed-1 {recipe.path} seed=6 --name two" in said
    found = json.loads(CliRunner().invoke(command, [*words, "--json", "--seeds", "3"]).output)
    assert [one["run"] for one in found["seeds"]] == [str(recipe.folder / f"seed-{k}") for k in range(3)]
    assert [row["stage"] for row in found["seeds"][0]["stages"] if row["common"]] == ["base"]
    assert not (recipe.folder / "seed-0").exists()


def test_the_door_tells_of_the_first_seed_and_of_all(told, mine):
    """Nothing is left to do, so that it is told at once."""
    said = CliRunner().invoke(command, [str(mine.parent / "r.toml"), str(told), "--jobs", "1", "--json"])
    found = json.loads(said.stdout)
    assert set(found["seeds"]) == {"seed-0", "seed-1"}
    assert set(found["seeds"]["seed-1"]["stages"].values()) == {"as it was"}
    said = CliRunner().invoke(command, [str(mine.parent / "r.toml"), str(told), "--jobs", "1"])
    assert f"{told}/seed-0:\n" in said.output
    assert f"The report:       {told}/report.html" in said.output
    assert f"chat {told}/seed-0/two" in said.output
