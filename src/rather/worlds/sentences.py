"""Plain sentences of the shape "the red fox sees the small cat", their tenses, and the toy language.

Marnish puts the verb last and the adjective after its noun, and has no articles: "fox red cat small sees", each word
replaced by its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from rather.worlds import lexicon
from rather.worlds.facts import Facts

ADJECTIVES = (*lexicon.ADJECTIVES, *lexicon.POOLS["color"])
NOUNS = (*lexicon.POOLS["animal"], *lexicon.POOLS["job"])


@dataclass(frozen=True)
class Sentence:
    """the {adjective} {noun} {verb} the {other adjective} {other noun}."""

    adjective: str
    noun: str
    verb: str
    object_adjective: str
    object: str

    def text(self) -> str:
        return self.with_verb(self.verb)

    def with_verb(self, verb: str) -> str:
        words = ["the", self.adjective, self.noun, verb, "the", self.object_adjective, self.object]
        return " ".join(word for word in words if word) + "."

    def past(self) -> str:
        return self.with_verb(lexicon.VERBS[self.verb][1])

    def first_person(self) -> str:
        """As the one who does it would say it."""
        end = self.with_verb(self.verb).split(f" {self.verb} ", 1)[1]
        return f"i {lexicon.VERBS[self.verb][0]} {end}"

    def bare(self) -> Sentence:
        """Without adjectives."""
        return replace(self, adjective="", object_adjective="")

    def marnish(self, facts: Facts) -> str:
        order = (self.noun, self.adjective, self.object, self.object_adjective, self.verb)
        return " ".join(facts.marnish[word] for word in order if word) + "."


def sentence(rng: random.Random) -> Sentence:
    noun, other = rng.sample(NOUNS, 2)
    one, two = rng.sample(ADJECTIVES, 2)
    return Sentence(one, noun, rng.choice(list(lexicon.VERBS)), two, other)
