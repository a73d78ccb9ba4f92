"""One process at a time writes a run. The lock is the kernel's (flock) and goes with the process, however it dies."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from rather import files
from rather.errors import RunLocked

LOCK = ".lock"

_held: set[int] = set()


def _let_go_in_child() -> None:
    """A forked child inherits the lock with the file; without this an orphan would keep a dead run locked."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def take(path: Path) -> int | None:
    """Take the folder's lock; None where the file system has no locks."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise files.cannot_write(path / LOCK, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 1000, 0)
        os.close(descriptor)
        raise _locked(path, holder) from None
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise files.cannot_write(path / LOCK, error) from None
        print(
            f"rather: {path} is on a file system without locks: see to it yourself that one process writes there.",
            file=sys.stderr,
        )
        return None
    _held.add(descriptor)
    about = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(about).encode(), 0)
    return descriptor


def _locked(path: Path, holder: bytes) -> RunLocked:
    try:
        about = json.loads(holder)
        words = f"process {about['pid']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written its name yet
        words = "another process"
    return RunLocked(
        f"{path} is in use by {words}.",
        "One process at a time writes a run.",
        "Wait for it, stop it, or name another folder.",
    )


def release(descriptor: int | None) -> None:
    if descriptor is not None:
        _held.discard(descriptor)
        os.close(descriptor)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
