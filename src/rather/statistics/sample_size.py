"""How many prompts before it is worth asking: sizes for win rates and paired differences, two-sided.

Labels of one prompt resemble each other. With m labels per prompt and intraclass correlation r they are worth
m / (1 + (m - 1) r) independent ones; 1 + (m - 1) r is the design effect. At r = 1 more labels per prompt buy nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from rather.statistics.columns import Labels, Numbers, clusters_of, numbers, probability, same_length, whole
from rather.statistics.intervals import Estimate, Result, group_sums, normal_quantile, t_quantile


@dataclass(frozen=True, kw_only=True)
class SampleSize(Result):
    prompts: int
    labels: int  # comparisons to collect: prompts times labels per prompt
    independent: int  # labels needed if each had a prompt of its own
    design_effect: float
    power: float
    level: float


def design_effect(labels_per_prompt: int, correlation: float) -> float:
    if not 0 <= correlation <= 1:
        raise ValueError(
            f"correlation is {correlation}. Expected 0 (labels of a prompt are independent) to 1 (all alike)."
        )
    return 1 + (whole("labels_per_prompt", labels_per_prompt, 1) - 1) * correlation


def prompts_for_win_rate(
    rate: float,
    *,
    against: float = 0.5,
    tie_share: float = 0.0,
    labels_per_prompt: int = 1,
    correlation: float = 0.0,
    power: float = 0.8,
    level: float = 0.95,
) -> SampleSize:
    """Prompts that show a true win rate of `rate` to differ from `against`.

    n = ((z_level sqrt(v(against)) + z_power sqrt(v(rate))) / (rate - against))^2 with v(p) = p (1 - p) - tie_share / 4
    tie_share: of comparisons that end in a tie, counted as half: ties carry less noise than coin flips
    """
    probability("rate", rate), probability("against", against)
    if rate == against:
        raise ValueError(
            f"rate and against are both {rate}. Expected two different win rates: no size shows no difference."
        )
    most = 2 * min(rate, 1 - rate, against, 1 - against)
    if not 0 <= tie_share < most:
        raise ValueError(
            f"tie_share is {tie_share}. Expected 0 to below {most:g}: more ties leave no room for these rates."
        )
    sds = [math.sqrt(p * (1 - p) - tie_share / 4) for p in (against, rate)]
    z = normal_quantile(level), float(ndtri(probability("power", power)))
    independent = ((z[0] * sds[0] + z[1] * sds[1]) / (rate - against)) ** 2
    return _size(independent, labels_per_prompt, correlation, power, level)


def prompts_for_difference(
    difference: float,
    sd: float,
    *,
    labels_per_prompt: int = 1,
    correlation: float = 0.0,
    power: float = 0.8,
    level: float = 0.95,
) -> SampleSize:
    """Prompts that show a mean paired difference:  n = ((z_level + z_power) sd / difference)^2.

    sd: of the differences between single rows, from a pilot. Two systems right or wrong on each item that disagree on a
        share d of the items have sd = sqrt(d - difference^2).
    """
    for name, value in (("difference", abs(difference)), ("sd", sd)):
        if not 0 < value < math.inf:
            raise ValueError(
                f"{name} is {value}. Expected a finite number other than 0" + " and above it." * (name == "sd")
            )
    z = normal_quantile(level) + float(ndtri(probability("power", power)))
    return _size((z * sd / difference) ** 2, labels_per_prompt, correlation, power, level)


def _size(independent: float, labels_per_prompt: int, correlation: float, power: float, level: float) -> SampleSize:
    effect = design_effect(labels_per_prompt, correlation)
    prompts = math.ceil(independent * effect / labels_per_prompt - 1e-9)
    return SampleSize(
        prompts=prompts,
        labels=prompts * labels_per_prompt,
        independent=math.ceil(independent - 1e-9),
        design_effect=effect,
        power=power,
        level=level,
    )


def intraclass_correlation(values: Numbers, clusters: Labels, *, level: float = 0.95) -> Estimate:
    """How alike rows of one prompt are, 0 to 1, for the design effect: the one-way analysis-of-variance estimator.

    values, clusters: (N,)    It may come out below 0; then labels of a prompt are as good as independent.
    The interval leaves out one cluster at a time (jackknife, t).
    """
    values = numbers("values", values)
    same_length(values=values, clusters=clusters)
    index, count = clusters_of("clusters", clusters, needed=3)
    centred = values - values.mean()
    size = np.bincount(index).astype(float)
    if (size == 1).all():
        raise ValueError(f"Each of the {count} clusters has one row. Expected some with several: likeness needs two.")
    total = group_sums(centred, index, count)
    parts = np.stack([np.ones(count), size, size**2, total, total**2 / size, group_sums(centred**2, index, count)], 1)
    value = float(_correlation(parts.sum(0)))
    left_out = _correlation(parts.sum(0) - parts)  # (C,)
    if not np.isfinite(value) or not np.isfinite(left_out).all():
        raise ValueError(
            "The values do not vary, or only one cluster has several rows. Expected both kinds of variation."
        )
    se = math.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
    if se < 1e-12:
        raise ValueError(f"All {count} clusters vary alike: there is no spread to make an interval from.")
    half = t_quantile(level, count) * se
    return Estimate(
        value=value,
        interval=(min(value, max(-1.0, value - half)), max(value, min(1.0, value + half))),
        n=len(values),
        clusters=count,
        se=se,
        level=level,
        method=f"t, jackknife over {count} clusters",
    )


def _correlation(parts: np.ndarray) -> np.ndarray:
    """(..., 6) sums of 1, size, size^2, total, total^2 / size, squares to (...) (MSB - MSW) / (MSB + (n0 - 1) MSW)."""
    count, n, n_squared, total, between, squares = np.moveaxis(parts, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        msb = (between - total**2 / n) / (count - 1)
        msw = (squares - between) / (n - count)
        typical = (n - n_squared / n) / (count - 1)
        return (msb - msw) / (msb + (typical - 1) * msw)
