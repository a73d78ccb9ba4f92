"""Two workers under torchrun compute what one process computes; a worker that fails leaves nobody waiting."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM

from rather import parallel
from rather.errors import BadSetting
from rather.parallel import WorkerFailed

LENGTHS = [11, 3, 7, 5, 2, 9]  # of the rows: unequal, so that a mean of means would be wrong


def tiny_llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def summed_nll(model: nn.Module, rows: list[Tensor]) -> Tensor:
    """-> () over all predicted tokens of the rows. rows: (T,) each"""
    logits = [model(input_ids=row[None]).logits[0, :-1] for row in rows]  # (T-1, V) each
    return torch.stack(
        [F.cross_entropy(x, row[1:], reduction="sum") for x, row in zip(logits, rows, strict=True)]
    ).sum()


def rows() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(64, (length,), generator=generator) for length in LENGTHS]


def worst(model: nn.Module, reference: nn.Module) -> float:
    """The largest difference of any gradient, relative to the largest gradient of that parameter."""
    found = 0.0
    for own, other in zip(model.parameters(), reference.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        grad = own.grad.full_tensor() if isinstance(own.grad, DTensor) else own.grad
        found = max(found, float((grad - other.grad).abs().max() / other.grad.abs().max()))
    return found


def report_of_a_worker() -> dict[str, Any]:
    """What a worker of two finds; runs under torchrun."""
    said: dict[str, Any] = {"world": parallel.world(), "first": parallel.is_first(), "seed": parallel.worker_seed(7)}
    said["shard"] = parallel.shard(list(range(7)))
    said["gathered"] = parallel.gather_objects({"rank": parallel.world()[0], "text": "é" * parallel.world()[0]})
    rank, _ = parallel.world()

    said["sums"] = [parallel.global_sum(2**53 + 1 + rank), parallel.global_sum(0.1)]
    tensor = torch.tensor([1.0, float(rank)])
    said["sum"] = parallel.all_reduce_sum(tensor).tolist()
    said["untouched"] = tensor.tolist()

    reference = tiny_llama(0)
    n = sum(LENGTHS) - len(LENGTHS)
    whole = summed_nll(reference, rows()) / n
    whole.backward()

    mine = parallel.shard(rows())
    n_mine = sum(len(row) - 1 for row in mine)
    for how in ("replicated", "sharded"):
        model = tiny_llama(0)
        if how == "sharded":
            parallel.shard_model(model, model.model.layers)
            said["is_sharded"] = all(isinstance(parameter, DTensor) for parameter in model.parameters())
        loss = summed_nll(model, mine) / parallel.global_sum(n_mine)
        loss.backward()
        # small buckets: several of them, and one parameter larger than a bucket
        parallel.all_reduce_grads(model.parameters(), bucket_bytes=5000)
        said[how] = {
            "loss": abs(float(parallel.all_reduce_sum(loss)) - float(whole)),
            "grads": worst(model, reference),
        }

    # A parameter that only one worker used, one that nobody used, and one that takes no gradient.
    one, none, frozen = (nn.Parameter(torch.ones(2), requires_grad=grad) for grad in (True, True, False))
    if rank == 1:
        one.grad = torch.tensor([1.0, 2.0])
    parallel.all_reduce_grads([one, none, frozen])
    said["unused"] = [None if p.grad is None else p.grad.tolist() for p in (one, none, frozen)]

    try:
        parallel.shard_model(tiny_llama(rank), [])
    except BadSetting as error:
        said["different"] = str(error)

    try:
        with parallel.together("the reading of prompts"):
            if rank == 1:
                raise FileNotFoundError("prompts.jsonl")
    except (WorkerFailed, FileNotFoundError) as error:
        said["failed"] = f"{type(error).__name__}: {error}"

    order = Path(sys.argv[1]) / "order"
    with parallel.first_ahead("the building"):
        if rank == 0:
            time.sleep(0.3)
        with order.open("a") as file:
            file.write(f"{rank}")
    parallel.barrier()
    said["order"] = order.read_text()
    return said


# Worker 1 never comes to the second meeting; worker 0 has four seconds of patience. Both import first, at leisure.
WAITS_IN_VAIN = """
import os, time
from datetime import timedelta
from pathlib import Path
from rather import parallel
Path(os.environ["RANK"]).touch()
while not (Path("0").exists() and Path("1").exists()):
    time.sleep(0.01)
with parallel.workers(timeout=timedelta(seconds=4)):
    parallel.barrier()
    if not parallel.is_first():
        time.sleep(60)
    try:
        parallel.barrier()
    except parallel.WorkerFailed as error:
        print(error, flush=True)
    os._exit(2)
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The reports of two workers."""
    folder = tmp_path_factory.mktemp("workers")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, __file__, str(folder)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_each_worker_knows_who_it_is(two):
    assert [said["world"] for said in two] == [[0, 2], [1, 2]]
    assert [said["first"] for said in two] == [True, False]
    assert len({said["seed"] for said in two}) == 2
    assert two[0]["seed"] == 7


def test_shards_are_disjoint_and_together_everything(two):
    assert [said["shard"] for said in two] == [[0, 2, 4, 6], [1, 3, 5]]


def test_everyone_hears_what_each_said(two):
    heard = [{"rank": 0, "text": ""}, {"rank": 1, "text": "é"}]
    assert [said["gathered"] for said in two] == [heard, heard]


def test_sums_are_exact_for_whole_numbers_and_leave_their_input_alone(two):
    for rank, said in enumerate(two):
        assert said["sums"] == [2**54 + 3, 0.2]
        assert said["sum"] == [2.0, 1.0]
        assert said["untouched"] == [1.0, float(rank)]


@pytest.mark.parametrize("how", ["replicated", "sharded"])
def test_two_workers_have_the_loss_and_the_gradients_of_one_process(two, how):
    for said in two:
        assert said[how]["loss"] < 1e-5
        assert said[how]["grads"] < 1e-5


def test_fsdp_spreads_every_parameter(two):
    assert all(said["is_sharded"] for said in two)


def test_a_parameter_that_one_worker_used_counts_as_zero_on_the_other(two):
    for said in two:
        assert said["unused"] == [[1.0, 2.0], None, None]


def test_workers_that_begin_with_different_weights_are_refused(two):
    for said in two:
        assert "different weights: lm_head.weight" in said["different"]


def test_one_failure_is_everyones_failure(two):
    assert two[1]["failed"] == "FileNotFoundError: prompts.jsonl"
    assert two[0]["failed"] == (
        "WorkerFailed: Worker 1 failed in the reading of prompts: FileNotFoundError: prompts.jsonl"
    )


def test_the_first_goes_ahead(two):
    assert [said["order"] for said in two] == ["01", "01"]


def test_a_worker_that_nobody_answers_stops_in_words(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    workers = []
    for rank in range(2):
        told = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        command = [sys.executable, "-c", WAITS_IN_VAIN]
        how = {"cwd": tmp_path, "env": os.environ | told, "stdout": subprocess.PIPE, "text": True}
        workers.append(subprocess.Popen(command, **how))
    words, _ = workers[0].communicate(timeout=60)
    workers[1].kill()
    workers[1].communicate()
    assert workers[0].returncode == 2
    assert words.startswith("Worker 0 of 2 had no answer from the others in a gathering: ")


def test_on_one_process_nothing_happens():
    with parallel.workers(), parallel.together("x"), parallel.first_ahead("y"):
        assert parallel.world() == (0, 1)
        assert parallel.is_first()
        assert parallel.shard([1, 2, 3]) == [1, 2, 3]
        assert parallel.gather_objects({"x": 1}) == [{"x": 1}]
        assert parallel.global_sum(3) == 3
        assert parallel.worker_seed(5) == 5
        assert parallel.all_reduce_sum(torch.ones(2)).tolist() == [1, 1]
        parallel.barrier()
        layer = nn.Linear(2, 2)
        layer.weight.grad = torch.full((2, 2), 3.0)
        parallel.all_reduce_grads(layer.parameters())
        parallel.shard_model(layer, [])
        assert layer.weight.grad.tolist() == [[3, 3], [3, 3]]
        assert layer.bias.grad is None
        assert not isinstance(layer.weight, DTensor)


def test_a_worker_that_forgot_to_meet_the_others_is_told(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(AssertionError, match=r"parallel.workers\(\)"):
        parallel.world()


def test_buckets_hold_neighbours_of_one_kind():
    sizes = [10, 10, 200, 10]
    tensors = [torch.zeros(size) for size in sizes]
    tensors.append(torch.zeros(10, dtype=torch.bfloat16))
    buckets = [[t.numel() for t in bucket] for bucket in parallel._buckets(tensors, 100)]
    assert buckets == [[10, 10], [200], [10], [10]]


if __name__ == "__main__":
    with parallel.workers():
        said = report_of_a_worker()
        Path(sys.argv[1], f"{said['world'][0]}.json").write_text(json.dumps(said))
