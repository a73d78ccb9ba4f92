"""How many records a stage will read and how long they are: of files that are there, and of a world's to be written."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rather.batches.encoding import Encoder
from rather.config import Config
from rather.errors import RatherError
from rather.models.tokenizers import load_tokenizer
from rather.pipeline_memory import READS
from rather.plan.shapes import Shape
from rather.records import Comparison, Demonstration, Prompt, Ranking, read, spoken
from rather.worlds.named import world_named
from rather.worlds.writing import stage_prompts

SAMPLE = 300  # records that are looked into
CHARACTERS = 3.9  # of a token: English under a BPE, and the miniature world under its own (500 records: 3.86 to 3.97)
AROUND = 3  # tokens that a template, BOS and EOS add to a prompt with its response, at least
OF_WORLD = {  # files that `rather world write` makes, and the setting that says how many records
    "demonstrations.jsonl": "demonstrations",
    "demonstrations-few.jsonl": "few_demonstrations",
    "prompts-ppo.jsonl": "ppo_prompts",
    "prompts-reward.jsonl": "reward_prompts",
    "votes.jsonl": "votes",
}
DEFAULTS = {"dpo": {"rankings": "rankings.jsonl"}, "grpo": {"prompts": "prompts.jsonl"}}
KINDS = {"demonstrations": Demonstration, "rankings": Ranking, "prompts": Prompt}


@dataclass(frozen=True)
class Lengths:
    """count: of records, None if nobody knows     prompt, response: mean tokens     k: responses to a prompt"""

    count: int | None
    prompt: float
    response: float
    longest_prompt: int
    k: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> float:
        """Of one tree: the prompt once, and every response."""
        return self.prompt + self.k * self.response


Counter = Callable[[str], int]


class Reading:
    def __init__(self, folder: Path, stages: Sequence[tuple[str, str, Config]]) -> None:
        self.folder = folder
        self.world: Any = next((settings for verb, _, settings in stages if verb == "world"), None)
        self.ranked: dict[str, Any] = {f"{name}.jsonl": settings for verb, name, settings in stages if verb == "rank"}

    def of(self, verb: str, settings: Config, key: str, model: str, shape: Shape) -> Lengths:
        """What a setting names, or its default in the story's folder."""
        given = getattr(settings, key, None)
        default = READS.get(verb, DEFAULTS.get(verb, {})).get(key)
        word = given if isinstance(given, str) else str(self.folder / str(default))
        path = Path(word)
        if path.parent == self.folder and path.name in self.ranked:
            return self.of_ranking(self.ranked[path.name])
        if self.world is not None and path.parent == self.folder and path.name in OF_WORLD:
            return self.of_world(word, shape.window)
        if path.exists():
            return _cut(_of_file(path, key, _counter(model)), settings, shape)
        unknown = Lengths(
            None, 0.0, 0.0, 0, notes=(f"{word} is not there yet: the longest that is allowed is counted",)
        )
        return _longest(unknown, settings, shape)

    def of_ranking(self, config: Any) -> Lengths:
        asked = self.of_prompts(self.world.world if self.world else "marn")
        k = (config.k_min + config.k_max) / 2
        return replace(asked, count=config.prompts, k=k, response=min(asked.response, config.max_new_tokens))

    def of_world(self, word: str, window: int | None) -> Lengths:
        """Of a file that a world will write. Answers are taken to be as long as its demonstrations."""
        name = Path(word).name
        found = self.of_prompts(self.world.world if self.world else "marn")
        count = getattr(self.world, OF_WORLD[name], None) if self.world else None
        k = 6.5 if name == "votes.jsonl" else 1.0
        return replace(found, count=count, k=k)

    def of_prompts(self, words: str) -> Lengths:
        return _of_prompts(words)


@cache
def _of_prompts(words: str) -> Lengths:
    world, rng = world_named(words), random.Random("plan")
    asked = stage_prompts(world, rng, SAMPLE)
    prompts = [len(prompt.text) / CHARACTERS + 1 for prompt in asked]
    said = [len(world.demonstration(prompt, rng)) / CHARACTERS + 1 for prompt in asked]
    note = "answers are taken to be as long as the world's demonstrations"
    return Lengths(None, float(np.mean(prompts)), float(np.mean(said)), round(max(prompts)), notes=(note,))


def _of_file(path: Path, key: str, count: Counter) -> Lengths:
    kind: Any = KINDS[key]
    try:
        records: list[Any] = list(islice(read(path, kind), SAMPLE))
    except RatherError:
        if key != "rankings":
            raise
        records = list(islice(read(path, Comparison), SAMPLE))
    if not records:
        return Lengths(0, 0.0, 0.0, 0, notes=(f"{path} has no record",))
    asked = [count(spoken(record.prompt)) for record in records]
    answers = [[count(text) + 1 for text in _responses(record)] for record in records]
    said = [length for of in answers for length in of]
    with path.open("rb") as file:
        lines = sum(1 for line in file if line.strip())
    few = f"lengths are those of the first {len(records):,} records of {path}"
    notes = (few,) if lines > len(records) else ()
    k = float(np.mean([len(of) for of in answers])) or 1.0
    return Lengths(lines, float(np.mean(asked)), float(np.mean(said or [0])), max(asked), k, notes)


def _responses(record: Any) -> list[str]:
    match record:
        case Demonstration():
            return [record.response]
        case Ranking():
            return [one.text for one in record.responses]
        case Comparison():
            return [record.a.text, record.b.text]
    return []


def _counter(model: str) -> Counter:
    """Tokens of a text, by the model's own tokenizer where it is there."""
    folder = Path(model).expanduser()
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        return lambda text: round(len(text) / CHARACTERS) + AROUND
    tokenizer = load_tokenizer(folder).tokenizer
    encoder = Encoder(tokenizer, tokenizer.chat_template)
    return lambda text: len(encoder.prompts([text or "x"])[0])


def _cut(found: Lengths, settings: Any, shape: Shape) -> Lengths:
    """Where answers are sampled, they are taken to be as long as what is allowed, if nothing else is known."""
    limit = getattr(settings, "max_new_tokens", None)
    if found.response or limit is None:
        return found
    room = _room(settings, shape)
    note = f"answers are taken to have half of max_new_tokens={limit:,}: nobody knows before"
    return replace(found, response=min(limit, room) / 2, notes=(*found.notes, note))


def _longest(found: Lengths, settings: Any, shape: Shape) -> Lengths:
    room = _room(settings, shape)
    response = min(getattr(settings, "max_new_tokens", room), room)
    prompt = min(getattr(settings, "max_prompt", room - response), max(1, room - response))
    return replace(found, prompt=float(prompt), response=float(response), longest_prompt=prompt)


def _room(settings: Any, shape: Shape) -> int:
    limit = getattr(settings, "max_length", None) or settings.max_prompt + settings.max_new_tokens
    return min(limit, shape.window or limit)
