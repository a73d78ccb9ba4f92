"""The machine's matmul peak: bf16 products of the shapes that training makes. Only imported in worker processes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NoReturn

import torch

from benchmarks.process import Turns, Work

LEAST_SECONDS = 0.02  # of one measurement: shorter ones time the clock


def run(turns: Turns, *, shapes: Sequence[tuple[int, int, int]]) -> NoReturn:
    """One step is one shape (rows, inner, columns), multiplied until the clock says something."""
    products = [
        (torch.randn(rows, inner).to(torch.bfloat16), torch.randn(inner, columns).to(torch.bfloat16))
        for rows, inner, columns in shapes
    ]
    turns.ready(0.0, 0.0)
    while True:
        for left, right in products:
            turns.tick(Work(1, _multiply(left, right)))


def _multiply(left: torch.Tensor, right: torch.Tensor) -> float:
    """FLOPs done."""
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < LEAST_SECONDS:
        left @ right
        done += 2 * left.shape[0] * left.shape[1] * right.shape[1]
    return float(done)
