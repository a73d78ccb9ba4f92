"""Prompts, their cases and what rewards them, for the doors of GRPO and best-of-N."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rather import parallel
from rather.cli.stage import Story
from rather.errors import BadFile, BadSetting, nearest, visible
from rather.models.reward_folder import Reward
from rather.records import Prompt, read
from rather.records.fields import id_of
from rather.records.lines import json_rows
from rather.stages.grpo_rewards import Case, Rewards
from rather.stages.scorers import reward_named
from rather.verifiers import VERIFIERS, Verdict
from rather.worlds.verifiable import LEVELS, TASKS, Problem, VerifiableWorld, check

SUMS = "sums"  # the verifiable world: sums, sums:SEED, sums:SEED:TASK, sums:SEED:TASK:LEVEL
OF_SUMS = 2000  # problems at most; one task at one level may have fewer
WORLD = "world"  # the reward that is the verifiable world's own checker
REPEATS = 1000  # draws without a new problem


def rewards_for(story: Story, weights: Mapping[str, float] | None, source: str, prompts: Sequence[Prompt]) -> Rewards:
    """What the settings name, loaded, with the cases of the prompts in `source` where a verifier needs them."""
    asked_sums = is_sums(source)
    if weights is None:
        weights = {WORLD: 1.0} if asked_sums else {_own(story): 1.0}
    models: dict[str, Any] = {}
    for name in weights:
        if name in VERIFIERS or (name == WORLD and asked_sums):
            continue
        near = nearest(name, VERIFIERS)
        if near and not Path(name).exists():
            raise BadSetting(f"There is no reward {visible(name)!r}.{near}", f"Verifiers: {', '.join(VERIFIERS)}.")
        models[name] = reward_named(name)
        if isinstance(models[name], Reward):
            models[name].model.to(parallel.device())
    own = {WORLD: _checked} if asked_sums else {}
    return Rewards(weights, models, own, _cases(source, prompts) if weights.keys() - models.keys() else {})


def prompts_of(story: Story, given: str | None, split: str | None) -> tuple[str, list[Prompt]]:
    """Where they come from, and the prompts: of a file those of the split and those without one."""
    source = given if given and is_sums(given) else story.found(given, "prompts.jsonl", "Put prompts there, one a line")
    if is_sums(source):
        return source, [
            Prompt(id=id, prompt=problem.text, category=problem.task, split=split or "train")
            for id, problem in _problems(source, split or "train").items()
        ]
    found = [record for record in read(source, Prompt) if split is None or record.split in (None, split)]
    if not found:
        raise BadFile(f"{visible(source)} has no prompt{f' of the split {split}' if split else ''}.")
    return source, found


def held_out_of(story: Story, source: str) -> list[Prompt]:
    """The prompts there whose split is validation; there may be none."""
    if is_sums(source):
        return prompts_of(story, source, "validation")[1]
    return [record for record in read(source, Prompt) if record.split == "validation"]


def is_sums(source: str) -> bool:
    return source.partition(":")[0] == SUMS


def _own(story: Story) -> str:
    return story.found(
        None, "reward/checkpoint", "Make it with:  rather reward {run}\nOr name others:  rewards={{...}}"
    )


def _problems(source: str, split: str) -> dict[str, Problem]:
    """Different problems by id, drawn the same way every time."""
    words = (source.split(":") + [""] * 3)[1:4]
    seed, task, level = words[0] or "0", words[1] or None, words[2] or None
    if (
        not (seed.isascii() and seed.isdigit() and len(seed) < 20)
        or (level is not None and level not in map(str, LEVELS))
        or source.count(":") > 3
    ):
        raise BadSetting(
            f"There is no world {visible(source)}.",
            f"Expected sums, sums:SEED, sums:SEED:TASK or sums:SEED:TASK:LEVEL. Tasks: {', '.join(TASKS)}.",
        )
    world, found = VerifiableWorld(int(seed)), dict[str, Problem]()
    rng, repeats = random.Random(f"{source} {split}"), 0
    while len(found) < OF_SUMS and repeats < REPEATS:
        problem = world.problem(rng, task, int(level) if level else None, split)  # type: ignore[arg-type]
        repeats = repeats + 1 if problem.text in found else 0
        found.setdefault(problem.text, problem)
    return {f"{SUMS}-{split}-{at:04d}": problem for at, problem in enumerate(found.values())}


def _cases(source: str, prompts: Sequence[Prompt]) -> dict[str, Case]:
    """The whole record of each prompt by its id: a verifier takes the fields it needs."""
    if is_sums(source):
        splits = sorted({prompt.split or "train" for prompt in prompts})
        return {id: {"problem": problem} for split in splits for id, problem in _problems(source, split).items()}
    if not Path(source).name.endswith((".jsonl", ".jsonl.gz")):
        raise BadFile(f"{visible(source)} has no cases for a verifier.", "Expected JSON Lines: .jsonl or .jsonl.gz.")
    return {id_of(row): row.fields for row in json_rows(Path(source))}


def _checked(response: str, case: Case) -> Verdict:
    right = check(case["problem"], response, case["finished"])
    return Verdict(float(right), f"the answer is {' '.join(case['problem'].answer)}")
