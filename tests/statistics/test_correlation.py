from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rather.statistics import pearson, spearman


def rng():
    return np.random.default_rng(0)


def close(ours, theirs, tolerance=1e-10):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_values_equal_scipy_with_and_without_ties():
    generator = np.random.default_rng(1)
    for ties in (False, True):
        x = generator.normal(size=60)
        y = 0.5 * x + generator.normal(size=60)
        if ties:
            x, y = x.round(), y.round()
        close(pearson(x, y, range(60), rng(), repeats=100).value, stats.pearsonr(x, y).statistic)
        close(spearman(x, y, range(60), rng(), repeats=100).value, stats.spearmanr(x, y).statistic)


def test_each_resample_is_ranked_anew():
    """Rows drawn w times each have the rank correlation of the written-out table."""
    generator = np.random.default_rng(2)
    x, y = generator.integers(6, size=(2, 30)).astype(float)
    found = spearman(x, y, range(30), np.random.default_rng(5), repeats=100)
    draws, values = np.random.default_rng(5), []
    for _ in range(100):
        rows = draws.integers(30, size=30)
        values.append(stats.spearmanr(x[rows], y[rows]).statistic)
    close(found.interval, np.quantile(values, [0.025, 0.975]), 1e-8)
    close(found.se, np.std(values, ddof=1), 1e-8)


def test_only_the_order_counts_for_spearman():
    x, noise = np.random.default_rng(7).normal(size=(2, 40))
    y = x + noise
    one, other = (
        spearman(x, y, range(40), rng(), repeats=200),
        spearman(np.exp(3 * x), y**3, range(40), rng(), repeats=200),
    )
    close([one.value, *one.interval], [other.value, *other.interval])
    assert pearson(np.exp(3 * x), y**3, range(40), rng(), repeats=200).value != pytest.approx(one.value, abs=0.01)


def test_a_perfect_correlation_has_no_interval():
    x = np.arange(20.0)
    for measure, y in ((pearson, 1 - 3 * x), (spearman, np.exp(x))):
        with pytest.raises(ValueError, match=r"correlation is -?1\.0000 in every resample"):
            measure(x, y, range(20), rng(), repeats=100)


def test_small_numbers_correlate_like_large_ones():
    x, y = np.random.default_rng(6).normal(size=(2, 40))
    for measure in (pearson, spearman):
        one, other = (measure(k * x, k * y, range(40), rng(), repeats=200) for k in (1, 1e-20))
        close([one.value, *one.interval], [other.value, *other.interval], 1e-8)


def test_copies_add_no_certainty():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(2, 40))
    once = pearson(x, y, range(40), rng())
    copied = pearson(np.tile(x, 5), np.tile(y, 5), np.tile(range(40), 5), rng())
    close([once.value, *once.interval], [copied.value, *copied.interval])


def test_intervals_cover_when_rows_share_a_prompt_and_rows_alone_do_not():
    generator, covered, naive = np.random.default_rng(4), 0, 0
    for _ in range(200):
        shared = generator.multivariate_normal([0, 0], [[1, 0.4], [0.4, 1]], 50)
        x, y = np.repeat(shared, 6, axis=0).T + 0.3 * generator.normal(size=(2, 300))
        truth = 0.4 / 1.09
        low, high = pearson(x, y, np.repeat(range(50), 6), generator, repeats=200).interval
        covered += low <= truth <= high
        low, high = stats.pearsonr(x, y).confidence_interval(0.95)
        naive += low <= truth <= high
    assert covered >= 0.90 * 200
    assert naive < 0.75 * 200


@pytest.mark.parametrize("measure", [pearson, spearman])
@pytest.mark.parametrize(
    ("x", "y", "clusters", "words"),
    [
        ([1, 1, 1], [1, 2, 3], range(3), "All 3 values of x are 1"),
        ([1, 2, 3], [2, 2, 2], range(3), "All 3 values of y are 2"),
        ([1, 2], [2, 1], [1, 2], "clusters has 2 distinct"),
        ([1, 2, 3], [2, 1], range(3), "y has 2"),
        ([1, 2, float("nan")], [2, 1, 3], range(3), r"x\[2\] is nan"),
        ([], [], [], "x is empty"),
        ([1, 2, 3], [1, 2, 2], range(3), "resamples of the 3 clusters leave the statistic undefined"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(measure, x, y, clusters, words):
    with pytest.raises(ValueError, match=words):
        measure(x, y, clusters, rng(), repeats=200)
