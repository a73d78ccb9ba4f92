"""kill -9 of a training at random moments, as a program that a test starts: `from killing import ...`.

One process imports torch once and forks the trainings, each a process of its own to the kernel. A life lasts some lines
of metrics.jsonl and a random part of the next, so that every life gets somewhere however slow the machine is.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rather.run import read_done, verify

KILLS = 10
Train = Callable[[Path], object]  # trains in a folder from wherever it is, a checkpoint at every step


def fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def finish(work: Callable[[], object]) -> None:
    assert os.waitpid(fork(work), 0)[1] == 0, "a training that nobody killed failed; its traceback is above"


def said(folder: Path) -> int:
    """Lines of the log, whole ones."""
    log = folder / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def live(train: Train, folder: Path, steps: int) -> tuple[int, list[float]]:
    """Let a training log some steps. -> its process, and the moments of its start and of each change seen."""
    target, last, moments = said(folder) + steps, said(folder), [time.monotonic()]
    child = fork(lambda: train(folder))
    while last < target:
        time.sleep(0.001)
        assert not os.waitpid(child, os.WNOHANG)[0], "a training ended by itself; its traceback is above"
        now = said(folder)
        if now != last:
            moments.append(time.monotonic())
        last = now
    return child, moments


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def kill_again_and_again(train: Train, folder: Path, steps: int, seed: int = 0) -> None:
    """Once in peace; then ten lives of at most an eleventh of the `steps` each, and one to the end."""
    torch.set_num_threads(1)
    finish(lambda: train(folder / "straight"))
    rng, killed = random.Random(seed), folder / "killed"
    child, (start, first, second, *_) = live(train, killed, 2)
    to_start, to_step = first - start, second - first
    kill(child)
    for _ in range(KILLS - 1):
        lines = rng.randint(0, steps // (KILLS + 1))
        child, _ = live(train, killed, lines)
        time.sleep(rng.random() * (to_step if lines else to_start))  # without a line, somewhere while it starts
        kill(child)
    assert read_done(killed) is None
    finish(lambda: train(killed))


def ends_in_the_same_bytes(program: str, folder: Path, *words: str) -> set[str]:
    """Run `program`, which kills in folder/killed, and hold every file against folder/straight. -> their names"""
    beside = [str(Path(program).parent), str(Path(program).parents[1])]  # where the tests' own modules lie
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(beside), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, program, str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    straight, killed = (made(folder / name) for name in ("straight", "killed"))
    assert straight.keys() == killed.keys()
    for name, content in straight.items():
        assert killed[name] == content, name
    assert verify(folder / "killed")["files"] == verify(folder / "straight")["files"]
    resumed = (folder / "killed" / "events.jsonl").read_text().count('"resumed"')
    assert resumed >= KILLS / 2  # a kill while torch opens the folder leaves no line
    return set(straight)


def made(folder: Path) -> dict[str, bytes]:
    """All files of a run but those that tell the time: the events, DONE, the lock and the states."""
    found = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    left_out = ("events.jsonl", "DONE", ".lock", "state" + os.sep)
    return {name: file.read_bytes() for name, file in found.items() if not name.startswith(left_out)}
