from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from rather.statistics import calibration, pair_accuracy


def rng():
    return np.random.default_rng(0)


def close(ours, theirs, tolerance=1e-10):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_accuracy_is_the_sign_of_the_margin_and_a_zero_margin_is_half_right():
    found = pair_accuracy([2.0, -1.0, 0.0, 0.5], [1, 1, 1, 0], ["p", "p", "q", "r"])
    close(found.value, np.mean([0.5, 0.5, 0]))
    assert (found.n, found.clusters) == (4, 3)


def test_accuracy_is_capped_by_noisy_labels():
    """A model that knows the truth scores 1 - q against labels that are wrong with probability q."""
    generator = np.random.default_rng(1)
    truth = generator.normal(size=4000)
    labels = np.where(generator.random(4000) < 0.16, truth < 0, truth > 0)
    found = pair_accuracy(truth, labels, np.repeat(range(1000), 4))
    assert found.interval[0] < 0.84 < found.interval[1]


def test_accuracy_covers_when_pairs_of_a_ranking_belong_together():
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(500):
        chance = generator.beta(2.1, 0.9, 50)
        right = (generator.random((50, 6)) < chance[:, None]).ravel()
        low, high = pair_accuracy(np.where(right, 1, -1), np.ones(300), np.repeat(range(50), 6)).interval
        covered += low <= 0.7 <= high
    assert 0.92 * 500 <= covered <= 0.98 * 500


def test_the_error_by_hand():
    # Confidence 0.9 four times, right three times; confidence 0.6 twice, right twice: (4 * 0.15 + 2 * 0.4) / 6.
    found = calibration([0.9, 0.9, 0.9, 0.1, 0.6, 0.4], [1, 1, 0, 0, 1, 0], range(6), rng(), bins=5)
    close(found.value, (4 * 0.15 + 2 * 0.4) / 6)
    assert [(b.n, round(b.predicted, 6), b.observed.value) for b in found.bins] == [(2, 0.6, 1.0), (4, 0.9, 0.75)]


def test_which_output_stands_first_does_not_matter():
    generator = np.random.default_rng(3)
    p, y = generator.random(300), generator.integers(2, size=300)
    p[:3] = 0.5
    flip = generator.random(300) < 0.5
    one = calibration(p, y, range(300), rng())
    other = calibration(np.where(flip, 1 - p, p), np.where(flip, 1 - y, y), range(300), rng())
    close([one.value, *one.interval, one.if_calibrated], [other.value, *other.interval, other.if_calibrated])


def test_bins_equal_scikit_learns_on_the_folded_half():
    generator = np.random.default_rng(4)
    p, y = generator.random(2000), generator.integers(2, size=2000)
    found = calibration(p, y, range(2000), rng(), bins=5)
    right, confidence = (p > 0.5) == (y == 1), np.maximum(p, 1 - p)
    observed, predicted = calibration_curve(right, confidence * 2 - 1, n_bins=5)
    close([b.observed.value for b in found.bins], observed)
    close([b.predicted * 2 - 1 for b in found.bins], predicted)
    assert sum(b.n for b in found.bins) == 2000
    assert all(b.low <= b.predicted <= b.high for b in found.bins)


def test_a_calibrated_model_has_the_error_that_chance_alone_gives():
    generator = np.random.default_rng(5)
    errors, expected = [], []
    for _ in range(60):
        p = generator.random(500)
        y = generator.random(500) < p
        found = calibration(p, y, range(500), generator, repeats=100)
        errors.append(found.value)
        expected.append(found.if_calibrated)
    close(np.mean(errors), np.mean(expected), 0.003)


def test_the_interval_takes_off_the_bias_that_resampling_adds():
    """A calibrated model's error is all bias; plain percentiles would lie above the value itself."""
    p = np.random.default_rng(7).random(400)
    y = np.random.default_rng(8).random(400) < p
    found = calibration(p, y, range(400), rng())
    assert found.interval[0] < 0.2 * found.value
    assert found.interval[1] < 2 * found.value


def test_a_model_that_does_not_know_is_half_right_and_calibrated():
    found = calibration([0.5] * 10, [1] * 7 + [0] * 3, range(10), rng())
    assert found.value == 0
    assert found.interval == (0, pytest.approx(0.338, abs=1e-3))  # 2.262^2 / (10 + 2.262^2): not of no width
    assert found.bins[0].observed.value == 0.5


def test_planted_overconfidence_is_found():
    generator = np.random.default_rng(6)
    margin = generator.normal(size=4000)
    y = generator.random(4000) < 1 / (1 + np.exp(-margin))
    stated = 1 / (1 + np.exp(-3 * margin))
    truth = np.mean(np.maximum(stated, 1 - stated)) - np.mean(1 / (1 + np.exp(-np.abs(margin))))
    found = calibration(stated, y, np.repeat(range(1000), 4), rng(), repeats=500)
    assert found.interval[0] < truth < found.interval[1]
    assert found.value > 5 * found.if_calibrated


def test_a_bin_with_one_prompt_still_has_an_honest_interval():
    found = calibration([0.99, 0.6, 0.6], [1, 1, 0], ["p", "q", "r"], rng())
    top = found.bins[-1]
    assert (top.n, top.clusters) == (1, 1)
    assert top.observed.interval[0] < 0.3
    json.dumps(found.to_dict())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pair_accuracy([], [], []), "margins is empty"),
        (lambda: pair_accuracy([1, 2], [1, 0.5], [1, 2]), r"outcomes\[1\] is 0\.5\. Expected 1 or 0: a tied pair"),
        (lambda: pair_accuracy([1, float("nan")], [1, 0], [1, 2]), r"margins\[1\] is nan"),
        (lambda: pair_accuracy([1, 2], [1, 0], [1, 1]), "prompts has 1 distinct"),
        (lambda: pair_accuracy([1, 2], [1], [1, 2]), "outcomes has 1"),
        (lambda: calibration([1.2, 0.5], [1, 0], [1, 2], rng()), r"probabilities\[0\] is 1\.2"),
        (lambda: calibration([0.2, 0.5], [1, 0.5], [1, 2], rng()), "Expected 1 or 0"),
        (lambda: calibration([0.2, 0.5], [1, 0], [1, 2], 0), "rng is int"),
        (lambda: calibration([0.2, 0.5], [1, 0], [1, 2], rng(), bins=0), "bins is 0"),
        (lambda: calibration([0.2, 0.5], [1, 0], [1, 1], rng()), "prompts has 1 distinct"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
