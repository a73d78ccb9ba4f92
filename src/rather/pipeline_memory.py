"""What a story was made of: RUN/pipeline.json has the settings of each stage and the content hashes of its inputs.

From it follows why a stage has to run again, in words, or that it has not.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rather import __version__, files, toml
from rather.config import as_toml, flattened
from rather.errors import BadFile, BadSetting
from rather.pipeline_recipe import TRAINED, Recipe, Step
from rather.run import CONFIG, DONE, EVENTS
from rather.worlds.named import named

FILE = "pipeline.json"
# Settings that name what a stage reads, and what it reads where they are not set. None: nothing.
READS: Mapping[str, Mapping[str, str | None]] = {
    "pretrain": {"texts": None},
    "sft": {"model": "base/checkpoint", "demonstrations": "demonstrations.jsonl",
            "validation": "demonstrations-validation.jsonl", "texts": None, "reward": None},
    "init": {"model": "base/checkpoint", "demonstrations": "demonstrations.jsonl",
             "validation": "demonstrations-validation.jsonl", "texts": "web.jsonl", "reward": None},
    "reward": {"model": "sft/checkpoint", "rankings": "rankings.jsonl", "validation": None,
               "demonstrations": "demonstrations.jsonl", "ratings": None},
    "ppo": {"model": "init/checkpoint", "reward": "reward/checkpoint", "prompts": "prompts.jsonl",
            "texts": "pretraining.jsonl", "second_opinion": None},
    "dpo": {"model": "sft/checkpoint", "reference": None, "rankings": "rankings.jsonl", "validation": None,
            "texts": None, "reward": None},
    "grpo": {"model": "init/checkpoint", "prompts": "prompts.jsonl", "rewards": "reward/checkpoint", "texts": None},
    "best-of-n": {"model": "sft/checkpoint", "prompts": "prompts.jsonl", "rewards": "reward/checkpoint"},
}  # fmt: skip
WORLD = ("web", "demonstrations", "prompts-reward", "prompts-ppo", "votes")
Asked = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Why:
    """Why a stage runs, and how: from nothing, going on (--resume), or throwing away what is there (--again)."""

    words: str
    option: tuple[str, ...] = ()


AGAIN, RESUME = ("--again",), ("--resume",)


class Memory:
    def __init__(self, recipe: Recipe, stages: dict[str, Any]) -> None:
        self.folder, self.recipe, self.stages = recipe.folder, recipe.path.name, stages
        self.order = [step.name for step in recipe.steps]

    @classmethod
    def of(cls, recipe: Recipe) -> Memory:
        path = recipe.folder / FILE
        if not path.exists():
            return cls(recipe, {})
        try:
            found = json.loads(path.read_bytes())
            whose, stages = found["recipe"], found["stages"]
            assert all(isinstance(stage["settings"], dict) for stage in stages.values()), "settings are a table"
            assert all(isinstance(stage["inputs"], dict) for stage in stages.values()), "inputs are a table"
        except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError, AssertionError) as error:
            raise BadFile(
                f"{path} cannot be read: {error}.",
                "Expected what `rather run` wrote.",
                "Remove it: stages that are finished with the same settings are kept.",
            ) from None
        if whose != recipe.path.name:
            raise BadSetting(
                f"{recipe.folder} belongs to the recipe {whose}.",
                f"Running {recipe.path.name} there would throw its stages away.",
                f"Name another folder:  rather run {recipe.path} FOLDER",
            )
        return cls(recipe, stages)

    def asked(self, step: Step) -> Asked:
        """What the stage depends on: settings, and the content of what it reads."""
        settings = flattened(tomllib.loads(as_toml(step.settings)))
        return {"settings": settings, "inputs": dict(_inputs(self.folder, step))}

    def why(self, step: Step, asked: Asked) -> Why | None:
        """None where the stage is what it should be."""
        before = self.stages.get(step.name)
        trained = step.verb in TRAINED
        done, begun = self._made(step), (self.folder / step.name / CONFIG).exists() and trained
        if before is None:
            return self._by_its_own_verb(step, asked, done) if begun else Why("new")
        if changed := [
            *_differing(before["settings"], asked["settings"]),
            *_changed(before["inputs"], asked["inputs"]),
        ]:
            return Why("; ".join(changed[:3]), AGAIN if trained else ())
        if before.get("replaces") and before["replaces"] == self._started(step):
            return Why("what it is to replace is still there", AGAIN)
        if begun and (other := _differing(self._settings(step), asked["settings"])):
            return Why("since then it was run with other settings: " + "; ".join(other[:3]), AGAIN)
        if done and (trained or before.get("done")):
            return None
        if begun:
            return Why("it was interrupted", RESUME)
        return Why("it was interrupted" if not before.get("done") else "what it made is gone")

    def _by_its_own_verb(self, step: Step, asked: Asked, done: bool) -> Why | None:
        """Somebody has run it alone. Then nobody kept a hash, and the times of files have to do."""
        if other := _differing(self._settings(step), asked["settings"]):
            return Why("it was run with other settings: " + "; ".join(other[:3]), AGAIN)
        if not done:
            return Why("it was begun", RESUME)
        finished = (self.folder / step.name / DONE).stat().st_mtime
        newer = [key for key, path in _paths(self.folder, step) if path.exists() and path.stat().st_mtime > finished]
        return Why(f"{newer[0]} is newer", AGAIN) if newer else None

    def begin(self, step: Step, asked: Asked, again: bool = False) -> None:
        """again: what is there is thrown away, but only once the verb has read its inputs; until then it may end."""
        self.stages[step.name] = {"verb": step.verb, "command": list(step.command), **asked, "done": False}
        if again:
            self.stages[step.name]["replaces"] = self._started(step)
        self._write()

    def finish(self, step: Step, seconds: float) -> None:
        """Also what has changed beneath it meanwhile would be asked next time: the hashes are those of the start."""
        self.stages[step.name] |= {"done": True, "seconds": round(seconds, 1)}
        self.stages[step.name].pop("replaces", None)
        self._write()

    def keep(self, step: Step, asked: Asked) -> None:
        if not self.stages.get(step.name, {}).get("done"):
            self.begin(step, asked)
            self.finish(step, 0.0)

    def _write(self) -> None:
        """In the recipe's order, in whichever they began; stages that it no longer lists come last."""
        stages = {name: self.stages[name] for name in [*self.order, *self.stages] if name in self.stages}
        files.write_json(self.folder / FILE, {"recipe": self.recipe, "rather": __version__, "stages": stages})

    def _settings(self, step: Step) -> dict[str, Any]:
        return flattened(toml.read(self.folder / step.name / CONFIG))

    def _started(self, step: Step) -> str:
        """The first of its events: who began the run that is there, and when. Empty where there is none."""
        try:
            with (self.folder / step.name / EVENTS).open(errors="replace") as events:
                return events.readline()
        except OSError:
            return ""

    def _made(self, step: Step) -> bool:
        match step.verb:
            case "world":
                made = [f"{name}.jsonl" for name in WORLD]
            case "rank":
                made = [f"{step.name}.jsonl"]
            case "measure":
                made = ["evaluate"]
            case "claims":
                made = ["claims.json"]
            case "report":
                made = ["report.html"]
            case "reward":
                made = [f"{step.name}/{DONE}", f"{step.name}/report.json"]
            case _:
                made = [f"{step.name}/{DONE}"]
        return all((self.folder / name).exists() for name in made)


# ---- what a stage reads


def _inputs(folder: Path, step: Step) -> Iterator[tuple[str, str]]:
    for key, path in _paths(folder, step):
        yield key, _digest(path)
    for key, default in READS.get(step.verb, {}).items():
        value = getattr(step.settings, key, None)
        for word in [value] if isinstance(value, str) else value or ():
            if named(word) is None and not Path(word).exists() and default is not None:
                yield f"{key} {word}", "by name"  # a hub id, a function, an address: its name is all there is


def _paths(folder: Path, step: Step) -> Iterator[tuple[str, Path]]:
    """(what it is called in words, where it lies) of all files and model folders that a stage reads."""
    if step.verb == "rank":
        for name in step.settings.policies:  # type: ignore[attr-defined]
            yield f"{name}/checkpoint", folder / name / "checkpoint"
    elif step.verb == "measure":
        for path in sorted(folder.glob("*/checkpoint")):
            yield f"{path.parent.name}/checkpoint", path
    elif step.verb in ("claims", "report"):
        found = [*folder.glob("evaluate/*.json"), *folder.glob(f"*/{DONE}"), *folder.glob("*/report.json")]
        found += [folder / "claims.json"] if step.verb == "report" else []
        for path in sorted(found):
            yield str(path.relative_to(folder)), path
    for key, default in READS.get(step.verb, {}).items():
        value = getattr(step.settings, key, None)
        words = [value] if isinstance(value, str) else value or ([str(folder / default)] if default else [])
        for word in words:
            path = Path(word)
            if path.exists() or value is None:
                inside = path.is_relative_to(folder)
                yield str(path.relative_to(folder) if inside else path), path


def _digest(path: Path) -> str:
    """Of a file's content; of a folder's, all its files with their names."""
    if not path.exists():
        return "absent"
    listed = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in listed:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        whole.update(f"{file.relative_to(path)} {digest}\n".encode())
    return f"sha256:{whole.hexdigest()}"


# ---- what has changed, in words


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    def shown(values: Mapping[str, Any], key: str) -> str:
        return toml.written(values[key]) if key in values else "absent"

    keys = [key for key in {**before, **now} if before.get(key, ...) != now.get(key, ...)]
    return [f"{key} was {shown(before, key)}, is {shown(now, key)}" for key in keys]


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    said = []
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            gone, came = now.get(key, "absent") == "absent", before.get(key, "absent") == "absent"
            said.append(f"{key} {'is gone' if gone else 'is new' if came else 'changed'}")
    return said
