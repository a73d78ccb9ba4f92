"""One batch forward and backward, for each of the losses that read trees.

Every function walks the batch row by row under a token budget and leaves the sum of the rows' gradients in `.grad`, or
with the `Adam` that takes them. The denominators are counted over the whole batch before it is split, so neither the
budget nor the number of workers changes the result: each worker walks its share of the rows, and the shares add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rather.batches.packing import Row, rows
from rather.batches.trees import Tree
from rather.losses import PreferenceLoss, padded_layout, ranking_loss, sequence_sums
from rather.models.attention import Layout
from rather.models.logprobs import Head, hidden_states, last_tokens, logprobs, targets, weighted_nll


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


def ranking_gradients(
    body: PreTrainedModel,
    score: Callable[[Tensor], Tensor],
    trees: Sequence[Tree],
    ranks: Sequence[Sequence[int]],
    share: Share,
) -> float:
    """Bradley-Terry over all pairs of each ranking (sec. 3.5, eq. 1), K forwards a prompt; this worker's part of it.

    score: (S, D) hidden states of the last tokens -> (S,)     ranks: one list per tree, 1 is best
    """
    total = 0.0
    for row in share.rows(trees):
        scores = score(hidden_states(body, row)[last_tokens(row)])  # (S,)
        prompts, prompt = row.tree_of.unique(return_inverse=True)
        table = padded_layout(prompt, len(prompts))
        rank = torch.tensor(
            [ranks[t][k] for t, k in zip(row.tree_of.tolist(), row.response_of.tolist(), strict=True)],
            dtype=torch.int64,
            device=scores.device,
        )
        # A silent row has no scores; their empty sum still carries the graph that a sharded backward needs.
        loss = ranking_loss(table.pad(scores), table.pad(rank), denominator=len(trees)) if len(scores) else scores.sum()
        loss.backward()
        total += float(loss.detach())
    return total


PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], PreferenceLoss]


def dpo_gradients(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    trees: Sequence[Tree],
    pair_loss: PairLoss,
    share: Share,
) -> float:
    """Mean preference loss of the batch's pairs; this worker's part of it.

    trees: K=2, the chosen response first     pair_loss: of (chosen, rejected, ref_chosen, ref_rejected), each (B,)
    """
    total = 0.0
    for row in share.rows(trees):
        layout = Layout(row)
        with torch.no_grad():
            ref = _sequence_logprobs(reference, row, layout)
        logps = _sequence_logprobs(policy, row, layout)
        good, bad = row.response_of == 0, row.response_of == 1
        loss = pair_loss(logps[good], logps[bad], ref[good], ref[bad]).loss.sum() / len(trees)
        loss.backward()
        total += float(loss.detach())
    return total


def _sequence_logprobs(model: PreTrainedModel, row: Row, layout: Layout) -> Tensor:
    """(S,) log-probability of each response."""
    where = targets(row)
    hidden = hidden_states(model, row, layout)
    return sequence_sums(logprobs(hidden[where.predictor], where.token, Head.of(model)), where.sequence, len(row.start))
