"""The prompts that models are measured on: the same for every model, and none of their combinations in training.

main      n prompts as users send them, with the paper's shares (Table 1)
closed    as many again of the closed domains, where only a passage decides what is true: 9 % of the main ones
claims    prompts in which the user is wrong: false premises, and beliefs to agree with: 2 % of the main ones
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rather.errors import BadSetting
from rather.worlds.types import WorldPrompt
from rather.worlds.world import World

Group = Literal["main", "closed", "false premise", "wrong claim"]
CLOSED = ("summarization", "closed_qa", "extract")
FALSE_PREMISE = "false premise"  # the kind of prompt
DRAWS = 400  # for each prompt of a rare kind, before a world is said not to have it


@dataclass(frozen=True)
class Asked:
    id: str
    group: Group
    prompt: WorldPrompt


def evaluation_prompts(world: World, n: int) -> list[Asked]:
    """A world that lacks closed domains or wrong users has fewer groups."""
    rng = random.Random(f"{world.name} {world.seed} evaluation")
    found = [Asked(f"main-{at:04d}", "main", p) for at, p in enumerate(world.prompts(rng, n, "api", "test"))]
    closed = [prompt for category in CLOSED for prompt in _of(world, category, max(1, n // 4))]
    found += [Asked(f"closed-{at:04d}", "closed", prompt) for at, prompt in enumerate(closed)]
    for group, premise in (("false premise", True), ("wrong claim", False)):
        wrong = (p for p in _drawn(world, "open_qa", n) if p.spec.claim and (p.kind == FALSE_PREMISE) == premise)
        chosen = [prompt for prompt, _ in zip(wrong, range(max(1, n // 4)), strict=False)]
        found += [Asked(f"{group.replace(' ', '-')}-{at:04d}", group, p) for at, p in enumerate(chosen)]  # type: ignore[arg-type]
    return found


def _of(world: World, category: str, n: int) -> list[WorldPrompt]:
    return [prompt for prompt, _ in zip(_drawn(world, category, n), range(n), strict=False)]


def _drawn(world: World, category: str, n: int) -> Iterator[WorldPrompt]:
    """Different prompts of one use case, as long as there are new ones; none where the world has no such use case."""
    rng = random.Random(f"{world.name} {world.seed} evaluation {category}")
    seen: set[str] = set()
    for _ in range(DRAWS * n):
        try:
            prompt = world.prompt(rng, category, "api", "test")
        except BadSetting:
            return
        if prompt.category != category or (category in CLOSED and not prompt.spec.passage):
            return
        if prompt.text not in seen:
            seen.add(prompt.text)
            yield prompt
