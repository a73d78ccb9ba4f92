"""KL(policy || reference) from samples of the policy: three estimators (Schulman 2020, "Approximating KL divergence").

With r = log pi(x) - log ref(x), x drawn from pi, all three average to nearly the same number. They share no more:

    k1 = r              unbiased, may be negative; the one in the reward (sec. 3.5). As a loss: mean gradient 0.
    k2 = r^2 / 2        biased in value. As a loss: mean gradient that of KL(pi || ref).
    k3 = e^-r - 1 + r   unbiased, never negative. As a loss: mean gradient that of KL(ref || pi), the other direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rather.losses.tokens import full_precision, same_shape


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The log-ratio itself: (...) -> (...). Never clamp it: the negative tokens are what makes its mean right."""
    same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs)
    return full_precision(logprobs) - full_precision(ref_logprobs)


def kl_k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Half the squared log-ratio: (...) -> (...)."""
    return 0.5 * kl_k1(logprobs, ref_logprobs).square()


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """e^-r - 1 + r: (...) -> (...)."""
    log_ratio = kl_k1(logprobs, ref_logprobs)
    return torch.expm1(-log_ratio) + log_ratio  # expm1: near the reference, e^-r - 1 loses every digit


KL_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}
