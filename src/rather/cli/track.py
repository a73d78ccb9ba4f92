"""`rather track RUN --to tensorboard`: what a run logged, in the files of a tracker, afterwards or as it comes.

A tracker reads the run folder like anybody else. It is a process of its own: whatever happens to it, training goes on.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import click

from rather import toml
from rather.config import flattened
from rather.errors import BadFile, BadSetting, MissingExtra, visible
from rather.run import CONFIG, DONE, METRICS, read_log
from rather.run.seeds import refuse_seeds

EVERY = 2.0  # seconds between looks at a run that goes on


class Tracker(Protocol):
    """One run, as a tracker keeps it."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    def __init__(self, out: Path, name: str, settings: Mapping[str, Any], project: str) -> None:
        tensorboard = needed("torch.utils.tensorboard", "tensorboard", "tensorboard")
        self.writer = tensorboard.SummaryWriter(str(out / name))
        self.writer.add_text("config", "\n".join(f"    {key} = {value}" for key, value in settings.items()))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class WandB:
    """Offline unless WANDB_MODE says otherwise: `wandb sync` sends what lies there."""

    def __init__(self, out: Path, name: str, settings: Mapping[str, Any], project: str) -> None:
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_SILENT", "true")
        wandb = needed("wandb", "wandb", "wandb")
        out.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(project=project, name=name, dir=str(out), config=dict(settings), reinit="create_new")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """Into the folder, unless MLFLOW_TRACKING_URI names a server."""

    def __init__(self, out: Path, name: str, settings: Mapping[str, Any], project: str) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # from 3.13 on it asks for that word
        mlflow = needed("mlflow", "mlflow", "mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or out.resolve().as_uri()
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else self.client.create_experiment(project)
        self.run = self.client.create_run(experiment, run_name=name).info.run_id
        for key, value in settings.items():
            self.client.log_param(self.run, key, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.run)


TRACKERS: dict[str, Callable[[Path, str, Mapping[str, Any], str], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


@dataclass
class Mirror:
    """A run and its tracker. A step is sent once: what a resumed run writes again is what it wrote before."""

    folder: Path
    tracker: Tracker
    sent: int = field(default=-1, init=False)  # the last step

    def catch_up(self) -> int:
        """Send what is new. -> steps sent"""
        count = 0
        for row in read_log(self.folder / METRICS):
            step = row.get("step")
            if isinstance(step, int) and step > self.sent:
                self.tracker.log(step, numbers(row))
                self.sent = step
                count += 1
        return count

    @property
    def done(self) -> bool:
        return (self.folder / DONE).exists()


@click.command("track", context_settings={"max_content_width": 120})
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "name", required=True, type=click.Choice(list(TRACKERS)), help="The tracker.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Where its files go. Default: RUN/track/TRACKER.")
@click.option("--project", default="rather", show_default=True, help="What the tracker calls the project.")
@click.option("--follow", is_flag=True, help="Go on until every run is finished.")
def command(run: Path, name: str, out: Path | None, project: str, follow: bool) -> None:
    """Mirror the metrics of RUN, a run's folder or a whole story's, to a tracker's files.

    Nothing is sent anywhere unless the tracker's own environment variables say so (WANDB_MODE, MLFLOW_TRACKING_URI).
    Training needs no tracker and never waits for one.
    """
    folders = runs_of(run)
    place = out or run / "track" / name
    if place.exists() and not place.is_dir():
        raise BadSetting(f"{visible(str(place))} is a file.", "Expected a folder.", "Name another one with --out")
    with ExitStack() as stack:
        mirrors = []
        for folder in folders:
            tracker = TRACKERS[name](place, folder.resolve().name, settings_of(folder), project)
            stack.callback(tracker.close)
            mirrors.append(Mirror(folder, tracker))
        sent = sum(mirror.catch_up() for mirror in mirrors)
        for count in following(mirrors) if follow else ():
            sent += count
    said = f"{sent:,} steps of {', '.join(folder.name for folder in folders)}: {place}"
    click.echo(visible(said))


def following(mirrors: list[Mirror]) -> Iterator[int]:
    """Steps sent at each look, until all runs are done; ended by Ctrl-C without a loss."""
    try:
        while True:
            finished = all(mirror.done for mirror in mirrors)  # asked first: what is written before DONE is sent
            yield sum(mirror.catch_up() for mirror in mirrors)
            if finished:
                return
            time.sleep(EVERY)
    except KeyboardInterrupt:
        click.echo("stopped; what was there has been sent", err=True)


def runs_of(folder: Path) -> list[Path]:
    """The folder itself, or the runs of a story."""
    if (folder / METRICS).is_file():
        return [folder]
    refuse_seeds(folder)
    found = sorted(one.parent for one in folder.glob(f"*/{METRICS}")) if folder.is_dir() else []
    if not found:
        raise BadFile(
            f"{visible(str(folder))} has no {METRICS}.", "Expected the folder of a run, or of a story of runs."
        )
    return found


def settings_of(folder: Path) -> dict[str, Any]:
    return flattened(toml.read(folder / CONFIG)) if (folder / CONFIG).is_file() else {}


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if k != "step" and isinstance(v, int | float)}


def needed(module: str, package: str, extra: str) -> Any:
    """An optional dependency: imported when its tracker is asked for, and not before."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtra(f"--to {extra}", package, extra) from None
