"""Each loss against numbers worked out by hand, and against its formula as a loop in numpy: values and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, tensor

from derivatives import ROUNDED, assert_equals, random
from rather import losses

# Next-token losses


def test_sft_loss_is_the_mean_nll_of_the_trained_tokens():
    logprobs, mask = tensor([[-1.0, -2.0, -9.0], [-3.0, -9.0, -9.0]]), tensor([[1, 1, 0], [1, 0, 0]])
    assert losses.sft_loss(logprobs, mask, denominator=3).item() == 2.0
    assert losses.sft_loss(tensor([-1.0, -2.0, -3.0]), None, denominator=3).item() == 2.0  # the same tokens, packed


def test_ptx_adds_its_gradient_times_gamma():
    """With g_ppo and g_ptx apart, the gradient of the sum is g_ppo + 27.8 g_ptx (app. C.4)."""
    weights = random(0, 5)
    text, response, old = random(1, 7, 5), random(2, 4, 5), random(3, 4)

    def gradient(ppo: bool, ptx_coef: float) -> Tensor:
        w = weights.clone().requires_grad_()
        loss = losses.ppo_policy_loss(response @ w, old, torch.ones_like(old), None, 4).loss * ppo
        return torch.autograd.grad(loss + losses.ptx_loss(text @ w, None, 7, ptx_coef), w)[0]

    torch.testing.assert_close(gradient(True, 27.8), gradient(True, 0.0) + 27.8 * gradient(False, 1.0))


def test_without_reward_and_drift_the_ptx_step_is_plain_pretraining():
    logprobs = random(0, 6).requires_grad_()
    ppo = losses.ppo_policy_loss(logprobs, logprobs, torch.zeros(6), None, 6).loss
    with_rl = torch.autograd.grad(ppo + losses.ptx_loss(logprobs, None, 6, ptx_coef=1.0), logprobs)[0]
    assert torch.equal(with_rl, torch.full((6,), -1 / 6, dtype=torch.float64))


def test_entropy_of_a_uniform_choice_is_log_v_and_of_a_sure_one_0():
    logits = tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -torch.inf, -torch.inf, -torch.inf]], requires_grad=True)
    entropy = losses.entropy(logits)
    assert entropy.tolist() == pytest.approx([math.log(4), 0.0])
    entropy.sum().backward()
    assert torch.isfinite(logits.grad).all()


# PPO

MASK = tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]])
TOKENS = 11


def surrogate_by_loop(new, old, advantages, weights, denominator, low, high):
    total, clipped = 0.0, 0.0
    for cell in np.ndindex(*new.shape):
        if weights[cell]:
            ratio = math.exp(new[cell] - old[cell])
            free = -advantages[cell] * ratio
            bound = -advantages[cell] * min(max(ratio, 1 - low), 1 + high)
            total += weights[cell] * max(free, bound) / denominator
            clipped += weights[cell] * (bound > free) / denominator
    return total, clipped


def rollout() -> tuple[Tensor, Tensor, Tensor]:
    """New and old log-probs and advantages, far enough apart for some tokens to be clipped."""
    old = -random(6, 3, 6).abs()
    return old + 0.4 * random(7, 3, 6), old, random(22, 3, 6)


def test_ppo_policy_loss_equals_a_loop_over_tokens():
    new, old, advantages = rollout()
    args = (old.numpy(), advantages.numpy(), MASK.numpy(), TOKENS, 0.2, 0.2)
    assert_equals(
        lambda x: losses.ppo_policy_loss(x, old, advantages, MASK, TOKENS).loss,
        lambda x: surrogate_by_loop(x, *args)[0],
        new,
    )
    result = losses.ppo_policy_loss(new, old, advantages, MASK, TOKENS)
    assert result.clip_fraction.item() == pytest.approx(surrogate_by_loop(new.numpy(), *args)[1])
    assert result.clip_fraction > 0.1
    drift = (new - old)[MASK.bool()]
    assert result.approx_kl.item() == pytest.approx((0.5 * drift**2).mean().item())
    assert result.log_ratio_max.item() == drift.abs().max().item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "clipped"), [(1.5, 1.0, True), (1.5, -1.0, False), (0.5, 1.0, False), (0.5, -1.0, True)]
)
def test_the_clip_stops_what_would_gain_more_and_never_what_would_lose(ratio, advantage, clipped):
    logprobs = tensor([math.log(ratio)], requires_grad=True)
    result = losses.ppo_policy_loss(logprobs, tensor([0.0]), tensor([advantage]), None, 1)
    result.loss.backward()
    assert result.clip_fraction.item() == clipped
    assert (logprobs.grad.item() == 0) == clipped


def test_at_the_first_minibatch_the_ratio_is_1_and_the_loss_minus_the_mean_advantage():
    logprobs, advantages = random(9, 5).requires_grad_(), random(10, 5)
    result = losses.ppo_policy_loss(logprobs, logprobs.detach().clone(), advantages, None, 5)
    assert result.log_ratio_max == 0
    assert result.approx_kl == 0
    assert result.clip_fraction == 0
    torch.testing.assert_close(result.loss, -advantages.mean())
    torch.testing.assert_close(torch.autograd.grad(result.loss, logprobs)[0], -advantages / 5)


def test_ppo_value_loss_equals_a_loop_over_tokens():
    values, old, returns = random(11, 3, 6), random(11, 3, 6) + 0.3 * random(12, 3, 6), random(13, 3, 6)

    def by_loop(x: np.ndarray) -> float:
        total = 0.0
        for cell in np.ndindex(*x.shape):
            if MASK[cell]:
                kept = old[cell].item() + min(max(x[cell] - old[cell].item(), -0.2), 0.2)
                total += 0.5 * max((x[cell] - returns[cell].item()) ** 2, (kept - returns[cell].item()) ** 2)
        return total / TOKENS

    assert_equals(lambda x: losses.ppo_value_loss(x, old, returns, MASK, TOKENS).loss, by_loop, values)
    free = losses.ppo_value_loss(values, old, returns, MASK, TOKENS, clip_range=math.inf)
    assert free.clip_fraction == 0
    torch.testing.assert_close(free.loss, 0.5 * (values - returns)[MASK.bool()].square().mean())
    assert losses.ppo_value_loss(values, old, returns, MASK, TOKENS).loss > free.loss


def test_a_value_inside_the_clip_is_not_counted_as_clipped_by_rounding():
    """In fp32 old + (value - old) is not always the value: written so, 3 % of these were counted."""
    old, values = 0.1 * random(23, 5000).float(), 0.1 * random(24, 5000).float()
    inside = (values - old).abs() < 0.19
    old, values, returns = old[inside], values[inside], random(25, 5000).float()[inside]
    assert losses.ppo_value_loss(values, old, returns, None, len(values)).clip_fraction == 0


def test_no_gradient_enters_what_was_measured_before_the_update():
    new, old, other = (x.requires_grad_() for x in rollout())
    losses.ppo_policy_loss(new, old, other, MASK, TOKENS).loss.backward()
    losses.ppo_value_loss(new, old, other, MASK, TOKENS).loss.backward()
    losses.kl_loss(new, old, MASK, TOKENS, 0.1, "k2").backward()
    losses.dpo_loss(new[0], new[1], old[0], old[1], 0.1).loss.sum().backward()
    assert new.grad is not None
    assert old.grad is None
    assert other.grad is None


# GRPO


@pytest.mark.parametrize("clip_high", [0.2, 0.28])
@pytest.mark.parametrize("normalised_by", ["tokens", "sequences", "constant"])
def test_grpo_loss_equals_a_loop_under_its_three_denominators(normalised_by, clip_high):
    new, old, _ = rollout()
    advantages = tensor([1.0, -0.5, -0.5], dtype=torch.float64)[:, None].expand(3, 6)
    weights, denominator = {
        "tokens": (MASK.double(), TOKENS),
        "sequences": (losses.sequence_weights(MASK.double()), 3),
        "constant": (MASK.double(), 3 * 6),  # Dr. GRPO: three sequences of at most six tokens
    }[normalised_by]
    args = (old.numpy(), advantages.numpy(), weights.numpy(), denominator, 0.2, clip_high)
    assert_equals(
        lambda x: losses.grpo_loss(x, old, advantages, weights, denominator, 0.2, clip_high).loss,
        lambda x: surrogate_by_loop(x, *args)[0],
        new,
    )


def test_sequence_weights_make_a_mean_of_means():
    values = tensor([[1.0, 3.0, 9.0], [5.0, 9.0, 9.0]])
    mask = tensor([[1, 1, 0], [1, 0, 0]])
    assert losses.token_mean(values, losses.sequence_weights(mask), 2).item() == 3.5  # of 2 and 5
    packed = losses.packed_sequence_weights(tensor([0, 1, 0]), 2)
    assert losses.token_mean(tensor([1.0, 5.0, 3.0]), packed, 2).item() == 3.5


# KL


@pytest.mark.parametrize(("log_ratio", "k1", "k2", "k3"), [(0.3, 0.3, 0.045, 0.040818), (-0.3, -0.3, 0.045, 0.049859)])
def test_the_three_estimators_at_a_log_ratio(log_ratio, k1, k2, k3):
    logprobs, ref = tensor([log_ratio - 1], dtype=torch.float64), tensor([-1.0], dtype=torch.float64)
    found = [estimator(logprobs, ref).item() for estimator in (losses.kl_k1, losses.kl_k2, losses.kl_k3)]
    assert found == pytest.approx([k1, k2, k3], **ROUNDED)


def test_k3_keeps_its_digits_near_the_reference():
    found = losses.kl_k3(tensor([1e-3]), tensor([0.0])).item()
    assert found == pytest.approx(4.998333749919e-07, rel=1e-3)  # e^-r - 1 + r; computed so in fp32, it is 4.77e-07


def test_what_each_estimator_optimises_when_it_is_a_loss():
    """Exact over a vocabulary of five: mean value under the policy, and mean gradient against that of the true KL."""
    logits, ref = random(14, 5).requires_grad_(), random(15, 5).log_softmax(0)
    logprobs = logits.log_softmax(0)
    probs = logprobs.exp()
    forward = (probs * (logprobs - ref)).sum()  # KL(policy || reference)
    backward = (ref.exp() * (ref - logprobs)).sum()  # KL(reference || policy)
    aim = {
        "k1": torch.zeros(5, dtype=torch.float64),
        "k2": torch.autograd.grad(forward, logits, retain_graph=True)[0],
        "k3": torch.autograd.grad(backward, logits, retain_graph=True)[0],
    }
    for name, estimator in losses.KL_ESTIMATORS.items():
        mean = (probs.detach() * estimator(logprobs, ref)).sum()  # sampled tokens do not feel the gradient
        torch.testing.assert_close(torch.autograd.grad(mean, logits, retain_graph=True)[0], aim[name])
        assert (abs(mean - forward) < 1e-12) == (name != "k2")  # k1 and k3 are unbiased


def test_kl_loss_is_the_coefficient_times_the_mean_and_refuses_k1():
    logprobs, ref = tensor([-1.0, -0.7]), tensor([-1.3, -1.0])
    assert losses.kl_loss(logprobs, ref, None, 2, 0.5, "k3").item() == pytest.approx(0.5 * 0.040818, abs=1e-6)
    with pytest.raises(ValueError, match="mean gradient of k1 is 0"):
        losses.kl_loss(logprobs, ref, None, 2, 0.5, "k1")


# What stops a run


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_in_words(bad):
    with pytest.raises(FloatingPointError, match=rf"ppo step 17: the loss is {bad}"):
        losses.require_finite(tensor(bad), "ppo step 17")
    losses.require_finite(tensor(1.0), "ppo step 17")


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(AssertionError, match="one shape for all"):
        losses.grpo_loss(torch.zeros(3, 3), torch.zeros(3, 3), torch.zeros(3), torch.ones(3, 3), 9)
    with pytest.raises(AssertionError, match=r"mask is \(1, 3\)"):
        losses.sft_loss(torch.zeros(3, 3), torch.ones(1, 3), 9)


@pytest.mark.parametrize("denominator", [0, -1])
def test_a_mean_over_nothing_is_refused(denominator):
    with pytest.raises(AssertionError, match="before the split"):
        losses.sft_loss(torch.zeros(2), None, denominator)
    with pytest.raises(AssertionError, match="before the split"):
        losses.ranking_loss(torch.zeros(1, 2), tensor([[1, 2]]), denominator)
