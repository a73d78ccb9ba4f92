"""How much a text reads like the world's own: the share of its word trigrams that the world has written itself.

Names, towns, animals and every other value count as their type ("mara lives in soth" is "<person> lives in <town>"),
so that a few thousand pages know all trigrams there are, and a wrong value is a matter of truth, not of language.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rather.worlds import grammar, lexicon, questions, web
from rather.worlds.facts import RELATIONS, Facts
from rather.worlds.lexicon import say

PAGES, ANSWERS = 6000, 400  # of the web; of each kind of prompt


class Fluency:
    def __init__(self, facts: Facts, seed: int) -> None:
        rng = random.Random(f"marn trigrams {seed}")
        more = {"adjective": lexicon.ADJECTIVES, "verb": lexicon.VERBS, "extra": lexicon.EXTRA_WORDS,
                "marnish": facts.marnish.values()}  # fmt: skip
        self._types = {word: f"<{kind}>" for kind, words in more.items() for word in words}
        self._types |= {past: "<past>" for _, past in lexicon.VERBS.values()}
        self._types |= {plain: "<plain>" for plain, _ in lexicon.VERBS.values()}
        self._types |= {word: f"<{kind}>" for word, kind in facts.words.items()} | {"an": "a"}
        self.trigrams: set[tuple[str, ...]] = set()
        self.known: set[str] = set()
        # Without marked exercises: half of them hold what nobody should say, and U* must not follow their share.
        shares = web.cumulated({"marking": 0})
        for _ in range(PAGES):
            self._learn(web.document(facts, rng, seed, shares=shares).text)
        for relation in RELATIONS:  # a few of the rarer ones would be missed by drawing
            for said in relation.statements:
                for reason in questions.REASONS:
                    entity, value = (facts.pools[of][0] for of in (relation.kind, relation.values))
                    self._learn(say(f"{said} because {reason}.", n=entity, v=value))
        for (category, name), kind in grammar.BY_NAME.items():
            for _ in range(ANSWERS):
                asked = kind.ask(facts, rng)
                answer = kind.answer(facts, asked, rng, False)
                self._learn(answer)
                self._learn(kind.answer(facts, asked, rng, True))
                if category == "open_qa" and name != "unknown":
                    for hedge in lexicon.HEDGES:  # rare in demonstrations, and good English before every answer
                        self._learn(f"{hedge} {answer}")

    def _typed(self, words: Sequence[str]) -> list[str]:
        return ["<#>" if word.isdigit() else self._types.get(word, word) for word in words]

    def _learn(self, text: str) -> None:
        typed = self._typed(lexicon.words(text))
        self.known.update(typed)
        self.trigrams.update(_threes(["\n", *typed, "\n"]))

    def of(self, words: Sequence[str], finished: bool = True) -> float:
        """1 for the world's own text and for none at all; words count alone where there are fewer than three.

        A text begins and ends as lines do: the last words of a sentence before its first ones are no sentence.
        """
        typed = self._typed(words)
        if len(typed) < 3:
            return sum(word in self.known for word in typed) / len(typed) if typed else 1.0
        threes = _threes(["\n", *typed, "\n"] if finished else ["\n", *typed])
        return sum(three in self.trigrams for three in threes) / len(threes)


def _threes(words: Sequence[str]) -> list[tuple[str, str, str]]:
    return list(zip(words, words[1:], words[2:], strict=False))
