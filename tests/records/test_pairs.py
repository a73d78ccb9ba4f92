"""Rankings give their pairs, and pairs give their ranking back where they are one order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rather.records import Comparison, Ranking, Response, as_rankings, gather, pairs_of, ranks_from_scores


def ranking(*ranks: int, **fields) -> Ranking:
    responses = tuple(Response(text=f"answer {n}") for n in range(len(ranks)))
    return Ranking(**({"id": "r", "prompt": "p", "responses": responses, "ranks": ranks} | fields))


def pair(a: str, b: str, preferred: str, **fields) -> Comparison:
    sides = {"a": Response(text=a), "b": Response(text=b)}
    name = {"id": f"{a}-{b}", "prompt": "p", "group_id": "g"}
    return Comparison(**(name | sides | {"preferred": preferred} | fields))


def test_four_responses_give_six_pairs_ties_included():
    pairs = pairs_of(ranking(1, 2, 2, 3))
    assert [p.preferred for p in pairs] == ["a", "a", "a", "tie", "a", "a"]
    assert [p.id for p in pairs] == ["r/0-1", "r/0-2", "r/0-3", "r/1-2", "r/1-3", "r/2-3"]
    assert {p.group_id for p in pairs} == {"r"}


def test_a_pair_keeps_the_order_in_which_the_labeler_saw_the_two():
    pairs = pairs_of(ranking(1, 2, 3, displayed=(2, 0, 1)))
    assert {p.id: p.displayed for p in pairs} == {"r/0-1": "ab", "r/0-2": "ba", "r/1-2": "ba"}


@given(st.lists(st.integers(0, 4), min_size=2, max_size=9), st.randoms(use_true_random=False))
def test_a_ranking_comes_back_from_its_pairs_in_any_order(scores: list[int], rng):
    one = ranking(*ranks_from_scores(scores), labeler="ann", guideline="3", category="closed QA")
    pairs = pairs_of(one)
    rng.shuffle(pairs)
    gathered = gather(pairs)
    assert (gathered.comparisons, gathered.reasons) == ([], {})
    (back,) = gathered.rankings
    assert dict(zip(back.responses, back.ranks, strict=True)) == dict(zip(one.responses, one.ranks, strict=True))
    assert (back.id, back.labeler, back.guideline, back.category) == ("r", "ann", "3", "closed QA")


def test_what_was_compared_through_others_needs_no_pair_of_its_own():
    (one,) = gather([pair("x", "y", "a"), pair("z", "y", "b")]).rankings
    assert dict(zip((r.text for r in one.responses), one.ranks, strict=True)) == {"x": 1, "y": 2, "z": 3}


def test_pairs_that_are_no_order_stay_pairs_and_say_why():
    circle = [pair("x", "y", "a"), pair("y", "z", "a"), pair("z", "x", "a")]
    tied_circle = [pair("x", "y", "tie"), pair("y", "z", "tie"), pair("x", "z", "a")]
    gap = [pair("x", "y", "a"), pair("x", "z", "a")]
    twice = [pair("x", "y", "a"), pair("x", "x", "tie")]
    prompts = [pair("x", "y", "a"), pair("y", "z", "a", prompt="q")]
    for pairs, reason in ((circle, "circle"), (tied_circle, "circle"), (gap, "never compared"), (twice, "twice"),
                          (prompts, "different prompts")):  # fmt: skip
        gathered = gather(pairs)
        assert (gathered.rankings, gathered.comparisons) == ([], pairs)
        assert reason in gathered.reasons["g"]


def test_one_group_for_a_whole_file_is_said_and_not_sorted():
    pairs = [pair(f"x{n}", f"y{n}", "a", prompt=f"p{n}") for n in range(2000)]
    assert gather(pairs).reasons == {"g": "its pairs have different prompts"}
    pairs = [pair(f"x{n}", f"x{n + 1}", "a") for n in range(1000)]
    assert gather(pairs).reasons == {"g": "it holds more than 1,000 responses"}


def test_each_labeler_has_a_ranking_of_their_own():
    rankings = gather([pair("x", "y", "a", labeler="ann"), pair("x", "y", "b", labeler="bob")]).rankings
    assert [(r.id, r.group, r.labeler, r.ranks) for r in rankings] == [
        ("g/ann", "g", "ann", (1, 2)),
        ("g/bob", "g", "bob", (2, 1)),
    ]


def test_comparisons_without_a_group_are_rankings_of_two():
    rankings = list(as_rankings([pair("x", "y", "tie", group_id=None, displayed="ba")]))
    assert [(r.id, r.ranks, r.displayed) for r in rankings] == [("x-y", (1, 1), (1, 0))]
