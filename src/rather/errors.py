"""Everything that can be wrong from outside, as one small tree.

    RatherError
      BadRecord       a line of a file is not the record it should be      (file and line)
      BadFile         a file or folder is missing, unreadable or not what it says
      BadSetting      a key or value of a recipe or of the command line
      BadModel        a model folder, tokenizer or template that cannot be used as it is
      NotReady        something that has to be finished first
      RunLocked       another process holds the run folder
      MissingExtra    an optional package is not installed
      CheckFailed     the work was done and the answer is no               (exit code 1; all others 2)

A module may have its own below these: `run.Finished`, `run.NotFinite`, `parallel.WorkerFailed`.
Each message says what was found, what was expected and what to type next, in two or three lines.
`assert` is for our own mistakes; these are for everybody else's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class RatherError(Exception):
    exit_code = 2

    def __init__(self, found: str, expected: str = "", do: str = "") -> None:
        self.found, self.expected, self.do = found, expected, do
        super().__init__("\n".join(line for line in (found, expected, do) if line))


class BadRecord(RatherError):
    """A record that cannot be read. `where` is the file with the line: `rankings.jsonl:17`."""

    def __init__(
        self, found: str, expected: str = "", do: str = "", *, file: str | Path = "", line: int | None = None
    ) -> None:
        self.file, self.line = str(file), line
        where = f"{file}:{line}: " if line is not None else f"{file}: " if file else ""
        super().__init__(where + found, expected, do)


class BadFile(RatherError):
    pass


class BadSetting(RatherError):
    pass


class BadModel(RatherError):
    pass


class NotReady(RatherError):
    pass


class RunLocked(RatherError):
    pass


class MissingExtra(RatherError):
    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed.",
            do=f"Install it with:  pip install 'rather[{extra}]'",
        )


class CheckFailed(RatherError):
    exit_code = 1


def visible(text: str) -> str:
    """Control characters, ANSI escapes and direction marks are written out: hostile text cannot paint the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' when a known name is close, otherwise the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
