"""`rather track`: what a run logged reaches a tracker, each step once, while it runs or afterwards."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rather.cli import main, track
from rather.config import Config
from rather.run import Run


class Settings(Config):
    rate: float = 0.5


class Remembering:
    """A tracker that keeps what it is told, by the run's name."""

    told: ClassVar[dict[str, list[tuple[int, dict[str, float]]]]] = {}
    settings: ClassVar[dict[str, Mapping[str, Any]]] = {}
    closed: ClassVar[list[str]] = []

    def __init__(self, out: Path, name: str, settings: Mapping[str, Any], project: str) -> None:
        self.name = name
        self.told[name], self.settings[name] = [], settings

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.told[self.name].append((step, dict(values)))

    def close(self) -> None:
        self.closed.append(self.name)


@pytest.fixture
def remembering(monkeypatch):
    for kept in (Remembering.told, Remembering.settings, Remembering.closed):
        kept.clear()
    monkeypatch.setitem(track.TRACKERS, "tensorboard", Remembering)
    return Remembering


def logged(folder: Path, steps: range, finish: bool = True) -> None:
    with Run.open(folder, Settings(), resume=True) as run:
        for step in steps:
            run.metrics(step, {"loss": 1 / step, "val/loss": None, "note": "in words"})
        if finish:
            run.finish(steps[-1], {})


def door(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def test_every_number_of_a_run_is_sent_with_its_settings(tmp_path, remembering, capsys):
    logged(tmp_path / "ppo", range(1, 4))
    assert door("track", tmp_path / "ppo", "--to", "tensorboard") == 0
    assert remembering.told == {"ppo": [(1, {"loss": 1.0}), (2, {"loss": 0.5}), (3, {"loss": pytest.approx(1 / 3)})]}
    assert remembering.settings["ppo"] == {"rate": 0.5}
    assert remembering.closed == ["ppo"]
    assert "3 steps of ppo" in capsys.readouterr().out


def test_a_story_is_its_runs_and_a_finished_one_is_not_waited_for(tmp_path, remembering):
    for name in ("reward", "sft"):
        logged(tmp_path / name, range(1, 3))
    assert door("track", tmp_path, "--to", "tensorboard", "--follow") == 0
    assert {name: len(rows) for name, rows in remembering.told.items()} == {"reward": 2, "sft": 2}


def test_what_a_resumed_run_writes_again_is_not_sent_again(tmp_path, remembering):
    logged(tmp_path, range(1, 6), finish=False)
    mirror = track.Mirror(tmp_path, Remembering(tmp_path, "run", {}, ""))
    assert mirror.catch_up() == 5
    with Run.open(tmp_path, Settings(), resume=True) as run:
        run.rewind(3)
        assert mirror.catch_up() == 0
        for step in (4, 5, 6):
            run.metrics(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # a line that is being written
    assert mirror.catch_up() == 1
    assert [step for step, _ in remembering.told["run"]] == [1, 2, 3, 4, 5, 6]


def test_it_goes_on_until_the_run_is_finished_and_nothing_before_the_end_is_lost(tmp_path, remembering, monkeypatch):
    logged(tmp_path, range(1, 3), finish=False)
    moments = iter([range(3, 5), range(5, 7)])
    monkeypatch.setattr(track, "EVERY", 0)
    mirror, sent = track.Mirror(tmp_path, Remembering(tmp_path, "run", {}, "")), []
    for count in track.following([mirror]):
        sent.append(count)
        if steps := next(moments, None):
            logged(tmp_path, steps, finish=steps[-1] == 6)
    assert sent == [2, 2, 2]


@pytest.mark.parametrize(
    ("name", "module"),
    [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")],
)
def test_a_tracker_that_is_not_installed_says_what_to_type(tmp_path, name, module, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    logged(tmp_path / "ppo", range(1, 3))
    assert door("track", tmp_path / "ppo", "--to", name) == 2
    assert f"pip install 'rather[{name}]'" in capsys.readouterr().err


def test_what_cannot_be_tracked_is_words(tmp_path, remembering, capsys):
    assert door("track", tmp_path / "nowhere", "--to", "tensorboard") == 2
    assert "has no metrics.jsonl" in capsys.readouterr().err
    assert door("track", tmp_path, "--to", "paper") == 2
    logged(tmp_path / "ppo", range(1, 3))
    (tmp_path / "file").write_text("")
    assert door("track", tmp_path / "ppo", "--to", "tensorboard", "--out", tmp_path / "file") == 2
    assert "is a file" in capsys.readouterr().err
    (tmp_path / "ppo" / "metrics.jsonl").write_text("nonsense\n")
    assert door("track", tmp_path / "ppo", "--to", "tensorboard") == 2
    assert "metrics.jsonl:1" in capsys.readouterr().err
    assert remembering.closed == ["ppo"], "what was begun is ended"


# ---- the trackers themselves, where they are installed


def test_tensorboard_reads_what_was_written(tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logged(tmp_path / "ppo", range(1, 4))
    assert door("track", tmp_path / "ppo", "--to", "tensorboard") == 0
    found = reading.EventAccumulator(str(tmp_path / "ppo" / "track" / "tensorboard" / "ppo"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]


def test_mlflow_reads_what_was_written(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged(tmp_path / "ppo", range(1, 4))
    assert door("track", tmp_path / "ppo", "--to", "mlflow") == 0
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "ppo" / "track" / "mlflow").resolve().as_uri())
    (experiment,) = [one for one in client.search_experiments() if one.name == "rather"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")][:2] == [(1, 1.0), (2, 0.5)]
    assert run.data.params == {"rate": "0.5"}


def test_wandb_leaves_files_and_sends_nothing(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logged(tmp_path / "ppo", range(1, 4))
    assert door("track", tmp_path / "ppo", "--to", "wandb") == 0
    assert list((tmp_path / "ppo" / "track" / "wandb").glob("wandb/offline-run-*/*.wandb"))
