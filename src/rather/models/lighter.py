"""The same functions in fewer passes over memory, for training on a CPU.

transformers spells RMSNorm as seven float32 operations, whose backward is most of its cost: 12 ms forward and backward
over 4,608 x 256 numbers on one thread, 13 times a step of a six-layer model, against 3.5 ms for the lines below. It
spells GPT-2's GELU as eight, and autograd keeps the results of six: 30 KB a token and layer of GPT-2 small.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _RMSNorm(torch.autograd.Function):
    """y = w * x / rms(x). With n = x / rms(x):  dx = (w*g - n * mean(w*g*n)) / rms(x),  dw = sum(g * n)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=wide)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()  # (rows, 1); in float32, it is shared by a row
        ctx.save_for_backward(rows, weight, scale)
        return _scaled(rows, scale).mul_(weight).view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, weight, scale = ctx.saved_tensors
        unit = _scaled(rows, scale)
        of_rows = grad.reshape(rows.shape)
        product = of_rows * unit
        of_weight = (product.new_ones(1, len(product)) @ product)[0]
        mean = (product @ weight[:, None]).div_(rows.shape[-1])  # (rows, 1)
        out = torch.addcmul(of_rows * weight, unit, mean, value=-1)
        return _scaled(out, scale).view_as(grad), of_weight, None


def _scaled(rows: Tensor, scale: Tensor) -> Tensor:
    """rows * scale, computed in float32 and rounded once."""
    return torch.mul(rows, scale, out=torch.empty_like(rows))


def lighten(model: nn.Module) -> int:
    """Give the model's RMSNorms and GELUs these passes in place of their own; returns how many.

    A module qualifies by what it computes, not by its name alone: ours must give what its own forward gives.
    """
    return sum(_replaced(module) for module in model.modules())


def _replaced(module: nn.Module) -> bool:
    name = type(module).__name__
    weight = getattr(module, "weight", None)
    if name.endswith("RMSNorm") and isinstance(getattr(module, "variance_epsilon", None), float):
        if not isinstance(weight, Tensor) or weight.ndim != 1 or weight.device.type != "cpu":
            return False
        return _replace(module, _rms_norm, torch.empty(3, len(weight), dtype=weight.dtype))
    if name == "NewGELUActivation":
        return _replace(module, _gelu, torch.empty(3, 5))
    return False


def _replace(module: nn.Module, forward: Callable[[nn.Module, Tensor], Tensor], like: Tensor) -> bool:
    probe = like.normal_(generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own, ours = module(probe), forward(module, probe)
    if own.dtype != ours.dtype or not torch.allclose(own.float(), ours.float(), rtol=0.02, atol=1e-5):
        return False
    # A bound method, not a closure: a deep copy of the model must read its own weights.
    module.forward = MethodType(forward, module)
    return True


def _rms_norm(self: nn.Module, hidden_states: Tensor) -> Tensor:
    return _RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon)


def _gelu(self: nn.Module, input: Tensor) -> Tensor:
    return F.gelu(input, approximate="tanh")
