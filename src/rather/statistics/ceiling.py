"""The best a reward model can do against labels that people disagree about.

If each labeler gives the better-liked answer with probability p, two agree with probability a = p^2 + (1 - p)^2, and a
model that always knows the better-liked answer is right about one labeler's label with probability p:

    p = (1 + sqrt(2 a - 1)) / 2          72.6 % agreement is a ceiling of 83.6 %, not of 72.6 %

Where p differs between pairs (some are easy) that p is too high: the square root is concave, so by Jensen the mean p is
at most p(mean a), and at least a itself (the chord). Repeated labels of the same pairs narrow it from both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rather.statistics.columns import Labels, Numbers, numbers, same_length
from rather.statistics.intervals import Estimate, clustered_share


@dataclass(frozen=True, kw_only=True)
class NoiseCeiling(Estimate):
    """value: the ceiling if every pair is equally hard, and an upper bound if not."""

    at_least: float  # the ceiling whatever the mix of easy and hard pairs: the agreement itself


@dataclass(frozen=True, kw_only=True)
class RepeatedCeiling(Estimate):
    """value: an upper bound on the ceiling. From one sample, so both ends carry an interval of their own."""

    at_least: Estimate
    labels: int


def noise_ceiling(agreement: Estimate) -> NoiseCeiling:
    """agreement: of labelers on strict pairs (ties dropped), as `agreement(..., ties="dropped")` returns it."""
    if not 0.5 <= agreement.value <= 1:
        raise ValueError(
            f"The agreement is {agreement.value:.4f}. Expected 0.5 to 1: labelers below 0.5 agree less than coins do, "
            "which no labeling noise explains (is one labeler's scale reversed?)."
        )
    return NoiseCeiling(**vars(_of_equal_pairs(agreement)), at_least=agreement.value)


def repeated_ceiling(chosen: Numbers, labels: Numbers, prompts: Labels, *, level: float = 0.95) -> RepeatedCeiling:
    """Bounds on the ceiling from pairs that several people labeled, with no assumption on how hard each pair is.

    chosen: (N,) how many labels prefer the first output of each pair
    labels: (N,) how many labels it has, ties left out, at least 2
    Above: the share of the larger side (too kind: the majority was picked looking at these labels), or p of the mean
    agreement where that is smaller. Below: the majority of the other labels predicting each label in turn, a predictor
    that exists. Pairs count equally within their prompt, prompts equally.
    """
    k, m = numbers("chosen", chosen, low=0.0), numbers("labels", labels, low=2.0)
    same_length(chosen=k, labels=m, prompts=prompts)
    for name, column in (("chosen", k), ("labels", m)):
        if (column != np.round(column)).any():
            raise ValueError(f"{name} has {column[column != np.round(column)][0]}. Expected whole numbers of labels.")
    if (k > m).any():
        row = int(np.argmax(k > m))
        raise ValueError(f"chosen[{row}] is {k[row]:g} of labels[{row}] = {m[row]:g}. Expected at most as many.")
    majority = np.maximum(k, m - k) / m
    agreed = (k * (k - 1) + (m - k) * (m - k - 1)) / (m * (m - 1))
    # One of the k labels for the first output is left out: the rest say k - 1 against m - k, a draw is a coin flip.
    left_out = (k * (np.sign(k - 1 - (m - k)) + 1) + (m - k) * (np.sign(m - k - 1 - k) + 1)) / (2 * m)
    share, pairwise, at_least = (
        clustered_share(column, prompts, equal_clusters=True, level=level, name="prompts")
        for column in (majority, agreed, left_out)
    )
    # In a small sample p of the mean agreement can fall below the lower bound; the larger side's share never does.
    equal = _of_equal_pairs(pairwise)
    upper = equal if at_least.value <= equal.value < share.value else share
    return RepeatedCeiling(**vars(upper), at_least=at_least, labels=int(m.sum()))


def _of_equal_pairs(agreement: Estimate) -> Estimate:
    # An interval may reach below 0.5; no p gives such an agreement, and at 0.5 the ceiling is a coin's.
    return agreement.mapped(lambda a: (1 + math.sqrt(2 * max(a, 0.5) - 1)) / 2, "mapped through p^2 + (1 - p)^2")
