"""Step 2: losses over rankings of K responses (sec. 3.5, eq. 1; app. C.2), from pairs to ties to whole rankings.

One alphabet for all: scores (P, K) is the reward of each response, ranks (P, K) is 1 for the best, equal ranks are
ties, and 0 or less marks an empty cell of a prompt with fewer than K responses. Each loss is a mean within the prompt
first, so that a ranking of nine does not outweigh a ranking of four by 36 to 6. Then it is a sum over prompts by a
denominator the caller fixes for the whole batch: the number of prompts, or, where some are tied throughout, of those
that say something, `int((pair_counts(ranks) > 0).sum())`. Where several labelers ranked the same responses, each
ranking is a row and `weights` (P,) says what it counts, so that a prompt counts once: 1/3 for each of three labelers.

The scores may be a reward model's or DPO's implicit rewards, `beta * (logprobs - ref_logprobs)`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rather.losses.tokens import counted


def beats(ranks: Tensor) -> Tensor:
    """(P, K) -> (P, K, K) bool: the row's response ranks above the column's; ties form no pair (C.2)."""
    return (ranks[:, :, None] < ranks[:, None, :]) & (ranks > 0)[:, :, None]


def ties(ranks: Tensor) -> Tensor:
    """(P, K) -> (P, K, K) bool: the two rank the same; each tie once, above the diagonal."""
    return ((ranks[:, :, None] == ranks[:, None, :]) & (ranks > 0)[:, :, None]).triu(1)


def pair_counts(ranks: Tensor) -> Tensor:
    """(P, K) -> (P,): pairs without ties; K(K-1)/2 at most, 0 where everything is tied."""
    return beats(ranks).sum((1, 2))


def ranking_loss(
    scores: Tensor,
    ranks: Tensor,
    denominator: float,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Bradley-Terry over all pairs of each ranking (sec. 3.5, eq. 1).

    scores, ranks: (P, K)
    margins: (P, K, K) how far the row's score has to lead the column's, from ratings (Llama 2, 3.2.2); None is 0
    label_smoothing: share of pairs believed to be labeled the wrong way round
    """
    is_pair = beats(ranks)  # (P, K, K)
    lead = _leads(scores, ranks)  # (P, K, K)
    if margins is not None:
        lead = lead - counted(margins, is_pair)
    nll = -F.logsigmoid(lead)  # (P, K, K)
    if label_smoothing:
        nll = (1 - label_smoothing) * nll - label_smoothing * F.logsigmoid(-lead)
    return _mean_of_prompt_means(nll, is_pair, denominator, weights)


def centring_penalty(scores: Tensor, ranks: Tensor, denominator: float) -> Tensor:
    """Mean squared sum of a pair's scores (Eisenstein et al. 2023): holds scores near 0, which pairs do not."""
    filled = counted(scores, ranks > 0)
    return _mean_of_prompt_means((filled[:, :, None] + filled[:, None, :]).square(), beats(ranks), denominator)


def davidson_loss(
    scores: Tensor, ranks: Tensor, denominator: float, log_tie: Tensor | float, weights: Tensor | None = None
) -> Tensor:
    """Pairs with ties as a third outcome (Davidson 1970). scores, ranks: (P, K)

    P(i beats j) = e^si / Z,  P(tie) = nu e^((si+sj)/2) / Z,  Z = e^si + e^sj + nu e^((si+sj)/2),  nu = e^log_tie.
    log_tie: () any real number, supplied or learned. At equal scores a tie has odds nu : 2; nu = 0 is Bradley-Terry.
    """
    is_pair, is_tie = beats(ranks), ties(ranks)  # (P, K, K)
    lead = _leads(scores, ranks)  # (P, K, K)
    log_tie = torch.as_tensor(log_tie, dtype=lead.dtype, device=lead.device)
    # Everything over e^((si+sj)/2), so that only the difference of the scores remains.
    tied = log_tie.expand_as(lead)
    log_z = torch.stack([lead / 2, -lead / 2, tied]).logsumexp(0)  # (P, K, K)
    nll = log_z - torch.where(is_tie, tied, lead / 2)
    return _mean_of_prompt_means(nll, is_pair | is_tie, denominator, weights)


def rao_kupper_loss(
    scores: Tensor, ranks: Tensor, denominator: float, log_threshold: Tensor | float, weights: Tensor | None = None
) -> Tensor:
    """Pairs with ties as a lead too small to notice (Rao and Kupper 1967). scores, ranks: (P, K)

    With eta = exp(log_threshold) > 0:  P(i beats j) = sigmoid(si - sj - eta),  P(tie) is what the two wins leave.
    log_threshold: () any real number, supplied or learned.
    """
    is_pair, is_tie = beats(ranks), ties(ranks)  # (P, K, K)
    lead = _leads(scores, ranks)  # (P, K, K)
    eta = torch.as_tensor(log_threshold, dtype=lead.dtype, device=lead.device).exp()
    log_win, log_loss = F.logsigmoid(lead - eta), F.logsigmoid(-lead - eta)
    # 1 - sigmoid(d-eta) - sigmoid(-d-eta) = (e^(2 eta) - 1) sigmoid(d - eta) sigmoid(-d - eta): no cancellation
    log_tie = 2 * eta + torch.log(-torch.expm1(-2 * eta)) + log_win + log_loss
    return _mean_of_prompt_means(-torch.where(is_tie, log_tie, log_win), is_pair | is_tie, denominator, weights)


def plackett_luce_loss(scores: Tensor, ranks: Tensor, denominator: float, weights: Tensor | None = None) -> Tensor:
    """The whole ranking as a row of choices: best of all, best of the rest, ... (Plackett 1975). scores, ranks: (P, K)

    Each response is chosen from itself and all that rank below it; tied responses are not weighed against each other,
    as in `ranking_loss`. Mean over the choices of a prompt that had an alternative; with K = 2 it is `ranking_loss`.
    """
    is_pair = beats(ranks)  # (P, K, K)
    filled = counted(scores, ranks > 0)  # (P, K)
    rivals = is_pair | torch.eye(
        ranks.shape[1], dtype=torch.bool, device=ranks.device
    )  # (P, K, K) the row chosen from these
    log_z = filled[:, None, :].expand_as(rivals).masked_fill(~rivals, -torch.inf).logsumexp(2)  # (P, K)
    had_choice = is_pair.any(2)  # (P, K)
    nll = (log_z - filled) * had_choice  # (P, K)
    return _sum_of_means(nll.sum(1) / had_choice.sum(1).clamp(min=1), denominator, weights)


class Pairs(NamedTuple):
    """The pairs of P rankings, for losses that take pairs: `logprobs[prompt, winner]`. A prompt's weights sum to 1."""

    prompt: Tensor  # (M,)
    winner: Tensor  # (M,)
    loser: Tensor  # (M,)
    weight: Tensor  # (M,) fp32


def ranking_pairs(ranks: Tensor) -> Pairs:
    """ranks: (P, K) -> its M pairs. `(loss * weight).sum() / prompts` weights them as `ranking_loss` does."""
    prompt, winner, loser = beats(ranks).nonzero(as_tuple=True)
    return Pairs(prompt, winner, loser, 1.0 / pair_counts(ranks)[prompt].float())


def _leads(scores: Tensor, ranks: Tensor) -> Tensor:
    """(P, K) -> (P, K, K): the row's score minus the column's."""
    assert scores.shape == ranks.shape, f"scores are {tuple(scores.shape)} but ranks are {tuple(ranks.shape)}"
    filled = counted(scores, ranks > 0)
    return filled[:, :, None] - filled[:, None, :]


def _mean_of_prompt_means(nll: Tensor, is_pair: Tensor, denominator: float, weights: Tensor | None = None) -> Tensor:
    means = nll.masked_fill(~is_pair, 0.0).sum((1, 2)) / is_pair.sum((1, 2)).clamp(min=1)  # (P,)
    return _sum_of_means(means, denominator, weights)


def _sum_of_means(means: Tensor, denominator: float, weights: Tensor | None) -> Tensor:
    if weights is not None:
        assert weights.shape == means.shape, f"{tuple(weights.shape)} weights for {len(means)} rankings"
        means = means * weights
    return means.sum() / _positive(denominator)


def _positive(prompts: float) -> float:
    assert prompts > 0, f"a mean over {prompts} prompts; count them over the whole batch, before the split"
    return prompts
