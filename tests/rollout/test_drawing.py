"""Uniform numbers that anybody can compute again, and the inverse of a cumulative distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from rather.rollout.drawing import draw, uniforms

NOBODY = torch.zeros(0, dtype=torch.int64)


def test_uniform_numbers_are_the_same_on_every_platform():
    assert uniforms(0, 3).tolist() == [0.011546754286331562, 0.24154919656271812, 0.11142585551493822]
    assert uniforms(2**63 - 1, 1).tolist() == [0.9258067163090251]


def test_the_nth_number_does_not_depend_on_how_many_are_drawn():
    assert (uniforms(7, 100)[:5] == uniforms(7, 5)).all()


def test_numbers_of_neighbouring_seeds_are_uniform_together():
    first = np.array([uniforms(seed, 1)[0] for seed in range(4000)])
    assert kstest(first, "uniform").pvalue > 0.001
    assert 0 <= first.min() < first.max() < 1


@pytest.mark.parametrize("vocabulary", [2, 63, 64, 65, 1000])
def test_a_uniform_number_falls_where_numpy_says(vocabulary):
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, vocabulary, generator=rng)
    u = torch.rand(200, generator=rng, dtype=torch.float64)
    found, logps = draw(logits, u, 0.7, NOBODY)
    p = torch.softmax(logits.double() / 0.7, -1).numpy()
    expected = [np.searchsorted(row.cumsum(), x, side="right") for row, x in zip(p, u.numpy(), strict=True)]
    assert found.tolist() == expected
    assert np.allclose(logps.numpy(), np.log(p[np.arange(200), expected]), atol=1e-5)


def test_the_ends_of_the_unit_interval_fall_on_tokens_that_can_be_drawn():
    logits = torch.full((2, 130), -1e9)
    logits[:, [70, 100]] = 0.0
    last = np.nextafter(1.0, 0.0)
    found, _ = draw(logits, torch.tensor([0.0, last], dtype=torch.float64), 1.0, NOBODY)
    assert found.tolist() == [70, 100]


def test_what_is_never_drawn_takes_no_room_and_stays_in_the_log_probability():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0]] * 3)
    u = torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)
    found, logps = draw(logits, u, 1.0, torch.tensor([0, 2]))
    assert found.tolist() == [1, 3, 3]
    assert logps.tolist() == pytest.approx([np.log(0.25)] * 3)


def test_temperature_zero_takes_the_likeliest_and_says_its_probability_at_one():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    found, logps = draw(logits, torch.zeros(1, dtype=torch.float64), 0.0, torch.tensor([1]))
    assert found.tolist() == [2]
    assert logps.item() == pytest.approx(2 - np.log(np.exp([1, 3, 2]).sum()))


def test_top_k_and_top_p_by_hand():
    """Ids 1 3 0 2 have p = .5 .3 .15 .05. Of the two likeliest the border is at .5 / .8, of three at .15, .65 / .95."""
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log().expand(4, -1)
    u = torch.tensor([0.1, 0.3, 0.72, 0.95], dtype=torch.float64)
    at = lambda **cut: draw(logits, u, 1.0, NOBODY, **cut)[0].tolist()  # noqa: E731
    assert at(top_k=2) == [1, 1, 3, 3]
    assert at(top_p=0.7) == [1, 1, 3, 3]
    assert at(top_p=0.9) == [0, 1, 3, 3]
    assert at(top_k=1) == at(top_p=0.4) == [1] * 4
    assert at(top_k=4) == at(top_p=1.0) == at() == [0, 1, 3, 3]
