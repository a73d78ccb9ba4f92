"""What only several trainings can tell: does more data help, and does it hold for labelers it never saw (app. E.2)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rather.errors import BadSetting
from rather.evaluate.reward_pairs import PairTable, accuracy, attempt, joined, score_rankings, table_of
from rather.records import Demonstration, Ranking
from rather.run import Run
from rather.stages.reward import RewardConfig, Start, train_reward
from rather.stages.reward_scoring import Scorer
from rather.statistics import paired_difference


def trained(
    start: Start, train: Sequence[Ranking], demonstrations: Sequence[Demonstration], folder: Path, config: RewardConfig
) -> Scorer:
    """A reward model trained in a run folder of its own."""
    with Run.open(folder, config, again=True) as run:
        train_reward(start, train, [], demonstrations, run, config)
        return Scorer.load(run.checkpoint)


def learning_curve(
    start: Start,
    train: Sequence[Ranking],
    held: Sequence[Ranking],
    demonstrations: Sequence[Demonstration],
    folder: Path,
    config: RewardConfig,
    counts: Sequence[int],
) -> list[dict[str, Any]]:
    """Accuracy on the held prompts after training on so many prompts; each set holds the smaller ones.

    The same settings for each, so fewer prompts are fewer updates too.
    """
    prompts = list(dict.fromkeys(ranking.prompt for ranking in train))
    if max(counts) > len(prompts):
        raise BadSetting(
            f"A learning curve up to {max(counts):,} prompts, and there are {len(prompts):,}.", "Expected at most that."
        )
    random.Random(config.seed).shuffle(prompts)
    points = []
    for count in sorted(counts):
        chosen = set(prompts[:count])
        scorer = trained(start, [r for r in train if r.prompt in chosen], demonstrations, folder / f"{count}", config)
        table = table_of(score_rankings(scorer, held).rankings)
        points.append({"prompts": count, "accuracy": accuracy(table), "pairs": len(table)})
    return points


def cross_validation(
    start: Start,
    train: Sequence[Ranking],
    held: Sequence[Ranking],
    demonstrations: Sequence[Demonstration],
    folder: Path,
    config: RewardConfig,
    groups: int = 5,
) -> dict[str, Any]:
    """E.2: each group of labelers in turn is not trained on. Accuracy on the others' labels and on the group's own.

    Both are of prompts that were not trained on.
    """
    labelers = sorted({r.labeler for r in train if r.labeler is not None})
    if groups < 2 or len(labelers) < groups:
        raise BadSetting(
            f"{groups} groups of {len(labelers)} labelers.", "Expected at least 2 groups, and a labeler for each."
        )
    random.Random(config.seed).shuffle(labelers)
    known: list[PairTable] = []
    strange: list[PairTable] = []
    folds = []
    for n in range(groups):
        group = set(labelers[n::groups])
        rest = [r for r in train if r.labeler not in group]
        scorer = trained(start, rest, demonstrations, folder / f"without-{n + 1}", config)
        scored = score_rankings(scorer, [r for r in held if r.labeler in labelers]).rankings
        known.append(table_of(one for one in scored if one.record.labeler not in group))
        strange.append(table_of(one for one in scored if one.record.labeler in group))
        folds.append(
            {"left out": sorted(group), "others": accuracy(known[-1]), "left-out group": accuracy(strange[-1])}
        )
    # The prompts' numbers are those of one held-out file, the same in every fold.
    all_known, all_strange = joined(known), joined(strange)
    ours, theirs = (table.by_prompt(table.right) for table in (all_known, all_strange))
    both = sorted(ours.keys() & theirs.keys())
    return {
        "groups": groups,
        "labelers": len(labelers),
        "training labelers": accuracy(all_known),
        "held-out group": accuracy(all_strange),
        "difference": attempt(
            lambda: paired_difference([ours[p] for p in both], [theirs[p] for p in both], both, scale=(0.0, 1.0))
        ),
        "folds": folds,
    }
