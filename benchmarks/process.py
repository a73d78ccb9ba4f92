"""One process per system, kept alive between its turns. The parent says how many steps; the child times each one.

A system is a function `entry(turns, **settings)` in an importable module. It builds its model, calls `turns.ready`
once and `turns.tick` after every whole optimizer step, and never returns: `tick` sleeps until the next turn and leaves
the process when there is none. So a system may own its loop (TRL's trainer does) or be asked step by step.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from rather.errors import RatherError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class SystemFailed(RatherError):
    """A system's process raised, or was killed."""


@dataclass(frozen=True)
class System:
    name: str
    entry: str  # "module:function"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What one step did: what the task counts, and the FLOPs it could not do without (sizes.py)."""

    units: float
    flops: float


@dataclass(frozen=True)
class Step:
    work: Work
    wall: float  # seconds
    cpu: float  # seconds of this process, all its threads
    probe_before: float  # FLOP/s of a fixed GEMM just before and just after the step, both untimed
    probe_after: float


@dataclass(frozen=True)
class Ready:
    """What the first batch comes to, before any optimizer step: both systems must say the same.

    loss: of training; for generation the mean negative log-likelihood of what was said, for GRPO that generates the
        mean entropy there
    gradient_norm: of training on given examples
    tokens: said by generation
    """

    loss: float
    gradient_norm: float = 0.0
    tokens: int = 0


class Turns:
    """The child's side: waits for a turn, times its steps, hands them over."""

    def __init__(self, parent: Connection, probe: Callable[[], float], baseline: float) -> None:
        self._parent, self._probe, self._baseline = parent, probe, baseline
        self._left = 0
        self._steps: list[Step] = []
        self._wall = self._cpu = self._probed = 0.0  # when the step began, and the probe before it

    def ready(self, loss: float, gradient_norm: float = 0.0, tokens: int = 0) -> None:
        self._parent.send(Ready(loss, gradient_norm, tokens))
        forget_memory_peak()  # building a model may take more than training it
        self._await_turn()

    def tick(self, work: Work) -> None:
        """A whole step ends here and the next begins."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        probe = self._probe()
        self._steps.append(Step(work, wall, cpu, self._probed, probe))
        self._probed = probe
        self._left -= 1
        if not self._left:
            self._parent.send((self._steps, memory_peak() - self._baseline))
            self._await_turn()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def _await_turn(self) -> None:
        self._left, self._steps = self._parent.recv(), []
        if not self._left:
            sys.exit()
        self._probed = self._probe()
        self._wall, self._cpu = time.perf_counter(), time.process_time()


class Process:
    """The parent's side. Use as a context manager; leaving it ends the child.

    settings: what the entry gets beside the system's own
    """

    def __init__(self, system: System, threads: int, settings: Mapping[str, Any] | None = None) -> None:
        self.system = system
        self.memory = 0.0  # bytes above the baseline, the highest since the first step
        context = multiprocessing.get_context("spawn")
        self._pipe, child = context.Pipe()
        self._process = context.Process(
            target=_child, args=(child, system.entry, threads, {**system.settings, **(settings or {})}), daemon=True
        )
        kept = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))  # read once, when the child loads OpenMP
        try:
            self._process.start()
        finally:
            for name, value in kept.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        child.close()
        try:
            self.baseline: float = self._receive()  # bytes, with the libraries imported and nothing built
            self.ready: Ready = self._receive()
        except BaseException:
            self.close()
            raise

    def run(self, steps: int) -> list[Step]:
        assert steps > 0, "a turn has at least one step: zero ends the process"
        self._pipe.send(steps)
        done, self.memory = self._receive()
        return done

    def close(self) -> None:
        """Ask first, so that the child puts its things away; kill a child that is deep in a long step."""
        with suppress(OSError):  # it may be gone
            self._pipe.send(0)
        self._process.join(timeout=3)
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> Any:
        try:
            said = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise SystemFailed(
                f"{self.system.name}: its process ended with exit code {self._process.exitcode}.",
                "Exit code -9 is mostly the system out of memory.",
            ) from None
        if isinstance(said, str):  # a traceback
            raise SystemFailed(f"{self.system.name} raised:\n{said}")
        return said


def _child(parent: Connection, entry: str, threads: int, settings: dict[str, Any]) -> NoReturn:
    os.dup2(2, 1)  # trainers print: the parent's standard output is for the result
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        module, function = entry.split(":")
        run = getattr(importlib.import_module(module), function)
        import torch  # here, after the thread variables are set, and never in the parent

        torch.set_num_threads(threads)
        probe = gemm_probe(torch)
        probe()  # the first call builds the kernel
        baseline = memory_now()
        parent.send(baseline)
        run(Turns(parent, probe, baseline), **settings)
    except Exception:  # whatever a system raises is shown by the parent, under the system's name
        parent.send(traceback.format_exc())
    sys.exit(1)


def gemm_probe(torch: Any, repeats: int = 3) -> Callable[[], float]:
    """FLOP/s of three bf16 products of 768 cubed: some ten milliseconds, long enough to meet a neighbour."""
    a = torch.randn(768, 768).to(torch.bfloat16)
    b = torch.randn(768, 768).to(torch.bfloat16)

    def probe() -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            a @ b
        return repeats * 2 * 768**3 / (time.perf_counter() - began)

    return probe


def memory_now() -> float:
    """Bytes of this process in memory."""
    status = Path("/proc/self/status")
    return _status(status, "VmRSS") if status.exists() else _rusage_peak()


def memory_peak() -> float:
    """The most bytes this process had in memory since `forget_memory_peak`."""
    status = Path("/proc/self/status")
    return _status(status, "VmHWM") if status.exists() else _rusage_peak()


def forget_memory_peak() -> None:
    """Where the system cannot forget (not Linux, or not permitted) the peak of the build stays in the figure."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _status(status: Path, name: str) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith(name + ":"))
    return 1024 * float(line.split()[1])


def _rusage_peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
