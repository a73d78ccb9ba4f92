"""`rather data check` counts what can be counted by hand."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest

from rather.cli import main
from rather.records.survey import Lengths, lengths, shared_between, survey


def lines(file: Path, *rows: dict) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def check(*args: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["data", *map(str, args)])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_pairs_ties_and_the_longer_text(tmp_path: Path):
    three = [{"text": "a"}, {"text": "bb"}, {"text": "cc"}]
    seen = survey(
        lines(
            tmp_path / "r.jsonl",
            {"prompt": "p", "responses": three, "ranks": [2, 1, 1], "labeler": "ann"},  # the longer wins twice, one tie
            {"prompt": "q", "responses": three, "ranks": [1, 3, 2], "labeler": "bob"},  # the longer loses twice
            {"prompt": "q", "responses": three[:2], "ranks": [2, 1], "labeler": "bob"},  # the longer wins
        )
    )
    assert (seen.records, len(seen.prompts), seen.repeated_prompts) == (3, 2, 1)
    assert seen.k == {3: 2, 2: 1}
    assert seen.labelers == {"ann": 1, "bob": 2}
    assert (seen.pairs, seen.ties, seen.longer_wins, seen.pairs_of_two_lengths) == (7, 1, 3, 5)


def test_lengths_are_exact_and_of_nothing_there_is_none():
    assert lengths(array("L", range(1, 101))) == Lengths(n=100, mean=50.5, median=50.5, p95=95, max=100)
    assert lengths(array("L", [7])) == Lengths(1, 7, 7, 7, 7)
    assert lengths(array("L")) is None


def test_a_prompt_in_two_files_is_a_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    train = lines(
        tmp_path / "train.jsonl", {"prompt": "How  are\nyou?", "response": "r"}, {"prompt": "p", "response": "r"}
    )
    valid = lines(tmp_path / "valid.jsonl", {"messages": [{"role": "user", "content": "How are you?"},
                                                          {"role": "assistant", "content": "other"}]})  # fmt: skip
    assert shared_between(survey(train), survey(valid)) == {"ids": 0, "prompts": 1, "whole": 0}
    assert check("check", train, valid, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["shared"] == [{"files": [str(train), str(valid)], "ids": 0, "prompts": 1, "whole": 0}]


def test_the_pairs_of_one_ranking_are_one_prompt(tmp_path: Path):
    row = {"id": "r", "prompt": "p", "responses": ["x", "y", "z"],
           "pairs": [{"a": 0, "b": 1, "label": 1}, {"a": 0, "b": 2, "label": 1}]}  # fmt: skip
    seen = survey(lines(tmp_path / "f.jsonl", row))
    assert (seen.rows, seen.records, seen.repeated_prompts, seen.repeated_whole) == (1, 2, 0, 0)


def test_the_same_record_twice_is_a_copy_and_two_labelers_are_not(tmp_path: Path):
    row = {"prompt": "p", "response": "r"}
    seen = survey(lines(tmp_path / "f.jsonl", row, row, row | {"labeler": "ann"}, row | {"labeler": "bob"}))
    assert (seen.repeated_prompts, seen.repeated_whole) == (3, 1)


def test_exit_codes_are_0_fine_1_bad_rows_2_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fine = lines(tmp_path / "fine.jsonl", {"prompt": "p", "response": "r"})
    bad = lines(tmp_path / "bad.jsonl", {"prompt": "p", "response": "r"}, *[{"prompt": "p", "response": ""}] * 30)
    assert check("check", fine) == 0
    assert "read as demonstrations: prompt with response" in capsys.readouterr().out
    assert check("check", bad, "--limit", "2") == 1
    said = capsys.readouterr().out
    assert "30 rows cannot be read" in said
    assert "line 3: response is empty" in said
    assert "28 more" in said
    assert check("check", fine, tmp_path / "none.jsonl") == 2
    assert check("check", fine, bad, "--json") == 1
    files = json.loads(capsys.readouterr().out.splitlines()[-1])["files"]
    assert [file["problems"] for file in files] == [0, 30]
    assert files[1]["first_problems"][0] == {
        "line": 2, "found": "response is empty.", "expected": "Expected a response that says something.", "do": ""
    }  # fmt: skip


def test_convert_says_how_it_read_and_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = lines(tmp_path / "in.jsonl", {"prompt": "p", "response": "r"}, {"prompt": "p", "response": ""})
    assert check("convert", source, tmp_path / "out.jsonl", "--to", "messages", "--skip", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["read_as"], said["rows"], said["skipped"]) == ("demonstrations: prompt with response", 1, 1)
    assert json.loads((tmp_path / "out.jsonl").read_text())["messages"][1]["content"] == "r"
    assert check("convert", source, tmp_path / "p.jsonl.gz", "--to", "prompt", "--skip") == 0
    assert "1 rows written as prompt" in capsys.readouterr().out


def test_each_turn_may_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant") * 3]
    file = lines(tmp_path / "c.jsonl", {"messages": turns})
    assert check("check", file, "--turns", "each", "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["records"] == 3
