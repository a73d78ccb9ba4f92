"""`rather evaluate preference OURS THEIRS --judge JUDGE`: how often one model's answers are preferred to another's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch

from rather import files, machine
from rather.cli.measure import saying
from rather.errors import BadSetting, NotReady, visible
from rather.evaluate.endpoint_judges import Endpoint
from rather.evaluate.outcomes import (
    Outcome,
    by_endpoint,
    by_panels,
    by_people,
    by_reward_model,
    pairs_of_answers,
    worth,
)
from rather.evaluate.policies import MeasureConfig, how
from rather.evaluate.preference import pairs, panel_votes
from rather.evaluate.runs import Measuring, measured_with, world_of
from rather.stages.reward_scoring import Scorer

JUDGES = "people:FILE, reward:FOLDER, endpoint:URL or world"
Judged = tuple[list[Outcome], str, dict[str, Any]]  # outcomes, who judged in words, what else is known


@click.command("preference", context_settings={"max_content_width": 120})
@click.argument("ours")
@click.argument("theirs")
@click.option("--judge", required=True, metavar="JUDGE", help=f"{JUDGES}.")
@click.option("--model", help="The endpoint's model.")
@click.option("--held-out", help="Labelers, with commas, who labeled no training data: two panels, as in figure 1.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A .json file for all of it.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def preference(
    ours: str, theirs: str, judge: str, model: str | None, held_out: str | None, out: Path | None, as_object: bool
) -> None:
    """How often OURS is preferred to THEIRS: ties as half, clustered by prompt, raw and at equal length, by category.

    people:FILE has rankings or comparisons, and OURS and THEIRS are names of models in it. reward:FOLDER and
    endpoint:URL judge two files of answers (rather sample -o FILE, or demonstrations) to the same prompts; an endpoint
    is asked in both orders, and what does not survive the swap is a tie. world takes RUN/NAME twice, both measured.
    """
    kind, _, place = judge.partition(":")
    if (kind in ("people", "reward", "endpoint")) != bool(place) or kind not in (
        "people",
        "reward",
        "endpoint",
        "world",
    ):
        raise BadSetting(f"There is no judge {judge!r}.", f"Expected {JUDGES}.")
    if out is not None and out.suffix != ".json":
        raise BadSetting(f"{visible(str(out))} is no name for it.", "Expected one that ends in .json.")
    if held_out and kind != "people":
        raise BadSetting("--held-out names people, and the judge is none.", do="--judge people:FILE")
    torch.set_num_threads(machine.best_threads())
    more: dict[str, Any] = {}
    if kind == "people":
        people = [name.strip() for name in (held_out or "").split(",") if name.strip()]
        outcomes, who = by_people(place, ours, theirs, people), f"people, in {place}"
    elif kind == "reward":
        outcomes, who, more = _by_reward(place, ours, theirs)
    elif kind == "endpoint":
        outcomes, who, more = _by_model(place, model, ours, theirs)
    else:
        outcomes, who, more = _by_world(Path(ours), Path(theirs))
    found = {"ours": ours, "theirs": theirs, "judge": who, **worth(outcomes), **more}
    if out is not None:
        files.write_json(out, found)
    if as_object:
        click.echo(json.dumps(found))
        return
    click.echo(visible(f"{ours} against {theirs}, judged by {who}"))
    click.echo("\n".join(map(visible, lines_of(found))))


def _by_reward(folder: str, ours: str, theirs: str) -> Judged:
    inner = Path(folder) / "checkpoint"
    scorer = Scorer.load(inner if inner.is_dir() else folder)
    pairs = pairs_of_answers(ours, theirs)
    outcomes = by_reward_model(scorer, pairs)
    return outcomes, f"the reward model {folder}, not by people", {"left out": len(pairs) - len(outcomes)}


def _by_model(url: str, model: str | None, ours: str, theirs: str) -> Judged:
    if model is None:
        raise BadSetting("An endpoint without its model.", "Expected the name of a model.", "--model NAME")
    judge = Endpoint("--judge endpoint:", url, model)
    outcomes, known = by_endpoint(judge, pairs_of_answers(ours, theirs))
    return outcomes, f"the model {judge.name}, not by people", {"judge's habits": known}


def _by_world(ours: Path, theirs: Path) -> Judged:
    run = ours.parent
    if theirs.parent.resolve() != run.resolve():
        raise BadSetting(f"{ours} and {theirs} are of two runs.", "Expected two models of one: RUN/NAME and RUN/NAME.")
    world, config = measured_with(run) or (world_of(run), MeasureConfig())
    with saying() as say:
        measuring = Measuring(run, world, config, say)
        for name in (ours.name, theirs.name):
            if measuring.already(name) is None:
                raise NotReady(f"{run / name} is not measured.", do=f"rather world measure {run} {name}")
        met = pairs(*(measuring.answers(name)[how(1)] for name in (ours.name, theirs.name)))
        outcomes = by_panels(panel_votes(measuring.judges, met, measuring.noise()), met)
    return outcomes, f"the labelers of {world}, who are programs", {}


def lines_of(found: Mapping[str, Any]) -> list[str]:
    lines = [_line("win rate", found["win rate"])]
    controlled = found["length controlled"]
    if "not computed" in controlled:
        lines.append(f"{'at equal length':28} not computed: {controlled['not computed']}")
    else:
        lines.append(_line("at equal length", controlled))
        lines += [controlled["warning"]] * bool(controlled["warning"])
    for panel, of in found.get("panels", {}).items():
        lines += [_line(f"{panel} labelers, {source}", estimate) for source, estimate in of.items()]
    for title in ("by category", "by source"):
        lines += [_line(f"  {name}", estimate) for name, estimate in found[title].items()]
    for name, estimate in found.get("judge's habits", {}).items():
        lines.append(_line(f"judge: {name}", estimate))
    if left := found.get("left out"):
        lines.append(f"{left:,} pairs are too long for the judge, and left out")
    return lines


def _line(name: str, estimate: Mapping[str, Any]) -> str:
    low, high = estimate["interval"]
    ties = f"  {estimate['ties']:,} ties" if "ties" in estimate else ""
    return f"{name:28} {estimate['value']:.3f}  ({low:.3f} to {high:.3f})  n={estimate['n']:,}{ties}"
