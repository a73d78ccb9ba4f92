"""The self-test of step 3, in the first seconds of every run: numbers that have to be what they are.

A wrong number here looks like a number for days. Each check that fails stops the run and names its causes, the
likeliest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from rather.batches.packing import collate
from rather.batches.trees import Tree
from rather.errors import CheckFailed
from rather.models.dropout import prove_no_dropout
from rather.models.logprobs import hidden_states

# The largest difference that a float32 log-probability or score may have between two orders of the same sums. In
# bfloat16 a single token may be off by a few tenths; there it is the mean that has to be small.
FP32_MOST, BF16_MEAN = 1e-3, 0.05


class SelfTest(CheckFailed):
    """A check of the self-test failed."""

    def __init__(self, found: str, causes: tuple[str, ...], do: str = "") -> None:
        numbered = "  ".join(f"{n}. {cause}." for n, cause in enumerate(causes, start=1))
        super().__init__(f"Self-test: {found}", f"Likely causes, in order: {numbered}", do)


def no_dropout(models: Mapping[str, PreTrainedModel]) -> None:
    """Item 13: nothing is dropped in any of the models, though the SFT model was trained with 0.2."""
    for name, model in models.items():
        tokens = np.arange(3, 11, dtype=np.int32) % model.config.get_text_config().vocab_size
        row = collate([Tree(tokens[:4], (tokens[4:],))]).to(next(model.parameters()).device)
        try:
            prove_no_dropout(model, partial(hidden_states, model, row))
        except CheckFailed as failed:
            raise SelfTest(
                f"{name}: {failed.found}",
                (
                    "set_dropout was called on the model after it was loaded",
                    "the model has a random part of its own (layer drop, router jitter)",
                ),
                "Pass the model as load_policy gives it.",
            ) from failed


def ends(finished: Tensor, max_new_tokens: int) -> None:
    """Item 2: the policy has learned its end. finished: (B,) bool"""
    if not finished.any():
        raise SelfTest(
            f"none of {len(finished):,} responses ended within {max_new_tokens} tokens.",
            (
                "the demonstrations the policy learned from had no EOS, or it was masked out as padding",
                f"max_new_tokens={max_new_tokens} is shorter than the answers",
                "the chat template ends a turn with another token than the policy stops at",
            ),
            "Look at some:  rather sample MODEL   and at the end of the demonstrations:  rather preview FILE",
        )


def sampler_is_trainer(sampled: Tensor, trained: Tensor, exact: bool, temperature: float) -> float:
    """Items 6, 9, 10, 12: both give the same log-probabilities. sampled, trained: (N,) -> the largest difference

    Whichever of them is `old_logprobs`: this is the log of the ratio at the first minibatch.
    """
    apart = (sampled - trained).abs()
    most, average = float(apart.max()), float(apart.mean())
    if most > FP32_MOST if exact else average > BF16_MEAN:
        raise SelfTest(
            f"sampler and trainer disagree: the log-ratio is {most:.3g} at most and {average:.3g} on average over "
            f"{len(apart):,} tokens, where the policy has not moved.",
            (
                f"the temperature ({temperature:g}) is applied on one side only",
                "dropout, or something else random, is on in one of them",
                "positions or padding differ between the two",
                "the sampler cuts off its distribution (top-k, top-p)",
                "precision: try precision=fp32",
            ),
        )
    return most


def ratio_is_one(log_ratio_max: float, exact: bool) -> None:
    """Item 12, on the very numbers that are trained on: at the first update of an iteration nothing has moved."""
    if log_ratio_max > (FP32_MOST if exact else 1.0):
        raise SelfTest(
            f"the ratio at the first minibatch is not 1: the largest |log ratio| is {log_ratio_max:.3g}.",
            ("old and new log-probabilities come from different weights", "rows of the minibatch are misplaced"),
        )


def kl_is_zero(log_ratio: Tensor, exact: bool) -> float:
    """Item 36: at step 0 the policy is its own reference. log_ratio: (N,) -> mean |log-ratio|"""
    most, average = float(log_ratio.abs().max()), float(log_ratio.abs().mean())
    if most > FP32_MOST if exact else average > BF16_MEAN:
        raise SelfTest(
            f"the KL at step 0 is not 0: |log policy - log reference| is {most:.3g} at most and {average:.3g} on "
            f"average over {len(log_ratio):,} tokens.",
            (
                "the reference is another model than the one the policy begins as",
                "the temperature is applied to one of them only",
                "dropout is on in one of them",
            ),
            "The reference is the model of app. C.3, the same that the policy is loaded from.",
        )
    return average


def begun_with(now: Mapping[str, str], then: Mapping[str, str]) -> None:
    """Item 36, for a run that goes on: reference and reward models are those it began with, by their fingerprints."""
    for name in now:
        if now[name] != then[name]:
            raise SelfTest(
                f"the {name} is not the one this run began with: its weights are {now[name][:12]}, they were "
                f"{then[name][:12]}.",
                ("its folder was written again after the run began", "another folder was put in its place"),
                "Put the old one back, or begin another run:  --name ANOTHER",
            )


def critic_is_reward(last_values: Tensor, scores: Tensor, exact: bool) -> float:
    """Item 35: the critic begins as the reward model, head and bias included. Both (B,) -> the largest difference"""
    apart = (last_values - scores).abs()
    allowed = (FP32_MOST if exact else 0.1) * scores.abs().clamp(min=1)
    most = float(apart.max())
    if bool((apart > allowed).any()):
        shift = float((last_values - scores).mean())
        alike = float((last_values - scores).std(correction=0)) < 0.01 * abs(shift)
        raise SelfTest(
            f"the critic's value at the last token is not the reward model's score: they differ by {most:.3g} at most"
            + (f", and always by the same {shift:.3g}." if alike else "."),
            (
                "the bias of the head (the shift that makes demonstrations average 0) was lost when it was copied",
                "the critic was loaded from another checkpoint than the reward model",
                "the score is not read at the response's last token",
            )
            if alike
            else (
                "the critic was loaded from another checkpoint than the reward model",
                "the score is not read at the response's last token",
                "dropout is on in one of them",
            ),
        )
    return most


def reward_model_knows(report: Mapping[str, Any] | None) -> str:
    """Item 8 of the reward models' list: better than a coin on prompts it never saw. -> what was found, in words

    report: of `rather reward report`, None where there is none
    """
    groups = report.get("groups") if report else None
    for name in ("validation", "held-out labelers"):
        group = groups.get(name) if isinstance(groups, Mapping) else None
        found = group.get("accuracy") if isinstance(group, Mapping) else None
        interval = found.get("interval") if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping) or not isinstance(interval, list) or len(interval) != 2:
            continue
        if not all(isinstance(end, int | float) for end in interval):
            continue
        said = f"accuracy {interval[0]:.3f} to {interval[1]:.3f} on pairs it never saw ({name}, n {found.get('n')})"
        if interval[0] <= 0.5:
            raise SelfTest(
                f"the reward model may be no better than a coin: {said}.",
                (
                    "too few comparisons, or too few held-out ones to tell",
                    "the labels are noise: look at the labelers' agreement",
                    "chosen and rejected are swapped in part of the data",
                ),
                "rather reward report RUN says more; its doctor names what it finds.",
            )
        return said
    return "nobody has measured it on pairs it never saw:  rather reward report RUN"


def first_rollout(
    *,
    sampled: Tensor,
    trained: Tensor,
    old: Tensor,
    reference: Tensor,
    mask: Tensor,
    finished: Tensor | None,
    max_new_tokens: int,
    temperature: float,
    exact: bool,
    at_start: bool,
    values_and_scores: tuple[Tensor, Tensor] | None,
) -> dict[str, float]:
    """All that the first rollout of a run can tell; -> what was measured. Tables (B, T), mask (B, T).

    finished: (B,), None where nobody asks for an end     at_start: the policy has not learned anything yet
    values_and_scores: at the last tokens, (B,) each, None where the critic did not begin as the reward model
    """
    if finished is not None:
        ends(finished, max_new_tokens)
    found = {"log_ratio_max": sampler_is_trainer(sampled[mask], trained[mask], exact, temperature)}
    if at_start:
        found["kl_abs_mean"] = kl_is_zero((old - reference)[mask], exact)
        if values_and_scores is not None:
            found["critic_minus_reward_max"] = critic_is_reward(*values_and_scores, exact)
    return found
