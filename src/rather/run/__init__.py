"""The folder of a run: what was asked, what happened, what came out, and whether it is finished.

    config.toml    every setting, defaults included
    metrics.jsonl  one line a step          samples.jsonl  what the model said          events.jsonl  starts and stops
    state/         all that is needed to go on (checkpoint.py)      checkpoint/  the model, a Hugging Face folder
    DONE           written last: the result, and a hash of every file it stands for

    with Run.open("run/sft", config, resume=True) as run:
        step = checkpoint.load_latest(run.state, state) or 0
        run.rewind(step)
        ...
        run.finish(step, {"loss": 2.1})

One process holds the folder at a time. The lock is the kernel's and goes with the process, however it dies.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import socket
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rather import __version__, config, files, toml
from rather.errors import BadFile, BadSetting, NotReady, RatherError
from rather.run import lock
from rather.run.logs import Log, NotFinite, plain, read_log

__all__ = ["Finished", "NotFinite", "Run", "read_done", "read_log", "read_metrics", "verify"]

METRICS, SAMPLES, EVENTS = "metrics.jsonl", "samples.jsonl", "events.jsonl"
CONFIG, DONE = "config.toml", "DONE"
MODELS = ("checkpoint", "checkpoint-ema")  # the second only where a stage keeps an average of the weights


class Finished(RatherError):
    """The run is done already."""


class Run:
    """An open run folder; `Run.open` makes one. `writes` is False on all workers but the first: they only read."""

    def __init__(self, path: Path, writes: bool, held: int | None) -> None:
        self.path, self.writes, self._held = path, writes, held
        self.state = path / "state"
        self.checkpoint = path / "checkpoint"
        self.steps: int | None = None  # how many there will be, once the stage knows
        self.watch: Callable[[int, Mapping[str, Any]], None] | None = None  # who shows the metrics as they come
        self._logs: dict[str, Log] = {}

    @classmethod
    def open(
        cls,
        path: str | Path,
        settings: config.Config,
        *,
        resume: bool = False,
        again: bool = False,
        writes: bool = True,
    ) -> Self:
        """Start a run; with `resume` go on with the one there, if any; with `again` throw it away and start over."""
        assert not (resume and again), "go on, or start over"
        path = Path(path)
        if not writes:
            return cls(path, False, None)
        with _in_words(path):
            _refuse_strange(path)
        held = lock.take(path)
        try:
            with _in_words(path):
                started = _prepare(path, settings, resume, again)
                run = cls(path, True, held)
                run._logs = {name: Log(path / name) for name in (METRICS, SAMPLES, EVENTS)}
        except BaseException:
            lock.release(held)
            raise
        about = {"pid": os.getpid(), "host": socket.gethostname(), "rather": __version__, **_machine()}
        run.event("started" if started else "resumed", about)
        if held is None:
            run.event("unlocked", {"why": "this file system has no flock"})
        return run

    @classmethod
    def amend(cls, path: str | Path) -> tuple[Self, dict[str, Any]]:
        """Open a finished run to change what it chose, and what it said when it finished.

        `DONE` goes first, so that a kill leaves an unfinished run and never one that stands for other files.
        """
        path = Path(path)
        with _in_words(path):
            _refuse_strange(path)
        held = lock.take(path) if path.is_dir() else None
        try:
            done = read_done(path)
            if done is None:
                raise NotReady(f"{path} is unfinished: it has no {DONE} file.", do="Continue it with --resume.")
            with _in_words(path):
                (path / DONE).unlink()
                run = cls(path, True, held)
                run._logs = {name: Log(path / name) for name in (METRICS, SAMPLES, EVENTS)}
        except BaseException:
            lock.release(held)
            raise
        run.event("amended", {"pid": os.getpid(), "rather": __version__})
        return run, done

    def metrics(self, step: int, values: Mapping[str, Any]) -> None:
        """One line for a step. None is for what is not defined at this step; NaN and infinity stop the run."""
        if self.writes:
            log = self._logs[METRICS]
            assert step > log.last, f"metrics of step {step} after step {log.last}: rewind first, log each step once"
            log.append(step, values)
            if self.watch is not None:
                self.watch(step, values)

    def sample(self, step: int, values: Mapping[str, Any]) -> None:
        """One text of the model with what is known about it; as many to a step as you like."""
        if self.writes:
            log = self._logs[SAMPLES]
            assert step >= log.last, f"a sample of step {step} after step {log.last}: rewind first"
            log.append(step, values)

    def event(self, what: str, values: Mapping[str, Any] | None = None) -> None:
        """What happened and when. Never cut back: a resumed run keeps the story of its interruptions."""
        if self.writes:
            self._logs[EVENTS].append(None, {"time": lock.now(), "event": what, **(values or {})})

    def rewind(self, step: int) -> None:
        """Forget the lines after `step`, so that a resumed run writes the files of an uninterrupted one."""
        if self.writes:
            for name in (METRICS, SAMPLES):
                self._logs[name].rewind(step)

    def sync(self) -> None:
        """Make the lines durable. Call it before a checkpoint: a power cut must not take lines the state is past."""
        if self.writes:
            for log in self._logs.values():
                log.sync()

    def finish(self, step: int, result: Mapping[str, Any]) -> None:
        """Say that the run is done: `DONE`, last and atomically, with the result and a hash of each file."""
        if not self.writes:
            return
        self.event("finished", {"step": step})
        self.sync()
        done = {
            "step": step,
            "finished": lock.now(),
            "rather": __version__,
            "result": plain("result", result),
            "files": {str(name): _digest(self.path / name) for name in _results(self.path)},
        }
        files.write_json(self.path / DONE, done)

    def close(self) -> None:
        for log in self._logs.values():
            log.close()
        self._logs = {}
        self.writes = False
        lock.release(self._held)
        self._held = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self.event("stopped", {"error": kind.__name__ if kind else "", "message": str(error)[:500]})
        except BadFile as full:  # the disk that stopped the run cannot take the event either: the first error counts
            print(f"rather: {full}", file=sys.stderr)
        finally:
            self.close()


# ---- reading, also while the run is going on


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    return list(read_log(Path(path) / METRICS))


def read_done(path: str | Path) -> dict[str, Any] | None:
    """What `finish` wrote, or None while the run is unfinished."""
    done = Path(path) / DONE
    try:
        value = json.loads(done.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{done} cannot be read: {error}.", "It is JSON, written when the run finished.") from None
    whole = isinstance(value, dict) and {"step", "result", "files"} <= set(value)
    if not whole or not isinstance(value["files"], dict):
        raise BadFile(f"{done} is not what a finished run writes.", "Expected JSON with step, result and files.")
    return value


def verify(path: str | Path) -> dict[str, Any]:
    """`read_done`, after holding every file against its hash: what is reported is what was finished."""
    done = read_done(path)
    if done is None:
        raise NotReady(f"{path} is unfinished: it has no {DONE} file.", do="Continue it with --resume.")
    with _in_words(Path(path)):
        now = {str(name): _digest(Path(path) / name) for name in _results(Path(path))}
    then = done["files"]
    changed = [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]
    if changed:
        raise BadFile(
            f"{path} changed after it was finished: {', '.join(changed[:5])}{' ...' if len(changed) > 5 else ''}.",
            f"Expected the files that {DONE} lists, byte for byte.",
            "Restore them, or run it over with --again.",
        )
    return done


# ---- opening


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """What the system refuses: a folder under the name of a log, a folder that belongs to somebody else."""
    try:
        yield
    except OSError as error:
        raise BadFile(
            f"{error.filename or path}: {error.strerror or error}.",
            "A run is a folder with files that this user may read and write.",
            "Mend that, or name another folder.",
        ) from None


def _refuse_strange(path: Path) -> None:
    """A folder with things in it that is no run is not touched: somebody typed the wrong name."""
    if path.exists() and not path.is_dir():
        raise BadFile(f"{path} is a file.", "A run is a folder.", "Name another one.")
    if path.is_dir() and not (path / CONFIG).exists():
        strange = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
        if strange:
            raise BadFile(
                f"{path} is not a run: it has {strange[0]} and no {CONFIG}.",
                "Expected a new or empty folder, or one that a run has begun.",
                "Name another folder.",
            )


def _prepare(path: Path, settings: config.Config, resume: bool, again: bool) -> bool:
    """Bring the folder into the state to write to. True when the run starts from nothing."""
    files.remove_unfinished(path)
    if (path / DONE).exists() and not again:
        done = read_done(path) or {}
        raise Finished(
            f"{path} is finished: step {done.get('step')}, {done.get('finished')}.",
            f"A finished run is not started again by itself: {path}/{DONE} stands for its files.",
            "Name another folder, or give --again to throw this one away and start over.",
        )
    exists = (path / CONFIG).exists()
    if exists and again:
        _clear(path)
    elif exists and resume:
        _refuse_difference(path, settings)
        return False
    elif exists:
        raise NotReady(
            f"{path} was started before and is unfinished{_last_step(path)}.",
            do="Continue it with --resume, or throw it away and start over with --again.",
        )
    config.save(settings, path / CONFIG)
    return True


def _machine() -> dict[str, Any]:
    """What a report says a run was made with. torch is asked only where it is loaded: nothing here imports it."""
    found: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count(), "device": platform.machine()}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = str(torch.__version__)
        if torch.cuda.is_available():
            found["device"] = str(torch.cuda.get_device_name())
    return found


def _clear(path: Path) -> None:
    (path / DONE).unlink(missing_ok=True)  # first: a kill from here on leaves an unfinished run, never a false DONE
    for folder in ("state", *MODELS):
        shutil.rmtree(path / folder, ignore_errors=True)
    for name in (METRICS, SAMPLES, EVENTS):
        (path / name).unlink(missing_ok=True)


def _refuse_difference(path: Path, settings: config.Config) -> None:
    before = config.flattened(toml.read(path / CONFIG))
    now = config.flattened(tomllib.loads(config.as_toml(settings)))
    differing = [key for key in before | now if before.get(key, ...) != now.get(key, ...)]
    if differing:
        words = [f"{key} was {_shown(before, key)}, is {_shown(now, key)}" for key in differing[:5]]
        raise BadSetting(
            f"{path} was started with other settings: {'; '.join(words)}{'; ...' if len(differing) > 5 else ''}.",
            "A resumed run goes on as it began, otherwise its result belongs to neither.",
            f"Use the settings in {path}/{CONFIG}, or name another folder.",
        )


def _shown(values: Mapping[str, Any], key: str) -> str:
    return toml.written(values[key]) if key in values else "absent"


def _last_step(path: Path) -> str:
    steps = [row["step"] for row in read_metrics(path) if "step" in row] if (path / METRICS).exists() else []
    return f", at step {steps[-1]}" if steps else ""


# ---- what a run has made


def _results(path: Path) -> list[Path]:
    """The files `DONE` stands for: settings, metrics, samples and the model."""
    found = [name for name in (CONFIG, METRICS, SAMPLES) if (path / name).exists()]
    return [Path(name) for name in found] + sorted(
        file.relative_to(path) for model in MODELS for file in (path / model).rglob("*") if file.is_file()
    )


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
