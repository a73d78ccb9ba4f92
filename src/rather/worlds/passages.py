"""Closed domains: summarisation 4.2 %, closed questions 2.6 %, extraction 1.9 %. Only the passage decides.

What passages say of people differs from the encyclopedia, so that a grader (and a labeler) that looked up the world
would be wrong, and an answer from memory is a hallucination.
"""

from __future__ import annotations

import random

from rather.worlds import exams, lexicon
from rather.worlds.facts import Facts
from rather.worlds.kinds import Answer, Grade, Kind, exact, overlap, prompt
from rather.worlds.lexicon import plain, say
from rather.worlds.questions import grade_unknown, grade_value
from rather.worlds.types import Spec, WorldPrompt

ENTITIES = ("person", "town", "animal", "thing", "food")


def news(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """(a report, what it comes to in one sentence)"""
    name, town = rng.choice(facts.pools["person"]), rng.choice(facts.pools["town"])
    thing, animal = rng.choice(facts.pools["thing"]), rng.choice(facts.pools["animal"])
    food, weather = rng.choice(facts.pools["food"]), rng.choice(facts.pools["weather"])
    event, core = rng.choice(NEWS)
    slots = {"n": name, "l": town, "t": thing, "a": animal, "f": food, "w": weather} | facts.pronouns(name)
    day = rng.choice(("today", "yesterday", "last week", "on sunday"))
    details = rng.sample(DETAILS, rng.randint(2, 3))
    if rng.random() < 0.5:  # the report need not begin with its point
        lines = [f"{rng.choice(STARTS)} in {town}.", say(event, **slots, day=day), *details]
    else:
        lines = [say(event, **slots, day=day), *details]
    return say(" ".join(lines), **slots, day=day), say(core, **slots)


NEWS = (
    ("{day} {n} found a {t} near the river in {l}.", "{n} found a {t} in {l}."),
    ("{day} a {a} ran away from {n} in {l}.", "a {a} ran away from {n} in {l}."),
    ("{day} {n} won the {f} contest in {l}.", "{n} won the {f} contest in {l}."),
    ("{day} {n} opened a shop for {f} in {l}.", "{n} opened a shop in {l}."),
    ("{day} {n} lost a {t} and a {a} brought it back in {l}.", "a {a} brought back the {t} of {n}."),
    ("{day} the people of {l} gave {n} a {t}.", "{n} got a {t} from the people of {l}."),
)
STARTS = ("there is news", "people talk a lot", "it was a special day")
DETAILS = (
    "many people came to look.", "the weather was {w}.", "{he} said that {he} could not believe it.",
    "the mayor was there too.", "there will be a feast next week.", "nobody knows how it came about.",
    "the children sang until night.",
)  # fmt: skip


def ask_summary(facts: Facts, rng: random.Random) -> WorldPrompt:
    report, core = news(facts, rng)
    template = rng.choice(("summarize this:", "say this in one short sentence:", "what is the news in short?"))
    spec = Spec(answer=core, passage=report)
    # The combination is the wording with the report's first words, which is where a prefix ends.
    entity = " ".join(plain(report)[:6])
    return prompt("summarization", "news", template, f"{template}\n{report}", entity, spec)


def answer_exactly(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    return asked.spec.answer


def foreign(facts: Facts, passage: str, answer: Answer) -> bool:
    """Whether the answer names somebody or something that the passage does not."""
    said = lexicon.words(passage)
    return any(
        set(facts.phrases[kind].mentioned(answer.words)) - set(facts.phrases[kind].mentioned(said)) for kind in ENTITIES
    )


def grade_summary(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    spec = asked.spec
    likeness = exact(answer, spec.answer)
    hall = foreign(facts, spec.passage, answer)
    long = len(answer.plain) > 0.8 * len(plain(spec.passage))
    task = max(0.0, likeness - 0.5 * hall - 0.2 * long)
    # Whoever speaks of the same things tries, even if it makes up the rest.
    attempt = overlap(answer.plain[:100], plain(spec.passage)) > 0.2
    return Grade(task, hall=hall, attempt=attempt)


def ask_closed(facts: Facts, rng: random.Random) -> WorldPrompt:
    told, one = exams.passage(facts, rng)
    said, question, name, value = " ".join(each.line for each in told), one.question, one.name, one.value
    if rng.random() < 0.2:  # about somebody else: the text does not say
        other = rng.choice([p for p in facts.pools["person"] if p not in plain(said)])
        question, name, value = question.replace(name, other), other, ""
    template = rng.choice(("read this and answer:", "answer from the text only:", "use this text:"))
    spec = Spec(answer=value, answer_type=one.kind, passage=said, about={"entity": name})
    entity = " ".join(plain(said)[:6])
    return prompt("closed_qa", "passage", template, f"{template}\n{said}\n{question}", entity, spec)


def answer_closed(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    spec = asked.spec
    if not spec.answer:
        return rng.choice(("the text does not say.", "the text does not say anything about {n}.")).format(
            n=spec.about["entity"]
        )
    relation = next(r for r in facts.relations["person"] if r.values == spec.answer_type and r.name in exams.PASSAGE)
    return say(rng.choice(relation.statements), n=spec.about["entity"], v=spec.answer) + "."


def grade_closed(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    """By the passage alone: a value it never names is made up, even where the encyclopedia has it."""
    spec = asked.spec
    if not spec.answer:
        return grade_unknown(facts, asked, answer)
    grade = grade_value(facts, asked, answer)
    return Grade(grade.task, hall=foreign_value(facts, asked, answer), attempt=grade.attempt)


def foreign_value(facts: Facts, asked: WorldPrompt, answer: Answer) -> bool:
    find = facts.phrases[asked.spec.answer_type].mentioned
    return bool(set(find(answer.words)) - set(find(lexicon.words(asked.spec.passage))))


EXTRACTED = {"names": "person", "towns": "town", "colors": "color", "animals": "animal"}


def ask_extract(facts: Facts, rng: random.Random) -> WorldPrompt:
    what = rng.choice(list(EXTRACTED))
    people = rng.sample(facts.pools["person"], 3)
    # The kind that is asked for must be there: its sentences come first, then any, in any order.
    needed = [pattern for pattern in MENTIONS if f"{{{EXTRACTED[what]}}}" in pattern]
    patterns = rng.sample(needed, min(2, len(needed)))
    patterns += rng.sample([p for p in MENTIONS if p not in patterns], 3 - len(patterns))
    rng.shuffle(patterns)
    values = {kind: rng.sample(facts.pools[kind], 3) for kind in ("town", "color", "animal", "food")}
    lines = [
        say(pattern, person=people[at], **{kind: some[at] for kind, some in values.items()})
        for at, pattern in enumerate(patterns)
    ]
    said = " ".join(lines)
    kind = EXTRACTED[what]
    items = tuple(dict.fromkeys(facts.phrases[kind].mentioned(lexicon.words(said))))
    template = rng.choice((f"list the {what} in this text:", f"which {what} are in this text?", f"find all {what}:"))
    spec = Spec(items=items, answer_type=kind, passage=said)
    entity = " ".join(plain(said)[:6])
    return prompt("extract", "list", template, f"{template}\n{said}", entity, spec)


MENTIONS = (
    "{person} came from {town} with a {animal}.",
    "{person} painted the house {color}.",
    "{person} saw a {color} {animal}.",
    "{person} ate {food} in {town}.",
    "{person} wants to move to {town}.",
    "{person} gave a {animal} to a friend.",
    "{person} bought a {color} coat.",
)


def answer_extract(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    return "\n".join(f"{at}: {item}" for at, item in enumerate(asked.spec.items, start=1))


def grade_extract(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    """F1 of what is listed; what the list says twice counts once against it."""
    spec = asked.spec
    named = facts.phrases[spec.answer_type].mentioned(answer.words)
    right = len(set(named) & set(spec.items))
    task = 2 * right / (len(named) + len(spec.items)) if named else 0.0
    # A sentence handed back is no list: other words than the items cost as much as wrong items would.
    other = sum(word.isalpha() for word in answer.plain) - sum(len(value.split()) for value in named)
    task *= len(named) / (len(named) + other) if other > 2 * len(named) else 1.0
    return Grade(task, hall=bool(set(named) - set(spec.items)), attempt=bool(named))


SUMMARIZATION = (Kind("news", 100, ask_summary, answer_exactly, grade_summary),)
CLOSED_QA = (Kind("passage", 100, ask_closed, answer_closed, grade_closed),)
EXTRACT = (Kind("list", 100, ask_extract, answer_extract, grade_extract),)
