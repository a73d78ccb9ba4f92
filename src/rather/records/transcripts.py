"""Dialogues written as one text with `Human:` and `Assistant:` turns, as Anthropic published its preferences."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rather.records.types import Message

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
ROLE = {"Human": "user", "Assistant": "assistant"}
SPEAKER = {"user": "Human", "assistant": "Assistant"}
# The sampler of the published files stopped at "\n\nHuman:" and sometimes left the first half of it in the answer.
STUMPS = ("\n\nHuman", "\n\nAssistant")


def is_transcript(text: str) -> bool:
    return bool(re.match(r"\s*(Human|Assistant):", text)) and "Assistant:" in text


def turns_of(transcript: str) -> tuple[Message, ...]:
    """The turns of a transcript. Two turns of one speaker in a row are one turn: no chat template takes two.

    Only a marker at the start of a paragraph begins a turn; "Human:" inside a line is text, as in the published files.
    """
    start, *parts = TURN.split(transcript.lstrip())
    if start.strip():
        raise ValueError(f"the transcript begins with {start.strip()[:30]!r} and not with Human: or Assistant:")
    turns: list[tuple[str, str]] = []
    for speaker, said in zip(parts[::2], parts[1::2], strict=True):
        said = _without_stumps(said).strip()
        if turns and turns[-1][0] == speaker:
            said = "\n\n".join(part for part in (turns.pop()[1], said) if part)
        turns.append((speaker, said))
    if not turns:
        raise ValueError("there is no turn")
    return tuple(Message(role=ROLE[speaker], content=said) for speaker, said in turns)


def _without_stumps(said: str) -> str:
    """By hand and not by a pattern, which would begin anew at each of the stumps of a text that is made of them."""
    end = len(said)
    while True:
        while end and said[end - 1].isspace():
            end -= 1
        stump = next((stump for stump in STUMPS if said.endswith(stump, 0, end)), None)
        if stump is None:
            return said[:end]
        end -= len(stump)


def transcript_of(turns: Sequence[Message]) -> str:
    """The other way round; space around a turn is lost. What would read as other turns is refused, and so is a system
    turn."""
    odd = [turn.role for turn in turns if turn.role not in SPEAKER]
    if odd:
        raise ValueError(f"a transcript has Human: and Assistant: turns only, not {odd[0]}")
    said = [(turn.role, turn.content.strip()) for turn in turns]
    transcript = "".join(f"\n\n{SPEAKER[role]}: {content}" for role, content in said)
    if [(turn.role, turn.content) for turn in turns_of(transcript)] != said:
        raise ValueError("a turn would read differently: a paragraph in it begins with Human: or Assistant:")
    return transcript
