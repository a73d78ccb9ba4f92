"""What a task asks, and the fields of rows it is made from. Each wrong row is said in words, with its file and line."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rather.errors import BadFile, visible
from rather.records.lines import Row
from rather.records.reading import rows_of
from rather.records.words import quote


@dataclass(frozen=True)
class Document:
    """One question.

    query: what the model reads, up to where the answer belongs; no space at the end
    answer: as an example among the shots has it, beginning with its space
    cluster: the passage or dialogue it is about; questions of one resemble each other
    choices: continuations whose likelihoods are compared
    truth: what the grader needs to know
    """

    id: str
    query: str
    answer: str = ""
    cluster: str = ""
    choices: tuple[str, ...] = ()
    truth: Any = None


Read = Callable[[Row], list[Document]]


def documents(source: str, read: Read) -> list[Document]:
    """Every document of a file, a folder of Parquet or a hub id. The first row that is wrong ends the reading."""
    found: list[Document] = []
    seen: dict[str, int] = {}
    for row in rows_of(source):
        for document in read(row):
            if document.id in seen:
                raise row.bad(f"the id {quote(document.id)} is already that of line {seen[document.id]}.")
            seen[document.id] = row.line
            found.append(document if document.cluster else replace(document, cluster=document.id))
    if not found:
        raise BadFile(f"{visible(source)} holds no question.", "Expected at least one row.")
    return found


def shots_of(pool: Sequence[Document], count: int, name: str, seed: int) -> list[Document]:
    """Examples: the last question of each of so many passages, which are drawn by name and seed, the same for all."""
    last = {document.cluster: document for document in pool}
    if len(last) < count:
        raise BadFile(
            f"{name}: {count} examples are to be shown, and there are {len(last)} to draw them from.",
            "Expected at least as many.",
            f"Name more of them ({name}.shots=FILE), or show fewer:  shots=0",
        )
    chosen = random.Random(f"shots {name} {seed}").sample(sorted(last), count)
    return [last[cluster] for cluster in chosen]


def some_of(found: Sequence[Document], n: int | None, name: str) -> list[Document]:
    """At most n, drawn by the task's name alone: the same questions for every model, in their order."""
    if n is None or n >= len(found):
        return list(found)
    kept = set(random.Random(f"some {name}").sample(range(len(found)), n))
    return [document for at, document in enumerate(found) if at in kept]


def digest(found: Iterable[Document]) -> str:
    """The same questions with the same answers have the same one, wherever they were read from."""
    sha = hashlib.sha256()
    for d in found:
        sha.update(json.dumps([d.id, d.query, d.answer, d.cluster, d.choices, repr(d.truth)]).encode())
    return sha.hexdigest()


# ---- fields


def text(row: Row, *names: str) -> str:
    """The first of these fields that the row has, which says something."""
    for name in names:
        if row.has(name):
            value = row.take(name)
            if not isinstance(value, str) or not value.strip():
                raise row.bad(f"{quote(name)} is {quote(value)}.", "Expected a text that says something.")
            return encodable(row, name, value)
    wanted = " or ".join(map(quote, names))
    raise row.bad(f"there is no field {wanted}.", f"Fields of the row: {', '.join(map(quote, row.fields))}.")


def words(row: Row, *names: str) -> str:
    """A text on one line: answers end with their line, so nothing that stands for one may have a second."""
    return " ".join(text(row, *names).split())


def texts(row: Row, name: str, least: int = 1) -> list[str]:
    """A list of texts that say something."""
    value = row.take(name)
    fine = isinstance(value, list) and all(isinstance(each, str) and each.strip() for each in value)
    if not fine or len(value) < least:
        raise row.bad(f"{quote(name)} is {quote(value)}.", f"Expected a list of at least {least} texts.")
    return [encodable(row, name, each) for each in value]


def index(row: Row, below: int, *names: str) -> int:
    """A number from 0; also as text, which is how some hub data sets have it."""
    for name in names:
        if row.has(name):
            value = row.take(name)
            if isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii() and len(value) < 9:
                value = int(value)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
                hint = "The labels of a test split are often withheld (-1): use the validation split." * (value == -1)
                raise row.bad(f"{quote(name)} is {quote(value)}.", f"Expected a number from 0 to {below - 1}.", hint)
            return value
    raise row.bad(f"there is no field {' or '.join(map(quote, names))}.", f"Expected a number from 0 to {below - 1}.")


def named(row: Row, *names: str) -> str:
    """The row's id, or its line."""
    for name in names:
        value = row.take(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value):
            return encodable(row, name, str(value))
    return str(row.line)


def encodable(row: Row, name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise row.bad(f"{quote(name)} has half a character (lone surrogate) at position {error.start}.") from None
    return value
