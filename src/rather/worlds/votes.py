"""Web votes (after Askell et al. 2021): a good answer and worse ones, ranked by a crowd with a taste of its own.

They pretrain a reward model. The crowd likes length, friendly words and being agreed with more than the hired labelers
do, and knows less; the gold utility ranks nothing here, so whatever the reward model learns of it comes through people.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from rather.records.types import Ranking, Response
from rather.worlds.judging import Task, rank, task_of, utilities
from rather.worlds.labelers import CROWD
from rather.worlds.noise import fit_noise
from rather.worlds.types import Split, WorldPrompt
from rather.worlds.world import World

OTHERS = 5  # beside the demonstration
PEOPLE = 12


def vote_task(
    world: World, id: str, prompt: WorldPrompt, rng: random.Random, split: Split | None = None
) -> Task | None:
    """A demonstration and OTHERS worse answers, in no order."""
    responses = [Response(text=world.demonstration(prompt, rng), model="demonstration")]
    responses += [world.worse_answer(prompt, rng) for _ in range(OTHERS)]
    rng.shuffle(responses)
    return task_of(world, id, prompt, responses, split)


def votes(world: World, prompts: Sequence[WorldPrompt], rng: random.Random) -> Iterator[Ranking]:
    """One ranking for each prompt by one of a crowd; how noisy they are was fitted on these very answers."""
    people = world.labelers(PEOPLE, CROWD)
    tasks = [vote_task(world, f"vote-{at:06d}", prompt, rng, "train") for at, prompt in enumerate(prompts)]
    judged = [task for task in tasks if task is not None]
    noise = fit_noise([utilities(people, task) for task in judged])
    for task in judged:
        yield rank(rng.choice(people), task, noise, rng)
