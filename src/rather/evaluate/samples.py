"""The answers that measurements rest on, as lines that people and `records.read` can read; judged anew when needed."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rather.errors import BadFile
from rather.evaluate.asked import Asked
from rather.evaluate.asking import Said
from rather.evaluate.judged import Answer, Judges
from rather.records.lines import write_lines

Row = dict[str, Any]


def row_of(asked: Asked, way: str, answers: Sequence[Said] | None) -> Row:
    """A prompt with its answers. answers: None where the prompt was too long for the model"""
    return {
        "id": f"{asked.id} {way}",
        "prompt": asked.prompt.text,
        "category": asked.prompt.category,
        "source": asked.prompt.source,
        "split": "test",
        "asked": asked.id,
        "way": way,
        "responses": [{"text": said.text, "finished": said.finished} for said in answers or ()],
    }


def write_samples(path: Path, rows: Sequence[Row]) -> None:
    write_lines(path, rows)


def read_samples(
    path: Path, judges: Judges, asked: Sequence[Asked], only: Collection[str] | None = None
) -> dict[str, list[Answer]]:
    """way -> answers, judged as they were when the file was written: what is seen in a text is up to the world alone.

    only: ids of the prompts that are wanted
    """
    known = {one.id: one for one in asked}
    found: dict[str, list[Answer]] = {}
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, str(error)) from None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            one = known[row["asked"]]
            if one.prompt.text != row["prompt"]:
                raise KeyError(row["asked"])
            if only is not None and one.id not in only:
                continue
            answers = [judges.answer(one, str(said["text"]), bool(said["finished"])) for said in row["responses"]]
            found.setdefault(str(row["way"]), []).extend(answers)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _bad(f"{path}:{number}", f"{type(error).__name__} {error}") from None
    return found


def _bad(where: str | Path, why: str) -> BadFile:
    return BadFile(
        f"{where} cannot be read as samples of this world: {why}.",
        "Expected what was written when the model was measured.",
        "Measure it again:  rather world measure RUN NAME --again",
    )
