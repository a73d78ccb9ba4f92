# ruff: noqa: E501  (a pattern broken over lines is harder to read than a long one)
"""Which methods a text uses itself, told from those it names for comparison, and which of several it is about."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rather.explain.methods import METHODS, Method
from rather.explain.polarity import Mention, mentions

USING = re.compile(
    r"\b(?:us|train|run|appl|employ|adopt|optimi[sz]|fine-?tun|tun|align|follow|switch|mov|then|via|through|with|by)"
    r"(?:e|es|ed|ing|y|ies|ied|s|ning|ned)?\b[^.;]{0,70}$",
    re.I,
)
INTRODUCING = re.compile(
    r"\b(?:we|our|this (?:paper|work)|i)\b[^.;]{0,140}\b(?:propos\w+|introduc\w+|present|call(?:ed)?|develop\w*|offer|derive)\b[^.;]{0,60}$|"
    r"\bour (?:method|algorithm|approach|system|recipe|variant|objective)\b[^.;]{0,20}$|\bcall(?:ed)? (?:it |this )?$",
    re.I,
)
OURS = re.compile(r"\b(?:we|our|us|i)\b", re.I)
# What has been proposed, or is widely used, is somebody else's.
KNOWN = re.compile(
    r"^\)?[^.;,]{0,12}\b(?:has been|have been|was|were|is|are) (?:\w+ly )?(?:a |an |the |one of the )?(?:\w+ly )?"
    r"(?:proposed|introduced|positioned|considered|seen|popular|standard|common|dominant|canonical|prevailing|used (?:algorithm|method|approach|technique))",
    re.I,
)
CRITICISED = re.compile(
    r"^[^.;,]{0,40}\b(?:overfit\w*|suffers?|struggl\w+|unstable|complicated|requires(?! no)|needs(?! no)|drawback|limitation|collapses|"
    r"expensive|fragile)\b",
    re.I,
)
BUILT_ON = {"PPO": 0.0, "REINFORCE": 0.1}  # machinery that other methods are made of: what is beside it wins
NAMED_ONLY = 0.2  # somebody else's, or a comparison
USED = 2.0  # "we train with X", "X is used"


@dataclass(frozen=True)
class Use:
    """introduced: "we propose X": then what else is named has to be said to be used"""

    method: Method
    mention: Mention
    weight: float
    introduced: bool = False
    ours: bool = False


def uses(said: list[str]) -> list[Use]:
    """Every place where a method is named or described and not denied, in the order of the text."""
    found: list[Use] = []
    taken: list[Mention] = []
    for method in METHODS:
        for pattern, is_name in method.patterns():
            for mention in mentions(pattern, said):
                overlaps = any(
                    m.sentence == mention.sentence and m.start < mention.end and mention.start < m.end for m in taken
                )
                if is_name and overlaps:
                    continue  # the "GRPO" in "Dr. GRPO"
                if is_name:
                    taken.append(mention)
                if mention.polarity != "denied":
                    sentence = said[mention.sentence]
                    weight = _weight(sentence, mention, is_name) + BUILT_ON.get(method.name, 0.3)
                    new = weight > USED / 2 and INTRODUCING.search(sentence[: mention.start]) is not None
                    found.append(Use(method, mention, weight + 1.5 * new, new, OURS.search(sentence) is not None))
    return sorted(found, key=lambda use: (use.mention.sentence, use.mention.start))


def _weight(sentence: str, mention: Mention, is_name: bool) -> float:
    before, after = sentence[: mention.start], sentence[mention.end :]
    if (mention.polarity == "others" and is_name) or CRITICISED.search(after) or KNOWN.search(after):
        return NAMED_ONLY
    weight = 1.0 if is_name else 1.5
    if USING.search(before) or re.match(r"[\w -]{0,20}\b(?:is|are|was) (?:used|run|applied|trained)", after):
        weight += 1.0
    if is_name and not before.strip():  # what a sentence is about
        weight += 0.8
    if before.endswith("(") or re.match(r"\s*\(", after):
        weight += 0.3
    return weight


def chosen(found: list[Use]) -> list[Use]:
    """The policy's method, or methods where several are used one after the other; the best evidence of each."""
    best: dict[str, Use] = {}
    times: dict[str, int] = {}
    for use in found:
        name = use.method.name
        times[name] = times.get(name, 0) + (use.weight > 1)
        if name not in best or use.weight > best[name].weight:
            best[name] = use
    if not best:
        return []
    first = max(best.values(), key=lambda use: use.weight + 0.3 * min(times[use.method.name], 3))
    steps = [use for use in best.values() if use is first or _another_step(use, first)]
    return sorted(steps, key=lambda use: (use.mention.sentence, use.mention.start))


def _another_step(use: Use, first: Use) -> bool:
    """A method of its own beside the first: selection, pairs and reinforcement can follow each other."""
    if first.introduced and not use.ours:
        return False
    families = {_family(use.method.name), _family(first.method.name)}
    return use.weight >= USED and first.weight > 1 and len(families) == 2


def _family(name: str) -> str:
    if name in ("rejection sampling", "best-of-N", "policy averaging"):
        return name
    offline = ("SimPO", "ORPO", "CPO", "KTO", "IPO", "DPO", "SLiC", "RRHF", "PRO", "SPIN")
    return "preferences" if name in offline else "reinforcement"
