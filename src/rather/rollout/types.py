"""What is asked of a sampler, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from pydantic import Field

from rather.batches.trees import Tokens, Tree
from rather.config import Config


class Sampling(Config):
    """How to sample. A training rollout is drawn from the whole distribution: it takes neither top_k nor top_p."""

    max_new_tokens: int = Field(ge=1, description="tokens of a response at most, EOS included; C.4: up to 1k")
    samples: int = Field(1, ge=1, description="K, responses to each prompt; 3.3: 4 to 9 for a ranking")
    temperature: float = Field(1.0, ge=0, description="C.4: 1; 0 takes the likeliest token")
    top_k: int | None = Field(None, ge=1, description="draw from the k likeliest tokens; not for training")
    top_p: float | None = Field(None, gt=0, le=1, description="draw from the likeliest tokens of this probability")
    slots: int = Field(64, ge=1, description="sequences decoded side by side; changes the speed and no token")


class Token(NamedTuple):
    """One token as it comes. last: the response ends here. finished: it ends because the model ended it."""

    prompt: int  # index of the prompt
    sample: int  # 0 to K-1
    token: int
    logprob: float
    last: bool
    finished: bool


@dataclass(frozen=True, eq=False)
class Sample:
    """One response.

    prompt, sample: which prompt it answers, and which of its K samples it is
    tokens: (T,) int32, the stop token included if it came
    logprobs: (T,) float32, of each token under softmax(logits / temperature)
    finished: False means that it was cut off at max_new_tokens
    """

    prompt: int
    sample: int
    seed: int
    tokens: Tokens
    logprobs: np.ndarray
    finished: bool


@dataclass(frozen=True, eq=False)
class Rollout:
    """P prompts with K samples each, in the order in which the prompts were given."""

    prompts: tuple[Tokens, ...]
    samples: tuple[tuple[Sample, ...], ...]  # P x K
    temperature: float

    def trees(self, keys: Sequence[str] | None = None) -> list[Tree]:
        """One tree for each prompt: what the trainer computes log-probabilities, scores and losses of.

        keys: ids of the records the prompts came from
        """
        keys = keys or [""] * len(self.prompts)
        return [
            Tree(prompt, tuple(sample.tokens for sample in samples), key)
            for prompt, samples, key in zip(self.prompts, self.samples, keys, strict=True)
        ]

    @cached_property
    def logprobs(self) -> np.ndarray:
        """(N,) float32 of all response tokens: prompt by prompt, sample by sample, token by token."""
        return np.concatenate([s.logprobs for samples in self.samples for s in samples] or [np.zeros(0, np.float32)])

    @cached_property
    def finished(self) -> np.ndarray:
        """(P, K) bool"""
        return np.array([[s.finished for s in samples] for samples in self.samples], dtype=bool)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(P, K) tokens of each response."""
        return np.array([[len(s.tokens) for s in samples] for samples in self.samples], dtype=np.int64)

    @cached_property
    def seeds(self) -> np.ndarray:
        """(P, K) int64: with its seed a sample can be drawn again, alone."""
        return np.array([[s.seed for s in samples] for samples in self.samples], dtype=np.int64)
