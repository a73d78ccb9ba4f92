"""Adam over float32 masters, whatever the model computes in.

In float32 the model's own parameters are the masters. In bfloat16 the model holds a working copy: forward and backward
run in bfloat16 without a cast per layer, gradients of several rows are summed in float32, and the small updates that
bfloat16 would round away are kept in the masters (the paper keeps fp32 masters too, app. C).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Parameters are updated this many numbers at a time: gradient, master, moments and working copy of one piece stay in
# the cache, and no float32 copy of all gradients ever exists (124M parameters: 0.19 s a step against 0.29).
PIECE = 1 << 18


def computing_in(model: nn.Module, compute: torch.dtype) -> None:
    """Weights in this dtype, in place: a model that only looks on, or the working copy of one that learns."""
    # Not `model.to`, which would round the buffers too: the frequencies of rotary positions are such a buffer, and in
    # bfloat16 a position of 500 is off by a radian and the saved model is another one.
    for p in model.parameters():
        if p.is_floating_point():  # weights in 4 bits are none
            p.data = p.data.to(compute)


class Adam:
    """AdamW with the paper's betas. For each batch: backward once a row, then `step(lr)` once.

    Every gradient is handed over as soon as the backward has formed it, so `.grad` is None again afterwards: a row's
    gradients and the batch's sum of them are never both there whole.

    form: where eps is added to the root of the mean square, after its bias is corrected or, as in TensorFlow, before;
        there the same eps is much larger in the first steps (31 times at beta2 = 0.999), and the steps smaller
    weight_decay: decoupled, on matrices only (a norm's gain or a bias has no business shrinking)

    Parameters that require no gradient are frozen: nothing is kept of them on the device but the working copy.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        compute: torch.dtype = torch.float32,
        betas: tuple[float, float] = (0.9, 0.95),  # app. C
        eps: float = 1e-8,  # not in the paper
        form: Literal["pytorch", "tensorflow"] = "pytorch",  # not in the paper; ZGL's is TensorFlow's
        weight_decay: float = 0.0,  # not in the paper
    ) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert trained, "nothing to train: no parameter requires a gradient"
        assert all(p.dtype == torch.float32 for p in trained.values()), "masters must be float32 when training begins"
        self.names, self.working = list(trained), list(trained.values())
        self.compute, self.betas, self.eps, self.weight_decay = compute, betas, eps, weight_decay
        self.form = form
        self.frozen: list[tuple[nn.Parameter, Tensor | None]] = []
        if compute == torch.float32:
            self.masters = [p.detach() for p in self.working]
        else:
            self.masters = [p.detach().clone() for p in self.working]
            still = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
            self.frozen = [(p, _what_is_lost(p, compute)) for p in still]
            computing_in(model, compute)
        self.steps = 0
        self.means = [torch.zeros_like(m) for m in self.masters]
        self.squares = [torch.zeros_like(m) for m in self.masters]
        self._sums: list[Tensor | None] = [None] * len(self.working)
        for name, p in trained.items():
            assert not hasattr(p, "taken"), f"{name} has an optimiser already, which takes its gradients"
            p.taken = True  # type: ignore[attr-defined]
        self._hooks = [
            p.register_post_accumulate_grad_hook(partial(self._take, index)) for index, p in enumerate(self.working)
        ]

    def release(self) -> None:
        """Take no more gradients, so that another optimiser may."""
        for hook, p in zip(self._hooks, self.working, strict=True):
            hook.remove()
            del p.taken  # type: ignore[attr-defined]
        self._hooks = []

    def _take(self, index: int, p: Tensor) -> None:
        """Add a gradient to the batch's sum. Two and more sum in float32."""
        if p.grad is not None:
            total = self._sums[index]
            self._sums[index] = p.grad if total is None else total.float().add_(p.grad)
            p.grad = None

    def gradients(self) -> list[Tensor]:
        """The batch's gradients so far, one per name, for workers to sum among themselves in place."""
        for i, p in enumerate(self.working):
            if self._sums[i] is None:
                self._sums[i] = torch.zeros_like(p)
        return [total for total in self._sums if total is not None]

    def step(self, lr: float, max_norm: float = math.inf) -> float:
        """One update. Returns the gradient norm before clipping; when that is not finite nothing has moved."""
        sums = self.gradients()
        self._sums = [None] * len(self.working)
        norms = torch.stack([torch.linalg.vector_norm(total, dtype=torch.float32) for total in sums])
        norm = float(torch.linalg.vector_norm(norms))
        if math.isfinite(norm):
            self.steps += 1
            scale = max_norm / norm if norm > max_norm else 1.0
            with torch.no_grad():
                for update in zip(self.working, self.masters, self.means, self.squares, sums, strict=True):
                    self._update(*update, lr=lr, scale=scale)
        return norm

    def _eps(self) -> float:
        """eps in PyTorch's place. sqrt(v) / c + eps / c is (sqrt(v) + eps) / c, with c the root of the correction."""
        return self.eps if self.form == "pytorch" else self.eps / math.sqrt(1 - self.betas[1] ** self.steps)

    def _update(
        self, working: Tensor, master: Tensor, mean: Tensor, square: Tensor, grad: Tensor, *, lr: float, scale: float
    ) -> None:
        size = PIECE if master.device.type == "cpu" else master.numel()
        flat = [t.view(-1).split(size) for t in (working, master, mean, square)]
        for low, high, m, v, g in zip(*flat, grad.reshape(-1).split(size), strict=True):
            g = g.float() if scale == 1.0 else g.float() * scale
            # The kernel counts the step itself, so it is given the number of steps before this one.
            done = torch.tensor(float(self.steps - 1), device=master.device)
            adamw(
                [high],
                [g],
                [m],
                [v],
                [],
                [done],
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=lr,
                weight_decay=self.weight_decay if master.ndim >= 2 else 0.0,
                eps=self._eps(),
                maximize=False,
            )
            if self.compute != torch.float32:
                low.copy_(high)

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Within this context the model holds the float32 masters: for saving, and for measuring what is saved."""
        working = [p.data for p in self.working]
        for p, master in zip(self.working, self.masters, strict=True):
            p.data = master
        still = [(p, p.data, p.data.float() if whole is None else whole.to(p.device)) for p, whole in self.frozen]
        for p, _, exact in still:
            p.data = exact
        try:
            yield
        finally:
            for p, data in zip(self.working, working, strict=True):
                p.data = data
            for p, data, exact in still:
                if p.data_ptr() == exact.data_ptr():  # else it was given another value meanwhile
                    p.data = data

    def state_dict(self) -> dict[str, Any]:
        """Masters and moments by parameter name: all that a resumed run needs of the optimiser and of the weights."""
        kept = zip(self.names, self.masters, self.means, self.squares, strict=True)
        return {"steps": self.steps, "parameters": {n: {"master": p, "mean": m, "square": s} for n, p, m, s in kept}}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        assert saved["parameters"].keys() == set(self.names), "the state of another model"
        self.steps = saved["steps"]
        with torch.no_grad():
            for name, working, *tensors in zip(
                self.names, self.working, self.masters, self.means, self.squares, strict=True
            ):
                for tensor, key in zip(tensors, ("master", "mean", "square"), strict=True):
                    tensor.copy_(saved["parameters"][name][key])
                working.copy_(tensors[0])


def _what_is_lost(p: Tensor, compute: torch.dtype) -> Tensor | None:
    """A frozen weight that this dtype would round, kept in the host's memory; None where nothing is lost, as with
    the many models that are published in bfloat16."""
    whole = p.detach()
    return None if torch.equal(whole.to(compute).to(whole.dtype), whole) else whole.cpu().clone()
