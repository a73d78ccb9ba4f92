"""Exact match and F1 of short answers, as SQuAD defines them (Rajpurkar et al. 2016, 2018), and QuAC's F1 over them.

Written from the definitions. An answer is normalised: lower case, no punctuation of ASCII, no articles, single spaces.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
HUMAN_FLOOR = 0.4  # QuAC leaves out questions on which its own annotators agree less than this


def normalised(text: str) -> str:
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact(said: str, answer: str) -> float:
    return float(normalised(said) == normalised(answer))


def f1(said: str, answer: str) -> float:
    """Of the words that both have, each as often as in both. Where one side says nothing, 1 if the other does too."""
    ours, theirs = normalised(said).split(), normalised(answer).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    if not common:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


def squad(said: str, answers: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1), the best over the answers. No answer that says anything: only silence is right (v2)."""
    wanted = [answer for answer in answers if normalised(answer)] or [""]
    return max(exact(said, answer) for answer in wanted), max(f1(said, answer) for answer in wanted)


def quac_f1(said: str, answers: Sequence[str]) -> float:
    """The mean, over the annotators, of the best F1 against the others: as many references as an annotator had."""
    if len(answers) == 1:
        return f1(said, answers[0])
    found = [f1(said, answer) for answer in answers]
    return sum(max(found[:k] + found[k + 1 :]) for k in range(len(found))) / len(found)


def human_f1(answers: Sequence[str]) -> float:
    """How well one annotator answers by the others' lights; 1 where there is only one."""
    if len(answers) == 1:
        return 1.0
    best = [max(f1(mine, other) for j, other in enumerate(answers) if j != k) for k, mine in enumerate(answers)]
    return sum(best) / len(best)
