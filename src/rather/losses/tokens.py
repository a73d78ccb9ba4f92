"""What every loss over tokens shares: full precision, a mask that is obeyed, a denominator that is given."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """fp32 whatever comes in; fp64 stays. In bf16 a log-prob of -5 may be off by 0.015; a KL adds such numbers."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def same_shape(**tensors: Tensor) -> None:
    """Nothing broadcasts: (3,) against (3, 1) would be nine numbers that look like three."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert len(set(shapes.values())) == 1, f"one shape for all, but got {shapes}; spread sequences over their tokens"


def counted(x: Tensor, mask: Tensor | None) -> Tensor:
    """x in full precision where the mask counts it, 0 elsewhere, whatever lies there (even NaN or -inf).

    x: (B, T) or (N,)     mask: the same shape, or None when every element counts (packed tokens)

    Call it before exp or log: 0 * inf is NaN, and so is its gradient.
    """
    x = full_precision(x)
    if mask is None:
        return x
    assert mask.shape == x.shape, f"mask is {tuple(mask.shape)} but the values are {tuple(x.shape)}"
    return x.masked_fill(mask == 0, 0.0)


def token_mean(values: Tensor, mask: Tensor | None, denominator: float) -> Tensor:
    """Sum of values * mask over denominator: a scalar.

    values: (B, T) or (N,)     mask: the same shape, 0/1 or a weight per token (`sequence_weights`), or None

    denominator is a number the caller fixes for the whole batch, on all workers, before it is split into micro-batches.
    Then the parts add up to the whole; a mean inside each part would weight the tokens of short parts more.
    """
    assert denominator > 0, f"a mean over {denominator} tokens; count them over the whole batch, before the split"
    values = counted(values, mask)
    if mask is not None:
        values = values * mask.to(values.dtype)
    return values.sum() / denominator


def require_finite(loss: Tensor, where: str) -> None:
    """Stop before the optimizer moves: one NaN step leaves nothing to resume from."""
    if not torch.isfinite(loss).all():
        bad = loss[~torch.isfinite(loss)].flatten()[0].item() if loss.ndim else loss.item()
        raise FloatingPointError(
            f"{where}: the loss is {bad}.\n"
            "It has to be finite; the optimizer has not moved.\n"
            "Look at grad norm and log-ratios before this step, then try a lower learning rate or precision=fp32."
        )
