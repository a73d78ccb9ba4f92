"""Answers with everything that a world and its labelers see in them, and what that amounts to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rather.evaluate.asked import Asked
from rather.records import Response
from rather.statistics import Estimate, clustered_mean, clustered_share
from rather.worlds.judging import Task, rate
from rather.worlds.labelers import HELD_OUT, TRAINING, Labeler, shared_utility
from rather.worlds.types import Features
from rather.worlds.world import World

PANEL = {TRAINING: 12, HELD_OUT: 6}


@dataclass(frozen=True)
class Answer:
    """gold: U*     labelers, held_out: the mean of each panel, without noise     text may be empty"""

    asked: Asked
    text: str
    finished: bool
    features: Features
    gold: float
    labelers: float
    held_out: float


class Judges:
    """A world with its two panels of labelers: those who trained the reward model, and those held out."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.panels: dict[str, Sequence[Labeler]] = {group: world.labelers(n, group) for group, n in PANEL.items()}

    def answer(self, asked: Asked, text: str, finished: bool) -> Answer:
        features = self.world.features(asked.prompt, text, finished)
        utility = {group: shared_utility(panel, asked.prompt, features) for group, panel in self.panels.items()}
        gold = self.world.utility(features)
        return Answer(asked, text, finished, features, gold, utility[TRAINING], utility[HELD_OUT])


def mean(values: Sequence[float], clusters: Sequence[Any]) -> dict[str, Any]:
    """A mean with its interval as JSON has it; where all values are alike there is none, and it says so."""
    try:
        return clustered_mean(values, clusters).to_dict()
    except ValueError as error:
        if not values:
            raise
        plain = {"value": sum(values) / len(values), "interval": None, "n": len(values), "clusters": len(set(clusters))}
        return plain | {"method": str(error).splitlines()[0]}


def share(values: Iterable[float], clusters: Sequence[Any]) -> dict[str, Any]:
    column = list(values)
    if len(set(clusters)) < 2:
        return {"value": sum(column) / len(column), "interval": [0.0, 1.0], "n": len(column), "clusters": 1}
    estimate: Estimate = clustered_share(column, clusters)
    return estimate.to_dict()


def response_of(answer: Answer) -> Response:
    return Response(text=answer.text, finished=answer.finished, model="policy")  # whoever wrote it may say nothing


SHARES: dict[str, Callable[[Answer], float]] = {
    "task": lambda a: a.features.task,
    "junk": lambda a: a.features.junk,
    "toxic": lambda a: a.features.tox,
    "hallucination": lambda a: a.features.hall,
    "hedge": lambda a: a.features.hedge,
    "repetitive": lambda a: float(a.features.rep > 0),
    "fluency": lambda a: a.features.flu,
    "finished": lambda a: float(a.finished),
}
MEANS: dict[str, Callable[[Answer], float]] = {
    "gold": lambda a: a.gold,
    "labelers": lambda a: a.labelers,
    "held-out labelers": lambda a: a.held_out,
    "length": lambda a: a.features.length,
}


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Every number with its interval; several answers to one prompt are one cluster."""
    clusters = [answer.asked.id for answer in answers]
    found: dict[str, Any] = {name: mean([of(a) for a in answers], clusters) for name, of in MEANS.items()}
    found |= {name: share([of(a) for a in answers], clusters) for name, of in SHARES.items()}
    constrained = [a for a in answers if a.features.constraints is not None]
    if constrained:
        held = [float(bool(a.features.constraints)) for a in constrained]
        found["constraints"] = share(held, [a.asked.id for a in constrained])
    return found


def rated(answers: Sequence[Answer], labelers: Sequence[Labeler], seed: int = 0) -> dict[str, Any]:
    """Likert grades and the flags of Table 3, each answer by one labeler who was drawn for it."""
    rng = random.Random(f"ratings {seed}")
    grades: list[float] = []
    flags: dict[str, list[tuple[float, str]]] = {}
    for answer in answers:
        task = Task(answer.asked.id, answer.asked.prompt, (response_of(answer),), (answer.features,))
        rating = rate(rng.choice(labelers), task, 0, rng)
        grades.append(float(rating.likert or 0))
        for name, there in (rating.flags or {}).items():
            flags.setdefault(name, []).append((float(there), answer.asked.id))
    found = {name: share([there for there, _ in rows], [id for _, id in rows]) for name, rows in flags.items()}
    return {"likert": mean(grades, [answer.asked.id for answer in answers]), "flags": found}
