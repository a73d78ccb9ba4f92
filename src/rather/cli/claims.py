"""`rather world claims RUN [RUN ...]`: every claim that the miniature world can decide, and what these runs say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from rather import machine
from rather.cli.measure import saying
from rather.errors import BadSetting, visible
from rather.evaluate.claims.evidence import RunEvidence
from rather.evaluate.claims.figures import Figure
from rather.evaluate.claims.seeds import Line, table
from rather.evaluate.policies import MeasureConfig
from rather.evaluate.runs import Measuring, measured_with, world_of
from rather.run.seeds import each_seed


@click.command("claims", context_settings={"max_content_width": 120})
@click.argument("words", nargs=-1, required=True, metavar="RUN... [KEY=VALUE]...")
@click.option("--world", help="marn:SEED:SCALE. Default: the one that each run was measured in, or has read.")
@click.option("--measure/--no-measure", default=True, help="Measure what a claim needs first.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def claims(words: tuple[str, ...], world: str | None, measure: bool, as_object: bool) -> None:
    """The claims of the paper: criterion, figure, interval, n, seeds, pass or fail or not decided.

    Several RUNs are several seeds, and a folder of seeds is all its seeds; a claim passes when two thirds of them pass.
    What cannot be decided says what is missing. KEY=VALUE are settings of the measurements, see `rather world measure
    --help`.
    """
    torch.set_num_threads(machine.best_threads())
    overrides = [word for word in words if "=" in word]
    runs = each_seed(Path(word) for word in words if "=" not in word)
    if missing := [run for run in runs if not run.is_dir()]:
        raise BadSetting(f"There is no folder {visible(str(missing[0]))}.", "Expected the folders of runs.")
    if not runs:
        raise BadSetting("No run is named.", "Expected the folder of at least one.", "rather world claims run")
    with saying() as say:
        evidence = []
        for run in runs:
            before = measured_with(run)
            config = MeasureConfig.load(None, overrides) if overrides or before is None else before[1]
            named = world or (before[0] if before else world_of(run))
            evidence.append(RunEvidence(Measuring(run, named, config, say), measure))
        lines = table(evidence)
    names = [str(run) for run in runs]
    if as_object:
        click.echo(json.dumps({"runs": names, "claims": [line.to_dict(names) for line in lines]}))
        return
    for line in lines:
        click.echo("\n".join(map(visible, written(line, names))))
    counts = Counter(line.outcome for line in lines)
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("pass", "fail", "not decided"))
    click.echo(f"\n{said}, of {len(lines)} claims; {_seeds(len(runs))}")


def written(line: Line, runs: Sequence[str]) -> list[str]:
    """A claim in a few lines: verdict and figure, the criterion, and why."""
    passed = sum(verdict.outcome == "pass" for verdict in line.verdicts)
    head = f"{line.claim.number:2} {line.outcome:11} {passed}/{len(runs)}  {line.claim.sentence}"
    found = [f"{head}   {shown(line.figure)}".rstrip(), f"{'':20}{line.claim.criterion}"]
    for run, verdict in zip(runs, line.verdicts, strict=True):
        where = f"{Path(run).name}: " if len(runs) > 1 else ""
        found.append(f"{'':20}{where}{verdict.why}")
    return found


def shown(figure: Figure | None) -> str:
    if figure is None:
        return ""
    words = f"{figure.value:.3g}"
    if figure.interval is not None:
        words += f" ({figure.interval[0]:.3g} to {figure.interval[1]:.3g})"
    return words + (f" n={figure.n}" if figure.n else "")


def _seeds(count: int) -> str:
    return "one seed, where three are wanted" if count == 1 else f"{count} seeds"
