"""A world as a folder of ordinary records: web pages, prompts, demonstrations, votes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rather.errors import BadFile
from rather.files import replacing_folder
from rather.records import Demonstration, Prompt, Text, write
from rather.worlds.types import Split, WorldPrompt
from rather.worlds.votes import votes
from rather.worlds.world import World

# Of the prompts of each stage, how many labelers wrote (table 6): SFT 11,295 of 12,725, RM 6,623 of 33,207, PPO none.
BY_LABELERS = {"sft": 0.89, "reward": 0.20, "ppo": 0.0}


@dataclass(frozen=True)
class Sizes:
    """How many records of each; validation and test have a tenth as many."""

    documents: int = 20_000
    demonstrations: int = 3_000
    prompts: int = 5_000  # for the reward model, and as many again for PPO
    votes: int = 1_000


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


def write_world(world: World, folder: Path, sizes: Sizes) -> dict[str, int]:
    """Write the files; the folder is there whole or not at all. Returns file name -> records."""
    if folder.exists():
        raise BadFile(f"{folder} is there already.", do="Name a folder that does not exist, or remove this one first.")
    counts: dict[str, int] = {}

    def rng(what: str) -> random.Random:
        # A generator for each file: how many of one thing are written changes nothing in the other files.
        return random.Random(f"{world.name} {world.seed} {what}")

    with replacing_folder(folder) as temporary:
        for split, share in (("train", 1.0), ("validation", 0.1), ("test", 0.1)):
            of: Split = split  # type: ignore[assignment]
            ending = "" if split == "train" else f"-{split}"
            pages = islice(world.web_documents(rng(f"web{ending}")), round(share * sizes.documents))
            texts = (
                Text(id=f"page{ending}-{at:07d}", text=page.text, category=page.genre, source="web", split=of)
                for at, page in enumerate(pages)
            )
            source = rng(f"sft{ending}")
            asked = stage_prompts(world, source, round(share * sizes.demonstrations), "sft", of)
            demonstrations = (
                demonstration_record(world, prompt, f"demonstration{ending}-{at:06d}", of, source)
                for at, prompt in enumerate(asked)
            )
            files = {f"web{ending}": texts, f"demonstrations{ending}": demonstrations}
            for stage in ("reward", "ppo"):
                found = stage_prompts(world, rng(f"{stage}{ending}"), round(share * sizes.prompts), stage, of)
                files[f"prompts-{stage}{ending}"] = (
                    prompt_record(prompt, f"{stage}{ending}-{at:06d}", of) for at, prompt in enumerate(found)
                )
            for name, records in files.items():
                counts[f"{name}.jsonl"] = write(temporary / f"{name}.jsonl", records)
        source = rng("votes")
        asked = stage_prompts(world, source, sizes.votes, "reward")
        counts["votes.jsonl"] = write(temporary / "votes.jsonl", votes(world, asked, source))
    return counts
