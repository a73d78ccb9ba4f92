"""Maximum likelihood for concave models: does the maximum exist, where is it, how far can it be trusted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import lstsq
from scipy.optimize import linprog

from rather.statistics.intervals import group_sums

Surface = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]  # parameters -> value, gradient, Hessian


def direction_without_end(conditions: np.ndarray) -> np.ndarray | None:
    """A direction v along which the likelihood only grows, or None when the maximum exists.

    conditions: (M, D) rows a with a . v >= 0 for "this observation becomes no less likely along v". If all hold and one
    is strict the likelihood has no maximum (Albert and Anderson's separation): an optimiser stops somewhere, and where
    says more about its tolerance than about the data. A linear program answers exactly.
    """
    found = linprog(-conditions.sum(0), A_ub=-conditions, b_ub=np.zeros(len(conditions)), bounds=(-1, 1))
    assert found.status == 0, f"the separation check is always feasible and bounded, found {found.message}"
    return found.x if -found.fun > 1e-7 else None


def maximum(surface: Surface, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """start: (D,)    returns: (D,) parameters and the (D, D) Hessian there. Newton's method, steps halved."""
    here = start
    value, gradient, hessian = surface(here)
    for _ in range(200):
        step = lstsq(-hessian, gradient)[0]
        if gradient @ step < 1e-9 * max(1.0, abs(value)):
            # Newton squares its error: after this step what is left is below the rounding of the value.
            return here + step, surface(here + step)[2]
        size = 1.0
        while size > 1e-12:
            new = surface(here + size * step)
            if np.isfinite(new[0]) and new[0] >= value:
                break
            size /= 2
        else:
            return here, hessian  # no step improves: the rounding floor of the value
        here = here + size * step
        value, gradient, hessian = new
    raise ValueError("The likelihood did not reach its maximum in 200 Newton steps. Expected a well-posed model.")


def sandwich(
    hessian: np.ndarray, scores: np.ndarray, index: np.ndarray, clusters: int, precision: np.ndarray | float = 0.0
) -> np.ndarray:
    """hessian: (D, D)    scores: (N, D) gradient of each row    returns: (D, D) cluster-robust covariance

    precision: (D, D) of a normal prior that the Hessian includes. It counts as one more observation, with the variance
        it claims; left out, a strength that only the prior holds in place would seem to be known exactly.
    """
    sums = group_sums(scores, index, clusters)
    bread = np.linalg.inv(-hessian)
    return bread @ (clusters / (clusters - 1) * sums.T @ sums + precision) @ bread
