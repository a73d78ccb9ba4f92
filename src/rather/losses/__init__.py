"""Losses: tensors in, new tensors out; torch and nothing of ours. The formulas are in docs/maths.md.

Three habits hold for every loss here. It is computed in fp32 whatever comes in (fp64 stays). What the mask leaves
out is not read: it may be NaN, and its gradient is exactly 0. The denominator is a number fixed for the whole batch
before it is split into micro-batches, so that the losses of the parts add up to the loss of the whole.
"""

from rather.losses.grpo import grpo_loss, kl_loss
from rather.losses.kl import KL_ESTIMATORS, kl_k1, kl_k2, kl_k3
from rather.losses.ppo import PolicyLoss, ValueLoss, clipped_surrogate, ppo_policy_loss, ppo_value_loss
from rather.losses.preference import (
    PreferenceLoss,
    conservative_dpo_loss,
    dpo_loss,
    hinge_loss,
    implicit_rewards,
    ipo_loss,
    robust_dpo_loss,
)
from rather.losses.ranking import (
    Pairs,
    beats,
    centring_penalty,
    davidson_loss,
    pair_counts,
    plackett_luce_loss,
    ranking_loss,
    ranking_pairs,
    rao_kupper_loss,
    ties,
)
from rather.losses.sequences import (
    Padded,
    packed_sequence_weights,
    padded_layout,
    sequence_sums,
    sequence_weights,
)
from rather.losses.sft import entropy, ptx_loss, sft_loss
from rather.losses.tokens import require_finite, token_mean

__all__ = [
    "KL_ESTIMATORS",
    "Padded",
    "Pairs",
    "PolicyLoss",
    "PreferenceLoss",
    "ValueLoss",
    "beats",
    "centring_penalty",
    "clipped_surrogate",
    "conservative_dpo_loss",
    "davidson_loss",
    "dpo_loss",
    "entropy",
    "grpo_loss",
    "hinge_loss",
    "implicit_rewards",
    "ipo_loss",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "kl_loss",
    "packed_sequence_weights",
    "padded_layout",
    "pair_counts",
    "plackett_luce_loss",
    "ppo_policy_loss",
    "ppo_value_loss",
    "ptx_loss",
    "ranking_loss",
    "ranking_pairs",
    "rao_kupper_loss",
    "require_finite",
    "robust_dpo_loss",
    "sequence_sums",
    "sequence_weights",
    "sft_loss",
    "ties",
    "token_mean",
]
