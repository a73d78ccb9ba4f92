"""Episodes of step 3: prompts with one response each, and what is known of every token before the policy moves.

Tables are (B, T): a row for each episode, a column for each token of its response, padded on the right. The forwards
that fill them run over packed rows; `cells` says where a packed token belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rather.batches.packing import Row
from rather.batches.trees import Tokens, Tree
from rather.models.heads import RewardModel
from rather.models.load import Policy
from rather.models.logprobs import Head, hidden_states, last_tokens, logprobs, targets
from rather.parallel import all_reduce_sum, gather_objects, world
from rather.records import Prompt
from rather.rollout import Rollout, Sample, Sampling, sample
from rather.stages.steps import Share


@dataclass(frozen=True, eq=False)
class Episodes:
    """B prompts, each with the response the policy gave it.

    trees: one response each     texts: the responses in words, without the token that ends them
    finished: (B,) bool     lengths: (B,) tokens of the response, the one that ends it included
    sampled_logprobs: (B, T) float32, as the sampler saw them
    """

    prompts: tuple[Prompt, ...]
    trees: tuple[Tree, ...]
    texts: tuple[str, ...]
    finished: Tensor
    lengths: Tensor
    sampled_logprobs: Tensor

    def __len__(self) -> int:
        return len(self.trees)

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool, True on tokens of responses."""
        width = self.sampled_logprobs.shape[1]
        return torch.arange(width, device=self.lengths.device) < self.lengths[:, None]


def episodes_of(policy: Policy, prompts: Sequence[Prompt], rollout: Rollout, device: torch.device) -> Episodes:
    """A rollout with its words. Each of a prompt's samples is an episode, those of one prompt side by side."""
    samples = [one for row in rollout.samples for one in row]
    asked = [prompt for prompt, row in zip(prompts, rollout.samples, strict=True) for _ in row]
    lengths = torch.tensor([len(s.tokens) for s in samples])
    table = torch.zeros(len(samples), int(lengths.max()))  # (B, T)
    for row, one in zip(table, samples, strict=True):
        row[: len(one.logprobs)] = torch.from_numpy(one.logprobs)
    words = policy.tokenizer.batch_decode(
        [(s.tokens[:-1] if s.finished and s.tokens[-1] in policy.stops else s.tokens).tolist() for s in samples],
        skip_special_tokens=True,
    )
    return Episodes(
        tuple(asked),
        tuple(
            Tree(tree.prompt, (response,), tree.key)
            for tree in rollout.trees([prompt.id for prompt in prompts])
            for response in tree.responses
        ),
        tuple(words),
        torch.tensor([s.finished for s in samples], device=device),
        lengths.to(device),
        table.to(device),
    )


def sample_shared(policy: Policy, prompts: Sequence[Tokens], sampling: Sampling, seeds: np.ndarray) -> Rollout:
    """`sample` over the workers, each of whom gets all of it.

    seeds: (P, K), the same on all workers; so it does not matter who draws what
    """
    rank, size = world()
    mine = sample(policy, prompts[rank::size], sampling, seeds[rank::size])
    if size == 1:
        return mine
    said = gather_objects([[(s.tokens.tolist(), s.logprobs.tolist(), s.finished) for s in row] for row in mine.samples])
    samples = []
    for at in range(len(prompts)):
        row = enumerate(said[at % size][at // size])
        samples.append(
            tuple(
                Sample(at, k, int(seeds[at, k]), np.array(tokens, np.int32), np.array(logps, np.float32), finished)
                for k, (tokens, logps, finished) in row
            )
        )
    return Rollout(tuple(prompts), tuple(samples), sampling.temperature)


def truncated(rollout: Rollout, token: int, after: int) -> Rollout:
    """Each response cut behind the first `token` at place `after` or later; one that has none is unfinished.

    The general case of the rule by which Ziegler et al. end a response at its first full stop after 16 tokens.
    """

    def cut(one: Sample) -> Sample:
        places = np.flatnonzero(one.tokens[after:] == token)
        if not len(places):
            return replace(one, finished=False)
        end = after + int(places[0]) + 1
        return replace(one, tokens=one.tokens[:end], logprobs=one.logprobs[:end], finished=True)

    return Rollout(rollout.prompts, tuple(tuple(map(cut, row)) for row in rollout.samples), rollout.temperature)


def cells(row: Row, width: int) -> Tensor:
    """(N,) the cell, counted row by row, that each response token of a packed row has in a (B, `width`) table."""
    owner = torch.repeat_interleave(row.tree_of, row.length)  # (N,)
    first = row.length.cumsum(0) - row.length  # (S,)
    place = torch.arange(len(owner), device=owner.device) - torch.repeat_interleave(first, row.length)
    return owner * width + place


def longest(trees: Sequence[Tree]) -> int:
    return max(len(tree.responses[0]) for tree in trees)


@torch.no_grad()
def response_logprobs(model: PreTrainedModel, trees: Sequence[Tree], share: Share, temperature: float) -> Tensor:
    """(B, T) log-probability of each response token under softmax(logits / temperature), 0 on padding."""
    table = torch.zeros(len(trees), longest(trees), device=share.device)
    for row in share.rows(trees):
        where = targets(row)
        hidden = hidden_states(model, row)
        found = logprobs(hidden[where.predictor], where.token, Head.of(model), temperature)
        table.view(-1)[cells(row, table.shape[1])] = found
    return all_reduce_sum(table)


@torch.no_grad()
def token_values(critic: RewardModel, trees: Sequence[Tree], share: Share) -> tuple[Tensor, Tensor]:
    """(B, T) what the critic expects before each response token, and (B,) what it says at the last token itself.

    The first is what advantages are made of. The second is where a reward model reads its score.
    """
    table = torch.zeros(len(trees), longest(trees), device=share.device)
    last = torch.zeros(len(trees), device=share.device)
    for row in share.rows(trees):
        hidden = hidden_states(critic.body, row)
        table.view(-1)[cells(row, table.shape[1])] = critic.values(hidden[targets(row).predictor])
        last[row.tree_of] = critic(hidden, last_tokens(row))
    return all_reduce_sum(table), all_reduce_sum(last)


@torch.no_grad()
def response_scores(model: RewardModel, trees: Sequence[Tree], share: Share) -> Tensor:
    """(B,) the reward model's score of each response, read at its last token."""
    scores = torch.zeros(len(trees), device=share.device)
    for row in share.rows(trees):
        scores[row.tree_of] = model(hidden_states(model.body, row), last_tokens(row))
    return all_reduce_sum(scores)
