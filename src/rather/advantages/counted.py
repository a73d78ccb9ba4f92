"""Full precision and the mask, as in `rather.losses.tokens`; written again because the two packages stand alone."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """fp32 whatever comes in; fp64 stays."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def counted(x: Tensor, mask: Tensor) -> Tensor:
    """x in full precision where the mask is not 0, else 0 whatever lies there. x, mask: the same shape."""
    assert mask.shape == x.shape, f"mask is {tuple(mask.shape)} but the values are {tuple(x.shape)}"
    return full_precision(x).masked_fill(mask == 0, 0.0)
