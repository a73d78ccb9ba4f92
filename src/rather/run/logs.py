"""The logs of a run: files of JSON lines that a kill cannot spoil and a resumed run can rewind."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from rather import files
from rather.errors import BadFile, BadRecord, CheckFailed


class NotFinite(CheckFailed):
    """A metric is NaN or infinite: the run stops rather than write it."""


class Log:
    """A file of JSON lines. Each line goes to the kernel at once and whole, so a kill costs at most the one line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = -1  # the step of the last line
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._cut(math.inf)

    def append(self, step: int | None, values: Mapping[str, Any]) -> None:
        assert "step" not in values or step is None, "the step is an argument of its own"
        row = ({} if step is None else {"step": step}) | plain("", values)
        line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
        end = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._descriptor, end)
            raise files.cannot_write(self.path, error) from None
        self.last = self.last if step is None else step

    def rewind(self, step: int) -> None:
        self._cut(step)
        self.sync()

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _cut(self, step: float) -> None:
        """Drop the first line that is after `step` and all behind it, and a torn last line."""
        keep, self.last = 0, -1
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                at = _parsed(line, self.path, number).get("step", self.last)
                if at > step:
                    break
                keep, self.last = keep + len(line), at
        os.ftruncate(self._descriptor, keep)


def read_log(path: str | Path) -> Iterator[dict[str, Any]]:
    """The lines of a log. A last line that is being written, or was cut off by a kill, is left out."""
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield _parsed(line, path, number)
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.", "A run folder has one.") from None


def _parsed(line: bytes, path: str | Path, number: int) -> dict[str, Any]:
    expected = "Each line of a log is one JSON object."
    try:
        row = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"not JSON ({error}).", expected, file=path, line=number) from None
    if not isinstance(row, dict):
        raise BadRecord(f"{line[:60]!r} is not a JSON object.", expected, file=path, line=number)
    if type(row.get("step", 0)) is not int:
        raise BadRecord(f"step is {str(row['step'])[:40]!r}.", "Expected a whole number.", file=path, line=number)
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def plain(name: str, value: Any) -> Any:
    """What JSON has words for. Numbers that are none stop here: in a log they would look like a result."""
    if isinstance(value, Mapping):
        return {str(key): plain(f"{name}.{key}" if name else str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(f"{name}[{index}]", item) for index, item in enumerate(value)]
    if hasattr(value, "item"):  # a number of numpy or torch, neither of which is imported here
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise NotFinite(
            f"{name} is {value}.",
            "A metric is a number, or None where it is not defined.",
            "Look at the last lines of metrics.jsonl for where it began.",
        )
    assert value is None or isinstance(value, bool | int | float | str), f"{name} is a {type(value).__name__}"
    return value
