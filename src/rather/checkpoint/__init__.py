"""Whole-state checkpoints: killed at any moment, a run goes on from the last one to the same bytes.

    state = {"model": model, "optimizer": optimizer, "schedule": schedule, "beta": 0.02,
             "sampling": rng, "dropout": torch.default_generator}
    step = checkpoint.load_latest(run.state, state) or 0
    ...
    checkpoint.save(run.state, state, step, keep=2)

    state/step-00000300/        has its name when all of it is on the disk, never before
        *.distcp  .metadata     tensors, by torch.distributed.checkpoint: sharded ones whole, on any number of workers
        values-0.json ...       everything else, of each worker its own (its random numbers are not the others')
        manifest.json           the size and checksum of each file

What a tensor holds is the same on all workers (or sharded over them); what differs between workers is not a tensor.
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rather import files
from rather.checkpoint import storage
from rather.checkpoint.state import fit, flatten, put, refuse_loss
from rather.errors import BadFile, BadSetting
from rather.parallel import differing, gather_objects, is_first, together, world

MANIFEST = "manifest.json"


def save(folder: str | Path, state: dict[str, Any], step: int, keep: int = 2) -> Path:
    """Store the state as it is after `step`, and let go of all but the last `keep` checkpoints. All workers call it."""
    assert keep >= 1
    folder = Path(folder)
    rank, size = world()
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}{files.UNFINISHED}"
    what = f"the checkpoint of step {step}"
    with together(what):
        tensors, values = flatten(state)
    if names := differing(tensors) if size > 1 else []:
        raise BadSetting(
            f"These tensors are not the same on all workers: {', '.join(names[:5])}.",
            "A tensor is stored once for all. Workers that should agree have drifted apart, or this is a worker's own.",
            "Keep a worker's own state as numbers, numpy arrays or generators.",
        )
    try:
        with together(what):
            if is_first():
                _begin(temporary)
        storage.write(temporary, tensors)
        with together(what):
            files.write_text(temporary / f"values-{rank}.json", json.dumps(values))
            mine = {path.name: _summed(path) for path in _written_by(rank, temporary)}
        sums = {name: entry for part in gather_objects(mine) for name, entry in part.items()}
        with together(what):
            if is_first():
                _finish(temporary, final, {"step": step, "workers": size, "torch": torch.__version__, "files": sums})
                for old in steps(folder)[:-keep]:
                    _remove(folder / f"step-{old:08d}")
    except BaseException:
        if is_first():
            shutil.rmtree(temporary, ignore_errors=True)  # what filled the disk should not go on filling it
        raise
    return final


def load_latest(folder: str | Path, state: dict[str, Any]) -> int | None:
    """Put the newest checkpoint into the state, in place. -> its step, or None if there is no checkpoint yet."""
    folder = Path(folder)
    with together("looking for a checkpoint"):
        found = steps(folder) if is_first() else []
    latest = gather_objects(found[-1] if found else None)[0]
    if latest is None:
        return None
    load(folder / f"step-{latest:08d}", state)
    return int(latest)


def load(path: str | Path, state: dict[str, Any]) -> None:
    """Put one checkpoint into the state, in place, tensors into the tensors that are there.

    A damaged file, and a state that is not made of the same things, raise before anything has been changed.
    """
    path = Path(path)
    rank, size = world()
    with together(f"reading {path}"):  # each worker has checked its share before any of them believes a file
        manifest = _verified(path, rank, size)
    with together(f"reading {path}"):
        if manifest["workers"] != size:
            raise BadFile(
                f"{path} was written by {manifest['workers']} workers, and now there are {size}.",
                "Each worker goes on with its own random numbers.",
                f"Start it with:  torchrun --nproc-per-node {manifest['workers']} ...",
            )
        with _as_written(path / f"values-{rank}.json"):
            values = json.loads((path / f"values-{rank}.json").read_bytes())
            targets = fit(state, values, storage.shapes(path), str(path))
    storage.read(path, targets)
    with together(f"reading {path}"):
        with _as_written(path / f"values-{rank}.json"):
            put(state, values, targets)
        refuse_loss(state, values, targets, str(path))


@contextmanager
def _as_written(values: Path) -> Iterator[None]:
    """The checksums fit, so what is not as we write it was changed together with them."""
    try:
        yield
    except (
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
        AttributeError,
        AssertionError,
        RecursionError,
    ) as error:
        raise BadFile(
            f"{values} is not what a checkpoint writes: {type(error).__name__}: {str(error)[:120]}.",
            "Its checksum fits, so it was not damaged but changed.",
            f"Remove {values.parent} to go on from the checkpoint before.",
        ) from error


def steps(folder: str | Path) -> list[int]:
    """The steps of the checkpoints in a folder, in order. One that a kill cut off does not count."""
    folder = Path(folder)
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise BadFile(
            f"{folder} is a file, not a folder of checkpoints.",
            "rather reads its own checkpoints (state/step-*/) and Hugging Face folders, and no pickles.",
        )
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    found = [int(name[5:]) for name in names if re.fullmatch(r"step-\d{8,}", name)]
    if names and not found:
        raise BadFile(
            f"{folder} has {names[0]} and no checkpoint.",
            "A checkpoint is a folder step-00000000 with a manifest.json; rather reads no pickles.",
            "Move it away, or name the folder of the run.",
        )
    return sorted(found)


def _begin(temporary: Path) -> None:
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        files.remove_unfinished(temporary.parent)
        temporary.mkdir()
    except OSError as error:
        raise files.cannot_write(temporary, error) from None


def _finish(temporary: Path, final: Path, manifest: dict[str, Any]) -> None:
    """Name it. Every file in it has been synced by the worker who wrote it."""
    missing = [name for name in manifest["files"] if not (temporary / name).exists()]
    if missing:
        raise BadFile(
            f"{temporary} lacks {missing[0]}, which another worker wrote.",
            "The run folder has to be on storage that all workers share.",
        )
    try:
        files.write_json(temporary / MANIFEST, manifest)
        files.put_in_place(temporary, final)
    except OSError as error:
        raise files.cannot_write(final, error) from None


def _remove(path: Path) -> None:
    """Out of sight first, so that a kill meanwhile leaves no half checkpoint under a checkpoint's name."""
    hidden = path.with_name(f".{path.name}.old{files.UNFINISHED}")
    path.rename(hidden)
    shutil.rmtree(hidden)


def _written_by(rank: int, folder: Path) -> list[Path]:
    index = [folder / storage.INDEX] if rank == 0 else []
    return [*sorted(folder.glob(f"__{rank}_*.distcp")), folder / f"values-{rank}.json", *index]


def _summed(path: Path) -> list[int]:
    """[size, CRC-32]: against damage, not against malice."""
    size = total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, total = size + len(block), zlib.crc32(block, total)
    return [size, total]


def _verified(path: Path, rank: int, size: int) -> dict[str, Any]:
    """The manifest, after this worker has held its share of the files against it."""
    others = [step for step in steps(path.parent) if f"step-{step:08d}" != path.name]
    go_on = f"Restore it, or remove {path} to go on from step {others[-1]}." if others else ""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        listed = sorted(manifest["files"].items())
        assert {"step", "workers"} <= set(manifest)
        assert all(isinstance(entry, list) and len(entry) == 2 for _, entry in listed)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise BadFile(
            f"{path} is not a whole checkpoint: {MANIFEST}: {error}.", "Was it copied in part?", go_on
        ) from None
    if re.fullmatch(r"step-\d{8,}", path.name) and manifest["step"] != int(path.name[5:]):
        raise BadFile(
            f"{path} holds step {str(manifest['step'])[:20]}.",
            "Expected the step of its name; somebody renamed or copied it.",
            "Give it its name back.",
        )
    for name, expected in listed[rank::size]:
        try:
            found = _summed(path / name)
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            said = getattr(error, "strerror", None) or error
            raise BadFile(f"{path / name} cannot be read: {said}.", "", go_on) from None
        if found != expected:
            what = f"has {found[0]} bytes" if found[0] != expected[0] else "has other content"
            raise BadFile(f"{path / name} {what}.", f"Expected {expected[0]} bytes, as they were written.", go_on)
    return manifest
