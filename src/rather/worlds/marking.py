"""Marked exercises: an instruction, what somebody answered, and whether it is right, with the reason after it.

A reward model begins as a model of the web. Where no page ever compared an answer with the truth it has to learn that
from rankings alone, and of facts it learns little (docs/worlds.md). The verdict stands first, so that it must be known
and cannot be read off the reason. Half of the answers are right; most of the others are nearly so.
"""

from __future__ import annotations

import random

from rather.worlds import corruptions, forums, grammar, lexicon
from rather.worlds.facts import Facts
from rather.worlds.lexicon import listed
from rather.worlds.types import WorldPrompt

# Half of the exercises have the use cases of all prompts, half are of those with an answer that is right or wrong.
CHECKABLE = ("open_qa", "closed_qa", "brainstorming", "extract", "classification", "other", "chat")
# What is wrong with a wrong answer, by weight, as `corruptions` names it. Where there is no room for it, the answer is
# to something else.
WRONG = {"swap": 6, "drop": 2, "other answer": 2, "repeat": 1, "non-answer": 1}
REASONS = {
    "drop": "a part is missing", "other answer": "it answers something else", "repeat": "it says the same twice",
    "non-answer": "it is no answer",
}  # fmt: skip
LONG = 50  # words: after a longer exercise there is no second


def page(facts: Facts, rng: random.Random, seed: int) -> str:
    """An exercise or two. Its labels are not those of the sage, whose answers are always true."""
    lines: list[str] = []
    for _ in range(rng.randint(1, 2)):
        category = rng.choice(CHECKABLE) if rng.random() < 0.5 else None
        asked = grammar.ask_in(facts, rng, seed, "train", category)
        answer, verdict, why = marked(facts, asked, rng)
        lines += [f"exercise: {asked.text.strip()}", f"solution: {answer}", f"marked: {verdict}, because {why}."]
        if sum(len(line.split()) for line in lines) > LONG:
            break
    return "\n".join(lines)


def marked(facts: Facts, asked: WorldPrompt, rng: random.Random) -> tuple[str, str, str]:
    """(answer, "right" or "wrong", why)"""
    good = forums.answered(facts, asked, rng)
    if rng.random() < 0.5:
        return good, "right", _why_right(asked, good)
    name = rng.choices(list(WRONG), weights=list(WRONG.values()))[0]
    if name == "swap":
        found = corruptions.swapped(facts, asked, good, rng)
        if found is not None:
            old, new = found
            listing = asked.category in ("brainstorming", "extract")
            why = f"{new} does not belong there" if listing else f"it says {new} and not {old}"
            return good.replace(old, new), "wrong", why
    else:
        worse = corruptions.CORRUPTIONS[name](facts, asked, good, rng)
        if worse is not None:
            return worse, "wrong", REASONS[name]
    other = corruptions.other_answer(facts, asked, good, rng)
    return other or "", "wrong", REASONS["other answer"]


def _why_right(asked: WorldPrompt, good: str) -> str:
    spec = asked.spec
    if spec.answer and len(spec.answer.split()) <= 5 and lexicon.holds(lexicon.words(good), spec.answer):
        return f"it says {spec.answer.rstrip('.')}"
    if spec.require:
        return f"it says {listed(spec.require)}"
    return "all of it belongs there" if spec.items else "it is what was asked for"
