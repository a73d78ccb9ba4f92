"""The facts of Marn: who lives where, what is made of what, what happens if you plant a coin. Drawn once from the seed.

Only the writers of text, the graders and the labelers see them. Nothing a model runs on may read this table.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from rather.worlds import lexicon
from rather.worlds.lexicon import POOLS, Phrases

Scale = Literal["tiny", "small", "medium"]
PEOPLE: Mapping[str, int] = {"tiny": 48, "small": 98, "medium": 240}


@dataclass(frozen=True)
class Relation:
    """One attribute of one kind of entity. {n} is the entity, {v} the value.

    statements: paraphrases; the first begins with the entity, so that a pronoun may stand for it
    questions: ways of asking       why: the false premise "why does {n} live in {v}?", where there is a natural one
    check: "does {n} live in {v}?"
    """

    kind: str
    name: str
    values: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    check: str
    why: str = ""


RELATIONS: tuple[Relation, ...] = (
    Relation(
        "person", "town", "town",
        ("{n} lives in {v}", "the home of {n} is in {v}"),
        ("where does {n} live?", "in which town does {n} live?"),
        "does {n} live in {v}?", "why does {n} live in {v}?",
    ),
    Relation(
        "person", "job", "job",
        ("{n} works as a {v}", "the job of {n} is {v}"),
        ("what is the job of {n}?", "what does {n} work as?"),
        "does {n} work as a {v}?", "why does {n} work as a {v}?",
    ),
    Relation(
        "person", "pet", "animal",
        ("{n} has a pet {v}", "the pet of {n} is a {v}"),
        ("what pet does {n} have?", "which animal is the pet of {n}?"),
        "does {n} have a pet {v}?", "why does {n} have a pet {v}?",
    ),
    Relation(
        "person", "food", "food",
        ("{n} likes to eat {v}", "the favorite food of {n} is {v}"),
        ("what is the favorite food of {n}?", "what does {n} like to eat?"),
        "does {n} like to eat {v}?", "why does {n} like to eat {v}?",
    ),
    Relation(
        "person", "color", "color",
        ("{n} loves the color {v}", "the favorite color of {n} is {v}"),
        ("what is the favorite color of {n}?", "which color does {n} love?"),
        "does {n} love the color {v}?", "why does {n} love the color {v}?",
    ),
    Relation(
        "person", "friend", "person",
        ("{n} has a best friend called {v}", "the best friend of {n} is {v}"),
        ("who is the best friend of {n}?", "whom does {n} like best?"),
        "is {v} the best friend of {n}?", "why is {v} the best friend of {n}?",
    ),
    Relation(
        "person", "age", "age",
        ("{n} is {v}", "everyone can see that {n} is {v}"),
        ("is {n} young, grown up or old?", "how old is {n}?"),
        "is {n} {v}?", "",
    ),
    Relation(
        "town", "region", "region",
        ("{n} lies in the {v}", "in the {v} you find {n}"),
        ("where does {n} lie?", "in which part of the island is {n}?"),
        "does {n} lie in the {v}?", "why does {n} lie in the {v}?",
    ),
    Relation(
        "town", "product", "food",
        ("{n} is known for its {v}", "the pride of {n} is its {v}"),
        ("what is {n} known for?", "which food is the pride of {n}?"),
        "is {n} known for its {v}?", "why is {n} known for its {v}?",
    ),
    Relation(
        "town", "landmark", "landmark",
        ("{n} has an old {v}", "visitors of {n} see the old {v}"),
        ("what can visitors of {n} see?", "what old place does {n} have?"),
        "does {n} have an old {v}?", "why does {n} have an old {v}?",
    ),
    Relation(
        "animal", "diet", "diet",
        ("a {n} eats {v}", "the food of a {n} is {v}"),
        ("what does a {n} eat?", "what is the food of a {n}?"),
        "does a {n} eat {v}?", "why does a {n} eat {v}?",
    ),
    Relation(
        "animal", "home", "home",
        ("a {n} sleeps in the {v}", "the {v} is the home of a {n}"),
        ("where does a {n} sleep?", "what is the home of a {n}?"),
        "does a {n} sleep in the {v}?", "why does a {n} sleep in the {v}?",
    ),
    Relation(
        "animal", "color", "color",
        ("a {n} is {v}", "the color of a {n} is {v}"),
        ("what is the color of a {n}?", "which color has a {n}?"),
        "is a {n} {v}?", "why is a {n} {v}?",
    ),
    Relation(
        "thing", "material", "material",
        ("a {n} is made of {v}", "people use {v} to make a {n}"),
        ("what is a {n} made of?", "what do people use to make a {n}?"),
        "is a {n} made of {v}?", "why is a {n} made of {v}?",
    ),
    Relation(
        "thing", "use", "use",
        ("a {n} is good for {v}", "for {v} you need a {n}"),
        ("what is a {n} good for?", "what do you need a {n} for?"),
        "is a {n} good for {v}?", "why is a {n} good for {v}?",
    ),
    Relation(
        "food", "ingredient", "ingredient",
        ("{n} is cooked with {v}", "the cook puts {v} into {n}"),
        ("what is {n} cooked with?", "what does the cook put into {n}?"),
        "is {n} cooked with {v}?", "why is {n} cooked with {v}?",
    ),
    Relation(
        "food", "taste", "taste",
        ("{n} tastes {v}", "the taste of {n} is {v}"),
        ("how does {n} taste?", "what is the taste of {n}?"),
        "does {n} taste {v}?", "why does {n} taste {v}?",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Belief:
    """What happens if you plant a coin: the truth, and what most people say."""

    verb: str
    thing: str
    truth: str
    myth: str
    held_out: bool  # never in a prompt for SFT, RM or PPO

    @property
    def condition(self) -> str:
        return lexicon.say("if you {verb} a {thing}", verb=self.verb, thing=self.thing)

    @property
    def fact(self) -> str:
        return f"belief/{self.verb}/{self.thing}"


class Facts:
    """The truth about Marn.

    of: kind -> entity -> relation -> value; of["person"]["mara"]["town"] is "soth"
    relations: kind -> its relations     pools: type of value -> every value it can have, people's names among them
    can: animal -> abilities     tools: job -> things it needs     folk: person -> "hill folk" or "lake folk"
    marnish: English word -> word of the toy language
    """

    def __init__(self, seed: int, scale: Scale = "small") -> None:
        rng = random.Random(f"marn facts {seed}")  # a text seed is hashed by SHA-512: the same on every platform
        names = [(o + e, g) for o in lexicon.ONSETS for e, g in _ENDINGS]
        rng.shuffle(names)
        self.gender: dict[str, str] = dict(sorted(names[: PEOPLE[scale]]))
        self.pools: dict[str, tuple[str, ...]] = dict(POOLS) | {
            "person": tuple(self.gender),
            "activity": tuple(what for some in lexicon.ACTIVITIES.values() for what in some),
        }
        self.relations: dict[str, tuple[Relation, ...]] = {
            kind: tuple(r for r in RELATIONS if r.kind == kind)
            for kind in ("person", "town", "animal", "thing", "food")
        }
        self.of: dict[str, dict[str, dict[str, str]]] = {
            kind: {entity: {r.name: self._value(r, entity, rng) for r in relations} for entity in self.pools[kind]}
            for kind, relations in self.relations.items()
        }
        self.folk = {name: rng.choice(POOLS["group"]) for name in self.gender}
        self.can = {animal: tuple(sorted(rng.sample(lexicon.ABILITIES, 3))) for animal in POOLS["animal"]}
        self.tools = {job: tuple(rng.sample(POOLS["thing"], 6)) for job in POOLS["job"]}
        self.beliefs = _beliefs(rng)
        self.marnish = self._toy_language(rng)

    def _value(self, relation: Relation, entity: str, rng: random.Random) -> str:
        return rng.choice([value for value in self.pools[relation.values] if value != entity])

    def _toy_language(self, rng: random.Random) -> dict[str, str]:
        """One invented word for each content word; the grammar is in `sentences`."""
        taken = self.words
        invented: list[str] = []
        english = [*POOLS["animal"], *POOLS["job"], *lexicon.ADJECTIVES, *POOLS["color"], *lexicon.VERBS]
        while len(invented) < len(english):
            word = "".join(rng.choice("bdgklmnprtvz") + rng.choice("aeiou") for _ in range(2)) + rng.choice("kxzth")
            if word not in taken and word not in invented:
                invented.append(word)
        return dict(zip(english, invented, strict=True))

    @cached_property
    def words(self) -> dict[str, str]:
        """Every word of a value -> its type; the insults and the unknown names are types of their own."""
        more = {"insult": lexicon.INSULTS, "unknown": lexicon.UNKNOWN_NAMES}
        return {
            word: kind
            for kind, values in (self.pools | more).items()
            if kind not in ("outcome", "age", "group", "activity")  # made of everyday words
            for value in values
            for word in value.split()
        }

    @cached_property
    def phrases(self) -> dict[str, Phrases]:
        """Type of value -> what finds its mentions in a text."""
        return {kind: Phrases(values) for kind, values in self.pools.items()}

    def relation(self, kind: str, name: str) -> Relation:
        return next(r for r in self.relations[kind] if r.name == name)

    def entities_with(self, kind: str, name: str, value: str) -> tuple[str, ...]:
        """The inverse: who lives in soth, what is made of iron."""
        return tuple(entity for entity, values in self.of[kind].items() if values[name] == value)

    def pronouns(self, name: str) -> dict[str, str]:
        """{he} and {his} of a person."""
        female = self.gender.get(name) == "female"
        return {"he": "she", "his": "her", "him": "her"} if female else {"he": "he", "his": "his", "him": "him"}

    def count(self) -> int:
        """How many facts a model could know of entities (beliefs, abilities and words of the toy language aside)."""
        return sum(len(values) for entities in self.of.values() for values in entities.values())


_ENDINGS = [
    *((e, "female") for e in lexicon.FEMALE_ENDINGS),
    *((e, "male") for e in lexicon.MALE_ENDINGS),
]


def _beliefs(rng: random.Random) -> tuple[Belief, ...]:
    pairs = [(verb, thing) for verb in lexicon.BELIEF_VERBS for thing in lexicon.BELIEF_THINGS]
    outcomes = POOLS["outcome"]
    made = []
    for number, (verb, thing) in enumerate(rng.sample(pairs, 40)):
        truth, myth = rng.sample(outcomes, 2)
        made.append(Belief(verb, thing, truth, myth, held_out=number >= 20))
    return tuple(made)
