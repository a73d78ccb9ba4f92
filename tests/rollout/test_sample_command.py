"""`rather sample`: prompts from three places, to the screen or to records, in their order and with their seeds."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from rather.cli import main, worth
from rather.models.load import save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.records import Prompt, Samples, read
from rather.worlds import Marn

WORDS = ["Name a fish.", "A cod, a bream or a perch.", "Why is the sky blue?", "It is not, on a day like this one."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TinyConfig(vocabulary=300, hidden=16, layers=1, heads=2, context=384)
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


@pytest.mark.parametrize("category", [None, "open_qa"])
def test_prompts_of_a_world_come_with_what_the_answers_are_worth(run, model, tmp_path, category):
    out = tmp_path / "samples.jsonl"
    only = ("--category", category) if category else ()
    ask = (model, "--world", "marn:2:tiny", *only, "--source", "labeler", "--split", "train", "-n", 5, "-k", 2)
    code, said, _ = run(*ask, "--max-new-tokens", 5, "--template", "none", "-o", out, "--json")
    assert code == 0
    rows = list(read(out, Samples))
    world, asked = Marn(2, "tiny"), worth.ask("marn:2:tiny", 5, "labeler", "train", category, 0)
    assert {row.prompt for row in rows} <= {prompt.text for prompt in asked.prompts.values()}
    for row in rows:
        assert row.split == "train"
        assert category in (None, row.category)
        features = [world.features(asked.prompts[row.id], r.text, r.finished) for r in row.responses]
        assert row.utilities == tuple(map(world.utility, features))
        assert [of["junk"] for of in row.flags] == [bool(f.junk) for f in features]
    found = json.loads(said)["worth"]
    assert found["utility"]["n"] == 2 * len(rows)
    assert found["utility"]["value"] == pytest.approx(sum(sum(row.utilities) for row in rows) / (2 * len(rows)))
    assert found["finished"]["value"] == sum(r.finished for row in rows for r in row.responses) / (2 * len(rows))
    low, high = found["utility"]["interval"]
    assert low <= found["utility"]["value"] <= high
    assert 0 <= found["junk"]["value"] <= 1


def test_a_worlds_answers_are_judged_on_the_screen_and_one_prompt_has_no_interval(run, model):
    ask = (model, "--world", "marn:2:tiny", "--category", "open_qa", "-n", 1, "--max-new-tokens", 4)
    code, said, _ = run(*ask, "--template", "none")
    assert code == 0
    assert "(cut off at 4 tokens, U* " in said or "(U* " in said
    *_, last = said.splitlines()
    assert re.fullmatch(r"U\* -?\d\.\d\d, junk \d+\.0%, finished \d+\.0%: 1 response to 1 prompt", last)


def test_what_is_written_passes_the_check_and_converts_to_prompts(run, model, prompts, tmp_path):
    out = tmp_path / "samples.jsonl"
    run(model, "--file", prompts, "-k", 2, "--max-new-tokens", 3, "-o", out)
    for args in (["check", out], ["convert", out, tmp_path / "again.jsonl", "--to", "samples"]):
        with pytest.raises(SystemExit) as end:
            main(["data", *map(str, args)])
        assert not end.value.code
    assert list(read(tmp_path / "again.jsonl")) == list(read(out, Samples))
    assert [prompt.prompt for prompt in read(out, Prompt)] == WORDS


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
    file.write_text('{"prompt": "' + "word " * 400 + '"}\n{"prompt": "Why?"}\n')
    code, said, _ = run(model, "--file", file, "--max-new-tokens", 8, "--json")
    answer = json.loads(said)
    assert code == 0
    assert (answer["prompts"], answer["left_out"]) == (1, 1)
    assert "1 of 2 prompts are too long for the model's window: left out." in answer["notes"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-p", "a", "--file", "b.jsonl"), "More than one of --file, --world and --prompt"),
        (("--world", "marn:0", "--file", "b.jsonl"), "More than one of --file, --world and --prompt"),
        (("--world", "marm:0"), "There is no world 'marm:0'. Did you mean 'marn'?"),
        (("--world", "marn:0:tiny", "--category", "openqa"), "There is no use case 'openqa'. Did you mean 'open_qa'?"),
        (("-p", "a", "--category", "open_qa"), "without --world"),
        (("-p", "  "), "The prompt is empty"),
        (("-p", "a", "--max-new-tokens", "384"), "No prompt fits the model's window of 384"),
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
