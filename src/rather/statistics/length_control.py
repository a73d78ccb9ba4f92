"""Win rate at equal length: what is left of a preference once longer answers win for being longer.

In the spirit of AlpacaEval 2 (Dubois et al. 2024), without its per-instruction difficulty term:

    P(ours preferred) = sigma(theta + phi * tanh(x / sd(x))),   x = length of ours - length of theirs

x is scaled and never centred: x = 0 must stay "equal length". The length-controlled win rate is sigma(theta), the
prediction at x = 0. A tie enters as outcome 1/2 (quasi-likelihood), each prompt has weight 1 however many labels it
has, and the covariance of (theta, phi) is the sandwich clustered by prompt with sd(x) taken as known. The interval is
made for theta, t with C - 1 degrees of freedom, and mapped through sigma, so it stays inside (0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

from rather.statistics.columns import Labels, Numbers, clusters_of, numbers, same_length
from rather.statistics.intervals import Estimate, t_quantile
from rather.statistics.likelihood import maximum, sandwich
from rather.statistics.wins import WinRate, win_rate

NOTABLE = 0.10  # AlpacaEval's authors warn from ten points on
FLAT = 0.02  # sd of tanh(x / sd(x)) when x is about 3 sd from 0: the curve is flat there and x = 0 is a guess


@dataclass(frozen=True, kw_only=True)
class LengthControlled(Estimate):
    raw: WinRate
    length: Estimate  # phi: log-odds gained by being much longer; 0 is a judge without a length preference
    scale: float  # sd(x), in the unit the lengths came in
    warning: str  # empty, or that raw and controlled differ so much that neither should be quoted alone


def length_controlled_win_rate(
    outcomes: Numbers, ours: Numbers, theirs: Numbers, prompts: Labels, *, level: float = 0.95
) -> LengthControlled:
    """outcomes: (N,) 1 ours preferred, 0.5 tie, 0 theirs    ours, theirs: (N,) lengths    prompts: (N,)"""
    y = numbers("outcomes", outcomes, 0.0, 1.0)
    ours, theirs = numbers("ours", ours), numbers("theirs", theirs)
    same_length(outcomes=y, ours=ours, theirs=theirs, prompts=prompts)
    x = ours - theirs  # (N,)
    index, clusters = clusters_of("prompts", prompts, needed=3)  # two parameters, and something left to vary
    weights = 1 / np.bincount(index)[index]
    scale = float(np.sqrt(weights @ (x - weights @ x / clusters) ** 2 / clusters))
    if scale <= 1e-9 * float(np.abs(x).max()):
        raise ValueError(
            f"All {len(x)} length differences are {x[0]:g}: length cannot be told from quality. "
            "Expected differences that vary; use win_rate."
        )
    design = np.column_stack([np.ones(len(x)), np.tanh(x / scale)])  # (N, 2)
    if design[:, 1].std() < FLAT:
        raise ValueError(
            f"The length differences are {x.min():g} to {x.max():g}, far from 0 for their spread of {scale:g}: nothing "
            "says what would be preferred at equal length. Expected differences near 0 too; use win_rate and say so."
        )
    # An outcome between 0 and 1 pulls both ways; 1 and 0 each pull one way. Where no length lies on both sides of a
    # point, a steeper curve through that point always fits better.
    upward, downward = x[y > 0], x[y < 1]
    if not (len(upward) and len(downward) and downward.max() > upward.min() and upward.max() > downward.min()):
        raise ValueError(_separated(y, x))

    def surface(parameters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        z = design @ parameters
        curve = weights * expit(z) * expit(-z)
        value = weights @ (y * log_expit(z) + (1 - y) * log_expit(-z))
        return float(value), design.T @ (weights * (y - expit(z))), -(design.T @ (design * curve[:, None]))

    found, hessian = maximum(surface, np.zeros(2))
    residuals = weights * (y - expit(design @ found))
    covariance = sandwich(hessian, design * residuals[:, None], index, clusters)
    variances = np.diag(covariance)
    if (variances < 1e-12 * np.diag(np.linalg.inv(-hessian))).any():
        raise ValueError(
            "The outcomes of every prompt average to exactly what their length predicts: there is no spread to make an "
            "interval from. Expected outcomes that vary at equal length."
        )
    se = np.sqrt(variances)
    method = f"t, logistic regression with a sandwich clustered over {clusters} prompts"
    theta, phi = (
        Estimate(
            value=float(value),
            interval=(float(value - t_quantile(level, clusters) * e), float(value + t_quantile(level, clusters) * e)),
            n=len(y),
            clusters=clusters,
            se=float(e),
            level=level,
            method=method,
        )
        for value, e in zip(found, se, strict=True)
    )
    raw = win_rate(y, prompts, level=level)
    controlled = theta.mapped(lambda z: float(expit(z)), "mapped from log-odds")
    gap = raw.value - controlled.value
    warning = ""
    if abs(gap) > NOTABLE:
        warning = (
            f"The raw win rate is {raw.value:.3f} and the length-controlled one {controlled.value:.3f}: "
            f"{'longer' if x.mean() > 0 else 'shorter'} answers explain {100 * abs(gap):.0f} points. Quote both."
        )
    return LengthControlled(**vars(controlled), raw=raw, length=phi, scale=scale, warning=warning)


def _separated(y: np.ndarray, x: np.ndarray) -> str:
    if len(set(y)) == 1:
        return (
            f"All {len(y)} outcomes are {y[0]:g}: a logistic regression has no finite fit. "
            "Expected wins and losses; use win_rate."
        )
    longer = "longer" if (x - x.mean()) @ y > 0 else "shorter"
    return (
        f"The length difference alone decides every outcome ({longer} answers win): the fit runs off to infinity. "
        "Expected wins and losses that overlap in length; collect more comparisons, or use win_rate and say so."
    )
