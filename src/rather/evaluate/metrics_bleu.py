"""BLEU as sacrebleu's default computes it (Papineni et al. 2002, Post 2018): nrefs:any|case:mixed|tok:13a|smooth:exp.

Written from the definitions of mteval-v13a's tokenisation and of the measure. Counts add up over a corpus, so a
bootstrap over sentences is a sum of rows. Shares, not percent: sacrebleu prints these times 100.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

ORDER = 4
SIGNATURE = "case:mixed|tok:13a|smooth:exp"
SYMBOL = re.compile(r"([{-~\[-` -&(-+:-@/])")  # ASCII punctuation but for ' , - . ; the space is within, and harmless
AFTER_NO_DIGIT = re.compile(r"([^0-9])([.,])")
BEFORE_NO_DIGIT = re.compile(r"([.,])([^0-9])")
DIGIT_DASH = re.compile(r"([0-9])(-)")
ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
Counts = np.ndarray  # (2 + 2 * ORDER,) length, reference length, matches of 1 to 4 words, n-grams of 1 to 4 words


def tokens(text: str) -> list[str]:
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in ENTITIES:
        text = text.replace(entity, character)
    text = SYMBOL.sub(r" \1 ", f" {text} ")
    text = AFTER_NO_DIGIT.sub(r"\1 \2 ", text)
    text = BEFORE_NO_DIGIT.sub(r" \1 \2", text)
    return DIGIT_DASH.sub(r"\1 \2 ", text).split()


def counts(said: str, references: Sequence[str]) -> Counts:
    """Of one sentence. The reference length is the one closest to what was said, of two the shorter."""
    if not references:
        raise ValueError("there is no reference. Expected at least one translation.")
    ours, theirs = tokens(said), [tokens(reference) for reference in references]
    length = min((abs(len(reference) - len(ours)), len(reference)) for reference in theirs)[1]
    matches, totals = [], []
    for n in range(1, ORDER + 1):
        mine = _grams(ours, n)
        most: Counter[tuple[str, ...]] = Counter()
        for reference in theirs:
            most |= _grams(reference, n)
        matches.append((mine & most).total())
        totals.append(mine.total())
    return np.array([len(ours), length, *matches, *totals], dtype=np.int64)


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def of_counts(total: Counts, effective: bool = False) -> float:
    """BLEU of summed counts; 0 to 1.

    effective: only as many orders as the text has n-grams of, which single sentences need
    """
    length, reference = float(total[0]), float(total[1])
    matches, totals = total[2 : 2 + ORDER], total[2 + ORDER :]
    if not matches.any():
        return 0.0
    logs, half = 0.0, 1.0
    orders = ORDER
    for n in range(ORDER):
        if not totals[n]:
            if not effective:
                return 0.0
            orders = n
            break
        if not matches[n]:
            half *= 2  # each further order without a match is held to have half as much of one
        logs += math.log((matches[n] or 1 / half) / totals[n])
    brevity = 1.0 if length >= reference else math.exp(1 - reference / length)
    return brevity * math.exp(logs / orders)


def corpus_bleu(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """references: those of each sentence"""
    rows = [counts(text, of) for text, of in zip(said, references, strict=True)]
    if not rows:
        raise ValueError("there is no sentence. Expected at least one.")
    return of_counts(np.sum(rows, 0))


def sentence_bleu(said: str, references: Sequence[str]) -> float:
    return of_counts(counts(said, references), effective=True)
