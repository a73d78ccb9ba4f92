"""Writing so that a file is either the old one or the new one, whatever kills us: temporary name, fsync, rename."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeGuard

from rather.errors import BadFile

UNFINISHED = ".unfinished"  # ending of every temporary name: what bears it was left behind by a kill


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; it takes the name `path` when the block ends without an error.

    A block that raises leaves `path` as it was and no temporary file.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        # os.open, not tempfile: the file gets the permissions that the user's umask says, not 0600.
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if _is_ours(error, temporary, path):
            raise cannot_write(path, error) from error
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """One JSON value, indented for a reader; NaN and infinity are refused, because JSON has no word for them."""
    write_text(path, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """An empty temporary folder beside `path`; it takes the name `path` when the block ends without an error.

    Two renames stand between the old folder and the new one, so a kill in that instant leaves neither under the name
    (both are still there, as `.name.*.unfinished`); a reader sees a whole folder or none.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        yield temporary
        _open_to_the_umask(temporary)
        sync_tree(temporary)
        put_in_place(temporary, path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if _is_ours(error, temporary, path):
            raise cannot_write(path, error) from error
        raise


def _open_to_the_umask(folder: Path) -> None:
    """Files with the permissions that the folder got: safetensors, for one, writes what nobody else may read."""
    wanted = folder.stat().st_mode & 0o666
    for here, _, names in os.walk(folder):
        for name in names:
            os.chmod(Path(here, name), wanted)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished, synced folder its name; a folder that has the name already is removed."""
    old = None
    if path.exists():
        old = _temporary(path)
        path.rename(old)
    temporary.rename(path)
    sync_folder(path.parent)
    if old is not None:
        shutil.rmtree(old)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left behind. Only for the one who holds the folder's lock."""
    for entry in folder.glob(f".*{UNFINISHED}"):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: without it a rename may be forgotten when the power fails."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    for here, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(here, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(here))


def cannot_write(path: Path, error: OSError) -> BadFile:
    reason = error.strerror or str(error)
    if not path.parent.is_dir():
        return BadFile(f"Cannot write {path}: there is no folder {path.parent}.", do=f"mkdir -p {path.parent}")
    return BadFile(
        f"Cannot write {path}: {reason}.",
        "What was there before is unchanged.",
        f"Free space or permissions for {path.parent}, or name another folder.",
    )


def _is_ours(error: BaseException, temporary: Path, path: Path) -> TypeGuard[OSError]:
    """Whether writing failed; the block that writes may fail at reading another file, which is for it to say."""
    if not isinstance(error, OSError):
        return False
    return error.filename is None or str(error.filename).startswith((str(temporary), str(path)))


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
