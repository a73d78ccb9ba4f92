"""DPO and its family: preferences without a reward model (Rafailov et al. 2023).

Each function takes the log-probs of B pairs of responses under the policy and under the reference, summed over response
tokens, and gives a loss per pair: take `loss.sum() / denominator`, or weight the pairs of a ranking by
`ranking_pairs(ranks).weight`. A length-normalised form is the same function on means per token in place of sums.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from rather.losses.tokens import full_precision, same_shape


class PreferenceLoss(NamedTuple):
    """Each (B,). The rewards are for the log and carry no gradient."""

    loss: Tensor
    chosen_rewards: Tensor  # beta * (log pi - log ref), which DPO's optimum makes a reward up to a constant per prompt
    rejected_rewards: Tensor


def implicit_rewards(logprobs: Tensor, ref_logprobs: Tensor, beta: float) -> Tensor:
    """beta * (log pi(y|x) - log ref(y|x)): (...) -> (...). As scores of a ranking loss they make DPO on rankings."""
    same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs)
    return beta * (full_precision(logprobs) - full_precision(ref_logprobs.detach()))


def _rewards(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """Implicit rewards of the chosen and of the rejected responses, (B,) each."""
    same_shape(chosen=chosen, rejected=rejected)
    return implicit_rewards(chosen, ref_chosen, beta), implicit_rewards(rejected, ref_rejected, beta)


def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> PreferenceLoss:
    """-log sigmoid of the margin, the difference of the implicit rewards (eq. 7). All (B,)."""
    good, bad = _rewards(chosen, rejected, ref_chosen, ref_rejected, beta)
    return PreferenceLoss(-F.logsigmoid(good - bad), good.detach(), bad.detach())


def hinge_loss(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float
) -> PreferenceLoss:
    """max(0, 1 - margin): pairs won by more than 1 are left alone (SLiC, Zhao et al. 2023). All (B,)."""
    good, bad = _rewards(chosen, rejected, ref_chosen, ref_rejected, beta)
    return PreferenceLoss(F.relu(1 - (good - bad)), good.detach(), bad.detach())


def ipo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> PreferenceLoss:
    """(difference of log-ratios - 1 / (2 beta))^2: a target, not a race (Azar et al. 2023, eq. 17). All (B,).

    On sums over tokens this is the paper's formula; its authors averaged over tokens, as TRL does: pass means for that.
    """
    good, bad = _rewards(chosen, rejected, ref_chosen, ref_rejected, beta)
    return PreferenceLoss(((good - bad) / beta - 1 / (2 * beta)).square(), good.detach(), bad.detach())


def conservative_dpo_loss(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float, flip_rate: float
) -> PreferenceLoss:
    """DPO if flip_rate of the labels are wrong: its mean under that belief (cDPO, Mitchell 2023). All (B,)."""
    good, bad = _rewards(chosen, rejected, ref_chosen, ref_rejected, beta)
    right, wrong = -F.logsigmoid(good - bad), -F.logsigmoid(bad - good)
    return PreferenceLoss((1 - flip_rate) * right + flip_rate * wrong, good.detach(), bad.detach())


def robust_dpo_loss(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float, flip_rate: float
) -> PreferenceLoss:
    """DPO corrected for flips: its mean over labels flipped at flip_rate is DPO on the true ones. All (B,).

    Chowdhury et al. 2024.
    """
    assert 0 <= flip_rate < 0.5, f"flip_rate is {flip_rate}: from one half on, labels say nothing or the opposite"
    good, bad = _rewards(chosen, rejected, ref_chosen, ref_rejected, beta)
    right, wrong = -F.logsigmoid(good - bad), -F.logsigmoid(bad - good)
    return PreferenceLoss(
        ((1 - flip_rate) * right - flip_rate * wrong) / (1 - 2 * flip_rate), good.detach(), bad.detach()
    )
