"""Is a reward model right, and right as often as it says: accuracy, reliability table, expected calibration error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rather.statistics.columns import Labels, Numbers, clusters_of, numbers, same_length, whole
from rather.statistics.intervals import (
    REPEATS,
    Estimate,
    Result,
    Rng,
    clustered_share,
    lone_share,
    percentile_interval,
    resampled,
    score_interval,
    t_quantile,
)


@dataclass(frozen=True, kw_only=True)
class Bin(Result):
    low: float
    high: float
    n: int
    clusters: int
    predicted: float  # mean confidence of the rows in it
    observed: Estimate  # share of them that were right


@dataclass(frozen=True, kw_only=True)
class Calibration(Estimate):
    """value: the expected calibration error, sum over bins of n_b / N |observed - predicted|."""

    if_calibrated: float  # what the error would be on average, from chance alone, if every confidence were true
    bins: tuple[Bin, ...]  # those with rows


def pair_accuracy(margins: Numbers, outcomes: Numbers, prompts: Labels, *, level: float = 0.95) -> Estimate:
    """How often the sign of the margin is the labeler's choice, averaged per prompt, then over prompts.

    margins: (N,) score of the first output minus the second; a margin of exactly 0 is half right
    outcomes: (N,) 1 the labeler prefers the first, 0 the second; tied pairs have no right answer and are refused
    """
    margins, outcomes = numbers("margins", margins), _strict(outcomes)
    same_length(margins=margins, outcomes=outcomes, prompts=prompts)
    right = (1 + np.sign(margins) * (2 * outcomes - 1)) / 2
    return clustered_share(right, prompts, equal_clusters=True, level=level, name="prompts")


def calibration(
    probabilities: Numbers,
    outcomes: Numbers,
    prompts: Labels,
    rng: Rng,
    *,
    bins: int = 10,
    repeats: int = REPEATS,
    level: float = 0.95,
) -> Calibration:
    """Reliability of preference probabilities such as sigma(r_first - r_second).

    probabilities: (N,) that the first is preferred    outcomes: (N,) 1 or 0    prompts: (N,)
    Which output stands first is an accident, so rows are folded: confidence max(p, 1 - p) in 1/2..1, right or wrong
    about the preferred output. `bins` equal widths over 1/2..1. Each row counts once. The error is biased upward in
    small samples (absolute values never cancel): compare it with `if_calibrated`, which assumes independent rows. The
    interval is the basic bootstrap of whole prompts, which takes that bias off again, cut off at 0.
    """
    p, outcomes = numbers("probabilities", probabilities, 0.0, 1.0), _strict(outcomes)
    same_length(probabilities=p, outcomes=outcomes, prompts=prompts)
    index, count = clusters_of("prompts", prompts)
    bins = whole("bins", bins, 1)
    confidence = np.maximum(p, 1 - p)  # (N,)
    right = np.where(p == 0.5, 0.5, (p > 0.5) == (outcomes == 1)).astype(float)  # (N,)
    place = np.minimum((confidence - 0.5) * 2 * bins, bins - 1).astype(int)

    def error(weights: np.ndarray) -> float:
        gaps = np.bincount(place, weights=weights * (right - confidence), minlength=bins)
        return float(np.abs(gaps).sum() / weights.sum())

    value = error(np.ones(len(p)))
    low, high = percentile_interval(resampled(error, index, count, rng, repeats), level)
    interval = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
    method = f"basic bootstrap of {count} prompts, {repeats} resamples"
    if high - low < 1e-12:  # all prompts alike: at most so many of all differ (Wilson), each by at most 1
        reach = score_interval(0.0, count, t_quantile(level, count))[1]
        interval = max(0.0, value - reach), min(1.0, value + reach)
        method = f"score, {count} prompts that are all alike"
    noise = np.bincount(place, weights=confidence * (1 - confidence), minlength=bins)
    return Calibration(
        value=value,
        interval=(min(interval[0], value), max(interval[1], value)),
        n=len(p),
        clusters=count,
        se=None,
        level=level,
        method=method,
        # The mean absolute value of a normal variable is sqrt(2 / pi) standard deviations.
        if_calibrated=float(np.sqrt(noise).sum() * math.sqrt(2 / math.pi) / len(p)),
        bins=tuple(
            _bin(b, bins, confidence[place == b], right[place == b], index[place == b], level) for b in np.unique(place)
        ),
    )


def _bin(b: int, bins: int, confidence: np.ndarray, right: np.ndarray, prompts: np.ndarray, level: float) -> Bin:
    clusters = len(np.unique(prompts))
    if clusters > 1:
        observed = clustered_share(right, prompts, level=level, name="prompts")
    else:
        observed = lone_share(float(right.mean()), len(right), level)
    return Bin(
        low=0.5 + b / (2 * bins),
        high=0.5 + (b + 1) / (2 * bins),
        n=len(right),
        clusters=clusters,
        predicted=float(confidence.mean()),
        observed=observed,
    )


def _strict(outcomes: Numbers) -> np.ndarray:
    outcomes = numbers("outcomes", outcomes, 0.0, 1.0)
    if not np.isin(outcomes, (0.0, 1.0)).all():
        row = int(np.argmax(~np.isin(outcomes, (0.0, 1.0))))
        raise ValueError(
            f"outcomes[{row}] is {outcomes[row]:g}. Expected 1 or 0: a tied pair has no right answer, leave it out."
        )
    return outcomes
