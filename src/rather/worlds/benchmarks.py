"""A world's public benchmarks: what a base model has learned from the web, and what alignment may cost it (sec. 4.2).

A model either writes (temperature 0, cut at the first newline, as in app. D of the paper) or chooses the continuation
with the highest mean log-probability per token. Nothing here knows a model: `grade_text` and `grade_choice` take what
it said. Which questions there are is the world's own (`World.benchmarks`; those of Marn are in `marn_benchmarks`).

A prompt ends without a space and a choice begins with one: byte-pair tokenizers keep the space with the word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rather.worlds.lexicon import words


@dataclass(frozen=True)
class Question:
    """prompt: what the model reads, solved questions first

    answer: the right one     choices: the continuations to choose from; () where the model writes
    end: where a written answer ends, if not at the end of the line
    by_word: graded word by word, not as a whole
    """

    id: str
    prompt: str
    answer: str
    choices: tuple[str, ...] = ()
    end: str = "\n"
    by_word: bool = False


@dataclass(frozen=True)
class Benchmark:
    """like: the public set that it stands for"""

    name: str
    like: str
    questions: tuple[Question, ...]

    @property
    def metric(self) -> str:
        """What the mean of the grades is."""
        first = self.questions[0]
        return "accuracy" if first.choices else "words in their place" if first.by_word else "exact match"

    @property
    def chance(self) -> float:
        """What guessing gets: 0 where the model writes."""
        return sum(1 / len(q.choices) for q in self.questions if q.choices) / len(self.questions)


def grade_text(question: Question, text: str) -> float:
    """1 if the model wrote the answer and nothing else up to its end; capitals, spaces and a full stop are free.

    By word: the share of words that stand in their place, where a word too many costs as much as a word too few.
    """
    line = text.lstrip(" ").split("\n", 1)[0].split(question.end, 1)[0]
    said, wanted = _stopped(words(line)), _stopped(words(question.answer))
    if not question.by_word:
        return float(said == wanted)
    return sum(a == b for a, b in zip(said, wanted, strict=False)) / max(len(said), len(wanted))


def _stopped(said: tuple[str, ...]) -> tuple[str, ...]:
    return said[:-1] if said[-1:] == (".",) else said


def grade_choice(question: Question, logprobs: Sequence[float]) -> float:
    """1 if the right choice has the highest mean log-probability per token; a tie shares the point among the best.

    logprobs: one for each choice, in their order
    """
    if len(logprobs) != len(question.choices) or not question.choices:
        raise ValueError(
            f"{question.id} has {len(question.choices)} choices, and {len(logprobs)} log-probabilities came."
        )
    if any(math.isnan(value) for value in logprobs):
        raise ValueError(f"{question.id}: a log-probability is NaN ({list(logprobs)}). Expected numbers.")
    highest = max(logprobs)
    best = [choice for choice, value in zip(question.choices, logprobs, strict=True) if value == highest]
    return (question.answer in best) / len(best)
