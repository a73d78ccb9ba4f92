"""One batch of DPO: what was said about each prompt is one tree, read once, and its rankings are rows of a table.

As in `rather.stages.steps`: rows under a token budget, denominators counted over the whole batch before the split, so
that neither the budget nor the number of workers changes the result. Each prompt counts once, each of its rankings the
same, and each pair of a ranking the same, as in the reward model. Tables are (B, K): prompts by responses, 0 where a
prompt has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rather.batches.packing import Row
from rather.batches.trees import Tree
from rather.losses import (
    PreferenceLoss,
    conservative_dpo_loss,
    dpo_loss,
    hinge_loss,
    implicit_rewards,
    ipo_loss,
    plackett_luce_loss,
    ranking_pairs,
    robust_dpo_loss,
    sequence_sums,
)
from rather.models.logprobs import Head, hidden_states, logprobs, targets
from rather.parallel import all_reduce_sum, global_sum
from rather.stages.dpo_config import DPOConfig, Form
from rather.stages.reward_data import Judged, pairs_of
from rather.stages.reward_loss import table_of
from rather.stages.steps import Share

PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], PreferenceLoss]  # of (chosen, rejected, ref_chosen, ref_rejected)


@dataclass(frozen=True)
class Preferring:
    """How log-probabilities are held against ranks."""

    form: Form = "sigmoid"
    beta: float = 0.1
    flip_rate: float = 0.0
    length_normalised: bool = False
    sft_coef: float = 0.0

    @classmethod
    def of(cls, config: DPOConfig) -> Preferring:
        return cls(config.form, config.beta, config.flip_rate, config.length_normalised, config.sft_coef)

    def pair_loss(self) -> PairLoss:
        forms: dict[str, PairLoss] = {
            "sigmoid": partial(dpo_loss, beta=self.beta),
            "ipo": partial(ipo_loss, beta=self.beta),
            "hinge": partial(hinge_loss, beta=self.beta),
            "conservative": partial(conservative_dpo_loss, beta=self.beta, flip_rate=self.flip_rate),
            "robust": partial(robust_dpo_loss, beta=self.beta, flip_rate=self.flip_rate),
        }
        return forms[self.form]

    def loss(self, logps: Tensor, ref: Tensor, row: Row, batch: Sequence[Judged]) -> Tensor:
        """This row's part of the batch's mean over prompts. logps, ref: (S,) of its responses"""
        table = table_of(row, batch, ties=False)
        if self.length_normalised:
            logps, ref = logps / row.length, ref / row.length
        if self.form == "plackett-luce":
            rewards = implicit_rewards(logps, ref, self.beta)
            return plackett_luce_loss(rewards[table.place], table.ranks, len(batch), table.weights)
        pairs = ranking_pairs(table.ranks)
        good, bad = table.place[pairs.prompt, pairs.winner], table.place[pairs.prompt, pairs.loser]
        weight = pairs.weight * table.weights[pairs.prompt]
        return (self.pair_loss()(logps[good], logps[bad], ref[good], ref[bad]).loss * weight).sum() / len(batch)


@dataclass(frozen=True, eq=False)
class Preferred:
    """Of the whole batch. logps: (B, K) of each response     nll: mean over the best responses' tokens"""

    loss: float
    nll: float
    logps: Tensor


def preference_gradients(
    model: PreTrainedModel, batch: Sequence[Judged], ref: Tensor, how: Preferring, share: Share
) -> Preferred:
    """Mean preference loss of the prompts, with the SFT term of `how`. ref: (B, K) log-probabilities by the reference

    The loss that is returned is without that term.
    """
    trees = [element.tree for element in batch]
    best = [best_of(element) for element in batch]
    tokens = sum(len(tree.responses[k]) for tree, ks in zip(trees, best, strict=True) for k in ks)
    found = torch.zeros_like(ref)
    total = nll = 0.0
    for row in share.rows(trees):
        logps = response_sums(model, row)  # (S,)
        if not len(logps):
            logps.sum().backward()  # a silent row: a sharded backward needs everybody's graph
            continue
        loss = how.loss(logps, ref[row.tree_of, row.response_of], row, batch)
        chosen = [k in best[n] for n, k in zip(row.tree_of.tolist(), row.response_of.tolist(), strict=True)]
        of_best = -logps[torch.tensor(chosen, device=logps.device)].sum() / tokens
        (loss + how.sft_coef * of_best if how.sft_coef else loss).backward()
        total, nll = total + float(loss.detach()), nll + float(of_best.detach())
        found[row.tree_of, row.response_of] = logps.detach()
    return Preferred(global_sum(total), global_sum(nll), all_reduce_sum(found))


def best_of(element: Judged) -> set[int]:
    """The responses that somebody put first, before another: what the SFT term demonstrates."""
    pairs = pairs_of(element.ranks)
    return {int(k) for r, k in zip(pairs.ranking, pairs.winner, strict=True) if element.ranks[r, k] == 1}


@torch.no_grad()
def preference_loss(
    model: PreTrainedModel, batch: Sequence[Judged], ref: Tensor, how: Preferring, share: Share
) -> Preferred:
    """The same without gradients, for validation; `nll` is not asked for there."""
    found = torch.zeros_like(ref)
    total = 0.0
    for row in share.rows([element.tree for element in batch]):
        logps = response_sums(model, row)
        if len(logps):
            total += float(how.loss(logps, ref[row.tree_of, row.response_of], row, batch))
            found[row.tree_of, row.response_of] = logps
    return Preferred(global_sum(total), 0.0, all_reduce_sum(found))


@torch.no_grad()
def tree_logprobs(model: PreTrainedModel, trees: Sequence[Tree], share: Share) -> Tensor:
    """(B, K) log-probability of each response."""
    table = torch.zeros(len(trees), max(len(tree.responses) for tree in trees), device=share.device)
    for row in share.rows(trees):
        table[row.tree_of, row.response_of] = response_sums(model, row)
    return all_reduce_sum(table)


def response_sums(model: PreTrainedModel, row: Row) -> Tensor:
    """(S,) log-probability of each response of a row, with gradient."""
    where = targets(row)
    hidden = hidden_states(model, row)
    of_tokens = logprobs(hidden[where.predictor], where.token, Head.of(model))
    return sequence_sums(of_tokens, where.sequence, len(row.start))


def response_lengths(trees: Sequence[Tree], most: int) -> Tensor:
    """(B, K) tokens of each response, 0 in empty cells. most: K, of all data and not of this batch"""
    table = torch.zeros(len(trees), most)
    for row, tree in zip(table, trees, strict=True):
        row[: len(tree.responses)] = torch.tensor([len(response) for response in tree.responses])
    return table


def summary(batch: Sequence[Judged], logps: Tensor, ref: Tensor, how: Preferring) -> dict[str, float]:
    """What a batch's pairs say, each prompt once, under TRL's names. logps, ref: (B, K)"""
    lengths = response_lengths([element.tree for element in batch], logps.shape[1]).clamp(min=1)
    said, expected = logps.cpu().double(), ref.cpu().double()
    rewards = (how.beta * (said - expected) / (lengths if how.length_normalised else 1)).numpy()
    rows = []
    for element, reward, logp in zip(batch, rewards, said.numpy(), strict=True):
        pairs = pairs_of(element.ranks)
        lead = reward[pairs.winner] - reward[pairs.loser]
        right = 0.5 + 0.5 * ((lead > 0).astype(float) - (lead < 0))  # a margin of exactly 0 is half right
        columns = (reward[pairs.winner], reward[pairs.loser], lead, right, logp[pairs.winner], logp[pairs.loser])
        rows.append([float(pairs.weight @ column) for column in columns])
    names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen")
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    return dict(zip((*names, "logps/rejected"), means, strict=True))
