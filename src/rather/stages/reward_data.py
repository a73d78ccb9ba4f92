"""Rankings as a reward model learns from them: all that was said about one prompt is one element of a batch (sec. 3.5).

Comparisons of one prompt are correlated. As separate examples, shuffled, each response gets K - 1 updates in one pass
and the model overfits; together they cost K forwards and one update. So what several labelers, or several pairs in a
circle, say about one prompt is gathered on one tree, and each ranking is a row of its table.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rather.batches.encoding import Encoder, EncodingReport
from rather.batches.trees import Tree
from rather.errors import BadRecord
from rather.records import Ranking, Rating, Response, spoken

# Responses on one tree. A prompt that was asked a thousand times is several elements, or it would not fit into memory.
MOST = 32
TRAIN = "train"  # the `split` of a record that may be learned from


@dataclass(frozen=True, eq=False)
class Judged:
    """One prompt, its K responses, and the R rankings of them.

    ranks: (R, K) 1 is best, equal ranks are ties, 0: not in this ranking
    ratings: (R, K) how good each response was said to be, where every one of a ranking was; NaN otherwise
    records: the R rankings
    places: for each ranking, which of the K responses are its own, in its order
    """

    tree: Tree
    ranks: np.ndarray
    ratings: np.ndarray
    records: tuple[Ranking, ...]
    places: tuple[tuple[int, ...], ...]


def judged(rankings: Iterable[Ranking], encoder: Encoder) -> tuple[list[Judged], EncodingReport]:
    """One element per prompt, in order of appearance. What is too long takes its element with it."""
    groups = _by_prompt(rankings)
    whole = [
        Ranking(id=group.records[0].id, prompt=group.records[0].prompt, responses=tuple(group.responses),
                ranks=(1,) * len(group.responses))
        for group in groups
    ]  # fmt: skip
    trees, report = encoder.encode_all(whole)
    return [_element(tree, groups[n]) for tree, n in zip(trees, report.kept, strict=True)], report


class _Group:
    """The rankings of one prompt, and the responses in them, each once."""

    def __init__(self) -> None:
        self.records: list[Ranking] = []
        self.responses: dict[Response, int] = {}
        self.places: list[tuple[int, ...]] = []

    def add(self, ranking: Ranking) -> bool:
        """False if the group is full."""
        places: list[int] = []
        new = dict(self.responses)
        for response in ranking.responses:
            # A text that a ranking holds twice is two responses: two places in one order are not one.
            copies = 0
            while new.setdefault(_copy(response, copies), len(new)) in places:
                copies += 1
            places.append(new[_copy(response, copies)])
        if self.records and len(new) > MOST:
            return False
        self.responses = new
        self.records.append(ranking)
        self.places.append(tuple(places))
        return True


def _copy(response: Response, number: int) -> Response:
    """Without what equal texts may differ in; a name it has, because only a model may say nothing."""
    return response.model_copy(update={"model": f"copy {number}", "score": None})


def _by_prompt(rankings: Iterable[Ranking]) -> list[_Group]:
    groups: list[_Group] = []
    latest: dict[Any, _Group] = {}
    for ranking in rankings:
        group = latest.get(ranking.prompt)
        if group is None or not group.add(ranking):
            group = latest[ranking.prompt] = _Group()
            groups.append(group)
            group.add(ranking)
    return groups


def _element(tree: Tree, group: _Group) -> Judged:
    shape = len(group.records), len(group.responses)
    ranks, ratings = np.zeros(shape, dtype=np.int64), np.full(shape, np.nan)
    for row, (record, places) in enumerate(zip(group.records, group.places, strict=True)):
        ranks[row, list(places)] = record.ranks
        scores = [response.score for response in record.responses]
        if None not in scores:
            ratings[row, list(places)] = scores
    return Judged(tree, ranks, ratings, tuple(group.records), tuple(group.places))


class Pairs(NamedTuple):
    """The M pairs of an element that are no ties; their weights sum to 1.

    Each ranking counts the same, and within it each pair.
    """

    ranking: np.ndarray  # (M,) row
    winner: np.ndarray  # (M,)
    loser: np.ndarray  # (M,)
    weight: np.ndarray  # (M,)


def pairs_of(ranks: np.ndarray) -> Pairs:
    """ranks: (R, K)"""
    beats = (ranks[:, :, None] < ranks[:, None, :]) & (ranks > 0)[:, :, None]  # (R, K, K)
    ranking, winner, loser = beats.nonzero()
    counts = beats.sum((1, 2))
    return Pairs(ranking, winner, loser, 1 / (counts[ranking] * max(int((counts > 0).sum()), 1)))


def says_something(element: Judged, ties: bool) -> bool:
    """Whether the element teaches anything: a pair that is no tie, or, where ties are modelled, any pair."""
    return bool(len(pairs_of(element.ranks).weight)) or ties


def one_by_one(elements: Iterable[Judged], ties: bool) -> list[Judged]:
    """Every pair as an element of its own: what the paper warns of, for the comparison with it."""
    found = []
    for element in elements:
        for row in range(len(element.ranks)):
            ranked = np.flatnonzero(element.ranks[row])
            for at, i in enumerate(ranked):
                for j in ranked[at + 1 :]:
                    one, other = element.ranks[row, [i, j]]
                    if one == other and not ties:
                        continue
                    tree = Tree(element.tree.prompt, (element.tree.responses[i], element.tree.responses[j]),
                                element.tree.key)  # fmt: skip
                    ranks = np.array([[1 + (one > other), 1 + (other > one)]])
                    found.append(Judged(tree, ranks, element.ratings[row : row + 1, [i, j]], (), ()))
    return found


def batches_of(elements: int, count: int, rng: random.Random) -> Iterator[list[int]]:
    """Their numbers in a new order, in so many batches of about equal size."""
    order = rng.sample(range(elements), elements)
    for n in range(count):
        yield order[n * elements // count : (n + 1) * elements // count]


def with_ratings(rankings: Iterable[Ranking], ratings: Iterable[Rating]) -> list[Ranking]:
    """The rankings with each response's mean Likert rating as its score, for a margin between good and better.

    A labeler's own rating of a response is taken where there is one, otherwise the mean of all.
    """
    own: dict[Any, list[int]] = {}
    for rating in ratings:
        if rating.likert is not None:
            for who in {rating.labeler, None}:
                own.setdefault((rating.prompt, rating.response.text, who), []).append(rating.likert)
    return [ranking.model_copy(update={"responses": tuple(_rated(ranking, r, own) for r in ranking.responses)})
            for ranking in rankings]  # fmt: skip


def _rated(ranking: Ranking, response: Response, own: Mapping[Any, Sequence[int]]) -> Response:
    for who in (ranking.labeler, None):
        if found := own.get((ranking.prompt, response.text, who)):
            return response.model_copy(update={"score": sum(found) / len(found)})
    return response


def refuse_unrated(elements: Iterable[Judged]) -> None:
    """A margin needs a rating of every response: where one is missing, no lead could be asked for."""
    for element in elements:
        for row, record in enumerate(element.records):
            if np.isnan(element.ratings[row, list(element.places[row])]).any():
                raise BadRecord(
                    f"Ranking {record.id!r} has a response without a score or rating.",
                    "Expected one for each: margin asks for a lead in proportion to the difference of the two.",
                    "Give ratings=FILE, or leave margin at 0",
                )


class Split(NamedTuple):
    """train: learned from     held: never, and their prompts are in no ranking of `train`     left_out: neither"""

    train: list[Ranking]
    held: list[Ranking]
    left_out: int


def split_rankings(rankings: Sequence[Ranking], share: float, held_out: Sequence[str] = ()) -> Split:
    """Training and validation by prompt: as the records' own `split` says, or, where none does, a share of the prompts.

    held_out: labelers whose rankings are never trained on (E.2). Those of theirs whose prompt is trained on with other
        labelers' rankings are left out: on them a good score would be memory.
    """
    told = {TRAIN} < {ranking.split for ranking in rankings}
    validation = {r.prompt for r in rankings if (r.split not in (None, TRAIN) if told else _drawn(r, share))}
    train = [r for r in rankings if r.prompt not in validation and r.labeler not in held_out]
    held = [r for r in rankings if r.prompt in validation]
    return Split(train, held, len(rankings) - len(train) - len(held))


def _drawn(ranking: Ranking, share: float) -> bool:
    """By the prompt's own hash, so that a prompt stays where it is when the file grows."""
    return int.from_bytes(hashlib.sha256(spoken(ranking.prompt).encode()).digest()[:8], "big") < share * 2**64
