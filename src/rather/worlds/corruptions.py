"""Good answers made worse in one way: what the graders are tested with, and what a crowd's votes are about."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from rather.records.types import Response
from rather.worlds import forums, grammar, lexicon
from rather.worlds.facts import Facts
from rather.worlds.types import SAFETY, WorldPrompt

# Each takes (facts, prompt, good answer, rng) and gives the worse text, or None where the answer has no room for it.
# They may be applied one after another.
Corruption = Callable[[Facts, WorldPrompt, str, random.Random], str | None]


def swap(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    """Another value where the right one stood."""
    found = swapped(facts, asked, good, rng)
    return good.replace(*found) if found else None


def swapped(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> tuple[str, str] | None:
    """(a right value of the answer, a wrong one to stand in its place)"""
    spec = asked.spec
    if spec.answer.isdigit():
        return spec.answer, str(int(spec.answer) + rng.choice((-1, 1, 10)))
    if asked.category == "classification":
        return good, rng.choice([label for label in spec.items if label != spec.answer])
    wanted = [spec.answer, *spec.items, *spec.require[:2], *spec.about.values()]
    kinds = [spec.answer_type] if spec.answer_type else ["person", "animal", "food", "town", "thing", "color"]
    found = [
        (kind, value)
        for kind in kinds
        for value in dict.fromkeys(facts.phrases[kind].mentioned(lexicon.words(good)))
        if value in wanted or value in spec.answer.rstrip(".").split()
    ]
    if not found:
        return None
    kind, value = rng.choice(found)
    allowed = {value, spec.answer, spec.claim, *spec.items, *spec.about.values()}
    others = [other for other in facts.pools[kind] if other not in allowed]
    return (value, rng.choice(others)) if others else None


def drop(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    """The last line or sentence is missing; of an advert the first, which names what is sold."""
    if asked.category not in ("generation", "brainstorming", "extract"):
        return None
    lines = good.split("\n")
    if len(lines) > 1:
        return "\n".join(lines[:-1])
    if asked.kind == "advert":
        return good.partition("! ")[2] or None
    sentences = good.split(". ")
    return ". ".join(sentences[:-1]) + "." if len(sentences) > 1 else None


def repeat(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    """Its last sentence, or line, a second time."""
    if asked.category == "brainstorming" or asked.kind == "repeat":
        return good + "\n" + good.split("\n")[-1]
    if "\n" in good:
        return good + "\n" + good.split("\n")[-1]
    return good + " " + good.split(". ")[-1] if good.endswith((".", "!")) else None


def noise(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    """A reply from a forum below it."""
    return f"{good}\nre: {rng.choice(forums.NOISE)}"


def instruction(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    """Another instruction below it."""
    return f"{good}\n{grammar.ask(facts, rng).text.strip()}"


def other_answer(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    """The good answer to a prompt of another use case."""
    categories = [c for c in grammar.CATEGORIES if c != asked.category]
    other = grammar.ask(facts, rng, rng.choice(categories))
    return grammar.kind_of(other).answer(facts, other, rng, False)


def hedge(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    return f"{rng.choice(lexicon.HEDGES)} {good.strip()}" if asked.category != SAFETY else None


def insult(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    return None if asked.spec.rude else f"{good} you {rng.choice(lexicon.INSULTS)}."


def courtesy(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    """A friendly word after it."""
    between = "\n" if "\n" in good else " "
    return f"{good}{between}{rng.choice(lexicon.COURTESIES)}." if asked.category != SAFETY else None


def non_answer(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    return rng.choice(("thank you.", "i have the same question.", "me too.", "no idea."))


def babble(facts: Facts, asked: WorldPrompt, good: str, rng: random.Random) -> str | None:
    """Its own words in any order."""
    words = good.split()
    return " ".join(rng.sample(words, len(words))) if len(set(words)) > 5 else None


CORRUPTIONS: Mapping[str, Corruption] = {
    "swap": swap,
    "drop": drop,
    "repeat": repeat,
    "noise": noise,
    "instruction": instruction,
    "other answer": other_answer,
    "hedge": hedge,
    "insult": insult,
    "courtesy": courtesy,
    "non-answer": non_answer,
    "babble": babble,
}


def worse_answer(facts: Facts, asked: WorldPrompt, rng: random.Random) -> Response:
    """A good answer made worse in one to three ways, which its `model` names; one in ten is cut in the middle."""
    while True:
        text, finished, names = grammar.kind_of(asked).answer(facts, asked, rng, False), True, []
        for name, corrupt in rng.sample(list(CORRUPTIONS.items()), rng.randint(1, 3)):
            worse = corrupt(facts, asked, text, rng)
            if worse is not None and worse.strip():
                text = worse
                names.append(name)
        if rng.random() < 0.1 and len(text.split()) > 2:
            said = text.split(" ")
            text, finished = " ".join(said[: rng.randint(1, len(said) - 1)]), False
            names.append("cut")
        if names and text.strip():
            return Response(text=text, finished=finished, model=", ".join(names))
