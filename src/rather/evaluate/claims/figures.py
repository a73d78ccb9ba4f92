"""Numbers with intervals, and what becomes of the intervals in a difference, a ratio, a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rather.diagnose.over_runs import Outcome


@dataclass(frozen=True)
class Figure:
    """interval: None where there is none, as of a number that was read off one curve     n: rows it rests on"""

    value: float
    interval: tuple[float, float] | None = None
    n: int | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Figure:
        """From what `Estimate.to_dict` wrote."""
        interval = found.get("interval")
        return cls(float(found["value"]), None if interval is None else (interval[0], interval[1]), found.get("n"))


def minus(one: Figure, other: Figure) -> Figure:
    """The difference, with the interval that the two intervals give if they are independent (MOVER, Zou 2008)."""
    n = _fewest(one, other)
    value = one.value - other.value
    if one.interval is None or other.interval is None:
        return Figure(value, None, n)
    (low, high), (other_low, other_high) = one.interval, other.interval
    down = math.hypot(one.value - low, other_high - other.value)
    up = math.hypot(high - one.value, other.value - other_low)
    return Figure(value, (value - down, value + up), n)


def over(one: Figure, other: Figure) -> Figure:
    """The ratio of two numbers that are not negative, likewise (Donner and Zou 2012); no interval if it has no end."""
    n, (a, b) = _fewest(one, other), (one.value, other.value)
    if b <= 0:
        raise ZeroDivisionError("a ratio to 0")
    if one.interval is None or other.interval is None:
        return Figure(a / b, None, n)
    (a_low, a_high), (b_low, b_high) = one.interval, other.interval

    def end(at: float, of: float) -> float:
        """Fieller's quadratic with the distances of the ends from the values in place of standard errors."""
        return max(0.0, (a * b) ** 2 - at * of * (2 * a - at) * (2 * b - of))

    below, above = b_high * (2 * b - b_high), b_low * (2 * b - b_low)
    if below <= 0 or above <= 0:
        return Figure(a / b, None, n)
    low = (a * b - math.sqrt(end(a_low, b_high))) / below
    high = (a * b + math.sqrt(end(a_high, b_low))) / above
    return Figure(a / b, (max(0.0, low), high), n)


def _fewest(*figures: Figure) -> int | None:
    known = [figure.n for figure in figures if figure.n is not None]
    return min(known) if known else None


@dataclass(frozen=True)
class Part:
    """One condition of a criterion.     what: its figure is of     words: with the number and the bound"""

    what: str
    words: str
    figure: Figure
    held: bool
    close: bool = False  # the interval reaches over the bound


def at_least(what: str, figure: Figure, bound: float) -> Part:
    return Part(
        what, f"{what} {_short(figure.value)} (>= {bound:g})", figure, figure.value >= bound, _over(figure, bound)
    )


def at_most(what: str, figure: Figure, bound: float) -> Part:
    return Part(
        what, f"{what} {_short(figure.value)} (<= {bound:g})", figure, figure.value <= bound, _over(figure, bound)
    )


def more_than(what: str, figure: Figure, bound: float = 0.0) -> Part:
    return Part(
        what, f"{what} {_short(figure.value)} (> {bound:g})", figure, figure.value > bound, _over(figure, bound)
    )


def surely_more(what: str, figure: Figure, bound: float) -> Part:
    """The whole interval lies above the bound."""
    held = figure.interval is not None and figure.interval[0] > bound
    return Part(what, f"{what} {_short(figure.value)} (surely > {bound:g})", figure, held)


def _over(figure: Figure, bound: float) -> bool:
    return figure.interval is not None and figure.interval[0] < bound < figure.interval[1]


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


@dataclass(frozen=True)
class Verdict:
    """figure: of the condition that decides it: the first that fails, or the first of all     why: all conditions

    of: what the figure is of, so that the figures of two runs are only taken together where they are of the same
    """

    outcome: Outcome
    why: str
    figure: Figure | None = None
    of: str = ""


def verdict(*parts: Part, note: str = "") -> Verdict:
    failing = [part for part in parts if not part.held]
    decisive = (failing or parts)[0]
    words = [part.words + (" within noise" if part.close else "") for part in parts]
    why = "; ".join([*words, *([note] if note else [])])
    return Verdict("fail" if failing else "pass", why, decisive.figure, decisive.what)


def undecided(why: str) -> Verdict:
    return Verdict("not decided", why)
