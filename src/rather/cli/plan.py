"""`rather plan RECIPE`: what a recipe, or one stage, will need before anything starts."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from rather import machine
from rather.cli.stage import settings_of, sorted_out
from rather.config import Config
from rather.errors import BadSetting, nearest, visible
from rather.pipeline_recipe import KNOWN, Recipe
from rather.plan import Plan, Planned, plan_of
from rather.plan.machines import GPUS, OF_BANDWIDTH, OF_PEAK, named_gpu, this_machine
from rather.plan.words import in_bytes, in_time

# Stages that a recipe of a whole story does not list, and which can be planned by themselves.
ALONE = {"dpo": ("rather.stages.dpo_config:DPOConfig", "dpo"), "grpo": ("rather.stages.grpo_config:GRPOConfig", "grpo")}


@click.command("plan", context_settings={"max_content_width": 120})
@click.argument("words", nargs=-1, required=True, metavar="RECIPE.toml|VERB [RUN] [RECIPE.toml] [KEY=VALUE]...")
@click.option("--gpu", help=f"For a GPU of this name instead of this machine: {', '.join(GPUS)}.")
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(min=1), help="So many of them.")
@click.option("--no-time", is_flag=True, help="Memory only: nothing is measured, which takes seconds.")
@click.option("--name", help="With a VERB: the stage's folder below RUN, and its table in the recipe.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(
    words: tuple[str, ...], gpu: str | None, gpus: int, no_time: bool, name: str | None, as_object: bool
) -> int:
    """Say what a recipe needs, stage by stage, before anything starts: parameters, memory and time.

    `rather plan recipes/miniature.toml` plans a story; `rather plan ppo RUN kl_coef=0.05` one stage, with the words
    that its own verb takes. Memory is the most that the settings allow, by model and purpose. Time is what to expect:
    from some ten seconds of measuring on this machine, or, with --gpu, an estimate from the data sheet. What does not
    fit ends with exit code 1 and what to change.
    """
    if gpus > 1 and gpu is None:
        raise BadSetting(f"--gpus {gpus} without --gpu.", f"Known: {', '.join(GPUS)}.", "--gpu H100")
    stages, folder = _stages(words, name)
    torch.set_num_threads(machine.best_threads())
    target = named_gpu(gpu, gpus, not no_time) if gpu else this_machine(not no_time)
    plan = plan_of(stages, folder, target)
    if as_object:
        click.echo(json.dumps(plan.to_dict()))
    else:
        _show(plan)
    return 0 if plan.fits else 1


def _stages(words: Sequence[str], name: str | None) -> tuple[list[tuple[str, str, Config]], Path]:
    """(verb, name, settings) of every stage, and the folder of the story."""
    known = {**KNOWN, **ALONE}
    verb = words[0] if words[0] in known else None
    if verb is None and not any(word.endswith(".toml") for word in words):
        raise BadSetting(
            f"{visible(words[0])!r} is neither a recipe nor a stage.{nearest(words[0], known)}",
            f"Expected a file that ends in .toml, or one of {', '.join(known)}.",
            "rather plan recipes/miniature.toml",
        )
    folder, recipe, overrides = sorted_out(words[1:] if verb else words)
    if verb is None:
        assert recipe is not None, "one of the words ends in .toml"
        if name:
            raise BadSetting("--name without a VERB.", "A recipe names its stages itself.")
        named = any("=" not in word and not word.endswith(".toml") for word in words)
        story = Recipe.read(recipe, folder if named else None, overrides)
        return [(step.verb, step.name, step.settings) for step in story.steps], story.folder
    place, default = known[verb]
    module, _, attribute = place.partition(":")
    config: type[Config] = getattr(importlib.import_module(module), attribute)
    name = name or default
    return [(verb, name, settings_of(config, folder, recipe, overrides, name, verb))], folder


def _show(plan: Plan) -> None:
    click.echo(f"For {plan.machine.name}, {in_bytes(plan.machine.memory)} of memory")
    if plan.machine.gpu is not None and plan.machine.rates:
        sheet = plan.machine.gpu
        click.echo(
            f"Times are estimates: {OF_PEAK:.0%} of {sheet.peak / 1e12:.0f} TFLOP/s and {OF_BANDWIDTH:.0%} of "
            f"{sheet.bandwidth / 1e12:.3g} TB/s, which nobody has measured here."
        )
    if plan.machine.gpus > 1:
        click.echo("Every GPU holds all of every model and takes its share of the rows; nothing is sharded.")
    for stage in plan.stages:
        _show_stage(stage, plan.machine.memory)
    if plan.seconds is not None:
        open_ = [stage.name for stage in plan.stages if stage.seconds is None]
        missing = f", without {', '.join(open_)}" if open_ else ""
        click.echo(f"\nTogether {in_time(plan.seconds)}{missing}")
    if not plan.fits:
        click.echo("\nIt does not fit: see what to change above.")


def _show_stage(stage: Planned, memory: int) -> None:
    click.echo(f"\n== {stage.name}")
    if stage.need is not None:
        models = ", ".join(f"{role} {count:,}" for role, count in stage.models.items())
        click.echo(f"parameters  {models}")
        over = "" if stage.need.peak <= memory else f"   DOES NOT FIT in {in_bytes(memory)}"
        during = f" ({stage.need.phase})" if stage.need.phase else ""
        click.echo(f"memory      {in_bytes(stage.need.peak)} at most{during}{over}")
        for item in sorted(stage.need.items, key=lambda item: -item.bytes):
            if item.bytes >= stage.need.peak / 200:
                when = f"  ({item.phase})" if item.phase else ""
                click.echo(f"    {in_bytes(item.bytes):>10}  {visible(item.model)}: {item.purpose}{when}")
    for kind, unit in (("train", "trained on"), ("score", "read"), ("decode", "sampled")):
        if tokens := sum(one.count for one in stage.work if one.kind == kind):
            click.echo(f"tokens      {tokens:,.0f} {unit}")
    if stage.seconds is not None:
        shares = ", ".join(f"{part} {in_time(seconds)}" for part, seconds in stage.parts.items())
        click.echo(f"time        {in_time(stage.seconds)}: {shares}")
    for note in stage.notes:
        click.echo(f"note        {visible(note)}")
    for line in stage.advice:
        click.echo(f"change      {visible(line)}")
