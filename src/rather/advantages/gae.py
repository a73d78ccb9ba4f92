"""What each token was worth: generalised advantages (Schulman et al. 2016) and what the critic is fitted to."""

from __future__ import annotations

import torch
from torch import Tensor

from rather.advantages.counted import counted, full_precision


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gae_lambda: float, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """Advantages (B, T) and returns (B, T), 0 on padding.

    rewards: (B, T)     values: (B, T) the critic's, before each token     mask: (B, T) one run of 1 per row

        delta_t = r_t + gamma V_t+1 - V_t        A_t = delta_t + gamma lambda A_t+1        return_t = A_t + V_t

    The episode ends with the response: the value after its last token is 0, never the critic's opinion of a pad.
    Returns are taken before any whitening. No discount in the paper (C.4); it does not print lambda.
    """
    present = mask != 0  # (B, T)
    starts = present[:, :1].sum(1) + (present[:, 1:] & ~present[:, :-1]).sum(1)  # (B,)
    assert (starts <= 1).all(), "a mask with holes: values across a hole are not of one episode; close it before"
    rewards, values = counted(rewards, mask), counted(values, mask)

    next_value = next_advantage = values.new_zeros(len(values))  # (B,)
    advantages = []  # of (B,), last token first
    for reward, value, here in zip(*(x.unbind(1)[::-1] for x in (rewards, values, present)), strict=True):
        delta = reward + gamma * next_value - value
        # A pad passes on nothing: the recursion starts anew at each row's own end.
        next_advantage = (delta + gamma * gae_lambda * next_advantage) * here
        next_value = value
        advantages.append(next_advantage)
    table = torch.stack(advantages[::-1], 1)  # (B, T)
    return table, table + values


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns) over response tokens: 1 is a perfect critic, 0 one that says nothing.

    values, returns, mask: (B, T) -> (), NaN when the returns do not vary
    """
    returns, values = full_precision(returns)[mask != 0], full_precision(values)[mask != 0]
    return 1 - (returns - values).var(correction=0) / returns.var(correction=0)
