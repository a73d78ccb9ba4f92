"""What a record is, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rather.records import Message, Prompt, Ranking, Rating, Response, dense_ranks, ranks_from_scores


def responses(k: int) -> tuple[Response, ...]:
    return tuple(Response(text=f"answer {n}") for n in range(k))


def test_competition_and_dense_ranks_are_one_order():
    dense = Ranking(id="1", prompt="p", responses=responses(4), ranks=(1, 2, 2, 3))
    competition = Ranking(id="1", prompt="p", responses=responses(4), ranks=(1, 2, 2, 4))
    assert dense == competition
    assert competition.ranks == (1, 2, 2, 3)


@pytest.mark.parametrize("ranks", [(1, 3), (0, 1), (2, 2), (1, 1, 4), (1, 3, 3), (1, 2, 4), (1, 1, 3, 5)])
def test_ranks_with_a_hole_lost_a_response_on_the_way(ranks: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"gap|begin at 1"):
        dense_ranks(ranks)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9))
def test_scores_become_ranks_of_the_same_order(scores: list[int]):
    ranks = ranks_from_scores(scores)
    assert dense_ranks(ranks) == ranks
    for i in range(len(scores)):
        for j in range(len(scores)):
            assert (ranks[i] < ranks[j]) == (scores[i] > scores[j])


def test_records_are_frozen_and_their_ids_are_text():
    prompt = Prompt(id=17, prompt="Why?", user=4)
    assert (prompt.id, prompt.user) == ("17", "4")
    with pytest.raises(ValidationError, match="frozen"):
        prompt.prompt = "How?"
    assert hash(prompt) == hash(Prompt(id="17", prompt="Why?", user="4"))


def test_a_prompt_may_be_turns_and_ends_with_what_is_to_be_answered():
    turns = (Message(role="system", content="Be kind."), Message(role="user", content="Hi"))
    assert Prompt(id="1", prompt=turns).prompt == turns
    with pytest.raises(ValidationError, match="assistant's turn"):
        Prompt(id="1", prompt=(*turns, Message(role="assistant", content="Hello")))


def test_an_empty_response_and_a_score_that_is_no_number_are_refused():
    assert Response(text="", model="ppo").text == ""  # a model may answer nothing
    for wrong in ({"text": " "}, {"text": "x", "score": float("nan")}, {"text": "x", "finished": 1}):
        with pytest.raises(ValidationError):
            Response(**wrong)


def test_a_rating_says_at_least_one_thing():
    one = Response(text="r")
    assert Rating(id="1", prompt="p", response=one, flags={"toxic": False}).likert is None
    with pytest.raises(ValidationError, match="at least one"):
        Rating(id="1", prompt="p", response=one)


def test_records_start_without_torch():
    code = "import sys, rather.records, rather.records.survey, rather.cli.data; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
