"""Web votes (after Askell et al. 2021): a good answer and worse ones, ranked by a crowd with a taste of its own.

They pretrain a reward model. The crowd likes length and company more than the hired labelers do, and knows less; the
gold utility ranks nothing here, so whatever the reward model learns of it comes through people.
"""

from __future__ import annotations

import random
from dataclasses import replace

from rather.records.types import Response
from rather.worlds import labelers
from rather.worlds.corruptions import CORRUPTIONS
from rather.worlds.judging import Task, task_of
from rather.worlds.labelers import Labeler
from rather.worlds.marn import Marn
from rather.worlds.types import Split, WorldPrompt

OTHERS = 5  # beside the demonstration
CROWD = {"length_bias": 0.06, "knowledge": 0.1, "common_knowledge": 0.5}


def crowd(rng: random.Random, n: int) -> tuple[Labeler, ...]:
    """n people of the web: longer is better, and what the user believes is mostly true."""
    hired = labelers.hire(rng, n)
    return tuple(replace(who, id=f"crowd-{at:02d}", group="crowd", **CROWD) for at, who in enumerate(hired, start=1))


def vote_task(world: Marn, id: str, prompt: WorldPrompt, rng: random.Random, split: Split | None = None) -> Task | None:
    """A demonstration and OTHERS good answers, each made worse in one to three ways, in no order."""
    responses = [Response(text=world.demonstration(prompt, rng), model="demonstration")]
    while len(responses) <= OTHERS:
        text, finished, names = world.good_answer(prompt, rng), True, []
        for name, corrupt in rng.sample(list(CORRUPTIONS.items()), rng.randint(1, 3)):
            worse = corrupt(world.facts, prompt, text, rng)
            if worse is not None and worse.strip():
                text = worse
                names.append(name)
        if rng.random() < 0.1 and len(text.split()) > 2:
            said = text.split(" ")
            text, finished = " ".join(said[: rng.randint(1, len(said) - 1)]), False
            names.append("cut")
        if names and text.strip():
            responses.append(Response(text=text, finished=finished, model=", ".join(names)))
    rng.shuffle(responses)
    return task_of(world, id, prompt, responses, split)
