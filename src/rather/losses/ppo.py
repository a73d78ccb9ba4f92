"""Step 3: the clipped losses of PPO (Schulman et al. 2017, eq. 7) as ZGL and app. C.4 use them.

What was measured before the update (old log-probs, advantages, old values, returns) is a constant here: no gradient
enters it. All tensors of a call have one shape, (B, T) with a mask or packed (N,) with None: nothing broadcasts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rather.losses.tokens import counted, same_shape, token_mean


class PolicyLoss(NamedTuple):
    """All scalars. Micro-batches: add up all but log_ratio_max, which is a maximum; only `loss` carries a gradient."""

    loss: Tensor
    clip_fraction: Tensor  # share of tokens whose gradient the clip took away
    approx_kl: Tensor  # mean of half the squared log-ratio to the policy that sampled: above 0.1 is an alarm
    log_ratio_max: Tensor  # largest |log ratio|: 0 at the first minibatch of the first epoch, or something is wrong


class ValueLoss(NamedTuple):
    """Scalars; micro-batches add up. Only `loss` carries a gradient."""

    loss: Tensor
    clip_fraction: Tensor


def ppo_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor | None,
    denominator: float,
    clip_range: float = 0.2,  # C.4
) -> PolicyLoss:
    """The clipped surrogate, negated: mean over tokens of max(-A ratio, -A clip(ratio, 1 - c, 1 + c)).

    logprobs: (B, T) or (N,) with gradient     old_logprobs, advantages, mask: the same shape
    denominator: response tokens of the whole minibatch
    """
    return clipped_surrogate(logprobs, old_logprobs, advantages, mask, denominator, clip_range, clip_range)


def clipped_surrogate(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor | None,
    denominator: float,
    clip_low: float,
    clip_high: float,
) -> PolicyLoss:
    """`ppo_policy_loss` with the two sides of the clip apart: the ratio is kept in [1 - clip_low, 1 + clip_high]."""
    same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages)
    advantages = counted(advantages.detach(), mask)
    # The log-ratio is masked, not the ratio: a pad gives exp(0), where exp of garbage may be inf and its gradient NaN.
    log_ratio = counted(logprobs, mask) - counted(old_logprobs.detach(), mask)
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    with torch.no_grad():
        clip_fraction = token_mean((clipped > unclipped).to(ratio.dtype), mask, denominator)
        approx_kl = token_mean(0.5 * log_ratio.square(), mask, denominator)
        log_ratio_max = log_ratio.abs().max() if log_ratio.numel() else log_ratio.new_zeros(())
    return PolicyLoss(
        token_mean(torch.maximum(unclipped, clipped), mask, denominator), clip_fraction, approx_kl, log_ratio_max
    )


def ppo_value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor | None,
    denominator: float,
    clip_range: float = 0.2,  # as in ZGL, the paper is silent; math.inf is no clip
) -> ValueLoss:
    """Half the larger of two squared errors, the second with the value kept within clip_range of the old one.

    values: (B, T) or (N,) with gradient     old_values, returns, mask: the same shape
    denominator: response tokens of the whole minibatch
    """
    same_shape(values=values, old_values=old_values, returns=returns)
    values, old_values = counted(values, mask), counted(old_values.detach(), mask)
    returns = counted(returns.detach(), mask)
    unclipped = (values - returns).square()
    # Not old + clamp(value - old): its rounding differs from the value inside the range too, and counts as clipping.
    clipped = (values.clamp(old_values - clip_range, old_values + clip_range) - returns).square()
    with torch.no_grad():
        clip_fraction = token_mean((clipped > unclipped).to(values.dtype), mask, denominator)
    return ValueLoss(0.5 * token_mean(torch.maximum(unclipped, clipped), mask, denominator), clip_fraction)
