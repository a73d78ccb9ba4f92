"""What is generated: prompts, how many samples of each, and where responses end. The same for every system."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.sizes import Size
from benchmarks.workload import FIRST_WORD, GROUPS, PROMPT_MEAN, draw_length, draw_words
from rather.batches.trees import Tokens

SIDE_BY_SIDE = 64  # sequences, of ours and of a batch of the peer


@dataclass(frozen=True)
class Generation:
    """One step of a system is all prompts once.

    prompts, new_tokens: by size
    stop_every: one word in so many ends a response; None: every response is as long as it may be
    """

    task: str
    prompts: dict[str, int]
    samples: int
    new_tokens: dict[str, int]
    stop_every: int | None = None

    def prompts_of(self, size: Size, seed: int) -> list[Tokens]:
        rng = np.random.default_rng([seed, self.samples, self.prompts[size.name]])
        return [draw_words(rng, draw_length(rng, PROMPT_MEAN), size.vocab) for _ in range(self.prompts[size.name])]

    def stops(self, size: Size) -> tuple[int, ...]:
        """Random weights give every word about the same chance, so lengths come out as if drawn with a die.

        Both systems know lists of stops: none has to be forced, at a cost, to end where it would not.
        """
        return () if self.stop_every is None else tuple(range(FIRST_WORD, size.vocab, self.stop_every))

    def mean_length(self, size: Size) -> float:
        longest = self.new_tokens[size.name]
        if self.stop_every is None:
            return longest
        return self.stop_every * (1 - (1 - 1 / self.stop_every) ** longest)

    def flops_per_token(self, size: Size) -> float:
        """On average."""
        responses = self.prompts[size.name] * self.samples
        tokens = responses * self.mean_length(size)
        return generation_flops(size, sum(map(len, self.prompts_of(size, 0))), responses, tokens) / tokens


def generation_flops(size: Size, prompt_tokens: int, responses: int, tokens: float) -> float:
    """What nobody can do without: each prompt once, each token but a response's last, a head for each token."""
    return (prompt_tokens + tokens - responses) * size.body_flops + tokens * size.head_flops


# What an iteration of GRPO says to the prompts of `workload`: 41 tokens on average, one response in eight is cut off.
GRPO = Generation("grpo", GROUPS, 8, {"mini": 96, "gpt2": 96}, stop_every=48)
GENERATIONS = {
    each.task: each
    for each in (
        Generation("generate-equal", {"mini": 64, "gpt2": 64}, 1, {"mini": 48, "gpt2": 32}),
        Generation("generate-ragged", {"mini": 256, "gpt2": 64}, 1, {"mini": 128, "gpt2": 128}, stop_every=40),
        Generation("generate-g8", {"mini": 16, "gpt2": 8}, 8, {"mini": 48, "gpt2": 32}),
    )
}
