"""`rather world measure RUN [NAME...]`: what the world can say of the models of a run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from rather import machine
from rather.config import describe
from rather.errors import NotReady, visible
from rather.evaluate.policies import MeasureConfig
from rather.evaluate.runs import LABELERS, Measuring, world_of
from rather.run.seeds import refuse_seeds


def _keys() -> str:
    rows = [f"  {setting.key} = {setting.default}    {setting.comment}" for setting in describe(MeasureConfig)]
    return "\b\nSettings:\n" + "\n".join(rows)


@click.command("measure", epilog=_keys(), context_settings={"max_content_width": 120})
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, metavar="[NAME]... [KEY=VALUE]...")
@click.option("--world", help="marn:SEED:SCALE. Default: the one that the run's base model has read.")
@click.option("--again", is_flag=True, help="Measure again what did not change.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def measure(run: Path, words: tuple[str, ...], world: str | None, again: bool, as_object: bool) -> None:
    """Measure the models RUN/NAME/checkpoint, all of them by default, into RUN/evaluate/NAME.json.

    Policies: answers to held-out prompts at temperature 1 and .5, what labelers and the gold utility think of them,
    base models also behind examples; benchmarks, truthfulness, toxicity, bias, diversity, loss on the web. Reward
    models: accuracy against labelers, best-of-n.
    """
    torch.set_num_threads(machine.best_threads())
    refuse_seeds(run)
    config = MeasureConfig.load(None, [word for word in words if "=" in word])
    with saying() as say:
        measuring = Measuring(run, world or world_of(run), config, say)
        names = [word for word in words if "=" not in word] or [*measuring.models]
        if not names:
            raise NotReady(f"{run} has no model: no folder of it has checkpoint/config.json.", do="rather pretrain")
        for name in names:
            if name != LABELERS:
                measuring.about(name)  # what is not there is said before anything takes long
        found = {}
        for name in names:
            found[name] = measuring.measure(name, again)
    if as_object:
        click.echo(json.dumps({"run": str(run), "measured": found}))
        return
    for name, result in found.items():
        click.echo(f"{visible(name):18} {line(result)}")
    click.echo(f"All of it, with intervals: {visible(str(run))}/evaluate/*.json")


def line(found: Mapping[str, Any]) -> str:
    """The few numbers that tell models apart."""
    if "tau" in found:
        agreement = found["agreement"]["training"]["dropped"]
        return f"noise {found['tau']:.2f}   agreement {_said(agreement)}   of {found['tasks']} prompts"
    if "accuracy" in found:
        accuracy = found["accuracy"]
        return "   ".join(f"{name} {_said(accuracy[name])}" for name in ("training", "held-out", "clear", "length"))
    answers = found["answers"]["t1"]
    said = [f"{short} {_said(answers[name])}" for short, name in (("U*", "gold"), ("junk", "junk"))]
    said += [f"length {answers['length']['value']:.1f}", f"entropy {found['diversity']['entropy']['value']:.2f}"]
    said += [f"{name} {of['value']:.2f}" for name, of in found["benchmarks"].items()]
    return "   ".join(said)


def _said(estimate: Mapping[str, Any]) -> str:
    if estimate["interval"] is None:
        return f"{estimate['value']:.2f}"
    low, high = estimate["interval"]
    return f"{estimate['value']:.2f} ({low:.2f} to {high:.2f})"


@contextmanager
def saying() -> Iterator[Callable[[str], None]]:
    """What is being measured, and since when: one line that changes on a terminal, plain lines elsewhere."""
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    if console.is_terminal:
        with console.status("measuring") as status:
            yield lambda part: status.update(f"{visible(part)}   {time.monotonic() - began:.0f} s")
        return
    yield lambda part: print(f"{time.monotonic() - began:6.0f} s  {visible(part)}", file=sys.stderr, flush=True)
