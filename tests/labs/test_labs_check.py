"""`rather labs`: gaps are found, wrong ones are named with the hand computation, hostile files get words."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from laboratory import LABS, ROOT, tool

from rather.cli import labs as verb
from rather.cli import labs_answers, main
from rather.cli.labs_runner import answers

ALL = verb.read_labs(LABS)
GAPS = [(lab, gap) for lab in ALL for gap in lab.gaps]
WITH_GAPS = [lab for lab in ALL if lab.gaps]


def rather(capsys, *args: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["labs", "--labs", str(LABS), *args])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return stopped.value.code or 0, out, err


def here(file, lab, gap) -> labs_answers.Verdict:
    """The verdict on one gap, in this process."""
    sys.path[:0] = [str(LABS)] * (str(LABS) not in sys.path)
    return labs_answers.verdict(gap, answers(str(file), gap["name"], [check["call"] for check in gap["check"]]))


@pytest.mark.parametrize("lab", WITH_GAPS, ids=lambda lab: lab.number)
def test_the_twin_is_the_lab_with_its_gaps(lab):
    assert lab.twin.read_text() == tool().twin(lab.file.stem), "python tools/labs.py writes them anew"


@pytest.mark.parametrize(("lab", "gap"), GAPS, ids=lambda x: x["name"] if isinstance(x, dict) else x.number)
def test_the_lab_fills_the_gap_and_the_twin_says_what_to_write(lab, gap):
    assert here(lab.file, lab, gap) == labs_answers.Verdict(gap["name"], "right")
    assert here(lab.twin, lab, gap) == labs_answers.Verdict(gap["name"], "to write", (gap["write"],))


@pytest.mark.parametrize(("lab", "gap"), GAPS, ids=lambda x: x["name"] if isinstance(x, dict) else x.number)
def test_a_wrong_gap_is_shown_the_hand_computation(lab, gap, tmp_path):
    said = f"To write: {gap['name']}: {gap['write']}"
    wrong = tmp_path / "mine.py"
    wrong.write_text(lab.twin.read_text().replace(f'raise SystemExit("{said}")', "return 12345.6"))
    found = here(wrong, lab, gap)
    assert found.state == "wrong"
    assert found.words[-1] == f"by hand: {gap['check'][0]['hand']}"


@pytest.mark.parametrize("lab", WITH_GAPS, ids=lambda lab: lab.number)
def test_a_twin_run_as_it_is_says_what_to_write_first(lab):
    done = subprocess.run([sys.executable, str(lab.twin)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("To write: ")
    assert "Traceback" not in done.stderr


def test_check_says_which_are_wrong_and_ends_with_1(capsys, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text((LABS / "03_one_token_at_a_time.py").read_text().replace("/ len(counted)", "/ len(mask)"))
    code, out, _ = rather(capsys, "check", "03", str(mine))
    assert code == 1
    assert "wrong     sft_loss" in out
    assert "gives 2, expected 3" in out
    assert "by hand: the mask counts two tokens: (2 + 4) / 2 = 3" in out
    assert "3 of 4 parts are right" in out
    code, out, _ = rather(capsys, "check", "3", "--json")
    assert code == 1
    assert [gap["state"] for gap in json.loads(out)["gaps"]] == ["to write"] * 4
    code, out, _ = rather(capsys, "check", "03_one_token_at_a_time", str(LABS / "03_one_token_at_a_time.py"))
    assert code == 0
    assert "4 of 4 parts are right. Now run it" in out


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\nos._exit(3)", "it ended the process (exit code 3)"),
        ("import nothing_of_that_name", "ModuleNotFoundError in line 1"),
        ("def token_loss(p):\n    while True: pass", "is there a loop that does not end?"),
        ("print('{}')\ndef token_loss(p):\n    print('hello')\n    return 0", "gives 0, expected 1.89712"),
        ("def token_loss(p): return float('nan')", "gives 'nan'"),
        ("def token_loss(p): return object()", "not JSON serializable"),
        ("def token_loss(): return 0", "TypeError"),
        ("def token_loss(p):\n    return 1 / 0", "ZeroDivisionError in line 2"),
        ("def token_loss(p): exit()", "it ended the program"),
        ("def token_loss(p): return token_loss(p)", "RecursionError"),
        ("token_loss = 3", "TypeError"),
        ("", "there is no token_loss in the file"),
        ("def token_loss(p): return input()", "EOFError"),
        ("def token_loss(p): return '\\x1b[31m'", "gives '\\x1b[31m'"),
    ],
)
def test_what_a_learner_may_write_gets_words(source, words, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(labs_answers, "SECONDS", 1)
    mine = tmp_path / "mine.py"
    mine.write_text(source)
    (lab,) = [lab for lab in ALL if lab.number == "03"]
    found = labs_answers.check(labs_answers.Lab(**{**vars(lab), "gaps": lab.gaps[:1]}), mine)
    assert found[0].state == "wrong"
    assert words in found[0].words[0]
    verb.report(lab, mine, found)
    assert "\x1b[31m" not in capsys.readouterr().out.replace("\x1b[31mwrong", "")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.py", None, "cannot be read: No such file"),
        ("broken.py", b"def f(:\n", "broken.py:1: invalid syntax"),
        ("bytes.py", b"\xff\xfe", "is no text in UTF-8"),
        ("null.py", b"x = 1\0", "null"),
        ("huge.py", b"#" * 1_000_001, "has 1,000,001 bytes"),
    ],
)
def test_files_that_are_no_lab_are_refused(name, content, words, capsys, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, _, err = rather(capsys, "check", "03", str(tmp_path / name))
    assert code == 2
    assert words in err
    code, _, err = rather(capsys, "check", "03", str(tmp_path))
    assert code == 2
    assert "cannot be read" in err


def test_a_file_that_is_not_called_py_is_said_to_be():
    (lab,) = [lab for lab in ALL if lab.number == "03"]
    assert here(ROOT / "LICENSE", lab, lab.gaps[0]).words[0].endswith("its name has to end in .py")


def test_labs_are_listed_with_their_minutes(capsys):
    code, out, _ = rather(capsys)
    assert code == 0
    for lab in ALL:
        assert f"{lab.number}  {lab.minutes:3d} min  {lab.title}" in out
    assert f"{sum(lab.minutes for lab in ALL)} minutes in all" in out
    listed = json.loads(rather(capsys, "--json")[1])["labs"]
    assert [x["number"] for x in listed] == [lab.number for lab in ALL]


@pytest.mark.parametrize("number", ["99", "x", "-3", "\x1b[31m"])
def test_a_lab_that_is_not_there_is_named(number, capsys):
    code, _, err = rather(capsys, "check", "--", number)
    assert code == 2
    assert "There is no lab" in err
    assert "\x1b" not in err


def test_a_page_that_is_broken_is_named(tmp_path, capsys):
    (tmp_path / "gaps").mkdir()
    (tmp_path / "sheet.py").touch()
    for content, words in ((None, "has no lab"), ("title = ", "01_a.toml"), ("title = 'a'", "'minutes'")):
        if content is not None:
            (tmp_path / "gaps" / "01_a.toml").write_text(content)
        with pytest.raises(SystemExit) as stopped:
            main(["labs", "--labs", str(tmp_path)])
        assert stopped.value.code == 2
        assert words in capsys.readouterr().err


def test_without_a_checkout_it_says_where_the_labs_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verb, "__file__", str(tmp_path / "site-packages" / "rather" / "cli" / "labs.py"))
    with pytest.raises(SystemExit) as stopped:
        main(["labs"])
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "They come with the source of rather" in err
    assert "rather labs --labs FOLDER" in err
    (tmp_path / "labs").symlink_to(LABS)
    with pytest.raises(SystemExit) as stopped:
        main(["labs"])
    assert not stopped.value.code
    assert "python labs/01_biased_coin.py" in capsys.readouterr().out
