from __future__ import annotations

import json

import choix
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rather.statistics import ELO, TIE_MODELS, bradley_terry, pairs_of_rankings
from rather.statistics.tie_models import TieModel

WINS = [("a", "b", 7), ("a", "c", 9), ("b", "a", 3), ("b", "c", 6), ("c", "a", 1), ("c", "b", 4)]
TIES = [("a", "b", 2), ("a", "c", 1), ("b", "c", 3)]


def close(ours, theirs, tolerance=1e-6):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def columns(wins, ties=()):
    """first, second, outcomes, prompts: each comparison with a prompt of its own."""
    rows = [(i, j, y) for counts, y in ((wins, 1.0), (ties, 0.5)) for i, j, n in counts for _ in range(n)]
    first, second, outcomes = map(list, zip(*rows, strict=True))
    return first, second, outcomes, range(len(rows))


def values(found, players="abc"):
    return [found.players[player].value for player in players]


def drawn(rng, strengths, n, ties="davidson", tau=0.0):
    """n random comparisons of players 0, 1, ... that follow the model."""
    first = rng.integers(len(strengths), size=n)
    second = (first + rng.integers(1, len(strengths), size=n)) % len(strengths)
    d = strengths[first] - strengths[second]
    weights = {
        "davidson": np.stack([np.exp(d / 2), np.full(n, np.exp(tau)), np.exp(-d / 2)], 1),
        "half": np.stack([np.exp(d / 2), np.zeros(n), np.exp(-d / 2)], 1),
    }[ties]
    edges = np.cumsum(weights / weights.sum(1, keepdims=True), 1)
    return first, second, np.array([1, 0.5, 0])[(rng.random((n, 1)) > edges[:, :2]).sum(1)]


def test_three_players_by_hand():
    close(values(bradley_terry(*columns(WINS), ties="half")), [0.9436, -0.1602, -0.7834], 1e-4)
    close(values(bradley_terry(*columns(WINS, TIES), ties="half")), [0.7901, -0.1421, -0.6480], 1e-4)
    davidson = bradley_terry(*columns(WINS, TIES), ties="davidson")
    close(values(davidson), [0.9896, -0.1785, -0.8111], 1e-4)
    close(davidson.tie_parameter, 0.4771, 1e-4)


def test_two_players_have_the_log_odds_of_their_wins():
    found = bradley_terry(*columns([("x", "y", 30), ("y", "x", 10)]), ties="half", baseline="y")
    close(found.players["x"].value, np.log(3))
    close(found.players["x"].se, np.sqrt(1 / 30 + 1 / 10) * np.sqrt(40 / 39))
    close(found.win_rate("x", "y"), 0.75)
    with pytest.raises(ValueError, match="'z' is no player"):
        found.win_rate("x", "z")


def test_two_players_with_ties_have_closed_forms():
    """30 wins, 20 ties, 10 losses. Davidson: d = log(w / l), nu = t / sqrt(w l); Rao-Kupper: two logits."""
    data = columns([("x", "y", 30), ("y", "x", 10)], [("x", "y", 20)])
    davidson = bradley_terry(*data, ties="davidson", baseline="y")
    close([davidson.players["x"].value, davidson.tie_parameter], [np.log(3), 20 / np.sqrt(300)])
    rao_kupper = bradley_terry(*data, ties="rao-kupper", baseline="y")
    won, lost = np.log(30 / 30), np.log(10 / 50)  # d - delta, -d - delta
    close([rao_kupper.players["x"].value, rao_kupper.tie_parameter], [(won - lost) / 2, np.exp(-(won + lost) / 2)])
    for found in (davidson, rao_kupper):
        close(found.win_rate("x", "y"), 40 / 60)


def test_near_separable_data_goes_all_the_way():
    found = bradley_terry(*columns([("x", "y", 5000), ("y", "x", 1)]), ties="half", baseline="y")
    close(found.players["x"].value, np.log(5000), 1e-8)


def test_elo_is_a_display():
    assert ELO * np.log(10) == pytest.approx(400)
    assert 1 / (1 + np.exp(-400 / ELO)) == pytest.approx(0.9091, abs=1e-4)


def test_strengths_equal_choix_with_and_without_a_prior():
    rng = np.random.default_rng(0)
    for seed in range(10):
        first, second, y = drawn(np.random.default_rng(seed), rng.normal(size=5), 200, "half")
        wins = [(i, j) if won else (j, i) for i, j, won in zip(first, second, y, strict=True)]
        ours = bradley_terry(first, second, y, range(200), ties="half")
        close(values(ours, range(5)), choix.opt_pairwise(5, wins, alpha=0, tol=1e-12), 1e-5)
        prior = bradley_terry(first, second, y, range(200), ties="half", prior_sd=0.7)
        close(values(prior, range(5)), choix.opt_pairwise(5, wins, alpha=1 / (2 * 0.7**2), tol=1e-12), 1e-5)


def reference(first, second, y, players, model):
    """The two papers' formulas in strengths pi, maximised by a general-purpose optimiser."""

    def minus(parameters):
        pi = np.exp(np.append(0, parameters[:-1]))
        i, j, t = pi[first], pi[second], np.exp(parameters[-1])
        if model == "davidson":
            norm = i + j + t * np.sqrt(i * j)
            win, tie, loss = i / norm, t * np.sqrt(i * j) / norm, j / norm
        else:
            theta = 1 + t
            win, loss = i / (i + theta * j), j / (j + theta * i)
            tie = i * j * (theta**2 - 1) / ((i + theta * j) * (j + theta * i))
        return -np.log(np.select([y == 1, y == 0.5], [win, tie], loss)).sum()

    found = minimize(minus, np.zeros(players), method="BFGS", options={"gtol": 1e-9})
    strengths = np.append(0, found.x[:-1])
    t = np.exp(found.x[-1])
    return strengths - strengths.mean(), t if model == "davidson" else 1 + t, -found.fun


@pytest.mark.parametrize("model", ["davidson", "rao-kupper"])
def test_tie_models_equal_the_papers_formulas(model):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        first, second, y = drawn(rng, rng.normal(size=4), 300)
        strengths, parameter, likelihood = reference(first, second, y, 4, model)
        ours = bradley_terry(first, second, y, range(300), ties=model)
        close(values(ours, range(4)), strengths, 1e-4)
        close(ours.tie_parameter, parameter, 1e-4)
        close(ours.log_likelihood, likelihood, 1e-8)


@pytest.mark.parametrize("model", TIE_MODELS)
def test_gradient_and_hessian_are_those_of_the_likelihood(model):
    rng = np.random.default_rng(5)
    first, second, y = drawn(rng, rng.normal(size=4), 60)
    fit = TieModel(first, second, y, 4, model, prior_sd=0.8)
    theta = np.array([0.3, -0.5, 0.8, 0.6])[: fit.dimensions]
    _, gradient, hessian = fit.surface(theta)
    steps = 1e-5 * np.eye(fit.dimensions)
    close(gradient, [(fit.surface(theta + h)[0] - fit.surface(theta - h)[0]) / 2e-5 for h in steps], 1e-5)
    close(hessian, [(fit.surface(theta + h)[1] - fit.surface(theta - h)[1]) / 2e-5 for h in steps], 1e-5)
    unpriored = TieModel(first, second, y, 4, model, prior_sd=None)
    close(unpriored.row_scores(theta).sum(0), unpriored.surface(theta)[1])


def test_intervals_equal_a_clustered_logistic_regression():
    rng = np.random.default_rng(1)
    first, second, y = drawn(rng, np.array([0.0, 0.5, 1.0]), 240, "half")
    prompts = np.repeat(range(40), 6)
    design = np.eye(3)[first] - np.eye(3)[second]
    fit = sm.Logit(y, design[:, 1:]).fit(
        disp=0, tol=1e-12, cov_type="cluster", cov_kwds={"groups": prompts, "use_correction": False}
    )
    ours = bradley_terry(first, second, y, prompts, ties="half", baseline=0)
    close(values(ours, [1, 2]), fit.params)
    close([ours.players[k].se for k in (1, 2)], fit.bse * np.sqrt(40 / 39))


def test_the_baseline_is_zero_and_others_keep_their_differences():
    free = bradley_terry(*columns(WINS, TIES))
    anchored = bradley_terry(*columns(WINS, TIES), baseline="c")
    assert anchored.players["c"].interval == (0, 0)
    assert sum(values(free)) == pytest.approx(0)
    close(np.diff(values(anchored)), np.diff(values(free)))
    prior = [bradley_terry(*columns(WINS, TIES), baseline=b, prior_sd=0.5) for b in (None, "a", "c")]
    for one in prior[1:]:
        close(np.diff(values(one)), np.diff(values(prior[0])))


@pytest.mark.parametrize("model", TIE_MODELS)
def test_names_order_and_sides_do_not_matter(model):
    first, second, y, prompts = columns(WINS, TIES)
    expected = bradley_terry(first, second, y, prompts, ties=model)
    order = np.random.default_rng(0).permutation(len(y))
    new = {"a": "zebra", "b": "Ant", "c": "0"}
    again = bradley_terry(
        [new[second[k]] for k in order], [new[first[k]] for k in order], [1 - y[k] for k in order], order, ties=model
    )
    close(values(again, [new[p] for p in "abc"]), values(expected))
    close([again.players[new[p]].se for p in "abc"], [expected.players[p].se for p in "abc"])
    assert list(again.players) == [new[player] for player in expected.players]  # strongest first


@pytest.mark.parametrize("model", TIE_MODELS)
def test_without_ties_all_models_are_one(model):
    found = bradley_terry(*columns(WINS), ties=model)
    close(values(found), [0.9436, -0.1602, -0.7834], 1e-4)
    assert found.tie_parameter == {"davidson": 0.0, "rao-kupper": 1.0, "half": None}[model]
    assert found.win_rate("a", "c") == pytest.approx(1 / (1 + np.exp(-0.9436 - 0.7834)), abs=1e-4)


@pytest.mark.parametrize("model", TIE_MODELS)
def test_expected_win_rates_of_a_round_robin_add_up_to_the_observed_ones(model):
    found = bradley_terry(*columns(WINS, TIES), ties=model)
    assert found.win_rate("a", "b") + found.win_rate("b", "a") == pytest.approx(1)
    expected = 12 * found.win_rate("a", "b") + 11 * found.win_rate("a", "c")
    # 7 + 9 wins and 3 ties; exact for models whose score equation is this sum, near for Rao and Kupper's.
    assert expected == pytest.approx(17.5, abs=0.3 if model == "rao-kupper" else 1e-6)


def test_intervals_cover_when_the_pairs_of_a_ranking_belong_together():
    rng = np.random.default_rng(2)
    covered = naive = 0
    truth = np.array([0.0, 0.4, 0.8, 1.2])
    for _ in range(200):
        prompt_taste = rng.normal(size=(50, 1, 4))  # what a prompt's labelers share
        scores = truth + prompt_taste + rng.gumbel(size=(50, 3, 4))  # 50 prompts, 3 labelers, 4 players
        ranks = scores.reshape(150, 4).argsort(1)[:, ::-1].argsort(1)
        first, second, y, prompts = pairs_of_rankings([range(4)] * 150, ranks, np.repeat(range(50), 3))
        found = bradley_terry(first, second, y, prompts, baseline=0).players[3]
        alone = bradley_terry(first, second, y, range(len(y)), baseline=0).players[3]
        target = TRUE_DIFFERENCE
        covered += found.interval[0] <= target <= found.interval[1]
        naive += alone.interval[0] <= target <= alone.interval[1]
    assert covered >= 0.92 * 200
    assert naive < 0.8 * 200


def true_difference():
    """What the fit estimates in that world: the limit of infinitely many prompts."""
    rng = np.random.default_rng(99)
    truth = np.array([0.0, 0.4, 0.8, 1.2])
    scores = truth + rng.normal(size=(20_000, 4)) + rng.gumbel(size=(20_000, 4))
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    wins = [(i, j, int((scores[:, i] > scores[:, j]).sum())) for i, j in pairs]
    wins += [(j, i, 20_000 - n) for i, j, n in wins]
    return bradley_terry(*columns(wins), baseline=0).players[3].value


TRUE_DIFFERENCE = true_difference()


def test_a_ranking_is_all_its_pairs_but_those_of_one_player():
    first, second, y, prompts = pairs_of_rankings([["a", "b", "c"], ["a", "a", "b"]], [[1, 2, 2], [1, 2, 3]], [7, 8])
    assert list(zip(first, second, y, prompts, strict=True)) == [
        ("a", "b", 1, 7),
        ("a", "c", 1, 7),
        ("b", "c", 0.5, 7),
        ("a", "b", 1, 8),
        ("a", "b", 1, 8),
    ]


def test_groups_that_never_met_are_named():
    data = columns([("a", "b", 3), ("b", "a", 2), ("c", "d", 3), ("d", "c", 1)])
    with pytest.raises(ValueError, match=r"2 groups that never met: a, b \| c, d"):
        bradley_terry(*data)
    assert bradley_terry(*data, prior_sd=1.0).prior_sd == 1.0


@pytest.mark.parametrize("model", TIE_MODELS)
def test_a_player_that_always_wins_is_named_and_a_stated_prior_gives_it_a_strength(model):
    data = columns([("best", "b", 9), ("best", "c", 9), ("b", "c", 4), ("c", "b", 4)])
    with pytest.raises(ValueError, match=r"best never lost to or tied with b, c"):
        bradley_terry(*data, ties=model)
    found = bradley_terry(*data, ties=model, prior_sd=1.0)
    assert next(iter(found.players)) == "best"
    assert 0 < found.players["best"].value < 5
    assert "prior sd 1" in found.players["best"].method


@pytest.mark.parametrize("model", ["davidson", "rao-kupper"])
def test_wins_and_ties_without_a_loss_have_no_finite_fit_under_a_tie_model(model):
    data = columns([("x", "y", 5)], [("x", "y", 5)])
    with pytest.raises(ValueError, match=r"strength of x and the tie parameter have no finite estimate"):
        bradley_terry(*data, ties=model)
    close(bradley_terry(*data, ties="half", baseline="y").players["x"].value, np.log(7.5 / 2.5))
    assert np.isfinite(bradley_terry(*data, ties=model, prior_sd=1.0).players["x"].value)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 2), st.sampled_from([0.0, 0.5, 1.0])), min_size=8, max_size=30
    ),
    st.sampled_from(TIE_MODELS),
)
def test_every_small_data_set_gives_a_maximum_or_a_refusal(rows, model):
    first, second = [i for i, _, _ in rows], [(i + step) % 3 for i, step, _ in rows]
    y = np.array([y for _, _, y in rows])
    try:
        found = bradley_terry(first, second, y, range(len(rows)), ties=model)
    except ValueError as error:
        assert any(words in str(error) for words in ("never", "finite", "All", "no spread"))  # noqa: PT017 (either is right)
        return
    assert max(abs(player.value) for player in found.players.values()) < 50
    players = list(found.players)
    again = bradley_terry([*first, *first], [*second, *second], [*y, *y], [*range(len(y))] * 2, ties=model)
    close(values(again, players), values(found, players), 1e-4)  # twice the data, the same maximum


def test_results_go_to_json():
    found = json.loads(json.dumps(bradley_terry(*columns(WINS, TIES), baseline="c").to_dict()))
    assert found["players"]["a"]["interval"][0] < found["players"]["a"]["value"]
    assert found["ties"] == "davidson"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"first": [], "second": [], "outcomes": [], "prompts": []}, "outcomes is empty"),
        ({"outcomes": [0.5] * 4}, "All 4 comparisons are ties"),
        ({"outcomes": [1, 0, 0.7, 1]}, r"outcomes has 0\.7"),
        ({"outcomes": [1, 0, float("nan"), 1]}, r"outcomes\[2\] is nan"),
        ({"second": ["b", "a", "a", "b"]}, "Row 2 compares 'a' with itself"),
        ({"prompts": [1, 1, 1, 1]}, "prompts has 1 distinct"),
        ({"prompts": [1, 2]}, "prompts has 2"),
        ({"ties": "drop"}, "ties is 'drop'. Expected one of 'davidson'"),
        ({"baseline": "gpt-3"}, "baseline 'gpt-3' is in no comparison. Players: a, b"),
        ({"prior_sd": 0}, "prior_sd is 0"),
        ({"first": ["a", "b", None, "b"]}, r"players\[2\] is None"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(change, words):
    good = {"first": list("abab"), "second": list("baba"), "outcomes": [1, 1, 0.5, 0], "prompts": [1, 2, 3, 4]}
    with pytest.raises(ValueError, match=words):
        bradley_terry(**{**good, **change})


def test_with_a_prior_the_interval_knows_what_only_the_prior_knows():
    """Strengths drawn from the prior, so few comparisons that some player often wins or loses them all."""
    rng, covered, asked = np.random.default_rng(3), 0, 0
    for _ in range(300):
        truth = rng.normal(0, 1.0, 4)
        first, second, y = drawn(rng, truth, 14, "half")
        if len({*first, *second}) < 4:
            continue
        found = bradley_terry(first, second, y, range(14), ties="half", prior_sd=1.0)
        for player in range(4):
            low, high = found.players[player].interval
            covered += low <= truth[player] - truth.mean() <= high
            asked += 1
    assert 0.93 <= covered / asked <= 0.99
    vague = bradley_terry(list("ab") * 3, list("ba") * 3, [1, 0] * 3, range(6), ties="half", prior_sd=100.0)
    assert np.diff(vague.players["a"].interval) > 20  # a never lost: almost nothing holds it from above


def test_prompts_whose_verdicts_cancel_leave_no_spread():
    with pytest.raises(ValueError, match="The 10 prompts all say the same"):
        bradley_terry(["x", "x"] * 10, ["y", "y"] * 10, [1, 0] * 10, np.repeat(range(10), 2), baseline="y")


def test_fewer_prompts_than_parameters_is_refused():
    first, second, y, _ = columns(WINS, TIES)
    with pytest.raises(ValueError, match="3 prompts for 3 parameters"):
        bradley_terry(first, second, y, np.arange(len(y)) % 3)


def test_rankings_must_fit_together():
    with pytest.raises(ValueError, match=r"players\[0\] has 2, ranks\[0\] has 3"):
        pairs_of_rankings([["a", "b"]], [[1, 2, 3]], [1])
    with pytest.raises(ValueError, match=r"ranks\[0\]\[1\] is nan"):
        pairs_of_rankings([["a", "b"]], [[1, float("nan")]], [1])
