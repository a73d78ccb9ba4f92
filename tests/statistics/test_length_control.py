from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.statistics import length_controlled_win_rate
from rather.statistics.likelihood import direction_without_end


def close(ours, theirs, tolerance=1e-7):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def world(rng, n=800, theta=0.0):
    """A judge that likes length, and a model that is 0.8 sd longer: raw about 0.606 at theta 0, the truth 0.5."""
    d = rng.normal(0.8, 1, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-theta - np.tanh(d)))).astype(float)
    return y, 200 + 50 * d, np.full(n, 200.0)


def test_it_recovers_equal_quality_behind_a_length_preference_and_covers():
    rng = np.random.default_rng(0)
    raw, controlled, covered = [], [], 0
    for _ in range(300):
        found = length_controlled_win_rate(*world(rng), range(800))
        raw.append(found.raw.value)
        controlled.append(found.value)
        covered += found.interval[0] <= 0.5 <= found.interval[1]
    assert np.mean(raw) == pytest.approx(0.606, abs=0.004)
    assert np.mean(controlled) == pytest.approx(0.5, abs=0.004)
    assert np.std(controlled) == pytest.approx(0.024, abs=0.003)
    assert 0.92 * 300 <= covered <= 0.98 * 300


def test_it_is_the_clustered_logistic_regression_of_statsmodels():
    rng = np.random.default_rng(1)
    y, ours, theirs = world(rng, 300, 0.4)
    y[::7] = 0.5
    prompts = np.repeat(range(100), 3)
    x = ours - theirs
    design = np.column_stack([np.ones(300), np.tanh(x / x.std())])
    fit = sm.GLM(y, design, family=sm.families.Binomial()).fit(
        tol=1e-12, cov_type="cluster", cov_kwds={"groups": prompts, "use_correction": False}
    )
    found = length_controlled_win_rate(y, ours, theirs, prompts)
    close(found.value, 1 / (1 + np.exp(-fit.params[0])))
    close([found.length.value, found.length.se], [fit.params[1], fit.bse[1] * np.sqrt(100 / 99)])


def test_swapping_the_two_models_gives_the_rest_to_1():
    y, ours, theirs = world(np.random.default_rng(2), 200)
    found = length_controlled_win_rate(y, ours, theirs, range(200))
    swapped = length_controlled_win_rate(1 - y, theirs, ours, range(200))
    close(found.value + swapped.value, 1)
    close(found.interval, [1 - swapped.interval[1], 1 - swapped.interval[0]])
    close(found.length.value, swapped.length.value)


def test_characters_or_tokens_make_no_difference():
    y, ours, theirs = world(np.random.default_rng(3), 200)
    one, four = (length_controlled_win_rate(y, k * ours, k * theirs, range(200)) for k in (1, 4))
    close([one.value, *one.interval], [four.value, *four.interval])
    close(four.scale, 4 * one.scale)


def test_a_judge_without_a_length_preference_is_left_alone():
    rng = np.random.default_rng(4)
    y = (rng.random(4000) < 0.6).astype(float)
    found = length_controlled_win_rate(y, rng.normal(300, 50, 4000), rng.normal(250, 50, 4000), range(4000))
    assert found.value == pytest.approx(found.raw.value, abs=0.02)
    assert found.length.interval[0] < 0 < found.length.interval[1]
    assert found.warning == ""


def test_copied_labels_add_no_certainty_and_prompts_count_once():
    y, ours, theirs = world(np.random.default_rng(5), 100)
    once = length_controlled_win_rate(y, ours, theirs, range(100))
    copied = length_controlled_win_rate(*(np.tile(c, 5) for c in (y, ours, theirs)), np.tile(range(100), 5))
    close([copied.value, *copied.interval, copied.scale], [once.value, *once.interval, once.scale])
    close(copied.raw.value, once.raw.value)


def test_it_warns_when_length_explains_more_than_ten_points():
    rng = np.random.default_rng(6)
    d = rng.normal(1.5, 1, 1000)
    y = (rng.random(1000) < 1 / (1 + np.exp(-2 * np.tanh(d)))).astype(float)
    found = length_controlled_win_rate(y, 100 * d, np.zeros(1000), range(1000))
    assert found.raw.value - found.value > 0.1
    assert "longer answers explain" in found.warning
    assert found.to_dict()["raw"]["wins"] == found.raw.wins


rows = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(-3, 3)), min_size=4, max_size=15)


@settings(max_examples=150, deadline=None)
@given(rows)
def test_every_small_data_set_gives_a_maximum_or_a_refusal(rows):
    y, x = np.array([y for y, _ in rows]), np.array([float(x) for _, x in rows])
    found, said = None, ""
    try:
        found = length_controlled_win_rate(y, x, np.zeros(len(x)), range(len(x)))
    except ValueError as error:
        said = str(error)
    if "differences are" in said:
        return  # all alike, or all far from 0: tested below
    design = np.column_stack([np.ones(len(x)), np.tanh(x / x.std())])
    endless = direction_without_end(np.vstack([design[y > 0], -design[y < 1]])) is not None
    assert endless == ("no finite fit" in said or "decides every outcome" in said)
    if found is None:
        assert endless or "no spread" in said
    elif 1e-6 < found.value < 1 - 1e-6:
        theta = np.log(found.value / (1 - found.value))
        close(design.T @ (y - 1 / (1 + np.exp(-design @ [theta, found.length.value]))), [0, 0], 1e-6)


@pytest.mark.parametrize(
    ("outcomes", "ours", "theirs", "words"),
    [
        ([1, 1, 1, 1], [-1, 2, -3, 4], [0, 0, 0, 0], "All 4 outcomes are 1"),
        ([0.5] * 4, [-1, 2, -3, 4], [0, 0, 0, 0], "average to exactly what their length predicts"),
        ([1, 0, 1, 0], [90, 91, 92, 93], [0, 0, 0, 0], "are 90 to 93, far from 0 for their spread of 1.1"),
        ([1, 1, 0, 0], [9, 8, 2, 1], [5, 5, 5, 5], r"decides every outcome \(longer answers win\)"),
        ([0, 0, 1, 1], [9, 8, 2, 1], [5, 5, 5, 5], "shorter answers win"),
        ([1, 0.5, 1, 1], [9, 5, 8, 7], [5, 5, 5, 5], "longer answers win"),
        ([1, 0.5, 0, 0], [9, 5, 2, 1], [5, 5, 5, 5], "decides every outcome"),
        ([1, 0, 1, 0], [7, 8, 9, 10], [5, 6, 7, 8], "All 4 length differences are 2"),
        ([1, 0, 1, 0], [1, 2, float("nan"), 4], [0, 0, 0, 0], r"ours\[2\] is nan"),
        ([1, 0, 1, 2], [1, 2, 3, 4], [0, 0, 0, 0], r"outcomes\[3\] is 2"),
        ([1, 0, 1], [1, 2, 3, 4], [0, 0, 0, 0], "outcomes has 3"),
        ([1, 0, 1, 0], [1, 2, 3, 4], [0, 0, 0], "theirs"),
        ([], [], [], "outcomes is empty"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_words(outcomes, ours, theirs, words):
    with pytest.raises(ValueError, match=words):
        length_controlled_win_rate(outcomes, ours, theirs, range(4))


def test_two_prompts_are_too_few():
    with pytest.raises(ValueError, match="prompts has 2 distinct"):
        length_controlled_win_rate([1, 0, 1, 0], [1, 2, 3, 4], [0] * 4, [1, 1, 2, 2])
