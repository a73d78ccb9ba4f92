"""What claims may look at in a run: measurements, comparisons, curves, settings. What is missing has a name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from rather import toml
from rather.errors import BadFile, NotReady
from rather.evaluate.claims.figures import Figure
from rather.evaluate.judged import Answer
from rather.evaluate.naming import resolved
from rather.evaluate.preference import preferred
from rather.evaluate.runs import LABELERS, Measuring
from rather.run import EVENTS, METRICS, read_log, read_metrics
from rather.worlds.noise import Noise


class Missing(Exception):
    """A claim cannot be decided: this is not there. `claim` turns it into a verdict."""


class Evidence(Protocol):
    def measured(self, name: str) -> Mapping[str, Any]:
        """What was measured of a model, or of `labelers`."""

    def wins(self, ours: str, theirs: str, way: str = "t1", their_way: str = "") -> Mapping[str, Any]:
        """`preference.preferred` of two models' answers to the same prompts."""

    def curve(self, name: str, *keys: str) -> list[tuple[float, ...]]:
        """These metrics of a stage, step by step, where all of them were logged."""

    def setting(self, name: str, key: str) -> Any:
        """Of the settings that a stage was run with; None where it is unset."""

    def report(self, name: str) -> Mapping[str, Any]:
        """What `rather reward` found out about its model."""

    def seconds(self, name: str) -> float:
        """From start to end of a stage that was not interrupted."""

    def has(self, name: str) -> bool: ...


def figure(run: Evidence, name: str, *path: str) -> Figure:
    """A number of what was measured of a model."""
    return Figure.of(part(run, name, *path))


def part(run: Evidence, name: str, *path: str) -> Any:
    found: Any = run.measured(name)
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            raise Missing(f"nothing was measured of {name} under {' / '.join(path)}")
        found = found[key]
    return found


def own_beta(run: Evidence) -> float:
    """The beta of ppo, which those of a sweep are multiples of."""
    found = run.setting("ppo", "kl_coef")
    if not isinstance(found, int | float) or found <= 0:
        raise Missing(f"ppo has beta {found}: there is nothing to be multiples of")
    return float(found)


class RunEvidence:
    """The evidence of one run folder. measure: what is missing is measured, which may take minutes."""

    def __init__(self, measuring: Measuring, measure: bool) -> None:
        self.measuring, self.measure = measuring, measure
        self._answers: dict[str, dict[str, list[Answer]]] = {}
        self._found: dict[str, Mapping[str, Any]] = {}

    def has(self, name: str) -> bool:
        return resolved(self.measuring.run, name) is not None

    def measured(self, name: str) -> Mapping[str, Any]:
        folder = name if name == LABELERS else self._folder(name)
        if folder not in self._found:
            if folder != LABELERS and folder not in self.measuring.models:
                raise Missing(f"{name} is unfinished: it has no checkpoint")
            self._found[folder] = self._measured(folder)
        return self._found[folder]

    def _measured(self, folder: str) -> Mapping[str, Any]:
        try:
            found = self.measuring.measure(folder) if self.measure else self.measuring.already(folder)
        except NotReady as error:
            raise Missing(error.found) from None
        if found is None:
            raise Missing(f"{folder} is not measured as it is now")
        return found

    def wins(self, ours: str, theirs: str, way: str = "t1", their_way: str = "") -> Mapping[str, Any]:
        one, other = self._said(ours, way), self._said(theirs, their_way or way)
        found = self.measured(LABELERS)
        return preferred(self.measuring.judges, one, other, Noise(float(found["tau"]), float(found["delta"])))

    def _said(self, name: str, way: str) -> list[Answer]:
        self.measured(name)
        folder = self._folder(name)
        if folder not in self._answers:
            self._answers[folder] = self.measuring.answers(folder)
        if way not in self._answers[folder]:
            raise Missing(f"{name} was not asked {way}")
        return self._answers[folder][way]

    def curve(self, name: str, *keys: str) -> list[tuple[float, ...]]:
        folder = self._path(name)
        rows = read_metrics(folder) if (folder / METRICS).is_file() else []
        found = [tuple(float(row[key]) for key in keys) for row in rows if all(_number(row.get(key)) for key in keys)]
        if not found:
            raise Missing(f"{name}/metrics.jsonl has no {' with '.join(keys)}")
        return found

    def setting(self, name: str, key: str) -> Any:
        path = self.measuring.run / self._folder(name) / "config.toml"
        if not path.is_file():
            raise Missing(f"{name}/config.toml is not there")
        value = toml.read(path).get(key)
        return None if value == toml.NONE else value

    def report(self, name: str) -> Mapping[str, Any]:
        path = self.measuring.run / self._folder(name) / "report.json"
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise Missing(f"{name}/report.json is not there") from None
        except (OSError, ValueError, RecursionError) as error:
            raise BadFile(f"{path} cannot be read: {error}.", "Expected JSON.") from None
        if not isinstance(found, dict):
            raise BadFile(f"{path} is not a report.", "Expected a JSON object.")
        return found

    def seconds(self, name: str) -> float:
        path = self._path(name) / EVENTS
        times = {row.get("event"): row.get("time") for row in read_log(path)} if path.is_file() else {}
        if "resumed" in times or not {"started", "finished"} <= set(times):
            raise Missing(f"{name} was not run from start to end in one go")
        try:
            start, end = (datetime.fromisoformat(str(times[event])) for event in ("started", "finished"))
            return (end - start).total_seconds()
        except (ValueError, TypeError):
            raise BadFile(f"{path} has times that are none.", "Expected what a run writes.") from None

    def _path(self, name: str) -> Path:
        return self.measuring.run / self._folder(name)

    def _folder(self, name: str) -> str:
        found = resolved(self.measuring.run, name)
        if found is None:
            raise Missing(f"there is no model {name}")
        return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
