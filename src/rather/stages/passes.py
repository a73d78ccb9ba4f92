"""In which order things are taken: without replacement, one pass after the other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache


def in_passes(count: int, start: int, taken: int, seed: str) -> list[int]:
    """Numbers `start` to `start + taken` of an endless row of shuffled passes over `count` things.

    A function of the place, so that a resumed run needs no state to go on where it was.
    """
    return [_pass(count, at // count, seed)[at % count] for at in range(start, start + taken)]


@lru_cache(maxsize=8)
def _pass(count: int, number: int, seed: str) -> list[int]:
    return random.Random(f"{seed} {number}").sample(range(count), count)


def minibatches(count: int, size: int, epochs: int, rng: random.Random) -> Iterator[list[int]]:
    """Each epoch all of `count` things in a new order, `size` at a time."""
    for _ in range(epochs):
        order = rng.sample(range(count), count)
        yield from (order[at : at + size] for at in range(0, count, size))
