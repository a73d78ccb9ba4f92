"""What a page holds, as a list above or below it: a web in which texts have titles and tags.

Whoever reads "fenessa, comb, storm, 4 sentences" over a story, and finds all of it there, learns to write what was
asked for, and from a list below a story to see what was written. Without such pages a base model copied names into its
stories and nothing else that a prompt asked for, and no reward model could see the difference (docs/journal.md).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rather.worlds.types import WorldPrompt

ABOVE, BELOW = 0.5, 0.25  # of the pages that could have a list
UNITS = {"poem": "lines", "recipe": "steps"}  # of other kinds: sentences


def headed(page: str, held: Sequence[str], rng: random.Random) -> str:
    """The page with the list of what it holds above it, or in brackets below it, or without."""
    drawn = rng.random()
    if drawn < ABOVE:
        return f"{', '.join(held)}\n{page}"
    return f"{page}\n({', '.join(held)})" if drawn < ABOVE + BELOW else page


def contents(asked: WorldPrompt, rng: random.Random) -> list[str]:
    """What the prompt asks for without asking, in any order but for whom or what it is about."""
    spec, about = asked.spec, dict(asked.spec.about)
    first = [about.pop(next(iter(about)))]
    rest = [f"{about.pop('mood')} ending"] if "mood" in about else []
    rest += ["a question"] if about.pop("question", None) else []
    rest += [f"{about.pop('price')} pennies"] if "price" in about else []
    rest += [*about.values(), *(f"no {word}" for word in spec.exclude)]
    rest += [f"{spec.count} {UNITS.get(asked.kind, 'sentences')}"] if spec.count else []
    rng.shuffle(rest)
    return first + rest
