"""The shape all computation has: one prompt with its K responses, as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Tokens = np.ndarray  # (T,) int32 token ids


@dataclass(frozen=True, eq=False)
class Tree:
    """One prompt and its K responses. K=1 is SFT and PPO, K=2 DPO, K=4..9 a ranking, K=G GRPO.

    prompt: (P,) begins with BOS where the tokenizer has one and is never empty, so that the first response token
        has a position that predicts it
    responses: K arrays, none empty; each ends in exactly one EOS unless it was cut off
    key: the id of the record it came from, for messages
    """

    prompt: Tokens
    responses: tuple[Tokens, ...]
    key: str = ""

    def __post_init__(self) -> None:
        assert len(self.prompt), f"tree {self.key!r} has an empty prompt: nothing predicts its first response token"
        assert self.responses, f"tree {self.key!r} has no response"
        assert all(len(r) for r in self.responses), f"tree {self.key!r} has an empty response"

    @cached_property
    def size(self) -> int:
        """Tokens to compute: the prompt once, and every response."""
        return len(self.prompt) + sum(len(r) for r in self.responses)

    @cached_property
    def longest(self) -> int:
        """The longest path from root to leaf: what must fit the model's context window."""
        return len(self.prompt) + max(len(r) for r in self.responses)
