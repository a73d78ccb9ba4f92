"""A run folder as plain values. Whatever is not there is simply not shown; what is there and unreadable is an error."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, TypeGuard

from rather import toml
from rather.errors import BadFile, NotReady
from rather.run import CONFIG, EVENTS, METRICS, SAMPLES, read_done, read_log
from rather.run.seeds import refuse_seeds

Row = dict[str, Any]
KEPT = 800  # samples of a stage that are kept from its beginning, and as many from its end
OPTIMISED = ("ppo", "dpo", "grpo", "best-of-n")  # how the folders of policies begin that step 3, or its kin, made


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
    """measured: model -> what `rather world measure` found     rewards: reward model -> what its report says

    claims: claims.json     made: pipeline.json     curves: best-of-n stage -> its curve.json
    ranked: file of rankings -> what `rather rank` said about it
    """

    path: Path
    stages: dict[str, Stage]
    measured: dict[str, Row]
    rewards: dict[str, Row]
    claims: Row
    made: Row
    curves: dict[str, Row]
    ranked: dict[str, Row]

    @classmethod
    def read(cls, path: Path) -> Story:
        if not path.is_dir():
            raise NotReady(f"There is no folder {path}.", "Expected the folder of a story.", "rather run RECIPE.toml")
        folders = sorted(config.parent for config in path.glob(f"*/{CONFIG}"))
        refuse_seeds(path)
        if not folders:
            raise NotReady(
                f"{path} has no run: no folder in it has {CONFIG}.",
                "Expected the folder of a story, with base, sft, reward, ppo or others in it.",
                "rather run RECIPE.toml",
            )
        folders.sort(key=lambda folder: (folder / CONFIG).stat().st_mtime)
        measured = {file.stem: read_object(file) for file in sorted(path.glob("evaluate/*.json"))}
        rewards = {file.parent.name: read_object(file) for file in sorted(path.glob("*/report.json"))}
        claims, made = (read_object(path / name) for name in ("claims.json", "pipeline.json"))
        curves = {file.parent.name: read_object(file) for file in sorted(path.glob("*/curve.json"))}
        ranked = {
            file.name.removesuffix(".about.json"): read_object(file) for file in sorted(path.glob("*.about.json"))
        }
        stages = {folder.name: _stage(folder) for folder in folders}
        return cls(path, stages, measured, rewards, claims, made, curves, ranked)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def aligned(self) -> str | None:
        """The policy that the story ends with: the last one that RL made, else the last that demonstrations made."""
        for begins in (OPTIMISED, ("sft",)):
            found = [name for name, stage in self.stages.items() if name.startswith(begins) and stage.done]
            if found:
                return next((name for name in found if name == "ppo-ptx"), found[-1])
        return None

    def optimised(self) -> list[str]:
        """Policies with a curve of KL or score: those that something could go wrong in while they learned."""
        return [name for name, s in self.stages.items() if s.curve("objective/kl") or s.curve("objective/scores")]

    def began_from(self, name: str) -> str | None:
        """The folder of the model that a stage started from."""
        model = self.stages[name].settings.get("model") if name in self.stages else None
        if isinstance(model, str) and model != "none":
            return PurePath(model).parent.name
        return "init" if name.startswith(("ppo", "grpo")) else "sft" if name.startswith(OPTIMISED) else "base"


def _stage(folder: Path) -> Stage:
    logs = {name: list(read_log(folder / name)) if (folder / name).exists() else [] for name in (METRICS, EVENTS)}
    samples = _samples(folder / SAMPLES) if (folder / SAMPLES).exists() else []
    settings = toml.read(folder / CONFIG)
    return Stage(folder.name, folder, settings, logs[METRICS], logs[EVENTS], samples, read_done(folder))


def _samples(path: Path) -> list[Row]:
    """Of a long run the first and the last: what changed is seen in them."""
    lines = read_log(path)
    first = list(islice(lines, KEPT))
    return first + list(deque(lines, KEPT))


def read_object(path: Path) -> Row:
    """Of a JSON file; empty where there is none."""
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


def is_number(value: object) -> TypeGuard[float]:
    """Not what a file may hold besides: NaN, infinity, a whole number of a thousand digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


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
        return cls(float(value), (float(ends[0]), float(ends[1])) if known else None, int(n) if is_number(n) else None)

    def less(self, other: Number) -> Number:
        """The difference, with the interval that the two intervals give if they are independent (MOVER, Zou 2008)."""
        known = [n for n in (self.n, other.n) if n is not None]
        value, ends = self.value - other.value, None
        if self.interval is not None and other.interval is not None:
            (low, high), (least, most) = self.interval, other.interval
            down, up = (
                math.hypot(self.value - low, most - other.value),
                math.hypot(high - self.value, other.value - least),
            )
            ends = (value - down, value + up)
        return Number(value, ends, min(known) if known else None)

    def turned(self) -> Number:
        """With the sign changed: a fall by so much."""
        return Number(-self.value, self.interval and (-self.interval[1], -self.interval[0]), self.n)

    def words(self, digits: int = 2) -> str:
        said = f"{self.value:z.{digits}f}"  # z: no -0.00
        if self.interval is not None:
            said += f" ({self.interval[0]:z.{digits}f} to {self.interval[1]:z.{digits}f})"
        return said + (f", n = {self.n:,}" if self.n is not None else "")

    def beside(self, bound: float) -> int:
        """1 where the interval lies above the bound, -1 below, 0 where it holds it."""
        low, high = self.interval or (self.value, self.value)
        return 1 if low > bound else -1 if high < bound else 0
