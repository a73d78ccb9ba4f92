"""For `rather sample`: prompts drawn from a world, and what the answers to them are worth there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rather.errors import BadSetting
from rather.records import Prompt, Samples
from rather.statistics import clustered_mean, clustered_share
from rather.worlds import Source, Split, World, WorldPrompt
from rather.worlds.judging import flags
from rather.worlds.named import world_named
from rather.worlds.writing import prompt_record

MOST = 1000  # draws without a new prompt of the use case


@dataclass(frozen=True)
class Asked:
    """Prompts of a world, and the same as records, whose ids name them."""

    world: World
    prompts: dict[str, WorldPrompt]
    records: list[Prompt]

    def judged(self, answered: Samples) -> Samples:
        """With the gold utility and the flags of each response."""
        prompt = self.prompts[answered.id]
        features = [self.world.features(prompt, one.text, one.finished) for one in answered.responses]
        worth = tuple(self.world.utility(of) for of in features)
        wrong = tuple(flags(of) | {"junk": bool(of.junk)} for of in features)
        return answered.model_copy(update={"utilities": worth, "flags": wrong})


def ask(words: str, n: int, source: Source, split: Split, category: str | None, seed: int) -> Asked:
    """n different prompts; of one use case, if named."""
    world, rng = world_named(words), random.Random(f"sample {seed}")
    if category is None:
        found = world.prompts(rng, n, source, split)
    else:
        different: dict[str, WorldPrompt] = {}
        tries = 0
        while len(different) < n:
            prompt = world.prompt(rng, category, source, split)
            tries = tries + 1 if prompt.text in different else 0
            if tries > MOST:
                raise BadSetting(
                    f"After {len(different)} different prompts of {category} {MOST:,} draws gave no new one; "
                    f"{n} were asked for.",
                    "Ask for fewer, or take a world of a larger scale.",
                )
            different[prompt.text] = prompt
        found = list(different.values())
    records = [prompt_record(prompt, f"{split}-{at:06d}", split) for at, prompt in enumerate(found)]
    return Asked(world, {record.id: prompt for record, prompt in zip(records, found, strict=True)}, records)


def summary(judged: Sequence[Samples]) -> dict[str, Any]:
    """Means over responses with n and 95 % interval; the responses to one prompt are one cluster.

    One prompt alone has no interval: how answers to other prompts would differ cannot be known from it.
    """
    clusters = [row.id for row in judged for _ in row.responses]
    columns = {
        "utility": [worth for row in judged for worth in row.utilities or ()],
        "junk": [float(of["junk"]) for row in judged for of in row.flags or ()],
        "finished": [float(one.finished) for row in judged for one in row.responses],
    }
    found: dict[str, Any] = {}
    for name, values in columns.items():
        found[name] = {"value": sum(values) / len(values), "interval": None, "n": len(values), "prompts": len(judged)}
        if len(judged) > 1:
            mean = clustered_mean if name == "utility" else clustered_share
            found[name]["interval"] = list(mean(values, clusters).interval)
    return found


def in_words(found: dict[str, Any]) -> str:
    def said(name: str, form: str) -> str:
        value, interval = found[name]["value"], found[name]["interval"]
        between = f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else ""
        return f"{value:{form}}{between}"

    n, prompts = found["utility"]["n"], found["utility"]["prompts"]
    of = f"{n:,} response{'s' * (n > 1)} to {prompts:,} prompt{'s' * (prompts > 1)}"
    return f"U* {said('utility', '.2f')}, junk {said('junk', '.1%')}, finished {said('finished', '.1%')}: {of}"
