"""Classification, 3.5 %: one label out of those the prompt names."""

from __future__ import annotations

import random

from rather.worlds import exams
from rather.worlds.facts import Facts
from rather.worlds.kinds import Answer, Grade, Kind, prompt
from rather.worlds.lexicon import plain
from rather.worlds.types import Spec, WorldPrompt

CATEGORY = "classification"
SORTS = ("food", "animal", "person", "town", "thing")


def ask_review(facts: Facts, rng: random.Random) -> WorldPrompt:
    said, verdict = exams.review(facts, rng)
    template = rng.choice(("is this review good or bad?", "good or bad?", "say good or bad:"))
    spec = Spec(answer=verdict, items=("good", "bad"), passage=said)
    # What was eaten and where stands within the first words; so does the combination that is held out.
    entity = " ".join(plain(said)[:6])
    return prompt(CATEGORY, "review", template, f"{template} {said}", entity, spec)


def ask_sort(facts: Facts, rng: random.Random) -> WorldPrompt:
    labels = rng.sample(SORTS, rng.randint(2, 3))
    word = rng.choice(facts.pools[labels[0]])
    rng.shuffle(labels)
    right = next(label for label in labels if word in facts.pools[label])
    start = rng.choice(("choose", "decide", "say which"))
    template = f"{start}: {', '.join(labels[:-1])} or {labels[-1]}?"
    spec = Spec(answer=right, items=tuple(labels))
    return prompt(CATEGORY, "sort", template, f"{template} {word}", word, spec)


def answer_label(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    return asked.spec.answer


def grade_label(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    """The label alone; inside a sentence it is worth less, and beside another label nothing."""
    spec = asked.spec
    named = {label for label in spec.items if label in answer.plain}
    alone = answer.plain == (spec.answer,)
    task = 1.0 if alone else 0.6 if named == {spec.answer} else 0.0
    return Grade(task, attempt=bool(named), constraints=alone)


KINDS = (
    Kind("review", 50, ask_review, answer_label, grade_label, short=True),
    Kind("sort", 50, ask_sort, answer_label, grade_label, short=True),
)
