"""Agreement beyond chance: kappas, Krippendorff's alpha, Gwet's AC1, positive agreement.

All but the last are 1 - Do / De, the observed over the expected disagreement, and need only sums over units (a unit is
what several people rated). So each function adds up what its clusters contribute, and the interval leaves out one
cluster at a time (jackknife, t with C - 1 degrees of freedom), cut off at -1 and 1. With no disagreement at all
the jackknife has nothing to see: then at most q^2 / (C + q^2) of the clusters disagree (Wilson), which bounds Do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rather.statistics.columns import Labels, clusters_of, index_of, one_of, same_length
from rather.statistics.intervals import Estimate, clustered_share, group_sums, score_interval, t_quantile

METRICS = ("nominal", "ordinal", "interval")


@dataclass(frozen=True, kw_only=True)
class Coefficient(Estimate):
    observed: float  # disagreement
    expected: float  # disagreement by chance


Parts = Callable[
    [np.ndarray], tuple[np.ndarray, np.ndarray]
]  # (..., S) sums -> (...) observed and expected disagreement


def cohen_kappa(
    first: Labels,
    second: Labels,
    clusters: Labels,
    *,
    weights: str = "nominal",
    categories: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Coefficient:
    """Two labelers on the same units.

    first, second, clusters: (N,)
    weights: nominal; or linear, quadratic: disagreement by the distance of the categories in their order
    categories: all of them in order; default: those found, sorted
    """
    n = same_length(first=first, second=second, clusters=clusters)
    one_of("weights", weights, ("nominal", "linear", "quadratic"))
    codes, categories = _coded([first, second], categories)
    size = len(categories)
    steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / max(1, size - 1)
    distance = {"nominal": (steps > 0).astype(float), "linear": steps, "quadratic": steps**2}[weights]
    table = np.zeros((n, size, size))
    table[np.arange(n), codes[0], codes[1]] = 1

    def parts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = sums.reshape(*sums.shape[:-1], size, size)
        total = table.sum((-1, -2))
        rows, columns = table.sum(-1), table.sum(-2)
        expected = np.einsum("...i,ij,...j->...", rows, distance, columns) / total**2
        return (table * distance).sum((-1, -2)) / total, expected

    return _coefficient("Cohen's kappa", table.reshape(n, -1), clusters, parts, level)


def gwet_ac1(first: Labels, second: Labels, clusters: Labels, *, level: float = 0.95) -> Coefficient:
    """Two labelers on the same units, for rare flags: its chance, p (1 - p), does not swallow all when p is small."""
    n = same_length(first=first, second=second, clusters=clusters)
    codes, categories = _coded([first, second], None)
    size = len(categories)
    counts = np.eye(size)[codes[0]] + np.eye(size)[codes[1]]
    differ = (codes[0] != codes[1]).astype(float)

    def parts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        share = sums[..., 1:] / sums[..., 1:].sum(-1, keepdims=True)
        chance = (share * (1 - share)).sum(-1) / max(1, size - 1)
        return sums[..., 0] / (sums[..., 1:].sum(-1) / 2), 1 - chance

    return _coefficient("Gwet's AC1", np.column_stack([differ, counts]).reshape(n, -1), clusters, parts, level)


def positive_agreement(first: Labels, second: Labels, clusters: Labels, *, level: float = 0.95) -> Estimate:
    """2a / (2a + b + c) for a yes-or-no flag: of all flags raised by either, the share that the other raised too.

    n counts the flags; units nobody flagged say nothing. The interval is that of a share, clustered.
    """
    same_length(first=first, second=second, clusters=clusters)
    for name, column in (("first", first), ("second", second)):
        for row, value in enumerate(column):
            if value not in (0, 1):
                raise ValueError(f"{name}[{row}] is {value!r}. Expected a flag: True or False, 1 or 0.")
    shared = [
        (float(a and b), c) for a, b, c in zip(first, second, clusters, strict=True) for _ in range(int(a) + int(b))
    ]
    if not shared:
        raise ValueError("Neither labeler raised the flag: positive agreement is 0 / 0. Expected some flags.")
    return clustered_share([both for both, _ in shared], [cluster for _, cluster in shared], level=level)


def fleiss_kappa(ratings: Sequence[Sequence[Any]], clusters: Labels, *, level: float = 0.95) -> Coefficient:
    """The same number of labelers on every unit, no gaps, who need not be the same people.

    ratings: (N, R) category each labeler gave    clusters: (N,)
    """
    n = same_length(ratings=ratings, clusters=clusters)
    sizes = {len(unit) for unit in ratings}
    if len(sizes) > 1 or not sizes or min(sizes) < 2:
        raise ValueError(
            f"The units have {sorted(sizes)} ratings. Expected the same number, at least 2, for each; "
            "with gaps use krippendorff_alpha."
        )
    raters = sizes.pop()
    codes, categories = _coded([[unit[r] for unit in ratings] for r in range(raters)], None)
    counts = np.eye(len(categories))[codes].sum(0)  # (N, V)
    differ = 1 - (counts * (counts - 1)).sum(1) / (raters * (raters - 1))

    def parts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        units = sums[..., 1:].sum(-1) / raters
        share = sums[..., 1:] / (units * raters)[..., None]
        return sums[..., 0] / units, 1 - (share**2).sum(-1)

    return _coefficient("Fleiss' kappa", np.column_stack([differ, counts]).reshape(n, -1), clusters, parts, level)


def krippendorff_alpha(
    ratings: Sequence[Sequence[Any]], clusters: Labels | None = None, *, metric: str, level: float = 0.95
) -> Coefficient:
    """Any number of labelers with gaps.

    ratings: (N, R) what each labeler gave each unit; None or NaN where nothing. Units with one rating say nothing.
    clusters: (N,) the prompt of each unit; without it each unit stands alone
    metric: nominal (flags), ordinal (Likert), interval (measured numbers)
    """
    one_of("metric", metric, METRICS)
    clusters = range(len(ratings)) if clusters is None else clusters
    same_length(ratings=ratings, clusters=clusters)
    given = [[value for value in unit if not _missing(value)] for unit in ratings]
    kept = [row for row, unit in enumerate(given) if len(unit) > 1]
    if not kept:
        raise ValueError(f"None of the {len(given)} units has two ratings. Expected overlap between labelers.")
    units, clusters = [given[row] for row in kept], [clusters[row] for row in kept]
    if metric == "interval":
        rows, furthest = _moments(units)
        return _coefficient("Krippendorff's alpha", rows, clusters, _interval_parts, level, furthest=furthest)
    codes, categories = _coded([[value] for unit in units for value in unit], None)
    size = len(categories)
    if len(units) * size**2 > 50_000_000:
        raise ValueError(
            f"{len(units)} units with {size} different values. For measured numbers use metric='interval'."
        )
    coincidences = np.zeros((len(units), size, size))
    flat, start = codes[:, 0], 0
    for row, unit in enumerate(units):
        counts = np.bincount(flat[start : start + len(unit)], minlength=size).astype(float)
        coincidences[row] = (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
        start += len(unit)

    def parts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = sums.reshape(*sums.shape[:-1], size, size)
        counts = table.sum(-1)  # (..., V)
        total = counts.sum(-1)
        if metric == "nominal":
            distance = np.broadcast_to(1 - np.eye(size), table.shape)
        else:
            # The number of ratings from one category to the other, the two ends counted half: distance of mean ranks.
            middle = _mean_ranks(counts)
            distance = (middle[..., :, None] - middle[..., None, :]) ** 2
        expected = np.einsum("...i,...ij,...j->...", counts, distance, counts) / (total * (total - 1))
        return (table * distance).sum((-1, -2)) / total, expected

    furthest = 1.0 if metric == "nominal" else float(np.ptp(_mean_ranks(coincidences.sum((0, 1)))) ** 2)
    rows = coincidences.reshape(len(units), -1)
    return _coefficient("Krippendorff's alpha", rows, clusters, parts, level, furthest=furthest)


def _mean_ranks(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts, -1) - counts / 2  # (..., V)


def _moments(units: list[list[Any]]) -> tuple[np.ndarray, float]:
    """(N, 4) pairable squared differences, number, sum and sum of squares: all that the interval metric needs.

    And the largest squared difference.
    """
    try:
        values = [np.array(unit, dtype=np.float64) for unit in units]
    except (TypeError, ValueError) as error:
        raise ValueError(f"A rating is no number: {error}. The metric 'interval' needs numbers.") from None
    everything = np.concatenate(values)
    if not np.isfinite(everything).all():
        raise ValueError("A rating is infinite. Expected finite numbers, None or NaN where nothing was given.")
    middle = everything.mean()  # differences only: moving the zero keeps the squares small
    rows = []
    for unit in values:
        unit = unit - middle
        rows.append(
            (2 * len(unit) * ((unit - unit.mean()) ** 2).sum() / (len(unit) - 1), len(unit), unit.sum(), unit @ unit)
        )
    return np.array(rows), float(np.ptp(everything) ** 2)


def _interval_parts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    disagreement, n, total, squares = np.moveaxis(sums, -1, 0)
    return disagreement / n, 2 * (n * squares - total**2) / (n * (n - 1))


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))


def _coded(columns: Sequence[Any], categories: Sequence[Any] | None) -> tuple[np.ndarray, list[Hashable]]:
    """(columns, N) positions of the values among the sorted categories."""
    if not len(columns[0]):
        raise ValueError("There are no ratings. Expected at least one per labeler.")
    found = index_of("ratings", [value for column in columns for value in column])[1]
    if categories is None:
        try:
            categories = sorted(found)
        except TypeError:
            raise ValueError(
                f"The ratings mix kinds that have no order: {', '.join(map(repr, found[:4]))}. Expected one kind."
            ) from None
    place = {category: position for position, category in enumerate(categories)}
    unknown = [value for value in found if value not in place]
    if unknown:
        raise ValueError(f"Rating {unknown[0]!r} is no category. Categories: {', '.join(map(str, categories))}.")
    return np.array([[place[value] for value in column] for column in columns]), list(categories)


def _coefficient(
    name: str,
    units: np.ndarray,
    clusters: Labels,
    parts: Parts,
    level: float,
    *,
    furthest: float = 1.0,
) -> Coefficient:
    """units: (N, S) what each unit adds to the sums    furthest: the largest disagreement a unit could have shown"""
    index, count = clusters_of("clusters", clusters)
    sums = group_sums(units, index, count)  # (C, S)
    total = sums.sum(0)
    observed, expected = (float(part) for part in parts(total))
    if not expected > 1e-12 * furthest:
        raise ValueError(
            f"{name} is 0 / 0: all ratings are the same, so no disagreement is expected by chance. "
            "Report the shares of the categories and the raw agreement instead."
        )
    value, quantile = 1 - observed / expected, t_quantile(level, count)
    if observed < 1e-12 * furthest:
        _, differing = score_interval(0.0, count, quantile)
        low, high, se = max(-1.0, 1 - differing * furthest / expected), 1.0, None
        method = f"score, {count} clusters without disagreement"
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            left_observed, left_expected = parts(total - sums)
            left_out = 1 - left_observed / left_expected  # (C,)
        if not np.isfinite(left_out).all() or (left_expected < 1e-12 * furthest).any():
            raise ValueError(
                f"{name} rests on a single cluster: without it all ratings are the same. Expected the rarer ratings in "
                "at least two; report the shares of the categories and the raw agreement instead."
            )
        se = math.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
        if se < 1e-12:
            raise ValueError(
                f"{name} is {value:.4f} whichever of the {count} clusters is left out: there is no spread to make an "
                "interval from. Expected clusters that differ."
            )
        low, high = max(-1.0, value - quantile * se), min(1.0, value + quantile * se)
        method = f"t, jackknife over {count} clusters"
    return Coefficient(
        value=value,
        interval=(min(low, value), max(high, value)),
        n=len(units),
        clusters=count,
        se=se,
        level=level,
        method=method,
        observed=observed,
        expected=expected,
    )
