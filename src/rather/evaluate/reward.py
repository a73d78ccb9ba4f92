"""The reward model as a measured instrument: how right it is, against what can be had, and what it goes by.

    report = report_on(scorer, train, held, demonstrations, rng)      # a dict of plain numbers, ready for JSON

Every number has n and an interval clustered by prompt, or a reason why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from rather.evaluate.reward_doctor import Evidence, examine
from rather.evaluate.reward_pairs import (
    Judgements,
    PairTable,
    accuracy,
    attempt,
    labelers_agree,
    right,
    score_rankings,
    table_of,
)
from rather.records import Demonstration, Ranking, spoken
from rather.stages.reward_data import Judged
from rather.stages.reward_scoring import Scored, Scorer, length_slope, responses_of
from rather.statistics import (
    TIE_CONVENTIONS,
    calibration,
    clustered_mean,
    noise_ceiling,
    pair_accuracy,
    paired_difference,
    pearson,
    spearman,
)

SHOWN = 5  # best and worst outputs
MOST_CATEGORIES = 30
TRAIN, VALIDATION, HELD_OUT = "train", "validation", "held-out labelers"


def report_on(
    scorer: Scorer,
    train: Sequence[Ranking],
    held: Sequence[Ranking],
    demonstrations: Sequence[Demonstration],
    rng: np.random.Generator,
    tokenizers: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """held: rankings of prompts that were not trained on. Those by labelers whom training never saw are a group apart.

    tokenizers: facts about the tokenizers of other models of the story, by name, for the doctor
    """
    learned, others = score_rankings(scorer, train), score_rankings(scorer, held)
    known = {ranking.labeler for ranking in train}
    groups = {
        TRAIN: table_of(learned.rankings),
        VALIDATION: table_of(one for one in others.rankings if one.record.labeler in known),
        HELD_OUT: table_of(one for one in others.rankings if one.record.labeler not in known),
    }
    # What is said of accuracy in detail is said of prompts never trained on, by whoever ranked them.
    unseen = table_of(others.rankings)
    demos = list(scorer.score(demonstrations)) if demonstrations else []
    found: dict[str, Any] = {
        "model": scorer.name,
        "scoring": scorer.scoring.to_dict() | {"heads": len(scorer.scoring.heads or [1])},
        "groups": {name: _group(table) for name, table in groups.items() if len(table) or name != HELD_OUT},
        "left out": {TRAIN: learned.too_long, VALIDATION: others.too_long},
        "agreement": _agreements(learned, others, known),
        "by": _slices(unseen),
        "calibration": _calibration(unseen, rng),
        "length": _length(groups[TRAIN], unseen, others, rng),
        "demonstrations": _outputs(demos, "demonstrations"),
        "outputs": _extremes([(one.record.id, one.record.prompt, response.text, value)
                              for one in others.rankings
                              for response, value in zip(one.record.responses, one.values, strict=True)]),
    }  # fmt: skip
    evidence = Evidence(scorer, learned, others, groups[TRAIN], unseen, found, tokenizers or {})
    found["doctor"] = [finding._asdict() for finding in examine(evidence)]
    return found


def _group(table: PairTable) -> dict[str, Any]:
    labelers = {one.record.labeler for one in table.of} - {None}
    loss = np.logaddexp(0.0, -table.lead * (2 * table.chosen - 1))
    return {
        "accuracy": accuracy(table),
        "loss": attempt(lambda: clustered_mean(loss, table.prompt, equal_clusters=True)),
        "prompts": len(set(table.prompt.tolist())),
        "pairs": len(table),
        "ties": table.ties,
        "labelers": len(labelers),
    }


def _agreements(learned: Judgements, others: Judgements, known: set[str | None]) -> dict[str, Any]:
    """Among the labelers of training on all their prompts, and among the held-out ones; with the ceiling of each."""
    groups: tuple[tuple[str, list[Judged], Callable[[str], bool]], ...] = (
        ("training labelers", [*learned.elements, *others.elements], lambda who: who in known),
        (HELD_OUT, list(others.elements), lambda who: who not in known),
    )
    return {name: _agreement(elements, among) for name, elements, among in groups}


def _agreement(elements: Sequence[Judged], among: Callable[[str], bool]) -> dict[str, Any]:
    said = {}
    for ties in TIE_CONVENTIONS:
        said[ties] = attempt(partial(labelers_agree, elements, among, ties))
    return {"agreement": said, "ceiling": attempt(lambda: noise_ceiling(labelers_agree(elements, among)))}


def _slices(table: PairTable) -> dict[str, list[dict[str, Any]]]:
    """Accuracy by how far apart the labeler put the two, by K, by category and by which one is longer."""
    apart = [("1 rank", table.apart == 1), ("2 ranks", table.apart == 2), ("3 and more", table.apart >= 3)]
    ks = sorted({len(one.values) for one in table.of})
    categories = sorted({one.record.category for one in table.of} - {None}, key=str)[:MOST_CATEGORIES]
    winner_longer = table.longer * (2 * table.chosen - 1)
    lengths = [
        ("the better is longer", winner_longer > 0),
        ("as long", winner_longer == 0),
        ("the better is shorter", winner_longer < 0),
    ]
    masks = {
        "margin": apart,
        "K": [(str(k), np.array([len(one.values) == k for one in table.of])) for k in ks],
        "category": [(str(c), np.array([one.record.category == c for one in table.of])) for c in categories],
        "length difference": lengths,
    }
    return {
        by: [{"name": name} | _brief(table.where(mask)) for name, mask in rows if mask.any()]
        for by, rows in masks.items()
    }


def _brief(table: PairTable) -> dict[str, Any]:
    return {"accuracy": accuracy(table), "pairs": len(table), "prompts": len(set(table.prompt.tolist()))}


def _calibration(table: PairTable, rng: np.random.Generator) -> dict[str, Any]:
    # The sigmoid of a difference of rewards is what the loss was about; far out it is 0 or 1 to machine precision.
    p = 0.5 * (1 + np.tanh(table.lead / 2))
    return attempt(lambda: calibration(p, table.chosen, table.prompt, rng))


def _length(train: PairTable, table: PairTable, judgements: Judgements, rng: np.random.Generator) -> dict[str, Any]:
    """What length alone would get, whether the model gets more, and how far its scores go with length."""
    # Whether longer or shorter wins is learned where the model learned, on the training pairs.
    wins = float((right(train.longer, train.chosen) - 0.5).sum())
    sign = 1.0 if wins >= 0 else -1.0
    found: dict[str, Any] = {"rule": "the longer wins" if sign > 0 else "the shorter wins"}
    found["baseline"] = attempt(lambda: pair_accuracy(sign * table.longer, table.chosen, table.prompt))
    ours = list(table.by_prompt(table.right).values())
    theirs = list(table.by_prompt(right(sign * table.longer, table.chosen)).values())
    found["model - baseline"] = attempt(lambda: paired_difference(ours, theirs, range(len(ours)), scale=(0.0, 1.0)))
    difference = found["model - baseline"].get("interval")
    found["beaten"] = None if difference is None else bool(difference[0] > 0)
    tokens, values, clusters = _centred(judgements)
    found["pearson"] = attempt(lambda: pearson(tokens, values, clusters, rng))
    found["spearman"] = attempt(lambda: spearman(tokens, values, clusters, rng))
    slope = length_slope([e.tree for e in judgements.elements], judgements.scores) if judgements.elements else None
    found["score per token"] = slope
    return found


def _centred(judgements: Judgements) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens and scores of every response, each less its prompt's mean: what is compared are answers to one prompt."""
    columns = []
    for n, (element, scores) in enumerate(zip(judgements.elements, judgements.scores, strict=True)):
        tokens = np.array([len(response) for response in element.tree.responses], dtype=float)
        columns += [(t, s, n) for t, s in zip(tokens - tokens.mean(), scores - scores.mean(), strict=True)]
    tokens, values, clusters = np.array(columns, dtype=float).reshape(-1, 3).T
    return tokens, values, clusters.astype(int)


def _outputs(scored: Sequence[Scored], what: str) -> dict[str, Any]:
    values = np.array([one.values[0] for one in scored])
    if not len(values):
        return {"reason": f"no {what} were given"}
    return {
        "mean": attempt(lambda: clustered_mean(values, range(len(values)))),
        "sd": float(values.std()),
        **_extremes([(one.record.id, one.record.prompt, responses_of(one.record)[0], one.values[0]) for one in scored]),
    }


def _extremes(rows: Sequence[tuple[str, Any, str, float]]) -> dict[str, list[dict[str, Any]]]:
    """The outputs it likes best and least, each text once."""
    once = {(str(prompt), text): (name, prompt, text, value) for name, prompt, text, value in rows}
    order = sorted(once.values(), key=lambda row: -row[3])
    few = min(SHOWN, len(order) // 2)
    shown = {"best": order[:few], "worst": order[::-1][:few]}
    return {
        side: [{"id": name, "prompt": spoken(prompt), "response": text, "score": float(value)}
               for name, prompt, text, value in picked]
        for side, picked in shown.items()
    }  # fmt: skip
