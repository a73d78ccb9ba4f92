"""A task on a policy: prompts with their shots, likelihoods or greedy answers, grades, and numbers with intervals.

A question's prompt is: the way's preamble, the examples, the query. It is a page to go on with, without a chat template
(asking.py). What is written is greedy and cut at the first line break (app. D).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from rather.config import Config
from rather.errors import BadModel, BadSetting
from rather.evaluate.asking import ask, encoder_of
from rather.evaluate.judged import share
from rather.evaluate.likelihood import choice_trees, likelihoods
from rather.evaluate.tasks.documents import Document
from rather.evaluate.tasks.task import Task, Tools
from rather.models.load import Policy, window_of
from rather.rollout import Sampling
from rather.statistics.columns import clusters_of
from rather.statistics.intervals import percentile_interval, resampled

Say = Callable[[str], None]
PART = 256  # questions between two lines of progress


class TaskConfig(Config):
    """How tasks are run. Appendix D where it says."""

    n: int | None = Field(None, ge=2, description="questions at most, the same for every model; none: all")
    shots: int | None = Field(None, ge=0, description="examples before each; none: as many as app. D has; 0: none")
    seed: int = Field(0, ge=0, description="of the draw of examples; not in the paper")
    too_long: Literal["refuse", "leave out"] = Field(
        "refuse", description="prompts beyond the model's window: the short ones alone are another benchmark"
    )
    slots: int = Field(64, ge=1, description="sequences decoded side by side; changes the speed and no number")


def preamble(task: Task, way: str, shots: Sequence[Document]) -> str:
    """What stands before every query."""
    examples = [document.query + document.answer for document in shots]
    return "".join(part + task.between for part in (task.ways[way], *examples) if part)


def run_task(
    policy: Policy,
    task: Task,
    documents: Sequence[Document],
    shots: Sequence[Document],
    config: TaskConfig,
    tools: Tools,
    say: Say = lambda part: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(what to write about it, one row for each question and way)"""
    rows: list[dict[str, Any]] = []
    left_out: dict[str, int] = {}
    before = {way: preamble(task, way, shots) for way in task.ways}
    for way, start in before.items():
        found = [{"id": d.id, "way": way, "cluster": d.cluster, "query": d.query, "grades": {}} for d in documents]
        kept = set(range(len(documents)))
        if task.chosen is not None:
            kept &= _choose(policy, task, documents, start, config, found, lambda part, w=way: say(f"{w} {part}"))  # type: ignore[misc]
        if task.written is not None:
            kept &= _write(policy, task, documents, start, config, tools, found, lambda part, w=way: say(f"{w} {part}"))  # type: ignore[misc]
        left_out[way] = len(documents) - len(kept)
        rows += [row for at, row in enumerate(found) if at in kept]
    metrics = estimates(task, rows)
    if task.main not in metrics:
        raise BadSetting(f"{task.name}: none of the {len(documents)} questions can be graded.", "Expected some.")
    measured = {
        "questions": len(documents),
        "left out": left_out,
        "preambles": before,
        "main": task.main,
        "metrics": metrics,
    }
    return measured, rows


def _choose(
    policy: Policy, task: Task, documents: Sequence[Document], start: str, config: TaskConfig,
    rows: Sequence[dict[str, Any]], say: Say,
) -> set[int]:  # fmt: skip
    assert task.chosen is not None, "who calls this has looked"
    # A prompt ends in no space: a sentence that follows a preamble brings the space or the break itself.
    prompts = [(start + d.query).rstrip() for d in documents]
    lead = [start[len(start.rstrip()) :] if not d.query else "" for d in documents]
    choices = [[gap + choice for choice in d.choices] for gap, d in zip(lead, documents, strict=True)]
    trees = choice_trees(policy, prompts, choices)
    kept = _fitting(policy, task, [tree.longest for tree in trees], config)
    for at in range(0, len(kept), PART):
        say(f"{at:,} of {len(kept):,} questions")
        part = kept[at : at + PART]
        for which, found in zip(part, likelihoods(policy, [trees[which] for which in part]), strict=True):
            row = rows[which]
            row["logprobs"] = [one.total for one in found]
            row["tokens"] = [len(one.logprobs) for one in found]
            row["grades"] |= task.chosen(documents[which], found)
    return set(kept)


def _write(
    policy: Policy, task: Task, documents: Sequence[Document], start: str, config: TaskConfig, tools: Tools,
    rows: Sequence[dict[str, Any]], say: Say,
) -> set[int]:  # fmt: skip
    assert task.written is not None, "who calls this has looked"
    prompts = [start + document.query for document in documents]
    sampling = Sampling(max_new_tokens=task.max_new_tokens, temperature=0, slots=config.slots)
    lengths = [len(ids) + sampling.max_new_tokens for ids in encoder_of(policy).prompts(prompts)]
    kept = _fitting(policy, task, lengths, config)
    said: dict[int, str] = {}
    for at in range(0, len(kept), PART):
        say(f"{at:,} of {len(kept):,} answers")
        part = kept[at : at + PART]
        answers = ask(policy, [prompts[which] for which in part], sampling, seed=0, end="\n")
        for which, of in zip(part, answers, strict=True):
            assert of is not None, "what does not fit was left out before"
            said[which] = cut(of[0].text)
    grades = task.written([documents[which] for which in kept], [said[which] for which in kept], tools)
    for which, graded in zip(kept, grades, strict=True):
        row = rows[which]
        row["said"] = said[which]
        row["grades"] |= graded
        if task.counted is not None:
            row["counts"] = task.counted(documents[which], said[which])
    return set(kept)


def cut(text: str) -> str:
    """Up to the first line break (app. D); one that stands first is an answer of nothing."""
    return text.partition("\n")[0].strip()


def _fitting(policy: Policy, task: Task, lengths: Sequence[int], config: TaskConfig) -> list[int]:
    window = window_of(policy.model.config)
    kept = [at for at, length in enumerate(lengths) if window is None or length <= window]
    if len(kept) < len(lengths) and (config.too_long == "refuse" or not kept):
        raise BadModel(
            f"{task.name}: {len(lengths) - len(kept):,} of {len(lengths):,} prompts do not fit the model's window of "
            f"{window} tokens; the longest has {max(lengths):,} with its answer.",
            "Expected a window that holds every one: a score on the short ones is another benchmark.",
            "Fewer examples:  shots=0     Or only those that fit, counted:  too_long='leave out'",
        )
    return kept


# ---- numbers


def metric_name(way: str, metric: str) -> str:
    return f"{way}: {metric}" if way else metric


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, tuple[float, str]]]:
    """metric -> question -> (grade, cluster)"""
    found: dict[str, dict[str, tuple[float, str]]] = {}
    for row in rows:
        for metric, grade in row["grades"].items():
            found.setdefault(metric_name(row["way"], metric), {})[row["id"]] = (float(grade), row["cluster"])
    return found


def counts_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, tuple[list[int], str]]]:
    """corpus metric -> question -> (counts, cluster)"""
    found: dict[str, dict[str, tuple[list[int], str]]] = {}
    for row in rows:
        for metric, counts in row.get("counts", {}).items():
            found.setdefault(metric_name(row["way"], metric), {})[row["id"]] = (counts, row["cluster"])
    return found


def estimates(task: Task, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every metric with n and interval, questions of one passage being one cluster."""
    found = {
        metric: share([grade for grade, _ in of.values()], [cluster for _, cluster in of.values()])
        for metric, of in columns(rows).items()
    }
    for metric, held in counts_of(rows).items():
        table = np.array([counts for counts, _ in held.values()], dtype=np.float64)  # (N, counts)
        found[metric] = of_corpus(task.corpus[metric.rpartition(": ")[2]], table, [c for _, c in held.values()])
    return found


def of_corpus(measure: Callable[[np.ndarray], float], table: np.ndarray, clusters: Sequence[str]) -> dict[str, Any]:
    """A measure of summed counts, with a bootstrap of whole clusters."""
    value = measure(table.sum(0))
    found: dict[str, Any] = {"value": value, "interval": [0.0, 1.0], "n": len(table), "clusters": len(set(clusters))}
    if found["clusters"] > 1:
        index, count = clusters_of("clusters", clusters)
        drawn = resampled(lambda weights: measure(weights @ table), index, count, np.random.default_rng(0))
        found["interval"] = list(percentile_interval(drawn, 0.95))
        found["method"] = f"bootstrap of {count} clusters, {len(drawn)} resamples"
    return found
