"""Step 3 on two workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_ppo import PROMPTS, SMALL, small_policy, small_reward, small_rows, small_run

from rather import parallel
from rather.run import Run, read_metrics
from rather.stages.ppo import train_ppo
from rather.stages.ppo_config import PPOConfig


def work(folder: Path) -> None:
    """What a worker does; runs under torchrun."""
    with parallel.workers():
        config, policy = PPOConfig(**SMALL), small_policy()
        with Run.open(folder, config, writes=parallel.is_first()) as run:
            train_ppo(policy, small_reward(), PROMPTS, small_rows(policy), run, config)


def started(command: list[str], *words: object) -> None:
    """This file as a program, so that the workers join a process of their own."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, *command, __file__, *map(str, words)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_workers_give_what_one_gives(tmp_path):
    started(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"], tmp_path / "two")
    small_run(tmp_path / "one")
    for one, two in zip(*(read_metrics(tmp_path / name) for name in ("one", "two")), strict=True):
        assert one.keys() == two.keys()
        assert list(one.values()) == pytest.approx(list(two.values()), abs=1e-3, rel=1e-3)
    samples = [(tmp_path / name / "samples.jsonl").read_text().splitlines()[:4] for name in ("one", "two")]
    assert [row[:60] for row in samples[0]] == [row[:60] for row in samples[1]]


if __name__ == "__main__":
    work(Path(sys.argv[1]))
