"""A world by words, as they stand in recipes and on the command line: `marn`, `marn:3`, `marn:3:tiny`."""

from __future__ import annotations

from rather.errors import BadSetting, nearest
from rather.records.words import quote
from rather.worlds.marn import Marn
from rather.worlds.world import World

EXPECTED = "Expected marn, marn:SEED or marn:SEED:SCALE, such as marn:3:tiny."


def named(words: str) -> World | None:
    """The world of these words, or None where they name none: then they are the name of a file, perhaps."""
    name, *rest = words.strip().split(":")
    if name != Marn.name:
        return None
    seed, scale = (rest + ["0", "small"][len(rest) :])[:2]
    if len(rest) > 2 or not (seed.isascii() and seed.isdigit() and len(seed) < 20):
        raise BadSetting(f"There is no world {quote(words)}.", EXPECTED)
    return Marn(int(seed), scale)  # type: ignore[arg-type]  # it says which scales there are


def world_named(words: str) -> World:
    """The same where nothing but a world will do."""
    world = named(words)
    if world is None:
        raise BadSetting(f"There is no world {quote(words)}.{nearest(words.split(':')[0], [Marn.name])}", EXPECTED)
    return world
