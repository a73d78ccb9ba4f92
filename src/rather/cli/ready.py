"""`rather ready RUN`: before step 3, whether RLHF is the right tool here, with the figures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from rather.cli.stage import settings_of, sorted_out
from rather.errors import NotReady, visible
from rather.evaluate.readiness import Asked, readiness, verdict, write
from rather.run.seeds import refuse_seeds
from rather.stages.ppo_config import PPOConfig

MARKS = {"fine": "fine", "look": "LOOK", "not measured": "?"}


@click.command("ready", context_settings={"max_content_width": 120})
@click.argument("words", nargs=-1, metavar="[RUN] [RECIPE.toml] [KEY=VALUE]...")
@click.option("--name", default="ppo", show_default=True, help="The stage of step 3, and its table in the recipe.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(words: tuple[str, ...], name: str, as_object: bool) -> int:
    """Say whether RLHF is the right tool for RUN, with the words that `rather ppo` takes.

    Could a program check the answers (then GRPO)? Are there enough comparisons (else DPO)? Do labelers agree, does the
    reward model know more than length, has it seen such prompts, has step 1 given what it can, is there text for the
    pretraining mix? Exit code 1 if something speaks against it. Nothing is computed: it reads what stages wrote.
    """
    folder, recipe, overrides = sorted_out(words)
    if not folder.is_dir():
        raise NotReady(f"There is no {folder}.", "Expected the folder of a story.", "rather ready RUN")
    refuse_seeds(folder)
    lines = readiness(folder, asked_of(folder, settings_of(PPOConfig, folder, recipe, overrides, name, "ppo")))
    write(folder, lines)
    if as_object:
        click.echo(
            json.dumps({"run": str(folder), "verdict": verdict(lines), "lines": [asdict(line) for line in lines]})
        )
    else:
        for line in lines:
            click.echo(f"{MARKS[line.outcome]:5} {line.question} {visible(line.figure)}")
            if line.do and line.outcome != "fine":
                click.echo(f"      {visible(line.do)}")
        click.echo(f"\n{visible(verdict(lines))}")
    return 1 if any(line.outcome == "look" for line in lines) else 0


def asked_of(folder: Path, config: PPOConfig) -> Asked:
    """What step 3 is going to be given, by its own settings."""
    rewards = [config.reward] if isinstance(config.reward, str) else config.reward or []
    ours = [Path(one).parent.name for one in rewards if Path(one).name == "checkpoint"]
    prompts = Path(config.prompts) if config.prompts else folder / "prompts.jsonl"
    if not prompts.exists() and config.world and (folder / "prompts-ppo.jsonl").exists():
        prompts = folder / "prompts-ppo.jsonl"
    return Asked(
        prompts=prompts,
        reward=ours[0] if ours else "reward",
        start=Path(config.model).parent.name if config.model else "init",
        ptx=config.ptx_coef > 0,
        texts=config.texts,
    )
