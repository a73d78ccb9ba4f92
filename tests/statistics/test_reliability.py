from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as their_fleiss

from rather.statistics import (
    clustered_share,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    positive_agreement,
)

_ = None
# Four observers on twelve units, a row per observer.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
UNITS = list(zip(*OBSERVERS, strict=True))
# A rare flag on 100 outputs: each labeler raises it once, never together.
RARE = ([1, 0] + [0] * 98, [0, 1] + [0] * 98)


def close(ours, theirs, tolerance=1e-9):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("metric", "expected"), [("nominal", 0.7434), ("ordinal", 0.8154), ("interval", 0.8491)])
def test_alpha_of_the_textbook_table(metric, expected):
    found = krippendorff_alpha(UNITS, metric=metric)
    assert found.value == pytest.approx(expected, abs=5e-5)
    assert found.n == 11  # the unit that one observer rated says nothing


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
def test_alpha_equals_the_krippendorff_package_on_random_tables_with_gaps(metric):
    rng = np.random.default_rng(0)
    for _ in range(70):
        raters, units = rng.integers(2, 6), rng.integers(5, 25)
        table = rng.integers(1, 8, (units, 1)) + rng.integers(-1, 2, (units, raters)) + 0.0
        table[rng.random(table.shape) < 0.3] = np.nan
        if ((~np.isnan(table)).sum(1) > 1).sum() < 4:
            continue
        close(
            krippendorff_alpha(table, metric=metric).value,
            krippendorff.alpha(table.T, level_of_measurement=metric),
        )


def test_the_interval_is_the_jackknife_over_clusters():
    rng = np.random.default_rng(1)
    table = rng.integers(1, 6, (30, 1)) + rng.integers(-1, 2, (30, 3)) + 0.0
    clusters = np.repeat(range(10), 3)
    left_out = np.array([krippendorff.alpha(table[clusters != c].T, level_of_measurement="ordinal") for c in range(10)])
    found = krippendorff_alpha(table, clusters, metric="ordinal")
    close(found.se, np.sqrt(9 / 10 * ((left_out - left_out.mean()) ** 2).sum()))
    close(found.interval[0], found.value - 2.262157 * found.se, 1e-6)


def test_small_numbers_agree_like_large_ones():
    table = np.random.default_rng(6).normal(size=(12, 3)) + np.arange(12)[:, None]
    one, other = (krippendorff_alpha(k * table, metric="interval") for k in (1, 1e-20))
    close([one.value, *one.interval], [other.value, *other.interval])


def test_cohens_kappa_equals_scikit_learn():
    rng = np.random.default_rng(2)
    for _ in range(50):
        first = rng.integers(1, 6, 40)
        second = np.clip(first + rng.integers(-1, 2, 40), 1, 5)
        labels = range(1, 6)
        for weights in ("nominal", "linear", "quadratic"):
            theirs = cohen_kappa_score(
                first, second, labels=list(labels), weights=None if weights == "nominal" else weights
            )
            close(cohen_kappa(first, second, range(40), weights=weights, categories=labels).value, theirs)


def test_fleiss_kappa_equals_statsmodels():
    rng = np.random.default_rng(3)
    for _ in range(50):
        ratings = np.where(rng.random((20, 4)) < 0.6, rng.integers(3, size=(20, 1)), rng.integers(3, size=(20, 4)))
        close(fleiss_kappa(ratings.tolist(), range(20)).value, their_fleiss(aggregate_raters(ratings)[0]))


def test_rare_flags_collapse_kappa_and_not_ac1():
    """98 % raw agreement: kappa about 0, AC1 about 0.98, and of the raised flags none was shared."""
    with pytest.raises(ValueError, match="all ratings are the same"):
        krippendorff_alpha([(0, 0), (0, 0)], metric="nominal")
    close(cohen_kappa(*RARE, range(100)).value, (0.98 - 0.9802) / (1 - 0.9802))
    close(gwet_ac1(*RARE, range(100)).value, (0.98 - 2 * 0.01 * 0.99) / (1 - 2 * 0.01 * 0.99))
    rare = positive_agreement(*RARE, range(100))
    assert (rare.value, rare.n) == (0, 2)
    assert rare.interval[1] > 0.6  # two flags are no evidence against sharing them


def test_positive_agreement_is_2a_over_2a_b_c():
    first, second = [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0]
    close(positive_agreement(first, second, range(6)).value, 4 / 6)
    one_prompt_each = clustered_share([1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 2, 3])
    assert positive_agreement(first, second, range(6)).interval == one_prompt_each.interval
    flags = positive_agreement([bool(f) for f in first], [bool(f) for f in second], range(6))
    assert 0 <= flags.interval[0] < 4 / 6 < flags.interval[1] <= 1


def test_names_of_categories_do_not_matter_and_strings_are_fine():
    first, second = list("abcabcaabb"), list("abcabbabcb")
    number = {"a": 30, "b": 10, "c": 20}
    close(
        cohen_kappa(first, second, range(10)).value,
        cohen_kappa([number[x] for x in first], [number[x] for x in second], range(10)).value,
    )


def test_chance_is_zero_and_the_jackknife_covers_it():
    rng = np.random.default_rng(4)
    covered = {"kappa": 0, "clustered": 0, "rows": 0}
    for _ in range(300):
        first, second = rng.integers(3, size=(2, 80))
        low, high = cohen_kappa(first, second, range(80)).interval
        covered["kappa"] += low <= 0 <= high
        # Twenty prompts whose four outputs get the same flag from each labeler: twenty facts, not eighty.
        first, second = np.repeat(rng.integers(2, size=(2, 20)), 4, axis=1)
        for name, clusters in (("clustered", np.repeat(range(20), 4)), ("rows", range(80))):
            low, high = cohen_kappa(first, second, clusters).interval
            covered[name] += low <= 0 <= high
    assert covered["kappa"] >= 0.92 * 300
    assert covered["clustered"] >= 0.91 * 300
    assert covered["rows"] < 0.75 * 300


@pytest.mark.parametrize("units", [5, 50])
def test_perfect_agreement_on_few_units_is_not_certainty(units):
    ratings = [(k % 2, k % 2) for k in range(units)]
    for found in (
        krippendorff_alpha(ratings, metric="nominal"),
        krippendorff_alpha(ratings, metric="interval"),
        krippendorff_alpha(ratings, metric="ordinal"),
        fleiss_kappa(ratings, range(units)),
        cohen_kappa(*zip(*ratings, strict=True), range(units)),
    ):
        assert found.value == 1
        assert found.interval[1] == 1
        assert found.interval[0] < 1 - 2 / units


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cohen_kappa([1, 1, 1], [1, 1, 1], range(3)), "Cohen's kappa is 0 / 0: all ratings are the same"),
        (lambda: cohen_kappa([1, 0, 0], [0, 0, 0], range(3)), "rests on a single cluster"),
        (lambda: cohen_kappa([1, 0, 1] * 4, [1, 0, 0] * 4, np.repeat(range(4), 3)), "whichever of the 4 clusters"),
        (lambda: cohen_kappa([1, 0], [1, 0], [7, 7]), "clusters has 1 distinct"),
        (lambda: cohen_kappa([1, 0], [1], range(2)), "second has 1"),
        (lambda: cohen_kappa([], [], []), "no ratings"),
        (lambda: cohen_kappa([1, None], [1, 0], range(2)), "is None"),
        (lambda: cohen_kappa([1, float("nan")], [1, 0], range(2)), "is nan"),
        (lambda: cohen_kappa([1, "a"], [1, 0], range(2)), "mix kinds"),
        (lambda: cohen_kappa([1, 9], [1, 2], range(2), categories=[1, 2]), "Rating 9 is no category"),
        (lambda: cohen_kappa([1, 0], [1, 0], range(2), weights="cubic"), "weights is 'cubic'"),
        (lambda: gwet_ac1([1, 0], [1, 0], [7, 7]), "clusters has 1"),
        (lambda: positive_agreement([0, 0], [0, 0], range(2)), "Neither labeler raised the flag"),
        (lambda: positive_agreement([1, 0], [1, 0], range(2)), "clusters has 1 distinct"),
        (lambda: positive_agreement([0, 2], [0, 0], range(2)), r"first\[1\] is 2"),
        (lambda: fleiss_kappa([(1, 2), (1, 2, 3)], range(2)), "with gaps use krippendorff_alpha"),
        (lambda: fleiss_kappa([(1,), (2,)], range(2)), "at least 2"),
        (lambda: fleiss_kappa([], []), "Expected"),
        (lambda: krippendorff_alpha([], metric="nominal"), "None of the 0 units has two ratings"),
        (lambda: krippendorff_alpha([(1, _), (_, 2)], metric="nominal"), "None of the 2 units"),
        (lambda: krippendorff_alpha([(1, 2), (_, 2)], metric="nominal"), "clusters has 1"),
        (lambda: krippendorff_alpha([("a", "b"), ("a", "a")], metric="interval"), "is no number"),
        (lambda: krippendorff_alpha([(1, float("inf")), (1, 2)], metric="interval"), "infinite"),
        (lambda: krippendorff_alpha([(1, 2), (2, 2)], metric="ratio"), "metric is 'ratio'"),
        (lambda: krippendorff_alpha([(1, 2), (2, 2)], [1], metric="nominal"), "clusters has 1"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
