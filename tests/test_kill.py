"""kill -9 at any moment: the folder is always loadable, never older than what was announced, and the end is the same.

A training that does nothing but step and checkpoint is killed at random moments, resumed, and killed again. To kill
often in little time, one process imports torch once and forks the trainings (each a process of its own to the kernel).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rather import checkpoint, files
from rather.config import Config
from rather.run import Run, read_metrics

STEPS = 130  # more than 20 lives of at most 4 steps, and what they do before the kill arrives
KILLS = 20


def new_state(seed: int) -> list[dict[str, Any]]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.1), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return {"model": model, "optimizer": optimizer, "dropout": torch.default_generator, "data": random.Random(seed)}


def train(folder: Path, announced: Path | None) -> None:
    """Train to the end, from wherever the folder is. With `announced`, checkpoint every step and say so."""
    state = new_state(0)
    with Run.open(folder, Config(), resume=True) as run:
        done = checkpoint.load_latest(run.state, state) or 0
        run.rewind(done)
        for step in range(done + 1, STEPS + 1):
            x = torch.tensor([[state["data"].gauss() for _ in range(8)] for _ in range(4)])
            loss = state["model"](x).square().mean()
            loss.backward()
            state["optimizer"].step()
            state["optimizer"].zero_grad()
            run.metrics(step, {"loss": loss.item()})
            if announced is not None:
                run.sync()
                checkpoint.save(run.state, state, step, keep=2)
                with announced.open("a") as file:
                    file.write(f"{step}\n")
        weights = b"".join(p.detach().numpy().tobytes() for p in state["model"].parameters())
        files.write_bytes(folder / "weights", weights)


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def finish(work: Callable[[], None]) -> None:
    _, status = os.waitpid(fork(work), 0)
    assert status == 0, "a training that nobody killed failed; its traceback is on standard error"


def until_killed(run: Path, announced: Path) -> None:
    train(run, announced)
    signal.pause()  # it came to its end sooner than the kill


def said(announced: Path) -> int:
    """The last step that was announced, 0 if none was."""
    return int(announced.read_text().rpartition("\n")[0].rpartition("\n")[2] or 0)


def live(run: Path, announced: Path, steps: int) -> tuple[int, list[float]]:
    """Let a training announce some steps. -> its process, and the moments of its start and of each step seen."""
    target = min(said(announced) + steps, STEPS)
    last, moments = said(announced), [time.monotonic()]
    child = fork(lambda: until_killed(run, announced))
    while last < target:
        time.sleep(0.001)
        ended, status = os.waitpid(child, os.WNOHANG)
        assert not ended, f"a training ended by itself, status {status}; its traceback is on standard error"
        now = said(announced)
        moments += [time.monotonic()] * (now - last)
        last = now
    return child, moments


def kill_again_and_again(folder: Path, kills: int, seed: int) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    finish(lambda: train(folder / "straight", None))

    run, announced = folder / "killed", folder / "announced"
    announced.touch()
    child, (start, first, second, *_) = live(run, announced, 2)
    to_start, to_step = first - start, second - first
    moments: list[dict[str, Any]] = []
    while True:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        moments.append(
            {
                "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
                "within a save": any(path.name.startswith(".step") for path in (run / "state").iterdir()),
                "announced": said(announced),
                "loaded": checkpoint.load_latest(run / "state", new_state(1)) or 0,
                "metrics": len(read_metrics(run)),
            }
        )
        if len(moments) == kills:
            break
        steps = rng.randint(0, 4)  # that many steps, then a random part of one; without steps, of starting up
        child, _ = live(run, announced, steps)
        time.sleep(rng.random() * (to_step if steps else to_start))
    finish(lambda: train(run, announced))
    return moments


def check(folder: Path, kills: int, seed: int) -> None:
    command = [sys.executable, __file__, str(folder), str(kills), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    moments = json.loads(done.stdout)
    assert len(moments) == kills
    for moment in moments:
        assert moment["killed"]
        assert moment["loaded"] in (moment["announced"], moment["announced"] + 1)  # the last may be there and unsaid
        assert moment["metrics"] >= moment["loaded"]
    assert any(moment["within a save"] for moment in moments)
    for name in ("weights", "metrics.jsonl", "config.toml"):
        assert (folder / "killed" / name).read_bytes() == (folder / "straight" / name).read_bytes()
    assert len(read_metrics(folder / "killed")) == STEPS
    left = sorted(path.name for path in (folder / "killed" / "state").iterdir())
    assert left == [f"step-{STEPS - 1:08d}", f"step-{STEPS:08d}"]


def test_kill_9_twenty_times_and_the_weights_are_those_of_a_straight_run(tmp_path):
    check(tmp_path, KILLS, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_kill_9_a_hundred_times(tmp_path, seed):
    check(tmp_path, KILLS, seed)


if __name__ == "__main__":
    print(json.dumps(kill_again_and_again(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
