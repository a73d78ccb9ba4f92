"""The answers that measurements rest on, as a file of `records.Samples`; judged anew when they are needed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from rather.errors import BadFile, BadRecord
from rather.evaluate.asked import Asked
from rather.evaluate.asking import Said
from rather.evaluate.judged import Answer, Judges
from rather.records import Response, Samples, read

AGAIN = "Measure it again:  rather world measure RUN NAME --again"


def samples_of(model: str, way: str, asked: Sequence[Asked], said: Sequence[tuple[Said, ...] | None]) -> list[Samples]:
    """One record for each prompt that the model could read; its id is the prompt's and the way of asking."""
    return [
        Samples(
            id=f"{one.id} {way}",
            prompt=one.prompt.text,
            category=one.prompt.category,
            source=one.prompt.source,
            split="test",
            responses=tuple(Response(text=text.text, finished=text.finished, model=model) for text in texts),
            lengths=tuple(len(text.tokens) for text in texts),
        )
        for one, texts in zip(asked, said, strict=True)
        if texts is not None
    ]


def read_samples(
    path: Path, judges: Judges, asked: Sequence[Asked], only: Collection[str] | None = None
) -> dict[str, list[Answer]]:
    """way -> answers, judged as they were when the file was written: what is seen in a text is up to the world alone.

    only: ids of the prompts that are wanted
    """
    known = {one.id: one for one in asked}
    found: dict[str, list[Answer]] = {}
    try:
        records = list(read(path, Samples, shape="samples"))
    except (BadFile, BadRecord) as error:
        raise BadFile(error.found if isinstance(error, BadFile) else str(error), error.expected, AGAIN) from None
    if not records:
        raise BadFile(f"{path} holds no samples.", "Expected what was written when the model was measured.", AGAIN)
    for record in records:
        id, _, way = record.id.partition(" ")
        if id not in known or known[id].prompt.text != record.prompt:
            raise BadFile(
                f"{path}: this world asks no {id!r} in these words.", "Expected samples of the run's world.", AGAIN
            )
        if only is None or id in only:
            answers = (judges.answer(known[id], said.text, said.finished) for said in record.responses)
            found.setdefault(way, []).extend(answers)
    return found
