"""Rankings as pairs, and pairs as rankings again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any, Literal, NamedTuple

from rather.records.fields import MOST
from rather.records.types import Comparison, Ranking, Response


def pairs_of(ranking: Ranking) -> list[Comparison]:
    """The K choose 2 comparisons of a ranking, ties included; `group_id`, the ranking's id, keeps them together."""
    shown = {response: place for place, response in enumerate(ranking.displayed or ())}
    return [
        Comparison(
            id=f"{ranking.id}/{i}-{j}",
            prompt=ranking.prompt,
            a=ranking.responses[i],
            b=ranking.responses[j],
            preferred=_preferred(ranking.ranks[i], ranking.ranks[j]),
            displayed=("ab" if shown[i] < shown[j] else "ba") if shown else None,
            group_id=ranking.id,
            **_about(ranking),
        )
        for i, j in combinations(range(len(ranking.responses)), 2)
    ]


def _preferred(rank_a: int, rank_b: int) -> Literal["a", "b", "tie"]:
    return "tie" if rank_a == rank_b else "a" if rank_a < rank_b else "b"


def _about(record: Ranking | Comparison) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ("category", "source", "split", "labeler", "guideline")}


class Gathered(NamedTuple):
    """rankings: one for each group that is consistent.     comparisons: the pairs of the others, and those alone.
    reasons: for each group that stayed in pairs, why."""

    rankings: list[Ranking]
    comparisons: list[Comparison]
    reasons: dict[str, str]


def gather(comparisons: Iterable[Comparison]) -> Gathered:
    """Rankings from the pairs that share a group_id and a labeler, where they are one weak order.

    They are when every two responses of the group are compared, directly or through others (a over b over c says a
    over c), and nothing goes round in a circle. Where they are not, the pairs stay as they are, with the reason.
    """
    groups: dict[tuple[str, str | None], list[Comparison]] = {}
    gathered = Gathered([], [], {})
    for comparison in comparisons:
        if comparison.group_id is None:
            gathered.comparisons.append(comparison)
        else:
            groups.setdefault((comparison.group_id, comparison.labeler), []).append(comparison)
    labelers: dict[str, int] = {}
    for group, _ in groups:
        labelers[group] = labelers.get(group, 0) + 1
    for (group, labeler), pairs in groups.items():
        name = group if labelers[group] == 1 else f"{group}/{labeler}"
        try:
            gathered.rankings.append(_ranking(name, pairs, group if labelers[group] > 1 else None))
        except NotOneOrder as reason:
            gathered.comparisons.extend(pairs)
            gathered.reasons[name] = str(reason)
    return gathered


class NotOneOrder(ValueError):
    """Why the pairs of a group are no ranking."""


def _ranking(name: str, pairs: list[Comparison], group: str | None) -> Ranking:
    if len({pair.prompt for pair in pairs}) > 1:
        raise NotOneOrder("its pairs have different prompts")
    responses, ranks = weak_order(pairs)
    about = _about(pairs[0])
    if any(_about(pair) != about for pair in pairs):
        raise NotOneOrder("its pairs differ in category, source, split or guideline")
    return Ranking(
        id=name, prompt=pairs[0].prompt, responses=tuple(responses), ranks=tuple(ranks), group=group, **about
    )


def weak_order(pairs: list[Comparison]) -> tuple[list[Response], list[int]]:
    """The responses in order of appearance and their dense ranks. Raises NotOneOrder."""
    index: dict[Response, int] = {}
    for pair in pairs:
        if pair.a == pair.b:
            raise NotOneOrder("it holds the same response twice, and the two cannot be told apart")
        for response in (pair.a, pair.b):
            index.setdefault(response, len(index))
    responses = list(index)
    if len(responses) > MOST:
        raise NotOneOrder(f"it holds more than {MOST:,} responses")
    tier = list(range(len(responses)))  # responses that are tied carry the same number
    for pair in pairs:
        if pair.preferred == "tie":
            old, new = tier[index[pair.b]], tier[index[pair.a]]
            tier = [new if t == old else t for t in tier]
    beats: dict[int, set[int]] = {t: set() for t in tier}
    for pair in pairs:
        if pair.preferred != "tie":
            better, worse = (pair.a, pair.b) if pair.preferred == "a" else (pair.b, pair.a)
            beats[tier[index[better]]].add(tier[index[worse]])
    order = list(_top_down(beats))
    for upper, lower in pairwise(order):
        if lower not in beats[upper]:
            raise NotOneOrder("some of its responses were never compared, not even through others")
    return responses, [order.index(t) + 1 for t in tier]


def _top_down(beats: dict[int, set[int]]) -> Iterator[int]:
    """The tiers from the best down (Kahn's order); a circle has no top."""
    left = dict(beats)
    while left:
        beaten = set().union(*left.values())
        top = [t for t in left if t not in beaten]
        if not top:
            raise NotOneOrder("its preferences go round in a circle")
        yield top[0]
        del left[top[0]]


def as_rankings(comparisons: Iterable[Comparison]) -> Iterator[Ranking]:
    """Every comparison as part of a ranking: consistent groups whole, the rest as rankings of two."""
    gathered = gather(comparisons)
    yield from gathered.rankings
    yield from map(ranking_of_two, gathered.comparisons)


def ranking_of_two(pair: Comparison) -> Ranking:
    """The comparison as a ranking; `group` still tells which pairs belong together."""
    return Ranking(
        id=pair.id,
        prompt=pair.prompt,
        responses=(pair.a, pair.b),
        ranks={"a": (1, 2), "b": (2, 1), "tie": (1, 1)}[pair.preferred],
        displayed={"ab": (0, 1), "ba": (1, 0), None: None}[pair.displayed],
        group=pair.group_id,
        **_about(pair),
    )
