"""Sampling from a policy: prompts in, responses with their log-probabilities out.

    rollout = sample(policy, prompts, Sampling(max_new_tokens=48), rng)      # everything, for training
    for finished in samples(policy, prompts, sampling, rng): ...             # each as it finishes
    for token in tokens(policy, prompts, sampling, rng): ...                 # each token as it comes

Each sample has a seed of its own: in float32 a prompt and a seed give the same tokens whatever else is sampled, in
whatever order and on however many slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from rather.batches.trees import Tokens
from rather.errors import BadRecord, BadSetting
from rather.models.cache import check_attention
from rather.models.load import Policy, window_of
from rather.rollout.batching import Batch, Request
from rather.rollout.types import Rollout, Sample, Sampling, Token

__all__ = ["Rollout", "Sample", "Sampling", "Token", "draw_seeds", "never_drawn", "sample", "samples", "tokens"]

Seeds = torch.Generator | np.ndarray  # of one for each sample, or (P, K) integers from 0


def sample(policy: Policy, prompts: Sequence[Tokens], sampling: Sampling, seeds: Seeds) -> Rollout:
    """K samples of each prompt, drawn from the whole distribution."""
    if sampling.top_k is not None or sampling.top_p is not None:
        name = "top_k" if sampling.top_k is not None else "top_p"
        raise BadSetting(
            f"{name}={getattr(sampling, name)} for a rollout.",
            "A rollout is drawn from the whole distribution: cut off, its log-probabilities would be those of another "
            "policy, and the ratio of PPO would not be 1 before the first step.",
            f"{name}=none",
        )
    table: list[list[Sample | None]] = [[None] * sampling.samples for _ in prompts]
    for done in samples(policy, prompts, sampling, seeds):
        table[done.prompt][done.sample] = done
    whole = tuple(tuple(s for s in row if s is not None) for row in table)
    assert all(len(row) == sampling.samples for row in whole), "every request ends"
    return Rollout(tuple(prompts), whole, sampling.temperature)


def samples(policy: Policy, prompts: Sequence[Tokens], sampling: Sampling, seeds: Seeds) -> Iterator[Sample]:
    """The same, one sample at a time as each finishes: long prompts begin first, short responses end first."""
    batch = _batch(policy, prompts, sampling, seeds)
    return (request.sample() for step in batch.run() for request, _ in step if request.last)


def tokens(policy: Policy, prompts: Sequence[Tokens], sampling: Sampling, seeds: Seeds) -> Iterator[Token]:
    """The same, token by token; those of different samples take turns."""
    batch = _batch(policy, prompts, sampling, seeds)
    return (token for step in batch.run() for _, token in step)


def draw_seeds(rng: torch.Generator, prompts: int, k: int) -> np.ndarray:
    """(P, K) int64"""
    return torch.randint(0, 2**63 - 1, (prompts, k), generator=rng).numpy()


def never_drawn(policy: Policy) -> list[int]:
    """Ids that mean nothing in a response: the pad, what the model's generation config suppresses, and rows of its
    table that the tokenizer has no token for."""
    ids = set(range(max(policy.tokenizer.get_vocab().values()) + 1, _rows(policy)))
    generation = policy.model.generation_config
    ids |= set(getattr(generation, "suppress_tokens", None) or ())
    if policy.tokenizer.pad_token_id is not None:
        ids.add(policy.tokenizer.pad_token_id)
    return sorted(ids - set(policy.stops))


def _batch(policy: Policy, prompts: Sequence[Tokens], sampling: Sampling, seeds: Seeds) -> Batch:
    """Checks everything before anything is computed."""
    _check_prompts(policy, prompts, sampling)
    if isinstance(seeds, torch.Generator):
        seeds = draw_seeds(seeds, len(prompts), sampling.samples)
    if seeds.shape != (len(prompts), sampling.samples) or (seeds < 0).any():
        raise BadSetting(
            f"Seeds of shape {tuple(seeds.shape)}{', some below 0' if (seeds < 0).any() else ''}.",
            f"Expected one whole number from 0 for each sample: {(len(prompts), sampling.samples)}.",
        )
    check_attention(policy.model)
    requests = [
        Request(index, k, prompt, int(seeds[index, k]))
        for index, prompt in enumerate(prompts)
        for k in range(sampling.samples)
    ]
    return Batch(policy.model, requests, sampling, policy.stops, never_drawn(policy))


def _check_prompts(policy: Policy, prompts: Sequence[Tokens], sampling: Sampling) -> None:
    window = window_of(policy.model.config)
    rows = _rows(policy)
    for index, prompt in enumerate(map(np.asarray, prompts)):
        if not len(prompt):
            raise BadRecord(
                f"Prompt {index} has no token.",
                "Expected at least one: otherwise nothing predicts the first token of a response.",
            )
        if outside := [int(token) for token in (prompt.min(), prompt.max()) if not 0 <= token < rows]:
            raise BadRecord(
                f"Prompt {index} has the id {outside[0]}.",
                f"The model has embeddings for the ids 0 to {rows - 1}.",
                "Encode the prompts with the model's own tokenizer.",
            )
        if window is not None and len(prompt) + sampling.max_new_tokens > window:
            room = window - sampling.max_new_tokens
            raise BadRecord(
                f"Prompt {index} has {len(prompt)} tokens: with max_new_tokens={sampling.max_new_tokens} it does not "
                f"fit the model's window of {window}.",
                f"Expected at most {room} tokens. Prompts are dropped, not cut: a cut question is another question."
                if room > 0
                else f"Expected max_new_tokens below {window}.",
                "Drop the prompt, or lower max_new_tokens",
            )


def _rows(policy: Policy) -> int:
    table: Any = policy.model.get_input_embeddings()
    return len(table.weight)
