"""The alignment tax: what a policy lost on each benchmark, question by question, to the base it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from rather.diagnose.reading import Number, Story, at, is_number
from rather.statistics import paired_difference

LOST = 0.1  # of the grade: claim 18 asks for that much


@dataclass(frozen=True)
class Tax:
    model: str
    base: str
    differences: dict[str, Number]  # benchmark -> policy less base


def taxes(story: Story) -> list[Tax]:
    """Of every policy that was measured on the same questions as its base."""
    found = []
    for name in story.stages:
        base = base_of(story, name)
        grades = at(story.measured.get(name), "grades")
        if base is None or base == name or not isinstance(grades, dict):
            continue
        numbers = {}
        for bench, mine in grades.items():
            theirs = at(story.measured.get(base), "grades", bench)
            if _column(mine) and _column(theirs) and len(mine) == len(theirs) > 1:
                ids = [str(row) for row in range(len(mine))]
                number = Number.of(paired_difference(mine, theirs, ids, scale=(0, 1)).to_dict())
                if number is not None:
                    numbers[bench] = number
        if numbers:
            found.append(Tax(name, base, numbers))
    return found


def base_of(story: Story, name: str) -> str | None:
    """The base model at the root: stage after stage, the model that each began from."""
    seen: set[str] = set()
    while name in story.stages and name not in seen:
        seen.add(name)
        if name.startswith("base"):
            return name
        name = story.began_from(name) or ""
    return None


def _column(grades: object) -> bool:
    return isinstance(grades, list) and all(is_number(grade) and 0 <= grade <= 1 for grade in grades)
