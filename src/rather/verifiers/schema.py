"""JSON that fits a schema: the part of JSON Schema that says what a value is made of, by hand.

A keyword that is not known is refused and never passed over: it might have been the one that mattered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, localcontext
from typing import Any

from rather.errors import BadRecord
from rather.verifiers.verdicts import Verdict, shown
from rather.verifiers.words import SECONDS, within

DEEPEST = 100
ANNOTATIONS = {"title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions"}
TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}


def json_schema(response: str, schema: Mapping[str, Any] | bool, whole: bool = False) -> Verdict:
    """1 where the response is JSON that fits the schema; the reason names the place that does not.

    The JSON may stand in a fence, alone or with words around it; with `whole` it has to be all of the response.
    """
    check_schema(schema)
    text = _json_in(response, whole)
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        return Verdict(0.0, "it is nested too deeply")
    except ValueError as error:
        return Verdict(0.0, f"it is no JSON: {error}")
    problem, ended = within(4 * SECONDS, lambda: next(_problems(value, schema, schema, "", 0), ""))
    if not ended:
        return Verdict(0.0, "the schema did not end on it in time")
    return Verdict(0.0, problem) if problem else Verdict(1.0, "it fits the schema")


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _json_in(response: str, whole: bool) -> str:
    fence = None if whole else re.search(r"```(?:json|JSON|Json)?[ \t]*\n(.*?)\n?[ \t]*```", response, re.S)
    return (fence[1] if fence else response).strip()


KEYWORDS = {
    *("type", "enum", "const", "properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
    *("minProperties", "maxProperties", "items", "prefixItems", "contains", "minItems", "maxItems", "uniqueItems"),
    *("minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref"),
}


def check_schema(schema: Any, where: str = "the schema") -> None:
    """Refuse what is no schema, or uses what is not known here."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise BadRecord(f"{where} is {shown(str(schema))}", "Expected a JSON Schema: an object, true or false.")
    if unknown := set(schema) - KEYWORDS - ANNOTATIONS:
        raise BadRecord(
            f"{where} uses {min(unknown)!r}, which is not known here", f"Known: {', '.join(sorted(KEYWORDS))}."
        )
    types = schema.get("type", [])
    for name in [types] if isinstance(types, str) else types:
        if name not in TYPES:
            raise BadRecord(f"{where} has the type {shown(str(name))}", f"Expected one of {', '.join(TYPES)}.")
    if "multipleOf" in schema and not (TYPES["number"](schema["multipleOf"]) and schema["multipleOf"] > 0):
        raise BadRecord(f"{where} has multipleOf {schema['multipleOf']}", "Expected a number above 0.")
    for key in ("pattern", *(f"patternProperties.{name}" for name in schema.get("patternProperties", {}))):
        words = schema.get("pattern") if key == "pattern" else key.partition(".")[2]
        if words is not None:
            try:
                re.compile(words)
            except (re.error, TypeError) as error:
                raise BadRecord(f"{where} has the pattern {shown(str(words))}: {error}") from None
    for key in ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"):
        if key in schema:
            check_schema(schema[key], f"{where}/{key}")
    for key in ("properties", "patternProperties", "$defs", "definitions"):
        for name, inner in dict(schema.get(key, {})).items():
            check_schema(inner, f"{where}/{key}/{name}")
    for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        for number, inner in enumerate(schema.get(key, [])):
            check_schema(inner, f"{where}/{key}/{number}")


def _problems(value: Any, schema: Any, root: Any, at: str, depth: int) -> Iterator[str]:
    """What is wrong with a value, place by place, the first first. `at`: "/name/0" """
    here = f"at {at}: " if at else ""
    if depth > DEEPEST:
        yield f"{here}it is nested more than {DEEPEST} deep"
        return
    if schema is True:
        return
    if schema is False:
        yield f"{here}nothing is allowed there"
        return

    def fits(inner: Any, part: Any = value, place: str = at) -> bool:
        return next(_problems(part, inner, root, place, depth + 1), None) is None

    if "$ref" in schema:
        yield from _problems(value, _resolved(schema["$ref"], root), root, at, depth + 1)
    if "type" in schema:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(TYPES[name](value) for name in types):
            yield f"{here}{shown(json.dumps(value))} is not of type {' or '.join(types)}"
            return
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{here}{shown(json.dumps(value))} is not {json.dumps(schema['const'])}"
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        yield f"{here}{shown(json.dumps(value))} is none of {json.dumps(schema['enum'])}"
    if any(not fits(inner) for inner in schema.get("allOf", [])):
        yield f"{here}it does not fit all of allOf"
    if "anyOf" in schema and not any(fits(inner) for inner in schema["anyOf"]):
        yield f"{here}it fits none of anyOf"
    if "oneOf" in schema and (count := sum(fits(inner) for inner in schema["oneOf"])) != 1:
        yield f"{here}it fits {count} of oneOf"
    if "not" in schema and fits(schema["not"]):
        yield f"{here}it fits what it must not"
    if "if" in schema:
        branch = schema.get("then" if fits(schema["if"]) else "else", True)
        yield from _problems(value, branch, root, at, depth + 1)
    if isinstance(value, str):
        yield from _of_text(value, schema, here)
    elif isinstance(value, dict):
        yield from _of_object(value, schema, root, at, depth)
    elif isinstance(value, list):
        yield from _of_array(value, schema, root, at, depth)
    elif TYPES["number"](value):
        yield from _of_number(value, schema, here)


def _resolved(reference: str, root: Any) -> Any:
    """`#/$defs/name`, within the schema and nowhere else."""
    found = root
    parts = reference.split("/")
    if parts[0] != "#":
        raise BadRecord(f"$ref {shown(reference)} leads out of the schema", "Expected '#/$defs/NAME'.")
    for part in parts[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or part not in found:
            raise BadRecord(f"$ref {shown(reference)} leads nowhere", "Expected '#/$defs/NAME'.")
        found = found[part]
    return found


def _of_text(value: str, schema: Mapping[str, Any], here: str) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"{here}{shown(value)} is shorter than {schema['minLength']}"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{here}{shown(value)} is longer than {schema['maxLength']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{here}{shown(value)} does not fit {shown(schema['pattern'])}"


def _of_number(value: float, schema: Mapping[str, Any], here: str) -> Iterator[str]:
    for key, wrong, words in (
        ("minimum", lambda a, b: a < b, "less than"),
        ("maximum", lambda a, b: a > b, "more than"),
        ("exclusiveMinimum", lambda a, b: a <= b, "not more than"),
        ("exclusiveMaximum", lambda a, b: a >= b, "not less than"),
    ):
        if key in schema and wrong(value, schema[key]):
            yield f"{here}{value} is {words} {schema[key]}"
    # As decimals: 0.3 is a multiple of 0.1, which in binary it is not.
    if "multipleOf" in schema:
        with localcontext() as context:
            context.prec = 5000  # a number in JSON has 4,300 digits at most
            if Decimal(str(value)) % Decimal(str(schema["multipleOf"])):
                yield f"{here}{value} is no multiple of {schema['multipleOf']}"


def _of_object(value: dict[str, Any], schema: Mapping[str, Any], root: Any, at: str, depth: int) -> Iterator[str]:
    here = f"at {at}: " if at else ""
    for name in schema.get("required", []):
        if name not in value:
            yield f"{here}{name!r} is missing"
    if len(value) < schema.get("minProperties", 0):
        yield f"{here}it has fewer than {schema['minProperties']} properties"
    if len(value) > schema.get("maxProperties", len(value)):
        yield f"{here}it has more than {schema['maxProperties']} properties"
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, part in value.items():
        inner = [properties[name]] if name in properties else []
        inner += [each for words, each in patterns.items() if re.search(words, name)]
        if not inner and "additionalProperties" in schema:
            if schema["additionalProperties"] is False:
                yield f"{here}{shown(name)} is not among its properties"
            inner = [schema["additionalProperties"]]
        if "propertyNames" in schema:
            yield from _problems(name, schema["propertyNames"], root, f"{at}/{name}", depth + 1)
        for each in inner:
            yield from _problems(part, each, root, f"{at}/{name}", depth + 1)


def _of_array(value: list[Any], schema: Mapping[str, Any], root: Any, at: str, depth: int) -> Iterator[str]:
    here = f"at {at}: " if at else ""
    if len(value) < schema.get("minItems", 0):
        yield f"{here}it has {len(value)} items, fewer than {schema['minItems']}"
    if len(value) > schema.get("maxItems", len(value)):
        yield f"{here}it has {len(value)} items, more than {schema['maxItems']}"
    if schema.get("uniqueItems") and len({_key(each) for each in value}) < len(value):
        yield f"{here}two items are the same"
    first = schema.get("prefixItems", [])
    for number, part in enumerate(value):
        inner = first[number] if number < len(first) else schema.get("items", True)
        yield from _problems(part, inner, root, f"{at}/{number}", depth + 1)
    if "contains" in schema and not any(
        next(_problems(part, schema["contains"], root, at, depth + 1), None) is None for part in value
    ):
        yield f"{here}it contains nothing that it has to"


def _key(value: Any) -> str:
    """Equal for equal JSON: 1 and 1.0 are one number, 1 and true are not the same."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_key(part)}" for name, part in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_key, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)


def _same(a: Any, b: Any) -> bool:
    return _key(a) == _key(b)
