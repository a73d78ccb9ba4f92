"""One minibatch of step 3 forward and backward: the policy's half and the critic's.

As in `rather.stages.steps`: rows under a token budget, denominators counted over the whole minibatch before the split,
so that neither the budget nor the number of workers changes the result. What is returned is of the whole minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rather.batches.trees import Tree
from rather.losses import ppo_policy_loss, ppo_value_loss
from rather.models.heads import RewardModel
from rather.models.logprobs import Head, hidden_states, logprobs_and_entropy, targets
from rather.parallel import all_reduce_in_place, gather_objects, global_sum
from rather.stages.episodes import cells
from rather.stages.steps import Share, sft_gradients


class PolicyStep(NamedTuple):
    loss: float
    clip_fraction: float
    approx_kl: float
    log_ratio_max: float
    entropy: float  # nats of a token's distribution, mean over the minibatch's response tokens

    def metrics(self) -> dict[str, float]:
        return {
            "loss/policy_avg": self.loss,
            "policy/clipfrac_avg": self.clip_fraction,
            "policy/approxkl_avg": self.approx_kl,
            "policy/entropy_avg": self.entropy,
            "policy/log_ratio_max": self.log_ratio_max,
        }


class CriticStep(NamedTuple):
    loss: float
    clip_fraction: float

    def metrics(self) -> dict[str, float]:
        return {"loss/value_avg": self.loss, "val/clipfrac_avg": self.clip_fraction}


def policy_gradients(
    model: PreTrainedModel,
    trees: Sequence[Tree],
    old_logprobs: Tensor,
    advantages: Tensor,
    share: Share,
    clip_range: float,
    temperature: float,
) -> PolicyStep:
    """The clipped surrogate, mean over the minibatch's response tokens. old_logprobs, advantages: (B, T)"""
    tokens = _tokens(trees)
    sums, largest = [0.0] * 4, 0.0
    for row in share.rows(trees):
        where, cell = targets(row), cells(row, old_logprobs.shape[1])
        hidden = hidden_states(model, row)
        logps, entropy = logprobs_and_entropy(hidden[where.predictor], where.token, Head.of(model), temperature)
        old, advantage = old_logprobs.reshape(-1)[cell], advantages.reshape(-1)[cell]
        part = ppo_policy_loss(logps, old, advantage, None, tokens, clip_range)
        part.loss.backward()
        found = (part.loss.detach(), part.clip_fraction, part.approx_kl, entropy.sum() / tokens)
        sums = [total + float(value) for total, value in zip(sums, found, strict=True)]
        largest = max(largest, float(part.log_ratio_max))
    loss, clip_fraction, approx_kl, mean_entropy = map(global_sum, sums)
    return PolicyStep(loss, clip_fraction, approx_kl, max(gather_objects(largest)), mean_entropy)


def critic_gradients(
    critic: RewardModel,
    trees: Sequence[Tree],
    old_values: Tensor,
    returns: Tensor,
    share: Share,
    value_clip: float | None,
) -> CriticStep:
    """Half the squared error of the values before each response token, clipped. old_values, returns: (B, T)"""
    tokens = _tokens(trees)
    loss = clipped = 0.0
    for row in share.rows(trees):
        cell = cells(row, old_values.shape[1])
        values = critic.values(hidden_states(critic.body, row)[targets(row).predictor])
        old, wanted = old_values.reshape(-1)[cell], returns.reshape(-1)[cell]
        part = ppo_value_loss(values, old, wanted, None, tokens, value_clip or math.inf)
        part.loss.backward()
        loss, clipped = loss + float(part.loss.detach()), clipped + float(part.clip_fraction)
    return CriticStep(global_sum(loss), global_sum(clipped))


def ptx_gradients(model: PreTrainedModel, trees: Sequence[Tree], share: Share, ptx_coef: float) -> float:
    """gamma times the mean next-token loss of the pretraining rows (eq. 2). -> that mean, without gamma

    The mean is over the rows' own tokens, as PPO's is over its own: neither changes with the length of the other.
    """
    return global_sum(sft_gradients(model, trees, share, ptx_coef))


def norms_apart(ppo: Sequence[Tensor], both: Sequence[Tensor]) -> dict[str, float]:
    """The norms of the two gradients of an update, from the first alone and from their sum, over all workers."""
    ptx = [total - part for total, part in zip(both, ppo, strict=True)]
    for gradients in (ppo, ptx):
        all_reduce_in_place(gradients)
    return {"grad_norm/ppo": _norm(ppo), "grad_norm/ptx": _norm(ptx)}


def refuse_not_finite(norm: float, whose: str, iteration: int, update: int) -> None:
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"Iteration {iteration}, update {update + 1}: the {whose}'s gradient norm is {norm}.\n"
            "It has to be finite; this step was not taken.\n"
            "Look at grad_norm and policy/log_ratio_max before it, then try a lower learning rate or precision=fp32."
        )


def _norm(gradients: Sequence[Tensor]) -> float:
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
    return float(torch.linalg.vector_norm(torch.stack(norms)))


def _tokens(trees: Sequence[Tree]) -> int:
    return sum(len(response) for tree in trees for response in tree.responses)
