"""Several processes as one: no-ops on one process, `torch.distributed` under `torchrun` (gloo on CPU, NCCL on CUDA).

    with parallel.workers():
        ...
        loss = token_losses.sum() / parallel.global_sum(n_tokens)    # the denominator is the whole batch's
        loss.backward()
        parallel.all_reduce_grads(model.parameters())                # a sum: the mean is in the denominator already

Gradients are summed, never averaged: a worker with longer responses must not weigh less per token.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from rather.errors import BadSetting, RatherError

T = TypeVar("T")


class WorkerFailed(RatherError):
    """Another worker failed, or did not answer in time."""


@contextmanager
def workers(timeout: timedelta = timedelta(minutes=30)) -> Iterator[None]:
    """Meet the other workers that torchrun started; on one process there is nobody to meet.

    timeout: how long a worker waits for the others before it stops in words
    """
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _waiting("the start"):
        dist.init_process_group(backend, timeout=timeout)
    yield
    # Not in a `finally`: after an error the others may be anywhere, and torchrun ends them when this process ends.
    dist.destroy_process_group()


def world() -> tuple[int, int]:
    """(rank, size): which worker this is, and of how many."""
    if dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    # Without this, each worker would believe that it is alone and write the same run.
    assert os.environ.get("WORLD_SIZE", "1") == "1", "under torchrun, but not within `parallel.workers()`"
    return 0, 1


def is_first() -> bool:
    return world()[0] == 0


def device() -> torch.device:
    """This worker's own device."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def barrier() -> None:
    gather_objects(None)


@contextmanager
def together(what: str) -> Iterator[None]:
    """A block that fails on all workers when it fails on one, so that nobody waits for a worker that is gone.

    The block itself must not wait for other workers: one that fails in it would leave them waiting there.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:  # of any kind: it is raised again below, after the others have been told
        error = caught
    said = gather_objects(f"{type(error).__name__}: {error}" if error else None)
    if error is not None:
        raise error
    for rank, words in enumerate(said):
        if words is not None:
            raise WorkerFailed(f"Worker {rank} failed in {what}: {words}")


@contextmanager
def first_ahead(what: str) -> Iterator[None]:
    """The first worker runs the block alone, the others after it: it downloads or builds what they then find."""
    if is_first():
        with together(what):
            yield
    else:
        with together(what):
            pass
        yield


# ---- numbers


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum over workers, a new tensor without gradient, the same on all. tensor: any shape, the same on all"""
    total = tensor.detach().clone()
    if world()[1] > 1:
        with _waiting("a sum"):
            dist.all_reduce(total)
    return total


def global_sum(number: T) -> T:
    """The sum of a Python number over workers; an int stays an exact int."""
    kind = torch.int64 if isinstance(number, int) else torch.float64
    return all_reduce_sum(torch.tensor(number, dtype=kind)).item()  # type: ignore[return-value]


def all_reduce_grads(parameters: Iterable[nn.Parameter], bucket_bytes: int = 32 << 20) -> None:
    """Sum each parameter's gradient over the workers, in place.

    A parameter that only some workers used counts as 0 on the others; one that nobody used keeps None. Parameters that
    FSDP holds are left alone: it has summed theirs.
    """
    if world()[1] == 1:
        return
    own = [parameter for parameter in parameters if parameter.requires_grad and not isinstance(parameter, DTensor)]
    used = all_reduce_sum(torch.tensor([parameter.grad is not None for parameter in own], dtype=torch.int32)).tolist()
    for parameter, n in zip(own, used, strict=True):
        if n and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    all_reduce_in_place([parameter.grad for parameter in own if parameter.grad is not None], bucket_bytes)


def all_reduce_in_place(tensors: Sequence[Tensor], bucket_bytes: int = 32 << 20) -> None:
    """Sum each tensor over the workers, a bucket at a time. tensors: the same shapes in the same order on all"""
    if world()[1] == 1:
        return
    for bucket in _buckets(tensors, bucket_bytes):
        summed = all_reduce_sum(torch.cat([tensor.reshape(-1) for tensor in bucket]))
        for tensor, part in zip(bucket, summed.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Sequence[Tensor], bucket_bytes: int) -> Iterator[list[Tensor]]:
    """Neighbours of one dtype and device, together at most `bucket_bytes` (or one tensor that is larger)."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        same = not bucket or (tensor.dtype, tensor.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and (not same or size + tensor.nbytes > bucket_bytes):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


# ---- things


def shard(items: Sequence[T]) -> list[T]:
    """This worker's items: every size-th. Disjoint, together all, and the same each time."""
    rank, size = world()
    return list(items[rank::size])


def gather_objects(value: Any) -> list[Any]:
    """What each worker said, in order of rank, on every worker. value: anything JSON has words for (no pickle)"""
    size = world()[1]
    if size == 1:
        return [value]
    said = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    with _waiting("a gathering"):
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(size)]
        dist.all_gather(lengths, torch.tensor([len(said)]))
        longest = int(max(lengths))
        heard = [torch.zeros(longest, dtype=torch.uint8) for _ in range(size)]
        dist.all_gather(heard, torch.cat([said, torch.zeros(longest - len(said), dtype=torch.uint8)]))
    return [json.loads(bytes(text[: int(length)].numpy())) for text, length in zip(heard, lengths, strict=True)]


def worker_seed(seed: int) -> int:
    """A seed of this worker's own, for sampling and data; weights are drawn with the run's seed, the same on all."""
    rank, _ = world()
    return int.from_bytes(hashlib.sha256(f"{seed} worker {rank}".encode()).digest()[:7]) if rank else seed


def differing(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that are not the same on all workers, byte for byte. Shards of one are not compared."""
    sums = {name: checksum(tensor) for name, tensor in tensors.items() if not isinstance(tensor, DTensor)}
    said = gather_objects(sums)
    return sorted(name for name in set().union(*said) if any(other.get(name) != said[0].get(name) for other in said))


def checksum(tensor: Tensor) -> int:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return zlib.crc32(flat.view(torch.uint8).numpy().data)


# ---- models larger than one worker


def shard_model(model: nn.Module, blocks: Iterable[nn.Module], dtype: torch.dtype | None = None) -> None:
    """Spread the parameters over the workers with FSDP2, in place; nothing to do on one process.

    blocks: what is gathered and let go as one, usually the transformer's layers
    dtype: of the computation; the parameters stay what they are and gradients are summed in float32
    """
    if world()[1] == 1:
        return
    if names := differing(dict(model.named_parameters())):
        raise BadSetting(
            f"The workers hold different weights: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}.",
            "Each gives its share of one model, so all must begin with the same one.",
            "Draw the weights with the run's seed, not with worker_seed.",
        )
    mesh = init_device_mesh(device().type, (world()[1],))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh, mp_policy=policy)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)  # FSDP would take the mean; the denominator is in the loss already
        module.set_force_sum_reduction_for_comms(True)  # gloo has no scaled sum


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # the errors of all backends derive from it; the first line says which it was
        rank, size = os.environ.get("RANK", "?"), os.environ.get("WORLD_SIZE", "?")
        raise WorkerFailed(
            f"Worker {rank} of {size} had no answer from the others in {what}: {str(error).splitlines()[0][:200]}",
            "All workers take part in every step.",
            "Look at the other workers' output for the one that stopped first.",
        ) from error
