"""What was measured, as JSON files in RUN/evaluate: whole or not there, not measured again while nothing changed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rather import __version__, files
from rather.errors import BadFile

Found = dict[str, Any]


def result_path(run: Path, name: str) -> Path:
    return run / "evaluate" / f"{name}.json"


def samples_path(run: Path, name: str) -> Path:
    return run / "evaluate" / f"{name}.samples.jsonl"


def read_result(path: Path) -> Found | None:
    """None where nothing was measured."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} cannot be read: {error}.", "Expected JSON.", "Remove it, and measure again.") from None
    if not isinstance(found, dict) or not isinstance(found.get("about"), dict):
        raise BadFile(
            f"{path} is not what a measurement writes.", "Expected JSON with 'about'.", "Remove it, and measure again."
        )
    return found


def matches(found: Found | None, about: Mapping[str, Any]) -> bool:
    """Whether it says all this of itself: the same weights, world and settings give the same numbers."""
    return found is not None and all(found["about"].get(key) == value for key, value in about.items())


def write_result(path: Path, about: Mapping[str, Any], measured: Mapping[str, Any], began: float) -> Found:
    """began: what time.monotonic() said when the work began"""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began, 1),
        "rather": __version__,
    }
    found = {"about": {**about, **made}, **measured}
    files.write_json(path, found)
    return found
