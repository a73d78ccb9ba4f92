"""Several verifiers as one reward: a sum that says what each part said, and failures that keep their sample."""

from __future__ import annotations

import pytest

from rather.errors import BadRecord, BadSetting, NotReady
from rather.verifiers import VERIFIERS, Verdict, VerifierFailed, weighted

CASES = {
    "number": ("so 42", {"answer": "42"}),
    "choice": ("B", {"answer": "B", "choices": ["x", "y"]}),
    "exact": ("yes", {"answer": "Yes"}),
    "pattern": ("abc", {"pattern": "b"}),
    "json_schema": ("[1]", {"schema": {"type": "array"}}),
    "python": ("x = 1", {"tests": "assert x == 1"}),
    "ifeval": ("abc", {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}),
}


def test_every_named_verifier_takes_what_it_needs_from_the_case():
    assert set(CASES) == set(VERIFIERS)
    for name, (response, case) in CASES.items():
        assert weighted({name: 1.0})(response, case).score == 1
        with pytest.raises(VerifierFailed, match="the case has no"):
            weighted({name: 1.0})(response, {"id": "7"})


def test_a_reward_is_the_sum_of_weight_times_score():
    reward = weighted({"number": 1.0, "pattern": 0.25, "exact": -0.5})
    verdict = reward("the answer is 42", {"answer": "42", "pattern": "answer"})
    assert verdict.score == 1.25
    assert {name: part.score for name, part in verdict.parts.items()} == {"number": 1, "pattern": 1, "exact": 0}
    assert "number 1 x 1: the number is '42'" in verdict.reason


def test_verifiers_of_ones_own_stand_beside_the_named():
    reward = weighted({"short": 2.0}, {"short": lambda response, case: Verdict(1 / len(response), "length")})
    assert reward("abcd", {}).score == 0.5


def broken(response, case):
    raise ZeroDivisionError("one of mine")


def test_a_verifier_that_raises_is_an_error_with_its_sample_and_no_reward_of_0():
    with pytest.raises(VerifierFailed) as failed:
        weighted({"number": 1.0, "mine": 1.0}, {"mine": broken})("so 42", {"id": "p3", "answer": "42"})
    assert (failed.value.verifier, failed.value.response, failed.value.case["id"]) == ("mine", "so 42", "p3")
    assert "ZeroDivisionError: one of mine" in str(failed.value)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


def test_what_is_no_verdict_is_an_error():
    with pytest.raises(VerifierFailed, match="float and not a Verdict"):
        weighted({"mine": 1.0}, {"mine": lambda response, case: 0.5})("x", {})
    with pytest.raises(VerifierFailed, match="AssertionError"):
        weighted({"mine": 1.0}, {"mine": lambda response, case: Verdict(float("nan"), "")})("x", {})


def test_a_machine_that_is_not_ready_is_nobodys_sample():
    def unready(response, case):
        raise NotReady("no sandbox")

    with pytest.raises(NotReady, match="no sandbox"):
        weighted({"mine": 1.0}, {"mine": unready})("x", {})


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"nunber": 1.0}, "Did you mean 'number'?"),
        ({"number": float("nan")}, "The weight of 'number' is nan"),
        ({}, "No verifier is named"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights, words):
    with pytest.raises(BadSetting) as refused:
        weighted(weights)
    assert words in str(refused.value)


def test_a_case_that_is_wrong_names_itself():
    with pytest.raises(VerifierFailed) as failed:
        weighted({"number": 1.0})("42", {"id": "g1", "answer": "forty-two"})
    assert "(case 'g1')" in str(failed.value)
    assert isinstance(failed.value.__cause__, BadRecord)
