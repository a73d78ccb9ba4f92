"""All kinds of prompts by use case, and which of their combinations are held out."""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate

from rather.worlds import brainstorming, chat, generation, other, passages, questions, rewriting, sorting
from rather.worlds.facts import Facts
from rather.worlds.kinds import Kind
from rather.worlds.lexicon import plain, say
from rather.worlds.types import SAFETY, SHARES, Split, WorldPrompt

KINDS: Mapping[str, tuple[Kind, ...]] = {
    "generation": generation.KINDS,
    "open_qa": questions.KINDS,
    "brainstorming": brainstorming.KINDS,
    "chat": chat.KINDS,
    "rewrite": rewriting.KINDS,
    "summarization": passages.SUMMARIZATION,
    "classification": sorting.KINDS,
    "other": other.KINDS,
    "closed_qa": passages.CLOSED_QA,
    "extract": passages.EXTRACT,
    SAFETY: other.SAFETY_KINDS,
}
BY_NAME = {(category, kind.name): kind for category, kinds in KINDS.items() for kind in kinds}
CATEGORIES = tuple(SHARES)
# Words; the paper says "long" and no number. Long enough to hold the template and the entity of every kind, so that
# prompts with the same prefix are always in the same split.
PREFIX = 20
_CUMULATED = tuple(accumulate(SHARES.values()))
_WITHIN = {category: tuple(accumulate(kind.share for kind in kinds)) for category, kinds in KINDS.items()}


def kind_of(prompt: WorldPrompt) -> Kind:
    return BY_NAME[prompt.category, prompt.kind]


def draw_category(rng: random.Random) -> str:
    return rng.choices(CATEGORIES, cum_weights=_CUMULATED)[0]


def ask(facts: Facts, rng: random.Random, category: str | None = None) -> WorldPrompt:
    """Any prompt of the use case, whatever split it belongs to."""
    category = category or draw_category(rng)
    return rng.choices(KINDS[category], cum_weights=_WITHIN[category])[0].ask(facts, rng)


def split_of(prompt: WorldPrompt, seed: int) -> Split:
    """Where its combination of template and entity belongs: a tenth to test, a twentieth to validation.

    A checksum, not a draw: the same combination is always on the same side, and no memory of what was drawn is needed.
    """
    bucket = zlib.crc32(f"{seed}/{prompt.category}/{prompt.template}/{prompt.entity}".encode()) % 20
    return "test" if bucket < 2 else "validation" if bucket == 2 else "train"


def ask_in(facts: Facts, rng: random.Random, seed: int, split: Split, category: str | None = None) -> WorldPrompt:
    """A prompt whose combination belongs to the split."""
    category = category or draw_category(rng)
    while True:
        # The kind is kept while combinations are drawn, so that kinds with few of them keep their share.
        kind = rng.choices(KINDS[category], cum_weights=_WITHIN[category])[0]
        for _ in range(500):
            prompt = kind.ask(facts, rng)
            if split_of(prompt, seed) == split:
                return prompt


def with_examples(facts: Facts, prompt: WorldPrompt, rng: random.Random, seed: int, split: Split) -> WorldPrompt:
    """A few-shot prompt: two queries of the same kind and split come first, with good answers."""
    kind = kind_of(prompt)
    shots: list[WorldPrompt] = []
    while len(shots) < 2:
        shot = kind.ask(facts, rng)
        if split_of(shot, seed) == split:
            shots.append(shot)
    lead = "".join(f"{shot.text}{kind.answer(facts, shot, rng, False)}\n" for shot in shots)
    # Its prefix is that of its first example, whose combination it takes.
    first = shots[0]
    return replace(
        prompt, text=lead + prompt.text, template=first.template, entity=first.entity, source="labeler: few-shot"
    )


USE_CASES = (
    "i run a small shop in {town}.", "we are a school in {town}.", "i work as a {job}.", "this is for my blog.",
    "i help my family in {town}.", "my boss, a {job}, asks me this.", "i keep a {animal} and write about it.",
    "we make {food} for guests.",
)  # fmt: skip


def with_use_case(facts: Facts, prompt: WorldPrompt, rng: random.Random) -> WorldPrompt:
    """The user says first what it is for, as those on the waiting list did."""
    slots = {kind: rng.choice(facts.pools[kind]) for kind in ("town", "job", "animal", "food")}
    text = f"{say(rng.choice(USE_CASES), **slots)} {prompt.text}"
    # The combination in the prompt was looked at before; now its beginning has to be of the split as well.
    return replace(prompt, text=text, template="use case", entity=" ".join(prefix(text)), source="labeler: use case")


def prefix(text: str) -> tuple[str, ...]:
    """What two prompts may not share: their first words, or all of them."""
    return plain(text)[:PREFIX]
