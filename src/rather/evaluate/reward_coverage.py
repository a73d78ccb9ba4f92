"""Are the prompts a reward model will be asked about like those it learned from? Categories, lengths, vocabulary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rather.batches.encoding import Encoder
from rather.records import Prompt
from rather.statistics import wilson

WORD = re.compile(r"[\w']+")
USUAL = 0.99  # share of the training prompts that counts as inside, by length and by words
SHOWN = 5
MOST = 30


def coverage(trained: Sequence[Prompt], asked: Sequence[Prompt], encoder: Encoder) -> dict[str, Any]:
    """The share of `asked` that lies outside of `trained`, and by what.

    A prompt is outside if its category was never trained on, if it is shorter or longer than all but 1 % of the
    training prompts, or if more of its words are unknown than in 99 % of the training prompts, each held against the
    others. So of prompts from the same source some 1 to 3 % are outside.
    """
    if not trained or not asked:
        raise ValueError(f"{len(trained)} training prompts and {len(asked)} to be asked. Expected some of both.")
    lengths = [len(ids) for ids in encoder.prompts(prompt.prompt for prompt in trained)]
    theirs = [len(ids) for ids in encoder.prompts(prompt.prompt for prompt in asked)]
    low, high = np.quantile(lengths, [(1 - USUAL) / 2, (1 + USUAL) / 2], method="inverted_cdf")
    words = [set(WORD.findall(_text(prompt).lower())) for prompt in trained]
    seen = Counter(word for each in words for word in each)
    # A training prompt held against the others: its words that nobody else uses are unknown to them.
    usual = float(np.quantile([_share(each, lambda word: seen[word] == 1) for each in words], USUAL))
    categories = Counter(prompt.category for prompt in trained)
    reasons: dict[str, list[Prompt]] = {"category": [], "length": [], "vocabulary": []}
    unknown: Counter[str] = Counter()
    outside: dict[int, list[str]] = {}
    for n, (prompt, length) in enumerate(zip(asked, theirs, strict=True)):
        own = set(WORD.findall(_text(prompt).lower()))
        unknown.update(word for word in own if word not in seen)
        why = []
        if categories.total() > categories[None] and prompt.category is not None and not categories[prompt.category]:
            why.append("category")
        if not low <= length <= high:
            why.append("length")
        if _share(own, lambda word: word not in seen) > usual:
            why.append("vocabulary")
        for reason in why:
            reasons[reason].append(prompt)
        if why:
            outside[n] = why
    return {
        "trained": len(trained),
        "asked": len(asked),
        "outside": wilson(len(outside), len(asked)).to_dict(),
        "by": {reason: wilson(len(found), len(asked)).to_dict() for reason, found in reasons.items()},
        "categories": {
            "trained": _counts(prompt.category for prompt in trained),
            "asked": _counts(prompt.category for prompt in asked),
        },
        "tokens": {"trained": _quartiles(lengths), "asked": _quartiles(theirs), "usual": [int(low), int(high)]},
        "words": {
            "usual unknown share": usual,
            "unknown": [word for word, _ in unknown.most_common(20)],
        },
        "examples": [{"id": asked[n].id, "why": why, "prompt": _text(asked[n])[:300]}
                     for n, why in list(outside.items())[:SHOWN]],
    }  # fmt: skip


def _text(prompt: Prompt) -> str:
    asked = prompt.prompt
    return asked if isinstance(asked, str) else "\n".join(turn.content for turn in asked)


def _share(words: set[str], unknown: Any) -> float:
    return sum(map(unknown, words)) / len(words) if words else 0.0


def _counts(categories: Iterable[str | None]) -> dict[str, int]:
    return {str(name): n for name, n in Counter(name for name in categories if name is not None).most_common(MOST)}


def _quartiles(lengths: Sequence[int]) -> dict[str, float]:
    low, middle, high = np.quantile(lengths, [0.25, 0.5, 0.75])
    return {"n": len(lengths), "mean": float(np.mean(lengths)), "25%": low, "50%": middle, "75%": high,
            "max": max(lengths)}  # fmt: skip
