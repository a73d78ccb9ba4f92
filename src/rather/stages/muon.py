"""Muon (Jordan et al. 2024): a matrix moves by its momentum with all directions as long.

Adam leaves most of a matrix's update in few directions; what is rare on a page hardly moves. Here the momentum's
singular values are all made near 1, and a tiny model learns more from as many tokens or rankings (docs/pretraining.md,
docs/journal.md). The paper says Adam: `optimizer=muon` is a choice everywhere but in pretraining, which is not its.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rather.stages.optim import Adam

MOMENTUM = 0.95
# One turn of a Newton-Schulz iteration: a x + b x^3 + c x^5 of each singular value. Five bring most into .7 to 1.2.
TURNS, A, B, C = 5, 3.4445, -4.7750, 2.0315
# Adam's updates have a root mean square near .2; with it one rate serves both (Liu et al. 2025, Muon is scalable).
LIKE_ADAM = 0.2


class Muon(Adam):
    """Matrices between embedding and head are turned; embeddings, heads and norms are Adam's.

    model: a transformers model, or a body with a head on it
    """

    def __init__(self, model: nn.Module, *, compute: torch.dtype = torch.float32) -> None:
        super().__init__(model, compute=compute)
        ends = {id(p) for p in _ends(model)}
        for i, p in enumerate(self.working):
            if p.ndim == 2 and id(p) not in ends:
                self.squares[i] = self.squares[i].new_empty(0)  # it keeps a momentum and nothing else

    def _update(
        self, working: Tensor, master: Tensor, mean: Tensor, square: Tensor, grad: Tensor, *, lr: float, scale: float
    ) -> None:
        if square.numel():
            super()._update(working, master, mean, square, grad, lr=lr, scale=scale)
            return
        grad = grad.float() * scale
        mean.mul_(MOMENTUM).add_(grad)
        ahead = grad.add(mean, alpha=MOMENTUM)  # Nesterov's
        master.add_(orthogonal(ahead, self.compute), alpha=-lr * LIKE_ADAM * max(master.shape) ** 0.5)
        if working.data_ptr() != master.data_ptr():
            working.copy_(master)


def _ends(model: nn.Module) -> Iterator[nn.Parameter]:
    """Where tokens come in, and where logits, scores or values come out."""
    body: Any = getattr(model, "body", model)
    for end in (body.get_input_embeddings(), body.get_output_embeddings(), getattr(model, "head", None)):
        if end is not None:
            yield from end.parameters()


Optimizer = Literal["adam", "muon"]
OPTIMIZERS: Mapping[Optimizer, type[Adam]] = {"adam": Adam, "muon": Muon}


def orthogonal(matrix: Tensor, compute: torch.dtype) -> Tensor:
    """(N, M) -> its nearest matrix with orthonormal rows or columns, roughly: singular values between .7 and 1.2.

    compute: of the products; bfloat16 is enough, but takes 14 times as long on a processor that has none
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(compute)
    x = x / (x.norm() + 1e-7)
    for _ in range(TURNS):
        square = x @ x.T
        x = A * x + (B * square + C * square @ square) @ x
    return (x.T if tall else x).float()
