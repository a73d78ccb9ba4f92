"""How the tests of the losses compare value and gradient with a reference that knows no autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

ROUNDED = {"abs": 5.1e-7}  # the closed forms are given with six digits


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_equals(loss: Callable[[Tensor], Tensor], reference: Callable[[np.ndarray], float], at: Tensor) -> None:
    """Value to 1e-12, gradient to central differences of the reference."""
    x = at.clone().requires_grad_()
    value = loss(x)
    (gradient,) = torch.autograd.grad(value, x)
    assert value.item() == pytest.approx(reference(at.numpy()), abs=1e-12)
    expected, step = np.zeros(at.shape), 1e-6
    for cell in np.ndindex(*at.shape):
        up, down = at.numpy().copy(), at.numpy().copy()
        up[cell] += step
        down[cell] -= step
        expected[cell] = (reference(up) - reference(down)) / (2 * step)
    np.testing.assert_allclose(gradient.numpy(), expected, atol=2e-8)
