"""Checks what a learner wrote: runs each part on small numbers in a process of its own, and compares.

A process of its own, because what is being learned may loop for ever, exit, or print.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rather.errors import BadFile, visible

SECONDS = 20
LARGEST = 1_000_000  # bytes of a file that could be a lab


@dataclass(frozen=True)
class Lab:
    number: str
    title: str
    minutes: int
    needs: str
    file: Path  # the lab, whole
    twin: Path  # the lab with gaps
    gaps: tuple[dict[str, Any], ...]  # name, write: what to write, check: call, expect, hand


@dataclass(frozen=True)
class Verdict:
    name: str
    state: str  # right, wrong, to write
    words: tuple[str, ...] = ()


def check(lab: Lab, file: Path) -> list[Verdict]:
    try:
        if file.stat().st_size > LARGEST:
            raise BadFile(
                f"{visible(str(file))} has {file.stat().st_size:,} bytes.", "Expected a lab: a page of Python."
            )
        source = file.read_text(encoding="utf-8")
        compile(source, str(file), "exec")
    except OSError as error:
        raise BadFile(
            f"{visible(str(file))} cannot be read: {error.strerror}.", f"Expected what you wrote of lab {lab.number}."
        ) from None
    except SyntaxError as error:
        raise BadFile(
            f"{visible(str(file))}:{error.lineno}: {error.msg}.", "Expected Python; nothing was checked."
        ) from None
    except ValueError:  # no UTF-8, or a null byte
        raise BadFile(f"{visible(str(file))} is no text in UTF-8.", "Expected Python.") from None
    return [verdict(gap, run(lab, file, gap)) for gap in lab.gaps]


def run(lab: Lab, file: Path, gap: dict[str, Any]) -> list[dict[str, Any]]:
    """What each call of the gap gave: {'value': ...}, or {'error': words}, or {'write': words}."""
    asked = {"file": str(file), "name": gap["name"], "calls": [check["call"] for check in gap["check"]]}
    answering = [sys.executable, "-I", str(Path(__file__).with_name("labs_runner.py")), str(lab.file.parent)]
    try:
        done = subprocess.run(answering, input=json.dumps(asked), capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return [{"error": f"it ran for {SECONDS} seconds without an answer: is there a loop that does not end?"}]
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return [{"error": f"it ended the process (exit code {done.returncode}) before it gave an answer"}]
    return found


def verdict(gap: dict[str, Any], found: list[dict[str, Any]]) -> Verdict:
    for number, check in enumerate(gap["check"]):
        got = found[min(number, len(found) - 1)]
        if "write" in got:
            own = got["write"] == gap["name"]
            return Verdict(
                gap["name"], "to write", (gap["write"] if own else f"it needs {got['write']}, to write too",)
            )
        if "error" in got:
            return Verdict(gap["name"], "wrong", (f"{check['call']}: {got['error']}", f"by hand: {check['hand']}"))
        if not same(got["value"], check["expect"]):
            words = f"{check['call']} gives {short(got['value'])}, expected {short(check['expect'])}"
            return Verdict(gap["name"], "wrong", (words, f"by hand: {check['hand']}"))
    return Verdict(gap["name"], "right")


def same(found: Any, expected: Any) -> bool:
    """Equal, numbers to the six digits in which expectations are written down."""
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, bool) or isinstance(found, bool):
        return found is expected
    if isinstance(expected, int | float):
        return isinstance(found, int | float) and math.isclose(found, expected, rel_tol=2e-6, abs_tol=2e-6)
    return bool(found == expected)


def short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(short, value)) + "]"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
