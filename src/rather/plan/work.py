"""What a stage computes: tokens through each of its models, and steps of its optimisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rather.plan.models import Cast
from rather.plan.shapes import Shape
from rather.stages.pretrain import CONTEXT, ROWS, TOKENS

# train: tokens forward and backward     score: forward alone     decode: tokens sampled     update: optimiser steps
Kind = Literal["train", "score", "decode", "update"]


@dataclass(frozen=True)
class Work:
    """what: the part of the stage it belongs to     context: tokens of a sequence     slots: sequences side by side"""

    what: str
    shape: Shape
    kind: Kind
    count: float
    context: float
    slots: int = 1

    def to_dict(self) -> dict[str, Any]:
        return {"what": self.what, "kind": self.kind, "count": round(self.count)}


def work_of(verb: str, settings: Any, cast: Cast, exact: bool) -> list[Work]:
    """Expected, not worst: lengths are means. Empty where nobody knows how much there is to read.

    exact: in fp32, where the sampler's log-probabilities serve as the trainer's
    """
    match verb:
        case "pretrain":
            return _pretrain(settings, cast)
        case "sft" | "init":
            return _sft(settings, cast)
        case "rank":
            return _rank(settings, cast)
        case "reward" | "dpo":
            return _compare(verb, settings, cast)
    return _rollouts(verb, settings, cast, exact)


def _pretrain(settings: Any, cast: Cast) -> list[Work]:
    shape = cast.shapes["policy"]
    tokens = settings.tokens or TOKENS[settings.size]
    steps = tokens / (settings.batch_size or ROWS[settings.size]) / CONTEXT
    looks = steps // settings.evaluate_every + 1
    return [
        Work("training", shape, "train", tokens, CONTEXT),
        Work("training", shape, "update", steps, CONTEXT),
        Work("measuring", shape, "score", looks * settings.validation_tokens, CONTEXT),
    ]


def _sft(settings: Any, cast: Cast) -> list[Work]:
    shape, read = cast.shapes["policy"], cast.reads["demonstrations"]
    if read.count is None:
        return []
    texts = read.count * read.response * settings.pretraining_share / (1 - settings.pretraining_share)
    tokens = settings.epochs * (read.count * read.tokens + texts)
    steps = settings.epochs * -(-read.count // settings.batch_size)
    asked = settings.epochs * settings.validation_prompts
    looked = settings.epochs * read.count * settings.validation_share * read.tokens
    found = [
        Work("training", shape, "train", tokens, read.tokens),
        Work("training", shape, "update", steps, read.tokens),
        Work("measuring", shape, "score", looked + asked * read.prompt, read.tokens),
        Work("measuring", shape, "decode", asked * read.response, read.tokens, 64),
    ]
    if "reward model" in cast.shapes:
        found.append(Work("measuring", cast.shapes["reward model"], "score", asked * read.tokens, read.tokens))
    return found


def _rank(settings: Any, cast: Cast) -> list[Work]:
    read = cast.reads["prompts"]
    answers = (settings.prompts + settings.validation) * (settings.k_min + settings.k_max) / 2 / len(cast.shapes)
    said = min(read.response, settings.max_new_tokens)
    return [Work("answers", shape, "decode", answers * said, read.prompt + said, settings.slots)
            for shape in cast.shapes.values()]  # fmt: skip


def _compare(verb: str, settings: Any, cast: Cast) -> list[Work]:
    shape, read = cast.shapes["policy"], cast.reads["rankings"]
    if read.count is None:
        return []
    held = read.count * settings.validation_share
    steps = settings.epochs * -(-read.count // settings.batch_size)
    looks = steps // settings.evaluate_every + 2
    scored = (read.count + looks * held) * read.tokens  # all rankings once, the validation ones at every look
    found = [
        Work("training", shape, "train", settings.epochs * read.count * read.tokens, read.tokens),
        Work("training", shape, "update", steps, read.tokens),
        Work("scoring", shape, "score", scored, read.tokens),
    ]
    if verb == "dpo" and settings.validation_prompts:
        asked = looks * settings.validation_prompts
        both = asked * (read.prompt + read.response)  # read by the policy and by its reference
        found.append(Work("measuring", shape, "decode", asked * read.response, read.prompt + read.response, 64))
        found.append(Work("measuring", shape, "score", 2 * both, read.prompt + read.response))
        if "reward model" in cast.shapes:
            found.append(Work("measuring", cast.shapes["reward model"], "score", both, read.prompt + read.response))
    if verb == "dpo" and settings.ptx_coef:
        texts = steps * settings.ptx_examples * settings.ptx_length
        found.append(Work("pretraining mix", shape, "train", texts, settings.ptx_length))
    return found


def _rollouts(verb: str, settings: Any, cast: Cast, exact: bool) -> list[Work]:
    policy, read = cast.shapes["policy"], cast.reads["prompts"]
    said = min(read.response, settings.max_new_tokens)
    context = read.prompt + said
    grouped = verb == "grpo"
    k = settings.samples if grouped else 1
    prompts = settings.iterations * settings.batch_size
    tokens = prompts * (read.prompt + k * said)  # a prompt is computed once for all its responses
    learning = 1.0 if grouped else max(0, settings.iterations - settings.value_iterations) / settings.iterations
    steps = settings.iterations * settings.updates * learning
    found = [
        Work("sampling", policy, "score", prompts * read.prompt, read.prompt),
        Work("sampling", policy, "decode", prompts * k * said, context, settings.slots),
    ]
    for role, shape in cast.shapes.items():
        if role != "policy":
            found.append(Work("scoring", shape, "score", tokens, context))
    if not exact:
        found.append(Work("scoring", policy, "score", tokens, context))  # in bf16 the trainer forms its own
    found += [
        Work("learning", policy, "train", learning * settings.inner_epochs * tokens, context),
        Work("learning", policy, "update", steps, context),
    ]
    if "critic" in cast.shapes:
        critic, updates = cast.shapes["critic"], settings.iterations * settings.updates
        found += [
            Work("learning, critic", critic, "train", settings.inner_epochs * tokens, context),
            Work("learning, critic", critic, "update", updates, context),
        ]
    if settings.ptx_examples:
        texts = steps * settings.ptx_examples * min(settings.ptx_length, policy.window or settings.ptx_length)
        found.append(Work("pretraining mix", policy, "train", texts, settings.ptx_length))
    return found
