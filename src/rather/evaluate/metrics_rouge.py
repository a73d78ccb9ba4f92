"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004) as F1, words as the package rouge-score has them, without stemming.

Words are runs of a-z and 0-9 in lower case: in a language that is written otherwise ROUGE here is no measure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

WORD = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def rouge(said: str, reference: str) -> dict[str, float]:
    """rouge-1, rouge-2, rouge-l. A reference without a word is an error, a text without one gets 0."""
    ours, theirs = words(said), words(reference)
    if not theirs:
        raise ValueError(f"the reference {reference[:40]!r} has no word of a-z or 0-9. Expected one that has.")
    return {
        "rouge-1": _overlap(ours, theirs, 1),
        "rouge-2": _overlap(ours, theirs, 2),
        "rouge-l": _f1(_longest_common(ours, theirs), len(ours), len(theirs)),
    }


def _overlap(ours: Sequence[str], theirs: Sequence[str], n: int) -> float:
    mine, other = (Counter(tuple(of[k : k + n]) for k in range(len(of) - n + 1)) for of in (ours, theirs))
    return _f1((mine & other).total(), mine.total(), other.total())


def _f1(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else 0.0


def _longest_common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Words of the longest common subsequence."""
    row = [0] * (len(theirs) + 1)
    for word in ours:
        before = 0  # row[k - 1] of the word before
        for k, other in enumerate(theirs, start=1):
            before, row[k] = row[k], before + 1 if word == other else max(row[k], row[k - 1])
    return row[-1]
