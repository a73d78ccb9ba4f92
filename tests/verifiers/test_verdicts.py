"""Numbers, choices, exact answers, patterns and schemas: what is right, what is wrong, and what is refused."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.errors import BadRecord
from rather.verifiers import choice, exact, json_schema, number, pattern


@pytest.mark.parametrize(
    ("response", "answer", "score"),
    [
        ("The answer is 42.", "42", 1),
        ("12 + 30 = 42", 42, 1),
        ("It takes 41 steps, no: 42", "... so she has #### 42", 1),
        ("so 5 times 8 is 40.\n#### 42", "#### 42", 1),
        ("#### 42\nBut 43 was also near.", "42", 1),
        (r"Thus \boxed{42}, as 6 times 9 is not 54 here.", "42", 1),
        (r"\boxed{41} no, \boxed{42}", "42", 1),
        (r"\boxed{42 \text{ or } 43}", "42", 0),
        (r"\boxed{\frac{1}{2}}", "0.5", 1),
        (r"\boxed{\dfrac{3}{4}}", "3/4", 1),
        (r"\boxed{42", "42", 0),
        ("The answer is 42, because 7 x 6 = 42 and not 54", "42", 1),
        ("1,234,567 people", "1234567", 1),
        ("$1,200.50 in all", "1200.5", 1),
        ("about 3.0e2 of them", "300", 1),
        ("it is −5", "-5", 1),
        ("10-3", "3", 1),
        ("it is -7", "7", 0),
        ("0.3333", "1/3", 0),
        ("0.33333333", "1/3", 1),
        ("half of it, 50%", "50 %", 1),
        ("5 km", "5000 m", 1),
        ("5000", "5000 m", 1),
        ("5 kg", "5 km", 0),
        ("1.5 hours", "90 minutes", 1),
        ("forty-two", "42", 0),
        ("", "42", 0),
        ("1" * 5000, "1", 0),
        ("1e999", "1", 0),
        ("1/0", "1", 0),
        ("٤٢", "42", 1),
    ],
)
def test_the_number_a_response_ends_in(response, answer, score):
    assert number(response, answer).score == score


def test_a_tolerance_is_relative_and_said():
    assert number("3.14", "3.14159", tolerance=0.01).score == 1
    assert number("3.14", "3.14159").score == 0
    assert number("it is 41", "42").reason == "the number is '41', the answer 42"
    with pytest.raises(BadRecord, match="no number"):
        number("42", "forty-two")


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("B", 1),
        ("(B)", 1),
        ("**B.** Paris", 1),
        ("The answer is B.", 1),
        ("I think the answer is (b) here", 1),
        ("A is wrong. The correct option is B", 1),
        (r"\boxed{B}", 1),
        (r"\boxed{\text{(B)}}", 1),
        ("Answer: A. No, wait. Answer: B", 1),
        ("It is Paris.", 1),
        ("paris", 1),
        ("The answer is A or B.", 0),
        ("The answer is A", 0),
        ("Paris or London", 0),
        ("The answer is a city in France", 0),
        ("I do not know", 0),
        ("", 0),
    ],
)
def test_the_letter_a_response_chooses(response, score):
    assert choice(response, "B", ["London", "Paris", "Rome"]).score == score
    assert choice(response, "Paris", {"A": "London", "B": "Paris", "C": "Rome"}).score == score


def test_an_answer_that_is_no_choice_is_refused():
    with pytest.raises(BadRecord, match="none of the choices"):
        choice("A", "Berlin", ["London", "Paris"])
    with pytest.raises(BadRecord, match="no letter"):
        choice("A", "Berlin")


def test_exact_answers_forgive_space_and_case_and_nothing_else():
    assert exact("  New\n York. ", "new york").score == 1
    assert exact("New York", ["NYC", "New York"]).score == 1
    assert exact("New York", "new york", case=True).score == 0
    assert exact("in New York", "New York").score == 0
    with pytest.raises(BadRecord):
        exact("x", [])


def test_a_pattern_is_searched_or_has_to_be_all():
    assert pattern("call 555-1234", r"\d{3}-\d{4}").score == 1
    assert pattern("call 555-1234", r"\d{3}-\d{4}", whole=True).score == 0
    with pytest.raises(BadRecord, match="no pattern"):
        pattern("x", "(")


def test_a_pattern_that_never_ends_ends():
    verdict = pattern("a" * 40 + "!", r"^(a+)+$")
    assert (verdict.score, verdict.reason) == (0, "the pattern did not end on it within 1 s")


def test_outside_of_the_main_thread_a_pattern_is_judged_as_well():
    said = []
    thread = threading.Thread(target=lambda: said.append(pattern("abc", "b").score))
    thread.start()
    thread.join()
    assert said == [1]


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "pattern": "^[A-Z]"},
        "age": {"type": "integer", "minimum": 0, "exclusiveMaximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2, "uniqueItems": True},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"name": "Ann", "age": 3, "tags": ["a", "b"], "next": {"name": "Bo", "next": None}}, "it fits the schema"),
        ({"name": "Ann", "age": 3.0}, "it fits the schema"),
        ({"age": 3}, "'name' is missing"),
        ({"name": "ann"}, "at /name: 'ann' does not fit '^[A-Z]'"),
        ({"name": "Ann", "age": True}, "at /age: 'true' is not of type integer"),
        ({"name": "Ann", "age": 150}, "at /age: 150 is not less than 150"),
        ({"name": "Ann", "tags": ["c"]}, 'at /tags/0: \'"c"\' is none of ["a", "b"]'),
        ({"name": "Ann", "tags": ["a", "a"]}, "at /tags: two items are the same"),
        ({"name": "Ann", "more": 1}, "'more' is not among its properties"),
        ({"name": "Ann", "next": {}}, "at /next: it fits none of anyOf"),
        ([], "'[]' is not of type object"),
    ],
)
def test_json_is_held_against_a_schema_place_by_place(value, reason):
    verdict = json_schema(json.dumps(value), SCHEMA)
    assert verdict.reason == reason
    assert verdict.score == (reason == "it fits the schema")


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        (True, 1, True),
        (False, 1, False),
        ({"const": 1}, True, False),
        ({"const": 1}, 1.0, True),
        ({"enum": [{"a": [1]}]}, {"a": [1.0]}, True),
        ({"multipleOf": 0.1}, 0.3, True),
        ({"multipleOf": 2}, 10**400 + 1, False),
        ({"oneOf": [{"minimum": 2}, {"maximum": 5}]}, 3, False),
        ({"oneOf": [{"minimum": 2}, {"maximum": 5}]}, 1, True),
        ({"not": {"type": "string"}}, "x", False),
        ({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}}, "x", False),
        ({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}}, 2, True),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["x"], True),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["x", 1], False),
        ({"contains": {"const": 1}}, [0, 1], True),
        ({"contains": {"const": 1}}, [0], False),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, False),
        ({"patternProperties": {"^a": {"type": "null"}}, "additionalProperties": False}, {"ab": None}, True),
        ({"minProperties": 1}, {}, False),
        ({"type": ["string", "null"]}, None, True),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 3, False),
        ({"$defs": {"n": {"type": "number"}}, "items": {"$ref": "#/$defs/n"}}, [1, "2"], False),
    ],
)
def test_each_keyword_of_a_schema(schema, value, fits):
    assert json_schema(json.dumps(value), schema).score == fits


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("1", 1),
        ("```json\n1\n```", 1),
        ("Here it is:\n```\n1\n```\nDone.", 1),
        ("Here it is: 1", 0),
        ("NaN", 0),
        ("", 0),
        ("[" * 100_000, 0),
        ("9" * 5000, 0),
        ("{'a': 1}", 0),
    ],
)
def test_what_counts_as_json(response, score):
    assert json_schema(response, {"type": "number"}).score == score


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"minimun": 1}, "'minimun', which is not known"),
        ({"properties": {"a": {"format": "date"}}}, "the schema/properties/a uses 'format'"),
        ({"type": "int"}, "has the type 'int'"),
        ({"pattern": "("}, "has the pattern"),
        ({"multipleOf": 0}, "multipleOf 0"),
        ([], "Expected a JSON Schema"),
        ({"$ref": "http://example.com/s"}, "leads out of the schema"),
        ({"$ref": "#/$defs/x"}, "leads nowhere"),
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused(schema, words):
    with pytest.raises(BadRecord) as refused:
        json_schema("1", schema)
    assert words in str(refused.value)


def test_a_schema_that_refers_to_itself_ends():
    assert json_schema("1", {"$ref": "#"}).score == 0


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gets_a_verdict_with_a_reason(text):
    for verdict in (
        number(text, 1),
        choice(text, "A", ["x", "y"]),
        exact(text, "x"),
        pattern(text, "x"),
        json_schema(text, {"type": "number"}),
    ):
        assert verdict.score in (0, 1)
        assert verdict.reason
