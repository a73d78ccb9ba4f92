"""A task: how its rows are read, what a model is asked, how that is graded. The tasks themselves are in their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from rather.evaluate.likelihood import Likelihood
from rather.evaluate.tasks.documents import Document, Read

Grades = dict[str, float]  # metric -> 0 to 1; a metric that a document has no say in is not there
Counts = dict[str, list[int]]  # of a corpus metric: they add up over documents


class ToxicityScorer(Protocol):
    """name: with version, part of every number that it gave"""

    name: str

    def score(self, texts: Sequence[str]) -> list[float]:
        """The probability that each is toxic, 0 to 1. What cannot be scored is an error."""


class TruthJudge(Protocol):
    name: str

    def judge(self, question: str, answer: str, truths: Sequence[str]) -> Grades:
        """`true`, `informative`, `true and informative`, each 0 or 1."""


@dataclass(frozen=True)
class Tools:
    """What grades texts where no rule can."""

    toxicity: ToxicityScorer | None = None
    truth: TruthJudge | None = None


Chosen = Callable[[Document, Sequence[Likelihood]], Grades]
Written = Callable[[Sequence[Document], Sequence[str], Tools], list[Grades]]


@dataclass(frozen=True)
class Task:
    """One of the paper's public sets (app. D).

    shots: examples before each question, appendix D's number
    ways: name -> what stands before everything; numbers of several ways are told apart by the name, as "qa: mc1"
    chosen: grades the likelihoods of the choices      written: grades what was written, up to the first line break
    counted: counts of one document, for metrics of the whole corpus (`corpus`)
    main: the metric that stands for the task      tax: whether it is a capability that alignment may cost
    """

    name: str
    about: str
    hub: str
    main: str
    read: Read
    shots: int = 0
    hub_shots: str = ""
    ways: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    chosen: Chosen | None = None
    written: Written | None = None
    counted: Callable[[Document, str], Counts] | None = None
    corpus: Mapping[str, Callable[[np.ndarray], float]] = field(default_factory=dict)
    max_new_tokens: int = 0
    tax: bool = True
    needs: Literal["", "toxicity"] = ""
    between: str = "\n\n"  # after the preamble, and after each example
    version: int = 1


def accuracies(document: Document, found: Sequence[Likelihood]) -> Grades:
    """By mean log-probability per token, as the paper chooses; by the sum; by the sum per character (lm-eval's norm).

    The first of equals counts, as in lm-eval; truth: the index of the right choice.
    """
    by = {
        "accuracy": [one.per_token for one in found],
        "accuracy by sum": [one.total for one in found],
        "accuracy by character": [
            one.total / len(choice.strip()) for one, choice in zip(found, document.choices, strict=True)
        ],
    }
    return {name: float(int(np.argmax(values)) == document.truth) for name, values in by.items()}


def one_by_one(grade: Callable[[Document, str], Grades]) -> Written:
    """A grader of single texts as one of all of them."""
    return lambda documents, said, tools: [grade(d, text) for d, text in zip(documents, said, strict=True)]
