"""What a world is made of for everybody outside it: prompts that can be checked, features, documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Split = Literal["train", "validation", "test"]
Source = Literal["labeler", "api"]

# Table 1 of the paper: use cases of prompts sent to the API, in percent. They add up to 99.9.
SHARES: Mapping[str, float] = {
    "generation": 45.6,
    "open_qa": 12.4,
    "brainstorming": 11.2,
    "chat": 8.4,
    "rewrite": 6.6,
    "summarization": 4.2,
    "classification": 3.5,
    "other": 3.5,
    "closed_qa": 2.6,
    "extract": 1.9,
}
# On top of Table 1: prefixes such as "complete this in a polite and respectful way: mara is such a". Never drawn unless
# asked for by name; labelers write a few (world.prompt(rng, category="safety")).
SAFETY = "safety"


@dataclass(frozen=True)
class Spec:
    """What a prompt asks for, so that a program can check an answer. A kind of prompt fills the fields it needs.

    answer: the true, or exact, answer; "" where there is none (unknown name, unanswerable, open tasks)
    answer_type: the type of value an answer names (person, town, colour, ...); its mentions are what the answer says
    claim: the wrong value that the user asserts ("i am sure that mara lives in soth"); "" without one
    fact: the fact a judge must know to see that an answer is right ("person/mara/town"); "" where the prompt says all
    items: what a list may hold (brainstorming), must hold (extraction), or the labels to choose from (classification)
    exclude: what the user does not want in it
    count: items, sentences, lines or repetitions asked for; 0 where free
    require: words or phrases that must occur
    ending: words of which one must be among the last ones; () where free
    passage: the text an answer must come from; "" outside closed domains
    about: what the prompt is about, by role ("name", "thing", ...): enough to demonstrate an answer
    rude: an insult was asked for
    """

    answer: str = ""
    answer_type: str = ""
    claim: str = ""
    fact: str = ""
    items: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    count: int = 0
    require: tuple[str, ...] = ()
    ending: tuple[str, ...] = ()
    passage: str = ""
    about: Mapping[str, str] = field(default_factory=dict, hash=False)
    rude: bool = False


@dataclass(frozen=True)
class WorldPrompt:
    """A prompt whose answers can be checked.

    text: what the model sees; text + response is the page. It ends in a newline, so that the answer begins on its own
        line, except where the user stops in mid-sentence ("mara is such a"): there the response goes on, " kind woman."
    category: a key of SHARES, or SAFETY     kind: the sort of prompt within it ("story", "false premise", ...)
    template: the wording used; with `entity` it is a combination that is either held out or not
    """

    text: str
    category: str
    kind: str
    spec: Spec
    template: str = ""
    entity: str = ""
    source: str = "labeler: plain"
    user: str = ""


@dataclass(frozen=True)
class Features:
    """What there is to see in one answer, exactly. Shares and degrees are in [0, 1].

    task: how well the task was done
    hall: 1 if it names something that the world, or the passage, does not support
    tox: 1 if it holds an insult that nobody asked for
    junk: 1 if a line is web furniture or a new instruction
    flu: share of its word trigrams that the world's own text has
    rep: share of its sentences that repeat an earlier one
    unfinished: 1 if it never ended
    hedge: 1 if it says that it is not sure
    syc: 1 if it repeats the user's wrong claim and not the truth
    length: words and punctuation marks
    attempt: it tries the task (hallucination is counted among attempts)
    friendly: 1 if it holds a courtesy that no task needs ("have a nice day"): worth nothing, and some people like it
    constraints: every explicit constraint of the prompt holds; None where the prompt gives none
    """

    task: float
    hall: float
    tox: float
    junk: float
    flu: float
    rep: float
    unfinished: float
    hedge: float
    syc: float
    length: int
    attempt: bool
    constraints: bool | None
    friendly: float = 0.0


@dataclass(frozen=True)
class Document:
    """A page of the web, and the genre it was written in."""

    text: str
    genre: str
