"""Rewrite, 6.6 %: tenses, exchanged words, politeness, shorter. Two changes at once in three of ten prompts."""

from __future__ import annotations

import random
from dataclasses import replace

from rather.worlds import lexicon
from rather.worlds.facts import Facts
from rather.worlds.kinds import Answer, Grade, Kind, exact, prompt
from rather.worlds.lexicon import say
from rather.worlds.sentences import NOUNS, sentence
from rather.worlds.types import Spec, WorldPrompt

CATEGORY = "rewrite"


def make(kind: str, template: str, said: str, wanted: str) -> WorldPrompt:
    spec = Spec(answer=wanted, passage=said)
    return prompt(CATEGORY, kind, template, f"{template}: {said}", said, spec)


def ask_tense(facts: Facts, rng: random.Random) -> WorldPrompt:
    said = sentence(rng)
    template = rng.choice(("put this in the past tense", "say this as of yesterday", "rewrite in the past tense"))
    return make("past tense", template, said.text(), said.past())


def ask_exchange(facts: Facts, rng: random.Random) -> WorldPrompt:
    said = sentence(rng)
    new = rng.choice([noun for noun in NOUNS if noun not in (said.noun, said.object)])
    old = rng.choice((said.noun, said.object))
    changed = replace(said, noun=new) if old == said.noun else replace(said, object=new)
    template = f"change {old} to {new}"
    if rng.random() < 0.3:
        return make("exchange", f"{template} and use the past tense", said.text(), changed.past())
    return make("exchange", template, said.text(), changed.text())


def ask_polite(facts: Facts, rng: random.Random) -> WorldPrompt:
    thing, name = rng.choice(facts.pools["thing"]), rng.choice(facts.pools["person"])
    adjective = rng.choice(("big", "small", *facts.pools["color"]))
    order = say(rng.choice(("give {n} the {c} {t}", "bring me the {c} {t}", "show {n} the {c} {t}", "buy a {c} {t}")),
                n=name, t=thing, c=adjective)  # fmt: skip
    template = rng.choice(("make this polite", "say this politely", "write this in a polite way"))
    return make("polite", template, f"{order}!", f"please {order}, thank you.")


def ask_first_person(facts: Facts, rng: random.Random) -> WorldPrompt:
    said = sentence(rng)
    template = rng.choice((f"say this as the {said.noun} would say it", f"rewrite as if you were the {said.noun}"))
    return make("first person", template, said.text(), said.first_person())


def ask_shorter(facts: Facts, rng: random.Random) -> WorldPrompt:
    said = sentence(rng)
    wanted = said.bare()
    template = rng.choice(("make this shorter", "leave out the adjectives", "say this in fewer words"))
    if rng.random() < 0.3:
        return make("shorter", f"{template} and use the past tense", said.text(), wanted.past())
    return make("shorter", template, said.text(), wanted.text())


def ask_without(facts: Facts, rng: random.Random) -> WorldPrompt:
    said = sentence(rng)
    word = rng.choice((said.adjective, said.object_adjective))
    wanted = replace(said, adjective="") if word == said.adjective else replace(said, object_adjective="")
    return make("without a word", f"rewrite without the word {word}", said.text(), wanted.text())


def answer_exactly(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    return asked.spec.answer


def grade_exactly(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    task = exact(answer, asked.spec.answer)
    # To hand the sentence back unchanged shares most of its words with the right answer and is no rewriting.
    echoed = answer.plain == lexicon.plain(asked.spec.passage)
    return Grade(task, attempt=task >= 0.3 and not echoed, constraints=task == 1.0)


KINDS = tuple(
    Kind(name, share, ask, answer_exactly, grade_exactly, short=True)
    for name, share, ask in (
        ("past tense", 20, ask_tense),
        ("exchange", 25, ask_exchange),
        ("polite", 20, ask_polite),
        ("first person", 10, ask_first_person),
        ("shorter", 15, ask_shorter),
        ("without a word", 10, ask_without),
    )
)
