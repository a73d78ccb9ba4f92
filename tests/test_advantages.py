"""Rewards, advantages, controllers: worked examples, and loops over one sequence at a time in numpy."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, tensor, zeros

from rather import advantages as adv
from rather.losses import padded_layout, sequence_sums


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


REWARDS, VALUES, ONES = tensor([[-0.01, 0.02, 0.0, 1.0]]), tensor([[0.5, 0.4, 0.3, 0.6]]), torch.ones(1, 4)
RAGGED = tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]])


# Rewards


def test_score_lands_on_the_last_response_token_and_nowhere_else():
    rewards, kl = adv.shaped_rewards(
        scores=tensor([2.0]), logprobs=zeros(1, 4), ref_logprobs=zeros(1, 4), mask=tensor([[1, 1, 1, 0]]), kl_coef=0.02
    )
    assert rewards.tolist() == [[0, 0, 2, 0]]
    assert kl.tolist() == [[0, 0, 0, 0]]


def test_the_kl_is_charged_at_every_response_token_and_a_negative_one_pays_back():
    rewards, kl = adv.shaped_rewards(
        tensor([1.0]), tensor([[-1.0, -2.0, 9.0]]), tensor([[-1.5, -1.8, -9.0]]), tensor([[1, 1, 0]]), kl_coef=0.1
    )
    assert kl.tolist()[0] == pytest.approx([0.5, -0.2, 0.0])
    assert rewards.tolist()[0] == pytest.approx([-0.05, 0.02 + 1.0, 0.0])


def test_a_kl_of_point_86_nats_costs_point_0172():
    logprobs = tensor([[-1.0, -2.0, -0.5]])
    rewards, kl = adv.shaped_rewards(
        tensor([0.86]), logprobs, logprobs - tensor([[0.5, 0.06, 0.3]]), ONES[:, :3], kl_coef=0.02
    )
    assert kl.sum().item() == pytest.approx(0.86)
    assert rewards.sum().item() == pytest.approx(0.86 - 0.0172)


def test_a_shift_of_the_reward_model_changes_each_return_by_a_constant():
    """Bradley-Terry does not see the shift; PPO does, and without discount sees it whole at every token."""
    logprobs, ref, values = random(0, 5, 5), random(1, 5, 5), random(2, 5, 5)
    mask = RAGGED[[0, 1, 2, 4, 4]]
    returns = []
    for shift in (0.0, 3.0):
        rewards, _ = adv.shaped_rewards(random(3, 5) + shift, logprobs, ref, mask, 0.02)
        returns.append(adv.gae(rewards, values, mask, gae_lambda=1.0)[1])
    torch.testing.assert_close(returns[1] - returns[0], 3.0 * mask.double())


def test_a_response_without_tokens_is_refused():
    with pytest.raises(AssertionError, match="nowhere to put its score"):
        adv.shaped_rewards(zeros(2), zeros(2, 3), zeros(2, 3), tensor([[1, 0, 0], [0, 0, 0]]), 0.02)


# Controllers


@pytest.mark.parametrize(("kl", "beta"), [(12, 0.101024), (6.6, 0.100512), (6, 0.1), (3, 0.098976)])
def test_adaptive_kl_after_one_batch_of_512(kl, beta):
    assert adv.AdaptiveKL(0.1, target=6, horizon=10_000).update(kl, 512).kl_coef == pytest.approx(beta, abs=5e-7)


def test_adaptive_kl_follows_the_rule_of_ziegler_over_a_run():
    beta, controller = 0.15, adv.AdaptiveKL(0.15)
    for kl in np.random.default_rng(0).gamma(2.0, 4.0, size=200):
        beta *= 1 + np.clip(kl / 6.0 - 1, -0.2, 0.2) * 64 / 10_000
        controller = controller.update(float(kl), 64)
        assert controller.kl_coef == pytest.approx(beta, rel=1e-12)


def test_the_floor_holds_when_batch_after_batch_is_easy():
    controller = adv.AdaptiveKL(0.02, floor=0.01)
    for _ in range(1000):
        controller = controller.update(0.0, 512)
    assert controller.kl_coef == 0.01


def test_fixed_kl_stays():
    assert adv.FixedKL(0.02).update(100.0, 512).kl_coef == 0.02


@pytest.mark.parametrize("controller", [adv.FixedKL(0.02), adv.AdaptiveKL(0.1, 5.0, 9000, 0.01).update(9.0, 512)])
def test_a_controller_is_whole_after_a_checkpoint_and_cannot_be_written_to(controller):
    assert type(controller)(**json.loads(json.dumps(controller.state_dict()))) == controller
    with pytest.raises(dataclasses.FrozenInstanceError):
        controller.kl_coef = 1.0


def test_a_kl_that_is_not_a_number_does_not_reach_beta():
    with pytest.raises(FloatingPointError, match="KL of the batch is nan"):
        adv.AdaptiveKL(0.1).update(math.nan, 512)


# GAE


@pytest.mark.parametrize(
    ("gae_lambda", "advantages", "returns"),
    [
        (0.95, [0.4277, 0.5660, 0.6800, 0.4000], [0.9277, 0.9660, 0.9800, 1.0]),
        (1.0, [0.51, 0.62, 0.70, 0.40], [1.01, 1.02, 1.0, 1.0]),
    ],
)
def test_gae_of_four_tokens(gae_lambda, advantages, returns):
    found = adv.gae(REWARDS, VALUES, ONES, gae_lambda)
    assert found[0].tolist()[0] == pytest.approx(advantages, abs=5.1e-5)
    assert found[1].tolist()[0] == pytest.approx(returns, abs=5.1e-5)


def gae_by_loop(rewards: np.ndarray, values: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """One sequence, from the definition: A_t is the sum over k of (gamma lambda)^k delta_t+k."""
    deltas = [r + gamma * (values[t + 1] if t + 1 < len(values) else 0.0) - values[t] for t, r in enumerate(rewards)]
    return np.array([sum((gamma * lam) ** k * d for k, d in enumerate(deltas[t:])) for t in range(len(deltas))])


@pytest.mark.parametrize("gamma", [1.0, 0.97])
def test_gae_equals_the_definition_20_by_40(gamma):
    rewards, values = random(4, 20, 40), random(5, 20, 40)
    found, returns = adv.gae(rewards, values, torch.ones(20, 40), 0.95, gamma)
    expected = np.stack([gae_by_loop(r, v, gamma, 0.95) for r, v in zip(rewards.numpy(), values.numpy(), strict=True)])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)
    np.testing.assert_allclose(returns.numpy(), expected + values.numpy(), atol=1e-10)


def test_gae_on_ragged_rows_equals_each_row_alone():
    """Pads left, right, on both sides and a row of nothing else; what lies in them is garbage."""
    rewards, values = random(6, 5, 5), random(7, 5, 5)
    rewards[RAGGED == 0] = math.nan
    values[RAGGED == 0] = math.inf
    found, returns = adv.gae(rewards, values, RAGGED, 0.95)
    for row, mask in enumerate(RAGGED.bool()):
        alone = gae_by_loop(rewards[row, mask].numpy(), values[row, mask].numpy(), 1.0, 0.95)
        np.testing.assert_allclose(found[row, mask].numpy(), alone, atol=1e-12)
        np.testing.assert_allclose(returns[row, mask].numpy(), alone + values[row, mask].numpy(), atol=1e-12)
        assert (found[row, ~mask] == 0).all()
        assert (returns[row, ~mask] == 0).all()


def test_gae_refuses_a_mask_with_holes():
    with pytest.raises(AssertionError, match="holes"):
        adv.gae(zeros(1, 3), zeros(1, 3), tensor([[1, 0, 1]]), 0.95)


def test_explained_variance_is_1_for_a_perfect_critic_and_0_for_one_that_says_nothing():
    returns = tensor([[1.0, 2.0, 3.0, 99.0]])
    mask = tensor([[1, 1, 1, 0]])
    assert adv.explained_variance(returns, returns, mask).item() == 1.0
    assert adv.explained_variance(torch.full_like(returns, 7.0), returns, mask).item() == 0.0
    assert adv.explained_variance(-returns, returns, mask).item() == -3.0  # worse than nothing


# Whitening


@pytest.mark.parametrize(
    ("unbiased", "white"),
    [(False, [-0.806441, 0.422887, 1.436216, -1.052662]), (True, [-0.698399, 0.366231, 1.243800, -0.911632])],
)
def test_whitened_advantages(unbiased, white):
    # The table's numbers are those of the advantages rounded to four digits.
    found = adv.whiten(tensor([[0.4277, 0.5660, 0.6800, 0.4000]], dtype=torch.float64), ONES, unbiased)
    assert found.tolist()[0] == pytest.approx(white, abs=2e-4)
    exact = adv.whiten(adv.gae(REWARDS.double(), VALUES.double(), ONES, 0.95)[0], ONES, unbiased)
    assert exact.tolist()[0] == pytest.approx(white, abs=1e-6)


@pytest.mark.parametrize("unbiased", [False, True])
def test_whitening_equals_numpy_over_the_response_tokens(unbiased):
    values, mask = random(8, 5, 5), RAGGED
    values[mask == 0] = math.nan
    real = values[mask == 1].numpy()
    expected = (real - real.mean()) / np.sqrt(real.var(ddof=int(unbiased)) + 1e-8)
    np.testing.assert_allclose(adv.whiten(values, mask, unbiased)[mask == 1].numpy(), expected, atol=1e-12)
    unshifted = adv.whiten(values, mask, unbiased, shift_mean=False)
    np.testing.assert_allclose(unshifted[mask == 1].numpy(), expected + real.mean(), atol=1e-12)
    assert (unshifted[mask == 0] == 0).all()


def test_two_workers_whiten_as_one():
    values, mask = random(9, 6, 5).float(), torch.ones(6, 5)
    parts = [adv.moments(values[:2], mask[:2]), adv.moments(values[2:], mask[2:])]
    over = adv.Moments(*(sum(part) for part in zip(*parts, strict=True)))  # what an all-reduce does
    both = torch.cat([adv.whiten(v, m, True, over=over) for v, m in ((values[:2], mask[:2]), (values[2:], mask[2:]))])
    torch.testing.assert_close(both, adv.whiten(values, mask, True), rtol=1e-6, atol=1e-6)


def test_whitening_values_that_are_all_the_same_gives_0_and_one_value_has_no_unbiased_variance():
    assert adv.whiten(torch.full((2, 3), 0.1), torch.ones(2, 3), unbiased=False).abs().max() < 1e-4
    with pytest.raises(AssertionError, match="whitening over 1 values"):
        adv.whiten(zeros(1, 2), tensor([[1, 0]]), unbiased=True)


# Groups

GROUP = tensor([[1.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("found", "first", "rest"),
    [
        (adv.group_normalised(GROUP, unbiased=False, eps=0.0), 1.7321, -0.5774),
        (adv.group_normalised(GROUP, unbiased=True, eps=0.0), 1.5, -0.5),
        (adv.leave_one_out(GROUP), 1.0, -0.3333),
        (adv.group_centred(GROUP), 0.75, -0.25),
    ],
    ids=["biased", "unbiased", "leave-one-out", "Dr. GRPO"],
)
def test_one_right_answer_of_four(found, first, rest):
    assert found.tolist()[0] == pytest.approx([first, rest, rest, rest], abs=5.1e-5)


@pytest.mark.parametrize("reward", [0.0, 0.1, -7.3, 1e6])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_group_without_variance_gets_exactly_0(reward, size):
    group = torch.full((1, size), reward)
    assert (adv.group_centred(group) == 0).all()
    for unbiased in (False, True):
        assert (adv.group_normalised(group, unbiased, eps=0.0) == 0).all()
    if size > 1:
        assert (adv.leave_one_out(group) == 0).all()
    assert adv.varied(group).tolist() == [False]


def test_groups_of_unequal_size_equal_each_group_alone():
    rewards, mask = random(10, 3, 4), tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 1, 0]])
    rewards[mask == 0] = math.nan
    for estimate, by_hand in {
        (lambda r, m: adv.group_centred(r, m)): lambda r: r - r.mean(),
        (lambda r, m: adv.group_normalised(r, True, m)): lambda r: (r - r.mean()) / (r.std(ddof=1) + 1e-6),
        (lambda r, m: adv.group_normalised(r, False, m)): lambda r: (r - r.mean()) / (r.std() + 1e-6),
        adv.leave_one_out: lambda r: np.array([x - np.delete(r, i).mean() for i, x in enumerate(r)]),
    }.items():
        found = estimate(rewards, mask)
        for row, here in enumerate(mask.bool()):
            np.testing.assert_allclose(found[row, here].numpy(), by_hand(rewards[row, here].numpy()), atol=1e-12)
        assert (found[mask == 0] == 0).all()


def test_a_group_of_one_has_no_leave_one_out_baseline():
    with pytest.raises(AssertionError, match="no others"):
        adv.leave_one_out(zeros(2, 3), tensor([[1, 1, 1], [0, 1, 0]]))


# What is known without training


@pytest.mark.parametrize(
    ("beta", "policy", "kl"), [(1, [0.1790, 0.2919, 0.5291], 0.3228), (10, [0.4648, 0.3082, 0.2271], 0.0031)]
)
def test_the_optimum_of_a_bandit_with_three_arms(beta, policy, kl):
    ref, rewards = tensor([0.5, 0.3, 0.2], dtype=torch.float64), tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    found = adv.kl_optimum(ref, rewards, beta)
    assert found.tolist() == pytest.approx(policy, abs=5.1e-5)
    assert (found * (found / ref).log()).sum().item() == pytest.approx(kl, abs=5.1e-5)


def test_nothing_beats_the_optimum_and_a_large_beta_keeps_the_reference():
    ref, rewards = random(11, 6).softmax(0), random(12, 6)

    def worth(policy: Tensor) -> float:
        return ((policy * rewards).sum() - 0.5 * (policy * (policy / ref).log()).sum()).item()

    best = worth(adv.kl_optimum(ref, rewards, 0.5))
    assert all(worth(random(seed, 6).softmax(0)) < best for seed in range(50))
    torch.testing.assert_close(adv.kl_optimum(ref, rewards, 1e12), ref)
    forbidden = adv.kl_optimum(tensor([0.5, 0.0, 0.5]), tensor([0.0, 99.0, 0.0]), 1.0)
    assert forbidden.tolist() == [0.5, 0.0, 0.5]  # what the reference never says stays unsaid


# Packed tokens


def test_packed_tokens_become_a_padded_table_and_come_back():
    sequence = tensor([2, 2, 0, 2, 4, 0])  # sequences 1 and 3 have no token in this part
    values = tensor([10.0, 11.0, 20.0, 12.0, 30.0, 21.0])
    layout = padded_layout(sequence, 5)
    assert layout.pad(values, fill=-1).tolist() == [
        [20, 21, -1],
        [-1, -1, -1],
        [10, 11, 12],
        [-1, -1, -1],
        [30, -1, -1],
    ]
    assert layout.flatten(layout.pad(values)).tolist() == values.tolist()
    assert sequence_sums(values, sequence, 5).tolist() == [41, 0, 33, 0, 30]


def test_an_empty_part_has_a_layout_too():
    layout = padded_layout(torch.zeros(0, dtype=torch.long), 2)
    assert layout.pad(zeros(0)).shape == (2, 0)
    assert layout.flatten(zeros(2, 0)).shape == (0,)


def test_a_sequence_beyond_the_count_is_refused():
    with pytest.raises(AssertionError, match="they count from 0"):
        padded_layout(tensor([0, 2]), 2)
