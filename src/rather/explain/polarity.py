# ruff: noqa: E501  (a pattern broken over lines is harder to read than a long one)
"""Who says what of what: sentences, and whether a term in one is claimed, denied, or somebody else's.

"without a KL penalty" denies, "unlike PPO" and "usually, RLHF fits a reward model" speak of others, "instead of PPO we
use DPO" denies the first and claims the second. The scope of a "not" ends where a new clause begins; a "no" before a
list ("no critic, reference or KL penalty") holds for the whole list.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Polarity = Literal["claimed", "denied", "others"]

ABBREVIATIONS = (
    r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bet al\.)(?<!\bDr\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bFig\.)(?<!\bEq\.)(?<!\bSec\.)"
)
SENTENCE_END = re.compile(
    rf"{ABBREVIATIONS}(?<=[.!?])[\"')\]”]*\s+(?=[\"'(\[“]?[A-Z0-9*-])|\n\s*\n|\n\s*(?=[-*•]\s|\d+[.)]\s)"
)
# A verb of removing may itself be denied: "we do not drop the KL penalty".
REMOVING = (
    r"avoid\w*|skip\w*|omit\w*|drop(?:s|ped|ping)?|remov\w*|eliminat\w*|discard\w*|bypass\w*|forgo\w*|forego\w*|"
    r"dispens\w+ with|do(?:es|ing)? away with|did away with|gets? rid of|got rid of|lack\w*|leav\w+ out|left out|"
    r"switch\w* off|turn\w* off|disabl\w*|abandon\w*|obviat\w*|sidestep\w*|circumvent\w*|ablat\w*|exclud\w*|ditch\w*|scrap(?:s|ped|ping)?|delet\w*|g(?:ive|ives|ave|iving) up|get(?:s|ting)? by without|"
    r"(?:un|without )necessar\w+"
)
REPLACING = r"replac(?:e|es|ed|ing)|swap(?:s|ped|ping)?(?: out)?|substitut(?:e|es|ed|ing)"
NOT = (
    r"\bno\b(?! more than| fewer| less)|\bnot\b(?! only| just| merely| simply)|n['’]t\b|\bwithout\b|\bnever\b|\bneither\b|\bnor\b|"
    r"\bnone of\b|\bcannot\b|\bfree of\b|\binstead of\b|\brather than\b|\bin place of\b|\bin lieu of\b|\bas opposed to\b|\bzero\b|"
    r"\bnobody\b|\bnothing\b"
)
BEFORE = re.compile(rf"{NOT}|\b(?:{REMOVING})\b|\b(?:{REPLACING})\b", re.I)
DENIED_REMOVAL = re.compile(r"(?:\bnot|n['’]t|\bwithout|\bnever|\brather than|\binstead of)\s+(?:\w+\s+){0,2}$", re.I)
# Where the scope of a "not" ends. "it" and "we" begin a new clause unless the not is their own ("we do not").
BREAK = re.compile(
    r"[;:]|\bbut\b|\bwhile\b|\bwhereas\b|\balthough\b|\bthough\b|\bbecause\b|\bthanks to\b|\ballowing\b|\benabling\b|\bowing to\b|\bdue to\b|\bsince\b|\bso that\b|\bso\b|\bwhich\b|\bthen\b|"
    r"\b(?:we|they|it|i|you)\b|—|--| – | - |, (?:using|keeping|adding|only|just|with|relying|making|training|and (?:use|add|keep|train|rely|run|take|optimi)\w*)\b|"
    r"\band (?:then )?(?:start|begin|run|use|train|go|apply|optimi[sz]e|add|keep|take|rely|put|let|move|switch|fit|fine-?tune|update|maximi[sz]e|minimi[sz]e)s?\b|"
    r", (?:the|a|an|our|this|that|each|every|its)\s+(?:[\w'’-]+\s+){1,4}(?:is|are|was|were|has|have|can|will|gets?|learns?|uses?|comes?)\b",
    re.I,
)
BY = re.compile(r"\b(?:by|with|for)\b", re.I)
NEW_SUBJECT = re.compile(
    r"^[\w'’-]*(?:\s+[\w'’-]+){0,3}?\s+(?:is|are|was|were|keeps?|makes?|does|serves?|comes?|acts?)\b(?! (?:not|no)\b)",
    re.I,
)
AFTER = re.compile(
    r"^(?:-| )free\b|^\)?\s*(?:to be )?(?:unnecessary|superfluous|useless|harmful|redundant|needless)\b|"
    rf"^[^.;:]{{0,45}}?\band (?:so |then |therefore )?(?:we )?(?:{REMOVING}) it\b|"
    r"^\)?[^.;:]{0,45}?\b(?:is|are|was|were|has been|have been|be|being|gets?|does|do|did)\s*(?:not\b|n['’]t\b|never\b|no longer\b)(?! only| just| merely)|"
    rf"^\)?[^.;:,]{{0,45}}?\b(?:is|are|was|were|has been|have been|be|being|gets?|can be)\s+(?:\w+ly |then |also |entirely |simply )?(?:{REMOVING}|unnecessary|absent|superfluous|set to (?:0|zero)\b(?!\.[1-9])|replaced|swapped|switched off|turned off|off|zero)\b",
    re.I,
)
OTHERS = re.compile(
    r"\b(?:unlike|in contrast (?:to|with)|compar\w+ (?:\w+ )?(?:to|with|against)|(?<!rather )(?<!other )than|versus|vs\.?|outperform\w*|exceed\w*|match(?:es|ed|ing)?(?= (?:or \w+ )?(?:(?-i:[A-Z])|$))|"
    r"beats?|surpass\w*|as (?:good|strong|well|effective|stable) as|on par with|prior work|previous\w*|earlier (?:work|methods)|existing|tradition\w*|"
    r"convention\w*|standard|common(?:ly)?|usual(?:ly)?|typical(?:ly)?|normal(?:ly)?|popular|most|often|alternative to|superior\w* to|better than|differs? from|"
    r"(?:is|as) (?:a |an )?(?:\w+ )?(?:variant|version|simplification|special case) of|in the style of|similar to|(?:methods|algorithms|approaches|techniques|objectives|losses|work) (?:such as|like)|baselines?|"
    r"(?:ratio|clip|clipping|objective|idea|development|components|performance|hyperparameters|complexity|cost|instability|value network|critic) of)\b",
    re.I,
)
OURS = re.compile(
    r"\b(?:we|our \w+|i|the (?:policy|model|chatbot|assistant|\w+ model))\b[^.;]{0,30}?\b(?:use|train|run|apply|employ|follow|optimi[sz]e|adopt|fine-?tune|keep|add|perform)\w*\b[^.;]{0,40}$",
    re.I,
)
OTHERS_AFTER = re.compile(r"^(?:['’]s\b|-like\b|[- ](?:based )?(?:\w+ )?baselines?\b)", re.I)


LONGEST = 700  # characters of a sentence; what has no full stop is cut, because patterns look a sentence through


@dataclass(frozen=True)
class Mention:
    """One place where a term stands: which sentence, where in it, and what is said of it."""

    sentence: int
    start: int
    end: int
    polarity: Polarity
    swapped: bool = False  # denied by "instead of X" or "replaces X": something stands in its place


def sentences(text: str) -> list[str]:
    parts = (" ".join(part.split()) for part in SENTENCE_END.split(text))
    return [piece for part in parts if part for piece in textwrap.wrap(part, LONGEST, break_on_hyphens=False)]


def mentions(pattern: re.Pattern[str], said: list[str]) -> Iterator[Mention]:
    for index, sentence in enumerate(said):
        for found in pattern.finditer(sentence):
            polarity, swapped = judged(sentence, found.start(), found.end())
            yield Mention(index, found.start(), found.end(), polarity, swapped)


def judged(sentence: str, start: int, end: int) -> tuple[Polarity, bool]:
    before, after = sentence[:start], sentence[end:]
    for cue in reversed(list(BEFORE.finditer(before))):
        gap = before[cue.end() :]
        if len(gap) > 100:
            break
        word = cue[0].lower()
        replacing = re.fullmatch(REPLACING, word) is not None
        if BREAK.search(gap) or (replacing and BY.search(gap)):
            break
        if _fronted(before[: cue.start()]) and _main_clause_begins(gap + sentence[start:], len(gap)):
            break
        if re.search(r",|\band\b", gap) and NEW_SUBJECT.search(after):
            continue
        removing = replacing or re.fullmatch(REMOVING, word) is not None
        if (removing or word == "without") and DENIED_REMOVAL.search(before[: cue.start()]):
            return "claimed", False
        return "denied", replacing or word in (
            "instead of",
            "rather than",
            "in place of",
            "in lieu of",
            "as opposed to",
        )
    found = AFTER.search(after)
    if found and re.match(
        r"\s*(?:only )?(?:after|until|once|for the|at the|in the|towards the) ", after[found.end() :]
    ):
        found = None  # "is switched off after the first thousand steps": until then it is there
    if found and not re.search(r",? (?:but|which|and) ", found[0]):
        return "denied", "replaced" in found[0] or "swapped" in found[0]
    if OTHERS_AFTER.search(after):
        return "others", False
    if before.endswith("("):  # the acronym of what stands before it
        return "claimed", False
    for cue in reversed(list(OTHERS.finditer(before))):
        gap = before[cue.end() :]
        if len(gap) > 70 or BREAK.search(gap):
            break
        if _fronted(before[: cue.start()]) and _main_clause_begins(gap + sentence[start:], len(gap)):
            break
        ours = OURS.search(before[: cue.start()])
        if ours and not BREAK.search(before[ours.start() : cue.start()].partition(" ")[2]):
            break
        return "others", False
    return "claimed", False


LISTED = re.compile(
    r"\s*(?:(?:or|and|nor)\b|(?:(?:a|an|any|the)\s)?[\w-]+(?:\s[\w-]+){0,3}\s*,?\s*\b(?:or|and|nor)\b[^,]*,)"
)


def _fronted(before: str) -> bool:
    return not before.strip() or before.rstrip().endswith(",")


def _main_clause_begins(rest: str, at: int) -> bool:
    """Whether, after a "Rather than comparing answers, our raters ...", a comma before `at` ends what is denied."""
    return any(not LISTED.match(rest, comma + 1) for comma in (m.start() for m in re.finditer(",", rest[:at])))
