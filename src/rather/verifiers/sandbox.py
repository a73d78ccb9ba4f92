"""A stranger's Python, run where it can compute and nothing else.

    outcome = run("def f(x): return x + 1", ["assert f(1) == 2"])
    outcome.passed, outcome.of, outcome.why         # 1, 1, ""

A process of its own in an empty temporary folder with an empty environment, the standard library only, in a session
that is killed whole. What it gives up is in `containment.py`; that this holds on the machine at hand is tried once,
by a program that does its worst, before anything else is run (`held`).
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rather.errors import NotReady

CONTAINMENT = Path(__file__).with_name("containment.py")
MB = 1_000_000
# Each line sets what a harmful act came to: True where it was refused.
WORST = """
import os, socket, tempfile
def refused(act):
    try: act()
    except (OSError, RuntimeError): return True
    return False
found = {
    "files": refused(lambda: open("here", "w")) and refused(lambda: os.mkdir("there")),
    "processes": refused(os.fork),
    "signals": refused(lambda: os.kill(os.getppid(), 0)),
    "network": refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("192.0.2.1", 9))),
}
"""
HELD = ("files", "processes", "signals", "network")


@dataclass(frozen=True)
class Limits:
    """seconds: of wall clock; of processor time as much, in whole seconds    memory: address space, bytes

    file: bytes of what it prints    uncontained: run even where the kernel refuses to hold it (no Linux, no seccomp)
    """

    seconds: float = 5.0
    memory: int = 512 * MB
    file: int = MB
    uncontained: bool = False


@dataclass(frozen=True)
class Outcome:
    """passed: tests of `of` that went through    why: what ended the run or failed first, "" where nothing did"""

    passed: int
    of: int
    why: str
    printed: str
    seconds: float


def run(code: str, tests: Sequence[str], limits: Limits = Limits()) -> Outcome:
    """The code, then each test after it. Never raises for what the code does."""
    if not limits.uncontained:
        loose = [what for what, holds in held().items() if not holds]
        if loose:
            raise NotReady(
                f"This system does not hold a stranger's program: {', '.join(loose)} are not contained.",
                "Expected Linux on x86-64 or 64-bit Arm with seccomp.",
                "In a container or a machine you can lose, set uncontained=True.",
            )
    return _run(code, tests, limits)


@functools.cache
def held() -> dict[str, bool]:
    """What the sandbox holds back here, found out by trying: files, processes, signals, network."""
    tests = [f"assert found[{what!r}]" for what in HELD]
    return {what: _run(WORST, [test], Limits(seconds=10.0)).passed == 1 for what, test in zip(HELD, tests, strict=True)}


def _run(code: str, tests: Sequence[str], limits: Limits) -> Outcome:
    nonce = secrets.token_hex(16)  # so that a program that prints a result of its own is not believed
    asked = {
        "code": code,
        "tests": list(tests),
        "nonce": nonce,
        "limits": {"cpu": max(1, round(limits.seconds)), "memory": limits.memory, "file": limits.file},
    }
    started = time.monotonic()
    # Errors beside ASCII: a lone surrogate in a response goes through JSON and back.
    with tempfile.TemporaryDirectory(prefix="rather-") as folder, tempfile.TemporaryFile() as printed:
        reads, writes = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(CONTAINMENT), str(writes)],
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder},
                start_new_session=True,
                pass_fds=(writes,),
            )
            os.close(writes)
            writes = -1
            late = False
            try:
                process.communicate(json.dumps(asked).encode(), timeout=limits.seconds)
            except subprocess.TimeoutExpired:
                late = True
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            os.set_blocking(reads, False)
            said = _said(reads, nonce)
        finally:
            os.close(reads)
            if writes != -1:
                os.close(writes)
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - 2000))
        words = printed.read().decode("utf-8", "replace")
    seconds = time.monotonic() - started
    if said is not None:
        return Outcome(int(said["passed"]), len(tests), str(said["failed"]), words, seconds)
    return Outcome(0, len(tests), _ended(process.returncode, late, limits, words), words, seconds)


def _said(reads: int, nonce: str) -> dict[str, Any] | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(os.read(reads, 65536))
        if said["nonce"] == nonce:
            return dict(said)
    return None


def _ended(code: int, late: bool, limits: Limits, words: str) -> str:
    if late or code == -signal.SIGXCPU:
        return f"did not end within {limits.seconds:g} s"
    if code == -signal.SIGXFSZ:
        return f"printed more than {limits.file / MB:g} MB"
    if "MemoryError" in words:
        return f"needed more than {limits.memory / MB:g} MB"
    if code < 0:
        return f"was ended by signal {-code}"
    return "ended before the tests were done"
