"""Bad files give a named error of two or three lines, from the functions and the command; never a traceback."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rather.cli import main
from rather.errors import BadFile, BadRecord, BadSetting, RatherError
from rather.records import Problems, read, write
from rather.records.lines import LONGEST_LINE
from rather.records.shapes import KNOWN


def row(**fields) -> bytes:
    return json.dumps({"id": "1", "prompt": "Why?"} | fields).encode() + b"\n"


def ranking(**fields) -> bytes:
    return row(**{"responses": [{"text": "one"}, {"text": "two"}], "ranks": [1, 2]} | fields)


def scored(*scores: object, text: str = "responses") -> bytes:
    return row(**{text: [{"text": f"answer {n}", "score": score} for n, score in enumerate(scores)]})


def comparison(**fields) -> bytes:
    return row(**{"a": {"text": "one"}, "b": {"text": "two"}, "preferred": "a"} | fields)


def chat(*roles: str, **fields) -> bytes:
    messages = [{"role": role, "content": f"turn {n}"} for n, role in enumerate(roles)]
    return json.dumps({"messages": messages} | fields).encode() + b"\n"


GOOD = row(id="0", response="Because.")
HUMAN, TWO = "\n\nHuman: Hi\n\nAssistant: ", [{"text": "x"}, {"text": "y"}]
DEEP = b'{"prompt": "p", "response": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"

# what is wrong: (bytes of the file, words of the error)
ROWS: dict[str, tuple[bytes, str]] = {
    # not JSON, not text
    "a line is no JSON": (GOOD + b"hello\n", "not JSON"),
    "a line is a number": (GOOD + b"17\n", "the line is 17"),
    "a line is null": (GOOD + b"null\n", "the line is null"),
    "a line is a list": (GOOD + b"[1, 2]\n", "jq -c"),
    "a comma after the object": (GOOD + b'{"prompt": "p", "response": "r"},\n', "no comma"),
    "a comma before the brace": (GOOD + b'{"prompt": "p", "response": "r",}\n', "not JSON"),
    "single quotes": (GOOD + b"{'prompt': 'p'}\n", "double quotes"),
    "a line that breaks off": (GOOD + b'{"prompt": "p", "respo', "breaks off"),
    "a line break inside a text": (GOOD + b'{"prompt": "a\nb", "response": "r"}\n', "line break"),
    "a key twice": (GOOD + b'{"prompt": "p", "prompt": "q", "response": "r"}\n', "'prompt' stands twice"),
    "NaN": (GOOD + b'{"prompt": "p", "response": NaN}\n', "NaN is not a number"),
    "a number of 5000 digits": (GOOD + b'{"id": ' + b"9" * 5000 + b', "prompt": "p", "response": "r"}\n', "digits"),
    "100000 lists in each other": (GOOD + DEEP, "nested too deeply"),
    "Latin-1": (GOOD + '{"prompt": "café", "response": "r"}\n'.encode("latin-1"), "0xe9, which is not UTF-8"),
    "half a surrogate pair": (GOOD + b'{"prompt": "p", "response": "\\ud83d"}\n', "lone surrogate"),
    # fields of every shape
    "a number as prompt": (GOOD + row(id="2", prompt=5, response="r"), "prompt is 5"),
    "an empty prompt": (GOOD + row(id="2", prompt=" ", response="r"), "prompt is empty"),
    "null as prompt": (GOOD + row(id="2", prompt=None, response="r"), "there is no 'prompt'"),
    "a misspelt field that is needed": (GOOD + b'{"promt": "p", "response": "r"}\n', "Did you mean 'promt'?"),
    "a misspelt field that may be missing": (GOOD + row(id="2", response="r", labler="ann"), "Did you mean 'labeler'?"),
    "an empty response": (GOOD + row(id="2", response=""), "response is empty"),
    "a response of spaces": (GOOD + row(id="2", response="\n \t"), "response is empty"),
    "a list as response": (GOOD + row(id="2", response=[1, 2]), "response is a list of 2"),
    "the same id twice": (GOOD + row(id="0", response="r"), "that of line 1"),
    "a fraction as id": (GOOD + row(id=1.5, response="r"), "id is 1.5"),
    "true as id": (GOOD + row(id=True, response="r"), "id is true"),
    "an empty id": (GOOD + row(id="", response="r"), "id is ''"),
    "an object as labeler": (GOOD + row(id="2", response="r", labeler={"name": "ann"}), "labeler is an object"),
    "thumbs instead of a demonstration": (row(completion="r", label=False), "unpaired feedback"),
    "an input that is no text": (b'{"instruction": "i", "input": 3, "output": "o"}\n', "input is 3"),
    "an instance without output": (b'{"instruction": "i", "instances": [{"input": "x"}]}\n', "instances[0].output"),
    "no instance": (b'{"instruction": "i", "instances": []}\n', "instances is an empty list"),
    "text that is a number": (b'{"text": "t"}\n{"text": 3}\n', "text is 3"),
    # conversations
    "messages that end with the user": (chat("user", "assistant", "user"), "ends with the turn of user"),
    "no messages": (chat(), "messages is an empty list"),
    "messages that are text": (chat("user", "assistant") + b'{"messages": "hi"}\n', "messages is 'hi'"),
    "null among messages": (b'{"messages": [null]}\n', "messages[0] is null"),
    "an unknown role": (chat("human", "assistant"), "messages[0].role is 'human'"),
    "a list as content": (b'{"messages": [{"role": "user", "content": ["x"]}]}\n', "content is a list of 1"),
    "a message without content": (b'{"messages": [{"role": "user"}]}\n', "role and content"),
    "an answer to nothing": (chat("assistant"), "nothing was asked"),
    "a prompt that ends with the assistant": (row(prompt=[{"role": "assistant", "content": "x"}]), "assistant's turn"),
    # rankings
    "one response": (ranking(responses=[{"text": "one"}], ranks=[1]), "responses is a list of 1"),
    "no response": (ranking(responses=[], ranks=[]), "responses is an empty list"),
    "ranks with a gap": (ranking(ranks=[1, 3]), "[1, 3] have a gap"),
    "ranks from two": (ranking(ranks=[2, 3]), "do not begin at 1"),
    "negative ranks": (ranking(ranks=[-1, 1]), "do not begin at 1"),
    "fewer ranks than responses": (ranking(ranks=[1]), "1 ranks for 2 responses"),
    "half a rank": (ranking(ranks=[1, 1.5]), "ranks[1] is 1.5"),
    "ranks as text": (ranking(ranks=["first", "second"]), "ranks[0] is 'first'"),
    "ranks that are one number": (ranking(ranks=1), "ranks is 1"),
    "a NaN score": (scored(1.0, float("nan")), "NaN is not a number"),
    "an infinite score": (scored(1.0, float("-inf")), "-Infinity is not a number"),
    "a score beyond every number": (scored(1.0, 2.0).replace(b"2.0", b"1e999"), "responses[1].score is inf"),
    "a score of 400 digits": (scored(1.0, 10**400), "score is a whole number of 1329 bits"),
    "more responses than anybody ranks": (ranking(responses=["x"] * 1001, ranks=[1] * 1001), "at most 1,000 responses"),
    "a thousand ranks with gaps": (ranking(responses=["x"] * 999, ranks=[*range(1, 1998, 2)]), "[1, 3, 5,"),
    "a score as text": (scored(1.0, "good"), "score is 'good'"),
    "a score that is missing": (scored(1.0, None), "score[1] is null"),
    "an empty response in a ranking": (ranking(responses=[{"text": "one"}, {"text": ""}]), "[1].text is empty"),
    "null among responses": (ranking(responses=[{"text": "one"}, None]), "responses[1] is null"),
    "a response without text": (ranking(responses=[{"text": "one"}, {"model": "m"}]), "responses[1] has an object"),
    "two texts in one response": (ranking(responses=[{"text": "one"}, {"text": "a", "output": "b"}]), "text, output"),
    "displayed that is no order": (ranking(displayed=[0, 0]), "displayed is [0, 0]"),
    "displayed of another length": (ranking(displayed=[0]), "displayed is [0]"),
    "an unknown field in our own ranking": (ranking(colour="red"), "unknown field 'colour'"),
    "an unknown field in our own response": (
        ranking(responses=[{"text": "one", "finisht": True}, {"text": "two"}]),
        "Did you mean 'finished'?",
    ),
    "k that is not the number of responses": (ranking(k=3), "k is 3 and there are 2"),
    # samples
    "an empty response of nobody's": (
        row(responses=[{"text": "one"}, {"text": ""}], seeds=[1, 2]),
        "responses[1].text is empty",
    ),
    "no sample": (row(responses=[], seeds=[]), "Expected a response."),
    "seeds for some responses only": (row(responses=TWO, seeds=[1]), "1 seeds for 2 responses"),
    "a log-probability that is a text": (row(responses=TWO, logprobs=["a", -1.0]), "logprobs.0 is 'a'"),
    "an unknown field beside what is noted of samples": (row(responses=TWO, seeds=[1, 2], color=1), "field 'color'"),
    "a slip in a sample": (
        row(responses=[{"text": "a", "finishd": True}], seeds=[1]),
        "Did you mean 'finished'?",
    ),
    # pairs, comparisons, ratings
    "a label of 2": (row(responses=TWO, label=2), "label is 2"),
    "a label of true": (row(responses=TWO, label=True), "label is true"),
    "one label for three": (row(responses=[*TWO, {"text": "z"}], label=1), "one label for 3 responses"),
    "an index that no response has": (row(responses=TWO, pairs=[{"a": 0, "b": 2, "label": 1}]), "a and b are 0 and 2"),
    "a response against itself": (row(responses=TWO, pairs=[{"a": 1, "b": 1, "label": 1}]), "a and b are 1 and 1"),
    "a pair without label": (row(responses=TWO, pairs=[{"a": 0, "b": 1}]), "label is null"),
    "no pairs": (row(responses=TWO, pairs=[]), "pairs is an empty list"),
    "no labels": (row(responses=TWO, pairs=[{"a": 0, "b": 1, "labels": []}]), "labels is an empty list"),
    "preferred c": (comparison(preferred="c"), "preferred is 'c'"),
    "an unknown field in a comparison": (comparison(labeller="ann"), "Did you mean 'labeler'?"),
    "an infinite margin": (comparison(margin=1).replace(b'"margin": 1', b'"margin": 1e999'), "margin is inf"),
    "likert 8": (row(response={"text": "r"}, likert=8), "less than or equal to 7"),
    "likert as text": (row(response={"text": "r"}, likert="7"), "likert is '7'"),
    "a rating that says nothing": (row(response={"text": "r"}, flags={}), "neither likert nor flags"),
    "a flag that is a number": (row(response={"text": "r"}, flags={"toxic": 1}), "flags.toxic is 1"),
    # chosen and rejected
    "chosen is rejected": (row(chosen="x", rejected="x"), "the same answer"),
    "an empty rejected": (row(chosen="x", rejected=""), "rejected is empty"),
    "chosen of another type": (row(chosen="x", rejected=[{"role": "assistant", "content": "y"}]), "Expected two texts"),
    "two different dialogues": (
        json.dumps({"chosen": HUMAN + "A\n\nHuman: B\n\nAssistant: C", "rejected": HUMAN + "D"}).encode(),
        "part at turn 2",
    ),
    "a transcript that ends with Human": (
        json.dumps({"chosen": HUMAN + "A", "rejected": HUMAN + "A\n\nHuman: B"}).encode(),
        "ends with the turn of user",
    ),
    "an empty answer in a transcript": (json.dumps({"chosen": HUMAN + "A", "rejected": HUMAN}).encode(), "is empty"),
    "a prompt that is not the turns' own": (
        row(chosen=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "x"}],
            rejected=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "y"}]),
        "the prompt differs",
    ),
}  # fmt: skip

# The file as a whole cannot be read: (name, bytes, words).
FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("f.jsonl", b"", "is empty"),
    "blank lines only": ("f.jsonl", b"\n\n \n", "no row"),
    "truncated gzip": ("f.jsonl.gz", gzip.compress(GOOD * 50)[:-12], "breaks off after line"),
    "gzip with a wrong checksum": ("f.jsonl.gz", gzip.compress(GOOD)[:-8] + b"\0" * 8, "CRC"),
    "plain text named .gz": ("f.jsonl.gz", GOOD, "is not gzip data"),
    "UTF-16": ("f.jsonl", GOOD.decode().encode("utf-16"), "UTF-16"),
    "UTF-16 without mark": ("f.jsonl", GOOD.decode().encode("utf-16-le"), "UTF-16"),
    "a zip archive": ("f.jsonl", b"PK\x03\x04" + b"x" * 60, "zip archive"),
    "a pickle": ("f.jsonl", b"\x80\x04\x95" + b"x" * 60, "pickle"),
    "a web page": ("f.jsonl", b"<!DOCTYPE html><html></html>", "web page"),
    "an LFS pointer": ("f.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "Parquet named .jsonl": ("f.jsonl", b"PAR1" + b"\0" * 40, "Parquet file"),
    "JSON Lines named .parquet": ("f.parquet", GOOD, "no whole Parquet file"),
    "one JSON array on many lines": ("f.jsonl", json.dumps([{"prompt": "p"}], indent=1).encode(), "jq -c"),
    "one JSON array on one line": ("f.jsonl", json.dumps([{"prompt": "p"}]).encode(), "jq -c"),
    "unknown fields only": ("f.jsonl", b'{"foo": 1, "bar": 2}\n', "Fields: foo, bar"),
    "a misspelt field": ("f.jsonl", b'{"promt": "p"}\n', "Did you mean 'prompt'?"),
    "rows of two shapes": ("f.jsonl", GOOD + ranking(id="2"), "several shapes"),
    "two possible responses": ("f.jsonl", row(response="r", answer="a"), "--shape prompt/response"),
    "two possible prompts": ("f.jsonl", row(question="q", answer="a"), "--shape prompt/answer"),
    "chosen without rejected": ("f.jsonl", row(chosen="x", rejectd="y"), "Did you mean 'rejectd'?"),
    "chosen without prompt": ("f.jsonl", b'{"chosen": "x", "rejected": "y"}\n', "there is no prompt"),
    "chosen in three styles": ("f.jsonl", row(chosen=["x"] * 3, rejected=["y"] * 3), "chosen is a list of 3"),
    "responses without an order": ("f.jsonl", row(responses=["x", "y"]), "no order"),
    "a tree of messages": (
        "f.jsonl",
        row(prompt={"text": "p", "replies": []}),
        "prompt is an object with text, replies",
    ),
    "a line over the limit": ("f.jsonl", b'{"prompt": "' + b"x" * LONGEST_LINE + b'"}\n', "longer than 32 MB"),
}


def check(*args: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["data", *args])
    assert isinstance(left.value.code, int)
    return left.value.code


def assert_readable(words: str) -> None:
    lines = words.splitlines()
    assert 2 <= len(lines) <= 3, words
    assert max(map(len, lines)) < 320, "a line of an error is read, not scrolled"
    assert words.isprintable() or {c for c in words if not c.isprintable()} == {"\n"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_row_is_named_with_file_and_line(case: str, capsys: pytest.CaptureFixture[str]):
    data, words = ROWS[case]
    Path("f.jsonl").write_bytes(data)
    with pytest.raises(BadRecord) as bad:
        list(read("f.jsonl"))
    assert words in str(bad.value)
    assert str(bad.value).startswith(f"f.jsonl:{bad.value.line}: ")
    last = len(data.splitlines())
    assert bad.value.line == (2 if case == "a line break inside a text" else last)
    assert_readable(str(bad.value))

    assert check("check", "f.jsonl") in (1, 2)
    said = capsys.readouterr()
    assert words in said.out
    assert "Traceback" not in said.err

    assert check("convert", "f.jsonl", "out.jsonl", "--to", "prompt") == 2
    assert_readable(capsys.readouterr().err)
    assert os.listdir() == ["f.jsonl"], "nothing is half-written"


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_read_says_what_it_is(case: str, capsys: pytest.CaptureFixture[str]):
    name, data, words = FILES[case]
    Path(name).write_bytes(data)
    with pytest.raises(RatherError) as bad:
        list(read(name))
    assert words in str(bad.value)
    assert name in str(bad.value)
    assert_readable(str(bad.value))
    assert check("check", name) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert check("check", name, "--json") == 2
    assert json.loads(capsys.readouterr().out)["files"][0]["error"]


def test_a_missing_file_names_its_neighbours():
    Path("train.jsonl").write_bytes(GOOD)
    with pytest.raises(BadFile, match=r"no file trian\.jsonl") as bad:
        read("trian.jsonl")
    assert "train.jsonl" in str(bad.value)


def test_a_folder_says_what_it_holds():
    Path("folder").mkdir()
    Path("folder/x.arrow").touch()
    with pytest.raises(BadFile, match="folder is a folder") as bad:
        read("folder")
    assert "x.arrow" in str(bad.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_said():
    Path("f.jsonl").write_bytes(GOOD)
    os.chmod("f.jsonl", 0)
    with pytest.raises(BadFile, match="may not be read"):
        read("f.jsonl")


@pytest.mark.parametrize("name", ["x" * 5000 + ".jsonl", "nul\0.jsonl", "", "/dev/null"])
def test_an_impossible_name_is_said(name: str):
    with pytest.raises(BadFile):
        read(name)


def test_an_unknown_shape_gets_the_nearest_name():
    Path("f.jsonl").write_bytes(GOOD)
    with pytest.raises(BadSetting, match="Did you mean 'messages'"):
        read("f.jsonl", shape="mesages")
    assert check("check", "f.jsonl", "--shape", "rankigns") == 2


ODD = {
    "BOM": b"\xef\xbb\xbf" + GOOD,
    "CRLF": GOOD.replace(b"\n", b"\r\n"),
    "blank lines": b"\n" + GOOD + b"\n\n",
    "no newline at the end": GOOD[:-1],
    "gzip without the name": gzip.compress(GOOD),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_harmless_oddities_are_read_over(data: bytes):
    Path("f.jsonl").write_bytes(data)
    assert [record.response for record in read("f.jsonl")] == ["Because."]


def test_a_line_of_ten_megabytes_is_read_and_never_quoted_whole():
    Path("f.jsonl").write_bytes(
        GOOD + row(response="x" * 10_000_000) + row(id="2", response="r", likert="y" * 10_000_000)
    )
    records = read("f.jsonl", shape="prompt/response")
    assert [len(record.response) for record in records] == [8, 10_000_000, 1]
    Path("g.jsonl").write_bytes(row(responses=TWO, label="x" * 10_000_000))
    with pytest.raises(BadRecord) as bad:
        list(read("g.jsonl"))
    assert len(str(bad.value)) < 400


@pytest.mark.parametrize(
    ("row", "words"),
    {
        "keys": (b"{" + b'"k%d": 1, ' * 50_000 % (*range(50_000),) + b'"k49999": 1}', "'k49999' stands twice"),
        "stumps": (json.dumps({"chosen": HUMAN + "\n\nHuman" * 50_000 + "x", "rejected": HUMAN}).encode(), "is empty"),
    }.values(),
    ids=["keys", "stumps"],
)
def test_the_time_for_a_line_grows_no_faster_than_the_line(row: bytes, words: str):
    Path("f.jsonl").write_bytes(row + b"\n")
    with pytest.raises(BadRecord, match=words):  # at once; what grows with the square takes minutes here
        list(read("f.jsonl", shape="hh"))


def test_the_rows_that_show_the_shape_are_few_where_they_are_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rather.records.reading.LONGEST_LINE", 100)
    Path("f.jsonl").write_bytes(GOOD + GOOD.replace(b'"0"', b'"1"') * 3 + b'{"text": "another shape"}\n')
    with pytest.raises(BadRecord, match="the id '1' is already that of line 2"):
        list(read("f.jsonl"))


def test_all_problems_are_counted_and_the_first_are_kept():
    Path("f.jsonl").write_bytes(GOOD + b"no\n" * 30 + row(id="9", response="r"))
    problems = Problems(keep=3)
    assert len(list(read("f.jsonl", on_problem=problems))) == 2
    assert problems.count == 30
    assert [problem.line for problem in problems.first] == [2, 3, 4]


FIELDS = [
    "id",
    "prompt",
    "question",
    "messages",
    "input",
    "response",
    "output",
    "chosen",
    "rejected",
    "responses",
    "rank",
    "ranks",
    "scores",
    "score",
    "pairs",
    "label",
    "labels",
    "a",
    "b",
    "preferred",
    "likert",
    "flags",
    "text",
    "role",
    "content",
    "instruction",
    "instances",
    "labeler",
    "displayed",
    "margin",
    "k",
]
small = st.none() | st.booleans() | st.integers(-1, 3) | st.floats(allow_nan=False) | st.text(max_size=5)
anything = st.recursive(
    small | st.sampled_from(["user", "assistant", HUMAN]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), anything, min_size=1, max_size=6), min_size=1, max_size=3),
       st.sampled_from([None, *KNOWN]))  # fmt: skip
def test_whatever_is_in_the_fields_the_answer_is_records_or_words(rows: list[dict], shape: str | None):
    Path("f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        list(read("f.jsonl", shape=shape))
    except RatherError as error:
        assert_readable(str(error))


def test_hostile_text_cannot_paint_the_terminal(capsys: pytest.CaptureFixture[str]):
    Path("f.jsonl").write_bytes(
        row(response="r", labeler="[bold red]x[/] \x1b[31m")
        + row(id="2", response=5, **{"\x1b]0;title\x07": 1})
        + row(id="\x1b[2J", prompt="p", response="\u202e")
        + row(id="\x1b[2J", prompt="p", response="q")
        + b'{"\x1b[31m": 1}\n'
    )
    assert check("check", "f.jsonl") == 1
    said = capsys.readouterr().out
    assert "[bold red]x[/] \\x1b[31m" in said
    assert "\x1b" not in said
    assert "\u202e" not in said


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_a_failed_write_leaves_the_old_file_as_it_was(name: str):
    Path(name).write_text("old\n")
    good = list(read(_file(GOOD)))

    def breaks_off():
        yield from good
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        write(name, breaks_off())
    assert Path(name).read_text() == "old\n"
    assert sorted(os.listdir()) == ["f.jsonl", name]


def test_convert_does_not_write_over_a_file(capsys: pytest.CaptureFixture[str]):
    Path("out.jsonl").write_text("old\n")
    assert check("convert", _file(GOOD), "out.jsonl", "--to", "messages") == 2
    assert Path("out.jsonl").read_text() == "old\n"
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["no/such/folder/out.jsonl", "folder.jsonl", "out.parquet"])
def test_a_place_that_cannot_be_written_is_said(path: str):
    Path("folder.jsonl").mkdir()
    with pytest.raises(BadFile, match=f"Cannot write {path}") as bad:
        write(path, list(read(_file(GOOD))))
    assert_readable(str(bad.value))
    assert sorted(os.listdir()) == ["f.jsonl", "folder.jsonl"], "nothing is half-written"


def _file(data: bytes, name: str = "f.jsonl") -> str:
    Path(name).write_bytes(data)
    return name
