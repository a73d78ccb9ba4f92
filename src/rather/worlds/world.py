"""What everything that takes a world asks of it. `docs/worlds.md` shows one of a hundred lines."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from rather.records.types import Response
from rather.worlds.benchmarks import Benchmark
from rather.worlds.labelers import Labeler
from rather.worlds.probes import Probes
from rather.worlds.types import Document, Features, Source, Split, WorldPrompt


class World(Protocol):
    """A place with a truth: text about it, prompts, answers, and a gold utility. Nothing in it needs torch.

    Whatever is random takes a `random.Random`, so the same world and the same seed give the same bytes everywhere.
    """

    name: str
    seed: int

    def web_documents(self, rng: random.Random, genre: str | None = None) -> Iterator[Document]:
        """Pages of the web without end; of one genre, if named."""

    def prompt(
        self, rng: random.Random, category: str | None = None, source: Source = "labeler", split: Split = "train"
    ) -> WorldPrompt:
        """One prompt. Held-out combinations are never drawn for the split train, and always are for test."""

    def prompts(self, rng: random.Random, n: int, source: Source = "api", split: Split = "train") -> list[WorldPrompt]:
        """n different prompts with the shares of Table 1: from users of that split, or written by labelers."""

    def demonstration(self, prompt: WorldPrompt, rng: random.Random) -> str:
        """What a labeler writes for it, with the imperfections that labelers have."""

    def features(self, prompt: WorldPrompt, text: str, finished: bool = True) -> Features:
        """Total: any text has features. `finished` is false where the length limit cut it off."""

    def utility(self, features: Features) -> float:
        """U*: what a perfectly informed and unbiased labeler wants. It depends on no labeler."""

    def worse_answer(self, prompt: WorldPrompt, rng: random.Random) -> Response:
        """A good answer made worse somehow, for a crowd to vote on; its `model` may say how."""

    def labelers(self, n: int, group: str = "training") -> Sequence[Labeler]:
        """The same n people each time. Groups: training, held-out (sec. 3.4), and the crowd that votes."""

    def benchmarks(self, n: int = 300) -> Mapping[str, Benchmark]:
        """n different questions of each kind by its name, the same for every model that is compared."""

    def probes(self, n: int = 300) -> Probes:
        """What truthfulness, toxicity and bias are measured with; at most n openings."""
