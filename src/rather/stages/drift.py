"""How far a policy is from its reference, by its own answers: KL(policy || reference), in nats a response.

    found = drift(policy, reference.model, asked, seed=0, share=Share(4096))
    found.kl.mean()     # log policy - log reference of what the policy says, summed over an answer's tokens

What a stage that samples nothing, such as DPO, cannot read off its own rollouts, and what is asked of finished models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from rather.models.load import Policy
from rather.stages.answers import Answered, Asked, Scorer, answer
from rather.stages.dpo_steps import tree_logprobs
from rather.stages.steps import Share


@dataclass(frozen=True, eq=False)
class Drift:
    """kl: (P,) of each answer     entropy: nats a token, the mean of -log policy over all tokens"""

    said: Answered
    kl: np.ndarray
    entropy: float

    def summary(self) -> dict[str, float]:
        """Under the names of step 3, where they mean the same: its KL and its scores are of responses as well."""
        found = {**self.said.summary(), "objective/kl": float(self.kl.mean())}
        found["objective/kl_se"] = float(self.kl.std()) / len(self.kl) ** 0.5
        if self.said.scores:
            found["objective/scores"] = found.pop("val/reward")
            found["objective/scores_std"] = float(np.std(self.said.scores))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """As they stand in samples.jsonl."""
        return [row | {"kl_sum": round(float(kl), 5)} for row, kl in zip(self.said.rows(), self.kl, strict=True)]


def drift(
    policy: Policy, reference: PreTrainedModel, asked: Asked, seed: int, share: Share, scorer: Scorer | None = None
) -> Drift:
    """One answer to each prompt at temperature 1, read by both models. At least one prompt, and models that read trees.

    The same seeds every time: a policy that has not moved is at exactly 0, and what moves is not luck.
    """
    assert asked.prompts, "without an answer there is no KL"
    said = answer(policy, asked, seed, scorer)
    logps, expected = (tree_logprobs(model, said.trees, share)[:, 0].double() for model in (policy.model, reference))
    return Drift(said, (logps - expected).cpu().numpy(), float(-logps.sum()) / sum(said.lengths))
