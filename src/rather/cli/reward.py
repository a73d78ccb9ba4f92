"""`rather reward RUN`: step 2, rankings in, reward model out.  `rather reward report RUN`: how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from rather import files, machine, parallel
from rather.cli.stage import Story, stage
from rather.errors import BadFile, BadSetting, NotReady, RatherError, visible
from rather.evaluate.reward import report_on
from rather.evaluate.reward_coverage import coverage
from rather.evaluate.reward_training import cross_validation, learning_curve
from rather.evaluate.reward_words import words
from rather.models.load import folder_of, load_policy
from rather.models.reward_folder import load_reward_model
from rather.models.tokenizers import facts, load_tokenizer
from rather.records import Demonstration, Prompt, Ranking, Rating, read
from rather.stages.reward import RewardConfig, Start, train_reward
from rather.stages.reward_data import split_rankings, with_ratings
from rather.stages.reward_scoring import Scorer

REPORT = "report.json"
STORY = ("base", "sft", "init", "ppo")  # models of the story whose tokenizers are held against the reward model's
WRITERS = 8  # and of those that wrote the responses, so many


@stage("reward", "reward", RewardConfig, shows=("loss", "accuracy", "val/accuracy", "grad_norm"))
def train(story: Story, config: RewardConfig) -> Mapping[str, Any]:
    """Train a reward model from rankings or comparisons (step 2 of InstructGPT).

    All that was said about one prompt is one element of a batch: K forwards, all pairs, each prompt once. It starts
    from RUN/sft/checkpoint, or from any model or reward model, and demonstrations average 0 in what is saved.

    How good it is:  rather reward report RUN
    """
    inputs = inputs_of(story.folder, config)
    start = start_of(story.folder, config)
    notes = list(getattr(start, "notes", ()))
    if inputs.left_out:
        notes.append(f"{inputs.left_out:,} rankings are neither trained on nor validated with (held_out).")
    own = facts(start.tokenizer)
    for name, theirs in tokenizers_near(story.folder, inputs.train).items():
        if changed := [key for key in ("eos", "bos", "template", "sample") if own[key] != theirs[key]]:
            notes.append(f"{name}, of this story, has another {' and '.join(changed)} than the model begun from.")
    model: Any = start.model
    model.to(parallel.device())
    for note in notes:
        story.say(f"note: {note}")
    story.say(f"{len(inputs.train):,} rankings to train on, {len(inputs.held):,} to validate with")
    with story.open(config) as run:
        for note in notes:
            run.event("note", {"note": note})
        return train_reward(start, inputs.train, inputs.held, inputs.demonstrations, run, config)


@click.command("report")
@click.argument("folder", metavar="[RUN]", default="run")
@click.option("--name", default="reward", show_default=True, help="The reward model's folder below RUN.")
@click.option("--against", help="Prompts that PPO or production will send: how many lie outside of those trained on.")
@click.option("--curve", metavar="N,N,...", help="Train on so many prompts each, and measure. Takes a training each.")
@click.option("--folds", type=click.IntRange(min=2), help="Groups of labelers to leave out in turn (E.2: 5).")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the bootstraps.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def report(
    folder: str, name: str, against: str | None, curve: str | None, folds: int | None, seed: int, as_object: bool
) -> None:
    """How good the reward model of RUN is, against what can be had, and what is wrong with it.

    Accuracy on training, validation and held-out labelers beside their agreement and the noise ceiling; by margin, K,
    category and length; calibration; what length alone would get; what it makes of demonstrations. It is written to
    RUN/reward/report.json too.
    """
    path = Path(folder) / name
    if not (path / "DONE").exists():
        raise NotReady(f"{path} has no finished reward model.", do=f"rather reward {folder}, or go on with:  --resume")
    config = RewardConfig.load(path / "config.toml")
    counts = _counts(curve)
    torch.set_num_threads(machine.best_threads())
    inputs = inputs_of(Path(folder), config)
    asked = list(read(against, Prompt)) if against else []
    scorer = Scorer.load(path / "checkpoint")
    near = tokenizers_near(Path(folder), inputs.train)
    rng = np.random.default_rng(seed)
    found = report_on(scorer, inputs.train, inputs.held, inputs.demonstrations, rng, near)
    if asked:
        prompts = [Prompt(id=r.id, prompt=r.prompt, category=r.category) for r in inputs.train]
        found["coverage"] = coverage(
            list({prompt.prompt: prompt for prompt in prompts}.values()), asked, scorer.encoder
        )
    more = inputs.train, inputs.held, inputs.demonstrations
    if counts:
        found["learning curve"] = learning_curve(
            start_of(Path(folder), config), *more, _within(path, "curve"), config, counts
        )
    if folds:
        found["cross-validation"] = cross_validation(
            start_of(Path(folder), config), *more, _within(path, "folds"), config, folds
        )
    files.write_json(path / REPORT, found)
    click.echo(json.dumps(found) if as_object else words(found), nl=as_object)
    if not as_object:
        click.echo(f"{visible(str(path / REPORT))}: written")


class TrainOrReport(click.Command):
    """`rather reward ...` trains, `rather reward report ...` reports; each has its own options and help."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["report"]:
            return report.make_context(f"{info_name} report", args[1:], parent, **extra)
        return train.make_context(info_name, args, parent, **extra)


command = TrainOrReport("reward")


@dataclass(frozen=True)
class Inputs:
    """What a reward model is made from. held: never trained on     left_out: rankings that are in neither"""

    train: list[Ranking]
    held: list[Ranking]
    demonstrations: list[Demonstration]
    left_out: int


def inputs_of(folder: Path, config: RewardConfig) -> Inputs:
    """The files of a story that the settings name, split; the same for training and for the report."""
    source = _file(folder, config.rankings, "rankings.jsonl", "rankings")
    rankings = list(read(source, Ranking))
    if config.validation is not None:
        mine = [r for r in rankings if r.labeler not in config.held_out]
        held = list(read(config.validation, Ranking))
        left_out = len(rankings) - len(mine)
    else:
        mine, held, left_out = split_rankings(rankings, config.validation_share, config.held_out)
    if not mine:
        raise BadFile(
            f"{visible(source)}: none of its {len(rankings):,} rankings is left to train on.",
            "Expected some that are not for validation (validation_share) and not by labelers who are held_out.",
        )
    unknown = set(config.held_out) - {r.labeler for r in (*rankings, *held)}
    if unknown:
        raise BadSetting(
            f"held_out names {visible(', '.join(sorted(unknown)))}, who ranked nothing in {visible(source)}.",
            f"Labelers there: {visible(', '.join(sorted({str(r.labeler) for r in rankings})[:12]))}.",
        )
    if config.ratings is not None:
        ratings = list(read(config.ratings, Rating))
        mine, held = with_ratings(mine, ratings), with_ratings(held, ratings)
    default = folder / "demonstrations.jsonl"
    shown = config.demonstrations or (str(default) if default.exists() else None)
    return Inputs(mine, held, list(read(shown, Demonstration)) if shown else [], left_out)


def start_of(folder: Path, config: RewardConfig) -> Start:
    """The model to begin from: a reward model where the folder holds one, else a policy."""
    name = config.model or _file(folder, None, "sft/checkpoint", "model")
    place = folder_of(name)
    if (place / "reward.json").is_file():
        return load_reward_model(place)
    return load_policy(name, template=config.template)


def tokenizers_near(folder: Path, rankings: Sequence[Ranking]) -> dict[str, dict[str, Any]]:
    """Facts about the tokenizers of the story's models, and of the folders that wrote the responses."""
    places = {name: folder / name / "checkpoint" for name in STORY}
    writers = dict.fromkeys(response.model for ranking in rankings for response in ranking.responses if response.model)
    places |= {name: Path(name) for name in list(writers)[:WRITERS]}
    found = {}
    for name, place in places.items():
        if (place / "tokenizer_config.json").is_file():
            try:
                found[name] = facts(load_tokenizer(place).tokenizer)
            except RatherError:  # a model that cannot be used is no evidence about this one
                continue
    return found


def _file(folder: Path, given: str | None, default: str, key: str) -> str:
    if given is not None:
        return given
    if not (folder / default).exists():
        raise NotReady(
            f"There is no {visible(str(folder / default))}.",
            f"Expected the story's own, or another one that is named: {key}=...",
            f"rather reward {visible(str(folder))} {key}=...",
        )
    return str(folder / default)


def _counts(curve: str | None) -> list[int]:
    try:
        counts = sorted({int(word) for word in curve.split(",")}) if curve else []
    except ValueError:
        counts = [0]
    if any(count < 2 for count in counts):
        raise BadSetting(f"--curve {visible(str(curve))}", "Expected numbers of prompts, such as 250,1000,4000.")
    return counts


def _within(path: Path, name: str) -> Path:
    (path / name).mkdir(exist_ok=True)
    return path / name
