from __future__ import annotations

import json

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from rather.statistics import clustered_mean, clustered_share, wilson

# Six prompts with 3, 2, 3, 2, 3, 2 labels.
OUTCOMES = [1, 1, 1, 1, 0.5, 0, 0, 0.5, 1, 1, 1, 0, 1, 0, 0.5]
PROMPTS = list("aaabbcccddeeeff")


def close(ours, theirs, tolerance=1e-10):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_six_prompts_by_hand():
    rows = clustered_mean(OUTCOMES, PROMPTS)
    close([rows.value, rows.se, *rows.interval], [0.6333, 0.1525, 0.241, 1.025], 1e-3)
    prompts = clustered_mean(OUTCOMES, PROMPTS, equal_clusters=True)
    close([prompts.value, prompts.se], [0.6389, 0.1470], 1e-3)


def test_a_share_stays_inside_0_to_1_where_the_t_interval_leaves_it():
    assert clustered_mean(OUTCOMES, PROMPTS).interval[1] > 1
    low, high = clustered_share(OUTCOMES, PROMPTS).interval
    assert 0.2 < low < 0.6333 < high < 0.95


def test_clustered_errors_equal_statsmodels_one_way_and_two_way():
    rng = np.random.default_rng(0)
    for _ in range(20):
        prompts, labelers, y = rng.integers(9, size=80), rng.integers(5, size=80), rng.normal(size=80)
        y = y + prompts / 3 + labelers / 2
        constant = sm.OLS(y, np.ones(80))
        theirs = constant.fit(cov_type="cluster", cov_kwds={"groups": prompts}, use_t=True)
        ours = clustered_mean(y, prompts)
        close([ours.value, ours.se], [theirs.params[0], theirs.bse[0]])
        close(ours.interval, theirs.conf_int()[0])
        both = constant.fit(cov_type="cluster", cov_kwds={"groups": np.stack([prompts, labelers], 1)})
        one = constant.fit(cov_type="cluster", cov_kwds={"groups": labelers})
        two_way = clustered_mean(y, prompts, labelers=labelers)
        close(two_way.se, max(theirs.bse[0], one.bse[0], both.bse[0]))
        close(two_way.interval[1] - two_way.value, stats.t.ppf(0.975, 4) * two_way.se)  # the fewer: five labelers


def test_rows_that_each_have_their_own_prompt_give_the_ordinary_t_interval():
    y = np.random.default_rng(1).normal(size=30)
    theirs = stats.ttest_1samp(y, 0).confidence_interval(0.95)
    close(clustered_mean(y, range(30)).interval, [theirs.low, theirs.high])


def test_copying_every_row_ten_times_adds_no_certainty():
    once = clustered_share(OUTCOMES, PROMPTS)
    tenfold = clustered_share(OUTCOMES * 10, PROMPTS * 10)
    close(tenfold.interval, once.interval)
    assert (once.n, tenfold.n, tenfold.clusters) == (15, 150, 6)


def test_wilson_equals_statsmodels_and_the_textbook():
    close(wilson(70, 100).interval, [0.6042, 0.7811], 1e-4)
    for successes, n, level in [(0, 10, 0.95), (10, 10, 0.9), (3, 7, 0.99), (400, 1000, 0.5)]:
        close(wilson(successes, n, level).interval, proportion_confint(successes, n, 1 - level, method="wilson"))


def test_nothing_seen_in_n_is_not_zero():
    assert wilson(0, 100).interval[0] == 0
    assert 0.03 < wilson(0, 100).interval[1] < 0.04  # about 3 / n one-sided, 3.84 / (n + 3.84) two-sided


def test_prompts_that_are_all_alike_get_a_wilson_interval_not_one_of_no_width():
    all_won = clustered_share([1.0] * 20, range(20))
    assert all_won.value == 1
    assert 0.8 < all_won.interval[0] < 0.9
    assert all_won.se is None
    assert "all alike" in all_won.method
    assert clustered_share([1.0] * 60, list(range(20)) * 3).interval == all_won.interval
    third = clustered_share([1 / 3] * 21, list(range(7)) * 3)  # a spread of 1e-17 is none
    assert third.interval[1] - third.interval[0] > 0.3
    with pytest.raises(ValueError, match=r"All 7 clusters have the same mean 0\.333333"):
        clustered_mean([1 / 3] * 21, list(range(7)) * 3)


def simulate(rng, prompts=40, labels=4):
    """Outcomes whose prompts differ: win chances from Beta(2, 1), four labels each; truth 2/3."""
    chance = rng.beta(2, 1, prompts)
    return (rng.random((prompts, labels)) < chance[:, None]).astype(float).ravel(), np.repeat(range(prompts), labels)


def test_95_percent_intervals_cover_95_percent_when_rows_are_clustered_and_naive_ones_do_not():
    rng = np.random.default_rng(0)
    clustered = naive = 0
    for _ in range(1000):
        outcomes, prompts = simulate(rng)
        low, high = clustered_share(outcomes, prompts).interval
        clustered += low <= 2 / 3 <= high
        low, high = wilson(int(outcomes.sum()), len(outcomes)).interval
        naive += low <= 2 / 3 <= high
    assert 930 <= clustered <= 970
    assert naive < 900


def test_they_cover_with_few_prompts_too():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        outcomes, prompts = simulate(rng, prompts=8)
        low, high = clustered_share(outcomes, prompts).interval
        covered += low <= 2 / 3 <= high
    assert covered >= 940


def test_labelers_of_different_taste_need_the_second_clustering():
    rng = np.random.default_rng(2)
    covered = {"prompts": 0, "both": 0}
    for _ in range(300):
        taste, labelers, prompts = rng.normal(size=12), np.tile(range(12), 25), np.repeat(range(100), 3)
        y = taste[labelers] + rng.normal(size=300)
        for name, second in (("prompts", None), ("both", labelers)):
            low, high = clustered_mean(y, prompts, labelers=second).interval
            covered[name] += low <= 0 <= high
    assert covered["prompts"] < 200
    assert covered["both"] > 265


rows = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 5)), min_size=2, max_size=40).filter(
    lambda rows: len({prompt for _, prompt in rows}) > 1
)


@settings(max_examples=100, deadline=None)
@given(rows, st.randoms(use_true_random=False), st.booleans())
def test_order_and_names_of_prompts_do_not_matter_and_the_interval_holds_the_value(rows, random, equal):
    found = clustered_share([y for y, _ in rows], [p for _, p in rows], equal_clusters=equal)
    assert 0 <= found.interval[0] <= found.value <= found.interval[1] <= 1
    shuffled = random.sample(rows, len(rows))
    again = clustered_share([y for y, _ in shuffled], [f"prompt {-p}" for _, p in shuffled], equal_clusters=equal)
    close([again.value, *again.interval], [found.value, *found.interval], 1e-8)


def test_a_wider_level_gives_a_wider_interval():
    widths = [np.diff(clustered_share(OUTCOMES, PROMPTS, level=level).interval)[0] for level in (0.5, 0.8, 0.95, 0.99)]
    assert widths == sorted(widths)


def test_results_go_to_json():
    found = json.loads(json.dumps(clustered_share(np.array(OUTCOMES), np.array(PROMPTS)).to_dict()))
    assert found["n"] == 15
    assert found["interval"][0] < found["value"] < found["interval"][1]


@pytest.mark.parametrize(
    ("values", "prompts", "words"),
    [
        ([], [], r"values is empty"),
        ([1, 0], ["a", "a"], r"clusters has 1 distinct value\(s\)\. Expected at least 2"),
        ([1, float("nan")], [1, 2], r"values\[1\] is nan"),
        ([1, float("inf")], [1, 2], r"values\[1\] is inf"),
        ([1, None], [1, 2], r"values\[1\] is nan|cannot be read as numbers"),
        ([1, 2], [1, 2], r"values\[1\] is 2\.0 .*0\.0 to 1\.0"),
        ([1, 0, 1], [1, 2], r"values has 3, clusters has 2"),
        (["won", "lost"], [1, 2], r"cannot be read as numbers"),
        ([[1, 0], [0, 1]], [1, 2], r"shape \(2, 2\)"),
        ([1, 0], [1, float("nan")], r"clusters\[1\] is nan"),
        ([1, 0], [None, 1], r"clusters\[0\] is None"),
        ([1, 0], [{}, {}], r"clusters\[0\] is \{\}\. Expected a name"),
        ([1, 0], None, r"clusters is None\. Expected a column"),
        (None, [1, 2], r"values has shape \(\)"),
        ([1, 1e200], [1, 2], r"values\[1\] is 1e\+200"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(values, prompts, words):
    with pytest.raises(ValueError, match=words):
        clustered_share(values, prompts)


def test_small_numbers_have_a_spread_like_large_ones():
    small, large = (clustered_mean([k * 1, k * 3, k * 2], range(3)) for k in (1e-20, 1e20))
    close(np.array(small.interval) * 1e40, large.interval)


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, float("nan"), "95", None])
def test_a_level_is_a_probability(level):
    with pytest.raises(ValueError, match="level is"):
        clustered_share(OUTCOMES, PROMPTS, level=level)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (3, 2), (-1, 5), (0.5, 5), (float("nan"), 5), (3, float("inf"))])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="Expected"):
        wilson(successes, n)
