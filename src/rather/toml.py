"""TOML in and out. The standard library reads it; the writer here knows what settings are made of and no more."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rather.errors import BadFile, nearest

NONE = "none"  # TOML has no null: for a setting that may be unset, the word `none` says so


def read(path: str | Path) -> dict[str, Any]:
    """The tables of a file; whatever is wrong with it is said with its line."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise BadFile(f"{path} is a folder.", "A recipe is a TOML file.", f"ls {path}/*.toml") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        names = [entry.name for entry in path.parent.glob("*.toml")]
        raise BadFile(
            f"{path} cannot be read: {getattr(error, 'strerror', error)}.{nearest(path.name, names)}",
            "A recipe is a TOML file with the settings that differ from the defaults.",
        ) from None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadFile(
            f"{path}:{line}: byte {content[error.start]:#04x} is not UTF-8.",
            "TOML is UTF-8 text.",
            "Save the file as UTF-8.",
        ) from None
    if text.startswith("\ufeff"):
        raise BadFile(f"{path}:1: begins with a byte order mark.", "TOML is plain UTF-8.", "Save it without the mark.")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise BadFile(f"{path}: lists or tables are nested too deeply.", "A recipe is nearly flat.") from None
    except ValueError as error:  # TOMLDecodeError, and int() on a number of thousands of digits
        where, shown = _line_of(text, str(error))
        raise BadFile(
            f"{path}{where}: {error}{shown}",
            "Each line is `key = value` with text in quotes, or the [name] of a table.",
        ) from None


def _line_of(text: str, message: str) -> tuple[str, str]:
    """':3' and the line itself, from 'Invalid value (at line 3, column 5)'."""
    found = re.search(r"\(at line (\d+)", message)
    if not found:
        return "", ""
    line = text.split("\n")[int(found[1]) - 1].strip()
    return f":{found[1]}", f": {line[:100]!r}"


def written(value: Any) -> str:
    """One value as TOML. Reading it back gives an equal one, except that a tuple comes back as a list."""
    match value:
        case None:
            return f'"{NONE}"'
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case list() | tuple():
            return f"[{', '.join(map(written, value))}]"
        case Mapping():
            return "{" + ", ".join(f"{_key(name)} = {written(item)}" for name, item in value.items()) + "}"
    raise AssertionError(f"no TOML for {type(value).__name__}: settings are numbers, text, paths, lists and tables")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(text: str) -> str:
    # JSON's escapes are all TOML's as well; DEL is a control character to TOML only.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
