"""The expected result of best-of-n, from M >= n samples per prompt, without drawing the n again and again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from rather.statistics.columns import Numbers, numbers, same_length, whole
from rather.statistics.intervals import Estimate, clustered_mean


def best_of_n(
    scores: Sequence[Numbers], n: int, *, gold: Sequence[Numbers] | None = None, level: float = 0.95
) -> Estimate:
    """Mean over prompts of the expected score of the best of n samples.

    scores: P rows of M >= n scores (M may differ), by which the best is chosen
    gold: the same shape, another score of the same samples: what choosing by `scores` gets in gold
    Unbiased: of all sets of n out of M, the sample with rank i from below is the best of C(i - 1, n - 1), so its weight
    is C(i - 1, n - 1) / C(M, n). Equal scores share their weight. The interval is a t interval over prompts.
    """
    n = whole("n", n, 1)
    gold = scores if gold is None else gold
    same_length(scores=scores, gold=gold)
    means = []
    for row, (chosen_by, counted) in enumerate(zip(scores, gold, strict=True)):
        chosen_by, counted = numbers(f"scores[{row}]", chosen_by), numbers(f"gold[{row}]", counted)
        same_length(**{f"scores[{row}]": chosen_by, f"gold[{row}]": counted})
        if len(chosen_by) < n:
            raise ValueError(f"scores[{row}] has {len(chosen_by)} samples. Expected at least n = {n}.")
        _, place, sizes = np.unique(chosen_by, return_inverse=True, return_counts=True)
        shares = np.add.reduceat(_weights(len(chosen_by), n), np.cumsum(sizes) - sizes)  # (distinct,)
        means.append(float((shares / sizes)[place] @ counted))
    return clustered_mean(means, range(len(means)), level=level)


def _weights(samples: int, n: int) -> np.ndarray:
    """(M,) weight of the sample with rank 1..M from below, through log-gamma: C(1000, 500) is not a float."""
    i = np.arange(1, samples + 1)
    weights = np.zeros(samples)
    may = i >= n
    log_choose = gammaln(i[may]) - gammaln(n) - gammaln(i[may] - n + 1)
    weights[may] = np.exp(log_choose - (gammaln(samples + 1) - gammaln(n + 1) - gammaln(samples - n + 1)))
    return weights / weights.sum()  # log-gamma leaves 1e-12; the weights are a distribution


def best_of_n_kl(n: int) -> float:
    """KL in nats of best-of-n from the policy it samples, log n - (n - 1) / n (Stiennon et al. 2020, app. G.3).

    Exact when no two samples score the same, an upper bound otherwise (Beirami et al. 2024).
    """
    n = whole("n", n, 1)
    return math.log(n) - (n - 1) / n
