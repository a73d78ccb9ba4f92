"""Groups of responses forward and backward: one prompt with its G responses is one tree.

Tables of tokens are (B, T) with B = P * G: the responses of a group stand side by side, padded on the right. A group
that is larger than the token budget is read as several trees, which changes nothing but the memory. As in
`rather.stages.steps`, denominators are counted over the whole minibatch before the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rather.advantages import group_centred, group_normalised, leave_one_out
from rather.batches.packing import Row
from rather.batches.trees import Tree
from rather.losses import grpo_loss, kl_loss
from rather.models.logprobs import Head, Targets, hidden_states, logprobs, logprobs_and_entropy, targets
from rather.parallel import all_reduce_sum, gather_objects, global_sum
from rather.stages.grpo_config import GRPOConfig
from rather.stages.steps import Share


@dataclass(frozen=True, eq=False)
class Groups:
    """P groups of G responses, and what is known of them before the policy moves.

    trees: P of them, G responses each     old_logprobs, ref_logprobs: (B, T), the second None without a reference
    advantages: (P, G)     counted: (P, G) bool, False for responses that are left out
    """

    trees: Sequence[Tree]
    old_logprobs: Tensor
    ref_logprobs: Tensor | None
    advantages: Tensor
    counted: Tensor

    def picked(self, groups: Sequence[int]) -> Groups:
        """Some of them: a minibatch."""
        size = self.advantages.shape[1]
        rows = [p * size + g for p in groups for g in range(size)]
        ref = None if self.ref_logprobs is None else self.ref_logprobs[rows]
        some = list(groups)
        return Groups(
            [self.trees[p] for p in some], self.old_logprobs[rows], ref, self.advantages[some], self.counted[some]
        )


def advantages_of(rewards: Tensor, counted: Tensor, how: str) -> Tensor:
    """(P, G) -> (P, G): each response against the others of its group; exactly 0 where the group says nothing."""
    if how == "normalised":
        return group_normalised(rewards, unbiased=True, mask=counted)
    return group_centred(rewards, counted) if how == "centred" else leave_one_out(rewards, counted)


def counting(finished: Tensor, leave_out: bool) -> Tensor:
    """(P, G) bool: the responses that count. One that is alone in its group has nothing to be compared with."""
    if not leave_out:
        return torch.ones_like(finished)
    return finished & (finished.sum(1, keepdim=True) > 1)


class GroupStep:
    """Sums over the rows of a minibatch."""

    def __init__(self) -> None:
        self.loss = self.kl = self.clip_fraction = self.approx_kl = self.entropy = self.log_ratio_max = 0.0

    def over_workers(self) -> GroupStep:
        for name in ("loss", "kl", "clip_fraction", "approx_kl", "entropy"):
            setattr(self, name, global_sum(getattr(self, name)))
        self.log_ratio_max = max(gather_objects(self.log_ratio_max))
        return self

    def metrics(self, with_kl: bool) -> dict[str, float]:
        found = {
            "loss/policy_avg": self.loss,
            "policy/clipfrac_avg": self.clip_fraction,
            "policy/approxkl_avg": self.approx_kl,
            "policy/entropy_avg": self.entropy,
            "policy/log_ratio_max": self.log_ratio_max,
        }
        return found | ({"loss/kl_avg": self.kl} if with_kl else {})


def group_gradients(model: PreTrainedModel, groups: Groups, share: Share, config: GRPOConfig) -> GroupStep:
    """The clipped surrogate, and the KL as a loss where it is one; gradients of this worker's rows."""
    trees, first = branches(groups.trees, share.budget)
    lengths = torch.tensor([len(r) for tree in groups.trees for r in tree.responses], device=share.device)  # (B,)
    weight, denominator = weights(lengths, groups.counted.reshape(-1), config)
    # Shares are of what counts, whatever the loss is divided by.
    share_of = denominator / max(float((weight * lengths).sum()), 1.0)
    advantages = groups.advantages.reshape(-1)  # (B,)
    tokens = int(lengths.sum())
    estimator = config.kl if config.kl in ("k2", "k3") and groups.ref_logprobs is not None else None
    step = GroupStep()
    for row in share.rows(trees):
        where = targets(row)
        response, cell = places(row, where, first, groups.old_logprobs.shape[1])
        hidden = hidden_states(model, row)
        logps, entropy = logprobs_and_entropy(hidden[where.predictor], where.token, Head.of(model), config.temperature)
        old, mask = groups.old_logprobs.reshape(-1)[cell], weight[response]
        part = grpo_loss(
            logps, old, advantages[response].to(logps), mask, denominator, config.clip_low, config.clip_high
        )
        loss = part.loss
        if estimator is not None and groups.ref_logprobs is not None:
            ref = groups.ref_logprobs.reshape(-1)[cell]
            kl = kl_loss(logps, ref, mask, denominator, config.kl_coef, estimator)
            loss = loss + kl
            step.kl += float(kl.detach())
        loss.backward()
        step.loss += float(part.loss.detach())
        step.clip_fraction += float(part.clip_fraction) * share_of
        step.approx_kl += float(part.approx_kl) * share_of
        step.entropy += float(entropy.sum()) / tokens
        step.log_ratio_max = max(step.log_ratio_max, float(part.log_ratio_max))
    return step.over_workers()


def weights(lengths: Tensor, counted: Tensor, config: GRPOConfig) -> tuple[Tensor, float]:
    """(B,) what a token of each response weighs, and what the sum over the minibatch's tokens is divided by.

    At least 1: a minibatch in which nothing counts has the loss 0.
    """
    on = counted.float()
    match config.mean_over:
        case "sequence":
            return on / lengths, max(float(on.sum()), 1.0)
        case "token":
            return on, max(float((on * lengths).sum()), 1.0)
        case "constant":
            return on, float(len(lengths) * config.max_new_tokens)


@torch.no_grad()
def group_logprobs(
    model: PreTrainedModel, groups: Sequence[Tree], share: Share, width: int, temperature: float
) -> Tensor:
    """(B, T) log-probability of each response token under softmax(logits / temperature), 0 on padding."""
    trees, first = branches(groups, share.budget)
    table = torch.zeros(sum(len(tree.responses) for tree in groups), width, device=share.device)
    for row in share.rows(trees):
        where = targets(row)
        _, cell = places(row, where, first, width)
        hidden = hidden_states(model, row)
        table.view(-1)[cell] = logprobs(hidden[where.predictor], where.token, Head.of(model), temperature)
    return all_reduce_sum(table)


def branches(groups: Sequence[Tree], budget: int) -> tuple[list[Tree], list[int]]:
    """The groups as trees that fit the budget if a single response does, and where in the B rows each tree begins."""
    trees: list[Tree] = []
    first: list[int] = []
    begun = 0
    for group in groups:
        start = 0
        while start < len(group.responses):
            size, end = len(group.prompt) + len(group.responses[start]), start + 1
            while end < len(group.responses) and size + len(group.responses[end]) <= budget:
                size, end = size + len(group.responses[end]), end + 1
            trees.append(Tree(group.prompt, group.responses[start:end], group.key))
            first.append(begun + start)
            start = end
        begun += len(group.responses)
    return trees, first


def places(row: Row, where: Targets, first: Sequence[int], width: int) -> tuple[Tensor, Tensor]:
    """(N,) the response (0 to B-1) of each of the row's response tokens, and its cell in a (B, `width`) table."""
    begins = torch.tensor(first, device=row.tree_of.device)
    response = (begins[row.tree_of] + row.response_of)[where.sequence]  # (N,)
    before = (row.length.cumsum(0) - row.length)[where.sequence]  # (N,)
    return response, response * width + torch.arange(len(response), device=response.device) - before
