"""kill -9 at any moment of a reward training, ten times: what it ends in are the bytes of a training nobody killed."""

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

from rather.run import Run, read_done
from rather.stages.reward import RewardConfig, train_reward
from reward_world import demonstrations, policy, rankings

KILLS = 10
CONFIG = RewardConfig(learning_rate=3e-3, batch_size=4, precision="fp32", checkpoint_every=1, evaluate_every=7, heads=2)


def train(folder: Path) -> None:
    with Run.open(folder, CONFIG, resume=True) as run:
        train_reward(policy(), rankings(100), rankings(8, seed=1), demonstrations(8), run, CONFIG)


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def kill_again_and_again(folder: Path) -> None:
    """One process imports torch once and forks the trainings, each a process of its own to the kernel."""
    torch.set_num_threads(1)
    began = time.monotonic()
    assert os.waitpid(fork(lambda: train(folder / "straight")), 0)[1] == 0
    takes = time.monotonic() - began
    rng, kills = random.Random(0), 0
    while kills < KILLS:
        child = fork(lambda: train(folder / "killed"))
        time.sleep(rng.uniform(0, takes / 8))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):  # the machine was slow before and is fast now
            break
        kills += 1
    assert kills >= KILLS / 2
    if read_done(folder / "killed") is None:
        assert os.waitpid(fork(lambda: train(folder / "killed")), 0)[1] == 0


def test_killed_ten_times_it_ends_in_the_bytes_of_a_straight_run(tmp_path):
    command = [sys.executable, __file__, str(tmp_path)]
    beside = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}  # where reward_world lies
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=beside)
    assert done.returncode == 0, done.stderr
    straight = tmp_path / "straight"
    names = ["metrics.jsonl", "samples.jsonl"]
    names += [str(file.relative_to(straight)) for file in (straight / "checkpoint").iterdir()]
    for name in names:
        assert (tmp_path / "killed" / name).read_bytes() == (straight / name).read_bytes(), name


if __name__ == "__main__":
    kill_again_and_again(Path(sys.argv[1]))
