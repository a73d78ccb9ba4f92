"""A folder of seeds: RUN/seed-0, RUN/seed-1, ... are runs of one story; RUN/seeds.json says how many of them count."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from rather import files
from rather.errors import BadFile, NotReady

FILE, KEY = "seeds.json", "seeds"


def seed_folder(run: Path, number: int) -> Path:
    return run / f"seed-{number}"


def write_seeds(run: Path, count: int) -> None:
    files.write_json(run / FILE, {KEY: count})


def seeds_in(run: Path) -> list[Path]:
    """The seeds that count, in their order; none where it is the folder of something else."""
    try:
        found = json.loads((run / FILE).read_bytes())
        count = found[KEY]
        assert type(count) is int, f"{KEY} is {count!r}"
        assert 1 < count < 1000, f"{KEY} is {count}"
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AssertionError) as error:
        raise BadFile(
            f"{run / FILE} cannot be read: {error}.",
            f'Expected what `rather run` wrote, as {{"{KEY}": 3}}.',
            "Remove it: the same `rather run` writes it again.",
        ) from None
    return [seed_folder(run, number) for number in range(count)]


def each_seed(runs: Iterable[Path]) -> list[Path]:
    """Runs, with the seeds that count in place of a folder of seeds."""
    return [one for run in map(Path, runs) for one in seeds_in(run) or [run]]


def refuse_seeds(run: Path) -> None:
    """For what reads one story: in a folder of seeds it would find nothing, and say that nothing was made."""
    if seeds := seeds_in(run):
        raise NotReady(f"{run} has several seeds of a story.", "Expected one of them.", f"Name it:  {seeds[0]}")
