"""Checkpoints of two workers under torchrun: shards resume to the byte, and what one worker finds wrong stops both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from rather import checkpoint, parallel
from rather.errors import BadFile, BadSetting
from rather.parallel import WorkerFailed


def sharded_training(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
    head = nn.Linear(3, 1)  # replicated
    parallel.shard_model(model, list(model))
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-2)
    sampler = torch.Generator().manual_seed(parallel.worker_seed(seed))
    return {"model": model, "head": head, "optimizer": optimizer, "sampler": sampler, "step": 0}


def advance(state: dict[str, Any], steps: int) -> None:
    for _ in range(steps):
        x = torch.randn(4, 5, generator=state["sampler"])
        state["head"](state["model"](x)).square().mean().backward()
        parallel.all_reduce_grads([*state["model"].parameters(), *state["head"].parameters()])
        state["optimizer"].step()
        state["optimizer"].zero_grad()
        state["step"] += 1


def shards(state: dict[str, Any]) -> list[Any]:
    moments = [entry["exp_avg"] for entry in state["optimizer"].state.values()]
    tensors: list[Tensor] = [*state["model"].parameters(), *state["head"].parameters(), *moments]
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    return [*[tensor.tolist() for tensor in local], state["sampler"].get_state().tolist(), state["step"]]


def report_of_a_worker(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = {}
    rank, _ = parallel.world()
    straight = sharded_training(0)
    advance(straight, 6)

    first = sharded_training(0)
    advance(first, 3)
    checkpoint.save(folder / "state", first, 3)
    resumed = sharded_training(1)
    said["step"] = checkpoint.load_latest(folder / "state", resumed)
    moments = [entry["exp_avg"] for entry in resumed["optimizer"].state.values()]
    said["sharded moments"] = [isinstance(moment, DTensor) for moment in moments]
    advance(resumed, 3)
    said["equal"] = shards(resumed) == shards(straight)
    said["samplers"] = straight["sampler"].get_state().tolist()[:64]

    try:
        checkpoint.save(folder / "drifted", {"w": torch.ones(2), "v": torch.tensor(float(rank))}, 1)
    except BadSetting as error:
        said["drifted"] = str(error)

    parallel.barrier()
    if rank == 1:
        path = folder / "state" / "step-00000003" / "values-1.json"
        path.write_bytes(path.read_bytes()[:-1])
    parallel.barrier()
    try:
        checkpoint.load_latest(folder / "state", resumed)
    except (BadFile, WorkerFailed) as error:
        said["damaged"] = str(error)
    return said


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("workers")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, __file__, str(folder)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_workers_with_shards_resume_to_the_byte(two):
    _, reports = two
    for said in reports:
        assert said["step"] == 3
        assert said["equal"]
        assert said["sharded moments"] == [True] * 4 + [False] * 2
    assert reports[0]["samplers"] != reports[1]["samplers"]


def test_workers_that_have_drifted_apart_are_refused_by_name(two):
    for said in two[1]:
        assert said["drifted"].startswith("These tensors are not the same on all workers: v.")


def test_damage_that_one_worker_sees_stops_all(two):
    for said in two[1]:
        assert "values-1.json has" in said["damaged"]


def test_another_number_of_workers_is_refused_with_what_to_type(two):
    folder, _ = two
    path = folder / "state" / "step-00000003"
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["values-1.json"] = checkpoint._summed(path / "values-1.json")
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadFile, match=r"by 2 workers, and now there are 1.*\n.*\n.*--nproc-per-node 2"):
        checkpoint.load(path, {})


if __name__ == "__main__":
    with parallel.workers():
        said = report_of_a_worker(Path(sys.argv[1]))
        Path(sys.argv[1], f"{parallel.world()[0]}.json").write_text(json.dumps(said))
