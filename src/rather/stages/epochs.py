"""The weights of each epoch, and which of them is kept: by reward, as the paper does (C.1), or by validation loss.

RUN/sft/epochs/epoch-01 ...     Hugging Face folders
RUN/sft/selection.json          what each epoch measured, which was chosen, and by what
RUN/sft/checkpoint              the chosen one
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rather import files
from rather.errors import BadFile, NotReady
from rather.models.fingerprint import fingerprint_folder
from rather.run import read_metrics

By = Literal["reward", "loss"]
KEYS: Mapping[By, str] = {"reward": "val/reward", "loss": "val/loss"}
SELECTION = "selection.json"


def folder(run: Path, epoch: int) -> Path:
    return run / "epochs" / f"epoch-{epoch:02d}"


def measured(run: Path) -> list[dict[str, Any]]:
    """What was measured after each epoch, from the run's metrics."""
    rows = [row for row in read_metrics(run) if KEYS["loss"] in row]
    keys = [KEYS["loss"], KEYS["reward"], "val/finished", "val/length"]
    return [
        {"epoch": at, "step": row["step"]} | {key: row[key] for key in keys if key in row}
        for at, row in enumerate(rows, start=1)
    ]


def choose(run: Path, by: By, keep: str = "all", rows: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Make the best epoch the checkpoint, and write down why. Of equals the earlier.

    rows: what each epoch measured, if not what its run logged
    """
    found = [dict(row) for row in rows or measured(run)]
    key = KEYS[by]
    missing = [row["epoch"] for row in found if key not in row]
    if missing or not found:
        raise NotReady(f"{run} has no {key} for epoch {missing[0] if missing else 1}.", "Expected one for each epoch.")
    best = max(found, key=lambda row: row[key] if by == "reward" else -row[key])
    source = folder(run, best["epoch"])
    if not source.is_dir():
        raise BadFile(
            f"There is no {source}: the weights of epoch {best['epoch']} were not kept.",
            "Expected a folder for each epoch.",
            "Train again with keep=all",
        )
    with files.replacing_folder(run / "checkpoint") as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)
    said = {
        "chosen": best["epoch"],
        "by": "reward-model score on validation prompts" if by == "reward" else "validation loss",
        key: best[key],
        "sha256": fingerprint_folder(run / "checkpoint"),
    }
    files.write_json(run / SELECTION, said | {"epochs": found})
    if keep == "chosen":
        for row in found:
            if row["epoch"] != best["epoch"]:
                shutil.rmtree(folder(run, row["epoch"]), ignore_errors=True)
    return said


def chosen(run: Path) -> dict[str, Any]:
    """What `choose` wrote."""
    try:
        value = json.loads((run / SELECTION).read_bytes())
    except FileNotFoundError:
        raise NotReady(f"{run} has chosen no epoch: there is no {SELECTION}.", do="Finish it with --resume") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(
            f"{run / SELECTION} cannot be read: {error}.", "It is JSON, written when the run ended."
        ) from None
    if not isinstance(value, dict) or not isinstance(value.get("epochs"), list):
        raise BadFile(f"{run / SELECTION} is not what a run writes.", "Expected JSON with chosen, by and epochs.")
    return value
