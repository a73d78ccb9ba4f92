from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.statistics import TIE_CONVENTIONS, agreement, agreement_by_group, agreement_by_labeler

# a1 b2 c2 d4 against b1 a2 c3 d4: of six pairs one is reversed, on one exactly one labeler ties.
TWO_RANKINGS = [[1, 2, 2, 4], [2, 1, 3, 4]]


def close(ours, theirs, tolerance=1e-10):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("ties", "expected"), [("dropped", 4 / 5), ("half", 4.5 / 6), ("category", 4 / 6)])
def test_two_labelers_on_four_outputs_by_hand(ties, expected):
    found = agreement(TWO_RANKINGS * 2, ["A", "B"] * 2, [1, 1, 2, 2], ties=ties)
    close(found.value, expected)
    assert found.n == {"dropped": 10, "half": 12, "category": 12}[ties]
    assert (found.clusters, found.labelers) == (2, 2)
    close(found.tie_share, 1 / 12)


def by_definition(ranks, labelers, prompts, ties):
    """The module's three lines of definition, pair by pair."""
    means = {}
    for prompt in set(prompts):
        rows = [r for r in range(len(ranks)) if prompts[r] == prompt]
        credits = []
        for one, other in combinations(rows, 2):
            for i, j in combinations(range(len(ranks[one])), 2):
                s, t = (np.sign(ranks[r][j] - ranks[r][i]) for r in (one, other))
                if ties == "dropped" and 0 in (s, t):
                    continue
                half = ties == "half" and (s == 0) != (t == 0)
                credits.append(0.5 if half else float(s == t))
        if credits:
            means[prompt] = np.mean(credits)
    return np.mean(list(means.values()))


@pytest.mark.parametrize("ties", TIE_CONVENTIONS)
def test_rankings_of_any_size_equal_the_definition_pair_by_pair(ties):
    rng = np.random.default_rng(0)
    for _ in range(20):
        ranks, labelers, prompts = [], [], []
        for prompt in range(8):
            size = rng.integers(2, 10)
            for labeler in rng.permutation(5)[: rng.integers(1, 5)]:
                ranks.append(rng.integers(1, 5, size).tolist())
                labelers.append(int(labeler))
                prompts.append(prompt)
        close(agreement(ranks, labelers, prompts, ties=ties).value, by_definition(ranks, labelers, prompts, ties))


def test_a_comparison_is_a_ranking_of_two():
    ranks = [[1, 2], [1, 2], [2, 1], [1, 2], [1, 1], [1, 2]]
    who, prompts = ["A", "B"] * 3, [1, 1, 2, 2, 3, 3]
    values = [agreement(ranks, who, prompts, ties=ties).value for ties in TIE_CONVENTIONS]
    close(values, [1 / 2, 1.5 / 3, 1 / 3])


verdicts = st.lists(st.lists(st.lists(st.integers(1, 4), min_size=4, max_size=4), min_size=3, max_size=3), min_size=2)


@settings(max_examples=60, deadline=None)
@given(verdicts, st.permutations(range(4)))
def test_conventions_are_ordered_and_the_order_of_outputs_does_not_matter(prompts, order):
    ranks = [labeler for prompt in prompts for labeler in prompt]
    who, of = ["A", "B", "C"] * len(prompts), np.repeat(range(len(prompts)), 3)
    half, category = (agreement(ranks, who, of, ties=ties) for ties in ("half", "category"))
    assert category.value <= half.value + 1e-12
    again = agreement(np.array(ranks)[:, order], who, of, ties="half")
    close([again.value, *again.interval], [half.value, *half.interval], 1e-7)
    monotone = agreement(np.exp(np.array(ranks, float)), who, of, ties="half")  # only the order of ranks counts
    close(monotone.value, half.value)


def noisy(rng, prompts, p, labelers=3):
    """Each labeler gives the better of two outputs with probability p."""
    right = rng.random((prompts, labelers)) < p
    ranks = np.where(right[..., None], [1, 2], [2, 1]).reshape(-1, 2)
    return ranks, list(range(labelers)) * prompts, np.repeat(range(prompts), labelers)


def test_labelers_of_known_noise_agree_as_p_squared_plus_q_squared_within_the_interval():
    covered = 0
    rng = np.random.default_rng(1)
    for _ in range(200):
        found = agreement(*noisy(rng, 80, 0.84), ties="dropped")
        covered += found.interval[0] <= 0.84**2 + 0.16**2 <= found.interval[1]
    assert covered >= 0.92 * 200


def test_groups_are_told_apart():
    rng = np.random.default_rng(2)
    steady, shaky = noisy(rng, 300, 0.95, 2), noisy(rng, 300, 0.75, 2)
    ranks = np.concatenate([steady[0], shaky[0]])
    who = [f"held-out {k}" for k in steady[1]] + [f"training {k}" for k in shaky[1]]
    prompts = [*steady[2], *shaky[2]]  # the same prompts
    found = agreement_by_group(ranks, who, prompts, {name: name.split()[0] for name in who}, ties="dropped")
    assert found["held-out"].interval[0] < 0.95**2 + 0.05**2 < found["held-out"].interval[1]
    assert found["training"].interval[0] < 0.75**2 + 0.25**2 < found["training"].interval[1]
    across = agreement(
        ranks, who, prompts, ties="dropped", among=["held-out 0", "held-out 1"], against=["training 0", "training 1"]
    )
    assert across.n == 4 * 300
    back = agreement(
        ranks, who, prompts, ties="dropped", among=["training 0", "training 1"], against=["held-out 0", "held-out 1"]
    )
    assert back == across
    assert across.interval[0] < 0.95 * 0.75 + 0.05 * 0.25 < across.interval[1]


def test_each_labeler_against_all_others_and_drawn_toward_everybody():
    ranks = [[1, 2], [1, 2], [2, 1]] * 3 + [[1, 2], [2, 1], [1, 2]]
    who = ["A", "B", "C"] * 3 + ["A", "D", "E"]
    found = agreement_by_labeler(ranks, who, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5], ties="dropped")
    close(found.labelers["A"].value, np.mean([0.5, 0.5, 0.5, 0]))
    close(found.labelers["C"].value, 0)
    assert found.alone == ("E",)
    assert found.labelers["D"].clusters == 1
    assert found.labelers["D"].interval[1] > 0.79  # a single prompt says next to nothing
    mean = found.overall.value
    close(found.labelers["D"].shrunk, (1 * 0 + 10 * mean) / 11)
    close(found.labelers["A"].shrunk, (4 * 0.375 + 10 * mean) / 14)  # four prompts, though seven pairs
    assert found.labelers["A"].n == 7
    assert found.to_dict()["labelers"]["A"]["ties"] == "dropped"


def test_a_prompt_with_two_tasks_is_still_one_prompt():
    ranks = [[1, 2], [1, 2], [1, 2, 3], [3, 2, 1], [1, 2], [1, 2]]
    who, prompts, tasks = ["A", "B"] * 3, ["p", "p", "p", "p", "q", "q"], [1, 1, 2, 2, 3, 3]
    found = agreement(ranks, who, prompts, ties="dropped", tasks=tasks)
    close(found.value, np.mean([1 / 4, 1]))
    assert (found.clusters, found.n) == (2, 5)


def test_all_ties_agree_as_a_category_and_say_nothing_once_dropped():
    rows = ([[1, 1, 1]] * 4, ["A", "B"] * 2, [1, 1, 2, 2])
    assert agreement(*rows, ties="category").value == 1
    assert agreement(*rows, ties="half").value == 1
    with pytest.raises(ValueError, match=r"on 0 prompt\(s\) once ties are dropped. Expected at least 2"):
        agreement(*rows, ties="dropped")


@pytest.mark.parametrize(
    ("ranks", "labelers", "prompts", "words"),
    [
        ([], [], [], "There are no rankings"),
        ([[1, 2], [1, 2]], ["A", "A"], [1, 2], "No task was ranked by two labelers"),
        ([[1, 2], [1, 2]], ["A", "B"], [1, 1], r"on 1 prompt\(s\)\. Expected at least 2"),
        ([[1, 2], [1, 2]], ["A", "A"], [1, 1], "Labeler 'A' ranked task 1 more than once"),
        ([[1, 2], [1, 2, 3]], ["A", "B"], [1, 1], r"ranked with \[2, 3\] outputs"),
        ([[1], [1]], ["A", "B"], [1, 1], "has 1 output"),
        ([[1, float("nan")], [1, 2]], ["A", "B"], [1, 1], r"ranks\[0\]\[1\] is nan"),
        ([[1, None], [1, 2]], ["A", "B"], [1, 1], r"ranks\[0\]"),
        ([[1, 2], [1, 2]], ["A"], [1, 1], "labelers has 1"),
        ([[1, 2], [1, 2]], ["A", None], [1, 1], r"labelers\[1\] is None"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(ranks, labelers, prompts, words):
    with pytest.raises(ValueError, match=words):
        agreement(ranks, labelers, prompts, ties="half")


def test_unknown_names_are_refused():
    rows = ([[1, 2]] * 4, ["A", "B"] * 2, [1, 1, 2, 2])
    with pytest.raises(ValueError, match="ties is 'drop'"):
        agreement(*rows, ties="drop")
    with pytest.raises(ValueError, match="Labeler 'Z' ranked nothing"):
        agreement(*rows, ties="half", among=["Z"])
    with pytest.raises(ValueError, match="Labeler 'B' is in no group"):
        agreement_by_group(*rows, {"A": "training"}, ties="half")
    with pytest.raises(ValueError, match=r"Group 'held-out' \(1 labelers\)"):
        agreement_by_group(*rows, {"A": "held-out", "B": "training"}, ties="half")
    with pytest.raises(ValueError, match="Task 1 belongs to several prompts"):
        agreement(*rows, ties="half", tasks=[1, 1, 1, 1])
    with pytest.raises(ValueError, match="prior_prompts is -1"):
        agreement_by_labeler(*rows, ties="half", prior_prompts=-1)
