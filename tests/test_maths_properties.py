"""What has to hold for every loss over tokens and every loss over rankings, whatever the numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor

from rather import advantages as adv
from rather import losses

quick = settings(max_examples=40, deadline=None, derandomize=True)  # the same examples on every machine

# Each takes what the gradient flows into, three constants of the same shape, a mask and a denominator.
TOKEN_LOSSES: dict[str, Callable[..., Tensor]] = {
    "sft": lambda x, a, b, c, mask, n: losses.sft_loss(x, mask, n),
    "ptx": lambda x, a, b, c, mask, n: losses.ptx_loss(x, mask, n, 27.8),
    "ppo policy": lambda x, a, b, c, mask, n: losses.ppo_policy_loss(x, a, b, mask, n).loss,
    "ppo value": lambda x, a, b, c, mask, n: losses.ppo_value_loss(x, a, b, mask, n).loss,
    "grpo clip-higher": lambda x, a, b, c, mask, n: losses.grpo_loss(x, a, b, mask, n, 0.2, 0.28).loss,
    "kl k2": lambda x, a, b, c, mask, n: losses.kl_loss(x, c, mask, n, 0.1, "k2"),
    "kl k3": lambda x, a, b, c, mask, n: losses.kl_loss(x, c, mask, n, 0.1, "k3"),
}
RANKING_LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "bradley-terry": losses.ranking_loss,
    "smoothed": lambda s, r, n: losses.ranking_loss(s, r, n, label_smoothing=0.1),
    "plackett-luce": losses.plackett_luce_loss,
    "davidson": lambda s, r, n: losses.davidson_loss(s, r, n, -0.5),
    "rao-kupper": lambda s, r, n: losses.rao_kupper_loss(s, r, n, -0.5),
    "centring": losses.centring_penalty,
}
token_loss = pytest.mark.parametrize("loss", TOKEN_LOSSES.values(), ids=TOKEN_LOSSES)
ranking_loss = pytest.mark.parametrize("loss", RANKING_LOSSES.values(), ids=RANKING_LOSSES)


def batch(seed: int, lengths: list[int], dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor]:
    """Four right-padded tables (B, T), numbers on pads too, and the mask."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), generator=rng, dtype=torch.float64) - 2
    drift = [0.3 * torch.randn(x.shape, generator=rng, dtype=torch.float64) for _ in range(3)]
    mask = torch.arange(max(lengths)) < tensor(lengths)[:, None]
    return [t.to(dtype) for t in (x, x + drift[0], drift[1] * 3, x + drift[2])], mask


def value_and_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    value = loss(x)
    return value.detach(), torch.autograd.grad(value, x)[0]


lengths_of_a_batch = st.lists(st.integers(1, 7), min_size=1, max_size=8)
seeds = st.integers(0, 2**31)


@token_loss
@quick
@given(lengths_of_a_batch, seeds)
def test_micro_batches_add_up_to_the_batch(loss, lengths, seed):
    (x, *others), mask = batch(seed, lengths)
    n = sum(lengths)
    whole, gradient = value_and_gradient(lambda x: loss(x, *others, mask, n), x)
    parts = [
        value_and_gradient(lambda x, row=row: loss(x, *(o[row] for o in others), mask[row], n), x[row])
        for row in (slice(i, i + 1) for i in range(len(lengths)))
    ]
    torch.testing.assert_close(sum(value for value, _ in parts), whole, rtol=1e-12, atol=1e-12)
    assert torch.equal(torch.cat([gradient for _, gradient in parts]), gradient)


@token_loss
@quick
@given(lengths_of_a_batch, seeds)
def test_padding_is_not_read_and_gets_no_gradient(loss, lengths, seed):
    (x, *others), mask = batch(seed, lengths)
    n = sum(lengths)
    clean, clean_gradient = value_and_gradient(lambda x: loss(x, *others, mask, n), x)

    def ten_more(t: Tensor, garbage: float) -> Tensor:
        t = t.masked_fill(~mask, garbage)
        return torch.cat([t, t.new_full((len(t), 10), garbage)], 1)

    longer = torch.cat([mask, mask.new_zeros(len(mask), 10)], 1)
    for garbage in (float("nan"), float("inf"), 1e30):
        x_, *others_ = (ten_more(t, garbage) for t in (x, *others))
        value, gradient = value_and_gradient(lambda x, o=others_: loss(x, *o, longer, n), x_)
        torch.testing.assert_close(value, clean, rtol=1e-13, atol=1e-13)
        assert (gradient[~longer] == 0).all()
        assert torch.equal(gradient[:, : x.shape[1]][mask], clean_gradient[mask])


@token_loss
@quick
@given(lengths_of_a_batch, seeds)
def test_packed_tokens_give_what_padded_ones_give(loss, lengths, seed):
    tables, mask = batch(seed, lengths)
    sequence = torch.arange(len(lengths)).repeat_interleave(tensor(lengths))
    layout = losses.padded_layout(sequence, len(lengths))
    assert torch.equal(layout.mask, mask)
    packed = [layout.flatten(t) for t in tables]
    assert all(torch.equal(layout.pad(p), t.masked_fill(~mask, 0)) for p, t in zip(packed, tables, strict=True))
    n = sum(lengths)
    torch.testing.assert_close(loss(*packed, None, n), loss(*tables, mask, n), rtol=1e-12, atol=1e-12)
    by_sequence = losses.packed_sequence_weights(sequence, len(lengths)), losses.sequence_weights(mask)
    torch.testing.assert_close(loss(*packed, by_sequence[0], 8), loss(*tables, by_sequence[1], 8), rtol=1e-6, atol=1e-6)


@quick
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_a_layout_brings_every_token_home(sequence):
    values = torch.arange(len(sequence), dtype=torch.float32)
    layout = losses.padded_layout(tensor(sequence), 6)
    assert torch.equal(layout.flatten(layout.pad(values, fill=-1)), values)
    by_row = [[i for i, s in enumerate(sequence) if s == row] for row in range(6)]
    assert [row[m].tolist() for row, m in zip(layout.pad(values), layout.mask, strict=True)] == by_row
    sums = losses.sequence_sums(values, tensor(sequence), 6)
    assert sums.tolist() == [sum(row) for row in by_row]


@token_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_comes_in_and_fp32_goes_on(loss, dtype):
    tables, mask = batch(0, [3, 7, 1], dtype)
    low = loss(*tables, mask, 11)
    assert low.dtype == torch.float32
    assert torch.equal(low, loss(*(t.float() for t in tables), mask, 11))


@token_loss
def test_gradients_are_the_derivatives_and_inputs_are_left_alone(loss):
    tables, mask = batch(1, [3, 7, 1])
    before = [t.clone() for t in (*tables, mask)]
    assert torch.autograd.gradcheck(lambda x: loss(x, *tables[1:], mask, 11), tables[0].clone().requires_grad_())
    loss(*tables, mask, 11)
    adv.gae(tables[0], tables[1], mask, 0.95)
    adv.shaped_rewards(tables[0][:, 0], tables[1], tables[2], mask, 0.1)
    adv.whiten(tables[0], mask, unbiased=True)
    adv.leave_one_out(tables[0])
    assert all(torch.equal(now, then) for now, then in zip((*tables, mask), before, strict=True))


@token_loss
def test_a_part_without_tokens_adds_0(loss):
    empty = torch.zeros(0, requires_grad=True)
    value = loss(empty, *(torch.zeros(0) for _ in range(3)), None, 11)
    assert value.item() == 0
    assert torch.autograd.grad(value, empty)[0].shape == (0,)


# Advantages


@quick
@given(lengths_of_a_batch, seeds, st.floats(0, 1))
def test_ten_more_pads_alter_no_advantage_by_a_bit(lengths, seed, lam):
    tables, mask = batch(seed, lengths, torch.float32)

    def advantages(logprobs: Tensor, ref: Tensor, values: Tensor, scores: Tensor, mask: Tensor) -> list[Tensor]:
        rewards, kl = adv.shaped_rewards(scores[:, 0], logprobs, ref, mask, 0.02)
        advantage, returns = adv.gae(rewards, values, mask, lam)
        return [rewards, kl, advantage, returns, adv.whiten(advantage, mask, unbiased=False)]

    garbage = float("nan")
    padded = [torch.cat([t, t.new_full((len(t), 10), garbage)], 1) for t in tables]
    longer = torch.cat([mask, mask.new_zeros(len(mask), 10)], 1)
    for short, long in zip(advantages(*tables, mask), advantages(*padded, longer), strict=True):
        assert torch.equal(long[:, : short.shape[1]], short)
        assert (long[:, short.shape[1] :] == 0).all()


@quick
@given(lengths_of_a_batch, seeds)
def test_at_lambda_1_the_return_is_the_reward_to_come_whatever_the_critic_says(lengths, seed):
    (rewards, values, *_), mask = batch(seed, lengths)
    returns = adv.gae(rewards, values, mask, gae_lambda=1.0)[1]
    to_come = (rewards * mask).flip(1).cumsum(1).flip(1) * mask
    torch.testing.assert_close(returns, to_come)


@quick
@given(seeds, st.floats(-5, 5), st.floats(0.1, 10))
def test_whitening_and_groups_do_not_feel_a_shift_or_a_scale(seed, shift, scale):
    values, mask = (
        torch.randn(5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64),
        torch.ones(5, 6),
    )
    moved = shift + scale * values
    torch.testing.assert_close(adv.whiten(moved, mask, True), adv.whiten(values, mask, True), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(adv.group_normalised(moved, True, eps=0.0), adv.group_normalised(values, True, eps=0.0))
    torch.testing.assert_close(adv.leave_one_out(moved), scale * adv.leave_one_out(values))
    assert adv.leave_one_out(moved).sum(1).abs().max() < 1e-9


# Rankings


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores and ranks (P, K) with ties and empty cells; K responses at least two where not empty."""
    prompts, k = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    ranks = tensor(
        draw(st.lists(st.lists(st.integers(-1, k), min_size=k, max_size=k), min_size=prompts, max_size=prompts))
    )
    rng = torch.Generator().manual_seed(draw(seeds))
    return torch.randn(prompts, k, generator=rng, dtype=torch.float64), ranks


@ranking_loss
@quick
@given(rankings(), seeds)
def test_a_ranking_does_not_feel_the_order_of_its_responses_or_an_empty_cell(loss, ranking, seed):
    scores, ranks = ranking
    order = torch.randperm(scores.shape[1], generator=torch.Generator().manual_seed(seed))
    value, gradient = value_and_gradient(lambda s: loss(s, ranks, len(ranks)), scores)
    shuffled, shuffled_gradient = value_and_gradient(lambda s: loss(s, ranks[:, order], len(ranks)), scores[:, order])
    torch.testing.assert_close(shuffled, value)
    torch.testing.assert_close(shuffled_gradient, gradient[:, order])

    garbage = scores.masked_fill(ranks < 1, float("nan"))
    wider = torch.cat([garbage, garbage.new_full((len(ranks), 3), float("inf"))], 1)
    wider_ranks = torch.cat([ranks, ranks.new_full((len(ranks), 3), -1)], 1)
    padded, padded_gradient = value_and_gradient(lambda s: loss(s, wider_ranks, len(ranks)), wider)
    torch.testing.assert_close(padded, value)
    torch.testing.assert_close(padded_gradient[:, : scores.shape[1]], gradient)
    assert (padded_gradient[wider_ranks < 1] == 0).all()


@ranking_loss
@quick
@given(rankings())
def test_prompts_add_up_to_the_batch(loss, ranking):
    scores, ranks = ranking
    parts = [loss(scores[i : i + 1], ranks[i : i + 1], len(ranks)) for i in range(len(ranks))]
    torch.testing.assert_close(sum(parts), loss(scores, ranks, len(ranks)))


@pytest.mark.parametrize("name", sorted(RANKING_LOSSES.keys() - {"centring"}))  # which is there to feel it
@quick
@given(rankings(), st.floats(-10, 10))
def test_a_shift_of_the_reward_model_leaves_the_ranking_loss(name, ranking, shift):
    (scores, ranks), loss = ranking, RANKING_LOSSES[name]
    torch.testing.assert_close(loss(scores + shift, ranks, 1), loss(scores, ranks, 1))


@pytest.mark.parametrize("name", ["bradley-terry", "smoothed", "plackett-luce", "centring"])
@quick
@given(st.integers(2, 6), seeds)
def test_a_ranking_that_is_all_ties_contributes_nothing(name, k, seed):
    scores = torch.randn(1, k, generator=torch.Generator().manual_seed(seed))
    value, gradient = value_and_gradient(
        lambda s: RANKING_LOSSES[name](s, torch.ones(1, k, dtype=torch.long), 1), scores
    )
    assert value == 0
    assert (gradient == 0).all()


@ranking_loss
def test_ranking_gradients_are_the_derivatives(loss):
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64).requires_grad_()
    ranks = tensor([[1, 2, 3, 4], [2, 1, 1, -1], [1, 1, 1, 1]])
    assert torch.autograd.gradcheck(lambda s: loss(s, ranks, 3), scores)


@ranking_loss
def test_ranking_scores_in_bf16_are_ranked_in_fp32(loss):
    scores = torch.randn(2, 4, generator=torch.Generator().manual_seed(6)).bfloat16()
    ranks = tensor([[1, 2, 2, 4], [2, 1, -1, -1]])
    assert torch.equal(loss(scores, ranks, 2), loss(scores.float(), ranks, 2))


@ranking_loss
def test_scores_far_apart_stay_finite(loss):
    """A reward model gone wild gives a large loss, which can be seen, not NaN, which cannot be traced."""
    value, gradient = value_and_gradient(lambda s: loss(s, tensor([[1, 2, 2]]), 1), tensor([[-500.0, 500.0, 499.0]]))
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@quick
@given(st.lists(st.lists(st.integers(-1, 5), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_pairs_of_a_ranking_are_the_ones_counted(rows):
    ranks = tensor(rows)
    expected = [
        (p, i, j) for p, row in enumerate(rows) for i, j in itertools.product(range(4), repeat=2) if 0 < row[i] < row[j]
    ]
    pairs = losses.ranking_pairs(ranks)
    assert list(zip(*(t.tolist() for t in pairs[:3]), strict=True)) == expected
    assert losses.pair_counts(ranks).tolist() == [
        sum(p == prompt for p, _, _ in expected) for prompt in range(len(rows))
    ]
    totals = np.bincount(pairs.prompt.numpy(), pairs.weight.numpy(), minlength=len(rows))
    np.testing.assert_allclose(totals, (losses.pair_counts(ranks) > 0).numpy(), rtol=1e-6)


# Preferences


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_every_preference_loss_is_fp32_or_better_and_differentiable(dtype):
    logprobs = [
        (torch.randn(5, generator=torch.Generator().manual_seed(i), dtype=torch.float64) - 9).to(dtype)
        for i in range(4)
    ]
    flips = {"flip_rate": 0.1}
    for loss, more in (
        (losses.dpo_loss, {}),
        (losses.hinge_loss, {}),
        (losses.ipo_loss, {}),
        (losses.conservative_dpo_loss, flips),
        (losses.robust_dpo_loss, flips),
    ):
        result = loss(*logprobs, beta=0.1, **more)
        if dtype == torch.bfloat16:
            expected = loss(*(x.float() for x in logprobs), beta=0.1, **more)
            assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
        else:
            chosen, rejected = (x.clone().requires_grad_() for x in logprobs[:2])
            assert torch.autograd.gradcheck(
                lambda c, r, f=loss, m=more: f(c, r, *logprobs[2:], beta=0.1, **m).loss, (chosen, rejected)
            )
