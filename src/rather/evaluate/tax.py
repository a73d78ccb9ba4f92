"""The alignment tax on the public tasks: what a model lost on each, question by question, to the model it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rather.errors import BadFile, NotReady, visible
from rather.evaluate.tasked import AGAIN, read_task
from rather.evaluate.tasks import TASKS
from rather.evaluate.tasks.running import columns, counts_of
from rather.statistics import paired_difference
from rather.statistics.columns import clusters_of
from rather.statistics.intervals import percentile_interval, resampled

SAME = ("version", "questions", "shots", "examples")  # of two measurements that may be compared
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Toll:
    """Of one task, in points of a hundred; `difference` is ours less theirs, below 0 a loss."""

    task: str
    metric: str
    ours: float
    theirs: float
    difference: float
    interval: tuple[float, float]
    n: int
    clusters: int

    def lost(self, below: float) -> bool:
        """More than so many points, and not by chance: the whole interval is a loss."""
        return self.difference < below and self.interval[1] < 0

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "interval": list(self.interval)}


def tolls(ours: tuple[Path, str], theirs: tuple[Path, str]) -> list[Toll]:
    """Of every capability that both were measured on. ours, theirs: folder of results, name"""
    found = []
    for name, task in TASKS.items():
        if not task.tax:
            continue
        mine, base = read_task(*ours, name), read_task(*theirs, name)
        if mine is None or base is None:
            continue
        changed = [key for key in SAME if mine[0]["about"].get(key) != base[0]["about"].get(key)]
        if changed:
            raise BadFile(
                f"{name}: {ours[1]} and {theirs[1]} were not asked the same: {' and '.join(changed)} differ.",
                "Expected two measurements on the same questions behind the same examples.",
                f"Measure both in one call:  rather evaluate {theirs[1]} {ours[1]} --tasks {name}",
            )
        found.append(toll(name, mine[1], base[1]))
    if not found:
        raise NotReady(
            f"{visible(ours[1])} and {visible(theirs[1])} have no task in common that tells a capability.",
            f"Looked in {visible(str(ours[0]))} and {visible(str(theirs[0]))}.",
            f"rather evaluate {visible(theirs[1])} {visible(ours[1])} --tasks hellaswag,squad_v2",
        )
    return found


def toll(name: str, ours: Rows, theirs: Rows) -> Toll:
    """Paired: on the questions that both have a grade of. A question one of them could not read is in no pair."""
    metric = TASKS[name].main
    if metric in TASKS[name].corpus:
        return _of_corpus(name, metric, ours, theirs)
    mine, base = columns(ours).get(metric, {}), columns(theirs).get(metric, {})
    both = _both(name, mine, base)
    a, b = [mine[id][0] for id in both], [base[id][0] for id in both]
    found = paired_difference(a, b, [mine[id][1] for id in both], scale=(0, 1))
    low, high = found.interval
    return Toll(
        task=name, metric=metric, ours=100 * sum(a) / len(a), theirs=100 * sum(b) / len(b),
        difference=100 * found.value, interval=(100 * low, 100 * high), n=found.n, clusters=found.clusters,
    )  # fmt: skip


def _of_corpus(name: str, metric: str, ours: Rows, theirs: Rows) -> Toll:
    """BLEU is no mean over sentences: both corpora are drawn again together, the same sentences for each."""
    mine, base = counts_of(ours).get(metric, {}), counts_of(theirs).get(metric, {})
    both = _both(name, mine, base)
    a, b = (np.array([of[id][0] for id in both], dtype=np.float64) for of in (mine, base))  # (N, counts)
    measure = TASKS[name].corpus[metric]
    index, count = clusters_of("clusters", [mine[id][1] for id in both])
    drawn = resampled(
        lambda weights: measure(weights @ a) - measure(weights @ b), index, count, np.random.default_rng(0)
    )
    low, high = percentile_interval(drawn, 0.95)
    first, second = measure(a.sum(0)), measure(b.sum(0))
    return Toll(
        task=name, metric=metric, ours=100 * first, theirs=100 * second, difference=100 * (first - second),
        interval=(100 * low, 100 * high), n=len(both), clusters=count,
    )  # fmt: skip


def _both(name: str, mine: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    both = [id for id in mine if id in base]
    if len({mine[id][1] for id in both}) < 2:
        raise BadFile(
            f"{name}: {len(both)} questions were graded for both models.", "Expected two passages at least.", AGAIN
        )
    return both


def mean(found: Sequence[Toll]) -> tuple[float, tuple[float, float]]:
    """Over the tasks, each once. The questions of different tasks are independent, so variances add."""
    value = sum(toll.difference for toll in found) / len(found)
    low = math.sqrt(sum((toll.difference - toll.interval[0]) ** 2 for toll in found)) / len(found)
    high = math.sqrt(sum((toll.interval[1] - toll.difference) ** 2 for toll in found)) / len(found)
    return value, (value - low, value + high)


def why_not(found: Sequence[Toll], below: float) -> str:
    """Why a gate stays shut, in a sentence; empty where it opens."""
    lost = [toll for toll in found if toll.lost(below)]
    said = [
        f"{t.task} {t.difference:+.1f} points ({t.interval[0]:+.1f} to {t.interval[1]:+.1f}, n={t.n})" for t in lost
    ]
    if not lost:
        return ""
    return f"{len(lost)} of {len(found)} tasks lost more than {abs(below):g} points: {', '.join(said)}."
