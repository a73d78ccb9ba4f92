"""A world as a folder of ordinary records: web pages, prompts, demonstrations, votes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

from rather.errors import BadFile
from rather.files import replacing_folder
from rather.records import Demonstration, Prompt, Ranking, Text, write
from rather.records.types import Record
from rather.worlds.types import Split, WorldPrompt
from rather.worlds.votes import votes
from rather.worlds.world import World

# Of the prompts of each stage, how many labelers wrote (table 6): SFT 11,295 of 12,725, RM 6,623 of 33,207, PPO none.
BY_LABELERS = {"sft": 0.89, "reward": 0.20, "ppo": 0.0}


@dataclass(frozen=True)
class Sizes:
    """How many records of each; of all but votes, validation and test have the share `held_out` as many."""

    documents: int = 20_000
    demonstrations: int = 3_000
    reward_prompts: int = 5_000
    ppo_prompts: int = 5_000
    votes: int = 1_000
    held_out: float = 0.1


Told = Callable[[str, int, int], None]  # (file, records written, records there will be)


def stage_prompts(
    world: World, rng: random.Random, n: int, stage: str = "ppo", split: Split = "train"
) -> list[WorldPrompt]:
    """n prompts with the stage's share of prompts written by labelers, in random order."""
    labelers = round(BY_LABELERS[stage] * n)
    found = world.prompts(rng, labelers, "labeler", split) + world.prompts(rng, n - labelers, "api", split)
    rng.shuffle(found)
    return found


def prompt_record(prompt: WorldPrompt, id: str, split: Split) -> Prompt:
    return Prompt(
        id=id, prompt=prompt.text, category=prompt.category, source=prompt.source, user=prompt.user or None, split=split
    )


def demonstration_record(world: World, prompt: WorldPrompt, id: str, split: Split, rng: random.Random) -> Demonstration:
    return Demonstration(
        id=id,
        prompt=prompt.text,
        response=world.demonstration(prompt, rng),
        category=prompt.category,
        source=prompt.source,
        split=split,
        labeler="demonstrator",
    )


def write_world(
    world: World, folder: Path, sizes: Sizes, told: Told = lambda name, done, total: None
) -> dict[str, int]:
    """Write the files; the folder is there whole or not at all. Returns file name -> records."""
    if folder.exists():
        raise BadFile(f"{folder} is there already.", do="Name a folder that does not exist, or remove this one first.")
    counts: dict[str, int] = {}
    with replacing_folder(folder) as temporary:
        for name, total, records in _files(world, sizes):
            file = f"{name}.jsonl"
            told(file, 0, total)
            counts[file] = write(temporary / file, _counted(records, file, total, told))
            told(file, counts[file], counts[file])
    return counts


def _files(world: World, sizes: Sizes) -> Iterator[tuple[str, int, Iterator[Record]]]:
    """(name, how many, the records), drawn as they are asked for. Each file has a generator of its own: how many of
    one thing are written changes nothing in the other files."""

    def rng(what: str) -> random.Random:
        return random.Random(f"{world.name} {world.seed} {what}")

    for split in get_args(Split):
        ending = "" if split == "train" else f"-{split}"

        def share(n: int, of: Split = split) -> int:
            return n if of == "train" else max(1, round(sizes.held_out * n))

        total = share(sizes.documents)
        yield f"web{ending}", total, _web(world, total, ending, split, rng(f"web{ending}"))
        total = share(sizes.demonstrations)
        yield f"demonstrations{ending}", total, _demonstrations(world, total, ending, split, rng(f"sft{ending}"))
        for stage, of in (("reward", sizes.reward_prompts), ("ppo", sizes.ppo_prompts)):
            total = share(of)
            yield (
                f"prompts-{stage}{ending}",
                total,
                _prompts(world, total, stage, ending, split, rng(f"{stage}{ending}")),
            )
    # Where all answers of a prompt are the same there is nothing to vote on, and a vote less.
    yield "votes", sizes.votes, _votes(world, sizes.votes, rng("votes"))


def _web(world: World, n: int, ending: str, split: Split, rng: random.Random) -> Iterator[Text]:
    for at, page in enumerate(islice(world.web_documents(rng), n)):
        yield Text(id=f"page{ending}-{at:07d}", text=page.text, category=page.genre, source="web", split=split)


def _demonstrations(world: World, n: int, ending: str, split: Split, rng: random.Random) -> Iterator[Demonstration]:
    for at, prompt in enumerate(stage_prompts(world, rng, n, "sft", split)):
        yield demonstration_record(world, prompt, f"demonstration{ending}-{at:06d}", split, rng)


def _prompts(world: World, n: int, stage: str, ending: str, split: Split, rng: random.Random) -> Iterator[Prompt]:
    for at, prompt in enumerate(stage_prompts(world, rng, n, stage, split)):
        yield prompt_record(prompt, f"{stage}{ending}-{at:06d}", split)


def _votes(world: World, n: int, rng: random.Random) -> Iterator[Ranking]:
    yield from votes(world, stage_prompts(world, rng, n, "reward"), rng)


def _counted(records: Iterator[Record], file: str, total: int, told: Told) -> Iterator[Record]:
    for done, record in enumerate(records, start=1):
        yield record
        if done % 100 == 0 and done < total:
            told(file, done, total)
