"""The run folder: nothing half-written, one writer, and a resumed run that writes an uninterrupted run's files."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from rather import files
from rather.config import Config
from rather.errors import BadFile, BadRecord, BadSetting, NotReady, RunLocked
from rather.run import Finished, NotFinite, Run, read_done, read_log, read_metrics, verify


class Settings(Config):
    lr: float = Field(1e-5, description="ours")
    steps: int = Field(10, description="ours")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start(path: Path, steps: range, **how) -> None:
    with Run.open(path, Settings(), **how) as run:
        for step in steps:
            run.metrics(step, {"loss": 1 / (step + 1), "accuracy": None})
            run.sample(step, {"prompt": "p", "response": f"zeile\n{step} é"})
            run.sample(step, {"prompt": "q", "response": "x"})


# ---- files


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(ZeroDivisionError), files.replacing(path) as file:  # noqa: PT012 - the block is the point
        file.write(b"half")
        1 / 0  # noqa: B018
    with pytest.raises(ValueError):
        files.write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1}
    assert names(tmp_path) == ["a.json"]


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    files.write_text(tmp_path / "new", "x")
    (tmp_path / "plain").write_text("x")
    with files.replacing_folder(tmp_path / "model") as model:  # as safetensors writes it
        os.close(os.open(model / "weights", os.O_CREAT, 0o600))
    for new in (tmp_path / "new", tmp_path / "model" / "weights"):
        assert new.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_cannot_be_written_is_said_in_words(tmp_path):
    with pytest.raises(BadFile, match=r"no folder .*gone"):
        files.write_text(tmp_path / "gone" / "x", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadFile, match="Is a directory"):
        files.write_text(tmp_path / "folder", "x")
    assert names(tmp_path) == ["folder"]


def test_what_fails_at_reading_is_not_called_a_failure_to_write(tmp_path):
    with pytest.raises(FileNotFoundError, match="source"), files.replacing(tmp_path / "copy") as file:
        file.write((tmp_path / "source").read_bytes())
    assert names(tmp_path) == []


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "checkpoint"
    with files.replacing_folder(path) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(ZeroDivisionError), files.replacing_folder(path) as folder:  # noqa: PT012
        (folder / "new").write_text("2")
        1 / 0  # noqa: B018
    assert names(path) == ["old"]
    with files.replacing_folder(path) as folder:
        (folder / "new").write_text("2")
    assert names(path) == ["new"]
    assert names(tmp_path) == ["checkpoint"]


# ---- the logs


def test_a_resumed_run_writes_the_files_of_an_uninterrupted_one(tmp_path):
    start(tmp_path / "straight", range(10))
    start(tmp_path / "killed", range(8))  # its last checkpoint was after step 4
    with Run.open(tmp_path / "killed", Settings(), resume=True) as run:
        run.rewind(4)
    start(tmp_path / "killed", range(5, 10), resume=True)
    for name in ("metrics.jsonl", "samples.jsonl", "config.toml"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert [row["event"] for row in read_log(tmp_path / "killed" / "events.jsonl")] == ["started", "resumed", "resumed"]


def test_a_line_torn_by_a_kill_is_left_out_by_readers_and_dropped_on_resume(tmp_path):
    start(tmp_path, range(3))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole + b'{"step": 3, "lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]
    start(tmp_path, range(3, 4), resume=True)
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2, 3]


def test_rewinding_before_the_first_step_leaves_nothing(tmp_path):
    start(tmp_path, range(1, 3))
    with Run.open(tmp_path, Settings(), resume=True) as run:
        run.rewind(0)
    assert read_metrics(tmp_path) == []
    assert (tmp_path / "samples.jsonl").read_bytes() == b""


def test_a_step_is_logged_once_and_in_order(tmp_path):
    with Run.open(tmp_path, Settings()) as run:
        run.metrics(3, {"loss": 1.0})
        with pytest.raises(AssertionError, match="step 3 after step 3"):
            run.metrics(3, {"loss": 1.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan"), -np.inf])
def test_a_metric_that_is_no_number_stops_the_run_and_is_not_written(tmp_path, value):
    with Run.open(tmp_path, Settings()) as run:
        with pytest.raises(NotFinite, match=r"loss is -?(nan|inf)"):
            run.metrics(1, {"loss": value})
        with pytest.raises(NotFinite, match=r"scores\[1\].kl is"):
            run.sample(1, {"scores": [1.0, {"kl": value}]})
        run.metrics(1, {"loss": None, "tokens": np.int64(3), "rate": np.float32(0.5)})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": None, "tokens": 3, "rate": 0.5}]


@pytest.mark.parametrize("line", [b"not json\n", b"[1]\n", b'{"step": 1, "loss": NaN}\n', b"\xff\n", b"\x00\n",
                                  b'{"step": "1"}\n', b'{"step": null}\n', b"[" * 100_000 + b"\n"])  # fmt: skip
def test_a_broken_line_within_a_log_is_named(tmp_path, line):
    start(tmp_path, range(2))
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(line + log.read_bytes())
    with pytest.raises(BadRecord, match=r"metrics.jsonl:1: "):
        read_metrics(tmp_path)
    with pytest.raises(BadRecord, match=r"metrics.jsonl:1: "):
        Run.open(tmp_path, Settings(), resume=True)
    log.write_bytes(b"")
    Run.open(tmp_path, Settings(), resume=True).close()  # the refusal left no lock behind


def test_text_that_is_not_unicode_is_still_a_line(tmp_path):
    with Run.open(tmp_path, Settings()) as run:
        run.sample(1, {"response": "\udc80\u2028"})
    assert next(read_log(tmp_path / "samples.jsonl"))["response"] == "\udc80\u2028"


FILL = """
import resource, signal, sys
from rather import files
from rather.config import Config
from rather.errors import BadFile
from rather.run import Run
run = Run.open(sys.argv[1], Config())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))  # no file may grow beyond: as good as a full disk
try:
    for step in range(1000):
        run.metrics(step, {"text": "x" * 90})
except BadFile as error:
    print(error)
try:
    files.write_text(sys.argv[1] + "/report", "x" * 9000)
except BadFile as error:
    print(error)
"""


def test_a_full_disk_leaves_whole_lines_and_words(tmp_path):
    filled = subprocess.run([sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert filled.stdout.count("Cannot write") == 2
    assert filled.stderr == ""
    text = (tmp_path / "metrics.jsonl").read_text()
    assert 4800 < len(text) <= 5000
    assert text.endswith("\n")
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(text.count("\n")))
    assert names(tmp_path) == [".lock", "config.toml", "events.jsonl", "metrics.jsonl", "samples.jsonl"]


# ---- who may write


def test_a_second_opening_is_refused_with_the_holder(tmp_path):
    with Run.open(tmp_path / "run", Settings()):
        with pytest.raises(RunLocked) as refused:
            Run.open(tmp_path / "run", Settings(), resume=True)
        assert f"process {os.getpid()} on " in str(refused.value)
        assert " since 20" in str(refused.value)
    Run.open(tmp_path / "run", Settings(), resume=True).close()


HOLD = """
import os, sys, time
from rather.run import Run
from rather.config import Config
run = Run.open(sys.argv[1], Config(), resume=True)
if sys.argv[2] == "fork" and os.fork() == 0:
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(60)
if sys.argv[2] == "alone":
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_kill_9_frees_the_lock_even_when_a_child_lives_on(tmp_path, how):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run"), how], stdout=subprocess.PIPE)
    assert holder.stdout
    said = int(holder.stdout.readline())
    with pytest.raises(RunLocked, match=f"process {holder.pid} on "):
        Run.open(tmp_path / "run", Config(), resume=True)
    holder.kill()
    holder.wait()
    Run.open(tmp_path / "run", Config(), resume=True).close()
    if how == "fork":
        os.kill(said, signal.SIGKILL)


def test_a_file_system_without_locks_is_said_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    def no_locks(descriptor: int, what: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    start(tmp_path, range(1))
    assert "without locks" in capsys.readouterr().err
    assert [row["event"] for row in read_log(tmp_path / "events.jsonl")] == ["started", "unlocked"]


def test_other_workers_write_nothing(tmp_path):
    with Run.open(tmp_path / "run", Settings(), writes=False) as run:
        run.metrics(1, {"loss": 1.0})
        run.sample(1, {})
        run.event("x")
        run.rewind(0)
        run.sync()
        run.finish(1, {})
    assert not (tmp_path / "run").exists()


# ---- starting, going on, starting over


def test_an_unfinished_run_is_not_started_over_by_accident(tmp_path):
    start(tmp_path, range(5))
    with pytest.raises(NotReady, match=r"unfinished, at step 4.\nContinue it with --resume"):
        Run.open(tmp_path, Settings())


def test_a_resumed_run_with_other_settings_is_refused_with_the_keys_that_differ(tmp_path):
    start(tmp_path, range(1))
    with pytest.raises(BadSetting, match=r"lr was 1e-05, is 0.1; steps was 10, is 20"):
        Run.open(tmp_path, Settings(lr=0.1, steps=20), resume=True)
    (tmp_path / "config.toml").write_text("lr = 1e-5\nold = 3\n")
    with pytest.raises(BadSetting, match=r"old was 3, is absent; steps was absent, is 10"):
        Run.open(tmp_path, Settings(), resume=True)


def test_a_finished_run_is_started_over_only_when_asked(tmp_path):
    with Run.open(tmp_path, Settings()) as run:
        run.metrics(1, {"loss": 1.0})
        run.state.mkdir()
        run.finish(1, {"loss": 1.0})
    for how in ({}, {"resume": True}):
        with pytest.raises(Finished, match=r"is finished: step 1.*\n.*\n.*--again"):
            Run.open(tmp_path, Settings(), **how)
    Run.open(tmp_path, Settings(lr=3.0), again=True).close()
    assert names(tmp_path) == [".lock", "config.toml", "events.jsonl", "metrics.jsonl", "samples.jsonl"]
    assert read_metrics(tmp_path) == []
    assert "lr = 3.0" in (tmp_path / "config.toml").read_text()


def test_somebody_elses_folder_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for how in ({}, {"resume": True}, {"again": True}):
        with pytest.raises(BadFile, match=r"not a run: it has thesis.tex"):
            Run.open(tmp_path, Settings(), **how)
    assert names(tmp_path) == ["thesis.tex"]
    with pytest.raises(BadFile, match="is a file"):
        Run.open(tmp_path / "thesis.tex", Settings())
    with pytest.raises(BadFile, match="Cannot write"):
        Run.open(tmp_path / "thesis.tex" / "run", Settings())


@pytest.mark.parametrize("name", ["config.toml", "metrics.jsonl", "events.jsonl", "DONE"])
def test_a_folder_under_the_name_of_a_file_is_said(tmp_path, name):
    with Run.open(tmp_path, Settings()) as run:
        run.metrics(0, {"loss": 0.5})
        run.finish(0, {})
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(BadFile, match=name) if name != "events.jsonl" else nullcontext():
        verify(tmp_path)
    with pytest.raises(BadFile, match=name):
        Run.open(tmp_path, Settings(), again=True)
    if name != "DONE":
        (tmp_path / "DONE").unlink(missing_ok=True)
    with pytest.raises(BadFile, match=name):
        Run.open(tmp_path, Settings(), resume=True)


def test_a_log_without_steps_has_no_last_step(tmp_path):
    start(tmp_path, range(1))
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(NotReady, match=r"is unfinished\."):
        Run.open(tmp_path, Settings())


def test_what_a_kill_left_behind_is_removed_on_opening(tmp_path):
    start(tmp_path, range(1))
    (tmp_path / ".DONE.0123abcd.unfinished").write_text("{")
    (tmp_path / ".checkpoint.0123abcd.unfinished").mkdir()
    (tmp_path / ".checkpoint.0123abcd.unfinished" / "model").write_text("half")
    Run.open(tmp_path, Settings(), resume=True).close()
    assert not [name for name in names(tmp_path) if "unfinished" in name]


def test_how_a_run_stopped_is_among_the_events(tmp_path):
    with pytest.raises(ValueError), Run.open(tmp_path, Settings()):
        raise ValueError("loss exploded")
    assert list(read_log(tmp_path / "events.jsonl"))[-1]["message"] == "loss exploded"
    Run.open(tmp_path, Settings(), resume=True).close()


# ---- DONE


def test_done_stands_for_the_files_it_hashes(tmp_path):
    with Run.open(tmp_path, Settings()) as run:
        run.metrics(7, {"loss": 0.5})
        run.checkpoint.mkdir()
        (run.checkpoint / "model.safetensors").write_bytes(b"weights")
        assert read_done(tmp_path) is None
        with pytest.raises(NotReady, match="no DONE"):
            verify(tmp_path)
        run.finish(7, {"loss": 0.5})
    done = verify(tmp_path)
    assert (done["step"], done["result"]) == (7, {"loss": 0.5})
    assert done == read_done(tmp_path)
    # sha256 of b"weights", by another tool
    digest = subprocess.run(["sha256sum"], input=b"weights", capture_output=True, check=True).stdout.split()[0].decode()
    assert done["files"]["checkpoint/model.safetensors"] == f"sha256:{digest}"
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"weighty")
    (tmp_path / "checkpoint" / "extra").write_bytes(b"")
    with pytest.raises(BadFile, match=r"changed after it was finished: checkpoint/extra, checkpoint/model.safetensors"):
        verify(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "3", "{}", "\x80\x04", '{"step": 1, "result": {}, "files": 3}'])
def test_a_done_file_that_is_not_ours_is_said(tmp_path, content):
    (tmp_path / "DONE").write_text(content)
    with pytest.raises(BadFile, match="DONE"):
        read_done(tmp_path)


def test_a_result_that_is_no_number_is_no_result(tmp_path):
    with Run.open(tmp_path, Settings()) as run, pytest.raises(NotFinite):
        run.finish(1, {"loss": float("nan")})
    assert read_done(tmp_path) is None


def test_a_reader_follows_a_run_that_is_going_on(tmp_path):
    code = (
        "import sys\nfrom rather.config import Config\nfrom rather.run import Run\n"
        "with Run.open(sys.argv[1], Config()) as run:\n"
        "    for step in range(2000): run.metrics(step, {'loss': 1.0, 'text': 'x' * 500})\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    seen = 0
    while writer.poll() is None:
        if (tmp_path / "metrics.jsonl").exists():
            rows = read_metrics(tmp_path)
            assert [row["step"] for row in rows] == list(range(len(rows)))
            seen = max(seen, len(rows))
        time.sleep(0.005)
    assert writer.returncode == 0
    assert len(read_metrics(tmp_path)) == 2000 >= seen
