"""An estimate with its interval. The independent unit is the prompt (or passage, or labeler), never the row.

Rows of one prompt resemble each other, so ten labels of one prompt are not ten facts. All variances here are sums over
clusters: with weights w, mean m and e_i = w_i (y_i - m) / sum(w),

    se^2 = C / (C - 1) * sum over clusters c of (sum of e_i in c)^2

(the sandwich of a regression on a constant, with the small-sample factor and t with C - 1 degrees of freedom).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit

from rather.statistics.columns import Labels, Numbers, clusters_of, numbers, probability, same_length, whole

Rng = np.random.Generator
REPEATS = 2000  # bootstrap resamples: the ends of a 95 % interval then rest on 50 resamples each


def plain(value: Any) -> Any:
    """What `json` can write: names as strings, numpy numbers as Python's."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True, kw_only=True)
class Result:
    def to_dict(self) -> dict[str, Any]:
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


@dataclass(frozen=True, kw_only=True)
class Estimate(Result):
    value: float
    interval: tuple[float, float]
    n: int  # rows it was made of
    clusters: int  # independent units among them: what the interval rests on
    se: float | None  # None where the interval is not made from one
    level: float  # of the interval
    method: str  # how the interval was made, in words

    def __post_init__(self) -> None:
        low, high = self.interval
        assert math.isfinite(self.value), f"{self.value} is no estimate"
        assert low <= high, f"{self.interval} is no interval"

    def mapped(self, monotone: Callable[[float], float], method: str) -> Estimate:
        """The same estimate on another scale; the standard error does not survive, the interval does.

        Nor does what a subclass says besides: its shares of ties or wins are not on the new scale.
        """
        low, high = sorted(map(monotone, self.interval))
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(Estimate)}
        changed = {"value": monotone(self.value), "interval": (low, high), "method": f"{self.method}; {method}"}
        return Estimate(**{**kept, **changed, "se": None})


def normal_quantile(level: float) -> float:
    return float(ndtri((1 + probability("level", level)) / 2))


def t_quantile(level: float, clusters: int) -> float:
    return float(stdtrit(clusters - 1, (1 + probability("level", level)) / 2))


def score_interval(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval: the shares p with |share - p| <= quantile * sqrt(p (1 - p) / n). It never leaves [0, 1]."""
    shrink = 1 + quantile**2 / n
    centre = (share + quantile**2 / (2 * n)) / shrink
    half = quantile / shrink * math.sqrt(share * (1 - share) / n + quantile**2 / (4 * n**2))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def wilson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """A share of n independent yes-or-no rows. Zero of n gives the upper end z^2 / (n + z^2), not 0."""
    n, successes = whole("n", n, 1), whole("successes", successes, 0)
    if successes > n:
        raise ValueError(f"successes is {successes} of n = {n}. Expected at most n.")
    interval = score_interval(successes / n, n, normal_quantile(level))
    return Estimate(value=successes / n, interval=interval, n=n, clusters=n, se=None, level=level, method="Wilson")


def group_sums(rows: np.ndarray, index: np.ndarray, groups: int) -> np.ndarray:
    """rows: (N,) or (N, ...)    returns: (G, ...) sums of the rows of each group"""
    sums = np.zeros((groups, *rows.shape[1:]))
    np.add.at(sums, index, rows)
    return sums


def robust_variance(residuals: np.ndarray, index: np.ndarray, clusters: int) -> float:
    """residuals: (N,) e_i of the module's formula"""
    sums = np.bincount(index, weights=residuals, minlength=clusters)
    return float(clusters / (clusters - 1) * (sums**2).sum())


@dataclass(frozen=True)
class Spread:
    """A weighted mean with its cluster-robust standard error: what the intervals below are made from."""

    value: float
    se: float
    n: int
    clusters: int  # the smaller number where rows are clustered two ways
    none: bool  # every cluster has the same mean: there is no spread to estimate a standard error from
    words: str


def spread(
    values: np.ndarray, clusters: Labels, labelers: Labels | None, equal_clusters: bool, name: str = "clusters"
) -> Spread:
    """values: (N,). With labelers rows are clustered both ways, and the widest of three variances is kept.

    equal_clusters: each cluster's mean counts once, however many rows it has; otherwise each row counts once.
    """
    same_length(values=values, **{name: clusters})
    index, count = clusters_of(name, clusters)
    sizes = np.bincount(index)
    weights = 1.0 / sizes[index] if equal_clusters else np.ones(len(values))
    mean = float((weights * values).sum() / weights.sum())
    residuals = weights * (values - mean) / weights.sum()
    variance, words = robust_variance(residuals, index, count), f"clustered over {count} {name}"
    if labelers is not None:
        same_length(values=values, labelers=labelers)
        other_index, other_count = clusters_of("labelers", labelers)
        both_index, both_count = clusters_of("labelers", list(zip(index.tolist(), other_index.tolist(), strict=True)))
        other = robust_variance(residuals, other_index, other_count)
        # Cameron, Gelbach and Miller's sum can come out below either part, even below zero: then the larger stands.
        two_way = variance + other - robust_variance(residuals, both_index, both_count)
        variance, words = max(variance, other, two_way), f"{words} and {other_count} labelers, two-way"
        count = min(count, other_count)
    # Rounding leaves 1e-17 where the exact answer is 0; as a standard error that would be an interval of no width.
    none = math.sqrt(variance) <= 1e-12 * float(np.abs(values).max())
    return Spread(mean, math.sqrt(variance), len(values), count, none, words)


def clustered_mean(
    values: Numbers,
    clusters: Labels,
    *,
    labelers: Labels | None = None,
    equal_clusters: bool = False,
    level: float = 0.95,
) -> Estimate:
    """Mean of numbers without bounds, with a cluster-robust t interval.

    values: (N,)    clusters: (N,) the prompt of each row    labelers: (N,) clusters both ways when given
    """
    found = spread(numbers("values", values), clusters, labelers, equal_clusters)
    if found.none:
        raise ValueError(
            f"All {found.clusters} clusters have the same mean {found.value:.6g}: there is no spread to make an "
            "interval from. Expected at least two clusters that differ."
        )
    half = t_quantile(level, found.clusters) * found.se
    return Estimate(
        value=found.value,
        interval=(found.value - half, found.value + half),
        n=found.n,
        clusters=found.clusters,
        se=found.se,
        level=level,
        method=f"t, {found.words}",
    )


def clustered_share(
    values: Numbers,
    clusters: Labels,
    *,
    labelers: Labels | None = None,
    equal_clusters: bool = False,
    level: float = 0.95,
    name: str = "clusters",
) -> Estimate:
    """Mean of numbers of 0 to 1 (wins, agreement, accuracy): Wilson's interval at the effective number of rows.

    The effective number m (1 - m) / se^2 is how many independent yes-or-no rows would give the clustered se. With t in
    place of the normal quantile the interval covers with few clusters, and unlike m +- t se it stays inside [0, 1].
    Where all clusters are alike (all won, say) the effective number is the number of clusters: no variable of
    0 to 1 with mean m varies more than a yes-or-no one, so this can only be too wide.
    """
    found = spread(numbers("values", values, 0.0, 1.0), clusters, labelers, equal_clusters, name)
    value = min(1.0, max(0.0, found.value))
    effective = found.clusters if found.none else value * (1 - value) / found.se**2
    return Estimate(
        value=value,
        interval=score_interval(value, effective, t_quantile(level, found.clusters)),
        n=found.n,
        clusters=found.clusters,
        se=None if found.none else found.se,
        level=level,
        method=f"score, {found.words}" + (" that are all alike" if found.none else ""),
    )


def lone_share(share: float, n: int, level: float) -> Estimate:
    """A row of a table that rests on one prompt: no prompt varies more than a yes-or-no one, so Wilson's with n = 1."""
    interval = score_interval(share, 1, normal_quantile(level))
    return Estimate(
        value=share, interval=interval, n=n, clusters=1, se=None, level=level, method="Wilson, a single prompt"
    )


def resampled(
    statistic: Callable[[np.ndarray], float], index: np.ndarray, clusters: int, rng: Rng, repeats: int = REPEATS
) -> np.ndarray:
    """(R,) values of the statistic on resamples of whole clusters, drawn with replacement.

    statistic: takes (N,) how often each row was drawn; it raises ValueError where it is not defined
    """
    if not isinstance(rng, Rng):
        raise ValueError(
            f"rng is {type(rng).__name__}. Expected a numpy Generator, as from numpy.random.default_rng(0)."
        )
    values, undefined = [], 0
    for _ in range(whole("repeats", repeats, 100)):
        drawn = np.bincount(rng.integers(clusters, size=clusters), minlength=clusters)
        try:
            values.append(statistic(drawn[index].astype(np.float64)))
        except ValueError:
            undefined += 1
    if undefined > repeats / 100:
        raise ValueError(
            f"{undefined} of {repeats} resamples of the {clusters} clusters leave the statistic undefined. "
            "Expected at most 1 in 100: the answer rests on too few clusters for an interval."
        )
    return np.array(values)


def percentile_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    tail = (1 - probability("level", level)) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
