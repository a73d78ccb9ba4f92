from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from rather.statistics import (
    design_effect,
    intraclass_correlation,
    paired_difference,
    prompts_for_difference,
    prompts_for_win_rate,
    win_rate,
)


@pytest.mark.parametrize(("rate", "prompts"), [(0.55, 783), (0.6, 194), (0.65, 85), (0.7, 47)])
def test_prompts_to_show_a_win_rate_against_one_half(rate, prompts):
    assert prompts_for_win_rate(rate).prompts == prompts
    assert prompts_for_win_rate(1 - rate).prompts == prompts


def test_differences_equal_statsmodels_one_sample_formula():
    for difference, sd in [(0.02, 0.4), (0.1, 1.0), (-0.05, 0.3)]:
        theirs = NormalIndPower(ddof=0).solve_power(abs(difference) / sd, power=0.8, alpha=0.05, ratio=0)
        assert prompts_for_difference(difference, sd).prompts == math.ceil(theirs)


def test_labels_of_one_prompt_are_worth_less_than_their_number():
    assert design_effect(4, 0.25) == 1.75
    plain, many = prompts_for_win_rate(0.6), prompts_for_win_rate(0.6, labels_per_prompt=4, correlation=0.25)
    assert many.prompts == math.ceil(193.85 * 1.75 / 4)
    assert many.labels == 4 * many.prompts
    assert many.independent == plain.prompts
    # All alike: four labels of a prompt are one label, however many are bought.
    assert prompts_for_win_rate(0.6, labels_per_prompt=4, correlation=1).prompts == plain.prompts


def test_ties_carry_less_noise_than_coin_flips():
    # v(0.5) = 0.25 - 0.05, v(0.6) = 0.24 - 0.05: ((1.95996 * 0.44721 + 0.84162 * 0.43589) / 0.1)^2 = 154.6
    assert prompts_for_win_rate(0.6, tie_share=0.2).prompts == 155


def test_the_promised_power_is_what_a_simulation_finds():
    size = prompts_for_win_rate(0.65, labels_per_prompt=3, correlation=0.3)
    rng, shown = np.random.default_rng(0), 0
    prompts = np.repeat(range(size.prompts), 3)
    spread = 1 / 0.3 - 1  # a Beta(a, b) with a + b = 1 / r - 1 gives intraclass correlation r
    for _ in range(500):
        chance = rng.beta(0.65 * spread, 0.35 * spread, size.prompts)
        y = (rng.random((size.prompts, 3)) < chance[:, None]).astype(float).ravel()
        shown += win_rate(y, prompts).interval[0] > 0.5
    assert 0.73 * 500 < shown < 0.86 * 500


def test_the_promised_power_for_paired_differences_too():
    # Right or wrong on each item, differing on 20 % of the items, 5 points better.
    size = prompts_for_difference(0.05, math.sqrt(0.2 - 0.05**2))
    rng, shown = np.random.default_rng(1), 0
    for _ in range(500):
        u = rng.random(size.prompts)
        ours, theirs = (u < 0.125).astype(float), ((u >= 0.125) & (u < 0.2)).astype(float)
        shown += paired_difference(ours, theirs, range(size.prompts)).interval[0] > 0
    assert 0.74 * 500 < shown < 0.86 * 500


def test_intraclass_correlation_by_hand():
    # Means 1, 3, 5 over pairs with a within-variance of 2: MSB = 2 * 4 = 8, MSW = 2.
    found = intraclass_correlation([0, 2, 2, 4, 4, 6], [1, 1, 2, 2, 3, 3])
    assert found.value == pytest.approx((8 - 2) / (8 + 2))


def test_intraclass_correlation_is_recovered_from_unequal_prompts():
    rng, covered, values = np.random.default_rng(2), 0, []
    for _ in range(200):
        prompts = np.repeat(range(60), rng.integers(1, 6, 60))
        y = rng.normal(size=60)[prompts] * math.sqrt(0.3) + rng.normal(size=len(prompts)) * math.sqrt(0.7)
        found = intraclass_correlation(y, prompts)
        values.append(found.value)
        covered += found.interval[0] <= 0.3 <= found.interval[1]
    assert np.mean(values) == pytest.approx(0.3, abs=0.02)
    assert covered >= 0.91 * 200


def test_intraclass_correlation_ignores_shift_and_scale():
    y, prompts = np.array([0.0, 2, 2, 4, 4, 7, 1]), [1, 1, 2, 2, 3, 3, 3]
    one, other = intraclass_correlation(y, prompts), intraclass_correlation(1e6 - 3 * y, prompts)
    assert one.value == pytest.approx(other.value)
    assert one.interval == pytest.approx(other.interval)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: prompts_for_win_rate(0.5), "rate and against are both 0.5"),
        (lambda: prompts_for_win_rate(1.0), "rate is 1.0"),
        (lambda: prompts_for_win_rate(60), "rate is 60"),
        (lambda: prompts_for_win_rate(float("nan")), "rate is nan"),
        (lambda: prompts_for_win_rate(0.6, power=1), "power is 1"),
        (lambda: prompts_for_win_rate(0.6, level=95), "level is 95"),
        (lambda: prompts_for_win_rate(0.9, tie_share=0.3), "tie_share is 0.3. Expected 0 to below 0.2"),
        (lambda: prompts_for_win_rate(0.6, labels_per_prompt=0), "labels_per_prompt is 0"),
        (lambda: prompts_for_win_rate(0.6, correlation=1.2), "correlation is 1.2"),
        (lambda: prompts_for_difference(0, 1), "difference is 0"),
        (lambda: prompts_for_difference(0.1, 0), "sd is 0"),
        (lambda: prompts_for_difference(0.1, float("inf")), "sd is inf"),
        (lambda: intraclass_correlation([1, 2, 3], [1, 2, 3]), "Each of the 3 clusters has one row"),
        (lambda: intraclass_correlation([1, 1, 1, 1], [1, 1, 2, 3]), "do not vary"),
        (lambda: intraclass_correlation([1, 2, 3, 4], [1, 1, 2, 2]), "clusters has 2 distinct"),
        (lambda: intraclass_correlation([1, 2] * 4, np.repeat(range(4), 2)), "All 4 clusters vary alike"),
        (lambda: intraclass_correlation([1, float("nan"), 1], [1, 2, 3]), r"values\[1\] is nan"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
