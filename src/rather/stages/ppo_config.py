"""The settings of step 3, and the presets that are named after papers.

A preset never changes its meaning. What a paper does not print is said where the value stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rather.advantages import AdaptiveKL, FixedKL
from rather.config import Config, with_preset
from rather.models.lora import LoRA
from rather.rollout import Sampling
from rather.stages.batch_sizes import ptx_rows, whole_minibatches

Alarm = Literal[
    "negative_kl",
    "kl_budget",
    "kl_drift",
    "no_penalty",
    "reward_hacking",
    "mode_collapse",
    "length",
    "truncation",
    "clipping",
    "critic",
    "gradients",
    "controller",
]

# What differs from the defaults, which are InstructGPT's PPO-ptx. ZGL: openai/lm-human-preferences.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "instructgpt-ptx": {},
    "instructgpt": {
        "ptx_coef": 0.0,  # sec. 3.5: "PPO" without the pretraining mix
        "learning_rate": 8e-6,  # E.9: above 8.05e-6 PPO without ptx diverged; the value that was chosen is not printed
    },
    "ziegler2019": {  # the released code ZGL, launch.py: sentiment and descriptiveness, a policy of 124M
        "episodes": 1_000_000,  # the paper: 2M (fig. 3)
        "minibatch_size": 512,  # ZGL: all of the batch is one
        "inner_epochs": 4,
        "temperature": 0.7,
        "max_new_tokens": 24,
        "truncate_token": ".",
        "truncate_after": 16,
        "ptx_coef": 0.0,
        "kl_coef": 0.15,
        "kl_target": 6.0,
        "kl_floor": 0.0,  # ZGL has none
        "whiten_rewards": True,
        "learning_rate": 1e-5,
        "critic_learning_rate": 1e-5,  # one network there, with 0.1 on the value loss; here the critic is apart
        "critic_from": "policy",
        "schedule": "linear",
        "warmup": 0,
        "adam_beta2": 0.999,  # TensorFlow's default
        "adam_eps": 1e-5,  # ZGL core.py; in TensorFlow's place
        "adam_form": "tensorflow",
        "ema_decay": 0.0,
    },
    "summarize": {  # Stiennon et al. 2020, app. B.1, and openai/summarize-from-feedback
        "episodes": 1_000_000,
        "minibatch_size": 512,  # not printed; one, as in ZGL. The batch is 512 for 1.3B, 256 for 6.7B
        "inner_epochs": 4,
        "max_new_tokens": 53,  # 48 of the summary and what follows; as in vwxyzjn's reproduction
        "ptx_coef": 0.0,
        "kl_coef": 0.05,
        "learning_rate": 1.5e-5,  # app. B.1: 1.3B; 7e-6 for 6.7B
        "critic_learning_rate": 1.5e-5,  # from the reward model, apart from the policy; its own rate is not printed
        "schedule": "linear",
        "warmup": 0,
        "adam_beta2": 0.999,  # not printed, nor what follows: as in ZGL
        "adam_eps": 1e-5,
        "adam_form": "tensorflow",
        "ema_decay": 0.0,
    },
}


class PPOConfig(Config):
    """Step 3: optimise the policy against the reward model (sec. 3.5, app. C.4)."""

    preset: Literal["instructgpt-ptx", "instructgpt", "ziegler2019", "summarize"] = Field(
        "instructgpt-ptx", description="where the other values come from, if they are not given"
    )

    model: str | None = Field(
        None, description="folder or hub id; none: RUN/init/checkpoint (C.3). Also the KL reference"
    )
    reward: str | list[str] | None = Field(
        None,
        description="reward model, module:function or http://...; several: an ensemble; none: RUN/reward/checkpoint",
    )
    prompts: str | None = Field(None, description="a file of records; none: RUN/prompts.jsonl. The train split counts")
    texts: str | None = Field(
        None, description="pretraining text: a file, or a world such as marn:0; none: what RUN/base was trained on"
    )
    second_opinion: str | list[str] | None = Field(
        None, description="as reward, but only listened to: it tells reward hacking from progress"
    )
    world: str | None = Field(
        None,
        description="such as marn:0: log what the answers are worth there; unless prompts are named, they are its own",
    )
    template: str | None = Field(None, description="plain, page or none; not said: the model's own, if it has one")
    separator: str = Field("\n", description="between prompt and response where there is no template")

    episodes: int = Field(256_000, ge=1, description="C.4: 256k, about 8 passes over 31k prompts")
    batch_size: int = Field(512, ge=1, description="C.4: episodes of an iteration")
    minibatch_size: int = Field(64, ge=1, description="C.4: episodes of an update")
    inner_epochs: int = Field(1, ge=1, description="C.4: passes over the episodes of an iteration")
    max_prompt: int = Field(1024, ge=1, description="A.3: 1k tokens; longer prompts are dropped and counted, never cut")
    max_new_tokens: int = Field(1024, ge=1, description="A.3: up to 1k tokens of a response, EOS included")
    temperature: float = Field(1.0, gt=0, description="C.4: 1")
    truncate_token: str | None = Field(None, description="a response ends with the first of these (Ziegler: '.')")
    truncate_after: int = Field(0, ge=0, description="... from this place in the response on (Ziegler: 16)")

    missing_eos: Literal["replace", "subtract", "keep"] = Field(
        "replace", description="score of a response that does not end; not in the paper, as in ZGL"
    )
    missing_eos_score: float = Field(-1.0, description="it is replaced by this, or has this added; as in ZGL")
    ensemble: Literal["mean", "worst", "mean-spread"] = Field(
        "mean", description="of several reward models; not in the paper, which has one"
    )
    spread_coef: float = Field(1.0, ge=0, description="mean-spread: standard deviations that are taken off")
    whiten_rewards: bool = Field(False, description="scale rewards to variance 1, KL included; not in the paper")

    kl_coef: float = Field(0.02, ge=0, description="C.4: beta, per token, against the model it started from")
    kl_target: float | None = Field(
        None, gt=0, description="nats of a response, which beta follows (Ziegler: 6); none: beta is fixed, as in C.4"
    )
    kl_horizon: int = Field(10_000, ge=1, description="episodes in which beta moves by 20 % at most (Ziegler)")
    kl_floor: float | None = Field(
        None, ge=0, description="beta goes no lower; none: a tenth of kl_coef. Not in a paper"
    )
    gae_lambda: float = Field(
        0.95, ge=0, le=1, description="not in the paper; as in ZGL and Stiennon et al. No discount: C.4"
    )

    clip_range: float = Field(0.2, gt=0, description="C.4: of the policy's ratio")
    value_clip: float | None = Field(0.2, gt=0, description="not in the paper; as in ZGL. none: no clip")
    learning_rate: float = Field(
        1e-5, gt=0, description="the policy's; E.9 scans 2.55e-6 to 2.55e-5 and does not print the choice"
    )
    critic_learning_rate: float = Field(9e-6, gt=0, description="C.4: 9e-6, for the 175B policy 5e-6")
    critic_from: Literal["reward", "policy"] = Field(
        "reward", description="C.4: reward; policy: its body and a new head"
    )
    schedule: Literal["constant", "linear"] = Field("constant", description="C.4: constant; linear: to zero, as in ZGL")
    warmup: int = Field(10, ge=0, description="C.4: iterations, from a tenth of the peak")
    value_iterations: int = Field(0, ge=0, description="first iterations that train the critic alone; not in the paper")
    max_norm: float | None = Field(None, gt=0, description="gradients are clipped to this norm; not in the paper")
    adam_beta2: float = Field(0.95, gt=0, lt=1, description="C: 0.95; beta1 is 0.9")
    adam_eps: float = Field(1e-8, gt=0, description="not in the paper; 1e-5 in ZGL")
    adam_form: Literal["pytorch", "tensorflow"] = Field(
        "pytorch", description="eps after the bias correction, or before it as in ZGL; not in the paper"
    )
    ema_decay: float = Field(0.992, ge=0, lt=1, description="C.4: of the policy's weights, per update; 0: none is kept")

    ptx_coef: float = Field(
        27.8, ge=0, description="C.4: gamma, times the mean loss of a pretraining token; 0: plain PPO"
    )
    ptx_ratio: float = Field(8.0, gt=0, description="C.4: pretraining examples to an episode")
    ptx_length: int = Field(1024, ge=2, description="tokens of a pretraining example; not in the paper")

    kl_budget: float | None = Field(None, gt=0, description="nats of a response above which an alarm is raised")
    stop_on: list[Alarm] = Field(
        ["negative_kl"], description="alarms that end the run at its last checkpoint; see docs/ppo.md"
    )
    samples: int = Field(4, ge=0, description="episodes of an iteration that are written to samples.jsonl")
    checkpoint_every: int = Field(10, ge=1, description="iterations")
    measure_every: int = Field(
        50, ge=1, description="iterations between measurements, where there is something to measure"
    )
    lora: LoRA = Field(LoRA(), description="adapters instead of all weights")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the large products; masters are fp32")
    row_budget: int = Field(2048, ge=1, description="tokens in one forward; changes speed, not the result")
    slots: int = Field(64, ge=1, description="sequences sampled side by side; changes speed, not the result")
    seed: int = Field(0, ge=0, description="of prompts, samples, minibatches and of a new head")

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, given: Any) -> Any:
        return with_preset(given, PRESETS)

    @model_validator(mode="after")
    def _together(self) -> Self:
        whole_minibatches(self.batch_size, self.minibatch_size)
        if self.kl_target is not None and self.kl_horizon < self.batch_size:
            raise ValueError(
                f"kl_horizon={self.kl_horizon} is less than batch_size={self.batch_size}: one batch would move beta by "
                "more than 20 %, and one easy batch could make it collapse"
            )
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError("kl_target with kl_coef=0: a beta of 0 is multiplied and stays 0")
        return self

    @property
    def iterations(self) -> int:
        return -(-self.episodes // self.batch_size)

    @property
    def updates(self) -> int:
        """Of the policy, in one iteration."""
        return self.inner_epochs * whole_minibatches(self.batch_size, self.minibatch_size)

    @property
    def ptx_examples(self) -> int:
        """Rows of pretraining text in one update."""
        return ptx_rows(self.ptx_coef, self.ptx_ratio, self.minibatch_size)

    def sampling(self) -> Sampling:
        return Sampling(max_new_tokens=self.max_new_tokens, temperature=self.temperature, slots=self.slots)

    def controller(self) -> FixedKL | AdaptiveKL:
        if self.kl_target is None:
            return FixedKL(self.kl_coef)
        floor = self.kl_coef / 10 if self.kl_floor is None else self.kl_floor
        return AdaptiveKL(self.kl_coef, self.kl_target, self.kl_horizon, floor)

    @property
    def clip_norm(self) -> float:
        return math.inf if self.max_norm is None else self.max_norm

    def rate_factor(self, iteration: int) -> float:
        """What both peaks are multiplied by in an iteration; iterations count from 1."""
        factor = 0.1 + 0.9 * min(1.0, (iteration - 1) / self.warmup) if self.warmup else 1.0
        return factor * (1 - (iteration - 1) / self.iterations) if self.schedule == "linear" else factor
