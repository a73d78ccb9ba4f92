"""`rather run RECIPE [RUN]`: the whole story that a recipe tells, stage after stage."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path

import click

from rather.cli.run_plan import show_plan
from rather.cli.stage import sorted_out
from rather.diagnose.reading import Story, read_object
from rather.errors import BadSetting, visible
from rather.pipeline import ALOUD, story
from rather.pipeline_recipe import Recipe, WorldConfig
from rather.pipeline_seeds import CLAIMS, of_seed, refuse_mixing, stories
from rather.pipeline_side_by_side import usual_jobs
from rather.report.verdict import of_claims, verdict

HEADLINES = 3  # of the report's verdict: is it preferred, what did it cost, did anything go wrong


@click.command("run", context_settings={"max_content_width": 120})
@click.argument("words", nargs=-1, required=True, metavar="RECIPE.toml [RUN] [STAGE.KEY=VALUE]...")
@click.option("--plan", is_flag=True, help="Only say which stages would run, why, and the verb of each.")
@click.option("--jobs", type=click.IntRange(min=1), help="Stages, or seeds, that run side by side; 1: one by one.")
@click.option("--seeds", type=click.IntRange(1, 999), help="Tell the story so often, each time with other chance.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(words: tuple[str, ...], plan: bool, jobs: int | None, seeds: int | None, as_object: bool) -> None:
    """Run every stage of a recipe, from a world or people's files to a report.

    A stage whose settings and inputs are what they were is not run again; one that was interrupted goes on. The story
    is in RUN, by default run/RECIPE. Each stage can be run alone by its own verb, which reads the same recipe.

    Stages that do not read each other's results run side by side: --jobs, else jobs in the recipe's [story], else 2, or
    1 where there is one core, a GPU, or a model that the recipe does not make itself: two may be too large.

    With --seeds 3, else seeds in [story], there are three stories, in RUN/seed-0 to RUN/seed-2, and RUN/report.html and
    RUN/claims.json are about all of them. Each stage's seed is one more in each; the base models are common.
    """
    folder, path, overrides = sorted_out(words)
    if path is None:
        raise BadSetting(
            "No recipe is named.", "Expected a file that ends in .toml.", "rather run recipes/miniature.toml"
        )
    named = [word for word in words if "=" not in word and not word.endswith(".toml")]
    recipe = Recipe.read(path, folder if named else None, overrides)
    recipe = replace(recipe, seeds=seeds or recipe.seeds)
    jobs = jobs or recipe.jobs or usual_jobs(any(step.verb == "pretrain" for step in recipe.steps))
    refuse_mixing(recipe)
    if plan:
        show_plan(recipe, jobs, as_object)
        return
    said: dict[str, object] = {"run": str(recipe.folder), "recipe": str(path)}
    with redirect_stdout(sys.stderr) if as_object else nullcontext():
        if recipe.seeds > 1:
            said["seeds"] = {name: {"stages": done} for name, done in stories(recipe, ALOUD, jobs).items()}
        else:
            said["stages"] = story(recipe, ALOUD, jobs)
    if as_object:
        click.echo(json.dumps(said))
    else:
        _tell(recipe)


def _tell(recipe: Recipe) -> None:
    """What came of it, and what to type next. Of several seeds the first is talked to."""
    first = of_seed(recipe, 0) if recipe.seeds > 1 else recipe
    page, chat = recipe.folder / "report.html", _last_policy(first)
    if page.exists():
        click.echo()
        if recipe.seeds > 1:
            click.echo(f"{first.folder}:")
        for said in verdict(Story.read(first.folder))[:HEADLINES]:
            click.echo(visible(f"{said.mood:5} {said.words}"))
        if recipe.seeds > 1 and (recipe.folder / CLAIMS).exists():
            over = of_claims(read_object(recipe.folder / CLAIMS), f", over {recipe.seeds} seeds,")
            click.echo(f"All seeds:\n{visible(f'{over.mood:5} {over.words}')}")
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


def _last_policy(recipe: Recipe) -> Path | None:
    policies = [step.name for step in recipe.steps if step.verb in ("sft", "init", "ppo")]
    return recipe.folder / policies[-1] / "checkpoint" if policies else None
