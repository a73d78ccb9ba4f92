"""What is in a file of records: kinds, counts, lengths, duplicates, ties, problems. One pass, texts kept as hashes."""

from __future__ import annotations

import hashlib
import statistics
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rather.errors import RatherError
from rather.records.lines import Problems, without_place
from rather.records.reading import PLURAL, read
from rather.records.types import Comparison, Demonstration, PromptText, Ranking, Rating, Record, Samples, Text


@dataclass
class Survey:
    """One file. Lengths are in characters; `longer_wins` counts pairs of different length that have a winner."""

    file: str
    shape: str = ""
    words: str = ""
    kind: str = ""
    rows: int = 0
    records: int = 0
    problems: Problems = field(default_factory=Problems)
    error: RatherError | None = None  # why the file could not be read, or not to its end
    left_out: Counter[str] = field(default_factory=Counter)
    labelers: Counter[str] = field(default_factory=Counter)
    k: Counter[int] = field(default_factory=Counter)  # responses -> rankings, or samples
    pairs: int = 0
    ties: int = 0
    longer_wins: int = 0
    pairs_of_two_lengths: int = 0
    prompt_lengths: array[int] = field(default_factory=lambda: array("L"))
    response_lengths: array[int] = field(default_factory=lambda: array("L"))
    prompts: Counter[bytes] = field(default_factory=Counter)  # hash -> how often it was asked
    groups: set[str] = field(default_factory=set)
    whole: Counter[bytes] = field(default_factory=Counter)  # hash of prompt and response, or of prompt and responses
    ids: set[bytes] = field(default_factory=set)

    @property
    def repeated_prompts(self) -> int:
        return sum(n - 1 for n in self.prompts.values())

    @property
    def repeated_whole(self) -> int:
        return sum(n - 1 for n in self.whole.values())


def survey(
    file: str | Path,
    *,
    shape: str | None = None,
    turns: Literal["last", "each"] = "last",
    keep: int = 10,
    on_progress: Callable[[float], None] | None = None,
) -> Survey:
    """Read the whole file and count. What stops the reading is kept in `error`; bad rows are counted in `problems`."""
    seen = Survey(str(file), problems=Problems(keep))
    try:
        reader = read(file, shape=shape, turns=turns, on_problem=seen.problems, on_progress=on_progress)
        seen.shape, seen.words, seen.kind = reader.shape.name, reader.shape.words, PLURAL[reader.kind.__name__]
        seen.left_out = reader.left_out
        for record in reader:
            _count(seen, record)
            seen.rows = reader.rows
        seen.rows = reader.rows
    except RatherError as error:
        seen.error = error
    return seen


def _count(seen: Survey, record: Record) -> None:
    seen.records += 1
    seen.ids.add(_hash(record.id))  # type: ignore[attr-defined]  # every record that is a row has one
    if labeler := getattr(record, "labeler", None):
        seen.labelers[labeler] += 1
    match record:
        case Text():
            seen.whole[_hash(_words(record.text))] += 1
            seen.response_lengths.append(len(record.text))
            return
        case Demonstration():
            said = [record.response]
        case Samples():
            said = [response.text for response in record.responses]
            seen.k[len(said)] += 1
        case Rating():
            said = [record.response.text]
        case Comparison():
            said = [record.a.text, record.b.text]
            ranks = {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}[record.preferred]
            _count_pairs(seen, said, ranks)
        case Ranking():
            said = [response.text for response in record.responses]
            seen.k[len(said)] += 1
            _count_pairs(seen, said, record.ranks)
        case _:
            said = []
    asked: PromptText = record.prompt  # type: ignore[attr-defined]  # all others returned above
    plain = prompt_text(asked)
    seen.prompt_lengths.append(len(asked) if isinstance(asked, str) else sum(len(m.content) for m in asked))
    group = getattr(record, "group_id", None) or getattr(record, "group", None)
    if group is None or group not in seen.groups:  # the pairs of one ranking, several labelers: asked once
        seen.prompts[_hash(_words(plain))] += 1
    if group is not None:
        seen.groups.add(group)
    if said:
        seen.response_lengths.extend(len(text) for text in said)
        # The labeler is part of it: two people who say the same are two records, one person twice is a copy.
        seen.whole[_hash("\0".join([labeler or "", _words(plain), *map(_words, said)]))] += 1


def _count_pairs(seen: Survey, texts: list[str], ranks: tuple[int, ...]) -> None:
    for i in range(len(texts)):
        for j in range(i):
            seen.pairs += 1
            if ranks[i] == ranks[j]:
                seen.ties += 1
            elif len(texts[i]) != len(texts[j]):
                seen.pairs_of_two_lengths += 1
                seen.longer_wins += (len(texts[i]) > len(texts[j])) == (ranks[i] < ranks[j])


def prompt_text(prompt: PromptText) -> str:
    """The prompt as one text: a single turn of the user is what it says, more turns are marked with their roles."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt)


def _words(text: str) -> str:
    return " ".join(text.split())


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


@dataclass(frozen=True)
class Lengths:
    n: int
    mean: float
    median: float
    p95: int
    max: int


def lengths(characters: array[int]) -> Lengths | None:
    """None where there is nothing to measure: a mean of nothing is not 0."""
    if not characters:
        return None
    ordered = sorted(characters)
    p95 = ordered[max(-(-95 * len(ordered) // 100) - 1, 0)]  # nearest rank: the smallest that 95 % do not exceed
    return Lengths(len(ordered), statistics.fmean(ordered), statistics.median(ordered), p95, ordered[-1])


def shared_between(one: Survey, other: Survey) -> dict[str, int]:
    """What two files have in common: a prompt of the validation file that is also in the training file is a leak."""
    return {
        "ids": len(one.ids & other.ids),
        "prompts": len(one.prompts.keys() & other.prompts.keys()),
        "whole": len(one.whole.keys() & other.whole.keys()),
    }


def as_json(seen: Survey) -> dict[str, Any]:
    def of(characters: array[int]) -> dict[str, float] | None:
        found = lengths(characters)
        return None if found is None else vars(found)

    return {
        "file": seen.file,
        "shape": seen.shape or None,
        "read_as": seen.words or None,
        "kind": seen.kind or None,
        "rows": seen.rows,
        "records": seen.records,
        "prompts": len(seen.prompts),
        "labelers": dict(seen.labelers.most_common()),
        "k": {str(k): n for k, n in sorted(seen.k.items())},
        "pairs": seen.pairs,
        "ties": seen.ties,
        "ties_share": seen.ties / seen.pairs if seen.pairs else None,
        "longer_wins": seen.longer_wins,
        "longer_wins_of": seen.pairs_of_two_lengths,
        "longer_wins_share": seen.longer_wins / seen.pairs_of_two_lengths if seen.pairs_of_two_lengths else None,
        "prompt_characters": of(seen.prompt_lengths),
        "response_characters": of(seen.response_lengths),
        "repeated_prompts": seen.repeated_prompts,
        "repeated_records": seen.repeated_whole,
        "left_out": dict(seen.left_out),
        "problems": seen.problems.count,
        "first_problems": [
            {"line": problem.line, "found": without_place(problem), "expected": problem.expected, "do": problem.do}
            for problem in seen.problems.first
        ],
        "error": None if seen.error is None else str(seen.error),
    }
