"""`rather run RECIPE [RUN]`: the whole story that a recipe tells, stage after stage."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import click

from rather.cli.stage import sorted_out
from rather.diagnose.reading import Story
from rather.errors import BadSetting, visible
from rather.pipeline import Told, story
from rather.pipeline_memory import Memory, Why
from rather.pipeline_order import beside
from rather.pipeline_recipe import Recipe, Step, WorldConfig
from rather.pipeline_side_by_side import usual_jobs
from rather.report.verdict import verdict
from rather.toml import written

HEADLINES = 3  # of the report's verdict: is it preferred, what did it cost, did anything go wrong


@click.command("run", context_settings={"max_content_width": 120})
@click.argument("words", nargs=-1, required=True, metavar="RECIPE.toml [RUN] [STAGE.KEY=VALUE]...")
@click.option("--plan", is_flag=True, help="Only say which stages would run, why, and the verb of each.")
@click.option("--jobs", type=click.IntRange(min=1), help="Stages that run side by side; 1: one after the other.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(words: tuple[str, ...], plan: bool, jobs: int | None, as_object: bool) -> None:
    """Run every stage of a recipe, from a world or people's files to a report.

    A stage whose settings and inputs are what they were is not run again; one that was interrupted goes on. The story
    is in RUN, by default run/RECIPE. Each stage can be run alone by its own verb, which reads the same recipe.

    Stages that do not read each other's results run side by side: --jobs, else jobs in the recipe's [story], else 2, or
    1 where there is one core, a GPU, or a model that the recipe does not make itself: two may be too large.
    """
    folder, path, overrides = sorted_out(words)
    if path is None:
        raise BadSetting(
            "No recipe is named.", "Expected a file that ends in .toml.", "rather run recipes/miniature.toml"
        )
    named = [word for word in words if "=" not in word and not word.endswith(".toml")]
    recipe = Recipe.read(path, folder if named else None, overrides)
    jobs = jobs or recipe.jobs or usual_jobs(any(step.verb == "pretrain" for step in recipe.steps))
    if plan:
        _plan(recipe, jobs, as_object)
        return

    def stage(step: Step, why: Why | None) -> None:
        head = f"== {step.name}: {visible(why.words) if why else 'as it was'}"
        click.echo(head if why is None else f"\n{head}\n{_typed(step)}", err=as_object)

    with redirect_stdout(sys.stderr) if as_object else nullcontext():
        done = story(recipe, Told(stage, lambda words: click.echo(visible(words), err=as_object)), jobs)
    if as_object:
        click.echo(json.dumps({"run": str(recipe.folder), "recipe": str(path), "stages": done}))
        return
    page, chat = recipe.folder / "report.html", _last_policy(recipe)
    if page.exists():
        click.echo()
        for said in verdict(Story.read(recipe.folder))[:HEADLINES]:
            click.echo(visible(f"{said.mood:5} {said.words}"))
        click.echo(f"\nThe report:       {page}")
    if chat is not None:
        worlds = [step.settings.world for step in recipe.steps if isinstance(step.settings, WorldConfig)]
        asked = f" --world {worlds[0]} -n 5" if worlds else ""
        rather = _to_type()
        click.echo(f"Talk to it:       {rather} chat {chat.parent}")
        click.echo(f"Ask the result:   {rather} sample {chat}{asked}   (or with words of your own: -p '...')")


def _to_type() -> str:
    """How a person calls this program from here: by its name where the shell finds it, else by where it lies."""
    beside = Path(sys.executable).parent / "rather"
    if shutil.which("rather") or not beside.exists():
        return "rather"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


def _plan(recipe: Recipe, jobs: int, as_object: bool) -> None:
    memory = Memory.of(recipe)
    rows, runs = [], False
    free = beside(recipe) if jobs > 1 else {}
    for step in recipe.steps:
        why = memory.why(step, memory.asked(step))
        words = why.words if why else "after what runs before it" if runs else "as it was"
        runs = runs or why is not None
        rows.append(
            {"stage": step.name, "why": words, "beside": free.get(step.name, []), "command": ["rather", *step.command]}
        )
    if as_object:
        click.echo(json.dumps({"run": str(recipe.folder), "stages": rows}))
        return
    for step, row in zip(recipe.steps, rows, strict=True):
        near = free.get(step.name, [])
        also = f"   (may run beside {', '.join(near[:3])}{', ...' if len(near) > 3 else ''})" if near else ""
        click.echo(f"{step.name:16} {visible(str(row['why']))}{also}\n  {_typed(step)}")


def _typed(step: Step) -> str:
    quoted = [word if all(c.isalnum() or c in "-_./=:" for c in word) else written(word) for word in step.command]
    return visible("$ rather " + " ".join(quoted))


def _last_policy(recipe: Recipe) -> Path | None:
    policies = [step.name for step in recipe.steps if step.verb in ("sft", "init", "ppo")]
    return recipe.folder / policies[-1] / "checkpoint" if policies else None
