"""Claims 7 to 11: what supervised fine-tuning and the reward model learn, and from how much."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from rather.evaluate.claims.evidence import Evidence, Missing, figure
from rather.evaluate.claims.figures import (
    Figure,
    Verdict,
    at_least,
    at_most,
    minus,
    more_than,
    undecided,
    verdict,
)

EPOCHS = 16
WHOLE = ("reward", "reward-4000", "reward-1000", "reward-250")  # trained on whole rankings
EQUAL = 0.01  # accuracies that are as good as equal


def sft_overfits(run: Evidence) -> Verdict:
    curve = run.curve("sft-few", "epoch", "val/loss", "world/gold")
    epochs = [round(epoch) for epoch, *_ in curve]
    if epochs[-1] < EPOCHS:
        return undecided(f"sft-few ran {epochs[-1]} of {EPOCHS} epochs")
    best = min(range(len(curve)), key=lambda at: curve[at][1])
    (_, lowest, gold_then), (_, last, gold_now) = curve[best], curve[-1]
    return verdict(
        at_most("epoch of the lowest loss", Figure(epochs[best]), 4),
        at_least("last / lowest", Figure(last / lowest), 1.1),
        more_than("U* since", Figure(gold_now - gold_then)),
    )


def near_agreement(run: Evidence) -> Verdict:
    right = figure(run, "reward", "accuracy", "training")
    agreement = figure(run, "labelers", "agreement", "training", "dropped")
    ceiling = figure(run, "labelers", "ceiling", "training")
    return verdict(
        at_most("agreement - accuracy", minus(agreement, right), 0.06),
        at_most("accuracy", right, ceiling.value),
        note=f"accuracy {right.value:.3f}, agreement {agreement.value:.3f}, ceiling {ceiling.value:.3f}",
    )


def held_out_is_worse(run: Evidence) -> Verdict:
    drop = figure(run, "reward", "accuracy", "drop")
    return verdict(at_least("drop", drop, 0.0), at_most("drop", drop, 0.06))


def batches_beat_pairs(run: Evidence) -> Verdict:
    gaps, tests, hours = [], [], []
    for name in (_on_the_same_rankings(run), "reward-shuffled"):
        train, test = (_reported(run.report(name), name, group) for group in ("train", "validation"))
        gaps.append(minus(train, test))
        tests.append(test)
        hours.append(run.seconds(name) / float(run.setting(name, "epochs") or 1))
    return verdict(
        at_least("train - test is smaller by", minus(gaps[1], gaps[0]), 0.05),
        at_least("test accuracy - theirs", minus(tests[0], tests[1]), -EQUAL),
        at_most("seconds an epoch / theirs", Figure(hours[0] / hours[1]), 0.5),
    )


def _on_the_same_rankings(run: Evidence) -> str:
    wanted = run.setting("reward-shuffled", "rankings")
    for name in WHOLE:
        if run.has(name) and run.setting(name, "rankings") == wanted:
            return name
    raise Missing("no reward model was trained on the rankings of reward-shuffled, each of them whole")


def more_data_helps(run: Evidence) -> Verdict:
    sizes = (250, 1000, 4000)
    right = [figure(run, f"reward-{size}", "accuracy", "training") for size in sizes]
    steps = [
        more_than(f"{less} to {more}", minus(after, before))
        for (less, before), (more, after) in pairwise(zip(sizes, right, strict=True))
    ]
    return verdict(*steps, note=", ".join(f"{size}: {of.value:.3f}" for size, of in zip(sizes, right, strict=True)))


def _reported(report: Mapping[str, Any], name: str, group: str) -> Figure:
    found = report.get("groups", {}).get(group, {}).get("accuracy")
    if not isinstance(found, Mapping) or not isinstance(found.get("value"), float):
        raise Missing(f"{name}/report.json has no accuracy of {group}")
    return Figure.of(found)
