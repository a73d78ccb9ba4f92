"""What the settings of several stages ask of their batches: whole minibatches, and rows of pretraining text beside."""

from __future__ import annotations


def whole_minibatches(batch_size: int, minibatch_size: int) -> int:
    """How many minibatches a batch is; for a validator, which says the error in words."""
    if batch_size % minibatch_size:
        raise ValueError(f"batch_size={batch_size} is not a multiple of minibatch_size={minibatch_size}")
    return batch_size // minibatch_size


def ptx_rows(coef: float, ratio: float, prompts: int) -> int:
    """Rows of pretraining text in an update on so many prompts; none where the mix counts for nothing (eq. 2)."""
    return max(1, round(ratio * prompts)) if coef else 0
