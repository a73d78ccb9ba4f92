"""`rather preview`: what it shows is what is trained, and nothing in a file can paint the terminal."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig

from chat_styles import CHATML, NOT_MONOTONE, byte_level
from rather.cli import main

TOKENIZER = byte_level("<s>")
DEMONSTRATION = {"id": "d1", "prompt": "Why is the sky blue?", "response": "It depends."}
RANKING = {"id": "r1", "prompt": "Why?", "responses": [{"text": "a"}, {"text": "b"}, {"text": "c"}], "ranks": [1, 2, 2]}
HOSTILE = "\x1b[31mred \x1b]0;title\x07 [bold]x[/bold] [/red] \u202eabc\r\x9b2J </s>"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    TOKENIZER.save_pretrained(folder)
    LlamaConfig(max_position_embeddings=64, eos_token_id=TOKENIZER.eos_token_id).save_pretrained(folder)
    return folder


@pytest.fixture
def rows(tmp_path: Path):
    def write(*rows: dict) -> Path:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    return write


@pytest.fixture
def jinja(tmp_path: Path):
    def write(source: str) -> Path:
        file = tmp_path / "chat.jinja"
        file.write_text(source)
        return file

    return write


@pytest.fixture
def preview(capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["preview", *map(str, args)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(end.value.code or 0), out, err

    return run


def test_without_colours_trained_tokens_stand_in_brackets(preview, rows, model):
    code, out, _ = preview(rows(DEMONSTRATION), "--model", model)
    assert code == 0
    assert "1. d1: 13 tokens, 5 of them trained\n<s>|Why| is| the| sky| blue|?|\\n|\n[I][t][ depends][.][</s>]\n" in out
    assert "38.5%  of 13 tokens are trained" in out


def test_with_colours_only_trained_tokens_have_a_background(preview, rows, model, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, out, _ = preview(rows(DEMONSTRATION), "--model", model)
    lines = out.splitlines()
    [place] = [place for place, line in enumerate(lines) if " sky" in line]
    asked, answered = lines[place : place + 2]
    assert "\x1b[30;" not in asked
    assert answered.count("\x1b[30;42m") + answered.count("\x1b[30;102m") == 5


def test_every_response_of_a_ranking_is_shown(preview, rows, model):
    _, out, _ = preview(rows(RANKING), "--model", model)
    assert "<s>|Why|?|\\n|\nresponse 1 of 3\n[a][</s>]\nresponse 2 of 3\n[b][</s>]\nresponse 3 of 3\n[c][</s>]" in out


@pytest.mark.parametrize("colour", ["", "1"])
def test_hostile_text_is_shown_and_never_obeyed(preview, rows, model, monkeypatch, colour):
    monkeypatch.setenv("FORCE_COLOR", colour)
    monkeypatch.setenv("TERM", "xterm-256color")
    file = rows({"id": f"d{HOSTILE}", "prompt": HOSTILE, "response": HOSTILE})
    _, out, _ = preview(file, "--model", model, "--max-length", 500)
    for obeyed in ("\x1b[31mred", "\x1b]0", "\x07", "\u202e", "\r", "\x9b"):
        assert obeyed not in out
    assert "d\\x1b[31mred \\x1b]0;title\\x07 [bold]x[/bold]" in out.replace("\n", "")
    assert "rows that spell a control token" in out
    if not colour:
        assert "\x1b" not in out


def test_a_terminal_that_knows_only_ascii_is_enough(rows, model, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as end:
        main(["preview", str(rows({"id": "ä", "prompt": "Why äöü?", "response": "🙂"})), "--model", str(model)])
    out.flush()
    assert not end.value.code
    assert b"1. \\xe4: " in out.buffer.getvalue()


def test_parts_of_a_character_are_shown_as_bytes(preview, rows, model):
    _, out, _ = preview(rows({"id": "d", "prompt": "Why?", "response": "🙃"}), "--model", model)
    assert "[<F0><9F>][<99>][<83>][</s>]" in out


def test_long_texts_are_shown_from_both_sides(preview, rows, model):
    file = rows({"id": "d", "prompt": "Why?" + " the" * 300, "response": "Once"})
    _, out, _ = preview(file, "--model", model, "--max-length", 1000)
    assert "\n... 124 tokens ...\n" in out


def test_json_has_the_counts_and_the_tokens_with_their_flags(preview, rows, model):
    code, out, _ = preview(rows(DEMONSTRATION, DEMONSTRATION | {"id": "d2"}), "--model", model, "-n", 1, "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["rows"], said["encoded"], said["trained_tokens"], said["tokens"]) == (2, 2, 10, 26)
    assert said["trained_share"] == pytest.approx(10 / 26)
    assert (said["bos"], said["eos"], said["max_length"]) == ("<s>", "</s>", 64)
    [example] = said["examples"]
    [response] = example["responses"]
    assert [t["id"] for t in example["prompt"]] == TOKENIZER("Why is the sky blue?\n")["input_ids"]
    assert "".join(t["text"] for t in response) == "It depends.</s>"
    assert {t["trained"] for t in example["prompt"]} == {False}
    assert {t["trained"] for t in response} == {True}


def test_rows_over_the_context_window_are_counted_as_dropped(preview, rows, model):
    file = rows(DEMONSTRATION, DEMONSTRATION | {"id": "long", "response": "It depends. " * 30})
    code, out, _ = preview(file, "--model", model)
    assert code == 0
    assert "1  dropped: longer than --max-length 64 (long)" in out
    _, out, _ = preview(file, "--model", model, "--max-prompt", 7, "--json")
    assert json.loads(out)["dropped"]["long_prompt"] == {"count": 2, "ids": ["d1", "long"]}


def test_a_separator_may_be_written_with_a_backslash(preview, rows, model):
    _, out, _ = preview(rows(DEMONSTRATION), "--model", model, "--separator", "\\n\\nThe answer: ")
    assert "<s>|Why| is| the| sky| blue|?|\\n\\n|\nThe| answer|:|\n[ It][ depends][.][</s>]" in out


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["words", "json"])
def test_rows_with_nothing_or_everything_to_train_end_with_1(preview, rows, model, jinja, as_json):
    hides = jinja("{% for m in messages %}{{ m.content | replace('nothing', '') | replace('secret', '') }}{% endfor %}")
    zero, hundred = (
        {"id": "z", "prompt": "Why?", "response": "nothing"},
        {"id": "h", "prompt": "secret", "response": "a"},
    )
    code, out, err = preview(rows(DEMONSTRATION, zero, hundred), "--model", model, "--template", hides, *as_json)
    assert code == 1
    assert "2 of 3 rows have nothing or everything to train (z, h)" in err
    if as_json:
        said = json.loads(out)
        assert said["dropped"]["untrained"] == {"count": 1, "ids": ["z"]}
        assert said["dropped"]["untold"] == {"count": 1, "ids": ["h"]}
    else:
        assert "1  dropped: 0 % trained: a response without a single token (z)" in out
        assert "1. d1" in out, "the other rows are still shown"


def test_a_file_of_which_nothing_is_left_ends_with_1(preview, rows, model):
    code, _, err = preview(rows(DEMONSTRATION), "--model", model, "--max-length", 5)
    assert code == 1
    assert "None of the 1 rows is left" in err


def test_a_template_file_is_used_and_its_notes_are_said(preview, rows, model, jinja):
    _, out, _ = preview(rows(DEMONSTRATION), "--model", model, "--template", jinja(CHATML), "--width", 200)
    assert "[I][t][ depends][.][<|im_end|>]\n" in out
    assert "ends a turn with '<|im_end|>', and the tokenizer's EOS is '</s>'" in out


def test_a_tokenizer_without_an_eos_is_previewed_with_the_one_that_is_named(preview, rows, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "no_eos")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    code, _, err = preview(rows(DEMONSTRATION), "--model", folder)
    assert code == 2
    assert "has no EOS token" in err
    assert "--eos-token TOKEN" in err
    code, out, _ = preview(rows(DEMONSTRATION), "--model", folder, "--eos-token", "</s>")
    assert code == 0
    assert "[I][t][ depends][.][</s>]" in out
    assert "note: Answers end with '</s>', as asked for." in out


def lacking(model: Path, folder: Path, *names: str) -> Path:
    shutil.copytree(model, folder)
    for name in names:
        (folder / name).unlink()
    return folder


def test_what_cannot_be_used_is_refused_in_words(preview, rows, model, jinja, tmp_path):
    (empty := tmp_path / "empty.jsonl").touch()
    good = rows(DEMONSTRATION)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "p", "prompt": "Why?"}) + "\n")
    talk = tmp_path / "talk.jsonl"
    turns = [{"role": role, "content": "a"} for role in ("system", "user", "assistant")]
    talk.write_text(json.dumps({"id": "t", "messages": turns}) + "\n")
    not_utf8 = tmp_path / "bytes.jinja"
    not_utf8.write_bytes(b"\xff\xfe")
    bare = lacking(model, tmp_path / "bare", "tokenizer.json", "tokenizer_config.json")
    cases: list[tuple[list[object], str]] = [
        ([good, "--model", bare], "tokenizer"),
        ([good, "--model", lacking(model, tmp_path / "no_config", "config.json")], "no config.json"),
        ([good, "--model", tmp_path], "not the folder of a model"),
        ([good, "--model", good], "is a file"),
        ([good, "--model", tmp_path / "nowhere"], "There is no folder"),
        ([empty, "--model", model], "is empty"),
        ([tmp_path / "nowhere.jsonl", "--model", model], "nowhere.jsonl"),
        ([prompts, "--model", model], "there is nothing to train on"),
        ([good, "--model", model, "--template", "plian"], "Did you mean 'plain'?"),
        ([good, "--model", model, "--template", tmp_path / "no.jinja"], "cannot be read"),
        ([good, "--model", model, "--template", not_utf8], "cannot be read"),
        ([good, "--model", model, "--template", jinja("{% if")], "refuses a conversation"),
        ([good, "--model", model, "--shape", "rankins"], "Did you mean 'rankings'?"),
        ([talk, "--model", model], r"The prompt is a conversation (system, user)"),
        ([good], "Missing option '--model'"),
        ([good, "--model", model, "--max-length", "many"], "Invalid value for '--max-length'"),
    ]
    for args, said in cases:
        code, out, err = preview(*args)
        assert (code, out) == (2, ""), said
        assert said in err
        assert 1 <= len(err.strip().splitlines()) <= 4
    code, _, err = preview(good, "--model", model, "--template", jinja(NOT_MONOTONE))
    assert code == 2
    assert "chat.jinja' changes the prompt when an answer follows: its token" in err
    code, out, _ = preview(prompts, "--model", model, "--json")
    assert json.loads(out)["error"] == "BadFile"


@pytest.mark.shared
def test_real_files_on_a_real_model(preview, shared_data):
    model = shared_data / "model_stories260k"
    code, out, _ = preview(shared_data / "demos_dolly_human" / "train.jsonl.gz", "--model", model, "-n", 1, "--json")
    said = json.loads(out)
    assert code == 0
    assert said["rows"] == said["encoded"] + said["dropped"]["long_total"]["count"] == 3583
    assert said["longest"] <= said["max_length"] == 512
    file = shared_data / "comparisons_short_text" / "topical_chat.jsonl.gz"
    code, out, _ = preview(file, "--model", model, "--template", "plain", "--width", 200)
    assert code == 0
    assert "response 6 of 6" in out
