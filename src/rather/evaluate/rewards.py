"""A reward model held against labelers and the truth: accuracy in both panels, and what best-of-n makes of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from rather.errors import BadModel, BadSetting
from rather.evaluate.judged import Answer, Judges, response_of
from rather.evaluate.preference import difference, tasks_of
from rather.records import Ranking
from rather.stages.reward_scoring import Scorer
from rather.statistics import best_of_n, best_of_n_kl, pair_accuracy
from rather.worlds.judging import Task, rank
from rather.worlds.labelers import HELD_OUT, TRAINING, shared_utility
from rather.worlds.noise import Noise

CLEAR = 0.5  # difference of U_lab above which a pair is clear


def scores(scorer: Scorer, tasks: Sequence[Task]) -> list[list[float]]:
    """T x K."""
    asked = [
        Ranking(id=task.id, prompt=task.prompt.text, responses=task.responses, ranks=(1,) * len(task.responses))
        for task in tasks
    ]
    found = {scored.record.id: scored.values.tolist() for scored in scorer.score(asked)}
    if lost := [task.id for task in tasks if task.id not in found]:
        raise BadModel(
            f"{scorer.name}: {len(lost)} of {len(tasks)} prompts with their answers are too long for it ({lost[0]}).",
            "Expected a reward model that reads all of them: an accuracy on the short ones is another one.",
        )
    return [found[task.id] for task in tasks]


def reward_accuracy(
    scorer: Scorer, judges: Judges, answers: Sequence[Answer], noise: Noise, seed: int = 0
) -> dict[str, Any]:
    """Of the pairs that a labeler orders, the share that the reward model orders in the same way, prompt by prompt.

    answers: several to each prompt, of the policy that labelers see
    clear: against U_lab without noise, pairs that differ by at least .5     length: if the longer one always won
    """
    tasks = tasks_of(judges, answers)
    given = scores(scorer, tasks)
    rng = random.Random(f"labeled {seed}")
    ordered = {
        group: [[rank(who, task, noise, rng).ranks for who in panel] for task in tasks]
        for group, panel in judges.panels.items()
    }
    found: dict[str, Any] = {"tasks": len(tasks)}
    for group, ranks in ordered.items():
        found[group] = _accuracy(tasks, given, [[[-rank for rank in of] for of in each] for each in ranks])
    lengths = [[float(features.length) for features in task.features] for task in tasks]
    found["length"] = _accuracy(tasks, lengths, [[[-rank for rank in of] for of in each] for each in ordered[TRAINING]])
    wanted = [[shared_utility(judges.panels[TRAINING], t.prompt, features) for features in t.features] for t in tasks]
    found["clear"] = _accuracy(tasks, given, [[of] for of in wanted], CLEAR)
    one, other = found[TRAINING].pop("by prompt"), found[HELD_OUT].pop("by prompt")
    for name in ("length", "clear"):
        found[name].pop("by prompt")
    both = [task.id for task in tasks if task.id in one and task.id in other]
    _refuse_too_few(both, len(tasks))
    found["drop"] = difference([one[id] for id in both], [other[id] for id in both], both)
    return found


def _accuracy(
    tasks: Sequence[Task],
    given: Sequence[Sequence[float]],
    wanted: Sequence[Sequence[Sequence[float]]],
    least: float = 1e-9,
) -> dict[str, Any]:
    """wanted: for each task, for each judge of it, (K,) where more is better; pairs nearer than `least` are ties"""
    rows = [
        (task.id, mine[i] - mine[j], float(theirs[i] > theirs[j]))
        for task, mine, judges in zip(tasks, given, wanted, strict=True)
        for theirs in judges
        for i, j in combinations(range(len(mine)), 2)
        if abs(theirs[i] - theirs[j]) >= least
    ]
    prompts = [id for id, *_ in rows]
    _refuse_too_few(prompts, len(tasks))
    by_prompt: dict[str, list[float]] = {}
    for id, margin, first in rows:
        by_prompt.setdefault(id, []).append(0.5 if margin == 0 else float((margin > 0) == (first == 1.0)))
    accuracy = pair_accuracy([margin for _, margin, _ in rows], [first for *_, first in rows], prompts)
    return accuracy.to_dict() | {"by prompt": {id: sum(of) / len(of) for id, of in by_prompt.items()}}


def _refuse_too_few(prompts: Sequence[str], of: int) -> None:
    if len(set(prompts)) < 2:
        raise BadSetting(
            f"Of {of} prompts only {len(set(prompts))} have answers that differ enough for a labeler to prefer one.",
            "Expected two at least: an interval comes from the differences between prompts.",
            "Measure more of them: n=100",
        )


def best_of(scorer: Scorer, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """What taking the best of n by reward gives in reward, in U* and in U_lab, for n = 1, 2, 4, ... samples.

    answers: equally many to each prompt     kl: of best-of-n from the policy, in nats, if no two samples are the same
    """
    by_prompt: dict[str, list[Answer]] = {}
    for answer in answers:
        by_prompt.setdefault(answer.asked.id, []).append(answer)
    table = list(by_prompt.values())
    rewards = scores(scorer, [_as_task(of) for of in table])
    found, n = [], 1
    while n <= min(map(len, table)):
        line: dict[str, Any] = {"n": n, "kl": best_of_n_kl(n), "reward": best_of_n(rewards, n).to_dict()}
        line["gold"] = best_of_n(rewards, n, gold=[[a.gold for a in of] for of in table]).to_dict()
        line["labelers"] = best_of_n(rewards, n, gold=[[a.labelers for a in of] for of in table]).to_dict()
        found.append(line)
        n *= 2
    return found


def _as_task(answers: Sequence[Answer]) -> Task:
    asked = answers[0].asked
    return Task(asked.id, asked.prompt, tuple(map(response_of, answers)), tuple(a.features for a in answers))
