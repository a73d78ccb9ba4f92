"""`rather sample`: prompts from three places, to the screen or to records, in their order and with their seeds."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch

from rather.cli import main
from rather.models.load import save_policy
from rather.models.tiny import TinyConfig, tiny

WORDS = ["Name a fish.", "A cod, a bream or a perch.", "Why is the sky blue?", "It is not, on a day like this one."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TinyConfig(vocabulary=300, hidden=16, layers=1, heads=2, context=64)
    policy = tiny(config, WORDS * 20, torch.Generator().manual_seed(0))
    return save_policy(policy, tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [{"id": f"p{i}", "prompt": word, "category": "open QA"} for i, word in enumerate(WORDS)]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["sample", *map(str, args)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(end.value.code or 0), out, err

    return run


def test_records_come_in_the_order_of_the_prompts_with_k_responses_each(run, model, prompts, tmp_path):
    out = tmp_path / "samples.jsonl"
    code, said, _ = run(model, "--file", prompts, "-k", 3, "--max-new-tokens", 9, "-o", out)
    assert (code, said) == (0, f"{out}: 4 prompts with 3 responses each\n")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["id"], row["prompt"], row["category"]) for row in rows] == [
        (f"p{i}", word, "open QA") for i, word in enumerate(WORDS)
    ]
    for row in rows:
        assert len(row["responses"]) == len(row["lengths"]) == len(row["logprobs"]) == len(set(row["seeds"])) == 3
        for response, length, logprob in zip(row["responses"], row["lengths"], row["logprobs"], strict=True):
            assert response["model"] == str(model)
            assert response["finished"] or length == 9
            assert logprob < 0


def test_json_is_one_object_and_the_same_for_the_same_seed(run, model, prompts):
    ask = (model, "--file", prompts, "-n", 2, "--max-new-tokens", 6, "--json")
    code, said, _ = run(*ask)
    answer = json.loads(said)
    assert code == 0
    assert (answer["prompts"], answer["responses"], len(answer["rows"])) == (2, 2, 2)
    assert answer["tokens"] == sum(sum(row["lengths"]) for row in answer["rows"])
    assert json.loads(run(*ask, "--slots", 1)[1])["rows"] == answer["rows"]
    assert json.loads(run(*ask, "--seed", 1)[1])["rows"] != answer["rows"]


def test_typed_prompts_are_answered_on_the_screen(run, model):
    code, said, _ = run(model, "-p", "Name a fish.", "-p", "Why?", "-k", 2, "--max-new-tokens", 4)
    assert code == 0
    assert said.index("Name a fish.\n[1]\n") < said.index("Why?\n[1]\n")
    assert said.count("[2]\n") == 2


def test_standard_input_is_one_prompt(run, model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Name a fish.\nAnd another.\n")))
    code, said, _ = run(model, "--max-new-tokens", 4, "--json")
    assert code == 0
    assert [row["prompt"] for row in json.loads(said)["rows"]] == ["Name a fish.\nAnd another."]


def test_a_prompt_cannot_paint_the_terminal(run, model):
    _, said, _ = run(model, "-p", "\x1b[31mred [bold]x[/bold]", "--max-new-tokens", 2)
    assert "\x1b" not in said
    assert "\\x1b[31mred [bold]x[/bold]" in said


def test_prompts_that_do_not_fit_are_left_out_and_counted(run, model, tmp_path):
    file = tmp_path / "long.jsonl"
    file.write_text('{"prompt": "' + "word " * 60 + '"}\n{"prompt": "Why?"}\n')
    code, said, _ = run(model, "--file", file, "--max-new-tokens", 8, "--json")
    answer = json.loads(said)
    assert code == 0
    assert (answer["prompts"], answer["left_out"]) == (1, 1)
    assert "1 of 2 prompts are too long for the model's window: left out." in answer["notes"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-p", "a", "--file", "b.jsonl"), "Both --file and --prompt"),
        (("-p", "  "), "The prompt is empty"),
        (("-p", "a", "--max-new-tokens", "64"), "No prompt fits the model's window of 64"),
        (("-p", "a", "-o", "samples.txt"), "Expected a name that ends in .jsonl"),
        (("--file", "nowhere.jsonl"), "nowhere.jsonl"),
        (("-p", "a", "--top-p", "0"), "0"),
        (("-p", "a", "--template", "chatml"), "There is no template 'chatml'"),
    ],
)
def test_wrong_use_is_said_in_words(run, model, args, words):
    code, said, err = run(model, *args)
    assert (code, said) == (2, "")
    assert words in err


def test_nothing_is_written_when_a_prompt_cannot_be_read(run, model, tmp_path):
    file, out = tmp_path / "bad.jsonl", tmp_path / "out.jsonl"
    file.write_text('{"prompt": "Why?"}\n{"prompt": ""}\n')
    code, _, err = run(model, "--file", file, "-o", out)
    assert code == 2
    assert "bad.jsonl:2" in err
    assert not out.exists()
