"""`python -m benchmarks.parts`: where the time of one of our steps goes, by kind of operation."""

from __future__ import annotations

import click
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import ours
from benchmarks.sizes import SIZES, needed_flops
from benchmarks.workload import LEARNING_RATE, WORKLOADS
from rather.machine import matmul_rate

PARTS = {
    "matrix products of the layers and the head": ("aten::mm", "aten::addmm"),
    "matrix products of attention": ("aten::bmm", "aten::baddbmm"),
    "softmax of attention and head": ("aten::_softmax", "aten::_log_softmax", "aten::exp_", "aten::logsumexp"),
    "copies, concatenations, gathers": ("aten::copy_", "aten::cat", "aten::index", "aten::index_select", "aten::fill_"),
    "optimizer": ("aten::_fused_adamw_", "aten::linalg_vector_norm"),
    "activations": (
        "aten::silu",
        "aten::silu_backward",
        "aten::gelu",
        "aten::gelu_backward",
        "aten::native_layer_norm",
    ),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--task", type=click.Choice(list(ours.LEARNERS)), default="sft", show_default=True)
@click.option("--size", type=click.Choice(list(SIZES)), default="mini", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=4, show_default=True)
def command(task: str, size: str, threads: int, steps: int) -> None:
    """Profile some of our steps; the share of the profiled time each kind of operation took itself."""
    torch.set_num_threads(threads)
    workload, shape = WORKLOADS[task], SIZES[size]
    batches = workload.batches(shape, 0, steps + 2)
    gradients, adam = ours.LEARNERS[task](shape, batches, 0)
    for number in range(2):
        gradients(number)
        adam.step(LEARNING_RATE)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for number in range(2, len(batches)):
            gradients(number)
            adam.step(LEARNING_RATE)
    times = {event.key: event.self_cpu_time_total / 1e6 for event in profiled.key_averages()}
    total = sum(times.values())
    of = {name: sum(times.pop(key, 0.0) for key in keys) for name, keys in PARTS.items()}
    of["other element-wise operations"] = sum(times.pop(key) for key in list(times) if key.startswith("aten::"))
    of["Python and the autograd engine"] = sum(times.values())
    for name, seconds in sorted(of.items(), key=lambda part: -part[1]):
        click.echo(f"{seconds / total:6.1%}  {name}")
    flops = sum(needed_flops(task, shape, batch) for batch in batches[2:])
    peak = flops / matmul_rate(torch.bfloat16, threads)
    click.echo(f"{task} {size}, {steps} steps at {threads} thread(s): {total:.2f} s under the profiler.")
    click.echo(f"The needed products alone, at this machine's peak, would take {peak:.2f} s.")


if __name__ == "__main__":
    command()
