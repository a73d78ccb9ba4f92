"""Where the score of a response comes from: a reward model, several, a function, a verifier, or a program behind a URL.

All of them become one thing, a `Scorer`: episodes in, one number for each out. Texts go to functions and URLs; token
ids go to a reward model of the policy's own tokenizer, and a reward model with another one gets its own encoding.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.errors import BadSetting, RatherError, visible
from rather.models.load import Policy
from rather.models.logprobs import use_trees
from rather.models.reward_folder import Reward, load_reward_model
from rather.models.tokenizers import first_line
from rather.records import Prompt, spoken
from rather.stages.episodes import Episodes, response_scores
from rather.stages.optim import computing_in
from rather.stages.reward_scoring import Scoring
from rather.stages.steps import Share

Judge: TypeAlias = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]
Ensemble: TypeAlias = Literal["mean", "worst", "mean-spread"]
HTTP_SECONDS = 60


class BadScore(RatherError):
    """Whatever scores the responses failed, or gave something that is no score. A crash is never a score of 0."""


class Scores(NamedTuple):
    """Of B responses. spread: (B,) standard deviation between the reward models, None where there is one opinion."""

    scores: Tensor
    spread: Tensor | None = None


Scorer: TypeAlias = Callable[[Episodes, Share], Scores]


@dataclass(frozen=True)
class ByModel:
    """A reward model, frozen, that reads its score at the last token.

    compute: its large products run in this dtype; the head stays float32
    """

    reward: Reward
    policy: Policy
    compute: torch.dtype = torch.float32
    separator: str = "\n"
    same_tokens: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "same_tokens", same_tokens(self.reward.tokenizer, self.policy.tokenizer))
        own = (self.reward.scoring or {}).get("separator", self.separator)
        if own != self.separator and self.policy.tokenizer.chat_template is None and self.same_tokens:
            raise BadSetting(
                f"The reward model learned from texts joined by {own!r}; here they are joined by {self.separator!r}.",
                "Without a chat template, prompt and response are joined by the same separator everywhere.",
                f"separator={json.dumps(own)}, if the policy learned with it too",
            )
        use_trees(self.reward.model.body)
        self.reward.model.requires_grad_(False).eval()
        computing_in(self.reward.model.body, self.compute)

    def __call__(self, episodes: Episodes, share: Share) -> Scores:
        trees = episodes.trees if self.same_tokens else encoded_again(self.reward.tokenizer, episodes, self.separator)
        scores = response_scores(self.reward.model, trees, share)
        if self.reward.scoring is not None:  # what is linear in length may have been taken off (length_residual)
            tokens = np.array([len(tree.responses[0]) for tree in trees])
            taken = Scoring.of(self.reward, "The reward model").of_length(tokens)
            scores = scores - torch.from_numpy(taken).to(scores)
        return Scores(scores)


@dataclass(frozen=True)
class ByEnsemble:
    """Several opinions as one: their mean, the worst of them, or the mean less some standard deviations."""

    members: Sequence[Scorer]
    how: Ensemble
    spread_coef: float = 1.0

    def __call__(self, episodes: Episodes, share: Share) -> Scores:
        table = torch.stack([member(episodes, share).scores for member in self.members])  # (models, B)
        mean, spread = table.mean(0), table.std(0, correction=0)
        if self.how == "worst":
            return Scores(table.amin(0), spread)
        return Scores(mean - self.spread_coef * spread if self.how == "mean-spread" else mean, spread)


@dataclass(frozen=True)
class ByFunction:
    """A Python function of prompts and texts: a verifier, a classifier, the gold of a world.

    It is called by every worker; it should give the same answer on each.
    """

    judge: Judge
    name: str

    def __call__(self, episodes: Episodes, share: Share) -> Scores:
        try:
            said = self.judge(episodes.prompts, episodes.texts)
        except RatherError:
            raise
        except Exception as error:  # somebody else's function: whatever it raises is said, never taken for a score
            raise BadScore(
                f"{self.name} failed on {len(episodes):,} responses: {type(error).__name__}: {first_line(error)}",
                "Expected one number for each response.",
            ) from error
        return Scores(torch.tensor(checked(said, len(episodes), self.name), device=share.device))


def http_judge(url: str) -> Judge:
    """A program that takes {"prompts": [...], "responses": [...]} by POST and answers {"scores": [...]}."""

    def judge(prompts: Sequence[Prompt], texts: Sequence[str]) -> Sequence[float]:
        asked = json.dumps(
            {"prompts": [spoken(prompt.prompt) for prompt in prompts], "responses": list(texts)}
        ).encode()
        request = urllib.request.Request(url, asked, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as answer:
                found = json.loads(answer.read())
        except (OSError, ValueError) as error:
            raise BadScore(
                f"{visible(url)} did not score {len(texts):,} responses: {first_line(error)}",
                'Expected an answer {"scores": [...]} to a POST of {"prompts": [...], "responses": [...]}.',
                "Is the program running?",
            ) from error
        if not isinstance(found, dict) or "scores" not in found:
            raise BadScore(f"{visible(url)} answered {str(found)[:80]!r}.", 'Expected {"scores": [...]}.')
        return found["scores"]

    return judge


def named_judge(name: str) -> Judge:
    """`module:function`, imported."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSetting(
            f"{visible(name)} cannot be imported: {first_line(error)}",
            "Expected module:function, of a function (prompts, responses) -> one number for each.",
        ) from error
    if not callable(found):
        raise BadSetting(f"{visible(name)} is a {type(found).__name__}.", "Expected a function.")
    return found


def scorer_of(
    reward: Reward | Judge | Sequence[Reward | Judge],
    policy: Policy,
    compute: torch.dtype = torch.float32,
    ensemble: Ensemble = "mean",
    spread_coef: float = 1.0,
    separator: str = "\n",
) -> Scorer:
    """Any of them as one scorer; several are an ensemble."""
    if isinstance(reward, Reward):
        return ByModel(reward, policy, compute, separator)
    if callable(reward):
        return ByFunction(reward, getattr(reward, "__name__", type(reward).__name__))
    members = [scorer_of(one, policy, compute, separator=separator) for one in reward]
    if not members:
        raise BadSetting("There is nothing that scores.", "Expected a reward model, a function or a URL.")
    return members[0] if len(members) == 1 else ByEnsemble(members, ensemble, spread_coef)


def checked(said: Any, count: int, name: str) -> list[float]:
    """As many finite numbers as there are responses."""
    try:
        scores = [float(score) for score in said]
    except (TypeError, ValueError) as error:
        raise BadScore(f"{name} gave {str(said)[:80]!r}.", f"Expected {count:,} numbers.") from error
    if len(scores) != count:
        raise BadScore(f"{name} gave {len(scores):,} scores for {count:,} responses.", "Expected one for each.")
    if wrong := [score for score in scores if not math.isfinite(score)]:
        raise BadScore(f"{name} gave {wrong[0]} as a score.", "Expected finite numbers.")
    return scores


def reward_named(name: str) -> Reward | Judge:
    """A reward by words: a URL, module:function, or the folder or hub id of a reward model."""
    if name.startswith(("http://", "https://")):
        return http_judge(name)
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        return named_judge(name)
    return load_reward_model(name)


def same_tokens(one: Any, other: Any) -> bool:
    """Whether two tokenizers give the same ids, special tokens included."""
    ends = [(t.bos_token_id, t.eos_token_id, t.pad_token_id, t.chat_template) for t in (one, other)]
    return ends[0] == ends[1] and one.get_vocab() == other.get_vocab()


def encoded_again(tokenizer: Any, episodes: Episodes, separator: str) -> list[Tree]:
    """The episodes as another tokenizer writes them, one tree each.

    Only this copy is encoded again. The policy's own tokens stay those that were sampled: decoded and encoded, they
    may be others, and the ratio would not be 1.
    """
    encoder = Encoder(tokenizer, tokenizer.chat_template, separator=separator)
    asked = [prompt.prompt for prompt in episodes.prompts]
    return encoder.answers(asked, episodes.texts, episodes.finished.tolist())
