"""`rather dpo`: the policy learns from rankings directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rather import parallel
from rather.cli.mix import pretraining_rows
from rather.cli.stage import Story, stage
from rather.errors import BadFile, visible
from rather.models.load import load_policy, stopping_at, window_of
from rather.records import Ranking, read
from rather.stages.answers import Asked, ask
from rather.stages.dpo import encoder_of, train_dpo
from rather.stages.dpo_config import DPOConfig
from rather.stages.reward_data import split_rankings
from rather.stages.reward_scoring import Scorer

SHOWS = (
    "loss", "rewards/margins", "rewards/accuracies", "val/rewards/accuracies", "val/loss", "objective/kl",
    "objective/scores",
)  # fmt: skip


@stage("dpo", "dpo", DPOConfig, shows=SHOWS)
def command(story: Story, config: DPOConfig) -> Mapping[str, Any]:
    """Learn from rankings without a reward model (DPO and its family).

    It begins as RUN/sft/checkpoint, which is the reference too unless another one is named, and learns from
    RUN/rankings.jsonl: rankings or comparisons, ties form no pair. form=ipo, hinge, conservative, robust or
    plackett-luce are the others; length_normalised=true goes with each. RUN/dpo/checkpoint is the policy.
    """
    name = story.found(config.model, "sft/checkpoint", "Make it with:  rather sft {run}")
    policy = load_policy(name, template=config.template)
    for note in policy.notes:
        story.say(f"note: {note}")
    reference = load_policy(config.reference, template=config.template) if config.reference else None
    source = story.found(config.rankings, "rankings.jsonl", "rather world rank {run}   (or put your own file there)")
    rankings = list(read(source, Ranking))
    if config.validation is not None:
        mine, held = rankings, list(read(config.validation, Ranking))
    else:
        mine, held, _ = split_rankings(rankings, config.validation_share)
    if not mine:
        raise BadFile(
            f"{visible(source)}: none of its {len(rankings):,} rankings is left to train on.",
            "Expected some whose split is train, or no split at all.",
        )
    story.say(f"{len(mine):,} rankings to train on, {len(held):,} to validate with")
    scorer = Scorer.load(config.reward, parallel.device()).of_answers if config.reward else None
    encoder = encoder_of(policy, config)
    policy = stopping_at(policy, encoder.eos_id)
    per_epoch = -(-len({ranking.prompt for ranking in mine}) // config.batch_size)
    wanted = config.epochs * per_epoch * config.ptx_examples
    rows = pretraining_rows(policy, story, config.texts, config.ptx_length, wanted, "ptx_coef=0")
    models: list[Any] = [one.model for one in (policy, reference) if one is not None]
    for model in models:
        model.to(parallel.device())
    asked = _asked(policy.model, encoder, held, config)
    about = {"from": name, "reference": config.reference or name}
    with story.open(config) as run:
        return train_dpo(policy, mine, held, run, config, reference=reference, pretraining=rows,
                         asked=asked, scorer=scorer, about=about)  # fmt: skip


def _asked(model: Any, encoder: Any, held: list[Ranking], config: DPOConfig) -> Asked | None:
    """A few prompts of the validation rankings, each once."""
    window = window_of(model.config)
    room = min(config.max_new_tokens, window // 2) if window else config.max_new_tokens
    prompts = list(dict.fromkeys(ranking.prompt for ranking in held))[: config.validation_prompts]
    return ask(encoder, prompts, window, room)[0] if prompts else None
