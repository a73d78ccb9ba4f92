from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rather.statistics import both_orders, paired_difference, win_rate

OUTCOMES = [1, 1, 1, 1, 0.5, 0, 0, 0.5, 1, 1, 1, 0, 1, 0, 0.5]
PROMPTS = list("aaabbcccddeeeff")


def close(ours, theirs, tolerance=1e-10):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_a_tie_is_half_a_win_and_every_prompt_counts_once():
    found = win_rate(OUTCOMES, PROMPTS)
    close(found.value, np.mean([1, 0.75, 1 / 6, 1, 2 / 3, 0.25]))
    assert (found.wins, found.ties, found.losses, found.n, found.clusters) == (8, 3, 4, 15, 6)


outcomes_of_prompts = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 6)), min_size=2, max_size=40
).filter(lambda rows: len({prompt for _, prompt in rows}) > 1)


@settings(max_examples=100, deadline=None)
@given(outcomes_of_prompts)
def test_our_win_rate_and_theirs_sum_to_1_interval_and_all(rows):
    y, prompts = np.array([y for y, _ in rows]), [p for _, p in rows]
    ours, theirs = win_rate(y, prompts), win_rate(1 - y, prompts)
    close(ours.value + theirs.value, 1)
    close(ours.interval, [1 - theirs.interval[1], 1 - theirs.interval[0]], 1e-6)
    assert (ours.wins, ours.ties) == (theirs.losses, theirs.ties)


def test_one_label_per_prompt_is_the_plain_mean_that_others_report():
    preferences = np.random.default_rng(0).random(200)  # a judge that gives probabilities, as AlpacaEval's does
    found = win_rate(preferences, range(200))
    close([found.value, found.se], [preferences.mean(), stats.sem(preferences)])


def test_the_bootstrap_agrees_with_the_formula_and_repeats_with_its_seed():
    rng = np.random.default_rng(3)
    chance = rng.beta(2, 1, 150)
    y, prompts = (rng.random((150, 3)) < chance[:, None]).astype(float).ravel(), np.repeat(range(150), 3)
    formula = win_rate(y, prompts)
    bootstrap = win_rate(y, prompts, rng=np.random.default_rng(0))
    assert bootstrap.value == formula.value
    close(bootstrap.interval, formula.interval, 0.02)
    close(bootstrap.se, formula.se, 0.05)
    assert win_rate(y, prompts, rng=np.random.default_rng(0)) == bootstrap


def test_bootstrap_intervals_of_whole_prompts_cover():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(300):
        chance = rng.beta(2, 1, 60)
        y, prompts = (rng.random((60, 3)) < chance[:, None]).astype(float).ravel(), np.repeat(range(60), 3)
        low, high = win_rate(y, prompts, rng=rng, repeats=300).interval
        covered += low <= 2 / 3 <= high
    assert covered >= 0.92 * 300


def test_all_wins_bootstrapped_are_still_not_certainty():
    assert win_rate([1, 1, 1, 1], [1, 2, 3, 4], rng=np.random.default_rng(0)).interval[0] < 0.7


def test_all_ties_are_one_half_with_an_honest_width():
    found = win_rate([0.5] * 30, range(30))
    assert (found.value, found.ties) == (0.5, 30)
    assert found.interval[0] < 0.4


def test_labelers_widen_the_interval_when_they_differ_in_taste():
    prompts, labelers = np.repeat(range(30), 4), np.tile(range(4), 30)
    y = (labelers < 2).astype(float)  # two labelers always prefer ours, two never
    y[:3] = 1
    assert np.diff(win_rate(y, prompts, labelers=labelers).interval) > 5 * np.diff(win_rate(y, prompts).interval)


def test_a_verdict_that_does_not_survive_the_swap_is_a_tie():
    found = both_orders([1, 1, 0, 0.5, 0], [1, 0, 0, 0.5, 0.5], range(5))
    assert found.outcomes == (1, 0.5, 0, 0.5, 0.5)
    assert found.consistent.value == 0.6
    assert both_orders([0.9, 0.9], [0.7, 0.3], range(2)).outcomes == (pytest.approx(0.8), 0.5)  # graded verdicts


def test_a_judge_that_always_takes_the_first_is_all_ties_and_shows_its_bias():
    found = both_orders([1] * 10, [0] * 10, range(10))
    assert set(found.outcomes) == {0.5}
    assert found.first_shown.value == 1
    fair = both_orders([1, 0] * 5, [1, 0] * 5, range(10))
    assert fair.first_shown.value == 0.5


def test_paired_differences_are_the_paired_t_test():
    rng = np.random.default_rng(5)
    item = rng.normal(size=50)  # items differ far more than the models do
    ours, theirs = item + 0.1 * rng.normal(size=50), item + 0.05 + 0.1 * rng.normal(size=50)
    found = paired_difference(ours, theirs, range(50))
    reference = stats.ttest_rel(ours, theirs).confidence_interval()
    close(found.interval, [reference.low, reference.high])
    assert found.interval[1] < 0  # overlap of two separate intervals would never have seen it


def test_paired_differences_cluster_by_passage():
    ours, theirs = [1, 1, 1, 0, 0, 1], [0, 0, 0, 0, 0, 1]
    found = paired_difference(ours, theirs, ["p", "p", "p", "q", "q", "r"])
    close([found.value, found.se], [0.5, np.sqrt(1.5 * (1.5**2 + 1**2 + 0.5**2)) / 6])


def test_two_models_that_score_alike_need_the_scale_for_an_interval():
    same = [1, 0, 1, 1]
    with pytest.raises(ValueError, match="All 4 clusters have the same mean 0"):
        paired_difference(same, same, range(4))
    found = paired_difference(same, same, range(4), scale=(0, 1))
    assert found.value == 0
    assert found.interval[0] < -0.4
    assert found.interval[1] > 0.4
    many = paired_difference([1, 0] * 500, [1, 0] * 500, range(1000), scale=(0, 1))
    close(many.interval, [-0.00384, 0.00384], 1e-4)


def test_the_scale_bounds_the_interval_and_the_scores():
    assert paired_difference([1, 1, 0], [0, 0, 0], range(3), scale=(0, 1)).interval[1] == 1
    with pytest.raises(ValueError, match=r"theirs\[0\] is 87"):
        paired_difference([1, 0], [87, 1], [1, 2], scale=(0, 1))
    with pytest.raises(ValueError, match="scale is"):
        paired_difference([1, 0], [1, 1], [1, 2], scale=(1, 0))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: win_rate([], []), "outcomes is empty"),
        (lambda: win_rate([2, 1], [1, 2]), r"outcomes\[0\] is 2"),
        (lambda: win_rate([-1, 1], [1, 2]), r"outcomes\[0\] is -1"),
        (lambda: win_rate([1, 0], ["one", "one"]), "prompts has 1 distinct"),
        (lambda: win_rate([1, 0, 1], [1, 2]), "prompts has 2"),
        (lambda: win_rate([1, 0], [1, 2], labelers=["a", "a"]), "labelers has 1 distinct"),
        (lambda: win_rate([1, 0], [1, 2], labelers=["a"]), "labelers has 1"),
        (lambda: win_rate([1, 0], [1, 2], labelers=[1, 2], rng=np.random.default_rng(0)), "both given"),
        (lambda: win_rate([1, 0], [1, 2], rng=0), "rng is int"),
        (lambda: win_rate([1, 0], [1, 2], rng=np.random.default_rng(0), repeats=10), "repeats is 10"),
        (lambda: both_orders([1, 0], [1], [1, 2]), "shown_second has 1"),
        (lambda: paired_difference([1, 0], [1], [1, 2]), "theirs has 1"),
        (lambda: paired_difference([1, float("nan")], [1, 1], [1, 2]), r"ours\[1\] is nan"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
