"""The frame of the command line: help, exit codes, and what a program that asked for JSON gets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rather.cli
from rather.cli import VERBS, main

ROOT = Path(__file__).parents[1]
RATHER = (sys.executable, "-m", "rather")


def say(capsys, *args: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `rather ARGS`"""
    with pytest.raises(SystemExit) as stopped:
        main(args)
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


def test_version_is_the_packages(capsys):
    assert say(capsys, "--version") == (0, f"rather {rather.__version__}\n", "")
    # `python -m rather` is the same program as the installed `rather`.
    done = subprocess.run([sys.executable, "-m", "rather", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"rather {rather.__version__}\n")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] == {"rather": "rather.cli:main"}


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["--version"], ["no-such-verb"]])
def test_the_frame_answers_without_torch_and_without_any_verb(args):
    code = (
        "import sys\nfrom rather.cli import main\n"
        f"try: main({args})\n"
        "except SystemExit: pass\n"
        "loaded = [m for m in sys.modules if m in ('torch', 'transformers') or m.startswith('rather.cli.')]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_verb_with_its_line(capsys):
    code, out, err = say(capsys, "--help")
    assert (code, err) == (0, "")
    listed = out[out.index("Verbs:") :]
    for verb, (_, line) in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(line)}$", listed, re.M), verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(capsys, verb):
    code, out, err = say(capsys, verb, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: rather {verb} ")


@pytest.mark.parametrize(
    ("args", "near"),
    [(["docter"], "Did you mean 'doctor'?"), (["doctor", "--jsn"], "--json"), (["doctor", "surplus"], "surplus")],
)
def test_wrong_use_offers_the_nearest_and_what_to_type_next(capsys, args, near):
    code, out, err = say(capsys, *args)
    assert (code, out) == (2, "")
    assert near in err
    assert "--help" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("args", [["docter", "--json"], ["doctor", "--json", "--nope"]])
def test_an_error_is_one_json_object_for_who_asked_for_json(capsys, args):
    code, out, err = say(capsys, *args)
    assert code == 2
    assert set(json.loads(out)) == {"error", "found", "expected", "do"}
    assert err.startswith("rather: ")


def test_hostile_words_in_an_error_cannot_paint_the_terminal(capsys, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Why?", "response": "It depends."}\n')
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"\x1b]0;title\x07\r\u202e": "mine.Mine"}}))
    code, _, err = say(capsys, "preview", str(tmp_path / "rows.jsonl"), "--model", str(tmp_path))
    assert code == 2
    assert r"brings its own code (\x1b]0;title\x07\r\u202e)" in err
    assert len(err.splitlines()) == 3


def test_a_reader_that_leaves_early_gets_no_complaint():
    # The pipe is closed before rather writes; Python alone would print a BrokenPipeError.
    code = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); from rather.cli import main; main(['--help'])"
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True).stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_output_that_takes_nothing_is_said_on_standard_error(more, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Why?", "response": "It depends."}\n')
    with open("/dev/full", "w") as full:
        done = subprocess.run([*RATHER, "data", "check", rows, *more], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("rather: No space left on device\n")
    assert "Traceback" not in done.stderr


def test_a_terminal_without_the_letters_gets_their_numbers(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Why?", "response": "It depends.", "labeler": "Zo\u00eb"}\n', encoding="utf-8")
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*RATHER, "data", "check", rows], env=ascii_only, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"Zo\xeb 1" in done.stdout


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device", "run/ppo"), 2, "run/ppo: No space left on device"),
        (
            FloatingPointError("sft: the loss is nan.\nIt has to be finite."),
            1,
            "sft: the loss is nan.\nIt has to be finite.",
        ),
        (MemoryError(), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_what_a_verb_cannot_foresee_is_words_too(capsys, monkeypatch, error, code, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(rather.cli.rather, "main", fail)
    found, out, err = say(capsys, "doctor")
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
