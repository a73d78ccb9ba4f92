"""Rewards, advantages and returns of step 3; torch and nothing of ours. The formulas are in docs/maths.md.

Tables are (B, T), one response per row, with a mask; packed tokens get there and back by `rather.losses.padded_layout`.
"""

from rather.advantages.gae import explained_variance, gae
from rather.advantages.groups import group_centred, group_normalised, leave_one_out, varied
from rather.advantages.optimum import kl_optimum
from rather.advantages.rewards import AdaptiveKL, FixedKL, shaped_rewards
from rather.advantages.whitening import Moments, moments, whiten

__all__ = [
    "AdaptiveKL",
    "FixedKL",
    "Moments",
    "explained_variance",
    "gae",
    "group_centred",
    "group_normalised",
    "kl_optimum",
    "leave_one_out",
    "moments",
    "shaped_rewards",
    "varied",
    "whiten",
]
