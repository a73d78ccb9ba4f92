"""Policies held against each other where they went equally far, or earned equally much.

A policy that was optimised longer has more reward and more drift; beside one that was stopped earlier it says nothing
of the method. So each is read at the place of its course where its KL, or its reward, first reaches a level, between
the two points around that place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rather.diagnose.reading import Number
from rather.errors import BadSetting
from rather.evaluate.compare_reading import Course, Point

CLOSE = 0.05  # of the larger: levels nearer to each other than this are one
Matched = Mapping[str, "Read | None"]  # policy -> where it was; None where it never reached the level


@dataclass(frozen=True)
class Read:
    """A course at one level. seconds, tokens: until then, if every iteration took the same time"""

    place: str
    values: Mapping[str, Number]
    seconds: float | None
    tokens: float | None


@dataclass(frozen=True)
class Level:
    """by: "kl" or "reward"     scorer: whose rewards, where that matters     matched: each policy there"""

    by: str
    level: float
    scorer: str | None
    matched: Matched


def labels_of(courses: Sequence[Course]) -> list[str]:
    """The folder's name; with its run where several runs are compared."""
    several = len({course.run for course in courses}) > 1
    return [f"{course.run}/{course.name}" if several else course.name for course in courses]


def at_equal(courses: Sequence[Course], by: str, asked: Sequence[float] = ()) -> list[Level]:
    """Levels that were asked for, or those that at least two policies reached.

    by: "kl", among all; "reward", among those that one scorer rewarded: another one's numbers are another scale
    """
    if wrong := [level for level in asked if not level > 0 and by == "kl"]:
        raise BadSetting(f"--kl {wrong[0]:g}.", "Expected nats above 0: at 0 all policies are their references.")
    named = list(zip(labels_of(courses), courses, strict=True))
    groups: dict[str | None, list[tuple[str, Course]]] = {}
    for label, course in named:
        groups.setdefault(course.scorer if by == "reward" else None, []).append((label, course))
    found = []
    for scorer, members in groups.items():
        levels = list(asked) or shared_levels([course for _, course in members], by)
        for level in sorted(levels):
            found.append(Level(by, level, scorer, {label: read_at(course, by, level) for label, course in members}))
    return [level for level in found if asked or sum(read is not None for read in level.matched.values()) > 1]


def shared_levels(courses: Sequence[Course], by: str) -> list[float]:
    """How far each of them came, and half of the least: levels of 0 or below say nothing of drift."""
    ends = sorted(max(values) for course in courses if (values := _column(course, by)))
    if by == "kl":
        ends = [end for end in ends if end > 0]
    wanted = ([ends[0] / 2] if ends and by == "kl" else []) + ends
    levels: list[float] = []
    for level in wanted:
        if not levels or level - levels[-1] > CLOSE * abs(level):
            levels.append(level)
    return levels


def read_at(course: Course, by: str, level: float) -> Read | None:
    """Where the course first reaches the level. A point alone, or the first one, counts where it is that level."""
    before: Point | None = None
    for point in course.points:
        if by not in point.values:
            continue
        here = point.values[by].value
        if here >= level:
            if before is None:
                return _between(course, point, point, 1.0) if here <= level * (1 + 1e-9) else None
            there = before.values[by].value
            return _between(course, before, point, (level - there) / (here - there))
        before = point
    return None


def _between(course: Course, one: Point, other: Point, share: float) -> Read:
    """share: 0 at the one point, 1 at the other"""
    values = {
        name: _mixed(one.values[name], number, share) for name, number in other.values.items() if name in one.values
    }
    so_far = _line(one.share, other.share, share)
    seconds = course.seconds * so_far if course.seconds is not None and so_far is not None else None
    place = other.place if share > 0.999 else f"{one.place} to {other.place.split()[-1]}"
    return Read(place, values, seconds, _line(one.tokens, other.tokens, share))


def _mixed(one: Number, other: Number, share: float) -> Number:
    """Between two numbers; ends of intervals likewise, which is wide rather than narrow where they are independent."""
    ends = None
    if one.interval is not None and other.interval is not None:
        low, high = (_line(a, b, share) or 0.0 for a, b in zip(one.interval, other.interval, strict=True))
        ends = (low, high)
    known = [n for n in (one.n, other.n) if n is not None]
    return Number(_line(one.value, other.value, share) or 0.0, ends, min(known) if known else None)


def _line(one: float | None, other: float | None, share: float) -> float | None:
    if other is not None and share >= 1:
        return other
    return None if one is None or other is None else one + share * (other - one)


def _column(course: Course, by: str) -> list[float]:
    return [point.values[by].value for point in course.points if by in point.values]


def as_object(courses: Sequence[Course], levels: Sequence[Level]) -> dict[str, Any]:
    """All of it as JSON; null where nothing was measured."""
    policies = []
    for label, course in zip(labels_of(courses), courses, strict=True):
        said = asdict(course) | {"policy": label, "points": len(course.points)}
        policies.append(said | {"ended": _numbers(course.ended), "tax": course.tax and asdict(course.tax)})
    matched = [
        {
            "by": level.by,
            "level": level.level,
            "scorer": level.scorer,
            "policies": {
                label: read
                and {
                    "place": read.place,
                    "seconds": read.seconds,
                    "tokens": read.tokens,
                    **_numbers(read.values),
                }
                for label, read in level.matched.items()
            },
        }
        for level in levels
    ]
    return {"policies": policies, "matched": matched}


def _numbers(values: Mapping[str, Number]) -> dict[str, Any]:
    names = ("kl", "reward", "gold", "entropy", "length")
    return {name: asdict(values[name]) if name in values else None for name in names}
