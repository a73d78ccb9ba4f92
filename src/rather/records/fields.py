"""What the fields of public files are called, and how one field is read. Shapes are put together from these."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from rather.errors import nearest
from rather.records.lines import Row
from rather.records.types import Message, PromptText, Record, Response
from rather.records.words import explain, listed, quote

PROMPT = ("prompt", "instruction", "question", "messages")
INPUT = ("input", "context")  # second half of an instruction, where there is one
RESPONSE = ("response", "completion", "output", "answer")
RESPONSES = ("responses", "completions", "outputs")
TEXT = ("text", "response", "completion", "output", "answer", "content")  # inside one of several responses
MOST = 1000  # responses to one prompt: they are compared each with each, and nobody ranks as many
ABOUT = ("category", "source", "split", "user", "labeler", "guideline", "group", "group_id", "margin")

R = TypeVar("R", bound=Record)


def present(row: Row, names: Sequence[str]) -> list[str]:
    return [name for name in names if row.has(name)]


def required(row: Row, name: str) -> Any:
    if not row.has(name):
        near = nearest(name, row.fields.keys() - row.used)
        raise row.bad(f"there is no {name!r}.{near}", f"Found: {listed(row.fields) or 'no fields'}.")
    return row.take(name)


def make(kind: type[R], row: Row, **fields: Any) -> R:
    """The record of these fields; what a record refuses is said with file and line."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise row.bad(*explain(error, kind)) from None


def about(row: Row, kind: type[Record]) -> dict[str, Any]:
    """The fields that say where a record comes from, as far as this kind of record has them."""
    return {name: row.take(name) for name in ABOUT if name in kind.model_fields and row.has(name)}


def id_of(row: Row) -> str:
    """The row's own id (a number becomes its text), or file and line: `train:17`."""
    found = row.take("id")
    if found is None:
        stem = row.file.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].split(".", 1)[0]
        return f"{stem}:{row.line}"
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise row.bad(f"id is {quote(found)}.", "Expected a text or a whole number, or no id at all.")
    return str(found)


def prompt_of(row: Row, name: str) -> PromptText:
    """The prompt in the field `name`; an instruction is joined to its input by an empty line."""
    prompt = required(row, name)
    if isinstance(prompt, list | tuple):
        return messages_of(row, name, prompt)
    if not isinstance(prompt, str):
        raise row.bad(f"{name} is {quote(prompt)}.", "Expected text, or a list of messages with role and content.")
    if not prompt.strip():
        raise row.bad(f"{name} is empty.", "Expected a prompt that says something.")
    given = present(row, INPUT) if name == "instruction" else []
    if len(given) > 1:
        raise row.bad("both input and context are there.", "Expected one of them beside the instruction.")
    if given:
        more = row.take(given[0])
        if not isinstance(more, str):
            raise row.bad(f"{given[0]} is {quote(more)}.", "Expected text.")
        prompt = f"{prompt}\n\n{more}" if more.strip() else prompt
    return prompt


def the_field(row: Row, known: Sequence[str], what: str) -> str:
    """The one of the known names that the row has."""
    names = present(row, known)
    if not names:
        required(row, known[0])
    if len(names) > 1:
        raise row.bad(f"{listed(names)} are all there, and each could be the {what}.", "Expected one of them.")
    return names[0]


def the_prompt_field(row: Row) -> str:
    return the_field(row, PROMPT, "prompt")


def messages_of(row: Row, name: str, value: Any) -> tuple[Message, ...]:
    """A list of {role, content}; other fields of a message are left out."""
    if not isinstance(value, list | tuple):
        raise row.bad(f"{name} is {quote(value)}.", "Expected a list of messages with role and content.")
    if not value:
        raise row.bad(f"{name} is an empty list.", "Expected at least one message with role and content.")
    return tuple(_message(row, f"{name}[{n}]", message) for n, message in enumerate(value))


def _message(row: Row, where: str, value: Any) -> Message:
    if not isinstance(value, Mapping) or not {"role", "content"} <= set(value):
        raise row.bad(f"{where} is {quote(value)}.", "Expected an object with role and content.")
    if not isinstance(value["content"], str):
        raise row.bad(f"{where}.content is {quote(value['content'])}.", "Expected text.")
    if value["role"] not in ("system", "user", "assistant", "tool"):
        raise row.bad(f"{where}.role is {quote(value['role'])}.", "Expected system, user, assistant or tool.")
    return make(Message, row, role=value["role"], content=value["content"])


def text_of(row: Row, name: str, value: Any, by_model: bool = False) -> str:
    """A response: text, or a list of one assistant message. A model that is named may have said nothing."""
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], Mapping):
        message = _message(row, f"{name}[0]", value[0])
        if message.role != "assistant":
            raise row.bad(f"{name}[0].role is {message.role}.", "Expected the assistant's message.")
        value = message.content
    if not isinstance(value, str):
        raise row.bad(f"{name} is {quote(value)}.", "Expected text, or a list of one assistant message.")
    if not value.strip() and not by_model:
        raise row.bad(f"{name} is empty.", "Expected a response that says something.")
    return value


def responses_of(
    row: Row, name: str, fewest: int = 2, ours: bool = False
) -> tuple[list[Response], list[Mapping[str, Any]]]:
    """K responses, texts or objects with a text; with each the rest of its object (score, rank).

    ours: written by us, where a model may have said nothing. In other files an empty text is a hole in the data.
    """
    value = required(row, name)
    if not isinstance(value, list | tuple):
        raise row.bad(f"{name} is {quote(value)}.", "Expected a list of responses.")
    if len(value) < fewest:
        why = "Expected two responses or more: one alone has no order." if fewest > 1 else "Expected a response."
        raise row.bad(f"{name} is {quote(value)}.", why)
    if len(value) > MOST:
        raise row.bad(f"{name} is {quote(value)}.", f"Expected at most {MOST:,} responses to one prompt.")
    made, rest = [], []
    for n, one in enumerate(value):
        where = f"{name}[{n}]"
        fields: Mapping[str, Any] = {"text": one} if isinstance(one, str) else one
        if not isinstance(fields, Mapping):
            raise row.bad(f"{where} is {quote(one)}.", "Expected text, or an object with text.")
        texts = [key for key in TEXT if fields.get(key) is not None]
        if len(texts) != 1:
            found = f"the texts {listed(texts)}" if texts else quote(one)
            raise row.bad(f"{where} has {found}.", "Expected one text: the field `text`.")
        text = text_of(row, f"{where}.{texts[0]}", fields[texts[0]], by_model=ours and fields.get("model") is not None)
        extra = {key: fields[key] for key in ("finished", "model", "score") if fields.get(key) is not None}
        if "score" in extra:
            extra["score"] = number(row, f"{where}.score", extra["score"])
        made.append(make(Response, row, text=text, **extra))
        rest.append(fields)
    return made, rest


def number(row: Row, name: str, value: Any) -> float:
    # NaN compares as not smaller, so it lands here too, and so does a whole number that no float holds.
    finite = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not finite:
        raise row.bad(f"{name} is {quote(value)}.", "Expected a finite number; higher is better.")
    return float(value)
