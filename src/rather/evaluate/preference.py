"""Whose answers labelers prefer: win rates on the same prompts, and how much labelers err."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from typing import Any

from rather.errors import BadSetting
from rather.evaluate.judged import Answer, Judges, response_of
from rather.statistics import noise_ceiling, paired_difference, win_rate
from rather.worlds.judging import Task, agreement_within_groups, expected_vote, rank, task_of, utilities
from rather.worlds.labelers import HELD_OUT, TRAINING
from rather.worlds.noise import Noise, fit_noise


def pairs(ours: Sequence[Answer], theirs: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    """Answers to the same prompts; a prompt that one of the two models could not read is in no pair."""
    of = {answer.asked.id: answer for answer in theirs}
    return [(answer, of[answer.asked.id]) for answer in ours if answer.asked.id in of]


def preferred(judges: Judges, ours: Sequence[Answer], theirs: Sequence[Answer], noise: Noise) -> dict[str, Any]:
    """How often `ours` wins by expected votes, in both panels; the difference of the panels; drawn votes; gold.

    An expected vote is what a panel would say if it voted without end, so the intervals hold the spread between
    prompts and none from voting. A drawn vote is one labeler's, with noise and ties.
    """
    met = pairs(ours, theirs)
    if len(met) < 2:
        raise BadSetting(f"The two models answered {len(met)} common prompts.", "Expected at least two.")
    ids = [one.asked.id for one, _ in met]
    votes = panel_votes(judges, met, noise)
    rng = random.Random("drawn votes")
    drawn = [_vote(judges, one, other, noise, rng) for one, other in met]
    return {
        TRAINING: win_rate(votes[TRAINING], ids).to_dict(),
        HELD_OUT: win_rate(votes[HELD_OUT], ids).to_dict(),
        "panels": paired_difference(votes[TRAINING], votes[HELD_OUT], ids, scale=(0, 1)).to_dict(),
        "drawn": win_rate(drawn, ids).to_dict(),
        **{
            name: difference([value(one) for one, _ in met], [value(other) for _, other in met], ids)
            for name, value in (
                ("gold", lambda a: a.gold),
                ("labelers", lambda a: a.labelers),
                ("gap", lambda a: a.labelers - a.gold),
            )
        },
    }


def panel_votes(judges: Judges, met: Sequence[tuple[Answer, Answer]], noise: Noise) -> dict[str, list[float]]:
    """group -> the expected vote of its panel on each pair, for the first of the two"""
    return {
        group: [expected_vote(panel, one.asked.prompt, one.features, other.features, noise) for one, other in met]
        for group, panel in judges.panels.items()
    }


def difference(ours: Sequence[float], theirs: Sequence[float], ids: Sequence[str]) -> dict[str, Any]:
    """Paired; on a scale as wide as what was seen, so that two equal columns have an interval too."""
    low, high = min(*ours, *theirs), max(*ours, *theirs)
    return paired_difference(ours, theirs, ids, scale=(low, high if high > low else low + 1)).to_dict()


def _vote(judges: Judges, one: Answer, other: Answer, noise: Noise, rng: random.Random) -> float:
    task = _task(judges, (one, other))
    if task is None:
        return 0.5
    first, second = rank(rng.choice(judges.panels[TRAINING]), task, noise, rng).ranks
    return 0.5 if first == second else float(first < second)


def _task(judges: Judges, answers: Sequence[Answer]) -> Task | None:
    asked = answers[0].asked
    return task_of(judges.world, asked.id, asked.prompt, map(response_of, answers))


def tasks_of(judges: Judges, answers: Sequence[Answer]) -> list[Task]:
    """One of each prompt with different answers, the same answers merged."""
    by_prompt: dict[str, list[Answer]] = {}
    for answer in answers:
        by_prompt.setdefault(answer.asked.id, []).append(answer)
    return [task for of in by_prompt.values() if (task := _task(judges, of)) is not None]


def labeled(judges: Judges, answers: Sequence[Answer], seed: int = 0) -> tuple[Noise, dict[str, Any]]:
    """The noise at which labelers agree on these answers as people do (72.6 %, a quarter ties), and what that gives.

    answers: several to each prompt, of the policy that labelers see
    """
    tasks = tasks_of(judges, answers)
    if len(tasks) < 2:
        raise BadSetting(
            f"{len(tasks)} prompts have two different answers.",
            "Expected a policy that says different things: labelers have nothing to compare.",
        )
    noise = fit_noise([utilities(judges.panels[TRAINING], task) for task in tasks])
    rng = random.Random(f"labeled {seed}")
    people: dict[Hashable, Hashable] = {
        labeler.id: group for group, panel in judges.panels.items() for labeler in panel
    }
    rankings = [rank(who, task, noise, rng) for task in tasks for panel in judges.panels.values() for who in panel]
    found = agreement_within_groups(rankings, people)
    said: dict[str, Any] = {"tau": noise.tau, "delta": noise.delta, "tasks": len(tasks)}
    said["agreement"] = {group: {ties: a.to_dict() for ties, a in of.items()} for group, of in found.items()}
    said["ceiling"] = {group: noise_ceiling(of["dropped"]).to_dict() for group, of in found.items()}
    return noise, said
