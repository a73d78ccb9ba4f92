"""The reward of step 3, token by token (sec. 3.5, eq. 2), and beta, what a nat of KL costs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

from torch import Tensor

from rather.advantages.counted import counted, full_precision


def shaped_rewards(
    scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float
) -> tuple[Tensor, Tensor]:
    """-beta times the log-ratio at every response token, and the score at the last one: rewards (B, T), kl (B, T).

    scores: (B,) one per response     logprobs, ref_logprobs: (B, T) under the policy that sampled and the reference
    mask: (B, T) 1 on response tokens, EOS included

    kl is the plain log-ratio (k1). Single tokens may be negative and stay so: clamped, they do not average to the KL.
    Its sum over a row is the response's KL in nats, which is what the controller and the report want.
    """
    present = mask != 0  # (B, T)
    assert present.any(1).all(), "a response without a token has nowhere to put its score"
    kl = counted(logprobs, mask) - counted(ref_logprobs, mask)  # (B, T)
    # The last real token is the one with nothing but pads from the next on.
    is_last = present & (present.flip(1).cumsum(1).flip(1) == 1)  # (B, T)
    return -kl_coef * kl + is_last * full_precision(scores)[:, None], kl


@dataclass(frozen=True)
class FixedKL:
    """beta stays what it is: 0.02 in the paper (C.4)."""

    kl_coef: float

    def update(self, kl: float, episodes: int) -> FixedKL:
        return self

    def state_dict(self) -> dict[str, float]:
        """Everything, for the checkpoint: `FixedKL(**state)` is the same controller again."""
        return asdict(self)


@dataclass(frozen=True)
class AdaptiveKL:
    """beta follows the KL (Ziegler et al. 2019, sec. 2.2), by at most 20 % per horizon of episodes."""

    kl_coef: float
    target: float = 6.0  # nats per response, summed over its tokens; a mean per token never gets there and beta dies
    horizon: int = 10_000  # episodes
    floor: float = 0.0  # beta goes no lower: one easy batch must not let the policy loose; ZGL has none

    def update(self, kl: float, episodes: int) -> AdaptiveKL:
        """The controller for the next batch. kl: mean over responses of the sum over tokens, before the update."""
        if not math.isfinite(kl):
            raise FloatingPointError(
                f"the KL of the batch is {kl}: beta would be lost.\nLook at the log-probs of this rollout."
            )
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return replace(self, kl_coef=max(self.kl_coef * (1 + error * episodes / self.horizon), self.floor))

    def state_dict(self) -> dict[str, float]:
        """Everything, for the checkpoint: `AdaptiveKL(**state)` is the same controller again."""
        return asdict(self)
