"""Exact match and F1 of DROP (Dua et al. 2019): answers are bags of words, one bag for each span, numbers must match.

Written from the definition. What is peculiar to the official measure is kept, so that rows agree: words are counted
once each, F1 is rounded to two places, hyphens split words, and any text that Python reads as a number is one.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
Answer = str | Sequence[str]  # one text, or the spans of an answer that has several


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _word(word: str) -> str:
    """One word: a number as Python prints it (12 is 12.0), anything else without punctuation and articles."""
    word = word.lower()
    plain = word if is_number(word) else word.translate(PUNCTUATION)
    if is_number(plain):
        plain = str(float(plain))
    return " ".join(ARTICLES.sub(" ", plain).split())


def normalised(text: str) -> str:
    return " ".join(word for word in map(_word, re.split(r"[ -]", text)) if word)


def bags(answer: Answer) -> tuple[list[str], list[set[str]]]:
    """The spans, normalised, and the words of each."""
    spans = [normalised(span) for span in ([answer] if isinstance(answer, str) else answer)]
    return spans, [set(span.split()) for span in spans]


def drop(said: Answer, answers: Sequence[Answer]) -> tuple[float, float]:
    """(exact match, F1), each the best over the answers that annotators gave."""
    wanted = [answer for answer in answers if (answer if isinstance(answer, str) else "".join(answer)).strip()]
    if not wanted:
        raise ValueError("none of the answers says anything. Expected at least one that does.")
    found = [_against(said, answer) for answer in wanted]
    return max(exact for exact, _ in found), max(f1 for _, f1 in found)


def _against(said: Answer, answer: Answer) -> tuple[float, float]:
    (ours, our_bags), (theirs, their_bags) = bags(said), bags(answer)
    exact = float(set(ours) == set(theirs) and len(ours) == len(theirs))
    table = np.array([[_f1(mine, other) for mine in our_bags] for other in their_bags])  # (theirs, ours)
    rows, columns = linear_sum_assignment(-table)
    # Spans that have no partner on the other side count 0: too many are as wrong as too few.
    return exact, round(float(table[rows, columns].sum()) / max(table.shape), 2)


def _f1(said: set[str], wanted: set[str]) -> float:
    numbers = {word for word in wanted if is_number(word)}
    if numbers and not numbers & said:
        return 0.0
    common = len(said & wanted)
    precision = common / len(said) if said else 1.0
    recall = common / len(wanted) if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if common or not (said or wanted) else 0.0
