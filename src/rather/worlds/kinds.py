"""A kind of prompt: how it is asked, answered and graded. Each use case has a module with its kinds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from rather.worlds import lexicon
from rather.worlds.facts import Facts
from rather.worlds.types import Spec, WorldPrompt

STOPS = frozenset(".!?\n")


class Answer:
    """A response, taken apart once for all graders."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.words = lexicon.words(self.text)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        return tuple(line.strip() for line in self.text.split("\n") if line.strip())

    @cached_property
    def sentences(self) -> tuple[tuple[str, ...], ...]:
        """Up to a full stop or a line's end; without the stops."""
        found: list[tuple[str, ...]] = []
        now: list[str] = []
        for word in (*self.words, "."):
            if word not in STOPS:
                now.append(word)
            elif now:
                found.append(tuple(now))
                now = []
        return tuple(found)

    @cached_property
    def plain(self) -> tuple[str, ...]:
        return tuple(word for word in self.words if word[0].isalnum())

    def has(self, phrase: str) -> bool:
        return lexicon.holds(self.words, phrase)


def abstains(answer: Answer) -> bool:
    return any(answer.has(words) for words in ("not know", "know nothing", "does not say", "nothing about"))


@dataclass(frozen=True)
class Grade:
    """What only the grader of a kind can see; the rest of the features is the same for all kinds."""

    task: float
    hall: bool = False
    syc: bool = False
    attempt: bool | None = None  # None: whatever earns .3 tries the task
    constraints: bool | None = None
    next_turn: bool = False  # speaks for the user


@dataclass(frozen=True)
class Kind:
    """share: how much of its category, in parts of the sum     flawed: with the imperfections that labelers have

    short: may stand in a few-shot prompt, three of them in one
    """

    name: str
    share: float
    ask: Callable[[Facts, random.Random], WorldPrompt]
    answer: Callable[[Facts, WorldPrompt, random.Random, bool], str]
    grade: Callable[[Facts, WorldPrompt, Answer], Grade]
    short: bool = False


def prompt(category: str, kind: str, template: str, text: str, entity: str, spec: Spec) -> WorldPrompt:
    return WorldPrompt(text=text + "\n", category=category, kind=kind, spec=spec, template=template, entity=entity)


def checked(checks: Iterable[tuple[int, bool]]) -> float:
    """The weighted share of the checks that hold."""
    pairs = list(checks)
    return sum(weight for weight, holds in pairs if holds) / sum(weight for weight, _ in pairs)


def overlap(said: Sequence[str], wanted: Sequence[str]) -> float:
    """F1 of two lists of words, as bags."""
    rest = list(wanted)
    common = 0
    for word in said:
        if word in rest:
            rest.remove(word)
            common += 1
    return 2 * common / (len(said) + len(wanted)) if said or wanted else 1.0


def exact(answer: Answer, wanted: str) -> float:
    """1 for the very words, else .8 F1^2: nearly right is worth something, and less than right."""
    words = lexicon.plain(wanted)
    # Both ends are cut: an endless answer must not cost a quadratic comparison.
    return 1.0 if answer.plain == words else 0.8 * overlap(answer.plain[: 4 * len(words) + 16], words) ** 2
