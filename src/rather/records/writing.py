"""`write` and `convert`: records to a file, in our own shapes or in those other programs read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from rather.errors import BadFile, BadRecord, BadSetting, visible
from rather.records.fields import ABOUT
from rather.records.lines import Problem, raise_it, write_lines
from rather.records.pairs import gather, ranking_of_two
from rather.records.reading import PLURAL, as_kind, can_be, read
from rather.records.shapes import shape_named
from rather.records.transcripts import transcript_of
from rather.records.types import (
    OF_SAMPLES,
    Comparison,
    Demonstration,
    Message,
    Prompt,
    PromptText,
    Ranking,
    Rating,
    Record,
    Samples,
    Text,
)
from rather.records.words import quote

OWN = {Prompt: "prompt", Text: "text", Demonstration: "prompt/response", Ranking: "rankings", Samples: "samples",
       Comparison: "comparison", Rating: "rating"}  # fmt: skip


def write(path: str | Path, records: Iterable[Record], shape: str | None = None) -> int:
    """Write the records, one per line; the file is there whole or not at all. Returns how many there were.

    All are of one kind. Without a shape it is our own of that kind, which loses nothing.
    """

    def rows() -> Iterator[dict[str, Any]]:
        kind: type[Record] | None = None
        for record in records:
            kind = kind or type(record)
            yield row_of(record, shape or OWN[kind], kind)

    return write_lines(Path(path), rows())


@dataclass
class Converted:
    """What a conversion did.

    words: how the source was read     rows: how many were written
    left_out: comparisons that chosen and rejected cannot say, by reason
    kept_as_pairs: groups of pairs that are no single ranking and were written as rankings of two, by reason
    """

    words: str
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    kept_as_pairs: Counter[str] = field(default_factory=Counter)


def convert(
    source: str | Path,
    path: str | Path,
    to: str,
    *,
    shape: str | None = None,
    turns: Literal["last", "each"] = "last",
    on_problem: Problem = raise_it,
    on_progress: Callable[[float], None] | None = None,
) -> Converted:
    """Read the records of `source` and write them to `path` in the shape `to`.

    on_problem: called with each row that cannot be read and each record that the shape cannot hold, which are then
        left out; without it the first one is raised.
    """
    wanted = shape_named(to)
    if os.path.exists(path):
        raise BadFile(f"{visible(str(path))} is there already.", do="Choose another name, or remove it first.")
    reader = read(source, shape=shape, turns=turns, on_problem=on_problem, on_progress=on_progress)
    if not can_be(reader.kind, wanted.kind):
        raise BadSetting(
            f"{visible(str(source))} holds {PLURAL[reader.kind.__name__]} (read as {reader.shape.words}).",
            f"They cannot be written as {wanted.words}, which are {PLURAL[wanted.kind.__name__]}.",
        )
    done = Converted(reader.shape.words)

    def records() -> Iterator[Record]:
        if (reader.kind, wanted.kind) == (Comparison, Ranking):
            gathered = gather(cast("Iterator[Comparison]", reader))
            done.kept_as_pairs.update(gathered.reasons.values())
            yield from gathered.rankings
            yield from map(ranking_of_two, gathered.comparisons)
        else:
            yield from as_kind(reader, wanted.kind)

    def rows() -> Iterator[dict[str, Any]]:
        for record in records():
            why = _unsayable(record, to)
            if why:
                done.left_out[why] += 1
                continue
            try:
                yield row_of(record, to, wanted.kind)
            except BadRecord as problem:
                on_problem(problem)

    done.rows = write_lines(Path(path), rows())
    return done


def _unsayable(record: Record, shape: str) -> str:
    """Why a comparison has no chosen and no rejected side, for the shapes that are made of these."""
    if not isinstance(record, Comparison) or shape in ("pairs", "comparison"):
        return ""
    if record.preferred == "tie":
        return "neither was better"
    if not (record.a.text.strip() and record.b.text.strip()):
        return "one of the two is empty"
    return "both have the same text" if record.a.text == record.b.text else ""


def row_of(record: Record, shape: str, kind: type[Record]) -> dict[str, Any]:
    """The record as a row of the shape. What the shape cannot hold is refused, not bent."""
    if not isinstance(record, kind):
        raise BadSetting(
            f"a {type(record).__name__.lower()} among {PLURAL[kind.__name__]}.", "Expected one kind of record per file."
        )
    wanted = shape_named(shape)
    if wanted.kind is not kind:
        raise BadSetting(f"{PLURAL[kind.__name__]} are not written as {quote(shape)}.", f"Try {OWN[kind]!r}.")
    about = {name: getattr(record, name) for name in ABOUT if getattr(record, name, None) is not None}
    try:
        body = _body(record, shape)
    except ValueError as error:
        name = record.id  # type: ignore[attr-defined]
        raise BadRecord(f"the record {quote(name)} cannot be written as {shape}: {error}.") from None
    return {"id": record.id} | body | about  # type: ignore[attr-defined]


def _body(record: Record, shape: str) -> dict[str, Any]:
    match record:
        case Prompt():
            return {shape: _prompt(record.prompt, shape)}
        case Demonstration() if shape == "messages":
            answer = {"role": "assistant", "content": record.response}
            return {"messages": [*_messages(record.prompt), answer]}
        case Demonstration() if shape == "instances":
            instance = {"input": "", "output": record.response}
            return {"instruction": _prompt(record.prompt, "instruction"), "instances": [instance]}
        case Demonstration():
            prompt, response = shape.split("/")
            return {prompt: _prompt(record.prompt, prompt), response: record.response}
        case Comparison() if shape == "pairs":
            label = {"a": 1, "b": 0, "tie": 0.5}[record.preferred]
            sides = [_plain(record.a), _plain(record.b)]
            return {"prompt": _prompt(record.prompt, "prompt"), "responses": sides, "label": label} | _shown(record)
        case Comparison() if shape != "comparison":
            return _chosen(record, shape)
        case Samples():
            sides = [response.model_dump(mode="json", exclude_none=True) for response in record.responses]
            noted = {name: list(values) for name in OF_SAMPLES if (values := getattr(record, name)) is not None}
            return {"prompt": _prompt(record.prompt, "prompt"), "responses": sides} | noted
        case Ranking():
            shown = {"displayed": list(record.displayed)} if record.displayed else {}
            sides = [_plain(response) for response in record.responses]
            return {"prompt": _prompt(record.prompt, "prompt"), "responses": sides, "ranks": list(record.ranks)} | shown
    return {name: value for name, value in _plain(record).items() if name != "id" and name not in ABOUT}


def _plain(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_defaults=True)


def _prompt(prompt: PromptText, field: str) -> str | list[dict[str, str]]:
    """The prompt as text or as messages; an instruction or a question is one turn, which is written as its text."""
    if isinstance(prompt, str):
        return _messages(prompt) if field == "messages" else prompt
    if field in ("prompt", "messages"):
        return _messages(prompt)
    if len(prompt) > 1:
        raise ValueError(f"{field} holds one turn and the prompt has {len(prompt)}")
    return prompt[0].content


def _messages(prompt: PromptText) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in _turns(prompt)]


def _turns(prompt: PromptText) -> tuple[Message, ...]:
    return (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt


def _shown(record: Comparison) -> dict[str, str]:
    return {"displayed": record.displayed} if record.displayed else {}


def _chosen(record: Comparison, shape: str) -> dict[str, Any]:
    if why := _unsayable(record, shape):
        raise ValueError(f"{why}, so none is chosen")
    sides, shown = (record.a, record.b), _shown(record)
    if record.preferred == "b":
        sides = (record.b, record.a)
        shown = {"displayed": record.displayed[::-1]} if record.displayed else {}
    row: dict[str, Any] = {}
    for side, response in zip(("chosen", "rejected"), sides, strict=True):
        answer = Message(role="assistant", content=response.text)
        if shape == "hh":
            row[side] = transcript_of([*_turns(record.prompt), answer])
        elif shape == "chosen/rejected":
            row[side] = [*_messages(record.prompt), {"role": "assistant", "content": response.text}]
        else:
            row[side] = response.text
        row |= {f"{name}_{side}": value for name, value in _plain(response).items() if name != "text"}
    if "/" in shape and shape != "chosen/rejected":
        field = shape.split("/")[0]
        row = {field: _prompt(record.prompt, field)} | row
    return row | shown
