"""Bring .venv to what pyproject.toml and constraints.txt say: `python tools/environment.py dev peers`.

Runs before anything is installed, so it uses the standard library alone. When nothing has changed it only compares a
stamp. Two calls at once wait for each other; a set-up that was interrupted is started afresh, because a package that
is half there looks installed to pip.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("pyproject.toml", "constraints.txt")
VENV = ROOT / ".venv"
STAMP = VENV / "ready.json"  # written last: which extras are installed, for which inputs
UNFINISHED = VENV / "unfinished"  # there from before the first file until pip is done


def main(extras: Sequence[str]) -> int:
    if is_ready(extras):
        return 0
    with open(ROOT / ".venv.lock", "w") as lock:  # beside .venv, which may be deleted while we hold it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another make that sets up {VENV}.", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return 0 if is_ready(extras) else set_up(extras)


def inputs() -> str:
    """What the environment depends on. The folder is one of them: scripts in a venv carry its absolute path."""
    parts = [platform.python_version(), str(ROOT), *(ROOT.joinpath(f).read_text() for f in FILES)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_ready(extras: Sequence[str]) -> bool:
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    return stamp["inputs"] == inputs() and set(extras) <= set(stamp["extras"]) and not UNFINISHED.exists()


def set_up(extras: Sequence[str]) -> int:
    print(f"Setting up {VENV} with {', '.join(extras)}: minutes the first time.", file=sys.stderr, flush=True)
    STAMP.unlink(missing_ok=True)
    if not can_be_kept():
        if VENV.exists():
            shutil.rmtree(VENV)
        VENV.mkdir()
        UNFINISHED.touch()
        if subprocess.call([sys.executable, "-m", "venv", str(VENV)]):
            return fail(
                "Python could not make a virtual environment (its own words are above).",
                "On Debian and Ubuntu install the package python3-venv; then call make again.",
            )
    UNFINISHED.touch()
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    # A person sees pip's progress; a log gets only what goes wrong.
    pip += [] if sys.stderr.isatty() else ["-qq"]
    if subprocess.call([*pip, "-c", "constraints.txt", "-e", f".[{','.join(extras)}]"], cwd=ROOT):
        return fail(
            "pip could not install what constraints.txt names (its own words are above).",
            "Check the network and pip's settings (pip config list), then call make again.",
        )
    UNFINISHED.unlink()
    written = STAMP.with_suffix(".new")
    written.write_text(json.dumps({"inputs": inputs(), "extras": list(extras)}))
    written.replace(STAMP)
    return 0


def can_be_kept() -> bool:
    """A whole environment of the same Python, in which only packages may have to change."""
    if UNFINISHED.exists():
        return False
    ask = "import pip, sys; print(*sys.version_info[:2], sys.prefix)"
    try:
        said = subprocess.run([str(VENV / "bin" / "python"), "-c", ask], capture_output=True, text=True)
    except OSError:
        return False
    return said.returncode == 0 and said.stdout.split() == [*map(str, sys.version_info[:2]), str(VENV)]


def fail(found: str, do: str) -> int:
    print(f"{found}\n{do}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    os.environ.pop("PIP_USER", None)  # a venv refuses --user
    sys.exit(main(sys.argv[1:]))
