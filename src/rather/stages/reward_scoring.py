"""A saved reward model at work: records in, numbers out, with what stands beside the weights.

    scorer = Scorer.load("run/reward/checkpoint")
    for scored in scorer.score(records):
        scored.values        # (K,) one number for each response of the record

The weights alone are a plain sequence classifier. `scoring.json` beside them says how they were normalised, what part
of the score is linear in length, and, where several heads were trained on one body, what each of them is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn

from rather.batches.encoding import Encoder, EncodingReport
from rather.batches.trees import Tree
from rather.errors import BadModel
from rather.models.heads import RewardModel
from rather.models.load import folder_of
from rather.models.logprobs import use_trees
from rather.models.reward_folder import SCORING, Reward, load_reward_model
from rather.records import Comparison, Demonstration, Ranking, Record
from rather.records.types import Message
from rather.stages.reward_loss import score_trees
from rather.stages.steps import Share


@dataclass(frozen=True)
class Scoring:
    """What a reward folder says besides its weights.

    normalised_on, normalised_n: which texts, and how many, average 0     spread: standard deviation of their scores
    slope: score per token of response that length alone brings, None where it is left in
    usual_length: tokens; the residual takes `slope * (tokens - usual_length)` off, so these texts still average 0
    heads: weight and bias of each head, None where there is one
    """

    normalised_on: str
    normalised_n: int
    spread: float
    slope: float | None
    usual_length: float
    heads: list[list[float]] | None
    separator: str
    max_prompt: int | None
    max_length: int | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, reward: Reward, folder: str) -> Self:
        raw, expected = reward.scoring, "Expected the file that was saved with the model."
        again = "Copy the folder again, whole"
        if raw is None:
            raise BadModel(f"{folder} has no {SCORING}: it was not made by rather reward.", expected)
        if set(raw) != {field.name for field in fields(cls)}:
            raise BadModel(f"{folder}/{SCORING} has other fields than were saved.", expected, again)
        found = cls(**raw)
        numbers = [found.spread, found.usual_length, *([] if found.slope is None else [found.slope])]
        numbers += [x for head in found.heads or [] for x in head] if isinstance(found.heads, list | None) else [None]
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
            raise BadModel(f"{folder}/{SCORING} holds something that is no number.", expected, again)
        if not isinstance(found.separator, str):
            raise BadModel(f"{folder}/{SCORING} has no separator.", expected, again)
        return found

    def of_length(self, tokens: np.ndarray) -> np.ndarray:
        """The part of the scores that is taken off for length.    tokens: (K,) of each response"""
        return (self.slope or 0.0) * (tokens - self.usual_length)


class Scored(NamedTuple):
    """What a reward model says of one record's K responses.

    values: (K,)     plain: (K,) before length was taken off, the same where it was not
    spread: (K,) standard deviation over heads and models, None where there is one of them
    tokens: (K,) of each response, EOS included
    """

    record: Any
    tree: Tree
    values: np.ndarray
    plain: np.ndarray
    spread: np.ndarray | None
    tokens: np.ndarray


@dataclass(frozen=True, eq=False)
class Scorer:
    """A reward model, its encoder, and how its numbers are read."""

    model: RewardModel
    encoder: Encoder
    scoring: Scoring
    heads: nn.Linear | None
    name: str = ""

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "cpu") -> Self:
        """A folder of `rather reward`. Its probes have been scored again, and equal what they were."""
        folder = folder_of(name)
        reward = load_reward_model(folder)
        scoring = Scoring.of(reward, str(folder))
        model = reward.model.to(device)
        use_trees(model.body)
        template: Any = reward.tokenizer.chat_template
        encoder = Encoder(reward.tokenizer, template, scoring.max_prompt, scoring.max_length, scoring.separator)
        return cls(model, encoder, scoring, _heads(scoring, model, folder), str(name))

    def score(self, records: Iterable[Record], budget: int = 4096) -> Iterator[Scored]:
        """In the order of the records; what is too long is left out. See `encoded` for how many that are."""
        listed = list(records)
        trees, report = self.encoded(listed)
        found = self.of_trees(trees, budget)
        for tree, index, (values, plain, spread) in zip(trees, report.kept, found, strict=True):
            yield Scored(listed[index], tree, values, plain, spread, lengths_of(tree))

    def of_answers(
        self, prompts: Sequence[str | Sequence[Message]], texts: Sequence[str], finished: Sequence[bool]
    ) -> list[float]:
        """What a model said to each prompt, however long, as one number: what a policy is watched with."""
        return [float(values[0]) for values, _, _ in self.of_trees(self.encoder.answers(prompts, texts, finished))]

    def encoded(self, records: Iterable[Record]) -> tuple[list[Tree], EncodingReport]:
        """What is too long, and what a model said without a word, is left out and counted."""
        return self.encoder.encode_all(records, strict=False)

    def of_trees(
        self, trees: Sequence[Tree], budget: int = 4096
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """(values, plain, spread) of each tree, each (K,); spread is None with a single head."""
        share = Share(budget, device=self.model.head.weight.device)
        ensemble = self.model if self.heads is None else RewardModel(self.model.body, self.heads)
        for tree, scores in zip(trees, score_trees(ensemble, trees, share), strict=True):  # (K, n)
            plain = scores.mean(1)
            yield (
                plain - self.scoring.of_length(lengths_of(tree)),
                plain,
                scores.std(1) if self.heads is not None else None,
            )


def responses_of(record: Any) -> list[str]:
    match record:
        case Demonstration():
            return [record.response]
        case Ranking():
            return [response.text for response in record.responses]
        case Comparison():
            return [record.a.text, record.b.text]
    raise AssertionError(f"{type(record).__name__} has no responses to score")


def lengths_of(tree: Tree) -> np.ndarray:
    return np.array([len(response) for response in tree.responses])


def length_slope(trees: Sequence[Tree], scores: Sequence[np.ndarray]) -> float:
    """Score per token among the responses to one prompt: least squares with a constant for each prompt.

    Within prompts, because what is compared are answers to one question; that long questions have long answers is
    nobody's bias. 0 where all responses to each prompt are equally long.
    """
    up = down = 0.0
    for tree, found in zip(trees, scores, strict=True):
        length = lengths_of(tree) - lengths_of(tree).mean()
        up += float(length @ (found - found.mean()))
        down += float(length @ length)
    return up / down if down else 0.0


def _heads(scoring: Scoring, model: RewardModel, folder: Path) -> nn.Linear | None:
    if scoring.heads is None:
        return None
    table = torch.tensor(scoring.heads, device=model.head.weight.device)
    width = model.head.weight.shape[1]
    if table.ndim != 2 or table.shape[1] != width + 1 or not torch.allclose(
        table[:, :-1].mean(0), model.head.weight[0], atol=1e-5
    ):  # fmt: skip
        raise BadModel(
            f"{folder / SCORING}: its heads are not those of the model.",
            "Expected heads whose mean is the model's own.",
            "Copy the folder again, whole",
        )
    heads = nn.Linear(width, len(table)).to(table.device)
    with torch.no_grad():
        heads.weight.copy_(table[:, :-1])
        heads.bias.copy_(table[:, -1])
    return heads
