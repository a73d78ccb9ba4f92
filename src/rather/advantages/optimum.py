"""What is known without training: the best policy a KL budget buys."""

from __future__ import annotations

from torch import Tensor

from rather.advantages.counted import full_precision


def kl_optimum(ref_probs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """ref * exp(reward / beta), normalised: the policy of largest E[reward] - beta KL(policy || ref) (DPO, eq. 4).

    ref_probs, rewards: (..., V) over the last axis, sum of ref_probs 1
    """
    return (full_precision(ref_probs).log() + full_precision(rewards) / beta).softmax(-1)
