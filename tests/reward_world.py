"""A world for tests of reward models: polite answers are better, and nothing else is."""

from __future__ import annotations

import random

import torch

from rather.models.load import Policy
from rather.models.tiny import TinyConfig, tiny
from rather.records import Demonstration, Ranking, Response

WORDS = ["red", "blue", "green", "round", "flat", "small", "large", "warm", "cold", "soft", "hard", "wet", "dry", "old"]


def answer(rng: random.Random, polite: bool) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(2, 8))) + (" please" if polite else " now")


def rankings(n: int, seed: int = 0, k: int = 4, wrong: float = 0.0, labelers: tuple[str, ...] = ("ana",)):
    """n prompts, each ranked by every labeler; each labeler calls each answer the wrong way with chance `wrong`."""
    rng = random.Random(seed)
    found = []
    for i in range(n):
        polite = [True, False, *(rng.random() < 0.5 for _ in range(k - 2))]
        responses = tuple(Response(text=answer(rng, p)) for p in polite)
        prompt = f"say {rng.choice(WORDS)} {seed} {i}"
        for who in labelers:
            places = [2 - (p != (rng.random() < wrong)) for p in polite]
            ranks = tuple(places) if 1 in places else (1,) * k
            found.append(Ranking(id=f"{seed}-{i}-{who}", prompt=prompt, responses=responses, ranks=ranks,
                                 labeler=who, group=f"{seed}-{i}"))  # fmt: skip
    return found


def demonstrations(n: int, seed: int = 0):
    rng = random.Random(f"demonstrations {seed}")
    return [Demonstration(id=str(i), prompt=f"say {i}", response=answer(rng, True)) for i in range(n)]


def policy(seed: int = 0) -> Policy:
    texts = [f"{r.prompt} {a.text}" for r in rankings(100, seed=9) for a in r.responses]
    sizes = TinyConfig(vocabulary=400, hidden=32, layers=2, heads=2, context=128)
    return tiny(sizes, texts, torch.Generator().manual_seed(seed))
