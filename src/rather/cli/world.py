"""`rather world show` and `rather world write FOLDER`."""

from __future__ import annotations

import importlib
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from rather.records.types import Response
from rather.worlds import SHARES, Marn
from rather.worlds.corruptions import CORRUPTIONS
from rather.worlds.facts import PEOPLE
from rather.worlds.judging import rank, task_of, utilities
from rather.worlds.labelers import shared_utility
from rather.worlds.noise import fit_noise
from rather.worlds.votes import vote_task
from rather.worlds.web import GENRES
from rather.worlds.writing import Sizes, write_world

SEED = click.option("--seed", default=0, show_default=True, help="Which world: the same seed is the same world.")
SCALE = click.option(
    "--scale", type=click.Choice(list(PEOPLE)), default="small", show_default=True, help="How many people live there."
)
JSON = click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")


# What needs torch is imported when it is called.
LATER = {"rank": ("rank", "command"), "measure": ("measure", "measure"), "claims": ("claims", "claims")}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *LATER]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in LATER:
            return super().get_command(ctx, name)
        module, attribute = LATER[name]
        command: click.Command = getattr(importlib.import_module(f"rather.cli.{module}"), attribute)
        return command


@click.group("world", cls=_Group)
def command() -> None:
    """The miniature world in which the truth is known: its facts, its web, its prompts and answers."""


@command.command("show")
@SEED
@SCALE
@JSON
def show(seed: int, scale: str, as_object: bool) -> None:
    """A page of the world: facts, a page of each genre, a prompt and its demonstration by use case, a ranking."""
    world = Marn(seed, scale)  # type: ignore[arg-type]
    said = page(world, random.Random(f"show {seed}"))
    if as_object:
        click.echo(json.dumps(said))
    else:
        _print(Console(soft_wrap=True, highlight=False), said)


def page(world: Marn, rng: random.Random) -> dict[str, Any]:
    """What `show` says, as plain values."""
    facts = world.facts
    person = rng.choice(facts.pools["person"])
    documents = {genre: next(world.web_documents(rng, genre)).text for genre in GENRES}
    asked = []
    for category in SHARES:
        prompt = world.prompt(rng, category, "api")
        answer = world.demonstration(prompt, rng)
        utility = world.utility(world.features(prompt, answer))
        asked.append({"category": category, "prompt": prompt.text, "demonstration": answer, "utility": utility})
    return {
        "world": world.name,
        "seed": world.seed,
        "scale": world.scale,
        "facts": facts.count(),
        "beliefs": len(facts.beliefs),
        "about": {person: facts.of["person"][person] | {"group": facts.folk[person]}},
        "documents": documents,
        "prompts": asked,
        "ranking": ranking(world, rng),
    }


def ranking(world: Marn, rng: random.Random) -> dict[str, Any]:
    """One prompt's answers, each worse in its own way, as one labeler ranks them; U* is what they are really worth."""
    labelers = world.labelers(12)
    tasks = [vote_task(world, str(at), world.prompt(rng, source="api"), rng) for at in range(100)]
    noise = fit_noise([utilities(labelers, task) for task in tasks if task is not None])
    prompt = world.prompt(rng, "generation", "api")
    good = world.good_answer(prompt, rng)
    names = {good: "good answer"}
    for name, corrupt in CORRUPTIONS.items():
        worse = corrupt(world.facts, prompt, good, rng)
        if worse is not None and worse.strip():
            names.setdefault(worse, name)
    task = task_of(
        world, "shown", prompt, [Response(text=text, model=names[text]) for text in rng.sample(list(names), 6)]
    )
    assert task is not None, "six different texts are a task"
    record = rank(labelers[0], task, noise, rng)
    rows = [
        {
            "rank": given,
            "what": response.model,
            "text": response.text,
            "utility": world.utility(features),
            "labelers": shared_utility(labelers, prompt, features),
        }
        for given, response, features in zip(record.ranks, record.responses, task.features, strict=True)
    ]
    return {"prompt": prompt.text, "noise": noise.tau, "responses": sorted(rows, key=lambda row: row["rank"])}


def _print(console: Console, said: dict[str, Any]) -> None:
    def head(words: str) -> None:
        console.print(Text(f"\n{words}", style="bold"))

    def quote(text: str) -> None:
        console.print(Text("  " + text.strip("\n").replace("\n", "\n  ")))

    head(f"The world {said['world']}, seed {said['seed']}, scale {said['scale']}")
    console.print(Text(f"{said['facts']:,} facts and {said['beliefs']} beliefs. Of one person:"))
    for name, facts in said["about"].items():
        quote(f"{name}: " + ", ".join(f"{relation} {value}" for relation, value in facts.items()))
    head("Its web, one page of each genre")
    for genre, text in said["documents"].items():
        console.print(Text(genre, style="dim"))
        quote(text)
    head("What users ask, and what a labeler demonstrates")
    for asked in said["prompts"]:
        console.print(
            Text(f"{asked['category']} {SHARES[asked['category']]} %  (U* {asked['utility']:.2f})", style="dim")
        )
        quote(asked["prompt"] + "> " + asked["demonstration"].replace("\n", "\n> "))
    shown = said["ranking"]
    head(f"A ranking by one labeler (noise {shown['noise']:.2f})")
    quote(shown["prompt"])
    console.print(Text("  rank     U*  labelers' mean", style="dim"))
    for row in shown["responses"]:
        line = row["text"].replace("\n", " / ")
        console.print(Text(f"  {row['rank']:>4} {row['utility']:6.2f} {row['labelers']:6.2f}  {row['what']}: {line}"))


@command.command("write")
@click.argument("folder", type=click.Path(path_type=Path))
@SEED
@SCALE
@click.option("--documents", default=Sizes.documents, show_default=True, type=click.IntRange(10), help="Web pages.")
@click.option("--demonstrations", default=Sizes.demonstrations, show_default=True, type=click.IntRange(10))
@click.option("--reward-prompts", default=Sizes.reward_prompts, show_default=True, type=click.IntRange(10))
@click.option("--ppo-prompts", default=Sizes.ppo_prompts, show_default=True, type=click.IntRange(10))
@click.option("--votes", default=Sizes.votes, show_default=True, type=click.IntRange(50), help="Rankings by a crowd.")
@click.option(
    "--held-out",
    default=Sizes.held_out,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="For validation, and again for test, as a share of training.",
)
@JSON
def write(
    folder: Path,
    seed: int,
    scale: str,
    documents: int,
    demonstrations: int,
    reward_prompts: int,
    ppo_prompts: int,
    votes: int,
    held_out: float,
    as_object: bool,
) -> None:
    """Write the world to FOLDER as the ordinary JSONL records: all that a story needs from web pages to test prompts.

    Validation and test are from other users, and of combinations that training never shows.
    """
    world = Marn(seed, scale)  # type: ignore[arg-type]
    sizes = Sizes(documents, demonstrations, reward_prompts, ppo_prompts, votes, held_out)
    with _progress(quiet=as_object) as told:
        counts = write_world(world, folder, sizes, told)
    if as_object:
        click.echo(json.dumps({"folder": str(folder), "seed": seed, "scale": scale, "records": counts}))
        return
    for name, count in counts.items():
        click.echo(f"{count:8,}  {folder / name}")


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each file on a terminal, on standard error; elsewhere a line when a file is done."""
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", rate="")

            def show(name: str, done: int, total: int) -> None:
                nonlocal began
                began = began if done else time.monotonic()
                progress.update(task, description=name, completed=done, total=total, rate=_rate(done, began))

            yield show
        return

    def say(name: str, done: int, total: int) -> None:
        nonlocal began
        if not done:
            began = time.monotonic()
        elif done == total and not quiet:
            click.echo(f"{name}: {done:,} records, {_rate(done, began)}", err=True)

    yield say


def _rate(done: int, began: float) -> str:
    """Drawing the prompts of a file comes before its first record, and belongs to its time."""
    return f"{done / max(time.monotonic() - began, 1e-3):,.0f} a second" if done else "drawing"
