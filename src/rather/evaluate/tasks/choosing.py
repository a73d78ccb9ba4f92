"""HellaSwag, RTE and SST: one of a few continuations is right, and the likeliest is what the model chose (app. D)."""

from __future__ import annotations

import re

from rather.evaluate.tasks.documents import Document, index, named, text, texts, words
from rather.evaluate.tasks.task import Task, accuracies
from rather.records.lines import Row

MARK = re.compile(r"\[[^\]]*\]")  # [header], [step]: of the pages that the endings came from


def hellaswag_row(row: Row) -> list[Document]:
    """Hub: activity_label, ctx (or ctx_a, ctx_b), endings, label.  Plain: query, choices, gold."""
    if row.has("query"):
        query, endings = words(row, "query"), texts(row, "choices", 2)
        gold = index(row, len(endings), "gold", "label")
    else:
        endings = texts(row, "endings", 2)
        query = f"{_plain(text(row, 'activity_label'))}: {_plain(text(row, 'ctx', 'ctx_a'))}"
        gold = index(row, len(endings), "label")
    choices = tuple(" " + (_plain(ending) or ending.strip()) for ending in endings)
    return [Document(named(row, "id", "ind"), query, choices[gold], choices=choices, truth=gold)]


def _plain(words: str) -> str:
    return " ".join(MARK.sub("", words.replace(" [title]", ". ")).split())


def rte_row(row: Row) -> list[Document]:
    """sentence1 or premise, sentence2 or hypothesis, label (0: it follows)."""
    premise, hypothesis = words(row, "sentence1", "premise"), words(row, "sentence2", "hypothesis")
    query = f"{premise}\nquestion: {hypothesis} True or False?\nanswer:"
    gold = index(row, 2, "label")
    choices = (" True", " False")
    return [Document(named(row, "id", "idx"), query, choices[gold], choices=choices, truth=gold)]


def sst_row(row: Row) -> list[Document]:
    """sentence, label (1: positive)."""
    query = f"Text: {words(row, 'sentence', 'text')}\nLabel:"
    gold = index(row, 2, "label")
    choices = (" negative", " positive")
    return [Document(named(row, "id", "idx"), query, choices[gold], choices=choices, truth=gold)]


HELLASWAG = Task(
    name="hellaswag",
    about="the ending of a described scene, of four",
    hub="Rowan/hellaswag@validation",
    hub_shots="Rowan/hellaswag@train",
    main="accuracy",
    read=hellaswag_row,
    shots=15,
    chosen=accuracies,
)
RTE = Task(
    name="rte",
    about="whether a sentence follows from another",
    hub="nyu-mll/glue:rte@validation",
    hub_shots="nyu-mll/glue:rte@train",
    main="accuracy",
    read=rte_row,
    shots=15,
    chosen=accuracies,
)
SST = Task(
    name="sst",
    about="whether a sentence of a review is positive",
    hub="nyu-mll/glue:sst2@validation",
    hub_shots="nyu-mll/glue:sst2@train",
    main="accuracy",
    read=sst_row,
    shots=15,
    ways={"": "Say of each text whether its sentiment is positive or negative."},
    chosen=accuracies,
)
