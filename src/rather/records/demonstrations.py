"""Rows of public files as prompts, demonstrations and plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from rather.records.fields import (
    about,
    id_of,
    make,
    messages_of,
    prompt_of,
    required,
    text_of,
    the_prompt_field,
)
from rather.records.lines import Row
from rather.records.types import Demonstration, Prompt, Text
from rather.records.words import quote


def prompt_row(row: Row, prompt: str) -> Iterator[Prompt]:
    if prompt == "prompt" and not row.has("prompt"):
        prompt = the_prompt_field(row)  # asked for with --shape prompt, whatever its field is called here
    yield make(Prompt, row, id=id_of(row), prompt=prompt_of(row, prompt), **about(row, Prompt))


def text_row(row: Row) -> Iterator[Text]:
    text = required(row, "text")
    if not isinstance(text, str) or not text.strip():
        raise row.bad(f"text is {quote(text)}.", "Expected text that says something.")
    yield make(Text, row, id=id_of(row), text=text, **about(row, Text))


def demonstration_row(row: Row, prompt: str, response: str) -> Iterator[Demonstration]:
    if isinstance(row.fields.get("label"), bool):
        # Prompt, completion and thumbs up or down: half of these are answers that somebody disliked.
        raise row.bad(
            "label is true or false: this is unpaired feedback, not a demonstration.",
            "Expected answers that are all worth imitating.",
            "Keep the liked ones:  jq -c 'select(.label) | del(.label)' FILE > FILE.jsonl",
        )
    answer = text_of(row, response, required(row, response))
    asked = prompt_of(row, prompt)
    yield make(Demonstration, row, id=id_of(row), prompt=asked, response=answer, **about(row, Demonstration))


def messages_row(row: Row, turns: Literal["last", "each"] = "last") -> Iterator[Demonstration]:
    """A conversation. turns="last": the last turn is the response; "each": every turn of the assistant is one."""
    said = messages_of(row, "messages", required(row, "messages"))
    if said[-1].role != "assistant":
        raise row.bad(
            f"the conversation ends with the turn of {said[-1].role}.",
            "Expected the assistant's turn last: that is the demonstration.",
            "If these are prompts to be answered, read them with:  --shape prompt",
        )
    answers = [n for n, message in enumerate(said) if message.role == "assistant"]
    answers = answers[-1:] if turns == "last" else answers
    for n in answers:
        if n == 0 or said[n - 1].role == "assistant":
            raise row.bad(
                f"messages[{n}] is an answer, and nothing was asked before it.", "Expected a turn of the user."
            )
        if not said[n].content.strip():
            raise row.bad(f"messages[{n}].content is empty.", "Expected a response that says something.")
        name = id_of(row) if turns == "last" else f"{id_of(row)}/{n}"
        yield make(Demonstration, row, id=name, prompt=said[:n], response=said[n].content, **about(row, Demonstration))


def instances_row(row: Row) -> Iterator[Demonstration]:
    """An instruction with several inputs and their outputs, as in Self-Instruct: each is one demonstration."""
    instances = required(row, "instances")
    if not isinstance(instances, list | tuple) or not instances:
        raise row.bad(f"instances is {quote(instances)}.", "Expected a list of objects with input and output.")
    instruction = prompt_of(row, "instruction")
    for n, one in enumerate(instances):
        if not isinstance(one, Mapping) or not isinstance(one.get("input") or "", str):
            raise row.bad(f"instances[{n}] is {quote(one)}.", "Expected an object with input and output, both text.")
        answer = text_of(row, f"instances[{n}].output", one.get("output"))
        asked = f"{instruction}\n\n{one['input']}" if (one.get("input") or "").strip() else instruction
        name = id_of(row) if len(instances) == 1 else f"{id_of(row)}/{n}"
        yield make(Demonstration, row, id=name, prompt=asked, response=answer, **about(row, Demonstration))
