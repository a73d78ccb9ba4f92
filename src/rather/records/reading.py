"""`read`: records from a file, a folder or the hub, whatever shape they have there."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast, overload

from rather.errors import BadFile, BadRecord, BadSetting, nearest, visible
from rather.records.fields import ABOUT, PROMPT, RESPONSE, RESPONSES
from rather.records.hub import HUB_ID, hub_rows, parquet_rows
from rather.records.lines import LONGEST_LINE, Problem, Row, json_rows, raise_it
from rather.records.pairs import as_rankings, pairs_of
from rather.records.shapes import EACH_TURN, KNOWN, Shape, Unclear, shape_named, shape_of
from rather.records.types import Comparison, Prompt, Ranking, Record, Text
from rather.records.words import listed, quote

R = TypeVar("R", bound=Record)
FIRST = 16  # rows that show the shape
PLURAL = {"Prompt": "prompts", "Text": "texts", "Demonstration": "demonstrations", "Ranking": "rankings",
          "Samples": "samples", "Comparison": "comparisons", "Rating": "ratings"}  # fmt: skip


class Reader(Generic[R]):
    """The records of one source, read as they are asked for.

    shape: how the rows were read; `shape.words` finishes the sentence "read as ..."
    rows: rows read so far     left_out: how many of them had a field that no record has, by the field's name
    """

    def __init__(self, source: str, rows: Iterator[Row], shape: Shape, kind: type[R], on_problem: Problem) -> None:
        self.source, self.shape, self.kind = source, shape, kind
        self.rows, self.left_out = 0, Counter[str]()
        self._records = iter(as_kind(self._read(rows, on_problem), kind))

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        return next(self._records)

    def _read(self, rows: Iterator[Row], on_problem: Problem) -> Iterator[Record]:
        lines: dict[str, int] = {}  # id -> the line that has it
        for row in rows:
            self.rows += 1
            try:
                records = list(self.shape.read(row))
                self._account(row)
                for record in records:
                    _new_id(record, row, lines)
            except BadRecord as problem:
                on_problem(problem)
                continue
            yield from records

    def _account(self, row: Row) -> None:
        """Note the fields nobody used. One that is a slip of the pen from a field we know would be lost: refused."""
        unused = row.fields.keys() - row.used
        if not unused:
            return
        known = {*self.shape.kind.model_fields, *PROMPT, *RESPONSE, *RESPONSES, *ABOUT, "chosen", "rejected"}
        for name in sorted(unused):
            if row.ours:
                raise row.bad(
                    f"unknown field {quote(name)}.{nearest(name, known)}",
                    f"Expected only: {', '.join(self.shape.kind.model_fields)}.",
                )
            meant = next((field for field in sorted(known) if field not in row.fields and one_slip(name, field)), None)
            if meant:
                raise row.bad(
                    f"unknown field {quote(name)}. Did you mean {meant!r}?",
                    "A field that no record has is left out, and this one looks like a slip of the pen.",
                )
        self.left_out.update(unused)


def _new_id(record: Record, row: Row, lines: dict[str, int]) -> None:
    name: str = record.id  # type: ignore[attr-defined]  # every record that is a row has one
    if name in lines:
        raise row.bad(
            f"the id {quote(name)} is already that of line {lines[name]}.",
            "Expected each id once in a file.",
            "If it names something else (the prompt, the user), rename the field: rows without id get file:line.",
        )
    lines[name] = row.line


def one_slip(name: str, field: str) -> bool:
    """One letter added, lost, changed or swapped with the next. A plural is another word, not a slip."""
    if name == field or len(field) < 4 or abs(len(name) - len(field)) > 1 or field + "s" == name or name + "s" == field:
        return False
    start = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(name, field, strict=False))])
    a, b = name[start:], field[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


@overload
def read(
    source: str | Path,
    kind: None = None,
    *,
    shape: str | None = None,
    turns: Literal["last", "each"] = "last",
    on_problem: Problem = raise_it,
    on_progress: Callable[[float], None] | None = None,
) -> Reader[Record]: ...
@overload
def read(
    source: str | Path,
    kind: type[R],
    *,
    shape: str | None = None,
    turns: Literal["last", "each"] = "last",
    on_problem: Problem = raise_it,
    on_progress: Callable[[float], None] | None = None,
) -> Reader[R]: ...
def read(
    source: str | Path,
    kind: type[Any] | None = None,
    *,
    shape: str | None = None,
    turns: Literal["last", "each"] = "last",
    on_problem: Problem = raise_it,
    on_progress: Callable[[float], None] | None = None,
) -> Reader[Any]:
    """The records of a .jsonl or .jsonl.gz file, of Parquet, or of `org/name[:config][@split]` on the hub.

    kind: the records wanted. Rankings are given as comparisons and comparisons as rankings where they are asked for so;
        prompts are given of anything that has them, each once.
    shape: how the rows are written (`rather.records.shapes.KNOWN`); found from the first rows when it is not said.
    on_problem: called with each row that cannot be read, which is then left out; without it the first one is raised.
    """
    if turns not in ("last", "each"):
        raise BadSetting(f"turns is {quote(turns)}.", "Expected 'last' or 'each'.")
    rows = rows_of(str(source), on_problem, on_progress)
    first = list(_first(rows))
    found = shape_named(shape) if shape else _shape(str(source), first)
    if turns == "each":
        if found.name != "messages":
            raise BadSetting(f"turns='each' is for conversations, and {visible(str(source))} is read as {found.words}.")
        found = EACH_TURN
    kind = kind or found.kind
    if not can_be(found.kind, kind):
        raise BadFile(
            f"{visible(str(source))} holds {PLURAL[found.kind.__name__]} (read as {found.words}).",
            f"Expected {PLURAL[kind.__name__]}.",
        )
    return Reader(str(source), itertools.chain(first, rows), found, kind, on_problem)


def _first(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows that show the shape, all in memory at once: few of them where they are long."""
    room = LONGEST_LINE
    for row in itertools.islice(rows, FIRST):
        yield row
        room -= row.size
        if room <= 0:
            return


def rows_of(
    source: str, on_problem: Problem = raise_it, on_progress: Callable[[float], None] | None = None
) -> Iterator[Row]:
    """The rows of a file, a folder or a hub id as they are there, whatever record they may be."""
    path = Path(source)
    if path.suffix == ".parquet" or _holds_parquet(path):
        return parquet_rows(path, None, on_progress)
    folder, _, split = source.rpartition("@")
    if folder and not os.path.exists(path) and _holds_parquet(Path(folder)):
        return parquet_rows(Path(folder), split, on_progress)
    suffixes = {".jsonl", ".json", ".gz", ".txt", ".csv"}
    if HUB_ID.fullmatch(source) and not os.path.exists(path) and not suffixes & set(path.suffixes):
        return hub_rows(source)
    return json_rows(path, on_problem, on_progress)


def _holds_parquet(path: Path) -> bool:
    # os.path: pathlib raises for a name that is too long, where this says no.
    return os.path.isdir(path) and next(path.rglob("*.parquet"), None) is not None


def _shape(source: str, first: list[Row]) -> Shape:
    """The shape of the first rows. A row that shows none is read with the others' and will say what it lacks."""
    name = visible(source)
    if not first:
        raise BadFile(f"{name} has no row that can be read.", "Expected one JSON object per line.")
    seen: dict[str, Row] = {}
    unclear: list[tuple[Row, Unclear]] = []
    for row in first:
        try:
            seen.setdefault(shape_of(row.fields).name, row)
        except Unclear as error:
            unclear.append((row, error))
    if len(seen) > 1:
        lines = [f"line {row.line} {quote(shape)}" for shape, row in seen.items()]
        raise BadFile(
            f"{name} has rows of several shapes: {', '.join(lines)}.",
            "Expected one kind of record per file.",
            f"Split it, or say how to read it:  --shape {next(iter(seen))}",
        )
    if not seen:
        row, why = unclear[0]
        raise BadRecord(
            f"{why.found} Fields: {listed(row.fields)}.",
            f"Shapes that can be read: {', '.join(KNOWN)}.",
            why.do or "Rename the fields to one of these shapes.",
            file=name,
            line=row.line,
        )
    return shape_named(next(iter(seen)))


def can_be(have: type[Record], want: type[Record]) -> bool:
    return have is want or {have, want} == {Ranking, Comparison} or (want is Prompt and have is not Text)


def as_kind(records: Iterable[Record], kind: type[R]) -> Iterator[R]:
    """The records as another kind, where `can_be` says that they can. Pairs are gathered at the end."""
    asked: set[Any] = set()
    pairs: list[Comparison] = []
    for record in records:
        if isinstance(record, kind):
            yield record
        elif kind is Comparison and isinstance(record, Ranking):
            yield from cast("list[R]", pairs_of(record))
        elif kind is Ranking and isinstance(record, Comparison):
            pairs.append(record)
        else:
            assert kind is Prompt, f"{type(record).__name__} is not given as {kind.__name__}"
            common = {name: getattr(record, name) for name in ("id", "prompt", "category", "source", "split")}
            if common["prompt"] not in asked:  # the pairs of one ranking, the rankings of several labelers
                asked.add(common["prompt"])
                yield cast("R", Prompt(**common))
    yield from cast("Iterator[R]", as_rankings(pairs))
