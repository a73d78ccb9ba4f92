"""Figures of a reward model, from the numbers that `rather reward report` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rather.diagnose.reading import Number, at, is_number, items_of, rows_of
from rather.report import figures
from rather.report.figures import Figure

GROUPS = ("train", "validation", "held-out labelers")


def drawn(name: str, report: Mapping[str, Any]) -> list[Figure]:
    """What it gets right, beside how labelers agree and what nobody can exceed; calibration; learning curve."""
    rows = [(group, [Number.of(at(report, "groups", group, "accuracy"))]) for group in GROUPS]
    rows.append(("length alone", [Number.of(at(report, "length", "baseline"))]))
    for who, said in items_of(at(report, "agreement")):
        rows.append((f"{who.split()[0]} agree", [Number.of(at(said, "agreement", "dropped"))]))
        rows.append((f"{who.split()[0]} ceiling", [Number.of(at(said, "ceiling"))]))
    title = f"{name}: pairs ordered right, how often two labelers agree, and the most that can be right"
    found = [figures.forest(f"{name}-accuracy", title, ["share of pairs"], rows, 0.5)]
    for by, slices in items_of(at(report, "by")):
        of = [(str(row.get("name")), [Number.of(at(row, "accuracy"))]) for row in rows_of(slices)]
        if len(of) > 1:
            title = f"{name}: pairs ordered right, by {by}"
            found.append(figures.forest(f"{name}-by-{by.replace(' ', '-')}", title, ["share of pairs"], of, 0.5))
    found.append(_calibration(name, report))
    found.append(_learned(name, report))
    return [figure for figure in found if figure is not None]


def _calibration(name: str, report: Mapping[str, Any]) -> Figure | None:
    points = []
    for one in rows_of(at(report, "calibration", "bins")):
        seen = Number.of(one.get("observed"))
        if is_number(one.get("predicted")) and seen is not None:
            points.append((float(one["predicted"]), seen.value))
    ends = [point[0] for point in points]
    lines = {
        "how often it is right": points,
        "calibrated": [(min(ends), min(ends)), (max(ends), max(ends))] if ends else [],
    }
    return figures.curves(f"{name}-calibration", f"{name}: how often it is right, by how sure it is", "says", lines)


def _learned(name: str, report: Mapping[str, Any]) -> Figure | None:
    points = []
    for row in rows_of(at(report, "learning curve")):
        number = Number.of(row.get("accuracy"))
        if is_number(row.get("prompts")) and number is not None:
            points.append((float(row["prompts"]), number.value))
    return figures.curves(
        f"{name}-learning", f"{name}: pairs ordered right, by prompts trained on", "prompts", {name: points}
    )
