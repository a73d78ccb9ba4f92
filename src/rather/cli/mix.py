"""Pretraining text for the mix of PPO-ptx (eq. 2), for every stage that can mix it in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rather import toml
from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.cli.stage import Story
from rather.errors import BadFile
from rather.models.load import Policy, window_of
from rather.records import Text, read
from rather.worlds.named import named

MOST = 20_000_000  # tokens of pretraining text that are held in memory


def pretraining_rows(
    policy: Policy, story: Story, texts: str | None, length: int, wanted: int, without: str
) -> list[Tree]:
    """Rows of plain text: as many as the run will see, if they fit in memory, else so many again and again.

    texts: a file or a world; None: what RUN/base was trained on     without: the setting that leaves the mix out
    """
    if not wanted:
        return []
    source = texts or _of_base(story.folder / "base" / "config.toml")
    source = story.found(source, "pretraining.jsonl", f"The mix needs text:  texts=FILE or a world, or:  {without}")
    length = min(length, window_of(policy.model.config) or length)
    rows = list(islice(Encoder(policy.tokenizer, None).windows(_pages(source), length), min(wanted, MOST // length)))
    if not rows:
        raise BadFile(f"{source} has no text to mix in.", "Expected records with text.", without)
    story.say(f"pretraining mix: {len(rows):,} rows of {length} tokens of {source}")
    return rows


def _of_base(settings: Path) -> str | None:
    """What the story's base model was trained on."""
    texts = toml.read(settings).get("texts") if settings.exists() else None
    return texts if isinstance(texts, str) else None


def _pages(source: str) -> Iterator[str]:
    world = named(source)
    if world is None:
        yield from (record.text for record in read(source, Text) if record.split in (None, "train"))
        return
    rng = random.Random(f"{world.name} {world.seed} pretraining train")
    yield from (page.text for page in world.web_documents(rng))
