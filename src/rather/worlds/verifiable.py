"""A second world, in which a program can tell right from wrong: sums and word puzzles with exact checkers (for GRPO).

    world = VerifiableWorld(seed=0)
    problem = world.problem(random.Random(1), task="sum", level=2)     # "what is 47 + 5?\\n"
    check(problem, "the answer is 52.")                                # True

A problem has one right answer and a short list of spellings of it (`spellings`). A response is right if, but for case
and spaces, it is one of them and nothing else: two numbers, a number inside a sentence, or an answer with a forum
thread behind it are wrong, so there is nothing to game. Words are of Marn, so a model that read its web can read them.

Whether a problem belongs to training, validation or test follows from what it is about and not from when it was drawn:
3 + 9 and 9 + 3 are on the same side, and so are all orders of the same words.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from rather.errors import BadSetting, nearest
from rather.worlds.lexicon import POOLS
from rather.worlds.types import Split

LEVELS = (1, 2, 3, 4, 5)
DRAWS = 2_000
HELD_OUT = {"test": 0.2, "validation": 0.1}  # of what problems can be about; training gets the rest
WORDS = tuple(sorted(w for pool in ("animal", "thing", "ingredient", "color") for w in POOLS[pool] if " " not in w))
TOKEN = re.compile(r"[a-z]+|[0-9]+|[^\sa-z0-9]")


@dataclass(frozen=True)
class Problem:
    """text: what the model sees; it ends in a newline, and the answer follows

    answer: the words or the number, in the one order that is right
    restated: how an answer may begin by repeating the question ("47 + 5"); "" where that is not accepted
    about: what decides the side of the split it lies on
    """

    text: str
    task: str
    level: int
    answer: tuple[str, ...]
    restated: str
    about: tuple[str, ...]


@dataclass(frozen=True)
class VerifiableWorld:
    """Problems of eight tasks at five levels. Level 1 is a sum of two digits or a pair of words."""

    seed: int = 0
    name: str = "sums and strings"

    def problem(
        self, rng: random.Random, task: str | None = None, level: int | None = None, split: Split = "train"
    ) -> Problem:
        """One problem; task and level are drawn evenly where they are not named."""
        if task is not None and task not in TASKS:
            raise BadSetting(f"There is no task {task!r}.{nearest(task, TASKS)}", f"Tasks: {', '.join(TASKS)}.")
        if level is not None and level not in LEVELS:
            raise BadSetting(f"There is no level {level}.", f"Levels: {', '.join(map(str, LEVELS))}.")
        if split not in get_args(Split):
            raise BadSetting(f"There is no split {split!r}.", f"Splits: {', '.join(get_args(Split))}.")
        task = rng.choice(list(TASKS)) if task is None else task
        level = rng.choice(LEVELS) if level is None else level
        for _ in range(DRAWS):  # a tenth of what a task can ask is on the rarest side: ten draws on average
            problem = TASKS[task](rng, level)
            if self.split(problem) == split:
                return problem
        raise BadSetting(  # one world in some hundred, where there are only 55 problems to divide
            f"The world of seed {self.seed} has no {task} of level {level} on the side {split}.",
            "Expected one in ten: with so few problems chance may give a side none.",
            "Take a higher level, or another seed.",
        )

    def problems(
        self, rng: random.Random, n: int, task: str | None = None, level: int | None = None, split: Split = "train"
    ) -> list[Problem]:
        """n different problems, for a test set. Training may as well call `problem` for ever."""
        found: dict[str, Problem] = {}
        repeats = 0
        while len(found) < n:
            problem = self.problem(rng, task, level, split)
            repeats = repeats + 1 if problem.text in found else 0
            if repeats > 1000:
                what = " ".join(filter(None, [task, f"of level {level}" if level else ""])) or "any task"
                raise BadSetting(
                    f"After {len(found)} different problems ({what}, {split}) 1000 draws gave no new one; "
                    f"{n} were asked for.",
                    "Ask for fewer, or for a higher level.",
                )
            found.setdefault(problem.text, problem)
        return list(found.values())

    def split(self, problem: Problem) -> Split:
        """The side of the split that a problem lies on, in this world."""
        key = "/".join((str(self.seed), problem.task, *problem.about))
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
        if place < HELD_OUT["test"]:
            return "test"
        return "validation" if place < HELD_OUT["test"] + HELD_OUT["validation"] else "train"


def check(problem: Problem, response: str, finished: bool = True) -> bool:
    """Whether the response is the right answer, in one of its spellings, and nothing else.

    finished: False where the length limit cut the response off. "1" may have been on its way to "12": that is wrong.
    """
    # Letters of other alphabets can become Latin ones in lower case; no spelling has any.
    return finished and response.isascii() and _spaced(response) in spellings(problem)


def spellings(problem: Problem) -> frozenset[str]:
    """Every accepted answer, in lower case and with one space between words, numbers and signs.

    A number may stand alone, after "the answer is" or "it is", or end the repeated question ("47 + 5 = 52",
    "47 + 5 is 52"). Words may be separated by spaces or commas, with "and" before the last, and follow "the answer is"
    or "it is". A full stop may end it.
    """
    words = problem.answer
    said = {" ".join(words), ", ".join(words)}
    if len(words) > 1:
        said |= {f"{', '.join(words[:-1])}{comma} and {words[-1]}" for comma in ("", ",")}
    openings = ["", "the answer is ", "it is "]
    if problem.restated:
        openings += [f"{problem.restated} = ", f"{problem.restated} is "]
    return frozenset(_spaced(opening + each + end) for opening in openings for each in said for end in ("", "."))


def _spaced(text: str) -> str:
    return " ".join(TOKEN.findall(text.lower()))


def _sum(rng: random.Random, level: int) -> Problem:
    digits = {1: (1, 1), 2: (2, 1), 3: (2, 2), 4: (2, 2, 2), 5: (3, 3)}[level]
    numbers = [rng.randint(0 if d == 1 else 10 ** (d - 1), 10**d - 1) for d in digits]
    rng.shuffle(numbers)
    asked = " + ".join(map(str, numbers))
    about = tuple(map(str, sorted(numbers)))
    return Problem(f"what is {asked}?\n", "sum", level, (str(sum(numbers)),), asked, about)


def _difference(rng: random.Random, level: int) -> Problem:
    low, high, low_b, high_b = {
        1: (0, 9, 0, 9),
        2: (10, 99, 0, 9),
        3: (10, 99, 10, 99),
        4: (10, 99, 10, 99),
        5: (100, 999, 10, 999),
    }[level]
    a, b = rng.randint(low, high), rng.randint(low_b, high_b)
    if a < b and level < 4:  # below zero only from level 4 on
        a, b = b, a
    asked = f"{a} - {b}"
    return Problem(f"what is {asked}?\n", "difference", level, (str(a - b),), asked, (str(a), str(b)))


def _largest(rng: random.Random, level: int) -> Problem:
    # Close together, so that the number of digits does not give the answer away.
    start = rng.randint(0, 10 ** min(level, 3) - 1)
    numbers = [str(n) for n in rng.sample(range(start, start + 10 * level), level + 1)]
    answer = max(numbers, key=int)
    text = f"which is the largest of these: {', '.join(numbers)}?\n"
    return Problem(text, "largest", level, (answer,), "", tuple(sorted(numbers)))


def _count(rng: random.Random, level: int) -> Problem:
    words = rng.sample(WORDS, rng.randint(1, 2 * level + 1))  # at each level several answers are possible
    text = f"how many words are here: {' '.join(words)}?\n"
    return Problem(text, "count", level, (str(len(words)),), "", tuple(sorted(words)))


def _repeat(rng: random.Random, level: int) -> Problem:
    word, times = rng.choice(WORDS), rng.randint(level + 1, level + 2)
    return Problem(f"say {word} {times} times\n", "repeat", level, (word,) * times, "", (word, str(times)))


def _reverse(rng: random.Random, level: int) -> Problem:
    words = rng.sample(WORDS, level + 1)
    text = f"say these words in reverse order: {' '.join(words)}\n"
    return Problem(text, "reverse", level, tuple(reversed(words)), "", tuple(sorted(words)))


def _sort(rng: random.Random, level: int) -> Problem:
    words = rng.sample(WORDS, level + 1)
    text = f"say these words in the order of the alphabet: {' '.join(words)}\n"
    return Problem(text, "sort", level, tuple(sorted(words)), "", tuple(sorted(words)))


def _nth(rng: random.Random, level: int) -> Problem:
    """The word at a place counted from the front or, from level 3 on, also from the back."""
    words = rng.sample(WORDS, level + 2)
    place = rng.randrange(3)
    name = ("first", "second", "third")[place]
    back = level > 2 and rng.random() < 0.5
    asked = f"which is the {name} word{' from the end' if back else ''}: {' '.join(words)}?\n"
    answer = words[-1 - place] if back else words[place]
    return Problem(asked, "nth", level, (answer,), "", tuple(sorted(words)))


TASKS: Mapping[str, Callable[[random.Random, int], Problem]] = {
    "sum": _sum,
    "difference": _difference,
    "largest": _largest,
    "count": _count,
    "repeat": _repeat,
    "reverse": _reverse,
    "sort": _sort,
    "nth": _nth,
}
