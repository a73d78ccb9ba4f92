from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.statistics import agreement, clustered_share, noise_ceiling, repeated_ceiling, wilson


def test_the_papers_agreement_is_no_ceiling_for_its_reward_model():
    """72.6 % agreement is a ceiling of 83.6 %; the reward model reached 72.4 % (sec. 3.4 and 4.1)."""
    assert noise_ceiling(wilson(726, 1000)).value == pytest.approx(0.836, abs=5e-4)
    assert noise_ceiling(wilson(73, 100)).value == pytest.approx(0.839, abs=5e-4)
    assert noise_ceiling(wilson(773, 1000)).value == pytest.approx(0.8695, abs=5e-4)


@pytest.mark.parametrize("p", [0.5, 0.6, 0.84, 0.95])
def test_it_inverts_p_squared_plus_q_squared_interval_and_all(p):
    agreement = wilson(round(10_000 * (p**2 + (1 - p) ** 2)), 10_000)
    found = noise_ceiling(agreement)
    assert found.value == pytest.approx(p, abs=0.01)
    for ours, theirs in zip(found.interval, agreement.interval, strict=True):
        assert ours**2 + (1 - ours) ** 2 == pytest.approx(max(theirs, 0.5))
    assert found.at_least == agreement.value
    assert found.n == 10_000


def test_ends_of_the_scale():
    assert noise_ceiling(wilson(50, 50)).value == 1
    assert noise_ceiling(wilson(25, 50)).value == 0.5
    assert noise_ceiling(wilson(26, 50)).interval[0] == 0.5  # an interval below one half has no p


def test_labelers_below_chance_are_refused():
    with pytest.raises(ValueError, match=r"agreement is 0\.4000\. Expected 0\.5 to 1"):
        noise_ceiling(wilson(40, 100))


def mixture(rng, pairs, labels):
    """Half the pairs are easy (p = 0.99), half nearly coins (p = 0.6): the best accuracy is 0.795."""
    p = np.where(np.arange(pairs) % 2, 0.99, 0.6)
    flip = rng.random(pairs) < 0.5
    return rng.binomial(labels, np.where(flip, 1 - p, p))


def test_pairs_of_unequal_difficulty_lie_between_agreement_and_the_equal_pairs_formula():
    agreed = (0.99**2 + 0.01**2 + 0.6**2 + 0.4**2) / 2
    found = noise_ceiling(wilson(round(1e6 * agreed), 1_000_000))
    assert found.at_least == pytest.approx(0.750, abs=1e-3)
    assert found.value == pytest.approx(0.854, abs=1e-3)
    assert found.at_least < 0.795 < found.value


def test_repeated_labels_hold_the_ceiling_between_two_bounds_that_close_in():
    rng, gaps = np.random.default_rng(0), []
    for labels in (2, 5, 9, 33, 129):
        found = repeated_ceiling(mixture(rng, 5000, labels), [labels] * 5000, range(5000))
        assert found.at_least.interval[0] < 0.795 < found.interval[1]
        gaps.append(found.value - found.at_least.value)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.01


pairs = st.lists(st.integers(2, 9).flatmap(lambda m: st.tuples(st.integers(0, m), st.just(m))), min_size=2, max_size=12)


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_the_bounds_never_cross(pairs):
    found = repeated_ceiling([k for k, _ in pairs], [m for _, m in pairs], range(len(pairs)))
    assert found.at_least.value <= found.value + 1e-12
    assert found.value >= 0.5


def test_the_bounds_by_hand():
    # 3 of 3: majority 1, left-out majority right three times. 2 of 3: majority 2/3; leaving out one of the two leaves a
    # draw (half right, twice), leaving out the third leaves two against it (wrong).
    found = repeated_ceiling([3, 2], [3, 3], ["p", "q"])
    assert found.at_least.value == pytest.approx((1 + (0.5 + 0.5 + 0) / 3) / 2)
    agreement = (1 + 1 / 3) / 2
    assert found.value == pytest.approx(min((1 + 2 / 3) / 2, (1 + np.sqrt(2 * agreement - 1)) / 2))
    assert found.labels == 6


def test_which_output_is_first_does_not_matter():
    chosen = np.array([3, 2, 0, 1, 3])
    one, other = repeated_ceiling(chosen, [3] * 5, range(5)), repeated_ceiling(3 - chosen, [3] * 5, range(5))
    assert one.value == pytest.approx(other.value)
    assert one.at_least.value == pytest.approx(other.at_least.value)


def test_a_model_that_knows_the_truth_scores_the_ceiling_against_one_label():
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 2000)) < 0.84  # whether each labeler names the better answer
    found = noise_ceiling(clustered_share(one == other, range(2000)))
    assert found.interval[0] < one.mean() < found.interval[1]


def test_the_ceiling_is_computed_from_what_agreement_returns():
    ranks, labelers = [[1, 2, 3], [1, 2, 3], [1, 3, 2], [2, 1, 3]], ["a", "b", "a", "b"]
    found = agreement(ranks, labelers, [1, 1, 2, 2], ties="dropped")
    assert found.value == pytest.approx(4 / 6)  # all three pairs of the first prompt, one of the second's
    assert noise_ceiling(found).value == pytest.approx((1 + (2 * 4 / 6 - 1) ** 0.5) / 2)
    assert noise_ceiling(found).at_least == found.value


@pytest.mark.parametrize(
    ("chosen", "labels", "prompts", "words"),
    [
        ([], [], [], "chosen is empty"),
        ([1, 1], [1, 2], [1, 2], r"labels\[0\] is 1"),
        ([3, 1], [2, 2], [1, 2], r"chosen\[0\] is 3 of labels\[0\] = 2"),
        ([1.5, 1], [2, 2], [1, 2], "Expected whole numbers"),
        ([1, float("nan")], [2, 2], [1, 2], r"chosen\[1\] is nan"),
        ([1, 1], [2, 2], [7, 7], "prompts has 1 distinct"),
        ([1, 1], [2], [1, 2], "labels has 1"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(chosen, labels, prompts, words):
    with pytest.raises(ValueError, match=words):
        repeated_ceiling(chosen, labels, prompts)
