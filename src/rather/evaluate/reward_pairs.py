"""The pairs of ranked responses as columns: what a reward model says of each, and what the labeler said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from rather.records import Ranking
from rather.stages.reward_data import Judged, judged
from rather.stages.reward_scoring import Scorer, lengths_of
from rather.statistics import Agreement, agreement, pair_accuracy
from rather.statistics.intervals import Result


@dataclass(frozen=True, eq=False)
class ScoredRanking:
    """values, tokens: (K,) of the record's responses, in its order     prompt: which prompt it is, the same for all"""

    record: Ranking
    prompt: int
    values: np.ndarray
    tokens: np.ndarray


@dataclass(frozen=True, eq=False)
class Judgements:
    """A set of rankings with their scores. elements: one per prompt     too_long: prompts that were left out"""

    rankings: tuple[ScoredRanking, ...]
    elements: tuple[Judged, ...]
    scores: tuple[np.ndarray, ...]  # of each element, (K,)
    too_long: int


def score_rankings(scorer: Scorer, rankings: Sequence[Ranking], budget: int = 4096) -> Judgements:
    """Every response once, however many labelers ranked it."""
    if not rankings:
        return Judgements((), (), (), 0)
    elements, report = judged(rankings, scorer.encoder)
    values = [found[0] for found in scorer.of_trees([element.tree for element in elements], budget)]
    numbers: dict[Any, int] = {}
    found = []
    for element, scores in zip(elements, values, strict=True):
        tokens = lengths_of(element.tree)
        for record, places in zip(element.records, element.places, strict=True):
            prompt = numbers.setdefault(record.prompt, len(numbers))
            found.append(ScoredRanking(record, prompt, scores[list(places)], tokens[list(places)]))
    return Judgements(tuple(found), tuple(elements), tuple(values), len(report.long_prompt) + len(report.long_total))


COLUMNS = ("lead", "chosen", "longer", "apart", "prompt")


@dataclass(frozen=True, eq=False)
class PairTable:
    """One row for each pair that is no tie. All columns are (N,); the first of a pair is the earlier in its record.

    lead: score of the first minus the second     chosen: 1 the labeler prefers the first, 0 the second
    longer: tokens of the first minus the second     apart: difference of the two ranks
    ties: how many pairs of the same rankings were ties
    """

    lead: np.ndarray
    chosen: np.ndarray
    longer: np.ndarray
    apart: np.ndarray
    prompt: np.ndarray
    of: tuple[ScoredRanking, ...]
    ties: int

    def __len__(self) -> int:
        return len(self.lead)

    def where(self, keep: Callable[[ScoredRanking], bool] | np.ndarray) -> PairTable:
        mask = keep if isinstance(keep, np.ndarray) else np.array([keep(one) for one in self.of], dtype=bool)
        of = tuple(one for one, kept in zip(self.of, mask, strict=True) if kept)
        return PairTable(**{name: getattr(self, name)[mask] for name in COLUMNS}, of=of, ties=self.ties)

    def by_prompt(self, values: np.ndarray) -> dict[int, float]:
        """The mean over each prompt's pairs.    values: (N,)"""
        prompts, place = np.unique(self.prompt, return_inverse=True)
        means = np.bincount(place, weights=values, minlength=len(prompts)) / np.bincount(place, minlength=len(prompts))
        return dict(zip(prompts.tolist(), means.tolist(), strict=True))

    @property
    def right(self) -> np.ndarray:
        """(N,) 1 where the sign of the lead is the labeler's choice, 1/2 where the lead is exactly 0."""
        return right(self.lead, self.chosen)


def right(lead: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return (1 + np.sign(lead) * (2 * chosen - 1)) / 2


def table_of(rankings: Iterable[ScoredRanking]) -> PairTable:
    rows: list[tuple[float, ...]] = []
    of: list[ScoredRanking] = []
    ties = 0
    for one in rankings:
        for i, j in combinations(range(len(one.values)), 2):
            apart = one.record.ranks[j] - one.record.ranks[i]
            if not apart:
                ties += 1
                continue
            lead, longer = one.values[i] - one.values[j], one.tokens[i] - one.tokens[j]
            rows.append((lead, apart > 0, longer, abs(apart), one.prompt))
            of.append(one)
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS)).T
    return PairTable(**dict(zip(COLUMNS, columns, strict=True)), of=tuple(of), ties=ties)


def joined(tables: Sequence[PairTable]) -> PairTable:
    columns = {name: np.concatenate([getattr(table, name) for table in tables]) for name in COLUMNS}
    return PairTable(**columns, of=tuple(one for t in tables for one in t.of), ties=sum(t.ties for t in tables))


def labelers_agree(elements: Sequence[Judged], among: Callable[[str], bool], ties: str = "dropped") -> Agreement:
    """How often two of these labelers give the same order to the same responses."""
    ranks, who, prompts, tasks = same_tasks(elements, among)
    return agreement(ranks, who, prompts, ties=ties, tasks=tasks)


def same_tasks(elements: Sequence[Judged], among: Callable[[str], bool]) -> tuple[list, list[str], list[str], list]:
    """Columns for `rather.statistics`: ranks in one order of the responses, labeler, prompt, and what was ranked.

    A labeler who ranked one task twice counts with the first.
    """
    ranks, who, prompts, tasks = [], [], [], []
    seen = set()
    for n, element in enumerate(elements):
        for row, (record, places) in enumerate(zip(element.records, element.places, strict=True)):
            order = sorted(places)
            task = f"{n} {order}"
            if record.labeler is None or not among(record.labeler) or (task, record.labeler) in seen:
                continue
            seen.add((task, record.labeler))
            ranks.append(element.ranks[row, order].tolist())
            who.append(record.labeler)
            prompts.append(element.tree.key)
            tasks.append(task)
    return ranks, who, prompts, tasks


def accuracy(table: PairTable) -> dict[str, Any]:
    return attempt(lambda: pair_accuracy(table.lead, table.chosen, table.prompt))


def attempt(measure: Callable[[], Result]) -> dict[str, Any]:
    """A result, or the reason why there is none. It is never 0 for want of data."""
    try:
        return measure().to_dict()
    except ValueError as error:
        return {"reason": " ".join(str(error).split())}
