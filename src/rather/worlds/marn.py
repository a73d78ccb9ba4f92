"""Marn, the island: the miniature world that `rather` is shown and tested in."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cached_property

from rather.errors import BadSetting, nearest
from rather.records.types import Response
from rather.worlds import corruptions, features, grammar, labelers, marn_benchmarks, marn_probes, users, web
from rather.worlds.benchmarks import Benchmark
from rather.worlds.facts import PEOPLE, Facts, Scale
from rather.worlds.fluency import Fluency
from rather.worlds.labelers import Labeler
from rather.worlds.probes import Probes
from rather.worlds.types import Document, Features, Source, Split, WorldPrompt


class Marn:
    """A `World`. The same seed and scale give the same bytes on every platform.

    genres: shares of the web that differ from `web.GENRES`; {"marking": 0} leaves a genre out, and changes no prompt
    """

    name = "marn"

    def __init__(self, seed: int = 0, scale: Scale = "small", genres: Mapping[str, float] | None = None) -> None:
        if scale not in PEOPLE:
            raise BadSetting(f"There is no scale {scale!r}.{nearest(scale, PEOPLE)}", f"Scales: {', '.join(PEOPLE)}.")
        self.seed, self.scale = seed, scale
        self._shares = web.cumulated(genres or {})
        self.facts = Facts(seed, scale)
        self._users: dict[Split, list[users.User]] = {}  # drawn when first asked for

    @cached_property
    def fluency(self) -> Fluency:
        """Reads some thousand pages, once, when the first answer is judged."""
        return Fluency(self.facts, self.seed)

    def web_documents(self, rng: random.Random, genre: str | None = None) -> Iterator[Document]:
        if genre is not None and genre not in web.GENRES:
            raise BadSetting(f"There is no genre {genre!r}.{nearest(genre, web.GENRES)}", f"{', '.join(web.GENRES)}.")
        while True:
            yield web.document(self.facts, rng, self.seed, genre, self._shares)

    def prompt(
        self, rng: random.Random, category: str | None = None, source: Source = "labeler", split: Split = "train"
    ) -> WorldPrompt:
        if category is not None and category not in grammar.KINDS:
            raise BadSetting(
                f"There is no use case {category!r}.{nearest(category, grammar.KINDS)}", f"{', '.join(grammar.KINDS)}."
            )
        if source == "labeler":
            return users.written_by_labeler(self.facts, rng, self.seed, split, category)
        if split not in self._users:
            self._users[split] = users.users(self.seed, split, 0)
        people = self._users[split]
        who = rng.choices(people, weights=[who.activity for who in people])[0]
        return users.asked_by(who, self.facts, rng, self.seed, category or grammar.draw_category(rng))

    def prompts(self, rng: random.Random, n: int, source: Source = "api", split: Split = "train") -> list[WorldPrompt]:
        return users.collect(self.facts, rng, self.seed, n, source, split)

    def demonstration(self, prompt: WorldPrompt, rng: random.Random) -> str:
        return grammar.kind_of(prompt).answer(self.facts, prompt, rng, True)

    def good_answer(self, prompt: WorldPrompt, rng: random.Random) -> str:
        """A demonstration without the imperfections that labelers have."""
        return grammar.kind_of(prompt).answer(self.facts, prompt, rng, False)

    def features(self, prompt: WorldPrompt, text: str, finished: bool = True) -> Features:
        return features.features_of(self.facts, self.fluency, prompt, text, finished)

    def utility(self, features_: Features) -> float:
        return features.gold(features_)

    def worse_answer(self, prompt: WorldPrompt, rng: random.Random) -> Response:
        return corruptions.worse_answer(self.facts, prompt, rng)

    def labelers(self, n: int, group: str = labelers.TRAINING) -> tuple[Labeler, ...]:
        return labelers.hire(random.Random(f"marn labelers {group} {self.seed}"), n, group)

    def benchmarks(self, n: int = 300) -> dict[str, Benchmark]:
        return marn_benchmarks.benchmarks(self.facts, n, self.seed)

    def probes(self, n: int = 300) -> Probes:
        """At most n openings, four for each person; 20 beliefs and 6 traits under three prefixes each."""
        return marn_probes.probes(self.facts, n, self.seed)
