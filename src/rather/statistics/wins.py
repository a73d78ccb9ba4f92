"""Win rates against a baseline, judges asked in both orders, and differences between two models on the same prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rather.statistics.columns import Labels, Numbers, clusters_of, numbers, same_length
from rather.statistics.intervals import (
    REPEATS,
    Estimate,
    Result,
    Rng,
    clustered_mean,
    clustered_share,
    percentile_interval,
    resampled,
    score_interval,
    spread,
    t_quantile,
)


@dataclass(frozen=True, kw_only=True)
class WinRate(Estimate):
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, kw_only=True)
class BothOrders(Result):
    """What a judge said when each pair was shown in both orders."""

    outcomes: tuple[float, ...]  # verdicts that do not survive the swap are ties
    consistent: Estimate  # share of pairs with the same verdict in both orders
    first_shown: Estimate  # win rate of whatever is shown first; 0.5 is a judge without position bias


def win_rate(
    outcomes: Numbers,
    prompts: Labels,
    *,
    labelers: Labels | None = None,
    rng: Rng | None = None,
    repeats: int = REPEATS,
    level: float = 0.95,
) -> WinRate:
    """How often ours is preferred: 1 won, 0.5 tied, 0 lost, averaged per prompt, then over prompts.

    outcomes: (N,)    prompts: (N,) the prompt of each row    labelers: (N,) clusters both ways when given
    With an rng the interval is a bootstrap of whole prompts; without one it is cluster-robust (see clustered_share).
    Values between (a judge's probabilities) are allowed; they count as a win above 0.5 and as a loss below.
    """
    outcomes = numbers("outcomes", outcomes, 0.0, 1.0)
    share = clustered_share(outcomes, prompts, labelers=labelers, equal_clusters=True, level=level, name="prompts")
    if rng is not None:
        if labelers is not None:
            raise ValueError("labelers and rng are both given. Expected one: the bootstrap resamples prompts only.")
        share = _bootstrap_share(share, outcomes, prompts, rng, repeats)
    wins, losses = int((outcomes > 0.5).sum()), int((outcomes < 0.5).sum())
    return WinRate(**vars(share), wins=wins, ties=len(outcomes) - wins - losses, losses=losses)


def _bootstrap_share(share: Estimate, outcomes: np.ndarray, prompts: Labels, rng: Rng, repeats: int) -> Estimate:
    if share.se is None:
        return share  # all prompts alike: every resample is the same, and a width of 0 would be a lie
    index, count = clusters_of("prompts", prompts)
    means = np.bincount(index, weights=outcomes) / np.bincount(index)  # (P,)
    drawn = resampled(lambda weights: float(weights @ means / count), np.arange(count), count, rng, repeats)
    return Estimate(
        value=share.value,
        interval=percentile_interval(drawn, share.level),
        n=share.n,
        clusters=count,
        se=float(drawn.std(ddof=1)),
        level=share.level,
        method=f"bootstrap of {count} prompts, {repeats} resamples",
    )


def both_orders(shown_first: Numbers, shown_second: Numbers, prompts: Labels, *, level: float = 0.95) -> BothOrders:
    """Combine the verdicts of a judge on the same pairs shown both ways; hand `.outcomes` to `win_rate`.

    shown_first: (N,) outcome for ours (1, 0.5, 0) when ours stood first
    shown_second: (N,) outcome for ours, again from our side, when ours stood second
    """
    first = numbers("shown_first", shown_first, 0.0, 1.0)
    second = numbers("shown_second", shown_second, 0.0, 1.0)
    same_length(shown_first=first, shown_second=second, prompts=prompts)
    same = np.sign(first - 0.5) == np.sign(second - 0.5)
    return BothOrders(
        outcomes=tuple(np.where(same, (first + second) / 2, 0.5).tolist()),
        consistent=clustered_share(same.astype(float), prompts, equal_clusters=True, level=level, name="prompts"),
        first_shown=clustered_share(
            (first + 1 - second) / 2, prompts, equal_clusters=True, level=level, name="prompts"
        ),
    )


def paired_difference(
    ours: Numbers,
    theirs: Numbers,
    clusters: Labels,
    *,
    scale: tuple[float, float] | None = None,
    level: float = 0.95,
) -> Estimate:
    """Mean of ours - theirs over the same items: the alignment tax, or two models' win rates on the same prompts.

    ours, theirs: (N,) score of each item    clusters: (N,) the prompt or passage of each item
    scale: the lowest and highest possible score. With it, two models that score alike on every item get an interval
        too: if none of C clusters differ, at most q^2 / (C + q^2) of all would (Wilson), by at most the whole scale.
    """
    ours, theirs = numbers("ours", ours), numbers("theirs", theirs)
    same_length(ours=ours, theirs=theirs, clusters=clusters)
    if scale is None:
        return clustered_mean(ours - theirs, clusters, level=level)
    low, high = scale
    if not low < high:
        raise ValueError(f"scale is {scale}. Expected the lowest and the highest possible score.")
    numbers("ours", ours, low, high)
    numbers("theirs", theirs, low, high)
    found = spread(ours - theirs, clusters, None, equal_clusters=False)
    if not found.none:
        estimate = clustered_mean(ours - theirs, clusters, level=level)
        bottom, top = estimate.interval
        return Estimate(**{**vars(estimate), "interval": (max(bottom, low - high), min(top, high - low))})
    _, differing = score_interval(0.0, found.clusters, t_quantile(level, found.clusters))
    reach = differing * (high - low + abs(found.value))  # the furthest a difference can lie from the common one
    return Estimate(
        value=found.value,
        interval=(max(found.value - reach, low - high), min(found.value + reach, high - low)),
        n=found.n,
        clusters=found.clusters,
        se=None,
        level=level,
        method=f"score, {found.words} that are all alike",
    )
