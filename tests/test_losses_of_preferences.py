"""Losses over rankings and pairs against worked numbers and against loops over pairs in numpy: values, gradients."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import tensor

from derivatives import ROUNDED, assert_equals, random
from rather import losses


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Rankings

SCORES = tensor([[1.8, 0.9, 0.3, -0.5]], dtype=torch.float64)


def test_bradley_terry_of_four_in_order():
    assert losses.ranking_loss(SCORES, tensor([[1, 2, 3, 4]]), 1).item() == pytest.approx(0.277853, **ROUNDED)


def test_bradley_terry_with_the_middle_two_tied_is_over_five_pairs():
    ranks = tensor([[1, 2, 2, 4]])
    assert losses.pair_counts(ranks).tolist() == [5]
    assert losses.ranking_loss(SCORES, ranks, 1).item() == pytest.approx(0.245926, **ROUNDED)


def ranking_by_loop(scores: np.ndarray, ranks: list[list[int]], smoothing: float = 0.0, margin: float = 0.0) -> float:
    """Unequal K, one pair at a time: the mean of means, as Open-Assistant's RMLoss without its regulariser."""
    per_prompt = []
    for row, places in zip(scores, ranks, strict=True):
        pairs = []
        for i, j in itertools.product(range(len(places)), repeat=2):
            if 0 < places[i] < places[j]:
                lead = row[i] - row[j] - margin * (places[j] - places[i])
                pairs.append(-(1 - smoothing) * math.log(sigmoid(lead)) - smoothing * math.log(sigmoid(-lead)))
        per_prompt.append(sum(pairs) / max(len(pairs), 1))
    return sum(per_prompt) / len(per_prompt)


RANKS = [[1, 2, 3, 4], [2, 1, -1, -1], [3, 1, 1, 0], [1, 1, 1, 1], [4, 2, 2, 1]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_ranking_loss_equals_a_loop_over_pairs(smoothing, margin):
    ranks = tensor(RANKS)
    margins = margin * (ranks[:, None, :] - ranks[:, :, None]).double() if margin else None
    assert_equals(
        lambda s: losses.ranking_loss(s, ranks, 5, margins, smoothing),
        lambda s: ranking_by_loop(s, RANKS, smoothing, margin),
        random(0, 5, 4),
    )


def test_ranking_loss_of_two_is_the_pairwise_logistic_loss():
    scores = random(1, 6, 2)
    pairwise = -torch.nn.functional.logsigmoid(scores[:, 0] - scores[:, 1]).mean()
    torch.testing.assert_close(losses.ranking_loss(scores, tensor([[1, 2]] * 6), 6), pairwise)
    torch.testing.assert_close(losses.plackett_luce_loss(scores, tensor([[1, 2]] * 6), 6), pairwise)


@pytest.mark.parametrize(
    "loss",
    [losses.ranking_loss, lambda *a, **k: losses.davidson_loss(*a, 0.3, **k),
     lambda *a, **k: losses.rao_kupper_loss(*a, 0.1, **k)],
)  # fmt: skip
def test_two_labelers_of_one_prompt_at_half_weight_are_their_mean(loss):
    scores, ranks = SCORES.expand(2, 4), tensor([[1, 2, 3, 4], [2, 1, 3, 3]])
    both = loss(scores, ranks, 1, weights=tensor([0.5, 0.5]))
    apart = [loss(SCORES, ranks[i : i + 1], 1).item() for i in (0, 1)]
    assert both.item() == pytest.approx(sum(apart) / 2)


def test_the_pairs_of_a_ranking_weigh_as_the_ranking_does():
    ranks, scores = tensor(RANKS), random(2, 5, 4)
    pairs = losses.ranking_pairs(ranks)
    good, bad = scores[pairs.prompt, pairs.winner], scores[pairs.prompt, pairs.loser]
    zero = torch.zeros_like(good)
    by_pairs = (losses.dpo_loss(good, bad, zero, zero, beta=1.0).loss * pairs.weight).sum() / 5
    torch.testing.assert_close(by_pairs, losses.ranking_loss(scores, ranks, 5), rtol=1e-6, atol=1e-7)


def test_centring_penalty_is_the_squared_sum_of_a_pair():
    assert losses.centring_penalty(tensor([[3.0, -1.0]]), tensor([[1, 2]]), 1).item() == 4.0
    assert losses.centring_penalty(tensor([[3.0, -1.0]]), tensor([[1, 1]]), 1).item() == 0.0


@pytest.mark.parametrize("family", ["davidson", "rao_kupper"])
@pytest.mark.parametrize("parameter", [-1.5, 0.0, 0.7])
def test_win_loss_and_tie_are_the_three_outcomes_of_the_formula(family, parameter):
    a, b = 0.8, -0.3
    if family == "davidson":
        nu, loss = math.exp(parameter), losses.davidson_loss
        z = math.exp(a) + math.exp(b) + nu * math.exp((a + b) / 2)
        win, tie, lose = math.exp(a) / z, nu * math.exp((a + b) / 2) / z, math.exp(b) / z
    else:
        theta, loss = math.exp(math.exp(parameter)), losses.rao_kupper_loss
        win = math.exp(a) / (math.exp(a) + theta * math.exp(b))
        lose = math.exp(b) / (math.exp(b) + theta * math.exp(a))
        tie = (
            (theta**2 - 1)
            * math.exp(a + b)
            / ((math.exp(a) + theta * math.exp(b)) * (math.exp(b) + theta * math.exp(a)))
        )
    assert win + tie + lose == pytest.approx(1)
    scores = tensor([[a, b]], dtype=torch.float64)
    found = [math.exp(-loss(scores, tensor([ranks]), 1, parameter).item()) for ranks in ([1, 2], [1, 1], [2, 1])]
    assert found == pytest.approx([win, tie, lose], abs=1e-12)


@pytest.mark.parametrize("loss", [losses.davidson_loss, losses.rao_kupper_loss])
def test_tie_models_without_ties_become_bradley_terry_and_learn_their_parameter(loss):
    scores, ranks = random(3, 2, 4), tensor([[1, 2, 3, 4], [2, 1, 3, -1]])
    torch.testing.assert_close(loss(scores, ranks, 2, -40.0), losses.ranking_loss(scores, ranks, 2))
    parameter = tensor(0.3, dtype=torch.float64, requires_grad=True)
    ranks = tensor([[1, 2, 2, 4], [1, 1, 1, -1]])
    assert torch.autograd.gradcheck(lambda s, p: loss(s, ranks, 2, p), (scores.requires_grad_(), parameter))


def test_plackett_luce_over_all_orders_sums_to_1():
    scores = random(4, 1, 4)
    choices = 3  # of four, the last is no choice; the loss is a mean over choices
    orders = [tensor([order]) for order in itertools.permutations([1, 2, 3, 4])]
    total = sum(math.exp(-choices * losses.plackett_luce_loss(scores, ranks, 1).item()) for ranks in orders)
    assert total == pytest.approx(1)


def test_plackett_luce_equals_a_loop_over_choices():
    def by_loop(scores: np.ndarray) -> float:
        total = 0.0
        for row, ranks in zip(scores, RANKS, strict=True):
            choices = []
            for i, rank in enumerate(ranks):
                below = [row[j] for j, other in enumerate(ranks) if 0 < rank < other]
                if below:
                    choices.append(math.log(math.exp(row[i]) + sum(map(math.exp, below))) - row[i])
            total += sum(choices) / max(len(choices), 1)
        return total / len(RANKS)

    assert_equals(lambda s: losses.plackett_luce_loss(s, tensor(RANKS), 5), by_loop, random(5, 5, 4))


# DPO and its family


def test_dpo_hinge_and_ipo_at_a_difference_of_one():
    pair = [tensor([x], dtype=torch.float64) for x in (-4.0, -7.0, -4.5, -6.5)]  # log-ratios .5 and -.5
    assert losses.dpo_loss(*pair, beta=0.1).loss.item() == pytest.approx(0.644397, **ROUNDED)
    assert losses.ipo_loss(*pair, beta=0.1).loss.item() == pytest.approx(16)
    assert losses.hinge_loss(*pair, beta=0.1).loss.item() == pytest.approx(0.9)
    result = losses.dpo_loss(*pair, beta=0.1)
    assert [result.chosen_rewards.item(), result.rejected_rewards.item()] == pytest.approx([0.05, -0.05])


PREFERENCE = {  # of the margin m, the difference of rewards, at beta .3
    "sigmoid": (losses.dpo_loss, lambda m: math.log1p(math.exp(-m))),
    "hinge": (losses.hinge_loss, lambda m: max(0.0, 1 - m)),
    "ipo": (losses.ipo_loss, lambda m: (m / 0.3 - 1 / 0.6) ** 2),
    "conservative": (
        lambda *x: losses.conservative_dpo_loss(*x, flip_rate=0.1),
        lambda m: 0.9 * math.log1p(math.exp(-m)) + 0.1 * math.log1p(math.exp(m)),
    ),
    "robust": (
        lambda *x: losses.robust_dpo_loss(*x, flip_rate=0.1),
        lambda m: (0.9 * math.log1p(math.exp(-m)) - 0.1 * math.log1p(math.exp(m))) / 0.8,
    ),
}


@pytest.mark.parametrize("name", PREFERENCE)
def test_each_preference_loss_equals_its_formula(name):
    loss, formula = PREFERENCE[name]
    ref_chosen, ref_rejected = random(16, 6), random(17, 6)

    def by_loop(x: np.ndarray) -> float:
        margins = 0.3 * ((x[0] - ref_chosen.numpy()) - (x[1] - ref_rejected.numpy()))
        return sum(formula(m) for m in margins) / 6

    assert_equals(lambda x: loss(x[0], x[1], ref_chosen, ref_rejected, 0.3).loss.sum() / 6, by_loop, random(18, 2, 6))
    result = loss(*random(18, 2, 6), ref_chosen, ref_rejected, 0.3)
    torch.testing.assert_close(result.chosen_rewards, 0.3 * (random(18, 2, 6)[0] - ref_chosen))
    torch.testing.assert_close(result.rejected_rewards, 0.3 * (random(18, 2, 6)[1] - ref_rejected))


def test_robust_dpo_undoes_the_flips_on_average():
    chosen, rejected, ref_chosen, ref_rejected = random(19, 4, 5)
    p = 0.2
    kept = losses.robust_dpo_loss(chosen, rejected, ref_chosen, ref_rejected, 0.5, p).loss
    flipped = losses.robust_dpo_loss(rejected, chosen, ref_rejected, ref_chosen, 0.5, p).loss
    clean = losses.dpo_loss(chosen, rejected, ref_chosen, ref_rejected, 0.5).loss
    torch.testing.assert_close((1 - p) * kept + p * flipped, clean)


def test_dpo_on_a_ranking_is_the_ranking_loss_of_implicit_rewards():
    logprobs, ref = random(20, 3, 2), random(21, 3, 2)
    on_ranking = losses.ranking_loss(losses.implicit_rewards(logprobs, ref, 0.1), tensor([[1, 2]] * 3), 3)
    torch.testing.assert_close(on_ranking, losses.dpo_loss(*logprobs.T, *ref.T, beta=0.1).loss.mean())


@pytest.mark.parametrize("which", range(4))
def test_pairs_that_would_broadcast_are_refused(which):
    tensors = [torch.zeros(3) for _ in range(4)]
    tensors[which] = torch.zeros(3, 1)
    for loss in (losses.dpo_loss, losses.hinge_loss, losses.ipo_loss):
        with pytest.raises(AssertionError, match="one shape for all"):
            loss(*tensors, beta=0.1)


@pytest.mark.parametrize("estimator", losses.KL_ESTIMATORS)
def test_a_kl_of_two_shapes_is_refused(estimator):
    with pytest.raises(AssertionError, match="one shape for all"):
        losses.KL_ESTIMATORS[estimator](torch.zeros(3), torch.zeros(3, 1))
