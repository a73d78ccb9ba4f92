"""A world by words, as in recipes and on the command line: `marn`, `marn:3`, `marn:3:tiny`, `marn:3:tiny:marking=0`."""

from __future__ import annotations

from rather.errors import BadSetting, nearest
from rather.records.words import quote
from rather.worlds.marn import Marn
from rather.worlds.world import World

EXPECTED = "Expected marn, marn:SEED, marn:SEED:SCALE or marn:SEED:SCALE:GENRE=SHARE, such as marn:3:tiny."


def named(words: str) -> World | None:
    """The world of these words, or None where they name none: then they are the name of a file, perhaps."""
    name, *rest = words.strip().split(":", 3)
    if name != Marn.name:
        return None
    seed, scale, genres = rest + ["0", "small", ""][len(rest) :]
    shares: dict[str, float] = {}
    try:
        if not (seed.isascii() and seed.isdigit() and len(seed) < 20):
            raise ValueError(seed)
        for one in genres.split(",") if genres else ():
            genre, share = one.split("=")
            shares[genre] = float(share)
    except ValueError:
        raise BadSetting(f"There is no world {quote(words)}.", EXPECTED) from None
    return Marn(int(seed), scale, shares)  # type: ignore[arg-type]  # it says which scales there are


def world_named(words: str) -> World:
    """The same where nothing but a world will do."""
    world = named(words)
    if world is None:
        raise BadSetting(f"There is no world {quote(words)}.{nearest(words.split(':')[0], [Marn.name])}", EXPECTED)
    return world
