"""Stages side by side: each is a process of its own, whose lines come out whole and say whose they are.

A fork server imports torch once, and a stage is a fork of it: it begins at once. A stage that fails stops the others,
which go on next time where they were. A stage whose `rather run` is gone ends by itself, however that was killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver, get_context, parent_process
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NoReturn, Self

import click
import torch

from rather import limits, machine
from rather.cli import in_words
from rather.errors import RatherError

CONTEXT = get_context("forkserver")
PATIENCE = 10.0  # seconds that a stage which is stopped has for putting things in order
Ended = tuple[str, float, Any]  # a stage's name, the seconds it took, and what its work returned


def usual_jobs(own_models: bool) -> int:
    """How many stages run side by side if nobody says it.

    own_models: the story makes its base models, which are tiny; two of somebody else's may not fit into the memory
    """
    return 2 if limits.cores() > 1 and own_models and not torch.cuda.is_available() else 1


def threads_of_each(jobs: int) -> int:
    """Of the CPU, for each of so many stages; OMP_NUM_THREADS is obeyed."""
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    share = limits.cores() // jobs
    return min(share, machine.best_threads()) if share > 1 else 1


class SideBySide:
    """The stages that run now.   modules: what they import, imported once"""

    def __init__(self, jobs: int, modules: Sequence[str]) -> None:
        self.jobs, self.modules = jobs, modules
        self.running: dict[str, _Stage] = {}
        self._threads: int | None = None

    def start(self, name: str, work: Callable[[], object]) -> None:
        if self._threads is None:  # measured while nothing else runs
            self._threads = threads_of_each(self.jobs)
            _start_fork_server([__name__, *self.modules])
        self.running[name] = _Stage.begun(name, work, self._threads)

    def ended(self) -> Ended:
        """Pass on what the stages say until one of them is done. The first that fails stops all."""
        while True:
            for stage in list(self.running.values()):
                if stage.over():
                    del self.running[stage.name]
                    if stage.error is not None:
                        raise stage.error
                    return stage.name, time.monotonic() - stage.began, stage.result
            connection.wait([source for stage in self.running.values() for source in stage.sources()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left running, whatever happened; what the stopped stages say about it is not passed on."""
        stopped = list(self.running.values())
        self.running.clear()
        try:
            for stage in stopped:
                stage.process.terminate()
            until = time.monotonic() + PATIENCE
            for stage in stopped:
                while not stage.over(aloud=False) and time.monotonic() < until:
                    connection.wait(stage.sources(), until - time.monotonic())
        finally:  # also after a second Ctrl-C
            for stage in stopped:
                stage.process.kill()
                stage.process.join()
        for stage in (one for one in stopped if one.said is None or len(one.said) != 1):
            print(f"{stage.name}: stopped; the same `rather run` goes on with it", file=sys.stderr, flush=True)


def _start_fork_server(modules: list[str]) -> None:
    """Ctrl-C in a terminal reaches it too; on its own it hears that while it imports, and says so with a traceback."""
    CONTEXT.set_forkserver_preload(modules)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is ignored stays so in a program that is started
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class _Stage:
    """One process.   told: where it says how it ended     out, err: its lines"""

    name: str
    process: Any
    told: Connection
    out: _Lines
    err: _Lines
    began: float = field(default_factory=time.monotonic)
    said: tuple[Any, ...] | None = None  # nothing yet; then what its work returned, or an error's kind and words

    @classmethod
    def begun(cls, name: str, work: Callable[[], object], threads: int) -> _Stage:
        ours, theirs = zip(*(CONTEXT.Pipe(duplex=False) for _ in range(3)), strict=True)
        process = CONTEXT.Process(target=_live, args=(work, *theirs, threads, os.getcwd()), name=name)
        process.start()
        for end in theirs:
            end.close()
        return cls(name, process, ours[0], _Lines(name, ours[1], "stdout"), _Lines(name, ours[2], "stderr"))

    def sources(self) -> list[Any]:
        """What to wait for: it says something, or is gone."""
        listened = [self.told] if self.said is None else []
        return [self.process.sentinel, *listened, *(one.pipe for one in (self.err, self.out) if not one.closed)]

    def over(self, aloud: bool = True) -> bool:
        """Take what has come meanwhile; whether the process is gone, and all it said has been heard."""
        gone = bool(connection.wait([self.process.sentinel], 0))
        if self.said is None and self.told.poll():
            try:
                self.said = self.told.recv()
            except (EOFError, OSError):  # nothing, or half of it
                self.said = (RatherError, *self._killed())
        for lines in (self.err, self.out):
            lines.take(gone, aloud)
        return gone and self.said is not None

    @property
    def result(self) -> Any:
        assert self.said is not None, "it has not ended"
        (found,) = self.said
        return found

    @property
    def error(self) -> RatherError | None:
        assert self.said is not None, "it has not ended"
        if len(self.said) == 1:
            return None
        kind, found, expected, do = self.said
        error: RatherError = kind.__new__(kind)  # some kinds take other arguments, and say the same three things
        RatherError.__init__(error, f"{self.name}: {found}", expected, do)
        return error

    def _killed(self) -> tuple[str, str, str]:
        self.process.join()
        code = self.process.exitcode
        how = f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"gone, with exit code {code}"
        return f"its process was {how}.", "Perhaps the memory was too small for two stages.", "rather run ... --jobs 1"


class _Lines:
    """What a process writes, as whole lines that begin with its name."""

    def __init__(self, name: str, pipe: Connection, to: str) -> None:
        self.name, self.pipe, self.to = name, pipe, to
        self.rest, self.closed = b"", False
        os.set_blocking(pipe.fileno(), False)

    def take(self, gone: bool, aloud: bool) -> None:
        while not self.closed:
            try:
                some = os.read(self.pipe.fileno(), 1 << 16)
            except BlockingIOError:
                break
            self.closed = not some
            *whole, self.rest = (self.rest + some).split(b"\n")
            for line in whole:
                self._pass_on(line, aloud)
        if self.closed or gone:
            self._pass_on(self.rest, aloud)
            self.rest = b""

    def _pass_on(self, line: bytes, aloud: bool) -> None:
        """Of a line that was drawn over and over the last state."""
        words = line.decode("utf-8", "replace").rstrip().rpartition("\r")[2]
        if words and aloud:
            own = words.startswith(f"{self.name}: ")
            print(words if own else f"{self.name}: {words}", file=getattr(sys, self.to), flush=True)


# ---- in the process of a stage


def _live(
    work: Callable[[], object], told: Connection, out: Connection, err: Connection, threads: int, folder: str
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: `rather run` hears it too, and says so in its way
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for end, descriptor in ((out, 1), (err, 2)):
        os.dup2(end.fileno(), descriptor)
        end.close()
    sys.stdout, sys.stderr = _line_by_line(1), _line_by_line(2)
    try:
        signal.signal(signal.SIGTERM, _stop)  # not before: until here it dies of it without a word
        os.chdir(folder)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # a verb obeys it, and does not measure beside another one
        torch.set_num_threads(threads)
        result = work()
    except (KeyboardInterrupt, click.Abort):  # a verb makes the one of the other
        told.send((RatherError, "its process was stopped.", "", ""))
    except BaseException as error:  # of any kind: it is said where somebody reads it
        told.send(_in_words(error))
    else:
        told.send((result,))


def _in_words(error: BaseException) -> tuple[type[RatherError], str, str, str]:
    said = in_words(error)
    if said is None:
        traceback.print_exception(error)
        said = RatherError(f"{type(error).__name__}: {error}", "This is a mistake of ours: its traceback is above.")
    return type(said), said.found, said.expected, said.do


def _stop(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a stage that runs beside others is a child"
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)  # as the parent may have ended; then the next run goes on with what is there


def _line_by_line(descriptor: int) -> Any:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
