"""Figures as inline SVG: curves, and numbers with their intervals. Colours come from the page, text stays text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from rather.diagnose.reading import Number

WIDE = 420  # units; on a phone one is somewhat less than a pixel, so letters stay readable
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 30
POINTS = 240  # of a curve: more than there are pixels is weight without sight
SHADES = 6  # colours of the page; curves beyond them are dashed


@dataclass(frozen=True)
class Figure:
    """csv: the numbers behind it     title: what a reader is told who cannot see it is `told`"""

    name: str
    title: str
    told: str
    svg: Markup
    csv: str


def curves(
    name: str,
    title: str,
    x_label: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    mark: tuple[str, Number] | None = None,
) -> Figure | None:
    """One line for each stage that has the metric; None where none has two points.

    mark: a place on the x axis with its interval, and what is there
    """
    lines = {label: line for label, line in lines.items() if len(line) > 1}
    if not lines:
        return None
    xs, ys = ([point[axis] for line in lines.values() for point in line] for axis in (0, 1))
    high = 170
    across, up = _scale(min(xs), max(xs), LEFT, WIDE - RIGHT), _scale(*_roomy(min(ys), max(ys)), high - BOTTOM, TOP)
    drawn = [_axes(across, up, high, x_label)]
    if mark is not None:
        drawn.append(_band(across, mark, high))
    for at, (label, line) in enumerate(lines.items()):
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in _thinned(line))
        drawn.append(
            Markup('<polyline class="line c{} {}" points="{}"><title>{}</title></polyline>').format(
                at % SHADES, "dashed" if at >= SHADES else "", points, label
            )
        )
    ends = [f"{label}: {line[0][1]:.4g} to {line[-1][1]:.4g}" for label, line in lines.items()]
    told = f"{title} by {x_label}. " + "; ".join(ends) + (f"; {mark[0]} at {mark[1].words()}" if mark else "")
    legend = _legend(list(lines)) if len(lines) > 1 else Markup("")
    rows = [(label, f"{x:g}", repr(y)) for label, line in lines.items() for x, y in line]
    return Figure(name, title, told, _svg(name, told, high, drawn) + legend, csv_of(("stage", x_label, title), rows))


def forest(
    name: str, title: str, groups: Sequence[str], rows: Sequence[tuple[str, Sequence[Number | None]]], middle: float
) -> Figure | None:
    """A number with its interval for each row and group, around a line that means "no difference"."""
    rows = [(label, numbers) for label, numbers in rows if any(numbers)]
    if not rows:
        return None
    seen = [number for _, numbers in rows for number in numbers if number is not None]
    ends = [middle, *(end for number in seen for end in (number.interval or (number.value, number.value)))]
    step, left = 14 * len(groups) + 10, 118
    high = TOP + step * len(rows) + BOTTOM
    across = _scale(*_roomy(min(ends), max(ends)), left, WIDE - RIGHT)
    drawn = [_x_axis(across, high, left)]
    drawn.append(
        Markup('<line class="middle" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
            f"{across(middle):.1f}", TOP, high - BOTTOM
        )
    )
    for at, (label, numbers) in enumerate(rows):
        y = TOP + step * at
        drawn.append(Markup('<text class="row" x="{}" y="{}">{}</text>').format(left - 6, y + step / 2 + 4, label[:19]))
        for place, number in enumerate(numbers):
            if number is not None:
                drawn.append(_whisker(number, across, y + 12 + 14 * place, place, f"{label}, {groups[place]}"))
    said = [
        f"{label}, {group}: {number.words()}"
        for label, numbers in rows
        for group, number in zip(groups, numbers, strict=True)
        if number
    ]
    csv = [
        (label, group, repr(n.value), *map(repr, n.interval or ("", "")), str(n.n or ""))
        for label, numbers in rows
        for group, n in zip(groups, numbers, strict=True)
        if n
    ]
    legend = _legend(groups) if len(groups) > 1 else Markup("")
    table = csv_of(("row", "group", "value", "low", "high", "n"), csv)
    told = f"{title}. " + "; ".join(said)
    return Figure(name, title, told, _svg(name, told, high, drawn) + legend, table)


# ---- pieces


class _scale:
    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high if high > low else low + 1, start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Three to six round numbers."""
        raw = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * by for by in (1, 2, 5, 10) if power * by >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [at * step for at in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _roomy(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.06 or abs(high) * 0.1 or 0.5
    return low - room, high + room


def _axes(across: _scale, up: _scale, high: int, x_label: str) -> Markup:
    lines = Markup("").join(
        Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="y" x="{}" y="{}">{}</text>').format(
            LEFT, WIDE - RIGHT, f"{up(v):.1f}", f"{up(v):.1f}", LEFT - 5, f"{up(v) + 4:.1f}", f"{v:g}"
        )
        for v in up.ticks()
    )
    label = Markup('<text class="x" x="{}" y="{}">{}</text>').format(WIDE - RIGHT, high - 2, x_label)
    return lines + _x_axis(across, high, LEFT) + label


def _x_axis(across: _scale, high: int, left: float) -> Markup:
    ticks = Markup("").join(
        Markup('<text class="tick" x="{}" y="{}">{}</text>').format(f"{across(v):.1f}", high - BOTTOM + 14, _short(v))
        for v in across.ticks()
    )
    return (
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            left, WIDE - RIGHT, high - BOTTOM, high - BOTTOM
        )
        + ticks
    )


def _band(across: _scale, mark: tuple[str, Number], high: int) -> Markup:
    words, number = mark
    low, top = number.interval or (number.value, number.value)
    left, right = (max(LEFT, min(WIDE - RIGHT, across(end))) for end in (low, top))
    return Markup(
        '<g class="mark"><title>{}: {}</title><rect x="{}" y="{}" width="{}" height="{}"/>'
        '<line x1="{}" x2="{}" y1="{}" y2="{}"/></g>'
    ).format(
        words,
        number.words(),
        f"{left:.1f}",
        TOP,
        f"{max(1.0, right - left):.1f}",
        high - BOTTOM - TOP,
        f"{across(number.value):.1f}",
        f"{across(number.value):.1f}",
        TOP,
        high - BOTTOM,
    )


def _whisker(number: Number, across: _scale, y: float, shade: int, label: str) -> Markup:
    low, high = number.interval or (number.value, number.value)
    return Markup(
        '<g class="c{}"><title>{}: {}</title><line class="whisker" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<circle cx="{}" cy="{}" r="4"/></g>'
    ).format(
        shade % SHADES,
        label,
        number.words(),
        f"{across(low):.1f}",
        f"{across(high):.1f}",
        y,
        y,
        f"{across(number.value):.1f}",
        y,
    )


def _svg(name: str, told: str, high: int, drawn: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDE, high, told, Markup("").join(drawn)
    )


def _legend(labels: Sequence[str]) -> Markup:
    items = Markup("").join(
        Markup('<li class="c{}{}">{}</li>').format(at % SHADES, " dashed" if at >= SHADES else "", label)
        for at, label in enumerate(labels)
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


def _short(value: float) -> str:
    return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:g}"


def _thinned(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of neighbours, where there are more points than can be seen; the numbers themselves are in the CSV."""
    each = -(-len(line) // POINTS)
    parts = [line[at : at + each] for at in range(0, len(line), each)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def csv_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A cell that a spreadsheet would take for a formula is quoted as text."""

    def cell(text: str) -> str:
        text = "'" + text if text[:1] in ("=", "+", "@", "\t") else text
        return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(c in text for c in ',"\n\r') else text

    return "\n".join(",".join(map(cell, row)) for row in (head, *rows)) + "\n"


def caption(figure: Figure, folder: str) -> Markup:
    """The figure with its title and where its numbers lie."""
    return Markup('<figure>{}<figcaption>{} <a class="csv" href="{}/{}.csv">numbers</a></figcaption></figure>').format(
        figure.svg, figure.title, escape(folder), figure.name
    )
