"""Questions of Marn's public benchmarks: in the form of the web's own pages (`exams`), with solved ones before them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rather.errors import BadSetting
from rather.worlds import exams
from rather.worlds.benchmarks import Benchmark, Question
from rather.worlds.exams import Item
from rather.worlds.facts import Facts


@dataclass(frozen=True)
class _Form:
    like: str
    item: Callable[[Facts, random.Random], Item]
    shots: int  # as many as the web's pages have before the last
    choose: bool = False
    by_word: bool = False
    end: str = "\n"
    most: int | None = None  # different questions there are, where they are few enough to ask all


FORMS: Mapping[str, _Form] = {
    "reading": _Form("SQuAD, QuAC", exams.reading, 1),
    "discrete_reasoning": _Form("DROP", exams.word_problem, 1),
    "sums": _Form("GPT-3's arithmetic", lambda facts, rng: exams.addition(rng), 3, most=exams.ADDED**2),
    "commonsense": _Form("HellaSwag", exams.commonsense, 1, choose=True),
    "sentiment": _Form("SST", exams.sentiment, 1, choose=True),
    "translation": _Form("WMT 2015", exams.translation, 2, by_word=True),
    "knowledge": _Form("closed-book facts", exams.cloze, 0, end="."),
}


def benchmarks(facts: Facts, n: int, seed: int) -> dict[str, Benchmark]:
    """Each with n different questions, or all there are; the same for every model that is compared."""
    return {name: _drawn(facts, name, n, random.Random(f"marn benchmark {name} {seed}")) for name in FORMS}


def _drawn(facts: Facts, name: str, n: int, rng: random.Random) -> Benchmark:
    form = FORMS[name]
    n = min(n, form.most or n)
    found: dict[str, Question] = {}
    repeats = 0
    while len(found) < n:
        *solved, asked = (form.item(facts, rng) for _ in range(form.shots + 1))
        repeats = repeats + 1 if asked.question in found else 0
        if repeats > 1000:
            raise BadSetting(
                f"After {len(found)} different questions of {name} 1000 draws gave no new one; {n} were asked for.",
                "Ask for fewer, or take a world of a larger scale.",
            )
        if repeats:
            continue
        shots = "".join(item.text + "\n" for item in solved)
        space = " " if form.choose else ""
        found[asked.question] = Question(
            id=f"{name}-{len(found):04d}",
            prompt=shots + asked.question.rstrip(" "),
            answer=space + asked.answer,
            choices=tuple(space + choice for choice in asked.choices) if form.choose else (),
            end=form.end,
            by_word=form.by_word,
        )
    return Benchmark(name, form.like, tuple(found.values()))
