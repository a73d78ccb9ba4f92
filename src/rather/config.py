"""Settings: class defaults (the paper's values), then the recipe, then `key=value`; the resolved result can be saved.

    class PPOConfig(Config):
        batch_size: int = Field(512, ge=1, description="C.4: episodes per iteration")

    config = PPOConfig.load(Path("recipes/hh.toml"), ["batch_size=64"])

A field's description says where its value comes from; `describe` hands it to `--help` and to the docs.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rather import files, toml
from rather.errors import BadSetting, nearest

COMMAND_LINE = "command line"


class Config(BaseModel):
    """Settings of one thing. Frozen, unknown keys refused with the nearest name; a nested Config is a table.

    A setting that may be unset (`int | None`) is unset with the word `none`, in a recipe and on the command line.
    """

    # strict: "64" is not a number, 1 is not true. NaN and infinity are refused.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )

    @classmethod
    def load(cls, recipe: str | Path | None = None, overrides: Sequence[str] = (), table: str | None = None) -> Self:
        """Defaults, then the recipe (a TOML file), then `key=value` in the order given; the last word counts.

        table: where in the recipe, if it has a table of that name; otherwise all of it is meant
        """
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}  # dotted key -> where its value was written, for messages
        if recipe is not None:
            values, where = toml.read(recipe), str(recipe)
            if table is not None and isinstance(values.get(table), dict):
                values, where = values[table], f"{recipe} [{table}]"
            _refuse_unknown(cls, values, where)
            origins = dict.fromkeys(flattened(values), where)
        for text in overrides:
            for key, value in _override(cls, text).items():
                _put(values, key, value)
                origins[key] = COMMAND_LINE
        try:
            # As JSON, because strict JSON takes a list for a tuple and text for a path; strict Python does not.
            # Dates, which TOML knows and settings do not, go in as the text they are.
            return cls.model_validate_json(json.dumps(_with_unset(cls, values), default=str))
        except ValidationError as error:
            raise _in_words(cls, error.errors(), origins, str(recipe or COMMAND_LINE)) from None


class Setting(NamedTuple):
    key: str  # dotted
    type: str
    default: Any  # `...` where a value has to be given
    comment: str


def with_preset(given: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    """For a validator: what was given counts, then the value of the preset it names, then the class's."""
    preset = given.get("preset") if isinstance(given, dict) else None
    return {**presets.get(preset, {}), **given} if isinstance(preset, str) else given


def describe(cls: type[Config], prefix: str = "") -> Iterator[Setting]:
    """Every setting of a class and of the classes nested in it, in the order of the source."""
    for name, field in cls.model_fields.items():
        nested = _nested(field)
        if nested is not None:
            yield from describe(nested, f"{prefix}{name}.")
        else:
            yield Setting(prefix + name, _expected(field), _default(field), _comment(field))


def as_toml(config: Config) -> str:
    """The whole resolved configuration, each setting with its comment. Loading it gives an equal configuration."""
    return "\n".join(_table(config, "")).lstrip("\n") + "\n"


def save(config: Config, path: str | Path) -> None:
    files.write_text(path, as_toml(config))


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one dict with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _table(config: Config, prefix: str) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []  # below the plain settings: in TOML what follows a [table] belongs to it
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            tables += ["", f"[{prefix}{name}]", *_table(value, f"{prefix}{name}.")]
            continue
        if value == toml.NONE and _may_be_unset(field):
            raise BadSetting(f"{prefix}{name} is the text {toml.NONE!r}, which in a recipe means: not set.")
        comment = _comment(field)
        lines.append(f"{name} = {toml.written(_plain(value))}" + (f"  # {comment}" if comment else ""))
    return lines + tables


def _plain(value: Any) -> Any:
    """What TOML has words for: a Config within a list or a dict is an inline table."""
    match value:
        case Config():
            return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case Enum():
            return value.value
        case PurePath():
            return str(value)
    return value


# ---- key=value


def _override(cls: type[Config], text: str) -> dict[str, Any]:
    """'a.b=3' as {'a.b': 3}; 'a={b=3}' likewise, so that it adds to the recipe's table and does not replace it."""
    key, equals, written = (part.strip() for part in text.partition("="))
    if not equals or not all(key.split(".")):
        guess = nearest(key, (setting.key for setting in describe(cls)))
        raise BadSetting(f"{text!r} is not a setting.{guess}", "Expected key=value, or table.key=value.")
    values: dict[str, Any] = {}
    _put(values, key, None)
    _refuse_unknown(cls, values, COMMAND_LINE)
    field = _field(cls, key)
    if not written:
        empty = toml.NONE if field and _may_be_unset(field) else "'\"\"'"
        raise BadSetting(
            f"{COMMAND_LINE}: {key} has no value.",
            f"Expected {_expected(field)}." if field else "",
            f"For an empty one type:  {key}={empty}",
        )
    if not _is_utf8(written):
        raise BadSetting(f"{COMMAND_LINE}: the value of {key} is not UTF-8.", "Expected text in UTF-8.")
    value = _value(written, field)
    _put(values, key, value)
    _refuse_unknown(cls, values, COMMAND_LINE)
    is_table = field is not None and _nested(field) is not None and isinstance(value, dict)
    return flattened(value, f"{key}.") if is_table else {key: value}


def _value(written: str, field: FieldInfo | None) -> Any:
    """A TOML value; a bare word is text, and where the setting is text everything unquoted is: model=7."""
    try:
        parsed = tomllib.loads(f"value = {written}")
    except (ValueError, RecursionError):
        return written
    if set(parsed) != {"value"}:  # a line break with another key behind it
        return written
    if field is not None and _is_text(field) and not isinstance(parsed["value"], str):
        return written
    return parsed["value"]


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)  # how Python shows bytes it could not decode


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        if not isinstance(values.get(table), dict):
            values[table] = {}
        values = values[table]
    values[last] = value


def _with_unset(cls: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """The word `none` as None, for the settings that may be unset."""
    plain = dict(values)
    for name, value in values.items():
        field = cls.model_fields[name]
        nested = _nested(field)
        if value == toml.NONE and _may_be_unset(field):
            plain[name] = None
        elif nested is not None and isinstance(value, Mapping):
            plain[name] = _with_unset(nested, value)
    return plain


# ---- words


def _refuse_unknown(cls: type[Config], values: Mapping[str, Any], where: str) -> None:
    def check(level: type[Config], values: Mapping[str, Any], prefix: str) -> None:
        for name, value in values.items():
            if name not in level.model_fields:
                raise BadSetting(
                    f"{where}: there is no setting {prefix + name!r}.{_guess(cls, level, prefix, name)}",
                    f"Known {f'in [{prefix[:-1]}]' if prefix else 'here'}: {', '.join(level.model_fields)}.",
                )
            nested = _nested(level.model_fields[name])
            if nested is not None and isinstance(value, Mapping):
                check(nested, value, f"{prefix}{name}.")

    check(cls, values, "")


def _guess(cls: type[Config], level: type[Config], prefix: str, name: str) -> str:
    """The same name at another level, else a near name at this level, else a near name anywhere."""
    keys = [setting.key for setting in describe(cls)]
    last = [key.rpartition(".")[2] for key in keys]
    found = [key for key, end in zip(keys, last, strict=True) if end == name]
    if not found:
        found = [prefix + near for near in difflib.get_close_matches(name, level.model_fields, n=1)]
    if not found:
        near = difflib.get_close_matches(name, last, n=1)
        found = [key for key, end in zip(keys, last, strict=True) if end in near]
    return f" Did you mean {' or '.join(map(repr, found[:3]))}?" if found else ""


def _in_words(cls: type[Config], errors: list[ErrorDetails], origins: Mapping[str, str], otherwise: str) -> BadSetting:
    keys = [_key(cls, error["loc"]) for error in errors]
    others = [key for key in dict.fromkeys(keys) if key != keys[0]]
    also = f" Wrong as well: {', '.join(others[:5])}." if others else ""
    key, error = keys[0], errors[0]
    field = _field(cls, key)
    where = next((origin for name, origin in origins.items() if name == key or name.startswith(key + ".")), otherwise)
    if error["type"] == "missing":
        return BadSetting(
            f"{where}: {key} is not set and has no default.{also}",
            f"Expected {_expected(field)}." if field else "",
            f"Type {key}=... or write it in the recipe.",
        )
    said = error["msg"].removeprefix("Value error, ")
    if field is None or (_nested(field) and error["type"] == "value_error"):  # a rule between several settings
        return BadSetting(f"{where}: {key + ': ' if key else ''}{said}{also}")
    inner = "".join(f"[{part}]" for part in error["loc"][key.count(".") + 1 :] if isinstance(part, int))
    default = _default(field)
    return BadSetting(
        f"{where}: {key}{inner} is {json.dumps(error['input'], default=str)[:80]}.{also}",
        f"Expected {_expected(field)} ({said[:1].lower()}{said[1:]}).",
        f"For example:  {key}={toml.written(_plain(default))}" if _nested(field) is None and default is not ... else "",
    )


def _key(cls: type[Config], loc: tuple[int | str, ...]) -> str:
    """The dotted key of a place in the settings, without the places inside of a list or a union."""
    parts: list[str] = []
    level: type[Config] | None = cls
    for part in loc:
        if level is None or part not in level.model_fields:
            break
        parts.append(str(part))
        level = _nested(level.model_fields[str(part)])
    return ".".join(parts)


def _field(cls: type[Config], key: str) -> FieldInfo | None:
    """The setting with a dotted key; None for what lies inside of a dict, and for no key."""
    level: type[Config] | None = cls
    field = None
    for part in key.split("."):
        if level is None or part not in level.model_fields:
            return None
        field = level.model_fields[part]
        level = _nested(field)
    return field


def _nested(field: FieldInfo) -> type[Config] | None:
    return next((kind for kind in _kinds(field) if isinstance(kind, type) and issubclass(kind, Config)), None)


def _may_be_unset(field: FieldInfo) -> bool:
    return NoneType in _alternatives(field.annotation)


def _is_text(field: FieldInfo) -> bool:
    return all(isinstance(kind, type) and issubclass(kind, str | PurePath) for kind in _kinds(field))


def _kinds(field: FieldInfo) -> list[Any]:
    return [kind for kind in _alternatives(field.annotation) if kind is not NoneType]


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _default(field: FieldInfo) -> Any:
    return ... if field.is_required() else field.get_default(call_default_factory=True)


def _comment(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
}


def _expected(field: FieldInfo) -> str:
    """'a whole number, at least 1, or none'."""
    bounds = [
        words.format(getattr(bound, name))
        for bound in field.metadata
        for name, words in BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    kinds = " or ".join(_words(kind) for kind in _kinds(field))
    return ", ".join([kinds, *bounds]) + (f", or {toml.NONE}" if _may_be_unset(field) else "")


def _words(kind: Any) -> str:
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if kind in plain:
        return plain[kind]
    arguments = [argument for argument in get_args(kind) if argument is not ...]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if get_origin(kind) is tuple and ... not in get_args(kind):
        return f"a list of {len(arguments)}: {', '.join(map(_words, arguments))}"
    if get_origin(kind) in (list, tuple):
        return f"a list, each {_words(arguments[0])}"
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return "a path"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(repr(member.value) for member in kind)}"
    if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, Config)):
        return "a table"
    return " or ".join(map(_words, _alternatives(kind))) if len(_alternatives(kind)) > 1 else str(kind)
