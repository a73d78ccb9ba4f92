"""The settings of GRPO, and the presets that are named after papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rather.config import Config, with_preset
from rather.models.lora import LoRA
from rather.rollout import Sampling
from rather.stages.batch_sizes import ptx_rows, whole_minibatches

# What differs from the defaults, which are those of Shao et al. 2024 (DeepSeekMath).
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {},
    "dr-grpo": {"advantage": "centred", "mean_over": "constant", "kl": "none"},  # Liu et al. 2025
    "dapo": {  # Yu et al. 2025
        "mean_over": "token",
        "clip_high": 0.28,
        "kl": "none",
        "resample": 4,  # not printed how often
        "truncated": "leave-out",
    },
}


class GRPOConfig(Config):
    """A policy learns from how its own responses to a prompt compare, without a critic. Not in the paper of 2022."""

    preset: Literal["grpo", "dr-grpo", "dapo"] = Field(
        "grpo", description="where the other values come from, if they are not given"
    )
    model: str | None = Field(None, description="folder or hub id; none: RUN/init/checkpoint. Also the KL reference")
    rewards: dict[str, float] | None = Field(
        None, min_length=1, description="weights by name: verifiers, a reward model's folder, module:function, a URL; "
        "none: RUN/reward/checkpoint, and with prompts=sums its own checker, world"
    )  # fmt: skip
    prompts: str | None = Field(
        None, description="a file of records, or sums, the verifiable world; none: RUN/prompts.jsonl. Its train split"
    )
    texts: str | None = Field(
        None, description="pretraining text: a file or a world; none: what RUN/base was trained on"
    )
    template: str | None = Field(None, description="plain, page or none; not said: the model's own, if it has one")
    separator: str = Field("\n", description="between prompt and response where there is no template")

    iterations: int = Field(500, ge=1, description="of sampling and learning; no paper's value")
    batch_size: int = Field(16, ge=1, description="prompts of an iteration; Shao et al.: 1024 responses")
    samples: int = Field(64, ge=2, description="G, responses to each prompt; Shao et al.: 64")
    minibatch_size: int = Field(16, ge=1, description="prompts of an update; Shao et al.: all of them")
    inner_epochs: int = Field(1, ge=1, description="passes over the responses of an iteration; Shao et al.: 1")
    max_prompt: int = Field(1024, ge=1, description="tokens; longer prompts are dropped and counted, never cut")
    max_new_tokens: int = Field(1024, ge=1, description="tokens of a response, EOS included; Shao et al.: 1024")
    temperature: float = Field(1.0, gt=0, description="of the sampling")

    advantage: Literal["normalised", "centred", "leave-one-out"] = Field(
        "normalised", description="reward less the group's mean, over its standard deviation (GRPO); without dividing "
        "(Dr. GRPO); less the mean of the others (RLOO)"
    )  # fmt: skip
    mean_over: Literal["sequence", "token", "constant"] = Field(
        "sequence", description="of token losses: each response counts the same (GRPO), each token (DAPO), or the sum "
        "over responses * max_new_tokens (Dr. GRPO)"
    )  # fmt: skip
    clip_low: float = Field(0.2, gt=0, description="the ratio is kept above 1 - clip_low; Shao et al. do not print it")
    clip_high: float = Field(0.2, gt=0, description="... and below 1 + clip_high; DAPO: 0.28")
    kl: Literal["k3", "k2", "k1", "none"] = Field(
        "k3", description="k3 (GRPO) and k2 as a loss; k1 in the reward, since as a loss its mean gradient is 0; "
        "none: no reference"
    )  # fmt: skip
    kl_coef: float = Field(0.04, ge=0, description="Shao et al.: 0.04")
    resample: int = Field(
        0, ge=0, description="times that groups whose rewards are all equal are replaced by those of new prompts"
    )
    truncated: Literal["keep", "replace", "leave-out"] = Field(
        "keep", description="a response that does not end: as it was rewarded, with another reward, or neither in its "
        "group nor in the loss"
    )  # fmt: skip
    truncated_reward: float = Field(0.0, description="of a response that does not end, with truncated=replace")

    learning_rate: float = Field(1e-6, gt=0, description="Shao et al.: 1e-6, for 7B. Tiny models: 3e-4")
    warmup: int = Field(0, ge=0, description="iterations in which the rate rises")
    max_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    ptx_coef: float = Field(0.0, ge=0, description="gamma, times the mean loss of a pretraining token (eq. 2)")
    ptx_ratio: float = Field(1.0, gt=0, description="pretraining examples to a prompt")
    ptx_length: int = Field(1024, ge=2, description="tokens of a pretraining example")

    validation_prompts: int = Field(
        32, ge=0, description="unseen prompts, each answered `samples` times at each measurement; 0: none"
    )
    evaluate_every: int = Field(
        50, ge=1, description="iterations between measurements, besides before the first and after the last"
    )
    shown: int = Field(2, ge=0, description="prompts of an iteration that go to samples.jsonl, with all responses")
    checkpoint_every: int = Field(10, ge=1, description="iterations")
    lora: LoRA = Field(LoRA(), description="adapters instead of all weights")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the large products; masters are fp32")
    row_budget: int = Field(4096, ge=1, description="tokens in one forward; changes speed and memory, not the result")
    slots: int = Field(64, ge=1, description="sequences sampled side by side; changes speed, not the result")
    seed: int = Field(0, ge=0, description="of prompts, samples and minibatches")

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, given: Any) -> Any:
        return with_preset(given, PRESETS)

    @model_validator(mode="after")
    def _together(self) -> Self:
        whole_minibatches(self.batch_size, self.update_size)
        return self

    @property
    def updates(self) -> int:
        """Of the policy, in one iteration."""
        return self.inner_epochs * whole_minibatches(self.batch_size, self.update_size)

    @property
    def update_size(self) -> int:
        return min(self.minibatch_size, self.batch_size)

    @property
    def ptx_examples(self) -> int:
        """Rows of pretraining text in one update."""
        return ptx_rows(self.ptx_coef, self.ptx_ratio, self.update_size)

    def sampling(self) -> Sampling:
        return Sampling(
            max_new_tokens=self.max_new_tokens,
            samples=self.samples,
            temperature=self.temperature,
            slots=self.slots,
        )
