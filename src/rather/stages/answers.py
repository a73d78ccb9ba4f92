"""What a policy answers to validation prompts while it is trained: does it end, what does a reward model say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from rather.batches.encoding import Encoder
from rather.batches.trees import Tokens, Tree
from rather.errors import BadSetting
from rather.models.load import Policy
from rather.records.types import Message, spoken
from rather.rollout import Sampling, sample

Prompt = str | Sequence[Message]
Scorer = Callable[[Sequence[Prompt], Sequence[str], Sequence[bool]], Sequence[float]]  # prompts, answers, finished
Measure = Callable[[Policy], Mapping[str, float]]  # what else to log of a policy as it learns


@dataclass(frozen=True)
class Asked:
    """Prompts as records write them, and as the model reads them; how long an answer may be."""

    prompts: tuple[Prompt, ...]
    ids: tuple[Tokens, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class Answered:
    """trees: each prompt with its answer, as it was sampled"""

    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]
    finished: tuple[bool, ...]
    lengths: tuple[int, ...]
    scores: tuple[float, ...] = ()
    trees: tuple[Tree, ...] = field(default=(), compare=False)

    def summary(self) -> dict[str, float]:
        """Of all answers; nothing where nothing was asked."""
        if not self.texts:
            return {}
        n = len(self.texts)
        found = {"val/finished": sum(self.finished) / n, "val/length": sum(self.lengths) / n}
        return found | ({"val/reward": sum(self.scores) / n} if self.scores else {})

    def rows(self) -> list[dict[str, Any]]:
        """As they stand in samples.jsonl."""
        return [
            {"prompt": spoken(prompt), "response": text, "finished": ended}
            | ({"score": self.scores[at]} if self.scores else {})
            for at, (prompt, text, ended) in enumerate(zip(self.prompts, self.texts, self.finished, strict=True))
        ]


def ask(encoder: Encoder, prompts: Sequence[Prompt], window: int | None, max_new_tokens: int) -> tuple[Asked, int]:
    """The prompts that leave room for an answer, and how many do not."""
    ids = encoder.prompts(prompts)
    fits = [window is None or len(tokens) + max_new_tokens <= window for tokens in ids]
    if prompts and not any(fits):
        raise BadSetting(
            f"None of {len(prompts)} validation prompts leaves room for {max_new_tokens} new tokens in the model's "
            f"window of {window}.",
            f"The shortest prompt has {min(map(len, ids))} tokens.",
            "Lower max_new_tokens, or set validation_prompts=0",
        )
    kept = [at for at, fit in enumerate(fits) if fit]
    asked = Asked(tuple(prompts[at] for at in kept), tuple(ids[at] for at in kept), max_new_tokens)
    return asked, len(prompts) - len(kept)


def answer(policy: Policy, asked: Asked, seed: int, scorer: Scorer | None = None) -> Answered:
    """One answer to each prompt at temperature 1, with the same seeds every time: epochs differ, luck does not."""
    if not asked.prompts:
        return Answered((), (), (), ())
    sampling = Sampling(max_new_tokens=asked.max_new_tokens)
    rollout = sample(policy, asked.ids, sampling, torch.Generator().manual_seed(seed))
    drawn = [of[0] for of in rollout.samples]
    texts = [
        str(policy.tokenizer.decode((s.tokens[:-1] if s.finished else s.tokens).tolist(), skip_special_tokens=True))
        for s in drawn
    ]
    finished = [s.finished for s in drawn]
    scores = scorer(asked.prompts, texts, finished) if scorer else ()
    trees = rollout.trees([str(at) for at in range(len(drawn))])
    return Answered(
        asked.prompts, tuple(texts), tuple(finished), tuple(len(s.tokens) for s in drawn), tuple(map(float, scores)),
        tuple(trees),
    )  # fmt: skip
