"""JSON Lines on disk: one object per line, plain or gzipped, read as a stream and written whole or not at all."""

from __future__ import annotations

import gzip
import io
import json
import os
import shlex
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rather import files
from rather.errors import BadFile, BadRecord, visible
from rather.records.words import listed, quote

LONGEST_LINE = 32 * 2**20  # bytes; the longest row of public data we know has one, a book. Bounds memory on a bad file.

SPLIT_ARRAY = "If the file is one JSON array, split it:  jq -c '.[]' FILE > FILE.jsonl"

# What people hand in by mistake, told by its first bytes.
NOT_JSONL = {
    b"PAR1": "a Parquet file. Name it *.parquet",
    b"PK\x03\x04": "a zip archive. Unpack it first",
    b"BZh": "a bzip2 file. Unpack it first:  bunzip2",
    b"\x28\xb5\x2f\xfd": "a zstandard file. Unpack it first:  unzstd",
    b"\xfd7zXZ": "an xz file. Unpack it first:  unxz",
    b"\x80\x04": "a pickle, which is never opened here. Save it as JSON Lines",
    b"\x80\x05": "a pickle, which is never opened here. Save it as JSON Lines",
    b"version https://git-lfs": "a Git LFS pointer, not the data itself. Fetch it:  git lfs pull",
    b"<!DOCTYPE": "a web page: the download went to the wrong address",
    b"<html": "a web page: the download went to the wrong address",
}


@dataclass(eq=False)
class Row:
    """One object of a file, with the place it came from; remembers which of its fields were used."""

    file: str
    line: int
    fields: dict[str, Any]
    used: set[str] = field(default_factory=set)
    # A row in a shape of our own, where an unknown field is a mistake and not somebody's extra column.
    ours: bool = False
    size: int = 0  # bytes of the line

    def take(self, name: str) -> Any:
        """The value of a field; None when it is absent or null (Parquet writes absent as null)."""
        self.used.add(name)
        return self.fields.get(name)

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def bad(self, found: str, expected: str = "", do: str = "") -> BadRecord:
        return BadRecord(found, expected, do, file=visible(self.file), line=self.line)


Problem = Callable[[BadRecord], None]  # called with a row that cannot be read; it may raise


def raise_it(problem: BadRecord) -> None:
    """The first row that cannot be read ends the reading, and says how to see the others."""
    if problem.do:
        raise problem
    do = f"See every problem of the file:  rather data check {shlex.quote(problem.file)}"
    raise BadRecord(without_place(problem), problem.expected, do, file=problem.file, line=problem.line) from None


def without_place(problem: BadRecord) -> str:
    """What was found, for those who say file and line themselves."""
    return problem.found.removeprefix(f"{problem.file}:{problem.line}: ")


class Problems:
    """An `on_problem` that goes on: counts the rows that cannot be read, and keeps the first few to be shown."""

    def __init__(self, keep: int = 10) -> None:
        self.count, self.keep = 0, keep
        self.first: list[BadRecord] = []

    def __call__(self, problem: BadRecord) -> None:
        self.count += 1
        if len(self.first) < self.keep:
            self.first.append(problem)


def json_rows(
    path: Path, on_problem: Problem = raise_it, on_progress: Callable[[float], None] | None = None
) -> Iterator[Row]:
    """The objects of a .jsonl or .jsonl.gz file, one row in memory at a time. A UTF-8 BOM, CRLF and blank lines are
    read over. A row that is no object goes to `on_problem`; a file that cannot be read further raises BadFile."""
    name, line = visible(str(path)), 0
    with _opened(path) as raw:
        size = raw.seekable() and os.fstat(raw.fileno()).st_size  # a pipe has no size to be a share of
        stream = _unpacked(raw, path)
        while True:
            try:
                data = stream.readline(LONGEST_LINE + 1)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise BadFile(
                    f"{name}: the gzip data breaks off after line {line} ({visible(str(error))}).",
                    "Expected a whole .gz file; this one was cut short or damaged on the way.",
                    f"Fetch it again. To see the damage:  gzip -t {shlex.quote(str(path))}",
                ) from None
            except OSError as error:
                raise BadFile(
                    f"{name}: cannot be read after line {line}: {error.strerror}.",
                    "Expected a disk or network folder that gives the whole file.",
                    f"Copy it to a local disk and try again:  cp {shlex.quote(str(path))} .",
                ) from None
            if not data:
                return
            line += 1
            if len(data) > LONGEST_LINE:
                raise BadFile(
                    f"{name}:{line}: the line is longer than {LONGEST_LINE // 2**20} MB.",
                    "Expected one record per line.",
                    SPLIT_ARRAY,
                )
            if on_progress and size and line % 500 == 0:
                on_progress(raw.tell() / size)
            if line == 1:
                data = data.removeprefix(b"\xef\xbb\xbf")
            if not data.strip():
                continue
            row = Row(str(path), line, {}, size=len(data))
            try:
                row.fields = _object(data, row)
            except BadRecord as problem:
                on_problem(problem)
                continue
            yield row


def _opened(path: Path) -> io.BufferedReader:
    name = visible(str(path))
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise BadFile(f"There is no file {name}.", do=_files_of(path.parent)) from None
    except IsADirectoryError:
        raise BadFile(
            f"{name} is a folder.",
            "Expected a .jsonl or .jsonl.gz file, or a folder of .parquet files.",
            _files_of(path),
        ) from None
    except PermissionError:
        raise BadFile(f"{name} may not be read by this user.", do=f"ls -l {shlex.quote(str(path))}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadFile(
            f"{name[:100]} cannot be opened: {visible(str(error))[:100]}.", "Expected the name of a file."
        ) from None


def _files_of(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return f"There is no folder {visible(str(folder))} that can be read."
    return f"The folder {visible(str(folder))} has: {listed(names, 5) or 'nothing'}."


def _unpacked(raw: io.BufferedReader, path: Path) -> IO[bytes]:
    """The bytes of the lines; what the content is decides, the name has to agree where it says .gz."""
    head, name = raw.peek(32)[:32], visible(str(path))
    if not head:
        raise BadFile(f"{name} is empty.", "Expected one JSON object per line.")
    if head.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    for magic, what in NOT_JSONL.items():
        if head.startswith(magic):
            raise BadFile(f"{name} is {what}.", "Expected JSON Lines: one JSON object per line.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in head:
        raise BadFile(
            f"{name} is UTF-16 or UTF-32, or no text at all: it begins with {head[:4].hex(' ')}.",
            "Expected UTF-8.",
            f"Convert it:  iconv -f UTF-16 -t UTF-8 {shlex.quote(str(path))} > FILE.jsonl",
        )
    if path.suffix == ".gz":
        raise BadFile(f"{name} is named .gz and is not gzip data.", do="If it is plain text, rename it without .gz.")
    return raw


def _object(data: bytes, row: Row) -> dict[str, Any]:
    """One line as one JSON object; every way in which it is not is said in words."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise row.bad(
            f"byte {error.start + 1} of the line is 0x{data[error.start]:02x}, which is not UTF-8.",
            "Expected UTF-8 text.",
            f"If it is Latin-1:  iconv -f LATIN1 -t UTF-8 {shlex.quote(row.file)} > FILE.jsonl",
        ) from None
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_nan)
    except json.JSONDecodeError as error:
        raise row.bad(*_not_json(text, error)) from None
    except RecursionError:
        raise row.bad(
            "the JSON is nested too deeply to be a record.", "Expected a flat object of text and lists."
        ) from None
    except ValueError as error:  # ours (a key twice, NaN), and Python's refusal of numbers of more than 4300 digits
        said = str(error)
        raise row.bad("a number of thousands of digits." if "digits" in said else said) from None
    if not isinstance(value, dict):
        do = SPLIT_ARRAY if isinstance(value, list) else ""
        raise row.bad(f"the line is {quote(value)}.", "Expected one JSON object per line, as in {...}.", do)
    return value


def _not_json(text: str, error: json.JSONDecodeError) -> tuple[str, str, str]:
    """(found, expected, do) for the usual ways of not being JSON Lines."""
    line, what = text.strip(), error.msg.lower().removesuffix(" at")
    around = quote(text[max(error.pos - 12, 0) : error.pos + 12])
    expected, do = "Expected one JSON object per line, as in {...}.", ""
    if line in ("[", "{") or line.startswith("[{"):
        expected = "Expected one whole JSON object per line; this looks like a JSON array or a pretty-printed file."
        do = "Split it:  jq -c '.[]' FILE > FILE.jsonl     (one object only:  jq -c . FILE > FILE.jsonl)"
    elif line.endswith("},"):
        expected = "Expected one JSON object per line, with no comma after it."
        do = "Take the commas off:  sed 's/},$/}/' FILE > FILE.jsonl"
    elif line.startswith("{'"):
        expected, do = "Expected double quotes; this is how Python prints a dict.", "Write it with json.dumps."
    elif error.pos >= len(text.rstrip()) or "nterminated" in error.msg:
        expected = "The line breaks off: the file was cut short, or a text has a line break that is not written \\n."
    return f"the line is not JSON: {what} at column {error.colno}, near {around}.", expected, do


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {quote(twice)} stands twice in one object, and only one can be meant.")
    return made


def _no_nan(constant: str) -> None:
    raise ValueError(f"{constant} is not a number that JSON or a score can have.")


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one object per line; the file is there whole or not at all. Returns the number of rows.

    A name that ends in .gz is packed, without time and name inside, so that equal rows give equal bytes.
    """
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise BadFile(f"Cannot write {visible(str(path))}.", "Expected a name that ends in .jsonl or .jsonl.gz.")
    count = 0
    with files.replacing(path) as file, _packed(file, path) as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1
        if not count:
            raise BadFile(f"There is nothing to write to {visible(str(path))}.", "Expected at least one record.")
    return count


def _packed(file: IO[bytes], path: Path) -> AbstractContextManager[IO[bytes]]:
    if path.suffix != ".gz":
        return nullcontext(file)
    return gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0)  # type: ignore[return-value]  # it is written to
