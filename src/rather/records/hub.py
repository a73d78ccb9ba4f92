"""Rows from Parquet files and folders, and from the Hugging Face hub. Needs the extra `hub`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rather.errors import BadFile, MissingExtra, visible
from rather.records.lines import Row
from rather.records.words import listed

HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<split>[\w.-]+))?")
SPLIT = re.compile(r"(?P<split>[A-Za-z_]+)(?:-\d+.*)?$")  # train-00000-of-00001, the layout of the hub


def parquet_rows(
    folder: Path, split: str | None = None, on_progress: Callable[[float], None] | None = None
) -> Iterator[Row]:
    """The rows of a Parquet file, or of one split of a folder of them, counted from 1."""
    name, files = visible(str(folder)), _files(folder, split)
    try:
        import datasets  # noqa: F401  (an optional dependency; it brings pyarrow, and is what the extra names)
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra(f"Reading {name}", "datasets", "hub") from None
    line, done, size = 0, 0, sum(file.stat().st_size for file in files) or 1
    for file in files:
        try:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=512):
                for fields in batch.to_pylist():
                    line += 1
                    yield Row(str(folder), line, fields)
        except (pyarrow.ArrowException, OSError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadFile(
                f"{visible(str(file))} is no whole Parquet file: {visible(said)[:120]}.",
                "Expected a .parquet file as it was written; this one was cut short, damaged or renamed.",
                "Fetch it again, or give it the ending of what it is.",
            ) from None
        done += file.stat().st_size
        if on_progress:
            on_progress(done / size)


def _files(folder: Path, split: str | None) -> list[Path]:
    if folder.is_file():
        return [folder]
    files = sorted(folder.rglob("*.parquet"))
    splits: dict[str, list[Path]] = {}
    for file in files:
        match = SPLIT.match(file.stem)
        splits.setdefault(match["split"] if match else "", []).append(file)
    if split is not None:
        if split not in splits:
            raise BadFile(f"{visible(str(folder))} has no split {split!r}.", f"It has: {listed(splits) or 'none'}.")
        return splits[split]
    if len(splits) > 1:
        # Read together, the validation rows would be trained on.
        raise BadFile(
            f"{visible(str(folder))} holds several splits: {listed(splits)}.",
            "Expected one.",
            f"Say which:  {visible(str(folder))}@{listed(splits, 1).split(' ')[0]}",
        )
    return files


def hub_rows(name: str) -> Iterator[Row]:
    """The rows of `org/name[:config][@split]`, streamed; the split is `train` unless it is said."""
    match = HUB_ID.fullmatch(name)
    assert match, f"{name!r} is no hub id"
    try:
        import datasets  # an optional dependency
    except ImportError:
        raise MissingExtra(f"Reading {name} from the hub", "datasets", "hub") from None
    try:
        rows: Iterator[dict[str, Any]] = iter(
            datasets.load_dataset(match["name"], match["config"], split=match["split"] or "train", streaming=True)
        )
        for line, fields in enumerate(rows, start=1):
            yield Row(name, line, dict(fields))
    # The hub's client raises its own errors, requests' and ValueError for one and the same thing: it is not to be had.
    except Exception as error:
        said = visible(str(error).splitlines()[0] if str(error) else type(error).__name__)[:200]
        raise BadFile(
            f"There is no file or folder {name}, and the hub did not give a dataset of that name: {said}",
            "Expected a file, or org/name[:config][@split].",
            "Without a network, download it elsewhere and name the folder of its .parquet files.",
        ) from None
