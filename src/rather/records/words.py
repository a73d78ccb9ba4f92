"""How errors speak about data: shortened, one line, nothing that a terminal would obey."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from rather.errors import nearest, visible
from rather.records.types import Message, Record, Response


def quote(value: Any, limit: int = 48) -> str:
    """A value as an error shows it: `'How do I...'`, `a list of 3`, `an object with a, b`, `null`.

    Never descends: a value nested a thousand deep, or ten megabytes long, costs nothing.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return repr(value) if len(value) <= limit else f"{value[:limit]!r}... ({len(value):,} characters)"
        case int():
            return str(value) if value.bit_length() < 64 else f"a whole number of {value.bit_length()} bits"
        case list() | tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case Mapping():
            return f"an object with {listed(value)}" if value else "an empty object"
        case _:
            return visible(str(value))[:limit]


def listed(names: Iterable[str], limit: int = 8) -> str:
    """`prompt, chosen, rejected`, shortened when there are many or long ones."""
    names = list(names)
    shown = [visible(name if len(name) <= 40 else name[:40] + "...") for name in names[:limit]]
    return ", ".join(shown) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def explain(error: ValidationError, kind: type[Record]) -> tuple[str, str]:
    """What pydantic found first, as (found, expected) in our words."""
    errors = error.errors(include_url=False)
    first, more = errors[0], f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    path = [part for part in first["loc"] if not (isinstance(part, str) and part.startswith("("))]
    field = ".".join(visible(str(part)[:40]) for part in path) or kind.__name__.lower()
    name = str(path[-1]) if path else ""
    match first["type"]:
        case "extra_forbidden":
            known = fields_at(kind, path)
            return f"unknown field {field!r}.{nearest(name, known)}{more}", f"Expected only: {', '.join(known)}."
        case "missing":
            given = first["input"] if isinstance(first["input"], Mapping) else {}
            return (
                f"field {field!r} is missing.{nearest(name, given)}{more}",
                f"Found: {listed(given) or 'no fields'}.",
            )
        case "value_error":
            return f"{field}: {first['msg'].removeprefix('Value error, ')}{more}", ""
        case _:
            expected = first["msg"][0].lower() + first["msg"][1:]
            expected = expected.replace("valid tuple", "list").replace("tuple", "list").replace("valid string", "text")
            return (
                f"{field} is {quote(first['input'])}{more}.",
                f"Expected: {expected.replace('input should', 'it should')}.",
            )


def fields_at(kind: type[Record], path: list[Any]) -> list[str]:
    """The field names known where the last part of `path` stands: of the record, or of the record inside it."""
    names = [part for part in path if isinstance(part, str)]
    if len(names) < 2:
        return list(kind.model_fields)
    return list((Message if names[-2] in ("prompt", "messages") else Response).model_fields)
