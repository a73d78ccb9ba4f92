"""Whitening: mean 0 and variance 1 over the response tokens of the whole batch, however many workers hold it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rather.advantages.counted import counted, full_precision


class Moments(NamedTuple):
    """Three sums in fp64, each (): the moments of all workers are the sums of theirs (all-reduce them, no more)."""

    n: Tensor
    total: Tensor
    squares: Tensor

    def mean(self) -> Tensor:
        return self.total / self.n

    def variance(self, unbiased: bool) -> Tensor:
        about_mean = (self.squares - self.total.square() / self.n).clamp(min=0)
        return about_mean / (self.n - 1 if unbiased else self.n)


def moments(values: Tensor, mask: Tensor) -> Moments:
    """Of the values the mask counts. values, mask: the same shape."""
    x = full_precision(values)[mask != 0].double()  # (n,): the same numbers in the same order however they were padded
    return Moments(torch.tensor(len(x), dtype=torch.float64, device=x.device), x.sum(), x.square().sum())


def whiten(
    values: Tensor, mask: Tensor, unbiased: bool, shift_mean: bool = True, over: Moments | None = None
) -> Tensor:
    """(values - mean) / sqrt(variance + 1e-8), 0 on padding. values, mask: the same shape

    unbiased: divide the variance by n - 1 (TRL, verl) or by n (ZGL); they differ visibly in small batches only
    shift_mean: False scales alone and leaves the mean where it is, as ZGL does to rewards
    over: the moments of the whole batch when these values are a part of it; None when they are all of it
    """
    over = moments(values, mask) if over is None else over
    assert over.n > unbiased, f"whitening over {int(over.n)} values"
    x = full_precision(values)
    mean = over.mean().to(x.dtype)
    white = (x - mean) * torch.rsqrt(over.variance(unbiased).to(x.dtype) + 1e-8)
    return counted(white if shift_mean else white + mean, mask)
