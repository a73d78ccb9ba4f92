"""What is logged of an iteration of step 3. docs/metrics.md gives each its formula and its healthy range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rather.advantages import explained_variance
from rather.batches.trees import Tree
from rather.models.load import Policy
from rather.records import spoken
from rather.stages.episodes import Episodes

OPENING = 4  # tokens; what begins with the same four is the same opening


class Updates:
    """The numbers of an iteration's updates."""

    def __init__(self) -> None:
        self._rows: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._rows.setdefault(name, []).append(value)

    def together(self) -> dict[str, float]:
        """Their means; of what ends in _max the largest."""
        return {name: max(row) if name.endswith("_max") else float(np.mean(row)) for name, row in self._rows.items()}


def of_rollout(
    episodes: Episodes, raw_scores: Tensor, scores: Tensor, spread: Tensor | None, kl: Tensor, kl_coef: float
) -> dict[str, Any]:
    """Reward, KL and the look of the responses. raw_scores, scores: (B,) before and after the EOS rule; kl: (B, T)"""
    of_response = kl.sum(1).double()  # (B,)
    penalty = -kl_coef * of_response
    count = len(episodes)
    lengths = episodes.lengths.double()
    openings = Counter(tuple(tree.responses[0][:OPENING].tolist()) for tree in episodes.trees)
    values = {
        "objective/scores": mean(raw_scores),
        "objective/scores_std": float(raw_scores.double().std(correction=0)),
        "objective/kl": mean(of_response),
        "objective/kl_se": float(of_response.std(correction=0)) / count**0.5,
        "objective/kl_per_token": float(of_response.sum() / lengths.sum()),
        "objective/kl_coef": kl_coef,
        "objective/non_score_reward": mean(penalty),
        "objective/rlhf_reward": mean(scores.double() + penalty),
        "response/length": mean(lengths),
        "response/length_slope": slope(lengths, raw_scores.double()),
        "response/finished": mean(episodes.finished.double()),
        "response/distinct_2": distinct(episodes.trees, 2),
        "response/openings": len(openings) / count,
        "response/top_opening": max(openings.values()) / count,
    }
    if spread is not None:
        values["objective/score_spread"] = mean(spread)
    return values


def of_values(values: Tensor, returns: Tensor, mask: Tensor) -> dict[str, Any]:
    """How much the critic knew before it learned. values, returns, mask: (B, T)"""
    explained = float(explained_variance(values, returns, mask))
    return {
        "val/mean": mean(values[mask]),
        "val/returns": mean(returns[mask]),
        "val/explained_variance": explained if np.isfinite(explained) else None,
    }


def mean(values: Tensor) -> float:
    return float(values.double().mean())


def slope(x: Tensor, y: Tensor) -> float | None:
    """Of the line through the points; None when x does not vary. How many points of score a token more comes with."""
    x = x - x.mean()
    across = float((x * x).sum())
    return float((x * y).sum()) / across if across else None


def distinct(trees: Sequence[Tree], n: int) -> float | None:
    """Different runs of n tokens over all runs of n tokens; None when no response is that long."""
    runs = [tuple(r[i : i + n].tolist()) for tree in trees for r in tree.responses for i in range(len(r) - n + 1)]
    return len(set(runs)) / len(runs) if runs else None


def shown(
    policy: Policy, episodes: Episodes, scores: Tensor, tables: Mapping[str, Tensor], count: int
) -> Iterator[dict[str, Any]]:
    """Rows for samples.jsonl: the first episodes with a number per token from each (B, T) table."""
    for at in range(min(count, len(episodes))):
        ids = episodes.trees[at].responses[0].tolist()
        yield {
            "id": episodes.prompts[at].id,
            "prompt": spoken(episodes.prompts[at].prompt),
            "response": episodes.texts[at],
            "finished": bool(episodes.finished[at]),
            "score": round(float(scores[at]), 5),
            "kl_sum": round(float(tables["kl"][at].sum()), 5),
            "tokens": [str(policy.tokenizer.decode([token])) for token in ids],
            **{name: [round(x, 5) for x in table[at, : len(ids)].tolist()] for name, table in tables.items()},
        }
