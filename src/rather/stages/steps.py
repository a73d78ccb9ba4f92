"""One batch forward and backward: how a worker sees a batch, and the likelihood of demonstrations.

The other losses that read trees (`reward_loss`, `dpo_steps`, `ppo_steps`, `grpo_steps`) are computed in the same way.
Every function walks the batch row by row under a token budget and leaves the sum of the rows' gradients in `.grad`, or
with the `Adam` that takes them. The denominators are counted over the whole batch before it is split, so neither the
budget nor the number of workers changes the result: each worker walks its share of the rows, and the shares add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from rather.batches.packing import Row, rows
from rather.batches.trees import Tree
from rather.models.logprobs import Head, hidden_states, logprobs, targets, weighted_nll


@dataclass(frozen=True)
class Share:
    """How a worker sees the batch: rows of at most `budget` tokens, every `workers`-th of them."""

    budget: int
    rank: int = 0
    workers: int = 1
    device: torch.device | str = "cpu"

    def rows(self, trees: Sequence[Tree]) -> list[Row]:
        return [row.to(self.device) for row in rows(trees, self.budget, self.rank, self.workers)]


def sft_gradients(model: PreTrainedModel, trees: Sequence[Tree], share: Share, coef: float = 1.0) -> float:
    """Mean negative log-likelihood of the batch's response tokens (sec. 3.5); this worker's part of it.

    coef: what the gradients are multiplied by, and the loss is not: gamma of the pretraining mix (eq. 2)
    """
    tokens = sum(len(response) for tree in trees for response in tree.responses)
    total = 0.0
    for row in share.rows(trees):
        where = targets(row)
        hidden = hidden_states(model, row)
        weight = torch.full((len(where.token),), coef / tokens, device=hidden.device)
        loss = weighted_nll(hidden[where.predictor], where.token, weight, Head.of(model))
        loss.backward()
        total += float(loss.detach()) / coef
    return total


@torch.no_grad()
def sft_loss(model: PreTrainedModel, trees: Sequence[Tree], share: Share) -> float:
    """The same mean without gradients, for validation; this worker's part of it."""
    tokens = sum(len(response) for tree in trees for response in tree.responses)
    total = 0.0
    for row in share.rows(trees):
        where = targets(row)
        hidden = hidden_states(model, row)
        total -= float(logprobs(hidden[where.predictor], where.token, Head.of(model)).sum()) / tokens
    return total
