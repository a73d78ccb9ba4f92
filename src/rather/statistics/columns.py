"""Reading what a caller hands in: columns of numbers, and the column that says which prompt each row belongs to.

Every refusal says what was found and what was expected; nothing is dropped, filled in or rounded on the way.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

Numbers = Sequence[float] | np.ndarray
Labels = Sequence[Any] | np.ndarray | range  # any hashable values: strings, ids, ints


def numbers(name: str, values: Numbers, low: float | None = None, high: float | None = None) -> np.ndarray:
    """(N,) float64: not empty, every value finite (below 1e100 in size) and inside [low, high]."""
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as numbers: {error}. Expected one number per row.") from None
    if column.ndim != 1:
        raise ValueError(f"{name} has shape {column.shape}. Expected one dimension: one number per row.")
    if not len(column):
        raise ValueError(f"{name} is empty. Expected at least one row.")
    wrong = ~(np.abs(column) < 1e100)  # NaN and infinity too; beyond 1e154 a square is no float any more
    if low is not None:
        wrong |= column < low
    if high is not None:
        wrong |= column > high
    if wrong.any():
        row = int(np.argmax(wrong))
        bounds = (
            f"finite numbers of {low} to {high}"
            if low is not None and high is not None
            else "finite numbers, below 1e100 in size"
        )
        raise ValueError(f"{name}[{row}] is {column[row]} ({int(wrong.sum())} such rows). Expected {bounds}.")
    return column


def same_length(**columns: Any) -> int:
    """The common length of the columns."""
    for name, column in columns.items():
        if not hasattr(column, "__len__"):
            raise ValueError(f"{name} is {column!r}. Expected a column: one entry per row.")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"The columns differ in length: {found}. Expected one entry of each per row.")
    return next(iter(lengths.values()))


def index_of(name: str, labels: Labels) -> tuple[np.ndarray, list[Hashable]]:
    """(N,) position of each row's label among the distinct labels, and these in order of first appearance."""
    positions: dict[Hashable, int] = {}
    index = np.empty(len(labels), dtype=np.intp)
    for row, label in enumerate(labels):
        # NaN is unlike itself, so it would silently make every such row a prompt of its own.
        if label is None or (isinstance(label, float | np.floating) and math.isnan(label)):
            raise ValueError(f"{name}[{row}] is {label}. Expected the name of what the row belongs to.")
        try:
            index[row] = positions.setdefault(label, len(positions))
        except TypeError:
            raise ValueError(f"{name}[{row}] is {label!r}. Expected a name: text, a number or a tuple.") from None
    return index, list(positions)


def clusters_of(name: str, labels: Labels, needed: int = 2) -> tuple[np.ndarray, int]:
    """(N,) cluster of each row, and how many there are; fewer than `needed` is refused."""
    index, distinct = index_of(name, labels)
    if len(distinct) < needed:
        raise ValueError(
            f"{name} has {len(distinct)} distinct value(s). Expected at least {needed}: "
            "an interval comes from the differences between them."
        )
    return index, len(distinct)


def probability(name: str, value: float) -> float:
    """A number strictly between 0 and 1."""
    if not isinstance(value, int | float | np.number) or not 0.0 < value < 1.0:
        raise ValueError(f"{name} is {value!r}. Expected a number between 0 and 1, both excluded.")
    return float(value)


def whole(name: str, value: float, low: int) -> int:
    if not isinstance(value, int | float | np.number) or not low <= value < math.inf or value != int(value):
        raise ValueError(f"{name} is {value!r}. Expected a whole number of at least {low}.")
    return int(value)


def one_of(name: str, value: str, known: Iterable[str]) -> str:
    known = tuple(known)
    if value not in known:
        raise ValueError(f"{name} is {value!r}. Expected one of {', '.join(map(repr, known))}.")
    return value
