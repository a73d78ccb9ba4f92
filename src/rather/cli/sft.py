"""`rather sft` and `rather init`: step 1, and the model that step 3 starts from."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click

from rather import parallel
from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.cli.stage import Story, stage
from rather.errors import BadFile, NotReady
from rather.evaluate.gold import gold_of_answers
from rather.models.fingerprint import fingerprint_folder
from rather.models.load import Policy, folder_of, load_policy, stopping_at, window_of
from rather.records import Demonstration, Text, read
from rather.run import Run
from rather.stages import epochs
from rather.stages.answers import Asked, Measure, Scorer, answer, ask
from rather.stages.reward_scoring import Scorer as RewardScorer
from rather.stages.sft import InitConfig, SFTConfig, tokens_of, train_sft
from rather.worlds.named import named, world_named

MADE_BY = "rather world write {run}   (or put your own file there)"
SELECT = click.option(
    "--select-by",
    type=click.Choice(list(epochs.KEYS)),
    help="Train nothing: choose another epoch of the finished run, by reward or by validation loss.",
)


@stage("sft", "sft", SFTConfig, shows=("loss", "val/loss", "val/reward", "world/gold"), options=[SELECT])
def sft(story: Story, config: SFTConfig, select_by: epochs.By | None) -> Mapping[str, Any]:
    """Step 1: fine-tune a model on demonstrations (sec. 3.5, app. C.1).

    The weights of every epoch are kept, and one epoch is chosen: by the mean score of a reward model on answers to
    validation prompts (reward=FOLDER, as in the paper), or by validation loss where there is none yet.
    --select-by reward chooses again once RUN/reward is there.
    """
    return _select(story, config, select_by) if select_by else _train(story, config)


@stage("init", "init", InitConfig, shows=("loss", "val/loss", "val/finished", "world/gold"), options=[SELECT])
def init(story: Story, config: InitConfig, select_by: epochs.By | None) -> Mapping[str, Any]:
    """Make the model that RL starts from, and its KL reference (app. C.3).

    Two epochs on the demonstrations, with a tenth of pretraining text mixed in: not the model of `rather sft`, which
    has seen the demonstrations 16 times. PPO takes RUN/init by default.
    """
    return _select(story, config, select_by) if select_by else _train(story, config)


@dataclass(frozen=True)
class Inputs:
    name: str  # of the model
    policy: Policy
    encoder: Encoder
    train: Sequence[Tree]
    validation: Sequence[Tree]
    asked: Asked
    texts: Sequence[Tree]
    measure: Measure | None


def _train(story: Story, config: SFTConfig) -> Mapping[str, Any]:
    found = _inputs(story, config)
    scorer = _scorer(config.reward) if config.reward else None
    begun = fingerprint_folder(folder_of(found.name))
    about = {"from": found.name, "from_sha256": begun}
    with story.open(config) as run:
        return train_sft(
            found.policy, found.train, found.validation, found.asked, run, config, found.texts, scorer, about,
            found.measure,
        )  # fmt: skip


def _select(story: Story, config: SFTConfig, by: epochs.By) -> Mapping[str, Any]:
    """Every epoch's weights answer the validation prompts, and a reward model scores what they say."""
    if story.resume or story.again:
        raise BadFile("--select-by chooses among the epochs of a finished run.", do="Leave out --resume and --again.")
    rows = None
    if by == "reward":
        name = story.found(config.reward, "reward/checkpoint", "rather reward {run}")
        found, scorer = _inputs(story, config), _scorer(name)
        rows = epochs.measured(story.path)
        for row in rows:
            folder = epochs.folder(story.path, row["epoch"])
            if not folder.is_dir():
                raise NotReady(f"There is no {folder}.", "Expected the weights of each epoch.", "Train with keep=all")
            policy = stopping_at(load_policy(folder, template=config.template), found.encoder.eos_id)
            row |= answer(policy, found.asked, config.seed, scorer).summary()
            story.say(f"epoch {row['epoch']}: loss {row['val/loss']:.4g}, reward {row['val/reward']:.4g}")
    run, done = Run.amend(story.path)
    with run:
        result = done["result"] | epochs.choose(story.path, by, rows=rows)
        run.finish(done["step"], result)
    return result


def _inputs(story: Story, config: SFTConfig) -> Inputs:
    """Everything that can be missing or wrong, before the run begins."""
    name = story.found(config.model, "base/checkpoint", "rather pretrain {run}")
    policy = load_policy(name, template=config.template)
    model: Any = policy.model
    model.to(parallel.device())
    window = window_of(policy.model.config)
    longest = min(config.max_length, window or config.max_length)
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template, max_length=longest, separator=config.separator)
    policy = stopping_at(policy, encoder.eos_id)
    for note in (*policy.notes, *encoder.notes):
        story.say(f"note: {note}")

    source = story.found(config.demonstrations, "demonstrations.jsonl", MADE_BY)
    records = list(read(source, Demonstration))
    held = _held_out(story, config)
    mine, held = (records, held) if held else _split(records, config.validation_share)
    for what, listed in (("train on", mine), ("validate on", held)):
        if not listed:
            raise BadFile(
                f"{source}: of {len(records):,} demonstrations there is none left to {what}.",
                "Expected some whose split is train, and some that is validation, or no split at all.",
            )
    train, report = encoder.encode_all(mine, strict=False)
    validation, _ = encoder.encode_all(held, strict=False)
    if len(train) < len(mine):
        long, empty = report.long_prompt + report.long_total, report.untrained + report.untold
        story.say(
            f"note: {len(mine) - len(train):,} of {len(mine):,} demonstrations are left out: {len(long):,} are longer "
            f"than {longest} tokens, {len(empty):,} have no words on one side."
        )
    if not train or not validation:
        raise BadFile(f"{source}: no demonstration fits in {longest} tokens.", do="Raise max_length")

    prompts = [record.prompt for record in held][: config.validation_prompts]
    asked, left_out = ask(encoder, prompts, window, _new_tokens(policy, config))
    if left_out:
        story.say(f"note: {left_out} validation prompts leave no room for an answer and are not asked.")
    texts = _texts(story, config, encoder, train, longest)
    return Inputs(name, policy, encoder, train, validation, asked, texts, _gold(story, config, policy, encoder))


def _gold(story: Story, config: SFTConfig, policy: Policy, encoder: Encoder) -> Measure | None:
    if config.world is None:
        return None
    window = window_of(policy.model.config)
    measure, left_out = gold_of_answers(
        world_named(config.world), encoder, window, _new_tokens(policy, config), config.seed
    )
    if left_out:
        story.say(f"note: {left_out} prompts of {config.world} leave no room for an answer and are not asked.")
    return measure


def _held_out(story: Story, config: SFTConfig) -> list[Demonstration]:
    default = story.folder / "demonstrations-validation.jsonl"
    source = config.validation or (str(default) if config.demonstrations is None and default.exists() else None)
    return list(read(source, Demonstration)) if source else []


def _split(records: Sequence[Demonstration], share: float) -> tuple[list[Demonstration], list[Demonstration]]:
    """As the records say; else a share of the prompts, drawn by what they say, so that no prompt is on both sides."""
    if {"train"} < {record.split for record in records}:
        held = [r for r in records if r.split == "validation"]
        return [r for r in records if r.split == "train"], held
    drawn = {prompt for prompt in {str(r.prompt) for r in records} if random.Random(f"sft {prompt}").random() < share}
    return [r for r in records if str(r.prompt) not in drawn], [r for r in records if str(r.prompt) in drawn]


def _texts(story: Story, config: SFTConfig, encoder: Encoder, train: Sequence[Tree], length: int) -> list[Tree]:
    """As many rows of pretraining text as the run will mix in, none twice if there are enough."""
    if not config.pretraining_share:
        return []
    source = story.found(config.texts, "web.jsonl", MADE_BY + "\nOr leave it out:  pretraining_share=0")
    wanted = config.epochs * tokens_of(train) * config.pretraining_share / (1 - config.pretraining_share)
    world = named(source)
    if world is not None:
        rng = random.Random(f"{world.name} {world.seed} mixed into {config.seed}")
        pages = (page.text for page in world.web_documents(rng))
    else:
        pages = (record.text for record in read(source, Text) if record.split in (None, "train"))
    rows = list(islice(encoder.windows(pages, length), int(wanted / (length - 1)) + 1))
    if not rows:
        raise BadFile(f"{source} has no text.", "Expected pretraining text to mix in.", "pretraining_share=0")
    return rows


def _new_tokens(policy: Policy, config: SFTConfig) -> int:
    window = window_of(policy.model.config)
    return min(config.max_new_tokens, window // 2) if window else config.max_new_tokens


def _scorer(name: str) -> Scorer:
    return RewardScorer.load(Path(name) if Path(name).is_dir() else name).of_answers
