"""`rather compare RUN...`: policies at equal KL and at equal reward."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import torch
from markupsafe import Markup

from rather import files, machine
from rather.cli.measure import saying
from rather.diagnose.reading import Number
from rather.errors import BadFile, NotReady, visible
from rather.evaluate.compare import Level, Read, as_object, at_equal, labels_of
from rather.evaluate.compare_drift import DriftConfig, measure
from rather.evaluate.compare_reading import Course, courses_of
from rather.records import Prompt, read
from rather.report.figures import Figure, curves
from rather.stages.answers import Prompt as Asked

NOT_MEASURED = "not measured"
COLUMNS = (("KL", "kl"), ("sqrt KL", "root"), ("reward", "reward"), ("gold", "gold"), ("entropy", "entropy"),
           ("length", "length"))  # fmt: skip
FIGURES = (("reward-by-kl", "reward", "Reward by drift"), ("gold-by-kl", "gold", "Gold utility by drift"))
# A figure of its own has no page to take its colours from.
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b7791f", "#c53030")
STYLE = (
    ".line{fill:none;stroke-width:2}.grid{stroke:#ddd}.axis{stroke:#888}text{font:11px sans-serif;fill:#444}"
    ".y{text-anchor:end}.x{text-anchor:end}.tick{text-anchor:middle}.dashed{stroke-dasharray:5 3}"
)


@click.command("compare", context_settings={"max_content_width": 120})
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--kl", "kls", type=float, multiple=True, help="Compare at this KL, in nats. Default: where courses end.")
@click.option("--reward", "rewards", type=float, multiple=True, help="Compare at this reward.")
@click.option(
    "--measure", "asking", is_flag=True, help="First sample each finished policy and its reference (n prompts)."
)
@click.option("--prompts", help="For --measure: a file. Default: RUN/prompts.jsonl, its held-out part if it has one.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="For --measure: n, max_new_tokens, seed.")
@click.option("--figures", type=click.Path(path_type=Path), help="A folder for curves over KL, SVG with CSV beside it.")
@click.option("--json", "wants_object", is_flag=True, help="One JSON object on standard output.")
def command(
    runs: tuple[Path, ...], kls: tuple[float, ...], rewards: tuple[float, ...], asking: bool, prompts: str | None,
    overrides: tuple[str, ...], figures: Path | None, wants_object: bool,
) -> None:  # fmt: skip
    """Hold PPO, PPO-ptx, DPO, GRPO and best-of-N against each other at equal KL and at equal reward.

    RUN is the folder of a story, of which every optimised policy is compared, or a stage's own folder. From what the
    runs have logged: drift, proxy reward, gold utility where a world was named, entropy, length, alignment tax, cost.
    --measure samples what logged no KL, such as DPO with validation_prompts=0. What nobody measured is said to be so.
    """
    courses = [course for run in runs for course in courses_of(run)]
    if asking:
        torch.set_num_threads(machine.best_threads())
        config = DriftConfig.load(None, overrides)
        with saying() as say:
            for run in dict.fromkeys(course.run for course in courses):
                measure([c for c in courses if c.run == run], _prompts(Path(run), prompts), config, say)
        courses = [course for run in runs for course in courses_of(run)]
    levels = at_equal(courses, "kl", kls) + at_equal(courses, "reward", rewards)
    drawn = _drawn(courses, figures) if figures else []
    if wants_object:
        click.echo(json.dumps(as_object(courses, levels) | {"figures": drawn}))
        return
    click.echo("\n".join(map(visible, [*ended(courses), *matched(courses, levels), *remarks(courses)])))
    for path in drawn:
        click.echo(f"written: {visible(path)}")


def _prompts(run: Path, given: str | None) -> list[Asked]:
    source = given or run / "prompts.jsonl"
    if not Path(source).is_file():
        raise NotReady(f"There is no {source}.", "Expected prompts to sample on.", "Name a file:  --prompts FILE")
    records = list(read(source, Prompt))
    held = [record for record in records if record.split in ("validation", "test")] or records
    if len(held) < 2:
        raise BadFile(f"{source} has {len(held)} prompts.", "Expected at least two.")
    return [record.prompt for record in held]


# ---- words


def ended(courses: Sequence[Course]) -> list[str]:
    rows = []
    for label, course in zip(labels_of(courses), courses, strict=True):
        cost = [_count(course.seconds, " s"), _tokens(course.tokens, course)]
        rows.append([label, course.method, *_cells(course.ended), _cell(course.tax), *cost])
    return ["As they ended", *_table(["policy", "method", *_heads(), "tax", "seconds", "tokens"], rows)]


def matched(courses: Sequence[Course], levels: Sequence[Level]) -> list[str]:
    lines: list[str] = []
    known = dict(zip(labels_of(courses), courses, strict=True))
    for level in levels:
        unit = f"KL {level.level:.4g} nats" if level.by == "kl" else f"reward {level.level:.4g} by {level.scorer}"
        rows = [_row(label, known[label], read, level.by) for label, read in level.matched.items()]
        lines += ["", f"At equal {unit}", *_table(["policy", "where", *_heads(), "seconds", "tokens"], rows)]
    for by in ("kl", "reward"):
        if not any(level.by == by for level in levels):
            lines += ["", f"At equal {'KL' if by == 'kl' else by}: no two of these policies reached one in common."]
    return lines


def remarks(courses: Sequence[Course]) -> list[str]:
    """What a reader of the table has to know before two rows are held against each other."""
    labels = labels_of(courses)
    said = [f"{label}: {note}" for label, course in zip(labels, courses, strict=True) for note in course.notes]
    for what, of in (("KL is from", lambda c: c.reference), ("Reward is by", lambda c: c.scorer)):
        groups: dict[str, list[str]] = {}
        for label, course in zip(labels, courses, strict=True):
            groups.setdefault(of(course), []).append(label)
        if len(groups) > 1:
            said.append(f"{what} " + "; ".join(f"{name} for {', '.join(mine)}" for name, mine in groups.items()))
    return ["", *said] if said else []


def _row(label: str, course: Course, read: Read | None, by: str) -> list[str]:
    if read is None:
        known = any(by in point.values for point in course.points)
        return [label, "not reached" if known else NOT_MEASURED, *[""] * (len(COLUMNS) + 2)]
    return [label, read.place, *_cells(read.values), _count(read.seconds, " s"), _tokens(read.tokens, course)]


def _heads() -> list[str]:
    return [head for head, _ in COLUMNS]


def _cells(values: Mapping[str, Number]) -> list[str]:
    kl = values.get("kl")
    # A KL estimated from samples may be below 0, and has no root then.
    root = Number(kl.value**0.5, None, None) if kl is not None and kl.value >= 0 else None
    return [_cell(root if key == "root" else values.get(key)) for _, key in COLUMNS]


def _cell(number: Number | None) -> str:
    if number is None:
        return NOT_MEASURED
    half = f" ±{(number.interval[1] - number.interval[0]) / 2:.2g}" if number.interval else ""
    return f"{number.value:.3f}{half}"


def _count(value: float | None, unit: str) -> str:
    return NOT_MEASURED if value is None else f"{value:,.0f}{unit}"


def _tokens(tokens: float | None, course: Course) -> str:
    return NOT_MEASURED if tokens is None else f"{tokens:,.0f} {course.tokens_are}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (heads, *rows)]  # fmt: skip


# ---- figures


def _drawn(courses: Sequence[Course], folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    labels, written = labels_of(courses), []
    for name, key, title in FIGURES:
        lines = {
            label: [
                (p.values["kl"].value, p.values[key].value) for p in course.points if {"kl", key} <= p.values.keys()
            ]
            for label, course in zip(labels, courses, strict=True)
        }
        figure = curves(name, title, "KL, nats", lines)
        if figure is not None:
            named = [label for label, line in lines.items() if len(line) > 1]
            written.append(_alone(figure, named, folder))
            files.write_text(folder / f"{name}.csv", figure.csv)
    files.write_text(folder / "points.csv", _points(courses))
    return [*written, str(folder / "points.csv")]


def _alone(figure: Figure, labels: Sequence[str], folder: Path) -> str:
    """The page's figure as a file: with a name space, colours of its own, and the names below it."""
    drawn = str(figure.svg).partition("</svg>")[0]
    head, rest = drawn.split(">", 1)
    names = [
        Markup('<text x="50" y="{}" style="fill:{}">{}</text>').format(184 + 14 * at, COLOURS[at % len(COLOURS)], label)
        for at, label in enumerate(labels)
    ]
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head = re.sub(r'viewBox="0 0 (\d+) \d+"', rf'viewBox="0 0 \1 {180 + 14 * len(labels)}"', head)
    shades = "".join(f".c{at}{{stroke:{colour}}}" for at, colour in enumerate(COLOURS))
    path = folder / f"{figure.name}.svg"
    files.write_text(path, f"{head}><style>{STYLE}{shades}</style>{rest}{Markup('').join(names)}</svg>\n")
    return str(path)


def _points(courses: Sequence[Course]) -> str:
    """Every point of every course with its intervals, as a spreadsheet reads it; empty where nothing was measured."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    keys = [key for _, key in COLUMNS if key != "root"]
    rows.writerow(["policy", "method", "place", *(f"{key}{end}" for key in keys for end in ("", " low", " high"))])
    for label, course in zip(labels_of(courses), courses, strict=True):
        # What a spreadsheet would take for a formula is text.
        shown = f"'{label}" if label[:1] in ("=", "+", "-", "@") else label
        for point in course.points:
            cells: list[object] = []
            for key in keys:
                number = point.values.get(key)
                cells += [number.value, *(number.interval or ("", ""))] if number else ["", "", ""]
            rows.writerow([shown, course.method, point.place, *cells])
    return text.getvalue()
