"""How often labelers agree on which of two outputs is better, from rankings of K outputs with ties.

The paper reports 72.6 % for its training labelers and 77.3 % for held-out ones (sec. 3.4) and does not say how a tie
was counted, so there are three conventions and a report shows all of them. For two outputs and two labelers:

    dropped    pairs on which either labeler ties are left out; 1 for the same order, else 0
    half       1 for the same verdict (two ties included), 1/2 if exactly one ties, 0 for opposite orders
    category   a tie is a third answer: 1 for the same of the three, else 0

Credits are averaged within a prompt, then over prompts, and intervals are clustered by prompt: they speak of these
labelers on new prompts, not of newly hired labelers.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rather.statistics.columns import Labels, index_of, numbers, one_of, same_length
from rather.statistics.intervals import Estimate, Result, clustered_share, lone_share

TIE_CONVENTIONS = ("dropped", "half", "category")

Ranks = Sequence[Sequence[float]] | np.ndarray


@dataclass(frozen=True, kw_only=True)
class Agreement(Estimate):
    """n counts compared pairs: output pairs times labeler pairs."""

    ties: str
    labelers: int
    tie_share: float  # of the verdicts on output pairs that two labelers both gave, ties before any are dropped


@dataclass(frozen=True, kw_only=True)
class LabelerAgreement(Agreement):
    shrunk: float  # drawn toward everybody's mean, so that five prompts do not look like a verdict on a person


@dataclass(frozen=True, kw_only=True)
class AgreementByLabeler(Result):
    overall: Agreement
    labelers: dict[Hashable, LabelerAgreement]
    alone: tuple[Hashable, ...]  # labelers with no pair that another labeler judged too: nothing can be said of them


@dataclass(frozen=True)
class _Dyads:
    """One row for each two labelers who judged the same outputs."""

    prompt: np.ndarray
    one: np.ndarray
    other: np.ndarray
    credit: np.ndarray  # summed over output pairs
    compared: np.ndarray  # output pairs that count under the convention
    tied: np.ndarray  # verdicts of the two that were ties
    given: np.ndarray  # verdicts of the two


def agreement(
    ranks: Ranks,
    labelers: Labels,
    prompts: Labels,
    *,
    ties: str,
    tasks: Labels | None = None,
    among: Collection[Hashable] | None = None,
    against: Collection[Hashable] | None = None,
    level: float = 0.95,
) -> Agreement:
    """Mean agreement of labelers, each pair of labelers on each pair of outputs they both judged.

    ranks: (N, K) one row per ranking, 1 is best, equal ranks are ties, outputs in the same order for all labelers;
        K = 2 is a comparison, and K may differ between tasks
    labelers, prompts: (N,)
    tasks: (N,) what was shown, where one prompt has several sets of outputs; without it a prompt is one task
    among, against: only labelers of `among` held against labelers of `against` (default: all, and the same)
    """
    dyads, names = _dyads(ranks, labelers, prompts, tasks, one_of("ties", ties, TIE_CONVENTIONS))
    return _agreement(dyads, _between(dyads, names, among, against), ties, level)


def agreement_by_group(
    ranks: Ranks,
    labelers: Labels,
    prompts: Labels,
    groups: Mapping[Hashable, Hashable],
    *,
    ties: str,
    tasks: Labels | None = None,
    level: float = 0.95,
) -> dict[Hashable, Agreement]:
    """Agreement within each group, such as training and held-out labelers.    groups: labeler -> group"""
    dyads, names = _dyads(ranks, labelers, prompts, tasks, one_of("ties", ties, TIE_CONVENTIONS))
    unknown = [name for name in names if name not in groups]
    if unknown:
        raise ValueError(f"Labeler {unknown[0]!r} is in no group ({len(unknown)} such). Expected a group for each.")
    found = {}
    for group in dict.fromkeys(groups[name] for name in names):
        members = {name for name in names if groups[name] == group}
        try:
            found[group] = _agreement(dyads, _between(dyads, names, members, members), ties, level)
        except ValueError as error:
            raise ValueError(f"Group {group!r} ({len(members)} labelers): {error}") from None
    return found


def agreement_by_labeler(
    ranks: Ranks,
    labelers: Labels,
    prompts: Labels,
    *,
    ties: str,
    tasks: Labels | None = None,
    prior_prompts: float = 10.0,
    level: float = 0.95,
) -> AgreementByLabeler:
    """Each labeler against all others on shared prompts.

    prior_prompts: weight of everybody's mean in `shrunk`, in prompts: (n value + w mean) / (n + w). Ten is
        ours, not the paper's: with fewer prompts an interval covers everything from a coin to the noise ceiling.
    """
    if not prior_prompts >= 0:
        raise ValueError(f"prior_prompts is {prior_prompts}. Expected a number of prompts, 0 or more.")
    dyads, names = _dyads(ranks, labelers, prompts, tasks, one_of("ties", ties, TIE_CONVENTIONS))
    overall = _agreement(dyads, np.ones(len(dyads.prompt), dtype=bool), ties, level)
    found: dict[Hashable, LabelerAgreement] = {}
    alone: list[Hashable] = []
    for position, name in enumerate(names):
        chosen = (dyads.one == position) | (dyads.other == position)
        if not dyads.compared[chosen].any():
            alone.append(name)
            continue
        own = _agreement(dyads, chosen, ties, level, needed=1)
        shrunk = (own.clusters * own.value + prior_prompts * overall.value) / (own.clusters + prior_prompts)
        found[name] = LabelerAgreement(**vars(own), shrunk=shrunk)
    return AgreementByLabeler(overall=overall, labelers=found, alone=tuple(alone))


def _dyads(ranks: Ranks, labelers: Labels, prompts: Labels, tasks: Labels | None, ties: str) -> tuple[_Dyads, list]:
    tasks_given = tasks is not None
    tasks = prompts if tasks is None else tasks
    if not same_length(ranks=ranks, labelers=labelers, prompts=prompts, tasks=tasks):
        raise ValueError("There are no rankings. Expected at least two labelers on at least two prompts.")
    who, names = index_of("labelers", labelers)
    prompt, _ = index_of("prompts", prompts)
    task, task_names = index_of("tasks", tasks)
    rows_of: list[list[int]] = [[] for _ in task_names]
    for row in range(len(ranks)):
        rows_of[task[row]].append(row)

    found = []
    for key, rows in zip(task_names, rows_of, strict=True):
        if len({prompt[row] for row in rows}) > 1:
            raise ValueError(f"Task {key!r} belongs to several prompts. Expected each task to have one prompt.")
        placed = [numbers(f"ranks[{row}]", ranks[row]) for row in rows]
        sizes = {len(places) for places in placed}
        if len(sizes) > 1:
            raise ValueError(
                f"Task {key!r} was ranked with {sorted(sizes)} outputs. Expected the same outputs from every labeler"
                + ("." if tasks_given else "; where one prompt has several sets of outputs, say so with tasks=.")
            )
        if min(sizes) < 2:
            raise ValueError(f"Task {key!r} has {min(sizes)} output. Expected at least 2 to compare.")
        if len({who[row] for row in rows}) < len(rows):
            twice = next(names[who[row]] for n, row in enumerate(rows) if who[row] in {who[r] for r in rows[:n]})
            raise ValueError(
                f"Labeler {twice!r} ranked task {key!r} more than once. Expected once: an answer repeated by the same "
                "person is self-consistency, not agreement."
            )
        upper = np.triu_indices(len(placed[0]), 1)
        signs = [np.sign(places[upper[1]] - places[upper[0]]) for places in placed]  # L arrays (K (K - 1) / 2,)
        for a, b in combinations(range(len(rows)), 2):
            credit, counts = _credit(signs[a], signs[b], ties)
            tied = (signs[a] == 0).sum() + (signs[b] == 0).sum()
            found.append((prompt[rows[a]], who[rows[a]], who[rows[b]], credit, counts, tied, 2 * len(signs[a])))
    if not found:
        raise ValueError(
            f"No task was ranked by two labelers ({len(task_names)} tasks, {len(names)} labelers). "
            "Expected some overlap: agreement is about outputs that several people judged."
        )
    columns = np.array(found).T
    return _Dyads(*columns[:3].astype(int), *columns[3:]), names


def _credit(one: np.ndarray, other: np.ndarray, ties: str) -> tuple[float, int]:
    """Credit summed over the output pairs, and how many of them count."""
    if ties == "dropped":
        strict = (one != 0) & (other != 0)
        return float((one[strict] == other[strict]).sum()), int(strict.sum())
    credit = float((one == other).sum())
    if ties == "half":
        credit += float(((one == 0) != (other == 0)).sum()) / 2
    return credit, len(one)


def _between(
    dyads: _Dyads, names: list, among: Collection[Hashable] | None, against: Collection[Hashable] | None
) -> np.ndarray:
    """(dyads,) which of them hold a labeler of `among` against one of `against`."""
    among = set(names) if among is None else set(among)
    against = among if against is None else set(against)
    for name in among | against:
        if name not in names:
            raise ValueError(f"Labeler {name!r} ranked nothing. Labelers: {', '.join(map(str, names[:20]))}.")
    left = np.array([name in among for name in names])
    right = np.array([name in against for name in names])
    return (left[dyads.one] & right[dyads.other]) | (left[dyads.other] & right[dyads.one])


def _agreement(dyads: _Dyads, chosen: np.ndarray, ties: str, level: float, needed: int = 2) -> Agreement:
    chosen = chosen & (dyads.compared > 0)
    people = len(set(dyads.one[chosen]) | set(dyads.other[chosen]))
    prompts, position = np.unique(dyads.prompt[chosen], return_inverse=True)
    if len(prompts) < needed:
        dropped = " once ties are dropped" if ties == "dropped" else ""
        raise ValueError(
            f"Two labelers judged the same pair on {len(prompts)} prompt(s){dropped}. Expected at least {needed}: "
            "an interval comes from the differences between prompts."
        )
    credit = np.bincount(position, weights=dyads.credit[chosen])
    compared = np.bincount(position, weights=dyads.compared[chosen])
    means = credit / compared  # (P,)
    if len(prompts) == 1:  # only for a single labeler's row of a table
        share = lone_share(float(means[0]), 1, level)
    else:
        share = clustered_share(means, range(len(means)), level=level, name="prompts")
    return Agreement(
        **{**vars(share), "n": int(compared.sum())},
        ties=ties,
        labelers=people,
        tie_share=float(dyads.tied[chosen].sum() / dyads.given[chosen].sum()),
    )
