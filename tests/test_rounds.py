"""`rounds = 2` in a recipe: steps 2 and 3 once more, on the newest policy and with fresh rankings."""

from __future__ import annotations

from pathlib import Path

import pytest

from rather.cli.stage import settings_of, sorted_out
from rather.errors import BadSetting
from rather.pipeline_recipe import Recipe, Step
from rather.stages.ppo_config import PPOConfig

ROOT = Path(__file__).parents[1]
TOLD = """
[story]
stages = ["rank", "reward reward-votes", "reward", "ppo ppo", "ppo ppo-ptx", "measure", "report"]
rounds = 3

[rankings]
policies = ["sft-s"]
prompts = 50

[reward]
model = "{run}/reward-votes/checkpoint"
learning_rate = 1e-3

[ppo]
preset = "instructgpt"
model = "{run}/init-s/checkpoint"

[ppo-ptx]
preset = "ziegler2019"
model = "{run}/init-s/checkpoint"
texts = "marn:0"
episodes = 1024

[ppo-ptx-3]
kl_coef = 0.5
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "r.toml").write_text(TOLD)
    return tmp_path / "r.toml"


def step(recipe: Recipe, name: str) -> Step:
    (found,) = (one for one in recipe.steps if one.name == name)
    return found


def test_the_last_of_each_is_repeated_behind_them_and_before_what_is_measured(recipe):
    names = [one.name for one in Recipe.read(recipe, Path("run")).steps]
    assert names == [
        "rankings", "reward-votes", "reward", "ppo", "ppo-ptx",
        "rankings-2", "reward-2", "ppo-ptx-2", "rankings-3", "reward-3", "ppo-ptx-3",
        "measure", "report",
    ]  # fmt: skip


def test_each_round_begins_with_what_the_one_before_made(recipe):
    story = Recipe.read(recipe, Path("run"))
    rank, reward, ppo = (step(story, name).settings for name in ("rankings-3", "reward-3", "ppo-ptx-3"))
    assert (rank.policies, rank.prompts, rank.seed) == (("ppo-ptx-2",), 50, 2)
    assert (reward.model, reward.rankings) == ("run/reward-2/checkpoint", "run/rankings-3.jsonl")
    assert reward.learning_rate == 1e-3
    assert (ppo.model, ppo.reward) == ("run/ppo-ptx-2/checkpoint", "run/reward-3/checkpoint")
    assert step(story, "reward-2").settings.model == "run/reward/checkpoint"
    assert step(story, "rankings-2").settings.policies == ("ppo-ptx",)


def test_all_else_is_as_in_the_first_round_but_for_a_table_of_its_own_and_the_command_line(recipe):
    story = Recipe.read(recipe, Path("run"), ["ppo-ptx.batch_size=256", "ppo-ptx.minibatch_size=256",
                                              "ppo-ptx-2.seed=7"])  # fmt: skip
    first, second, third = (step(story, name).settings for name in ("ppo-ptx", "ppo-ptx-2", "ppo-ptx-3"))
    begins = {"model", "reward"}
    assert isinstance(first, PPOConfig)
    assert {k for k, v in second if v != getattr(first, k)} == begins | {"seed"}
    assert {k for k, v in third if v != getattr(first, k)} == begins | {"kl_coef"}
    assert (second.preset, second.batch_size, second.seed, third.kl_coef) == ("ziegler2019", 256, 7, 0.5)


@pytest.mark.parametrize("name", ["reward-2", "ppo-ptx-2", "ppo-ptx-3", "rankings-2"])
def test_the_verb_that_is_typed_by_hand_has_the_same_settings(recipe, name):
    one = step(Recipe.read(recipe, Path("run")), name)
    words = [word for word in one.command[1:] if word not in ("rank", "--name", "--out", name, f"{name}.jsonl")]
    folder, path, overrides = sorted_out(words)
    assert settings_of(type(one.settings), folder, path, overrides, name, one.verb) == one.settings


def test_people_rank_where_no_program_does(tmp_path):
    (tmp_path / "r.toml").write_text('[story]\nstages = ["sft", "reward", "ppo"]\nrounds = 2\n')
    story = Recipe.read(tmp_path / "r.toml", Path("run"))
    assert [one.name for one in story.steps] == ["sft", "reward", "ppo", "reward-2", "ppo-2"]
    assert step(story, "reward-2").settings.rankings == "run/rankings-2.jsonl"


def test_one_round_is_the_recipe_as_it_stands():
    told = Recipe.read(ROOT / "recipes" / "miniature.toml", Path("run"))
    assert not [one.name for one in told.steps if one.name.endswith("-2")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('stages = ["sft", "ppo"]\nrounds = 2', "no reward and ppo to repeat"),
        ('stages = ["reward", "ppo"]\nrounds = 0', "rounds"),
        ('stages = ["reward", "ppo"]\nrounds = "two"', "rounds"),
        ('stages = ["reward", "ppo ppo-2", "ppo"]\nrounds = 2', "two stages leave 'ppo-2'"),
        ('stages = ["reward", "ppo", "reward reward-2", "ppo"]\nrounds = 2', "two stages leave"),
        ('stages = ["reward", "ppo"]\nrounds = 2\n[ppo-3]\nseed = 1', r"no stage reads \[ppo-3\]"),
        ('stages = ["reward", "ppo"]\nrounds = 2\n[ppo-2]\nkl_coeff = 1.0', "kl_coef"),
    ],
)
def test_rounds_that_cannot_be_are_refused_before_anything_starts(tmp_path, text, says):
    (tmp_path / "r.toml").write_text(f"[story]\n{text}\n")
    with pytest.raises(BadSetting, match=says):
        Recipe.read(tmp_path / "r.toml", tmp_path / "run")


# ---- DPO, which learns from rankings of what it says itself

ONLINE = """
[story]
stages = ["sft", "rank", "rank rankings-few", "reward", "ppo", "best-of-n", "dpo dpo-first", "dpo", "measure"]
rounds = 3

[rankings-few]
policies = ["sft"]
prompts = 40

[dpo]
rankings = "{run}/rankings-few.jsonl"
beta = 0.3

[dpo-3]
reference = "{run}/sft/checkpoint"
"""


@pytest.fixture
def online(tmp_path: Path) -> Path:
    (tmp_path / "r.toml").write_text(ONLINE)
    return tmp_path / "r.toml"


def test_a_dpo_behind_every_ppo_is_what_is_repeated_with_what_makes_its_rankings(online):
    names = [one.name for one in Recipe.read(online, Path("run")).steps]
    assert names[-6:] == ["dpo", "rankings-few-2", "dpo-2", "rankings-few-3", "dpo-3", "measure"]


def test_dpo_ranks_the_newest_policy_and_goes_on_from_it(online):
    story = Recipe.read(online, Path("run"))
    rank, first, second, third = (step(story, name).settings for name in ("rankings-few-3", "dpo", "dpo-2", "dpo-3"))
    assert (rank.policies, rank.prompts, rank.seed) == (("dpo-2",), 40, 2)
    assert (second.model, second.rankings) == ("run/dpo/checkpoint", "run/rankings-few-2.jsonl")
    assert (third.model, third.rankings) == ("run/dpo-2/checkpoint", "run/rankings-few-3.jsonl")
    assert second.reference is None, "it is held against what it goes on from"
    assert third.reference == "run/sft/checkpoint"
    assert {k for k, v in second if v != getattr(first, k)} == {"model", "rankings"}


def test_a_reference_that_is_named_stays_in_all_rounds(online):
    online.write_text(ONLINE.replace("beta = 0.3", 'reference = "{run}/sft/checkpoint"'))
    story = Recipe.read(online, Path("run"))
    assert {step(story, name).settings.reference for name in ("dpo", "dpo-2", "dpo-3")} == {"run/sft/checkpoint"}


def test_a_reward_model_ranks_where_the_rankings_are_those_of_best_of_n(online):
    online.write_text(ONLINE.replace("rankings-few.jsonl", "best-of-n/rankings.jsonl"))
    story = Recipe.read(online, Path("run"))
    assert [one.name for one in story.steps][-5:] == ["best-of-n-2", "dpo-2", "best-of-n-3", "dpo-3", "measure"]
    bon, dpo = (step(story, name).settings for name in ("best-of-n-3", "dpo-3"))
    assert (bon.model, bon.seed, bon.rewards) == ("run/dpo-2/checkpoint", 2, None)
    assert dpo.rankings == "run/best-of-n-3/rankings.jsonl"


@pytest.mark.parametrize("name", ["dpo-2", "dpo-3", "rankings-few-2"])
def test_the_verb_of_a_dpo_round_has_the_same_settings(online, name):
    one = step(Recipe.read(online, Path("run")), name)
    words = [word for word in one.command[1:] if word not in ("rank", "--name", "--out", name, f"{name}.jsonl")]
    folder, path, overrides = sorted_out(words)
    assert settings_of(type(one.settings), folder, path, overrides, name, one.verb) == one.settings


def test_people_rank_for_dpo_where_no_program_does(tmp_path):
    (tmp_path / "r.toml").write_text('[story]\nstages = ["sft", "dpo"]\nrounds = 2\n')
    story = Recipe.read(tmp_path / "r.toml", Path("run"))
    assert [one.name for one in story.steps] == ["sft", "dpo", "dpo-2"]
    assert step(story, "dpo-2").settings.rankings == "run/rankings-2.jsonl"


def test_a_ppo_behind_it_is_repeated_and_not_the_dpo(tmp_path):
    (tmp_path / "r.toml").write_text('[story]\nstages = ["rank", "dpo", "reward", "ppo"]\nrounds = 2\n')
    names = [one.name for one in Recipe.read(tmp_path / "r.toml", Path("run")).steps]
    assert names[4:] == ["rankings-2", "reward-2", "ppo-2"]
