"""What a lab computes by hand is what the code of the same name computes: the step from labs/ to src/ is a step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from laboratory import lab
from torch import tensor

from rather import advantages, losses, statistics

F64 = torch.float64


def test_the_closed_form():
    for number in (1, 6):
        ours = lab(number).kl_optimum([0.5, 0.3, 0.2], [0, 1, 2], 0.7)
        theirs = advantages.kl_optimum(tensor([0.5, 0.3, 0.2], dtype=F64), tensor([0.0, 1, 2], dtype=F64), 0.7)
        assert ours == pytest.approx(theirs.tolist())


def test_rankings():
    scores, ranks = [1.8, 0.9, 0.3, -0.5], [1, 2, 2, 3]
    leaf = tensor([scores], dtype=F64, requires_grad=True)
    loss = losses.ranking_loss(leaf, tensor([ranks]), 1)
    loss.backward()
    fourth, second = lab(4), lab(2)
    assert fourth.ranking_loss(scores, ranks) == pytest.approx(loss.item())
    gradient = fourth.ranking_gradient(np.array(scores), fourth.ranking_pairs(ranks))
    assert gradient == pytest.approx(leaf.grad[0].numpy())
    assert second.ranking_loss(np.array([scores]), np.array([ranks])) == pytest.approx(loss.item())
    assert second.beats(np.array([ranks])).tolist() == losses.beats(tensor([ranks])).tolist()
    pairs = losses.ranking_pairs(tensor([ranks]))
    assert fourth.ranking_pairs(ranks) == list(zip(pairs.winner.tolist(), pairs.loser.tolist(), strict=True))
    (slope,) = torch.autograd.grad(-torch.nn.functional.logsigmoid(x := tensor(0.4, requires_grad=True)), x)
    assert lab(1).pair_gradient(0.4) == pytest.approx(slope.item())


def test_supervised_fine_tuning():
    logprobs, mask = [-1.0, -2.0, -4.0], [0, 1, 1]
    assert lab(3).sft_loss(logprobs, mask) == losses.sft_loss(tensor([logprobs]), tensor([mask]), 2).item()


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.0, 1.1, 1.5])
@pytest.mark.parametrize("advantage", [-2.0, 2.0])
def test_the_clip(ratio, advantage):
    logprob = tensor([math.log(ratio)], dtype=F64, requires_grad=True)
    loss = losses.ppo_policy_loss(logprob, torch.zeros(1, dtype=F64), tensor([advantage], dtype=F64), None, 1).loss
    loss.backward()
    fifth = lab(5)
    assert fifth.ppo_policy_loss(ratio, advantage) == pytest.approx(loss.item())
    assert lab(1).ppo_slope(ratio, advantage) == pytest.approx(logprob.grad.item())
    assert -fifth.surrogate_gradient(ratio, advantage) * ratio == pytest.approx(logprob.grad.item())


def test_advantages():
    fifth = lab(5)
    rewards, values, mask = tensor([fifth.REWARDS], dtype=F64), tensor([fifth.VALUES], dtype=F64), torch.ones(1, 4)
    table, returns = advantages.gae(rewards, values, mask, 0.9, gamma=0.8)
    ours = fifth.gae(fifth.REWARDS, fifth.VALUES, 0.9, 0.8)
    assert ours == pytest.approx(table[0].tolist())
    assert fifth.returns(ours, fifth.VALUES) == pytest.approx(returns[0].tolist())
    for unbiased in (True, False):
        assert fifth.whiten(ours, unbiased) == pytest.approx(advantages.whiten(table, mask, unbiased)[0].tolist())


def test_the_leash():
    sixth = lab(6)
    one, ref = (tensor([x], dtype=F64) for x in (sixth.LOGPROBS, sixth.REF_LOGPROBS))
    rewards, kl = advantages.shaped_rewards(tensor([2.1], dtype=F64), one, ref, torch.ones(1, 7), 0.02)
    assert sixth.shaped_rewards(2.1, sixth.LOGPROBS, sixth.REF_LOGPROBS, 0.02) == pytest.approx(rewards[0].tolist())
    assert sixth.log_ratios(sixth.LOGPROBS, sixth.REF_LOGPROBS) == pytest.approx(kl[0].tolist())
    ours, theirs = sixth.AdaptiveKL(0.1, floor=0.09), advantages.AdaptiveKL(0.1, floor=0.09)
    for measured in (12.0, 6.6, 6.0, 3.0, 0.0, 50.0):
        ours, theirs = ours.update(measured, 5120), theirs.update(measured, 5120)
        assert ours.kl_coef == pytest.approx(theirs.kl_coef)


def test_preferences_and_their_intervals():
    seventh = lab(7)
    pair = [tensor([x], dtype=F64) for x in (-1.0, -2.5, -1.5, -1.2)]
    assert seventh.dpo_loss(-1.0, -2.5, -1.5, -1.2, 0.3) == pytest.approx(losses.dpo_loss(*pair, 0.3).loss.item())
    assert seventh.wilson(70, 100) == pytest.approx(statistics.wilson(70, 100).interval, abs=1e-6)
    assert lab(2).best_of_n_kl(16) == pytest.approx(statistics.best_of_n_kl(16))
    # Of three distinct actions drawn once each, the expected best of two: exact in both.
    shares = seventh.best_of_n([0.5, 0.3, 0.2], [0.0, 1.0, 2.0], 2)
    rng = np.random.default_rng(0)
    drawn = rng.choice(3, (20_000, 2), p=[0.5, 0.3, 0.2]).max(1)
    assert shares == pytest.approx(np.bincount(drawn) / 20_000, abs=0.015)


def test_labelers():
    eighth = lab(8)
    for metric in ("nominal", "ordinal", "interval"):
        theirs = statistics.krippendorff_alpha(eighth.table(), metric=metric)
        assert eighth.krippendorff_alpha(eighth.table(), metric) == pytest.approx(theirs.value)
    assert tuple(eighth.TIE_CONVENTIONS) == statistics.TIE_CONVENTIONS
    # Verdicts on pairs as rankings of two outputs by two labelers.
    verdicts = np.array([[1, 1, -1, 0, 0, 1, -1], [1, -1, -1, 1, 0, 1, -1]])
    ranks = [{1: (1, 2), -1: (2, 1), 0: (1, 1)}[v] for row in verdicts.tolist() for v in row]
    prompts, people = [f"p{i}" for i in range(7)] * 2, ["a"] * 7 + ["b"] * 7
    for ties in eighth.TIE_CONVENTIONS:
        theirs = statistics.agreement(ranks, people, prompts, ties=ties)
        assert eighth.agreement(verdicts, ties) == pytest.approx(theirs.value)
        assert eighth.noise_ceiling(theirs.value) == pytest.approx(statistics.noise_ceiling(theirs).value)
