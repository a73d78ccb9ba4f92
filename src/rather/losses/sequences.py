"""From packed tokens (N,) to sequences and back.

Tokens of S sequences lie in one row; `sequence` (N,) says to which sequence each belongs. Sequences may come in any
order, the tokens of one sequence in their own. `count` is S, given because the last sequences may have no token here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rather.losses.tokens import full_precision


@dataclass(frozen=True, eq=False)
class Padded:
    """Where each packed token stands in a right-padded table: made once per batch, used for every tensor of it.

    index: (S, T) place in (N,) of each cell, 0 in empty cells     mask: (S, T) bool, which cells hold a token
    """

    index: Tensor
    mask: Tensor

    def pad(self, values: Tensor, fill: float = 0) -> Tensor:
        """(N,) -> (S, T), with `fill` in the empty cells."""
        assert values.shape == (int(self.mask.sum()),), (
            f"{tuple(values.shape)} values for {int(self.mask.sum())} tokens"
        )
        if not len(values):
            return values.new_full(self.mask.shape, fill)
        return values[self.index].masked_fill(~self.mask, fill)

    def flatten(self, table: Tensor) -> Tensor:
        """(S, T) -> (N,), in the order of the packed tokens."""
        assert table.shape == self.mask.shape, f"table is {tuple(table.shape)}, the layout is {tuple(self.mask.shape)}"
        cells = torch.arange(table.numel(), device=table.device).view_as(table)  # (S, T)
        place = torch.empty(int(self.mask.sum()), dtype=torch.long, device=table.device)  # (N,) cell of each token
        place[self.index[self.mask]] = cells[self.mask]
        return table.flatten()[place]


def padded_layout(sequence: Tensor, count: int) -> Padded:
    """The table of `count` sequences. sequence: (N,) integers in [0, count)

    It also lays the scores of S responses out as (P, K), with the prompt of each response in place of `sequence`.
    """
    lengths = torch.bincount(sequence, minlength=count)  # (S,)
    assert len(lengths) == count, f"sequence {len(lengths) - 1} of {count}: they count from 0"
    longest = int(lengths.max()) if count else 0
    mask = torch.arange(longest, device=sequence.device) < lengths[:, None]  # (S, T)
    index = torch.zeros(count, longest, dtype=torch.long, device=sequence.device)
    index[mask] = torch.argsort(sequence, stable=True)  # stable: the tokens of a sequence keep their order
    return Padded(index, mask)


def sequence_sums(values: Tensor, sequence: Tensor, count: int) -> Tensor:
    """(N,) -> (S,): the log-prob of each response from those of its tokens. Differentiable."""
    values = full_precision(values)
    return values.new_zeros(count).index_add(0, sequence, values)


def sequence_weights(mask: Tensor) -> Tensor:
    """(B, T) mask -> (B, T) weights that sum to 1 in each sequence.

    As the mask of a loss, with the number of sequences as denominator, they make it a mean of sequence means.
    """
    mask = full_precision(mask)
    return mask / mask.sum(1, keepdim=True).clamp(min=1)


def packed_sequence_weights(sequence: Tensor, count: int) -> Tensor:
    """`sequence_weights` for packed tokens: (N,) -> (N,). All tokens of a sequence have to be in this part."""
    return 1.0 / torch.bincount(sequence, minlength=count)[sequence].float()
