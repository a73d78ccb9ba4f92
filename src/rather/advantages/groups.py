"""Advantages without a critic: each response against the others to the same prompt.

rewards: (P, K) one row per prompt     mask: (P, K) 0 on missing responses, which get 0; None when none is missing
"""

from __future__ import annotations

import torch
from torch import Tensor

from rather.advantages.counted import counted


def group_centred(rewards: Tensor, mask: Tensor | None = None) -> Tensor:
    """Reward minus the mean of its group: (P, K) -> (P, K) (Dr. GRPO, Liu et al. 2025)."""
    rewards, here, count = _group(rewards, mask)
    return (rewards - rewards.sum(1, keepdim=True) / count.clamp(min=1)).masked_fill(
        ~here | _all_same(rewards, here), 0.0
    )


def group_normalised(rewards: Tensor, unbiased: bool, mask: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """`group_centred` over the standard deviation of the group: (P, K) -> (P, K) (GRPO, Shao et al. 2024).

    A group whose rewards are all equal says nothing and gets exactly 0. unbiased: divide the variance by K - 1 or by K.
    """
    centred = group_centred(rewards, mask)
    _, _, count = _group(rewards, mask)
    std = (centred.square().sum(1, keepdim=True) / (count - 1 if unbiased else count).clamp(min=1)).sqrt()  # (P, 1)
    return torch.where(std > 0, centred / (std + eps), 0.0)


def leave_one_out(rewards: Tensor, mask: Tensor | None = None) -> Tensor:
    """Reward minus the mean of the *other* responses of its group: (P, K) -> (P, K) (RLOO, Kool et al. 2019)."""
    _, _, count = _group(rewards, mask)
    assert (count != 1).all(), "a group of one response has no others to be compared with"
    # With m the mean of all n:  r - (n m - r) / (n - 1) = (r - m) n / (n - 1)
    return group_centred(rewards, mask) * count / (count - 1).clamp(min=1)


def varied(rewards: Tensor, mask: Tensor | None = None) -> Tensor:
    """(P, K) -> (P,) bool: the groups there is something to learn from. Count the others: wasted samples."""
    rewards, here, _ = _group(rewards, mask)
    return ~_all_same(rewards, here)[:, 0]


def _group(rewards: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards (P, K) with 0 in missing cells, which are here (P, K) bool, how many (P, 1)."""
    here = torch.ones_like(rewards, dtype=torch.bool) if mask is None else mask != 0
    return counted(rewards, here), here, here.sum(1, keepdim=True)


def _all_same(rewards: Tensor, here: Tensor) -> Tensor:
    """(P, 1) bool, by equality: rounded, equal rewards may deviate by 1e-9, and 1e-9 / 1e-9 is an advantage of 1."""
    largest = rewards.masked_fill(~here, -torch.inf).amax(1, keepdim=True)
    smallest = rewards.masked_fill(~here, torch.inf).amin(1, keepdim=True)
    return largest <= smallest  # also true of an empty group
