"""What is written reads back as the same records, in our own shapes and in those of others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.errors import BadFile, BadRecord, BadSetting
from rather.records import (
    Comparison,
    Demonstration,
    Message,
    Problems,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    Samples,
    Text,
    convert,
    read,
    write,
)
from rather.records.shapes import KNOWN

HI = (Message(role="user", content="Hi\nthere"),)
TALK = (*HI, Message(role="assistant", content="Hello"), Message(role="user", content="And?"))
SYSTEM = (Message(role="system", content="Be kind."), *HI)
ABOUT = {"category": "closed QA", "source": "desk", "split": "train"}
BY = ABOUT | {"labeler": "ann", "guideline": "2"}
X = Response(text="x ✓", model="sft", score=0.5, finished=False)
Y = Response(text=" y\n")
NOTHING = Response(text="", model="ppo")

# shape: records that it holds without loss
HOLDS: dict[str, list[Record]] = {
    "prompt": [Prompt(id="1", prompt="p", user="u", **ABOUT), Prompt(id="2", prompt=TALK)],
    "question": [Prompt(id="1", prompt="p", user="u", **ABOUT)],
    "text": [Text(id="1", text="Once.\n\nTwice.", **ABOUT)],
    "prompt/response": [Demonstration(id="1", prompt="p", response="r", **BY),
                        Demonstration(id="2", prompt=TALK, response=" r ")],
    "prompt/completion": [Demonstration(id="2", prompt=SYSTEM, response="r", **BY)],
    "instruction/output": [Demonstration(id="1", prompt="p", response="r", **BY)],
    "question/answer": [Demonstration(id="1", prompt="p", response="r", **BY)],
    "messages": [Demonstration(id="1", prompt=SYSTEM, response="r", **BY)],
    "instances": [Demonstration(id="1", prompt="p", response="r", **BY)],
    "rankings": [Ranking(id="1", prompt=TALK, responses=(X, Y, X), ranks=(1, 2, 1), displayed=(2, 0, 1), **BY),
                 Ranking(id="2", prompt="p", responses=(X, Y), ranks=(2, 1), group="g")],
    "comparison": [Comparison(id="1", prompt=TALK, a=X, b=Y, preferred="tie", displayed="ba", group_id="g", **BY),
                   Comparison(id="2", prompt="p", a=X, b=Y, preferred="b", margin=1.5)],
    "pairs": [Comparison(id="1", prompt=TALK, a=X, b=Y, preferred="tie", displayed="ba", group_id="g", **BY),
              Comparison(id="2", prompt="p", a=X, b=Y, preferred="b", margin=1.5)],
    "prompt/chosen/rejected": [Comparison(id="1", prompt=TALK, a=X, b=Y, preferred="a", displayed="ba", margin=2, **BY),
                               Comparison(id="2", prompt="p", a=Y, b=X, preferred="a", group_id="g")],
    "chosen/rejected": [Comparison(id="1", prompt=SYSTEM, a=X, b=Y, preferred="a", displayed="ab", **BY)],
    "hh": [Comparison(id="1", prompt=TALK, a=X, b=Response(text="y"), preferred="a", group_id="g", **BY)],
    "samples": [Samples(id="1", prompt=TALK, responses=(X, Y, NOTHING), user="u", lengths=(3, 2, 1),
                        seeds=(7, 2**62, 0), logprobs=(-1.5, -0.25, -3.0), utilities=(4.0, -1.5, 0.0),
                        flags=({"junk": True}, {}, {}), **ABOUT),
                Samples(id="2", prompt="p", responses=(NOTHING,))],
    "rating": [Rating(id="1", prompt=TALK, response=X, likert=7, flags={"toxic": False}, **BY)],
}  # fmt: skip


def test_every_shape_that_can_be_read_can_be_written():
    assert set(KNOWN) <= set(HOLDS)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("shape", HOLDS)
def test_what_is_written_reads_back_the_same(shape: str, packed: str, tmp_path: Path):
    file = tmp_path / f"out.jsonl{packed}"
    assert write(file, HOLDS[shape], shape) == len(HOLDS[shape])
    assert list(read(file, shape=shape)) == HOLDS[shape]
    assert list(read(file)) == HOLDS[shape], "and is recognised without being told"


@pytest.mark.parametrize("shape", ["prompt", "text", "prompt/response", "rankings", "comparison", "rating"])
def test_without_a_shape_nothing_is_lost(shape: str, tmp_path: Path):
    write(tmp_path / "out.jsonl", HOLDS[shape])
    assert list(read(tmp_path / "out.jsonl")) == HOLDS[shape]


plain = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda text: text.strip())
sides = st.builds(Response, text=plain, finished=st.booleans(), model=st.none() | plain,
                  score=st.none() | st.floats(allow_nan=False, allow_infinity=False))  # fmt: skip
turns = st.tuples(st.builds(Message, role=st.sampled_from(["system", "user", "tool"]), content=plain))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(plain | turns, st.lists(sides, min_size=2, max_size=5), st.randoms()), min_size=1, max_size=4)
)
def test_any_text_survives_a_file(tmp_path_factory: pytest.TempPathFactory, rows):
    file = tmp_path_factory.mktemp("any") / "r.jsonl"
    records = [
        Ranking(id=str(n), prompt=prompt, responses=tuple(responses), ranks=(1,) * len(responses),
                displayed=tuple(rng.sample(range(len(responses)), len(responses))))
        for n, (prompt, responses, rng) in enumerate(rows)
    ]  # fmt: skip
    write(file, records)
    assert list(read(file)) == records


def test_equal_records_give_equal_bytes(tmp_path: Path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write(tmp_path / name, HOLDS["rankings"])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).count(b"\n") == 2


def test_chosen_comes_first_when_b_was_preferred(tmp_path: Path):
    write(tmp_path / "out.jsonl", [Comparison(id="1", prompt="p", a=X, b=Y, preferred="b", displayed="ab")],
          "prompt/chosen/rejected")  # fmt: skip
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["chosen"], row["rejected"], row["displayed"]) == (" y\n", "x ✓", "ba")
    assert row["score_rejected"] == 0.5


def test_a_shape_refuses_what_it_cannot_hold(tmp_path: Path):
    tie = Comparison(id="1", prompt="p", a=X, b=Y, preferred="tie")
    for record, shape, words in (
        (tie, "hh", "neither was better"),
        (Comparison(id="1", prompt="p", a=Y, b=Y, preferred="a"), "prompt/chosen/rejected", "the same text"),
        (Demonstration(id="1", prompt=TALK, response="r"), "question/answer", "holds one turn"),
        (Comparison(id="1", prompt=SYSTEM, a=X, b=Y, preferred="a"), "hh", "not system"),
        (Comparison(id="1", prompt="p\n\nAssistant: q", a=X, b=Y, preferred="a"), "hh", "read differently"),
    ):
        with pytest.raises(BadRecord, match=words):
            write(tmp_path / "out.jsonl", [record], shape)
    with pytest.raises(BadSetting, match="not written as"):
        write(tmp_path / "out.jsonl", [tie], "messages")
    with pytest.raises(BadSetting, match="one kind of record"):
        write(tmp_path / "out.jsonl", [tie, Prompt(id="2", prompt="p")])
    with pytest.raises(BadFile, match="nothing to write"):
        write(tmp_path / "out.jsonl", [])
    assert list(tmp_path.iterdir()) == []


def test_rankings_become_pairs_and_rankings_again(tmp_path: Path):
    three = tuple(Response(text=text) for text in "xyz")
    rankings = [Ranking(id=str(n), prompt="p", responses=three, ranks=ranks, **BY)
                for n, ranks in enumerate([(1, 2, 2), (3, 1, 2), (1, 1, 1)])]  # fmt: skip
    first, pairs, back, chosen = (tmp_path / f"{name}.jsonl" for name in ("first", "pairs", "back", "chosen"))
    write(first, rankings)
    assert convert(first, pairs, "pairs").rows == 9
    assert convert(pairs, back, "rankings").rows == 3
    assert list(read(back)) == rankings
    done = convert(first, chosen, "prompt/chosen/rejected")
    assert (done.rows, done.left_out) == (5, {"neither was better": 4})
    assert {comparison.group_id for comparison in read(chosen, Comparison)} == {"0", "1"}


def test_what_has_no_answer_cannot_become_a_demonstration(tmp_path: Path):
    write(tmp_path / "prompts.jsonl", HOLDS["prompt"])
    with pytest.raises(BadSetting, match="holds prompts"):
        convert(tmp_path / "prompts.jsonl", tmp_path / "out.jsonl", "messages")


def test_what_a_shape_cannot_hold_is_skipped_and_counted_where_that_was_asked_for(tmp_path: Path):
    talks = HOLDS["prompt/response"]
    write(tmp_path / "in.jsonl", talks)
    with pytest.raises(BadRecord, match="holds one turn"):
        convert(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "question/answer")
    problems = Problems()
    assert convert(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "question/answer", on_problem=problems).rows == 1
    assert problems.count == 1
    assert list(read(tmp_path / "out.jsonl")) == talks[:1]


def test_groups_that_are_no_order_are_told(tmp_path: Path):
    sides = [Response(text=text) for text in "xyz"]
    circle = [Comparison(id=str(n), prompt="p", a=sides[n], b=sides[(n + 1) % 3], preferred="a", group_id="g")
              for n in range(3)]  # fmt: skip
    write(tmp_path / "in.jsonl", circle)
    done = convert(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "rankings")
    assert (done.rows, done.kept_as_pairs) == (3, {"its preferences go round in a circle": 1})
    assert [ranking.group for ranking in read(tmp_path / "out.jsonl", Ranking)] == ["g"] * 3


def test_a_model_that_answers_nothing_can_be_sampled_ranked_and_compared(tmp_path: Path):
    file, pairs = tmp_path / "rankings.jsonl", tmp_path / "pairs.jsonl"
    ranking = Ranking(id="1", prompt="p", responses=(Y, NOTHING, X), ranks=(1, 3, 2))
    write(file, [ranking])
    assert list(read(file, Ranking)) == [ranking]
    convert(file, pairs, "comparison")
    assert [(pair.a, pair.b) for pair in read(pairs, Comparison)] == [(Y, NOTHING), (Y, X), (NOTHING, X)]
    done = convert(file, tmp_path / "chosen.jsonl", "prompt/chosen/rejected")
    assert (done.rows, done.left_out) == (1, {"one of the two is empty": 2})


def test_samples_are_prompts_for_whoever_asks_for_prompts_and_no_ranking(tmp_path: Path):
    file = tmp_path / "samples.jsonl"
    write(file, HOLDS["samples"])
    assert [prompt.prompt for prompt in read(file, Prompt)] == [TALK, "p"]
    with pytest.raises(BadFile, match="holds samples"):
        read(file, Ranking)
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"prompt": "p", "completions": ["one", "two"], "topic": "x"}\n')
    assert [[r.text for r in one.responses] for one in read(bare, Samples, shape="samples")] == [["one", "two"]]
