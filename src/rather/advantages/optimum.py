"""What is known without training: the best policy a KL budget buys."""

from __future__ import annotations

import math

from torch import Tensor

from rather.advantages.counted import full_precision


def best_of_n_kl(n: int) -> float:
    """log n - (n - 1) / n nats: KL of best-of-n against the policy it draws from (Stiennon et al. 2020, app. G.3).

    Exact when no two samples score the same, an upper bound otherwise (Beirami et al. 2024).
    """
    assert n >= 1, f"the best of {n} samples"
    return math.log(n) - (n - 1) / n


def kl_optimum(ref_probs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """ref * exp(reward / beta), normalised: the policy of largest E[reward] - beta KL(policy || ref) (DPO, eq. 4).

    ref_probs, rewards: (..., V) over the last axis, sum of ref_probs 1
    """
    return (full_precision(ref_probs).log() + full_precision(rewards) / beta).softmax(-1)
