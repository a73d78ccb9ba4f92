"""The claims of the paper over several runs: the outcome of all, how many passed, and each run's own figure."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rather.diagnose.over_runs import table_over
from rather.diagnose.reading import Number, Row, Story, at
from rather.report.compared import labels
from rather.report.figures import csv_of
from rather.report.parts import outcome_of
from rather.report.tables import table

NAME = "claims-over-runs"


def rows_over(stories: Sequence[Story]) -> tuple[list[Row], list[str]]:
    """Rows of `table_over`, and the names of the runs in them; nothing where fewer than two runs speak of claims."""
    found = {name: story.claims for name, story in zip(labels(stories), stories, strict=True) if story.claims}
    return (table_over(found), [*found]) if len(found) > 1 else ([], [])


def shown(rows: Sequence[Row], names: Sequence[str], without: Sequence[str], folder: str) -> Markup:
    """without: runs that say nothing of claims     folder: where the CSV file will lie"""
    head = ("", "", "claim and mean figure; criterion; what was found", "passed", *names)
    cells = [
        (row["claim"], outcome_of(row), _claim(row, names), f"{row['passed']} of {row['seeds']}",
         *(_of_run(name, at(row, "runs", name), row["figure"] is None) for name in names))
        for row in rows
    ]  # fmt: skip
    about = (
        "A claim passes where two thirds of them pass. Figures are means, with the outermost ends of the 95 % "
        "intervals, and n of all together; where runs were decided by different conditions there is none."
    )
    if without:
        about += f" Without claims: {', '.join(without)}."
    link = Markup('<a class="csv" href="{}/{}.csv">numbers</a>').format(folder, NAME)
    return Markup('<p class="about">{} {}</p><div class="over">{}</div>').format(
        about, link, table(head, cells, (0, 3))
    )


def _claim(row: Row, names: Sequence[str]) -> Markup:
    number = Number.of(row, "figure")
    whys = Markup("").join(
        Markup("<br><small>{}: {}</small>").format(name, at(row, "runs", name, "why")) for name in names
    )
    return Markup("{} <strong>{}</strong><br><small>{}</small><details><summary>each</summary>{}</details>").format(
        row["sentence"], number.words() if number else "", row["criterion"], whys
    )


def _of_run(name: str, found: Row, apart: bool) -> Markup:
    """name: shown where a phone has no room for columns     apart: figures of different things, so each says of what"""
    number = Number.of(found, "figure")
    value = f"{number.value:z.2f}" if number else ""
    of = Markup("<br><small>{}</small>").format(found["of"]) if number and apart else ""
    return Markup('<b class="whose">{}</b>{}<br>{}{}').format(name, outcome_of(found), value, of)


def csv(rows: Sequence[Row], names: Sequence[str]) -> str:
    head = ["claim", "run", "outcome", "figure", "low", "high", "n", "of"]
    lines = []
    for row in rows:
        for name, found in [("all", row), *((name, at(row, "runs", name)) for name in names)]:
            number = Number.of(found, "figure")
            ends = map(repr, number.interval) if number and number.interval else ("", "")
            lines.append((
                str(row["claim"]), name, found["outcome"], repr(number.value) if number else "", *ends,
                str(number.n or "") if number else "", str(found.get("of", "")),
            ))  # fmt: skip
    return csv_of(head, lines)
