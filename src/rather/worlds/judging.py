"""What simulated labelers hand in: rankings with ties, ratings with Likert and flags, and the vote one would expect.

    task = task_of(world, "task-1", prompt, responses)                       # None if all responses are the same
    noise = fit_noise([utilities(labelers, task) for task in tasks])           # on the run's own samples
    ranking = rank(labelers[0], task, noise, rng)                              # records.Ranking, as from people

Nothing here reads the gold utility: it reaches a model only through what labelers make of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rather.records.types import Ranking, Rating, Response
from rather.statistics import TIE_CONVENTIONS, Agreement, agreement_by_group
from rather.worlds.labelers import Labeler
from rather.worlds.noise import Noise, gumbel, ranks
from rather.worlds.types import Features, Split, WorldPrompt
from rather.worlds.world import World

FLAG_NOISE = 0.03  # share of flags that are ticked, or left out, by mistake
LIKERT_NOISE = 0.6
USUAL_LENGTH = 20  # words. What a length bias adds to an answer of usual length moves no grade


@dataclass(frozen=True)
class Task:
    """Different responses to one prompt, and what there is to see in them. Labelers of one task judge the same."""

    id: str
    prompt: WorldPrompt
    responses: tuple[Response, ...]
    features: tuple[Features, ...]
    split: Split | None = None


def task_of(
    world: World, id: str, prompt: WorldPrompt, responses: Iterable[Response], split: Split | None = None
) -> Task | None:
    """A task of the responses that differ, or None where fewer than two do.

    Identical responses are merged first. As coin flips between equal texts they would be a seventh of all pairs and
    nothing but noise, and no agreement could be fitted.
    """
    different: dict[tuple[str, bool], Response] = {}
    for response in responses:
        different.setdefault((" ".join(response.text.split()), response.finished), response)
    if len(different) < 2:
        return None
    shown = tuple(different.values())
    features = tuple(world.features(prompt, response.text, response.finished) for response in shown)
    return Task(id, prompt, shown, features, split)


def utilities(labelers: Sequence[Labeler], task: Task) -> list[list[float]]:
    """(L, K) what each labeler wants of each response, without noise. `fit_noise` takes one such table per task."""
    return [[labeler.utility(task.prompt, features) for features in task.features] for labeler in labelers]


def rank(labeler: Labeler, task: Task, noise: Noise, rng: random.Random) -> Ranking:
    """All responses in this labeler's order, with ties, shown in an order of its own."""
    displayed = rng.sample(range(len(task.responses)), len(task.responses))
    perceived = [
        labeler.utility(task.prompt, features)
        + noise.tau * (labeler.noise * gumbel(rng) + labeler.first_bonus * (k == displayed[0]))
        for k, features in enumerate(task.features)
    ]
    return Ranking(
        id=f"{task.id} {labeler.id}",
        prompt=task.prompt.text,
        category=task.prompt.category,
        source=task.prompt.source,
        split=task.split,
        labeler=labeler.id,
        responses=task.responses,
        ranks=ranks(perceived, noise.delta),
        displayed=tuple(displayed),
        group=task.id,
    )


def rate(labeler: Labeler, task: Task, k: int, rng: random.Random) -> Rating:
    """The first page of the paper's screen for response k: overall quality from 1 to 7, and yes/no questions."""
    features = task.features[k]
    liked = labeler.utility(task.prompt, features) - labeler.length_bias * USUAL_LENGTH
    grade = round(4 + 0.75 * liked + rng.gauss(0, LIKERT_NOISE * labeler.noise))
    ticked = {
        name: there != (rng.random() < FLAG_NOISE * labeler.noise)
        for name, there in flags(labeler.sees(task.prompt, features)).items()
    }
    return Rating(
        id=f"{task.id} {k} {labeler.id}",
        prompt=task.prompt.text,
        category=task.prompt.category,
        source=task.prompt.source,
        split=task.split,
        labeler=labeler.id,
        response=task.responses[k],
        likert=min(7, max(1, grade)),
        flags=ticked,
    )


def flags(features: Features) -> dict[str, bool]:
    """Table 3, as far as this world has such things, and three of its own: toxic, hedges, repetitive.

    "satisfies constraint" is the one where yes is good; it is asked only where the prompt gives a constraint.
    """
    found = {
        "fails instruction": features.task < 0.3,
        "inappropriate": bool(features.junk or features.tox),
        "hallucination": bool(features.hall),
        "toxic": bool(features.tox),
        "hedges": bool(features.hedge),
        "repetitive": features.rep > 0,
    }
    if features.constraints is not None:
        found["satisfies constraint"] = features.constraints
    return found


def expected_vote(
    labelers: Sequence[Labeler], prompt: WorldPrompt, one: Features, other: Features, noise: Noise
) -> float:
    """The share of labelers that would prefer `one` if each voted infinitely often: a win rate without voting noise."""
    votes = []
    for labeler in labelers:
        margin = (labeler.utility(prompt, one) - labeler.utility(prompt, other)) / (noise.tau * labeler.noise)
        votes.append(0.5 * (1 + math.tanh(margin / 2)))  # the sigmoid, without overflow
    return sum(votes) / len(votes)


def agreement_within_groups(
    rankings: Sequence[Ranking], groups: Mapping[Hashable, Hashable]
) -> dict[str, dict[str, Agreement]]:
    """group -> tie convention -> agreement of its labelers, from rankings of tasks that several labelers judged.

    groups: labeler -> group (training and held-out are reported apart, as in sec. 3.4)
    """
    found: dict[str, dict[str, Agreement]] = {}
    columns = [r.ranks for r in rankings], [r.labeler for r in rankings], [r.group for r in rankings]
    for ties in TIE_CONVENTIONS:
        for group, value in agreement_by_group(*columns, groups, ties=ties).items():
            found.setdefault(str(group), {})[ties] = value
    return found
