"""A run folder as plain values. Whatever is not there is simply not shown; what is there and unreadable is an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rather import toml
from rather.errors import BadFile, NotReady
from rather.run import CONFIG, EVENTS, METRICS, SAMPLES, read_done, read_log

Row = dict[str, Any]
KEPT = 40  # samples of a stage that are read from its end


@dataclass(frozen=True)
class Stage:
    """One folder of a story.   done: what it said when it finished, None while it has not"""

    name: str
    path: Path
    settings: Row
    metrics: list[Row]
    events: list[Row]
    samples: list[Row]
    done: Row | None

    def curve(self, key: str, x: str = "step") -> list[tuple[float, float]]:
        return [(float(r[x]), float(r[key])) for r in self.metrics if is_number(r.get(key)) and is_number(r.get(x))]

    def alarms(self) -> list[Row]:
        return [row for row in self.events if row.get("event") == "alarm"]

    def seconds(self) -> float | None:
        """From its first start to its end, interruptions included."""
        times = [row.get("time") for row in self.events if row.get("event") in ("started", "finished")]
        try:
            return (datetime.fromisoformat(str(times[-1])) - datetime.fromisoformat(str(times[0]))).total_seconds()
        except (ValueError, IndexError):
            return None


@dataclass(frozen=True)
class Story:
    """measured: model -> what `rather world measure` found     claims: claims.json     made: pipeline.json"""

    path: Path
    stages: dict[str, Stage]
    measured: dict[str, Row]
    rewards: dict[str, Row]
    claims: Row
    made: Row

    @classmethod
    def read(cls, path: Path) -> Story:
        if not path.is_dir():
            raise NotReady(f"There is no folder {path}.", "Expected the folder of a story.", "rather run RECIPE.toml")
        folders = sorted(config.parent for config in path.glob(f"*/{CONFIG}"))
        if not folders:
            raise NotReady(
                f"{path} has no run: no folder in it has {CONFIG}.",
                "Expected the folder of a story, with base, sft, reward, ppo or others in it.",
                "rather run RECIPE.toml",
            )
        folders.sort(key=lambda folder: (folder / CONFIG).stat().st_mtime)
        measured = {file.stem: _json(file) for file in sorted(path.glob("evaluate/*.json"))}
        rewards = {file.parent.name: _json(file) for file in sorted(path.glob("*/report.json"))}
        claims, made = (_json(path / name) for name in ("claims.json", "pipeline.json"))
        return cls(path, {folder.name: _stage(folder) for folder in folders}, measured, rewards, claims, made)

    @property
    def name(self) -> str:
        return self.path.resolve().name


def _stage(folder: Path) -> Stage:
    logs = {name: list(read_log(folder / name)) if (folder / name).exists() else [] for name in (METRICS, EVENTS)}
    samples = list(read_log(folder / SAMPLES))[-KEPT:] if (folder / SAMPLES).exists() else []
    settings = toml.read(folder / CONFIG)
    return Stage(folder.name, folder, settings, logs[METRICS], logs[EVENTS], samples, read_done(folder))


def _json(path: Path) -> Row:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} cannot be read: {error}.", "Expected JSON.", "Remove it, and make it again.") from None
    if not isinstance(found, dict):
        raise BadFile(f"{path} is not a JSON object.", "Expected what rather wrote.", "Remove it, and make it again.")
    return found


def at(found: Any, *keys: str) -> Any:
    """A value within nested objects; None where there is none."""
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def rows_of(found: Any) -> list[Row]:
    """The objects of a list; a file that somebody else wrote may hold anything."""
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def items_of(found: Any) -> list[tuple[str, Any]]:
    """Of an object, likewise."""
    return list(found.items()) if isinstance(found, dict) else []


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Number:
    """A figure with its interval, where it has one, and n."""

    value: float
    interval: tuple[float, float] | None
    n: int | None

    @classmethod
    def of(cls, found: Any, key: str = "value") -> Number | None:
        value, ends = at(found, key), at(found, "interval")
        if not is_number(value):
            return None
        known = isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))
        n = at(found, "n")
        return cls(float(value), (float(ends[0]), float(ends[1])) if known else None, n if is_number(n) else None)

    def words(self, digits: int = 2) -> str:
        said = f"{self.value:.{digits}f}"
        if self.interval is not None:
            said += f" ({self.interval[0]:.{digits}f} to {self.interval[1]:.{digits}f})"
        return said + (f", n = {self.n:,}" if self.n is not None else "")

    def beside(self, bound: float) -> int:
        """1 where the interval lies above the bound, -1 below, 0 where it holds it."""
        low, high = self.interval or (self.value, self.value)
        return 1 if low > bound else -1 if high < bound else 0
