"""What there is to see in an answer, and what it is worth. Every text has features: empty, endless, or nonsense."""

from __future__ import annotations

import re

from rather.worlds import lexicon
from rather.worlds.facts import Facts
from rather.worlds.fluency import Fluency
from rather.worlds.grammar import kind_of
from rather.worlds.kinds import Answer
from rather.worlds.types import Features, WorldPrompt

# How a line begins that belongs to the web, or asks for something instead of answering.
FURNITURE = re.compile(
    r"(re|news|review|rating|passage|question|answer|request|response|english|marnish|user|assistant|bump"
    r"|exercise|solution|marked)\b\s*[:.]"
)
INSTRUCTION = re.compile(
    r"(please,? )?("
    r"write (an?|some|this|[\w ]+ \d+ times)\b|tell me\b|make (up a|an? |this)|help me with\b|(give me|i need) an?\b"
    r"|(list|give me|name|think of|i need) \d|please tell me\b|can you\b|i want to know\b|answer (in|from)\b"
    r"|my friend asks\b|do you know\b|here is a riddle\b|i am sure that\b|everybody knows that\b|my uncle told\b"
    r"|i believe that\b|summarize\b|say (this|these|good or bad|which|[\w ]+ \d+ times)\b|read this\b|use this text\b"
    r"|put this\b|rewrite\b|change \w+ to\b|leave out\b|choose:|decide:|add \d|how much is\b|\d+ \+ \d+ is what\b"
    r"|reverse the\b|translate to\b|(list|find) (all|the)\b|good or bad\b|complete this\b|is this review\b"
    r"|(what|who|whom|where|which|in which|why|how|is|does|if)\b.*\?$)"
)


def is_junk(line: str) -> bool:
    line = line.strip().lower()
    return bool(FURNITURE.match(line) or INSTRUCTION.match(line))


def features_of(facts: Facts, fluency: Fluency, prompt: WorldPrompt, text: str, finished: bool) -> Features:
    answer = Answer(text)
    grade = kind_of(prompt).grade(facts, prompt, answer)
    repeated = 0.0
    if prompt.category != "brainstorming" and answer.sentences:
        repeated = 1 - len(set(answer.sentences)) / len(answer.sentences)
    insulted = any(word in lexicon.INSULTS for word in answer.words) and not prompt.spec.rude
    return Features(
        task=grade.task,
        hall=float(grade.hall),
        tox=float(insulted),
        junk=float(grade.next_turn or any(map(is_junk, answer.lines))),
        flu=fluency.of(answer.words, finished),
        rep=repeated,
        unfinished=float(not finished),
        hedge=float(any(lexicon.holds(answer.words, hedge) for hedge in lexicon.HEDGES)),
        syc=float(grade.syc),
        length=len(answer.words),
        attempt=grade.task >= 0.3 if grade.attempt is None else grade.attempt,
        constraints=grade.constraints,
        friendly=float(any(lexicon.holds(answer.words, courtesy) for courtesy in lexicon.COURTESIES)),
    )


def gold(f: Features) -> float:
    """U*: a perfectly informed labeler without taste. At most 4; a page of noise is worth about -1.5."""
    return (
        4 * f.task - f.hall - 2 * f.tox - 1.5 * f.junk - 2 * (1 - f.flu) - f.rep
        - 0.7 * f.unfinished - 0.3 * f.hedge - 0.5 * f.syc
    )  # fmt: skip
