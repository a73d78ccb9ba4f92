"""What a response is worth to GRPO and to best-of-N: rewards with names and weights.

    Rewards({"number": 1.0, "pattern": 0.2}, cases={"gsm-1": {"answer": "42", "pattern": "answer"}})
    Rewards({"helpful": 1.0}, models={"helpful": load_reward_model("run/reward/checkpoint")})

A name is a verifier of `rather.verifiers`, one of your own, or a reward model or function; the reward is the weighted
sum. A verifier that raises stops the run, and its sample is saved: a crash is never a reward of 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from rather import files
from rather.errors import BadRecord, BadSetting, nearest
from rather.models.load import Policy
from rather.models.reward_folder import Reward
from rather.parallel import all_reduce_sum, together, world
from rather.run import Run
from rather.stages.episodes import Episodes
from rather.stages.scorers import Judge, scorer_of
from rather.stages.steps import Share
from rather.verifiers import VERIFIERS, Verifier, VerifierFailed, weighted

Case = Mapping[str, Any]
FAILED = "failed.json"  # the sample that a verifier could not judge


class Rewarded(NamedTuple):
    """Of B responses. total: (B,)     parts: by name, before the weight, each (B,)"""

    total: Tensor
    parts: dict[str, Tensor]


Judged: TypeAlias = Callable[[Episodes, Share], Rewarded]


@dataclass(frozen=True)
class Rewards:
    """weights: by name     models: reward models, or functions of (prompts, texts)     cases: by prompt id

    verifiers: of your own, functions of (response, case); a case also says whether the response was `finished`
    """

    weights: Mapping[str, float]
    models: Mapping[str, Reward | Judge] = field(default_factory=dict)
    verifiers: Mapping[str, Verifier] = field(default_factory=dict)
    cases: Mapping[str, Case] = field(default_factory=dict)

    def judging(self, policy: Policy, compute: torch.dtype, separator: str) -> Judged:
        """As a function of episodes; everything that is missing is said here."""
        known = {**VERIFIERS, **self.verifiers}
        for name in self.weights:
            if name not in known and name not in self.models:
                guess = nearest(name, [*known, *self.models])
                raise BadSetting(f"There is no reward {name!r}.{guess}", f"Known: {', '.join([*known, *self.models])}.")
        if not self.weights:
            raise BadSetting("No reward is named.", f"Expected one or more, such as {', '.join(known)}, with weights.")
        scorers = {
            name: scorer_of(self.models[name], policy, compute, separator=separator)
            for name in self.weights
            if name in self.models
        }
        checked = {name: weight for name, weight in self.weights.items() if name not in scorers}
        verify = weighted(checked, self.verifiers) if checked else None

        def judged(episodes: Episodes, share: Share) -> Rewarded:
            parts = {name: scorer(episodes, share).scores for name, scorer in scorers.items()}
            if verify is not None:
                parts |= self._verified(verify, list(checked), episodes, share)
            total = sum((self.weights[name] * part for name, part in parts.items()), torch.zeros(()))
            return Rewarded(total.to(share.device), {name: parts[name] for name in self.weights})

        return judged

    def _verified(self, verify: Verifier, names: list[str], episodes: Episodes, share: Share) -> dict[str, Tensor]:
        """Each worker judges its share of the responses; a program may take a second for each."""
        table = torch.zeros(len(names), len(episodes))
        rank, workers = world()
        with together("verifying responses"):
            for at in range(rank, len(episodes), workers):
                prompt = episodes.prompts[at]
                if prompt.id not in self.cases:
                    raise BadRecord(f"Prompt {prompt.id!r} has no case.", "A verifier needs what is right: its fields.")
                case = {"id": prompt.id, **self.cases[prompt.id], "finished": bool(episodes.finished[at])}
                verdict = verify(episodes.texts[at], case)
                table[:, at] = torch.tensor([verdict.parts[name].score for name in names])
        return dict(zip(names, all_reduce_sum(table.to(share.device)), strict=True))


def save_failed(run: Run, step: int, failed: VerifierFailed) -> None:
    """The response and the case nobody could judge, so that somebody can look at them."""
    said = {"step": step, "verifier": failed.verifier, "response": failed.response, "why": failed.found}
    case = json.loads(json.dumps(dict(failed.case), default=str))
    run.path.mkdir(parents=True, exist_ok=True)
    files.write_json(run.path / FAILED, said | {"case": case})
    run.event("verifier failed", said)
