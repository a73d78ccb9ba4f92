from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from rather.statistics import best_of_n, best_of_n_kl


def by_enumeration(scores, gold, n):
    """The mean over all sets of n samples of the gold of their best; equal best scores share."""
    means = []
    for chosen in combinations(range(len(scores)), n):
        best = max(scores[k] for k in chosen)
        means.append(np.mean([gold[k] for k in chosen if scores[k] == best]))
    return np.mean(means)


def test_it_is_the_mean_over_all_sets_of_n():
    rng = np.random.default_rng(0)
    for n in range(1, 8):
        scores = [rng.normal(size=7), rng.integers(3, size=8).astype(float)]  # the second has many equal scores
        gold = [rng.normal(size=7), rng.normal(size=8)]
        assert best_of_n(scores, n).value == pytest.approx(np.mean([by_enumeration(s, s, n) for s in scores]))
        found = best_of_n(scores[:1] * 2 + scores, n, gold=gold[:1] * 2 + gold[:1] + scores[1:])
        assert found.clusters == 4
        reference = 3 * by_enumeration(scores[0], gold[0], n) + by_enumeration(scores[1], scores[1], n)
        assert found.value == pytest.approx(reference / 4)


def test_gold_among_equal_scores_is_shared():
    found = best_of_n([[1, 1, 0], [1, 1, 0]], 3, gold=[[10, 20, 99], [0, 0, 99]])
    assert found.value == pytest.approx((15 + 0) / 2)


def test_one_is_the_mean_and_all_is_the_maximum():
    scores = [[1.0, 2, 6], [0.0, 0, 3]]
    assert best_of_n(scores, 1).value == pytest.approx((3 + 1) / 2)
    assert best_of_n(scores, 3).value == pytest.approx((6 + 3) / 2)


def test_uniform_scores_reach_n_over_n_plus_1_without_bias_and_within_the_interval():
    rng, covered, values = np.random.default_rng(1), 0, []
    for _ in range(300):
        found = best_of_n(rng.random((40, 12)), 8)
        values.append(found.value)
        covered += found.interval[0] <= 8 / 9 <= found.interval[1]
    assert np.mean(values) == pytest.approx(8 / 9, abs=0.001)
    assert covered >= 0.91 * 300


def test_large_sample_numbers_do_not_overflow():
    found = best_of_n(np.random.default_rng(2).random((3, 4000)), 2000)
    assert 0.998 < found.value <= 1


@pytest.mark.parametrize(("n", "kl"), [(1, 0), (2, 0.1931), (4, 0.6363), (16, 1.8351), (64, 3.1745), (256, 4.5491)])
def test_kl_of_best_of_n(n, kl):
    assert best_of_n_kl(n) == pytest.approx(kl, abs=5e-5)


@pytest.mark.parametrize(
    ("scores", "n", "gold", "words"),
    [
        ([[1, 2], [1]], 2, None, r"scores\[1\] has 1 samples. Expected at least n = 2"),
        ([[1, 2], [1, 3]], 0, None, "n is 0"),
        ([[1, 2], [1, 3]], 1.5, None, r"n is 1\.5"),
        ([], 1, None, "values is empty"),
        ([[1, 2]], 1, None, "1 distinct"),
        ([[1, float("nan")], [1, 2]], 1, None, r"scores\[0\]\[1\] is nan"),
        ([[1, 2], [1, 2]], 1, [[1, 2]], "gold has 1"),
        ([[1, 2], [1, 2]], 1, [[1, 2], [1]], r"gold\[1\] has 1"),
        ([[1, 2], [1, 2]], 2, None, "All 2 clusters have the same mean 2"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(scores, n, gold, words):
    with pytest.raises(ValueError, match=words):
        best_of_n(scores, n, gold=gold)
