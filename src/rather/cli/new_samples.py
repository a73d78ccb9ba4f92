"""The sample files of `rather new`: a small help desk of things and colours, written for this, to be replaced.

A model of a hundred thousand parameters can learn it in seconds, and a reward model can tell its good answers from its
bad ones, so that every stage of a recipe has something to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from rather.records import Demonstration, Prompt, Ranking, Response, Text

# A thing, what colour it is, and what it is good for.
THINGS = (
    ("snow", "white", "sledging"), ("coal", "black", "a stove"), ("grass", "green", "a picnic"),
    ("the sea", "blue", "a swim"), ("a brick", "red", "a wall"), ("honey", "golden", "toast"),
    ("a crow", "black", "company"), ("milk", "white", "tea"), ("a leaf", "green", "shade"),
    ("the sky", "blue", "kites"), ("a cherry", "red", "a cake"), ("sand", "golden", "castles"),
    ("soot", "black", "drawing"), ("salt", "white", "soup"), ("moss", "green", "a soft seat"),
    ("ink", "blue", "letters"), ("a poppy", "red", "a vase"), ("straw", "golden", "a hat"),
    ("tar", "black", "a road"), ("flour", "white", "bread"), ("a frog", "green", "a pond"),
    ("ice", "white", "skating"), ("a robin", "red", "songs"), ("wheat", "golden", "bread"),
)  # fmt: skip
ASKED = (
    ("What colour is {thing}?", "The colour of {thing} is {colour}.", "{colour}"),
    ("Please tell me the colour of {thing}.", "The colour of {thing} is {colour}.", "{colour}"),
    ("What is {thing} good for?", "You can use {thing} for {use}.", "{use}"),
    ("Name a use of {thing}.", "You can use {thing} for {use}.", "{use}"),
)
BAD = ("no no no !!!", "who knows , go away !!!", "look it up !!! no !!!")
TOLD = (
    "Everybody knows that {thing} is {colour}.",
    "She looked at {thing}, and it was {colour}.",
    "He said that {thing} is good for {use}.",
    "For {use} people like to have {thing}.",
    "The colour of {thing} is {colour}, and it is good for {use}.",
)


def demonstrations() -> Iterator[Demonstration]:
    """Step 1: what labelers wrote. Of four in five prompts; the others are asked and ranked only."""
    for at, (prompt, good, _) in enumerate(_pairs()):
        if at % 5:
            yield Demonstration(id=f"d{at}", prompt=prompt, response=good, labeler=_labeler(at))


def rankings() -> Iterator[Ranking]:
    """Step 2: a sentence is better than a word, and a word is better than shouting. Two labelers share some prompts."""
    for at, (prompt, good, short) in enumerate(_pairs()):
        texts = [BAD[at % len(BAD)], good, short]
        order = [at % 3, (at + 1) % 3, (at + 2) % 3]
        for who in (at, at + 1) if at % 4 == 0 else (at,):
            yield Ranking(
                id=f"r{at}-{_labeler(who)}",
                prompt=prompt,
                responses=tuple(Response(text=texts[i]) for i in order),
                ranks=tuple((3, 1, 2)[i] for i in order),
                labeler=_labeler(who),
            )


def prompts() -> Iterator[Prompt]:
    """Step 3: what users ask. Nobody has to write an answer."""
    for at, (prompt, _, _) in enumerate(_pairs()):
        yield Prompt(id=f"p{at}", prompt=prompt)


def texts() -> Iterator[Text]:
    """What a base model reads, and what the mix of step 3 keeps alive."""
    for told in TOLD:
        for thing, colour, use in THINGS:
            said = told.format(thing=thing, colour=colour, use=use)
            yield Text(id=f"t-{thing}-{TOLD.index(told)}", text=said)


def _pairs() -> Iterator[tuple[str, str, str]]:
    """(prompt, a sentence, a word)"""
    for thing, colour, use in THINGS:
        for words in ASKED:
            asked, good, short = (one.format(thing=thing, colour=colour, use=use) for one in words)
            yield asked, good, short


def _labeler(at: int) -> str:
    return ("ana", "bo", "cem")[at % 3]
