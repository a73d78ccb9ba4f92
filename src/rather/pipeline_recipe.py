"""A recipe of a whole story: which stages, in which order, each with its settings.

    [story]
    stages = ["world", "pretrain base-s", "sft sft-s", "init init-s", "rank", "reward", "ppo ppo-ptx", "measure"]

    [sft-s]
    model = "{run}/base-s/checkpoint"

A stage is VERB or VERB NAME, where NAME is what it leaves in the story's folder. Its settings are the table [NAME],
else the table [VERB], as they are for the verb itself: `rather sft RECIPE --name sft-s`.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from rather import toml
from rather.cli.stage import settings_of
from rather.config import Config, as_toml, flattened
from rather.errors import BadSetting, nearest, visible
from rather.pipeline_rounds import Listed, with_rounds
from rather.worlds.named import world_named
from rather.worlds.writing import Sizes

STORY = "story"


class StoryConfig(Config):
    """What a story is made of."""

    stages: tuple[str, ...] = Field(min_length=1, description="VERB or VERB NAME, in order")
    rounds: int = Field(1, ge=1, description="2: steps 2 and 3 once more, on the newest policy with fresh rankings")
    jobs: int | None = Field(None, ge=1, description="stages that run side by side; none: as many as are sensible")
    seeds: int = Field(1, ge=1, lt=1000, description="3: the story three times, each with other chance, in RUN/seed-K")


class WorldConfig(Config):
    """Files that a world stands for: what `rather world write` writes."""

    world: str = Field("marn", description="marn, marn:SEED or marn:SEED:SCALE")
    documents: int = Field(Sizes.documents, ge=10, description="web pages")
    demonstrations: int = Field(Sizes.demonstrations, ge=10, description="of labelers")
    few_demonstrations: int = Field(0, ge=0, description="of them once more, as demonstrations-few.jsonl: claim 7")
    reward_prompts: int = Field(Sizes.reward_prompts, ge=10, description="for rankings")
    ppo_prompts: int = Field(Sizes.ppo_prompts, ge=10, description="for step 3")
    votes: int = Field(Sizes.votes, ge=50, description="rankings by a crowd")
    held_out: float = Field(Sizes.held_out, gt=0, le=1, description="for validation and for test, a share of training")


class Nothing(Config):
    """A stage without settings."""


# verb -> (module:class of its settings, what it leaves if it is not named). Late: most of them need torch.
KNOWN: Mapping[str, tuple[str, str]] = {
    "world": ("rather.pipeline_recipe:WorldConfig", "world"),
    "pretrain": ("rather.stages.pretrain:PretrainConfig", "base"),
    "sft": ("rather.stages.sft:SFTConfig", "sft"),
    "init": ("rather.stages.sft:InitConfig", "init"),
    "rank": ("rather.cli.rank:RankConfig", "rankings"),
    "reward": ("rather.stages.reward:RewardConfig", "reward"),
    "ppo": ("rather.stages.ppo_config:PPOConfig", "ppo"),
    "dpo": ("rather.stages.dpo_config:DPOConfig", "dpo"),
    "grpo": ("rather.stages.grpo_config:GRPOConfig", "grpo"),
    "best-of-n": ("rather.stages.best_of_n:BestOfNConfig", "best-of-n"),
    "measure": ("rather.evaluate.policies:MeasureConfig", "measure"),
    "claims": ("rather.pipeline_recipe:Nothing", "claims"),
    "report": ("rather.pipeline_recipe:Nothing", "report"),
}
TRAINED = ("pretrain", "sft", "init", "reward", "ppo", "dpo", "grpo", "best-of-n")  # they leave a run folder


@dataclass(frozen=True)
class Step:
    """command: the verb that a person would type for this stage alone"""

    verb: str
    name: str
    settings: Config
    command: tuple[str, ...]

    @property
    def typed(self) -> str:
        quoted = [
            word if all(c.isalnum() or c in "-_./=:" for c in word) else toml.written(word) for word in self.command
        ]
        return visible("$ rather " + " ".join(quoted))


@dataclass(frozen=True)
class Recipe:
    """overrides: of the command line, NAME.key=value"""

    path: Path
    folder: Path
    steps: tuple[Step, ...]
    jobs: int | None = None
    seeds: int = 1
    overrides: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, folder: Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
        """overrides: NAME.key=value"""
        tables = toml.read(path)
        if not isinstance(tables.get(STORY), dict):
            raise BadSetting(
                f"{path} has no table [{STORY}].",
                'Expected [story] with stages = ["world", "pretrain", "sft", ...].',
                f"For one stage:  rather VERB {path}",
            )
        story = StoryConfig.load(path, table=STORY)
        folder = folder or Path("run") / path.stem
        own = [_named(path, words) for words in story.stages]
        listed = with_rounds(path, own, story.rounds, folder)
        names = [one.name for one in listed]
        if again := {name for name in names if names.count(name) > 1}:
            raise BadSetting(f"{path}: two stages leave {sorted(again)[0]!r}.", "Expected a name for each: VERB NAME.")
        _refuse_unknown(path, tables, listed)
        given = _sorted(overrides, names)
        steps = [
            _again(path, folder, one, given) if one.again else _step(path, folder, one.verb, one.name, given[one.name])
            for one in listed
        ]
        return cls(path, folder, tuple(steps), story.jobs, story.seeds, tuple(overrides))


def _named(path: Path, words: str) -> tuple[str, str]:
    verb, *rest = words.split()[:3] or [""]
    if verb not in KNOWN or len(rest) > 1:
        raise BadSetting(
            f"{path}: there is no stage {words!r}.{nearest(verb, KNOWN)}",
            f"Expected VERB or VERB NAME, with one of {', '.join(KNOWN)}.",
        )
    name = rest[0] if rest else KNOWN[verb][1]
    if not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
        raise BadSetting(f"{path}: {name!r} is no name of a folder.", "Expected letters, digits, - and _.")
    return verb, name


def _refuse_unknown(path: Path, tables: Mapping[str, object], listed: Sequence[Listed]) -> None:
    """A table that no stage reads is a name that was misspelt, or settings that would count for nothing."""
    known = {STORY} | {word for step in listed for word in (step.verb, step.name)}
    for name in tables:
        if name not in known:
            raise BadSetting(
                f"{path}: no stage reads [{name}].{nearest(name, known)}",
                f"Expected tables of {', '.join(sorted(known))}.",
            )


def _sorted(overrides: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {name: [] for name in names}
    for text in overrides:
        key = text.partition("=")[0]
        name = max((name for name in names if key.startswith(f"{name}.")), key=len, default=None)  # it may have dots
        if name is None:
            raise BadSetting(
                f"{text!r} is no setting of a stage.{nearest(key.partition('.')[0], names)}",
                f"Expected NAME.key=value, with one of {', '.join(names)}.",
            )
        given[name].append(text[len(name) + 1 :])
    return given


def _again(path: Path, folder: Path, listed: Listed, given: Mapping[str, Sequence[str]]) -> Step:
    """A stage of a later round: that of the first one, with what its round, its own table and the command line say.

    Its verb by itself would read other tables, so the command spells out what is to differ from them.
    """
    verb, name = listed.verb, listed.name
    config = _config(verb)
    table = toml.read(path).get(name)
    own = [f"{key}={toml.written(value)}" for key, value in flattened(table).items()] if isinstance(table, dict) else []
    said = [*given[listed.again], *listed.settings, *own, *given[name]]
    wanted = _flat(settings_of(config, folder, path, said, listed.again, verb))
    overrides: list[str] = []
    for _ in range(2):  # a preset moves what is not said: what it moved is said the second time
        found = _flat(settings_of(config, folder, path, overrides, name, verb))
        overrides += [f"{key}={toml.written(value)}" for key, value in wanted.items() if found[key] != value]
    return _step(path, folder, verb, name, overrides)


def _flat(settings: Config) -> dict[str, Any]:
    return flattened(tomllib.loads(as_toml(settings)))


def _config(verb: str) -> type[Config]:
    module, _, attribute = KNOWN[verb][0].partition(":")
    config: type[Config] = getattr(importlib.import_module(module), attribute)
    return config


def _step(path: Path, folder: Path, verb: str, name: str, overrides: Sequence[str]) -> Step:
    config = _config(verb)
    settings = settings_of(config, folder, path, overrides, name, verb)
    if isinstance(settings, WorldConfig):
        world_named(settings.world)  # a name that is none is said now
    run, recipe = str(folder), str(path)
    command: tuple[str, ...]
    match verb:
        case "report":
            command = ("report", run)
        case "world" | "claims":
            command = ("world", "write" if verb == "world" else "claims", run)
        case "measure":
            values = settings.model_dump()
            differing = [k for k, field in config.model_fields.items() if values[k] != field.default]
            command = ("world", "measure", run, *(f"{key}={toml.written(values[key])}" for key in differing))
        case "rank":
            command = ("world", "rank", run, recipe, *overrides, "--out", f"{name}.jsonl")
        case _:
            command = (verb, run, recipe, *overrides, "--name", name)
    return Step(verb, name, settings, command)
