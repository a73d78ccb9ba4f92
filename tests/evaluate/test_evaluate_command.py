"""`rather evaluate` as it is typed: tasks from files, nothing measured twice, the tax as a gate."""

from __future__ import annotations

import json

import pytest
from task_rows import ROWS, file_of

from conftest import small_policy
from rather.cli import main
from rather.models.load import save_policy


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *map(str, words)])
    out, err = capsys.readouterr()
    return end.value.code, out, err


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """RUN with two models, and questions of three tasks."""
    folder = tmp_path_factory.mktemp("tasks")
    for seed, name in enumerate(("base", "ppo")):
        (folder / "run" / name).mkdir(parents=True)
        save_policy(small_policy(seed), folder / "run" / name / "checkpoint")
    (folder / "data").mkdir()
    words = ("red", "blue", "old", "new", "big", "small", "wet", "dry")
    for name, changes in {
        "rte": lambda k: {"idx": k, "sentence1": f"It is {words[k]}.", "label": k % 2},
        "sst": lambda k: {"idx": k, "sentence": f"It is {words[k]}.", "label": k % 2},
        "wmt15_fr_en": lambda k: {"id": k, "translation": {"fr": f"Le {words[k]}", "en": f"The {words[k]} one is it"}},
    }.items():
        file_of(folder / "data", name, *({**ROWS[name], **changes(k)} for k in range(8)))
    file_of(folder / "data", "rte.shots", ROWS["rte"])
    return folder


def test_tasks_are_measured_once_and_written_with_every_answer(story, capsys):
    asked = (story / "run/base", "--data", story / "data", "shots=1", "--json")
    code, out, _ = run(capsys, *asked)
    assert code == 0
    found = json.loads(out)["models"]["base"]
    assert {task: of["about"]["shots"] for task, of in found.items()} == {"rte": 1, "sst": 1, "wmt15_fr_en": 1}
    # The example of RTE has a file of its own; elsewhere it is one of the questions, and is not asked.
    assert {task: of["questions"] for task, of in found.items()} == {"rte": 8, "sst": 7, "wmt15_fr_en": 7}
    path = story / "run/evaluate/tasks/base"
    rows = [json.loads(line) for line in (path / "sst.jsonl").read_text().splitlines()]
    assert len(rows) == 7
    assert found["sst"]["metrics"]["accuracy"]["value"] == sum(r["grades"]["accuracy"] for r in rows) / 7
    shown = found["sst"]["preambles"][""]
    assert shown.count("Label: ") == 1
    before = (path / "sst.json").stat().st_mtime_ns
    assert run(capsys, *asked)[0] == 0
    assert (path / "sst.json").stat().st_mtime_ns == before
    assert run(capsys, *asked[:-1], "--tasks", "sst", "--again")[0] == 0
    assert (path / "sst.json").stat().st_mtime_ns > before
    assert run(capsys, *asked[:-2], "--tasks", "sst", "shots=0")[0] == 0  # other settings are another measurement
    assert json.loads((path / "sst.json").read_text())["about"]["shots"] == 0


def test_the_tax_is_a_gate(story, capsys):
    models = (story / "run/ppo", story / "run/base")
    assert run(capsys, *models, "--data", story / "data", "shots=0", "n=6")[0] == 0
    code, out, _ = run(capsys, "tax", *models, "--fail-below", "-2", "--json")
    found = json.loads(out)
    assert code == 0  # with six questions nothing is lost for certain
    assert found["failed"] == ""
    assert [toll["task"] for toll in found["tasks"]] == ["wmt15_fr_en", "rte", "sst"]
    lost(story / "run/evaluate/tasks", "ppo", "base", "sst")
    code, out, err = run(capsys, "tax", *models, "--fail-below", "-2")
    assert code == 1
    assert "1 of 3 tasks lost more than 2 points: sst -83.3 points" in err
    assert "lost" in out
    assert run(capsys, "tax", *models)[0] == 0  # without a bound it only says so
    assert run(capsys, "tax", *models, "--fail-below", "-99")[0] == 0


def lost(out, ours, theirs, task):
    """All but one answer of ours wrong, all of theirs right."""
    for name, grade in ((ours, 0.0), (theirs, 1.0)):
        path = out / name / f"{task}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for at, row in enumerate(rows):
            row["grades"]["accuracy"] = 1.0 if at == 0 else grade
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_different_questions_are_not_compared(story, capsys):
    assert run(capsys, story / "run/base", "--data", story / "data", "--tasks", "rte", "shots=0", "n=5")[0] == 0
    code, _, err = run(capsys, "tax", story / "run/ppo", story / "run/base")
    assert code == 2
    assert "rte: ppo and base were not asked the same: questions differ" in err


def test_a_damaged_result_is_words(story, capsys):
    models = (story / "run/ppo", story / "run/base")
    assert run(capsys, *models, "--data", story / "data", "shots=0", "n=6", "--again")[0] == 0
    path = story / "run/evaluate/tasks/ppo/rte.jsonl"
    for broken in ('{"id": "1"}\n', '{"id": "1", "way": "", "cluster": "1", "grades": {"accuracy": 7}}\n', "x\n"):
        path.write_text(broken)
        code, _, err = run(capsys, "tax", *models)
        assert code == 2
        assert "rte.jsonl:1" in err
    path.unlink()
    assert run(capsys, "tax", *models)[0] == 2
    assert run(capsys, *models, "--data", story / "data", "shots=0", "n=6")[0] == 0  # and measured anew
    assert path.is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "No model is named"),
        (("run/base",), "No task is named"),
        (("run/base", "--tasks", "hellaswg"), "Did you mean 'hellaswag'?"),
        (("run/base", "--tasks", "winogender"), "winogender=FILE.jsonl"),
        (("run/base", "rte=none.jsonl"), "There is no file none.jsonl"),
        (("run/base", "rte=data/rte.jsonl"), "15 examples are to be shown, and there are 8"),
        (("run/base", "rte=data/rte.jsonl", "shot=1"), "Did you mean"),
        (("run/base", "run/base/checkpoint", "rte=data/rte.jsonl"), "the same name"),
        (("run/base", "--data", "nowhere"), "There is no folder nowhere"),
        (("nowhere/at/all", "rte=data/rte.jsonl", "shots=0"), "There is no folder nowhere/at/all"),
        (("run/base", "truthfulqa=x", "judge=http://127.0.0.1:9/v1"), "judge_model"),
        (("run/base", "truthfulqa=x", "judge=ftp://x", "judge_model=m"), "no address of an endpoint"),
        (("tax", "run/nobody", "run/base"), "no task in common"),
        (("tax", "run/ppo", "run/base", "--fail-below", "2"), "2"),
    ],
)
def test_what_cannot_be_done_is_said(story, capsys, monkeypatch, words, said):
    monkeypatch.chdir(story)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert said in err


def test_help_names_tasks_and_settings(capsys):
    _, out, _ = run(capsys, "--help")
    assert "realtoxicityprompts: how toxic" in out
    assert "too_long = " in out
    assert "--fail-below" in run(capsys, "tax", "--help")[1]
    assert "people:FILE" in run(capsys, "preference", "--help")[1]
