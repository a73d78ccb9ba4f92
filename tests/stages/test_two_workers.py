"""Two processes under torchrun give the loss and the gradients of one, for each kind of step over trees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import test_steps
import torch

from rather import parallel
from rather.stages.steps import Share

KINDS = {"sft": test_steps.sft, "dpo": test_steps.dpo, "ranking": test_steps.ranking}


def work(folder: Path) -> None:
    """What a worker does; runs under torchrun."""
    with parallel.workers():
        rank, size = parallel.world()
        assert size == 2
        for name, step in KINDS.items():
            loss, adam = step(Share(70, rank, size))
            gradients = adam.gradients()
            parallel.all_reduce_in_place(gradients)
            total = loss if name == "dpo" else parallel.global_sum(loss)  # DPO's comes summed
            if parallel.is_first():
                torch.save({"loss": total, "gradients": gradients}, folder / f"{name}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__, folder]
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_equal_one(found, kind):
    loss, adam = KINDS[kind](Share(70))
    assert found[kind]["loss"] == pytest.approx(loss, abs=1e-5)
    for name, one, two in zip(adam.names, adam.gradients(), found[kind]["gradients"], strict=True):
        assert (one - two).abs().max() / one.abs().max().clamp(min=1) < 1e-5, name


if __name__ == "__main__":
    work(Path(sys.argv[1]))
