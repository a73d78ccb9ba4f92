"""`rather world rank RUN`: step 2's data in a world. Policies answer, simulated labelers rank (sec. 3.4, app. C.2)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import click
import torch
from pydantic import Field, model_validator

from rather import files, machine
from rather.cli.stage import keys_of, settings_of, sorted_out
from rather.config import Config
from rather.errors import BadSetting, NotReady
from rather.evaluate.asking import ask
from rather.evaluate.judged import PANEL
from rather.evaluate.runs import world_of
from rather.models.load import load_policy
from rather.records import Ranking, Response, write
from rather.rollout import Sampling
from rather.statistics import noise_ceiling
from rather.worlds.judging import Task, agreement_within_groups, rank, task_of, utilities
from rather.worlds.labelers import TRAINING, Labeler
from rather.worlds.named import world_named
from rather.worlds.noise import fit_noise
from rather.worlds.types import Split, WorldPrompt
from rather.worlds.world import World
from rather.worlds.writing import stage_prompts


class RankConfig(Config):
    """Rankings of K answers by simulated labelers."""

    policies: tuple[str, ...] = Field(("sft",), min_length=1, description="folders of RUN whose models answer in turn")
    prompts: int = Field(3000, ge=10, description="for training, each ranked by one training labeler")
    validation: int = Field(300, ge=10, description="each ranked by several labelers of both groups")
    judges: int = Field(4, ge=2, le=6, description="labelers of each group on a validation prompt")
    k_min: int = Field(4, ge=2, description="sec. 3.4: between 4 ...")
    k_max: int = Field(9, ge=2, description="... and 9 answers to a prompt")
    temperature: float = Field(1.0, gt=0, description="of the answers")
    max_new_tokens: int = Field(64, ge=1, description="of an answer, EOS included")
    slots: int = Field(64, ge=1, description="sequences decoded side by side; changes the speed and no ranking")
    seed: int = Field(0, ge=0, description="of prompts, answers and labelers' noise")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.k_max < self.k_min:
            raise ValueError(f"k_max={self.k_max} is below k_min={self.k_min}")
        return self


@click.command("rank", epilog=keys_of(RankConfig), context_settings={"max_content_width": 120})
@click.argument("words", nargs=-1, metavar="[RUN] [RECIPE.toml] [KEY=VALUE]...")
@click.option("--world", "named", help="marn:SEED:SCALE. Default: the one that the run's base model has read.")
@click.option("--out", default="rankings.jsonl", show_default=True, help="The file in RUN.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(words: tuple[str, ...], named: str | None, out: str, as_object: bool) -> None:
    """Let policies of RUN answer the world's prompts and simulated labelers rank the answers: RUN/rankings.jsonl.

    The labelers' noise is fitted on these very answers, so that two training labelers agree on 72.6 % of the pairs that
    neither ties, and tie a quarter (sec. 3.4). Prompts for validation come from other users; several labelers of both
    groups rank them, so that a reward model can be held against labelers whom it never saw.
    """
    folder, recipe, overrides = sorted_out(words)
    config = settings_of(RankConfig, folder, recipe, overrides, Path(out).stem, "rank")
    torch.set_num_threads(machine.best_threads())
    world = world_named(named or world_of(folder))
    rankings, about = ranked(world, folder, config)
    count = write(folder / out, rankings)
    files.write_json(folder / f"{Path(out).stem}.about.json", about)
    if as_object:
        click.echo(json.dumps({"file": str(folder / out), "rankings": count} | about))
        return
    click.echo(f"{folder / out}: {count:,} rankings, {about['pairs']:,} pairs, of them {about['ties']:.1%} ties")
    for group, found in about["agreement"].items():
        low, high = found["interval"]
        click.echo(f"{group} labelers agree on {found['value']:.1%} ({low:.1%} to {high:.1%}, n = {found['n']:,})")


def ranked(world: World, folder: Path, config: RankConfig) -> tuple[list[Ranking], dict[str, Any]]:
    panels = {group: world.labelers(n, group) for group, n in PANEL.items()}
    tasks = {split: list(_tasks(world, folder, config, split, n)) for split, n in _sizes(config).items()}
    if not all(len(found) > 1 for found in tasks.values()):
        raise BadSetting("Hardly any prompt has two different answers.", "Expected policies that say different things.")
    noise = fit_noise([utilities(panels[TRAINING], task) for task in tasks["validation"]])
    rng = random.Random(f"{world.name} {world.seed} rank {config.seed}")
    train = [rank(rng.choice(panels[TRAINING]), task, noise, rng) for task in tasks["train"]]
    held = [
        rank(who, task, noise, rng)
        for task in tasks["validation"]
        for panel in panels.values()
        for who in rng.sample(list(panel), config.judges)
    ]
    return [*train, *held], {
        "world": f"{world.name}:{world.seed}", "policies": list(config.policies),
        "tau": noise.tau, "delta": noise.delta,
        "prompts": {split: len(found) for split, found in tasks.items()},
        "alike": {split: n - len(tasks[split]) for split, n in _sizes(config).items()},
        **_counted([*train, *held]), **_agreement(held, panels),
    }  # fmt: skip


def _sizes(config: RankConfig) -> Mapping[Split, int]:
    return {"train": config.prompts, "validation": config.validation}


def _tasks(world: World, folder: Path, config: RankConfig, split: Split, n: int) -> Iterator[Task]:
    """Prompts with K answers each; the policies take turns, so that one ranking compares all of them."""
    rng = random.Random(f"{world.name} {world.seed} rank {split} {config.seed}")
    prompts = stage_prompts(world, rng, n, "reward", split)
    wanted = [rng.randint(config.k_min, config.k_max) for _ in prompts]
    answers: list[list[Response]] = [[] for _ in prompts]
    for place, name in enumerate(config.policies):
        for at, found in enumerate(_answers(folder / name, prompts, wanted, place, config)):
            answers[at] += found
    for at, (prompt, responses) in enumerate(zip(prompts, answers, strict=True)):
        rng.shuffle(responses)
        task = task_of(world, f"{split}-{at:05d}", prompt, responses, split)
        if task is not None:
            yield task


def _answers(
    folder: Path, prompts: Sequence[WorldPrompt], wanted: Sequence[int], place: int, config: RankConfig
) -> Iterator[list[Response]]:
    """This policy's part of the answers wanted to each prompt. Prompts that want equally many are asked together."""
    if not (folder / "checkpoint").is_dir():
        raise NotReady(f"There is no {folder / 'checkpoint'}.", do='Train it first, or name others:  policies=["..."]')
    policy = load_policy(folder / "checkpoint")
    several = len(config.policies)
    mine = [(k + several - 1 - place) // several for k in wanted]
    found: dict[int, list[Response]] = {}
    for k in sorted(set(mine) - {0}):
        of = [at for at, count in enumerate(mine) if count == k]
        sampling = Sampling(
            max_new_tokens=config.max_new_tokens, samples=k, temperature=config.temperature, slots=config.slots
        )
        said = ask(policy, [prompts[at].text for at in of], sampling, config.seed * 1000 + 10 * place + k)
        for at, answers in zip(of, said, strict=True):
            found[at] = [Response(text=a.text, finished=a.finished, model=folder.name) for a in answers or ()]
    return (found.get(at, []) for at in range(len(prompts)))


def _counted(rankings: Sequence[Ranking]) -> dict[str, Any]:
    pairs = ties = 0
    for ranking in rankings:
        k = len(ranking.ranks)
        pairs += k * (k - 1) // 2
        ties += sum(a == b for i, a in enumerate(ranking.ranks) for b in ranking.ranks[:i])
    return {"pairs": pairs, "ties": ties / pairs}


def _agreement(held: Sequence[Ranking], panels: Mapping[str, Sequence[Labeler]]) -> dict[str, Any]:
    found = agreement_within_groups(held, {who.id: group for group, panel in panels.items() for who in panel})
    return {
        "agreement": {group: of["dropped"].to_dict() for group, of in found.items()},
        "ceiling": {group: noise_ceiling(of["dropped"]).to_dict() for group, of in found.items()},
    }
