"""`rather new FOLDER`: a project to begin with, a commented recipe and small sample files that run as they are."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from rather import files
from rather.cli import new_samples as samples
from rather.errors import BadFile, BadModel, visible
from rather.records import write
from rather.toml import written

FILES = {
    "prompts.jsonl": samples.prompts,
    "demonstrations.jsonl": samples.demonstrations,
    "rankings.jsonl": samples.rankings,
    "texts.jsonl": samples.texts,
}

RECIPE = """\
# A project of your own. The sample files beside this recipe are there to be replaced by yours:
#
#     demonstrations.jsonl   step 1, good answers:      {{"prompt": "...", "response": "..."}}
#     rankings.jsonl         step 2, 1 is best:         {{"prompt": "...", "responses": [...], "ranks": [...]}}
#     prompts.jsonl          step 3, to practise on:    {{"prompt": "..."}}
#     texts.jsonl            for the pretraining mix:   {{"text": "..."}}
#
#     rather data check {folder}/*.jsonl          what was understood, and what is wrong with it
#     rather plan {folder}/recipe.toml {folder}
#     rather run {folder}/recipe.toml {folder}    all of it, to {folder}/report.html
#     rather chat {folder}/sft {folder}/ppo
#
# What is not said here has the paper's value: `rather sft --help` and the others list all settings.

[story]
stages = [{stages}]
# rounds = 2                  # steps 2 and 3 once more: people then rank what the policy says, in rankings-2.jsonl
{base}
[sft]                         # step 1: learn from demonstrations
model = {model}
epochs = {epochs}             # the paper: 16, and one of them chosen
batch_size = 16
{small}max_new_tokens = 24
validation_prompts = 10

[init]                        # where step 3 starts, and what its KL is held against
model = {model}
texts = "{{run}}/texts.jsonl"
epochs = {epochs}             # the paper: 2; so little data wants more
batch_size = 16
{small}max_new_tokens = 24
validation_prompts = 10
keep = "chosen"

[reward]                      # step 2: learn what is preferred
epochs = {reward_epochs}      # the paper: 1; so little data wants more
batch_size = 16
learning_rate = {reward_rate}
validation_share = 0.25

[ppo]                         # step 3: learn from the reward model, with pretraining text mixed in
preset = "instructgpt-ptx"
texts = "{{run}}/texts.jsonl"
ptx_coef = 0.1                # a mean over tokens wants far less than the paper's 27.8: docs/ppo.md
ptx_ratio = 0.5
ptx_length = 64
episodes = {episodes}
batch_size = 32
minibatch_size = 16
max_new_tokens = 24
learning_rate = {rate}
critic_learning_rate = {rate}
warmup = 0
kl_budget = 30.0              # nats of an answer: beyond it an alarm is raised
"""
BASE = """
[base]                        # a tiny model from nothing, so that this runs anywhere: yours is better. See [sft]
size = "xs"
texts = "{run}/texts.jsonl"
batch_size = 2
validation_tokens = 1000
"""


@click.command("new", context_settings={"max_content_width": 120})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", help="Begin with this model, a folder or hub id, instead of a tiny one made from nothing.")
def command(folder: Path, model: str | None) -> None:
    """Write a project to begin with into FOLDER, which must not be there: a commented recipe and small sample files.

    It runs as it is: with a tiny model made from nothing, or with --model.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadFile(
            f"{visible(str(folder))} is there already, and is left as it is.",
            "Expected a folder that is empty or not there.",
            "rather new ANOTHER",
        )
    if model is not None and _is_path(model) and not Path(model).expanduser().is_dir():
        raise BadModel(f"There is no folder {visible(model)}.", "Expected the folder of a model, or a hub id.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing_folder(folder) as unfinished:
        for name, records in FILES.items():
            write(unfinished / name, records())
        files.write_text(unfinished / "recipe.toml", recipe(folder, model))
    typed = _typed(folder)
    click.echo(f"{visible(str(folder))}: recipe.toml, {', '.join(FILES)}")
    click.echo(f"Look at it:  rather plan {_typed(folder / 'recipe.toml')} {typed}")
    click.echo(f"Run it:      rather run {_typed(folder / 'recipe.toml')} {typed}")


def recipe(folder: Path, model: str | None) -> str:
    """A model from nothing has everything to learn; one that can speak wants small steps."""
    tiny = model is None
    stages = (["pretrain base"] if tiny else []) + ["sft", "init", "reward", "ppo", "report"]
    return RECIPE.format(
        folder=_typed(folder),
        stages=", ".join(map(written, stages)),
        base=BASE if tiny else "",
        model=written("{run}/base/checkpoint" if model is None else _absolute(model)),
        epochs=40 if tiny else 3,
        small="dropout = 0.0\n" if tiny else "",
        reward_epochs=8 if tiny else 2,
        reward_rate="3e-3" if tiny else "1e-5",
        episodes=128 if tiny else 2048,
        rate="2e-4" if tiny else "1e-6",
    )


def _typed(path: Path) -> str:
    return shlex.quote(visible(str(path)))


def _absolute(model: str) -> str:
    """A folder wherever the recipe is run from; the id of a hub as it is."""
    return os.path.abspath(os.path.expanduser(model)) if _is_path(model) else model


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or Path(name).is_dir()
