"""Tasks measured, as files: OUT/NAME/TASK.json with the numbers and what they rest on, OUT/NAME/TASK.jsonl with every
question. One task of one model is one file, so that a kill loses at most that, and nothing is measured twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from rather.errors import BadFile, BadSetting, nearest, visible
from rather.evaluate.results import Found, matches, read_result, write_result
from rather.evaluate.tasks import TASKS, Task, Tools
from rather.evaluate.tasks.documents import Document, digest, documents, shots_of, some_of
from rather.evaluate.tasks.running import TaskConfig, run_task
from rather.models.fingerprint import fingerprint_folder
from rather.models.load import Policy, folder_of, load_policy
from rather.records.lines import json_rows, write_lines

Say = Callable[[str], None]
ENDINGS = (".jsonl", ".jsonl.gz", ".parquet", "")  # of a source in a folder of data; "" is a folder of Parquet


class EvaluateConfig(TaskConfig):
    """Tasks, and what grades texts."""

    toxicity: str = Field("words", description="scorer: words (a list of English insults), or a classifier's folder")
    toxic_label: str | None = Field(None, description="which label of the classifier says toxic")
    judge: str | None = Field(None, description="OpenAI-compatible endpoint that says whether answers are true")
    judge_model: str | None = Field(None, description="the endpoint's model")


@dataclass(frozen=True)
class Model:
    """name: of its results    place: folder or hub id    out: the folder that its results are in by default"""

    name: str
    place: str
    out: Path

    @classmethod
    def named(cls, word: str) -> Model:
        """RUN/NAME, RUN/NAME/checkpoint, any model folder, or a hub id."""
        path = Path(word)
        if (path / "checkpoint" / "config.json").is_file():
            path = path / "checkpoint"
        if path.name == "checkpoint" and path.is_dir():
            return cls(path.resolve().parent.name, str(path), path.parent.parent / "evaluate" / "tasks")
        return cls(path.resolve().name if path.is_dir() else path.name, word, Path("evaluate") / "tasks")

    @cached_property
    def weights(self) -> str:
        return fingerprint_folder(folder_of(self.place))

    @cached_property
    def policy(self) -> Policy:
        return load_policy(self.place)


@dataclass(frozen=True)
class Questions:
    """Of one task: those to be asked, and the examples before each, which are never asked themselves."""

    task: Task
    source: str
    asked: Sequence[Document]
    shots: Sequence[Document]

    @classmethod
    def of(cls, task: Task, source: str | None, shots: str | None, config: TaskConfig) -> Questions:
        """source, shots: where the questions and the examples are; the hub's own where it is not said.

        Examples of a source of one's own come from it too, unless others are named: they are then not asked.
        """
        count = task.shots if config.shots is None else config.shots
        where = source or task.hub
        if not where:
            raise BadSetting(
                f"{task.name} is on no hub in a form that can be read.",
                "Expected a file.",
                f"For example:  {task.name}=FILE.jsonl",
            )
        found = documents(where, task.read)
        beside = shots or (None if source else task.hub_shots or None)
        examples: list[Document] = []
        if count:
            pool = documents(beside, task.read) if beside else found
            examples = shots_of(pool, count, task.name, config.seed)
            if beside is None:
                shown = {document.cluster for document in examples}
                found = [document for document in found if document.cluster not in shown]
                if not found:
                    raise BadFile(
                        f"{visible(where)} has {len(shown)} passages, and all are examples.", "Expected more."
                    )
        return cls(task, where, some_of(found, config.n, task.name), examples)


def sources_in(folder: Path) -> dict[str, str]:
    """TASK and TASK.shots -> the file or folder of that name."""
    if not folder.is_dir():
        raise BadFile(f"There is no folder {visible(str(folder))}.", "Expected one with files TASK.jsonl.")
    found = {}
    for name in (*TASKS, *(f"{name}.shots" for name in TASKS)):
        for ending in ENDINGS:
            path = folder / f"{name}{ending}"
            if path.is_dir() if not ending else path.is_file():
                found[name] = str(path)
                break
    return found


def known_task(name: str) -> Task:
    if name not in TASKS:
        raise BadSetting(f"There is no task {name!r}.{nearest(name, TASKS)}", f"Tasks: {', '.join(TASKS)}.")
    return TASKS[name]


def task_path(out: Path, model: str, task: str) -> Path:
    return out / model / f"{task}.json"


def about(model: Model, questions: Questions, config: EvaluateConfig, tools: Tools) -> dict[str, Any]:
    """What the numbers depend on: the same gives the same."""
    task = questions.task
    return {
        "model": model.name,
        "weights": model.weights,
        "task": task.name,
        "version": task.version,
        "questions": digest(questions.asked),
        "shots": len(questions.shots),
        "examples": digest(questions.shots),
        "too long": config.too_long,
        "toxicity scorer": tools.toxicity.name if tools.toxicity and task.needs == "toxicity" else None,
        "truth judge": tools.truth.name if tools.truth and task.name == "truthfulqa" else None,
    }


def measure_task(
    model: Model, questions: Questions, config: EvaluateConfig, tools: Tools, out: Path, again: bool, say: Say
) -> Found:
    """From the file where nothing changed."""
    path = task_path(out, model.name, questions.task.name)
    rests_on = about(model, questions, config, tools)
    before = None if again else read_result(path)
    rows_path = path.with_suffix(".jsonl")
    if before is not None and matches(before, rests_on) and rows_path.is_file():
        return before
    began = time.monotonic()
    measured, rows = run_task(model.policy, questions.task, questions.asked, questions.shots, config, tools, say)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # the numbers are written last: while rows and numbers differ there are no numbers
    write_lines(rows_path, rows)
    return write_result(path, rests_on | {"source": questions.source}, measured, began)


def read_task(out: Path, model: str, task: str) -> tuple[Found, list[Mapping[str, Any]]] | None:
    """What was measured, with every question; None where nothing was."""
    path = task_path(out, model, task)
    found = read_result(path)
    if found is None:
        return None
    rows: list[Mapping[str, Any]] = []
    for row in json_rows(path.with_suffix(".jsonl")):
        fields = row.fields
        grades, counts = fields.get("grades"), fields.get("counts", {})
        named = all(isinstance(fields.get(key), str) for key in ("id", "way", "cluster"))
        fine = isinstance(grades, dict) and isinstance(counts, dict) and all(map(_is_grade, grades.values()))
        if not named or not fine or not all(map(_is_column, counts.values())):
            raise row.bad(
                "this is no row of a measured task.", "Expected id, way, cluster and grades of 0 to 1.", AGAIN
            )
        rows.append(fields)
    return found, rows


AGAIN = "Measure it again:  rather evaluate MODEL ... --again"


def _is_grade(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_column(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) and each >= 0 for each in value)
