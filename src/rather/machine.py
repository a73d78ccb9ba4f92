"""What this machine does in a second, measured: rates of matrix products, the best thread count, the precision.

Measured once per process and kept, and never the same twice: a run that is to be resumed to the same bytes saves the
answer in its settings instead of asking again.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

from rather import limits
from rather.errors import BadSetting, nearest

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
WORTH_IT = 1.5  # bf16 pays once products are this much faster: the rounding to and fro costs time of its own

# (rows, in, out) of the products in a training step of a small model and of GPT-2 small, and of one large enough
# to fill a GPU.
SHAPES = {
    "cpu": ((1024, 256, 1024), (1024, 768, 3072), (1024, 3072, 768)),
    "cuda": ((8192, 1024, 4096), (8192, 4096, 4096)),
}
STEP = ((512, 256), (256, 1024), (1024, 256))  # tokens, and the two weights of a feed-forward block
SECONDS = 0.1  # how long each shape is repeated; the best repetition counts


def matmul_rate(dtype: torch.dtype, threads: int | None = None, device: str = "cpu") -> float:
    """Floating point operations per second of a matrix product: the best of several shapes and repetitions.

    threads: of the CPU; None is the number torch uses now
    """
    return _matmul_rate(dtype, threads or torch.get_num_threads(), torch.device(device).type)


@cache
def _matmul_rate(dtype: torch.dtype, threads: int, device: str) -> float:
    with _threads(threads), torch.inference_mode():
        return max(_rate(dtype, device, *shape) for shape in SHAPES[device])


def _rate(dtype: torch.dtype, device: str, rows: int, width: int, out: int) -> float:
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    w = torch.randn(width, out, generator=torch.Generator().manual_seed(1)).to(device, dtype)

    def product() -> None:
        torch.mm(x, w)
        if device == "cuda":
            torch.cuda.synchronize()

    product()  # the first one also builds the kernel
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end or best == float("inf"):
        best = min(best, _seconds(product))
    return 2 * rows * width * out / best


@cache
def best_threads() -> int:
    """The smallest number of CPU threads whose small training step is within 5 % of the fastest, here and now.

    Cores do not say it: beside another busy process each parallel operation waits for the slowest core, and one thread
    can be many times faster than two. OMP_NUM_THREADS, where set (torchrun sets it), is obeyed and nothing is measured.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    return fewest_near_best(step_times())


def fewest_near_best(times: dict[int, float]) -> int:
    return min(threads for threads, seconds in times.items() if seconds <= 1.05 * min(times.values()))


@cache
def step_times() -> dict[int, float]:
    """Thread count -> seconds of a small training step, for 1, 2, 4, ... and all cores.

    Rounds alternate between the counts and the median counts, not the best: what matters is how it usually goes
    beside whatever else runs on the machine.
    """
    most = limits.cores()
    counts = sorted({1 << n for n in range(most.bit_length()) if 1 << n <= most} | {most})
    step = _training_step()
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(5):
        for count, seen in times.items():
            with _threads(count):
                step()  # the pool of threads is built anew
                seen += [_seconds(step) for _ in range(3)]
    return {count: statistics.median(seen) for count, seen in times.items()}


def _training_step() -> Callable[[], None]:
    """Forward and backward of a feed-forward block with 512 tokens of width 256: products between small operations."""
    x, up, down = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in STEP)
    weights = [up.requires_grad_(), down.requires_grad_()]

    def step() -> None:
        hidden = torch.nn.functional.gelu(torch.nn.functional.layer_norm(x, x.shape[-1:]) @ up)
        torch.autograd.grad((x + hidden @ down).square().mean(), weights)

    return step


def precision(setting: str, device: str = "cpu") -> torch.dtype:
    """The dtype of the large products for `precision = "auto" | "fp32" | "bf16"`; weights stay fp32 either way.

    auto: bf16 on a GPU that has it, and on a CPU where its products were measured at least 1.5 times as fast
    """
    if setting in PRECISIONS:
        return PRECISIONS[setting]
    if setting != "auto":
        raise BadSetting(
            f"precision = {setting!r} is not known.{nearest(setting, ['auto', *PRECISIONS])}",
            "Expected auto, fp32 or bf16.",
        )
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if matmul_rate(torch.bfloat16) >= WORTH_IT * matmul_rate(torch.float32) else torch.float32


def gpus() -> list[dict[str, int | str]]:
    """The CUDA devices torch can use, with memory in bytes."""
    found: list[dict[str, int | str]] = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append({"name": torch.cuda.get_device_name(index), "total": total, "free": free})
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
