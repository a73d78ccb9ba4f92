"""The settings of DPO."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rather.config import Config
from rather.models.lora import LoRA
from rather.stages.batch_sizes import ptx_rows

Form = Literal["sigmoid", "ipo", "hinge", "conservative", "robust", "plackett-luce"]


class DPOConfig(Config):
    """Preferences without a reward model (Rafailov et al. 2023). None of it is in the paper of 2022."""

    model: str | None = Field(None, description="to start from, folder or hub id; none: RUN/sft/checkpoint")
    reference: str | None = Field(None, description="what it is held against, folder or hub id; none: where it starts")
    template: str | None = Field(None, description="plain, page or none; not said: the model's own, if it has one")
    separator: str = Field("\n", description="between prompt and response where there is no template")
    rankings: str | None = Field(None, description="rankings or comparisons; none: RUN/rankings.jsonl")
    validation: str | None = Field(None, description="a file of them never trained on; none: by split, or a share")
    validation_share: float = Field(0.1, ge=0, lt=1, description="of the prompts, where no file and no split says")

    form: Form = Field("sigmoid", description="sigmoid is DPO; plackett-luce takes each ranking whole")
    beta: float = Field(0.1, gt=0, description="DPO's 0.1: strength of the tie to the reference")
    flip_rate: float = Field(0.0, ge=0, lt=0.5, description="conservative, robust: share of labels believed wrong")
    length_normalised: bool = Field(False, description="log-probabilities a token instead of a response")
    sft_coef: float = Field(0.0, ge=0, description="times the loss of the best responses' tokens, as in step 1")
    ptx_coef: float = Field(0.0, ge=0, description="gamma, times the mean loss of a pretraining token (eq. 2)")
    ptx_ratio: float = Field(1.0, gt=0, description="pretraining examples to a prompt")
    ptx_length: int = Field(1024, ge=2, description="tokens of a pretraining example")
    texts: str | None = Field(
        None, description="pretraining text: a file or a world; none: what RUN/base was trained on"
    )

    epochs: int = Field(1, ge=1, description="passes over the prompts")
    batch_size: int = Field(64, ge=1, description="prompts, each with all its pairs; DPO's 64, which are pairs")
    learning_rate: float = Field(1e-6, gt=0, description="DPO's 1e-6, for 6B. Tiny models: 3e-4")
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps in which the rate rises; DPO's: 150 steps")
    max_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_prompt: int = Field(1024, ge=1, description="tokens; longer prompts are dropped and counted")
    max_length: int = Field(2048, ge=2, description="tokens of prompt and response, and never over the window")
    max_new_tokens: int = Field(256, ge=1, description="of an answer to a validation prompt; at most half the window")
    validation_prompts: int = Field(
        64, ge=0, description="answered at each measurement, at temperature 1: the KL from the reference; 0: none"
    )
    reward: str | None = Field(None, description="reward model that scores those answers; nothing learns from it")
    lora: LoRA = Field(LoRA(), description="adapters instead of all weights")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the large products; masters are fp32")
    row_budget: int = Field(4096, ge=1, description="tokens in one forward; changes speed and memory, not the result")
    evaluate_every: int = Field(
        50, ge=1, description="steps between measurements, besides before the first and after the last"
    )
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")
    seed: int = Field(0, ge=0, description="of the order and of the answers")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        believing = self.form in ("conservative", "robust")
        if believing != (self.flip_rate > 0):
            raise ValueError(
                f"form={self.form} with flip_rate={self.flip_rate:g}: conservative and robust need one, the others "
                "take none"
            )
        return self

    @property
    def ptx_examples(self) -> int:
        """Rows of pretraining text in one step."""
        return ptx_rows(self.ptx_coef, self.ptx_ratio, self.batch_size)
