"""Which models a stage holds, and what it reads, before any of it need exist.

A model is a folder, the id of one on the hub (of which only config.json is read), or what an earlier stage of the same
recipe will leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from transformers import AutoConfig, PretrainedConfig

from rather.config import Config
from rather.errors import BadModel, NotReady
from rather.models.load import read_config
from rather.models.tiny import TinyConfig
from rather.models.tokenizers import first_line, quiet
from rather.pipeline_memory import READS
from rather.plan.lengths import Lengths, Reading
from rather.plan.shapes import Shape, shape_of
from rather.stages.pretrain import LADDER

BEGINS_AS = {verb: str(READS[verb]["model"]) for verb in ("sft", "init", "reward", "ppo")}
BEGINS_AS |= {"dpo": "sft/checkpoint", "grpo": "init/checkpoint"}
REWARD = "reward/checkpoint"
CHECKPOINTS = ("checkpoint", "checkpoint-ema")


@dataclass(frozen=True)
class Cast:
    """shapes: role -> model     reads: what is read, by setting     notes: what had to be assumed"""

    shapes: dict[str, Shape]
    reads: dict[str, Lengths]
    notes: tuple[str, ...] = ()
    plain: tuple[str, ...] = field(default=())  # rewards that are no model


class Models:
    """Every model that the stages of a story name, by its name."""

    def __init__(self, folder: Path, stages: Sequence[tuple[str, str, Config]]) -> None:
        self.folder = folder
        self.stages = {name: (verb, settings) for verb, name, settings in stages}
        self.reading = Reading(folder, stages)
        self._known: dict[str, Shape] = {}

    def named(self, word: str) -> Shape:
        if word not in self._known:
            self._known[word] = self._found(word)
        return self._known[word]

    def _found(self, word: str) -> Shape:
        path = Path(word).expanduser()
        if path.is_dir():
            return shape_of(read_config(path), word)
        stage = self._stage_of(path)
        if stage is not None:
            verb, settings = self.stages[stage]
            if verb == "pretrain":
                return shape_of(_of_ladder(LADDER[settings.size]), stage)  # type: ignore[attr-defined]
            return self.named(self.begins_as(verb, settings))
        if path.is_relative_to(self.folder) or word.startswith((".", "/", "~")) or word.count("/") != 1:
            raise NotReady(
                f"There is no {word}, and no stage of the recipe leaves it.",
                "Expected the folder of a model, the id of one on the hub, or a stage that makes it.",
            )
        return shape_of(_of_hub(word), word)

    def _stage_of(self, path: Path) -> str | None:
        if path.name in CHECKPOINTS and path.parent.parent == self.folder and path.parent.name in self.stages:
            return path.parent.name
        return None

    def begins_as(self, verb: str, settings: Config) -> str:
        given = getattr(settings, "model", None)
        return given if isinstance(given, str) else str(self.folder / BEGINS_AS[verb])


def cast_of(verb: str, settings: Any, models: Models) -> Cast | None:
    """None for a stage of which nothing is estimated."""
    reading = models.reading
    if verb == "pretrain":
        shape = shape_of(_of_ladder(LADDER[settings.size]), settings.size)
        return Cast({"policy": shape}, {})
    if verb == "rank":
        names = [str(models.folder / name / "checkpoint") for name in settings.policies]
        shapes = {name: models.named(path) for name, path in zip(settings.policies, names, strict=True)}
        asked = reading.of_world(str(models.folder / "prompts-reward.jsonl"), shapes[settings.policies[0]].window)
        return Cast(shapes, {"prompts": asked}, asked.notes)
    if verb not in BEGINS_AS:
        return None
    begins = models.begins_as(verb, settings)
    policy = models.named(begins)
    shapes = {"policy": policy}
    plain: tuple[str, ...] = ()
    if verb in ("ppo", "grpo"):
        if verb == "ppo" or settings.kl != "none":
            shapes["reference"] = policy
        judges = _judges(verb, settings, models)
        shapes |= {role: shape for role, shape in judges.items() if shape is not None}
        plain = tuple(role for role, shape in judges.items() if shape is None)
        if verb == "ppo":
            reward = next((shapes[role] for role in shapes if role.startswith("reward")), policy)
            shapes["critic"] = reward if settings.critic_from == "reward" else policy
    elif verb == "dpo" and (settings.reference or settings.validation_prompts):
        shapes["reference"] = models.named(settings.reference) if settings.reference else policy
    if verb in ("sft", "init", "dpo") and settings.reward:
        shapes["reward model"] = models.named(settings.reward)
    reads = {key: reading.of(verb, settings, key, begins, policy) for key in _reads(verb, settings)}
    if verb == "ppo" and settings.prompts is None and settings.world:
        reads["prompts"] = reading.of_prompts(settings.world)
    notes = dict.fromkeys(note for lengths in reads.values() for note in lengths.notes)
    return Cast(shapes, reads, tuple(notes), plain)


def _reads(verb: str, settings: Any) -> tuple[str, ...]:
    match verb:
        case "sft" | "init":
            return ("demonstrations",)
        case "reward" | "dpo":
            return ("rankings",)
    return ("prompts",)


def _judges(verb: str, settings: Any, models: Models) -> dict[str, Shape | None]:
    """What scores: role -> its shape, None for a function, a verifier or an address."""
    named = list(_listed(settings.rewards if verb == "grpo" else settings.reward)) or [str(models.folder / REWARD)]
    roles = {("reward model" if len(named) == 1 else f"reward model {n}"): name for n, name in enumerate(named, 1)}
    if verb == "ppo":
        second = list(_listed(settings.second_opinion))
        roles |= {f"second opinion{f' {n}' if len(second) > 1 else ''}": name for n, name in enumerate(second, 1)}
    return {role: models.named(name) if _is_model(name) else None for role, name in roles.items()}


def _listed(names: str | Sequence[str] | Mapping[str, float] | None) -> Iterator[str]:
    yield from [names] if isinstance(names, str) else names or ()


def _is_model(name: str) -> bool:
    """As a hub id or a folder is written. A verifier is one word, a function has a colon, an address has two."""
    return ":" not in name and "/" in name


def _of_ladder(config: TinyConfig) -> PretrainedConfig:
    """The configuration of a model from nothing. How many words its text has is not known yet: as many as allowed."""
    return AutoConfig.for_model(
        "llama",
        vocab_size=config.vocabulary,
        hidden_size=config.hidden,
        intermediate_size=config.mlp or 4 * config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads or config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=config.tied,
    )


def _of_hub(name: str) -> PretrainedConfig:
    try:
        with quiet():
            return read_config(Path(hf_hub_download(name, "config.json")).parent)
    except (OSError, ValueError) as error:  # not on the hub, no network, no such name
        raise BadModel(
            f"There is no folder {name!r}, and its configuration cannot be had from the hub: {first_line(error)}",
            "Expected a folder, or the id of a model that the hub or its cache on this machine has.",
        ) from error
