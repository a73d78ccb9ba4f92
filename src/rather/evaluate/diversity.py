"""Whether a policy still says different things: entropy of its tokens, openings of many samples of one prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rather.batches.trees import Tree
from rather.evaluate.asking import Said, encoder_of
from rather.evaluate.judged import mean, share
from rather.evaluate.likelihood import likelihoods
from rather.models.load import Policy
from rather.statistics import clustered_mean

OPENING = 4  # words


def entropy(policy: Policy, prompts: Sequence[str], answers: Sequence[tuple[Said, ...] | None]) -> dict[str, Any]:
    """Nats per token of answers that were sampled at temperature 1, tokens of one prompt being one cluster."""
    ids = encoder_of(policy).prompts(prompts)
    trees = [
        Tree(tokens, tuple(said.tokens for said in of))
        for tokens, of in zip(ids, answers, strict=True)
        if of is not None
    ]
    found = likelihoods(policy, trees)
    values = np.concatenate([one.entropies for of in found for one in of])
    clusters = [at for at, of in enumerate(found) for one in of for _ in one.entropies]
    return clustered_mean(values, clusters).to_dict()


def openings(texts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """texts: P x K, many samples of each prompt.

    distinct: different first four words among the K     most common: share of the K that begin as most do
    repeated: share of the word trigrams of each answer that other answers to the same prompt have too
    """
    starts = [Counter(" ".join(text.split()[:OPENING]) for text in of) for of in texts]
    clusters = range(len(texts))
    return {
        "samples": len(texts[0]),
        "distinct": mean([float(len(of)) for of in starts], clusters),
        "most common": share([max(of.values()) / sum(of.values()) for of in starts], clusters),
        "repeated": share([_repeated(of) for of in texts], clusters),
    }


def _repeated(texts: Sequence[str]) -> float:
    """0 where no two answers share three words in a row, 1 where all are the same."""
    trigrams = [set(zip(words, words[1:], words[2:], strict=False)) for words in map(str.split, texts)]
    having = Counter(trigram for of in trigrams for trigram in of)
    total = sum(map(len, trigrams))
    return sum(having[trigram] > 1 for of in trigrams for trigram in of) / total if total else 1.0
