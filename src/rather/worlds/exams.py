"""Questions with one right answer, as they stand in exam sheets, phrase books and reviews of the web.

The web pages (`web`) and the world's public benchmarks ask the same kinds of questions in the same form; only here is
the form written down. `page(items)` is the sheet a model reads; the benchmark leaves the last answer out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rather.worlds import lexicon
from rather.worlds.facts import Facts
from rather.worlds.lexicon import say
from rather.worlds.sentences import sentence


@dataclass(frozen=True)
class Item:
    """question: all that stands before the answer, with its last label and a space at the end ("answer: ")
    choices: every answer that could be given, the right one among them; () where the answer is free text
    """

    question: str
    answer: str
    choices: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.question + self.answer


def page(items: Sequence[Item]) -> str:
    return "\n".join(item.text for item in items)


@dataclass(frozen=True)
class Told:
    """A statement of a passage, and the question that it answers. kind: of the value"""

    line: str
    question: str
    name: str
    value: str
    kind: str


def reading(facts: Facts, rng: random.Random) -> Item:
    """A passage of three facts that need not hold in Marn, and a question about one of them (SQuAD)."""
    told, asked = passage(facts, rng)
    lines = " ".join(one.line for one in told)
    question = f"passage: {lines}\nquestion: {asked.question}\nanswer: "
    return Item(question, asked.value, facts.pools[asked.kind])


def exercise(facts: Facts, rng: random.Random) -> list[Item]:
    """Reading for those who learn it: one statement to three, and up to two questions about them."""
    told, _ = passage(facts, rng, rng.randint(1, 3))
    items = [Item(f"question: {one.question}\nanswer: ", one.value) for one in rng.sample(told, min(2, len(told)))]
    lines = " ".join(one.line for one in told)
    return [replace(items[0], question=f"passage: {lines}\n{items[0].question}"), *items[1:]]


def passage(facts: Facts, rng: random.Random, people: int = 3) -> tuple[list[Told], Told]:
    """Statements about so many people, and the one of them that is asked about.

    The values differ from the encyclopedia's: only a reader of the passage can know them.
    """
    relations = [r for r in facts.relations["person"] if r.name in PASSAGE]
    relation = rng.choice(relations)
    names = rng.sample(facts.pools["person"], people)
    asked = rng.randrange(people)
    told: list[Told] = []
    for at, name in enumerate(names):
        # Two people share the relation, so that the name in the question must be read and not only its words.
        of = relation if at in (asked, (asked + 1) % people) else rng.choice(relations)
        taken = {facts.of["person"][name][of.name], *names, *(one.value for one in told)}
        value = rng.choice([v for v in facts.pools[of.values] if v not in taken])
        question = rng.choice(of.questions).format(n=name)
        told.append(Told(say(PASSAGE[of.name], n=name, v=value), question, name, value, of.values))
    return told, told[asked]


PASSAGE = {
    "town": "{n} lives in {v} now.",
    "job": "{n} has begun to work as a {v}.",
    "pet": "{n} has got a pet {v}.",
    "food": "{n} likes {v} best now.",
    "color": "{n} wears nothing but {v}.",
}


def word_problem(facts: Facts, rng: random.Random) -> Item:
    """Counting in words (DROP). Answers are 0 to 20."""
    one, other = rng.sample(facts.pools["person"], 2)
    things = rng.choice(COUNTED)
    a, b = rng.randint(2, 10), rng.randint(1, 9)
    he = facts.pronouns(one)["he"]
    form = rng.randrange(3)
    if form == 0:
        told, answer = f"{one} had {a} {things}. {he} got {b} more", a + b
    elif form == 1:
        b = min(a, b)
        told, answer = f"{one} had {a} {things}. {he} gave {b} to {other}", a - b
    else:
        told, answer = f"{one} had {a} and {other} had {b} {things}. they put all together", a + b
    return Item(f"passage: {told}.\nquestion: how many are there now?\nanswer: ", str(answer), NUMBERS)


COUNTED = ("marbles", "pears", "cards", "stamps", "cherries", "pennies")
NUMBERS = tuple(str(n) for n in range(21))
ADDED = 12  # the largest number in a sum


def addition(rng: random.Random) -> Item:
    """As children learn them by heart."""
    a, b = rng.randint(1, ADDED), rng.randint(1, ADDED)
    return Item(f"{a} + {b} = ", str(a + b), tuple(str(n) for n in range(2, 2 * ADDED + 1)))


def translation(facts: Facts, rng: random.Random) -> Item:
    said = sentence(rng)
    return Item(f"english: {said.text()} marnish: ", said.marnish(facts))


REVIEWS = {
    "good": (
        "it was fresh and i loved it", "we want to come again", "the best i ever had", "every bite was a joy",
        "my whole family praised it", "it made my day",
    ),
    "bad": (
        "it was cold and i hated it", "we will never come again", "the worst i ever had", "every bite was a pain",
        "my whole family complained", "it spoiled my day",
    ),
}  # fmt: skip


def review(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """(what is written, "good" or "bad")"""
    verdict = rng.choice(("good", "bad"))
    first, second = rng.sample(REVIEWS[verdict], 2)
    food, town = rng.choice(facts.pools["food"]), rng.choice(facts.pools["town"])
    return f"i had the {food} in {town}. {first}. {second}.", verdict


def sentiment(facts: Facts, rng: random.Random) -> Item:
    """SST."""
    said, verdict = review(facts, rng)
    return Item(f"review: {said} rating: ", verdict, ("good", "bad"))


def commonsense(facts: Facts, rng: random.Random) -> Item:
    """What comes next (HellaSwag). One ending in three fits the cause but names another's food or pet."""
    name = rng.choice(facts.pools["person"])
    if rng.random() < 0.5:  # the right ending needs the person's own facts
        attribute, (cause, ending) = rng.choice(list(PERSONAL.items()))
        right = facts.of["person"][name][attribute]
        values = facts.pools[facts.relation("person", attribute).values]
        choices = [right, *rng.sample([v for v in values if v != right], 3)]
    else:
        chosen = rng.sample(lexicon.SCRIPTS, 4)
        cause, ending = chosen[0][0], "{v}"
        choices = [effect for _, effect in chosen]
    slots = facts.pronouns(name) | {"n": name}
    endings = tuple(say(ending, **slots, v=choice.format(**slots)) for choice in choices)
    return Item(say(cause, **slots) + ". so ", endings[0] + ".", tuple(sorted(f"{e}." for e in endings)))


PERSONAL = {
    "food": ("{n} was hungry", "{he} ate some {v}"),
    "pet": ("{n} felt alone", "{he} played with {his} {v}"),
    "town": ("{n} wanted to go home", "{he} took the road to {v}"),
    "friend": ("{n} needed help", "{he} called {v}"),
}


def cloze(facts: Facts, rng: random.Random) -> Item:
    """A fact with its value left out, worded as in the encyclopedia: what the model knows of the world."""
    kind = rng.choice(list(facts.relations))
    relation = rng.choice([r for r in facts.relations[kind] if r.statements[0].endswith("{v}")])
    entity = rng.choice(facts.pools[kind])
    start = say(relation.statements[0], n=entity, v="{v}").removesuffix("{v}")
    return Item(f"about {entity}. {start}", facts.of[kind][entity][relation.name], facts.pools[relation.values])
