"""Each shape that people already have is recognised by itself and read as what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rather.errors import BadFile, BadRecord, BadSetting
from rather.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Response,
    Text,
    read,
)
from rather.records.reading import one_slip
from rather.records.shapes import shape_of
from rather.records.transcripts import transcript_of, turns_of

USER, ANSWER, AGAIN = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
                       {"role": "user", "content": "And?"})  # fmt: skip
HI = (Message(role="user", content="Hi"),)
X, Y = Response(text="x"), Response(text="y")


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def one(tmp_path: Path, *rows: dict, shape: str | None = None, **options) -> list:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read(file, shape=shape, **options))


D, C = Demonstration, Comparison
XY = {"id": "rows:1", "a": X, "b": Y, "preferred": "a"}
# name of the shape: (a row, the record it is)
ROWS: dict[str, tuple[dict, object]] = {
    "prompt": ({"id": "7", "prompt": "p", "user": "u"}, Prompt(id="7", prompt="p", user="u")),
    "question": ({"question": "p"}, Prompt(id="rows:1", prompt="p")),
    "text": ({"id": 7, "text": "t", "title": "left out"}, Text(id="7", text="t")),
    "prompt/completion": ({"prompt": "p", "completion": "r"}, D(id="rows:1", prompt="p", response="r")),
    "prompt/response": ({"prompt": "p", "response": "r", "labeler": 3},
                        D(id="rows:1", prompt="p", response="r", labeler="3")),
    "instruction/output": ({"instruction": "i", "input": "x", "output": "r"},
                           D(id="rows:1", prompt="i\n\nx", response="r")),
    "instruction/response": ({"instruction": "i", "context": "", "response": "r"},
                             D(id="rows:1", prompt="i", response="r")),
    "question/answer": ({"question": "q", "answer": "r", "final": "72"}, D(id="rows:1", prompt="q", response="r")),
    "messages": ({"messages": [USER, ANSWER], "prompt": "Hi"}, D(id="rows:1", prompt=HI, response="Hello")),
    "instances": ({"instruction": "i", "instances": [{"input": "x", "output": "r"}]},
                  D(id="rows:1", prompt="i\n\nx", response="r")),
    "prompt/chosen/rejected": ({"prompt": "p", "chosen": "x", "rejected": "y"}, C(prompt="p", **XY)),
    "question/chosen/rejected": ({"question": "p", "chosen": "x", "rejected": "y", "group_id": 5, "margin": 2},
                                 C(prompt="p", group_id="5", margin=2.0, **XY)),
    "chosen/rejected": ({"chosen": [USER, says("x")], "rejected": [USER, says("y")]}, C(prompt=HI, **XY)),
    "hh": ({"chosen": "\n\nHuman: Hi\n\nAssistant: x", "rejected": "\n\nHuman: Hi\n\nAssistant: y"},
           C(prompt=HI, **XY)),
    "pairs": ({"prompt": "p", "responses": ["x", {"text": "y"}], "label": 0.0},
              C(prompt="p", **(XY | {"preferred": "b"}))),
    "comparison": ({"prompt": "p", "a": {"text": "x"}, "b": {"text": "y"}, "preferred": "tie", "displayed": "ba"},
                   C(prompt="p", displayed="ba", **(XY | {"preferred": "tie"}))),
    "rating": ({"prompt": "p", "response": {"text": "x"}, "likert": 6},
               Rating(id="rows:1", prompt="p", response=X, likert=6)),
    "rankings": ({"prompt": "p", "responses": ["x", "y"], "ranks": [2, 1], "k": 2},
                 Ranking(id="rows:1", prompt="p", responses=(X, Y), ranks=(2, 1))),
}  # fmt: skip


@pytest.mark.parametrize("shape", ROWS)
def test_a_row_is_recognised_and_read(shape: str, tmp_path: Path):
    row, record = ROWS[shape]
    assert shape_of(row).name == shape
    assert one(tmp_path, row) == [record]
    assert one(tmp_path, row, shape=shape) == [record]


@pytest.mark.parametrize(
    "row",
    [
        {"responses": [{"text": "x", "score": 1}, {"text": "y", "score": 2.5}, {"text": "z", "score": 1}]},
        {"responses": [{"text": "x", "rank": 1}, {"text": "y", "rank": 0}, {"text": "z", "rank": 1}]},
        {"responses": [{"text": "x", "rank": 2}, {"text": "y", "rank": 1}, {"text": "z", "rank": 2}]},
        {"responses": [{"response": "x", "rank": 2.0}, {"response": "y", "rank": 1}, {"response": "z", "rank": 2}]},
        {"completions": ["x", "y", "z"], "scores": [0, 1, 0]},
        {"outputs": ["x", "y", "z"], "ranks": [1, 0, 1]},
        {"responses": ["x", "y", "z"], "ranks": [2, 1, 2], "displayed": [2, 0, 1], "group": "task"},
    ],
)
def test_every_way_of_saying_an_order_gives_the_same_ranks(row: dict, tmp_path: Path):
    (ranking,) = one(tmp_path, {"prompt": "p"} | row)
    assert ranking.ranks == (2, 1, 2)
    assert [response.text for response in ranking.responses] == ["x", "y", "z"]


def test_the_prompt_of_a_ranking_may_be_turns(tmp_path: Path):
    (ranking,) = one(tmp_path, {"messages": [USER], "responses": ["x", "y"], "ranks": [1, 2]})
    assert ranking.prompt == HI


def test_chosen_and_rejected_messages_with_a_prompt_of_their_own(tmp_path: Path):
    answers = {"chosen": [says("x")], "rejected": [says("y")]}
    whole = {"chosen": [USER, says("x")], "rejected": [USER, says("y")], "score_chosen": 8.5}
    (a,), (b,), (c,) = (
        one(tmp_path, {"prompt": [USER]} | answers),
        one(tmp_path, {"prompt": "Hi"} | answers),
        one(tmp_path, {"prompt": "Hi", "messages": [USER, says("x")]} | whole),
    )
    assert a.prompt == c.prompt == HI
    assert b.prompt == "Hi"
    assert c.a.score == 8.5


def test_every_turn_of_the_assistant_may_be_a_demonstration(tmp_path: Path):
    row = {"id": "c", "messages": [USER, ANSWER, AGAIN, says("Bye")]}
    (last,) = one(tmp_path, row)
    assert (last.id, len(last.prompt), last.response) == ("c", 3, "Bye")
    first, second = one(tmp_path, row, turns="each")
    assert (first.id, first.prompt, first.response) == ("c/1", HI, "Hello")
    assert (second.prompt, second.response) == (last.prompt, "Bye")
    with pytest.raises(BadSetting, match="conversations"):
        one(tmp_path, {"prompt": "p", "response": "r"}, turns="each")


def test_several_annotators_are_several_labelers(tmp_path: Path):
    row = {"id": "r", "instruction": "i", "input": "", "responses": [{"model": "m", "text": "x"}, {"text": "y"}],
           "pairs": [{"a": 0, "b": 1, "labels": [1, 0, 0.5]}]}  # fmt: skip
    records = one(tmp_path, row)
    assert [(r.id, r.labeler, r.preferred) for r in records] == [
        ("r/0-1/annotator-1", "annotator-1", "a"),
        ("r/0-1/annotator-2", "annotator-2", "b"),
        ("r/0-1/annotator-3", "annotator-3", "tie"),
    ]
    assert {r.group_id for r in records} == {"r"}
    assert records[0].a == Response(text="x", model="m")


def test_a_conversation_to_be_answered_is_a_prompt_when_that_is_said(tmp_path: Path):
    assert one(tmp_path, {"messages": [USER]}, shape="prompt") == [Prompt(id="rows:1", prompt=HI)]
    assert one(tmp_path, {"question": "q", "response": "r"}, shape="prompt") == [Prompt(id="rows:1", prompt="q")]


def test_transcripts_have_quirks():
    stump = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman\n\nHuman: And?\n\nAssistant: Bye.\n\nHuman"
    assert [turn.content for turn in turns_of(stump)] == ["Hi", "Hello.", "And?", "Bye."]
    twice = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nAssistant: Still here?"
    assert [turn.content for turn in turns_of(twice)] == ["Hi", "Hello.\n\nStill here?"]
    inline = "\n\nHuman: Hi\n\nAssistant: Human: is a word.  Assistant: too"
    assert turns_of(inline)[-1].content == "Human: is a word.  Assistant: too"
    assert turns_of("Human: Hi\n\nAssistant: x") == turns_of("\n\nHuman: Hi\n\nAssistant: x")


def test_a_transcript_of_nothing_has_no_turn(tmp_path: Path):
    with pytest.raises(BadRecord, match="chosen: there is no turn"):
        one(tmp_path, {"chosen": "", "rejected": "\n\nHuman: Hi\n\nAssistant: x"}, shape="hh")


def test_a_transcript_that_would_not_come_back_is_not_written():
    assert turns_of(transcript_of(HI)) == HI
    assert turns_of(transcript_of([Message(role="user", content=" Hi\nthere\n")]))[0].content == "Hi\nthere"
    for odd in ("a\n\nAssistant: b", "ends\n\nHuman"):
        with pytest.raises(ValueError, match="read differently"):
            transcript_of([Message(role="user", content=odd)])
    with pytest.raises(ValueError, match="not system"):
        transcript_of([Message(role="system", content="Be kind.")])


def test_the_kind_asked_for_is_given_where_it_can_be(tmp_path: Path):
    pair = {"prompt": "p", "chosen": "x", "rejected": "y"}
    (ranking,) = one(tmp_path, pair, kind=Ranking)
    assert (ranking.ranks, ranking.responses) == ((1, 2), (X, Y))
    assert one(tmp_path, pair, pair, kind=Prompt) == [Prompt(id="rows:1", prompt="p")]
    three = {"prompt": "p", "responses": ["x", "y", "z"], "ranks": [1, 2, 2]}
    assert [c.preferred for c in one(tmp_path, three, kind=Comparison)] == ["a", "a", "tie"]
    with pytest.raises(BadFile, match="holds comparisons") as bad:
        one(tmp_path, pair, kind=Demonstration)
    assert "Expected demonstrations" in str(bad.value)


def test_fields_that_no_record_has_are_left_out_and_counted(tmp_path: Path):
    file = tmp_path / "f.jsonl"
    file.write_text('{"question": "q", "answer": "a", "final": 1}\n{"question": "q", "answer": "a"}\n')
    reader = read(file)
    assert len(list(reader)) == 2
    assert reader.left_out == {"final": 1}
    assert reader.shape.words == "demonstrations: question with answer"


def test_a_row_that_shows_no_shape_does_not_hide_the_shape_of_the_others(tmp_path: Path):
    problems = []
    records = one(tmp_path, {"promt": "p"}, {"prompt": "p", "response": "r"}, on_problem=problems.append)
    assert [record.response for record in records] == ["r"]
    assert problems[0].line == 1


@pytest.mark.parametrize(("name", "field"), [("labler", "labeler"), ("guidelien", "guideline"), ("spplit", "split"),
                                             ("categori", "category"), ("ource", "source")])  # fmt: skip
def test_a_slip_of_the_pen_is_one_letter(name: str, field: str):
    assert one_slip(name, field)


@pytest.mark.parametrize(("name", "field"), [("sources", "source"), ("prompts", "prompt"), ("text", "text"),
                                             ("user", "use"), ("reference", "response"), ("id", "k")])  # fmt: skip
def test_another_word_is_no_slip(name: str, field: str):
    assert not one_slip(name, field)
