"""GRPO (Shao et al. 2024) and Dr. GRPO (Liu et al. 2025): the PPO surrogate without a critic.

The two differ in how the advantage is made (`rather.advantages.groups`) and in what the sum over tokens is divided by:

    token mean      mask                     denominator = response tokens of the batch         (DAPO)
    sequence mean   sequence_weights(mask)   denominator = sequences of the batch               (GRPO)
    constant        mask                     denominator = sequences * max tokens of a response (Dr. GRPO)
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from rather.losses.kl import KL_ESTIMATORS
from rather.losses.ppo import PolicyLoss, clipped_surrogate
from rather.losses.tokens import counted, token_mean


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor | None,
    denominator: float,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> PolicyLoss:
    """The clipped surrogate over the tokens of groups of responses.

    logprobs: (B, T) or (N,) with gradient     old_logprobs, mask: the same shape, mask 0/1 or weights
    advantages: the same shape, one per sequence spread over its tokens: `a[:, None].expand(B, T)` or `a[sequence]`
    clip_high: above clip_low it is DAPO's clip-higher, which lets rare tokens grow
    """
    return clipped_surrogate(logprobs, old_logprobs, advantages, mask, denominator, clip_low, clip_high)


def kl_loss(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    mask: Tensor | None,
    denominator: float,
    kl_coef: float,
    estimator: Literal["k2", "k3"],
) -> Tensor:
    """kl_coef times the mean KL to the reference as a loss of its own, added to `grpo_loss`.

    logprobs: (B, T) or (N,) with gradient     ref_logprobs, mask: the same shape

    The estimator has no default because the two pull differently: see `rather.losses.kl`. GRPO's paper has k3.
    """
    if estimator not in ("k2", "k3"):
        raise ValueError(
            f"{estimator!r} as a loss.\nOnly k2 and k3 hold a policy back as a loss: the mean gradient of k1 is 0.\n"
            "Take estimator='k2', or put k1 in the reward (`shaped_rewards`)."
        )
    kl = KL_ESTIMATORS[estimator](counted(logprobs, mask), counted(ref_logprobs.detach(), mask))
    return kl_coef * token_mean(kl, mask, denominator)
