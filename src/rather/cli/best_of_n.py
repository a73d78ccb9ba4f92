"""`rather best-of-n`: N samples to each prompt, the best kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rather import parallel
from rather.cli import worth
from rather.cli.rewarded import is_sums, prompts_of, rewards_for
from rather.cli.stage import Story, stage
from rather.models.load import load_policy
from rather.records import Prompt, Response, Samples
from rather.stages.best_of_n import BestOfNConfig, Gold, best_of_n
from rather.worlds.named import named

OF_A_WORLD = 100  # prompts
SHOWS = ("objective/scores", "objective/best", "response/length")


@stage("best-of-n", "best-of-n", BestOfNConfig, shows=SHOWS)
def command(story: Story, config: BestOfNConfig) -> Mapping[str, Any]:
    """Sample N responses to each prompt and keep the one that scores best. Nothing is trained.

    It asks RUN/sft/checkpoint the prompts of RUN/prompts.jsonl and scores with RUN/reward/checkpoint, or with what
    rewards={NAME=WEIGHT} names. RUN/best-of-n gets curve.json (score, KL and, with prompts=marn:0, gold of the best of
    1, 2, 4, ... N), demonstrations.jsonl (the best responses) and rankings.jsonl (best to worst) for the next round.
    """
    name = story.found(config.model, "sft/checkpoint", "Make it with:  rather sft {run}")
    policy = load_policy(name, template=config.template)
    for note in policy.notes:
        story.say(f"note: {note}")
    model: Any = policy.model
    model.to(parallel.device())
    gold: Gold | None = None
    if config.prompts and named(config.prompts):
        source, (prompts, gold) = config.prompts, _of_world(config)
    else:
        split = config.split or ("test" if config.prompts and is_sums(config.prompts) else None)
        source, prompts = prompts_of(story, config.prompts, split)
        prompts = prompts[: config.count or (OF_A_WORLD if is_sums(source) else None)]
    rewards = rewards_for(story, config.rewards, source, prompts)
    about = {"from": name, "prompts from": source, "scored by": ", ".join(rewards.weights)}
    with story.open(config) as run:
        return best_of_n(policy, rewards, prompts, run, config, gold=gold, about=about)


def _of_world(config: BestOfNConfig) -> tuple[list[Prompt], Gold]:
    """Different prompts of a world, and what answers to them are worth in it."""
    split: Any = config.split or "test"
    asked = worth.ask(str(config.prompts), config.count or OF_A_WORLD, "api", split, None, config.seed)

    def gold(prompt: Prompt, texts: Any, finished: Any) -> tuple[float, ...]:
        responses = tuple(
            Response(text=text, finished=ended, model="policy") for text, ended in zip(texts, finished, strict=True)
        )
        judged = asked.judged(Samples(id=prompt.id, prompt=prompt.prompt, responses=responses))
        return judged.utilities or ()

    return asked.records, gold
