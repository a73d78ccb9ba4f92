"""`rather pretrain`: a tiny base model from the miniature world's web, or from a file of texts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from rather import parallel
from rather.cli.stage import Story, stage
from rather.errors import BadFile
from rather.evaluate.benchmarks import benchmarks_of
from rather.models.load import Policy
from rather.records import Text, read
from rather.stages.answers import Measure
from rather.stages.pretrain import TOKENS, PretrainConfig, new_policy, pretrain, windows
from rather.worlds.named import named
from rather.worlds.world import World

QUESTIONS = 100  # of each benchmark, at each measurement
EVERY = 50  # of a file that names no split, every 50th text is for validation


@stage("pretrain", "base", PretrainConfig, shows=("loss", "val/loss"))
def command(story: Story, config: PretrainConfig) -> Mapping[str, Any]:
    """Make a tiny base model from nothing: the "GPT-3" of the miniature world.

    It reads the web of a world (texts=marn:0) or a file of texts. Sizes are a ladder: xs, s, m, and l, which has 138
    times the parameters of xs. With a world, its public benchmarks are logged as they rise.
    """
    world = named(config.texts)
    policy = new_policy(config, _texts(config.texts, world, "train"))
    model: Any = policy.model
    model.to(parallel.device())
    for note in policy.notes:
        story.say(f"note: {note}")
    tokens = config.tokens or TOKENS[config.size]
    story.say(f"reading {tokens:,} tokens of {config.texts}")
    rows = windows(policy, _texts(config.texts, world, "train"), tokens)
    validation = windows(policy, _texts(config.texts, world, "validation"), config.validation_tokens)
    for split, found in (("train", rows), ("validate", validation)):
        if not found:
            raise BadFile(f"{config.texts} has no text to {split} on.", f"Expected some {tokens:,} tokens.")
    with story.open(config) as run:
        return pretrain(policy, rows, validation, run, config, _measure(world) if world else None)


def _measure(world: World) -> Measure:
    def measure(policy: Policy) -> Mapping[str, float]:
        return {f"benchmark/{name}": value for name, value in benchmarks_of(policy, world, QUESTIONS).items()}

    return measure


def _texts(source: str, world: World | None, split: str) -> Iterator[str]:
    """Pages of the world without end, the same each time; or the texts of a file that belong to the split."""
    if world is not None:
        rng = random.Random(f"{world.name} {world.seed} pretraining {split}")
        yield from (page.text for page in world.web_documents(rng))
        return
    for at, record in enumerate(read(source, Text)):
        of = record.split or ("validation" if at % EVERY == EVERY - 1 else "train")
        if of == split:
            yield record.text
