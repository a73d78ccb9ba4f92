"""`rather data check FILE...` and `rather data convert IN OUT --to SHAPE`."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rather.errors import BadRecord, visible
from rather.records.lines import Problems, raise_it, without_place
from rather.records.shapes import KNOWN
from rather.records.survey import Survey, as_json, lengths, shared_between, survey
from rather.records.words import listed
from rather.records.writing import convert

SHAPE_HELP = f"How the rows are written, where the fields do not tell: {', '.join(KNOWN)}."
Turns = Literal["last", "each"]


@click.group("data")
def command() -> None:
    """Check and convert files of prompts, demonstrations and rankings."""


@command.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--shape", help=SHAPE_HELP)
@click.option(
    "--turns",
    type=click.Choice(["last", "each"]),
    default="last",
    help="Of a conversation: the last turn is the response, or each turn of the assistant is one.",
)
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=0), help="Problems shown per file.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def check(files: tuple[str, ...], shape: str | None, turns: Turns, limit: int, as_object: bool) -> int:
    """Say what each FILE holds and what is wrong with it; with several, what they share.

    Ends with 1 when a row cannot be read, with 2 when a file cannot be read at all.
    """
    surveys = []
    for file in files:
        with _progress(file) as tick:
            surveys.append(survey(file, shape=shape, turns=turns, keep=limit, on_progress=tick))
    shared = [
        (one, other, found)
        for one, other in itertools.combinations(surveys, 2)
        if any((found := shared_between(one, other)).values())
    ]
    problems = sum(seen.problems.count for seen in surveys)
    if as_object:
        both = [{"files": [one.file, other.file], **found} for one, other, found in shared]
        said = {"files": [as_json(seen) for seen in surveys], "shared": both, "problems": problems}
        click.echo(json.dumps(said, ensure_ascii=True))
    else:
        # soft_wrap leaves lines whole, so that they can be searched; Text is never read as rich markup.
        console = Console(soft_wrap=True, highlight=False)
        for seen in surveys:
            _print(console, seen)
        for one, other, found in shared:
            _print_shared(console, one, other, found)
    return 2 if any(seen.error for seen in surveys) else 1 if problems else 0


@command.command("convert")
@click.argument("source", metavar="IN")
@click.argument("path", metavar="OUT")
@click.option("--to", required=True, help=f"The shape to write: {', '.join(KNOWN)}.")
@click.option("--shape", help=SHAPE_HELP)
@click.option("--turns", type=click.Choice(["last", "each"]), default="last", help="As in `rather data check`.")
@click.option("--skip", is_flag=True, help="Leave out what cannot be read or written, and count it.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def convert_command(
    source: str, path: str, to: str, shape: str | None, turns: Turns, skip: bool, as_object: bool
) -> None:
    """Write the records of IN to OUT in another shape. OUT ends in .jsonl or .jsonl.gz and is not there yet."""
    problems = Problems(keep=3)
    with _progress(source) as tick:
        done = convert(
            source, path, to, shape=shape, turns=turns, on_problem=problems if skip else raise_it, on_progress=tick
        )
    if as_object:
        said = {"source": source, "read_as": done.words, "path": path, "shape": to}
        counts = {"rows": done.rows, "skipped": problems.count, "left_out": done.left_out}
        click.echo(json.dumps(said | counts | {"kept_as_pairs": done.kept_as_pairs}))
        return
    click.echo(f"{visible(source)}: read as {done.words}")
    click.echo(f"{visible(path)}: {done.rows:,} rows written as {to}")
    for why, count in done.left_out.items():
        click.echo(f"{count:,} pairs left out, where {why}: {to} cannot say so (pairs and rankings can)")
    for why, count in done.kept_as_pairs.items():
        click.echo(f"{count:,} groups kept as rankings of two: {why}")
    if problems.count:
        click.echo(f"{problems.count:,} rows left out that cannot be read or written, the first:")
        for problem in problems.first:
            click.echo(f"  {_line(problem)}")


@contextmanager
def _progress(file: str) -> Iterator[Callable[[float], None]]:
    """A bar on standard error for files that take a while; it goes when the file is done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(visible(file)[-60:], total=1.0)
        yield lambda share: progress.update(task, completed=share)


def _line(problem: BadRecord) -> str:
    place = f"line {problem.line}:" if problem.line is not None else ""
    said = place, without_place(problem), problem.expected, problem.do
    return " ".join(part for part in said if part)


def _print(console: Console, seen: Survey) -> None:
    console.print(Text(visible(seen.file), style="bold"))
    if seen.words:
        console.print(Text(f"  read as {seen.words}  (--shape {seen.shape})"))
    if seen.records:
        console.print(_table(seen))
    if seen.left_out:
        console.print(Text(f"  fields that no record has, left out: {listed(sorted(seen.left_out))}"))
    count = seen.problems.count
    if count:
        console.print(Text(f"  {count:,} row{'s' * (count > 1)} cannot be read:", style="red"))
        for problem in seen.problems.first:
            console.print(Text(f"    {_line(problem)}"))
        if count > len(seen.problems.first):
            console.print(Text(f"    ... and {count - len(seen.problems.first):,} more (--limit {count})"))
        if seen.records:
            file = shlex.quote(visible(seen.file))
            console.print(Text(f"  Leave them out with:  rather data convert {file} OUT --to {seen.shape} --skip"))
    if seen.error:
        console.print(Text("  " + str(seen.error).replace("\n", "\n  "), style="red"))
    elif not count:
        console.print(Text("  no problems", style="green"))
    console.print()


def _table(seen: Survey) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")

    def add(name: str, value: str) -> None:
        table.add_row(Text(f"  {name}"), Text(value))

    add("rows", f"{seen.rows:,}")
    add("records", f"{seen.records:,} {seen.kind}")
    if seen.kind != "texts":
        add("prompts", f"{len(seen.prompts):,} different")
    if seen.labelers:
        most = ", ".join(f"{visible(name[:30])} {n:,}" for name, n in seen.labelers.most_common(5))
        add("labelers", f"{len(seen.labelers):,}: {most}{', ...' if len(seen.labelers) > 5 else ''}")
    if seen.k:
        add("K", ", ".join(f"{k}: {n:,}" for k, n in sorted(seen.k.items())))
    if seen.pairs:
        add("pairs", f"{seen.pairs:,}, of them {seen.ties:,} ties ({seen.ties / seen.pairs:.1%})")
    if of := seen.pairs_of_two_lengths:
        add("longer text wins", f"{seen.longer_wins / of:.3f} of {of:,} pairs of different length")
    for name, characters in (("prompt", seen.prompt_lengths), ("response" if seen.kind != "texts" else "text",
                                                               seen.response_lengths)):  # fmt: skip
        if found := lengths(characters):
            numbers = f"mean {found.mean:,.0f}, median {found.median:,.0f}, 95 % {found.p95:,}, longest {found.max:,}"
            add(f"{name} characters", numbers)
    if seen.repeated_prompts:
        add("repeated prompts", f"{seen.repeated_prompts:,}")
    if seen.repeated_whole:
        add("repeated records", f"{seen.repeated_whole:,}, the same prompt, responses and labeler")
    return table


def _print_shared(console: Console, one: Survey, other: Survey, found: dict[str, int]) -> None:
    console.print(Text(f"{visible(one.file)} and {visible(other.file)} share", style="bold"))
    console.print(
        Text(
            f"  {found['prompts']:,} prompts, {found['whole']:,} whole records, {found['ids']:,} ids. If one is for\n"
            "  validation or test, that is a leak: take these prompts out of the other."
        )
    )
