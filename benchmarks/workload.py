"""The examples both systems train on: lognormal lengths, Zipf words, one word one token, everything from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.sizes import Size
from rather.batches.trees import Tokens, Tree

LEARNING_RATE, BETA, KL, CLIP = 1e-5, 0.1, 0.04, 1.0  # of both systems
PAD, EOS, FIRST_WORD = 0, 1, 2
PROMPT_MEAN, RESPONSE_MEAN, LONGEST = 96, 48, 256
# With 0.5 a batch of eight is 61 % real tokens when padded, the share the settings in docs/benchmarks.md were found at.
LENGTH_SIGMA = 0.5
PACKED_ROW = 512  # tokens, for a system that packs demonstrations: none is longer
STEPS = 64  # in the pool; a longer run goes through it again
STEPS_KNOWN = 16  # in that of `dpo-known`: before the first step the reference reads them all


@dataclass(frozen=True)
class Workload:
    task: str
    responses: int  # K
    per_step: dict[str, int]  # by size: demonstrations, rankings, pairs or groups per optimizer step
    pool: int = STEPS

    def trees(self, size: Size, seed: int, steps: int | None = None) -> list[Tree]:
        """per_step * steps trees, responses best first; the same seed gives the same trees in every process."""
        rng = np.random.default_rng([seed, self.responses])
        return [
            Tree(
                prompt=draw_words(rng, draw_length(rng, PROMPT_MEAN), size.vocab),
                responses=tuple(self._response(rng, size.vocab) for _ in range(self.responses)),
                key=str(index),
            )
            for index in range(self.per_step[size.name] * (steps or self.pool))
        ]

    def batches(self, size: Size, seed: int, steps: int | None = None) -> list[list[Tree]]:
        trees, step = self.trees(size, seed, steps), self.per_step[size.name]
        return [trees[start : start + step] for start in range(0, len(trees), step)]

    def units(self, trees: list[Tree]) -> int:
        """SFT counts tokens, the others trees: rankings, pairs and groups."""
        return sum(tree.size for tree in trees) if self.task == "sft" else len(trees)

    @staticmethod
    def _response(rng: np.random.Generator, vocab: int) -> Tokens:
        words = draw_words(rng, draw_length(rng, RESPONSE_MEAN) - 1, vocab)
        return np.append(words, EOS).astype(np.int32)


GROUPS = {"mini": 8, "gpt2": 4}
WORKLOADS = {
    "sft": Workload("sft", 1, {"mini": 32, "gpt2": 8}),
    "rank4": Workload("rank4", 4, {"mini": 4, "gpt2": 2}),
    "rank9": Workload("rank9", 9, {"mini": 4, "gpt2": 2}),
    "dpo": Workload("dpo", 2, {"mini": 16, "gpt2": 4}),
    "dpo-known": Workload("dpo-known", 2, {"mini": 16, "gpt2": 4}, STEPS_KNOWN),
    "grpo-update": Workload("grpo-update", 8, GROUPS),
    "grpo": Workload("grpo", 8, GROUPS),  # the same prompts; the responses are drawn by the systems
}


def draw_length(rng: np.random.Generator, mean: int) -> int:
    """2 to LONGEST tokens, so that a response has a word before its end."""
    drawn = rng.lognormal(np.log(mean) - LENGTH_SIGMA**2 / 2, LENGTH_SIGMA)
    return int(np.clip(np.rint(drawn), 2, LONGEST))


def draw_words(rng: np.random.Generator, count: int, vocab: int) -> Tokens:
    """Zipf with exponent 1 over the words of the vocabulary, by the inverse of its cumulative sum."""
    words = vocab - FIRST_WORD
    cumulative = np.cumsum(1 / np.arange(1, words + 1))
    drawn = np.searchsorted(cumulative, rng.random(count) * cumulative[-1])
    return (FIRST_WORD + np.minimum(drawn, words - 1)).astype(np.int32)


def words(tokens: Tokens) -> str:
    """One word is one token (`models.tokenizer`)."""
    return " ".join("</s>" if token == EOS else str(token) for token in tokens)


def worth(text: str) -> float:
    """A reward that differs within a group and costs nothing: how often a 1 is written."""
    return float(text.count("1"))
