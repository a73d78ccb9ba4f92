"""Correlation with an interval that knows about prompts: does reward go with length?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rather.statistics.columns import Labels, Numbers, clusters_of, numbers, same_length
from rather.statistics.intervals import REPEATS, Estimate, Rng, percentile_interval, resampled


def pearson(
    x: Numbers, y: Numbers, clusters: Labels, rng: Rng, *, repeats: int = REPEATS, level: float = 0.95
) -> Estimate:
    """Linear correlation.    x, y, clusters: (N,)    Interval: percentiles of a bootstrap of whole clusters."""
    # In standard units, so that a resample without spread can be told from values that are small.
    a, b = ((column - column.mean()) / column.std() for column in (_varied("x", x), _varied("y", y)))
    return _correlated(lambda weights: _weighted(a, b, weights), a, b, clusters, rng, repeats, level)


def spearman(
    x: Numbers, y: Numbers, clusters: Labels, rng: Rng, *, repeats: int = REPEATS, level: float = 0.95
) -> Estimate:
    """Correlation of ranks, equal values sharing their mean rank.    x, y, clusters: (N,)

    The interval as for `pearson`; each resample is ranked anew.
    """
    x, y = _varied("x", x), _varied("y", y)
    (_, place_x), (_, place_y) = (np.unique(column, return_inverse=True) for column in (x, y))

    def statistic(weights: np.ndarray) -> float:
        return _weighted(_ranks(place_x, weights), _ranks(place_y, weights), weights)

    return _correlated(statistic, x, y, clusters, rng, repeats, level)


def _correlated(
    statistic: Callable[[np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    clusters: Labels,
    rng: Rng,
    repeats: int,
    level: float,
) -> Estimate:
    n = same_length(x=x, y=y, clusters=clusters)
    index, count = clusters_of("clusters", clusters, needed=3)
    value = statistic(np.ones(n))
    drawn = resampled(statistic, index, count, rng, repeats)
    low, high = percentile_interval(drawn, level)
    if high - low < 1e-9:
        raise ValueError(
            f"The correlation is {value:.4f} in every resample of the {count} clusters: one column follows from "
            "the other, or there are too few rows to see that it does not. There is no spread to make an interval from."
        )
    return Estimate(
        value=value,
        interval=(min(low, value), max(high, value)),
        n=n,
        clusters=count,
        se=float(drawn.std(ddof=1)),
        level=level,
        method=f"bootstrap of {count} clusters, {repeats} resamples",
    )


def _varied(name: str, values: Numbers) -> np.ndarray:
    column = numbers(name, values)
    if np.ptp(column) <= 1e-12 * np.abs(column).max():
        raise ValueError(f"All {len(column)} values of {name} are {column[0]:g}. Expected values that vary.")
    return column


def _weighted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """Pearson's correlation of rows that were drawn `weights` times each."""
    total = weights.sum()
    x, y = x - weights @ x / total, y - weights @ y / total
    spread = np.sqrt((weights @ x**2) * (weights @ y**2))
    if not spread > 1e-12 * total:
        raise ValueError("a resample in which x or y does not vary")
    return float(np.clip(weights @ (x * y) / spread, -1.0, 1.0))


def _ranks(place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """place: (N,) of each value among the distinct ones    weights: (N,) copies of it    returns: (N,) mean ranks"""
    sizes = np.bincount(place, weights=weights)
    return (np.cumsum(sizes) - sizes / 2 + 0.5)[place]
