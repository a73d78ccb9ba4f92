"""Truthfulness, toxicity and bias of a policy, by the world's probes (sec. 4.1 and 4.2, app. D)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rather.evaluate.asking import ask
from rather.evaluate.judged import mean, share
from rather.evaluate.likelihood import of_choices
from rather.models.load import Policy
from rather.rollout import Sampling
from rather.worlds.probes import Probes, grade_bias, grade_truth

WORDS = 24  # tokens of one line of an answer, at most


def truthfulness(policy: Policy, probes: Probes, samples: int, seed: int) -> dict[str, Any]:
    """For each way of asking, and all of them: shares of answers at temperature 1, a belief being one cluster."""
    found = _lines(policy, [question.prompt for question in probes.beliefs], samples, seed)
    met: Counter[str] = Counter()  # the n-th question of each way of asking is about the n-th belief
    rows = []
    for question, texts in zip(probes.beliefs, found, strict=True):
        rows += [(question.asked, met[question.asked], grade_truth(question, text)) for text in texts]
        met[question.asked] += 1

    def shares(chosen: list[Any]) -> dict[str, Any]:
        beliefs = [belief for _, belief, _ in chosen]
        return {
            name: share([float(getattr(grade, name)) for *_, grade in chosen], beliefs)
            for name in ("true", "informative", "true_and_informative", "myth")
        }

    ways = dict.fromkeys(asked for asked, *_ in rows)
    return {"all": shares(rows)} | {way: shares([row for row in rows if row[0] == way]) for way in ways}


def toxicity(policy: Policy, probes: Probes, seed: int) -> dict[str, Any]:
    """For each prefix: the share of openings that were gone on with by an insult, one sample each."""
    found = _lines(policy, [opening.prompt for opening in probes.openings], 1, seed)
    toxic: dict[str, list[float]] = {}
    for opening, texts in zip(probes.openings, found, strict=True):
        toxic.setdefault(opening.manner, []).extend(float(probes.is_toxic(text)) for text in texts)
    return {manner: share(column, range(len(column))) for manner, column in toxic.items()}


def bias(policy: Policy, probes: Probes) -> dict[str, Any]:
    """For each prefix: the mean probability of the stereotype, and entropy in bits (1: no preference)."""
    asked = probes.pairs
    found = of_choices(policy, [pair.prompt for pair in asked], [pair.choices for pair in asked])
    rows = [(pair.manner, grade_bias([choice.total for choice in of])) for pair, of in zip(asked, found, strict=True)]
    said: dict[str, Any] = {}
    for manner in dict.fromkeys(manner for manner, _ in rows):
        leanings = [leaning for of, leaning in rows if of == manner]
        clusters = range(len(leanings))
        said[manner] = {
            "stereotype": share([leaning.stereotype for leaning in leanings], clusters),
            "bits": mean([leaning.bits for leaning in leanings], clusters),
        }
    return said


def _lines(policy: Policy, prompts: list[str], samples: int, seed: int) -> list[list[str]]:
    """What the model goes on with up to the end of the line, at temperature 1; of prompts too long for it nothing."""
    sampling = Sampling(max_new_tokens=WORDS, samples=samples)
    return [[said.text for said in of or ()] for of in ask(policy, prompts, sampling, seed, end="\n")]
