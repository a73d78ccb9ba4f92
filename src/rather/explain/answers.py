"""What the explainer answers with: a value, the words of the text it rests on, and how it follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rather.errors import visible

NOT_STATED = "not stated"
# stated: the quoted words say it. follows: they name a method that has it by definition. default: a recipe leaves a
# setting at the value that rather gives it.
Basis = Literal["stated", "follows", "default"]
STAGES = ("sft", "reward", "policy")
STAGE_NAMES = {"sft": "supervised fine-tuning", "reward": "reward model", "policy": "policy"}


@dataclass(frozen=True)
class Quote:
    """words: verbatim, but for runs of white space.   where: `recipes/hh.toml:12` or "" for a text"""

    words: str
    where: str = ""


@dataclass(frozen=True)
class Finding:
    value: str = NOT_STATED
    evidence: tuple[Quote, ...] = ()
    basis: Basis = "stated"
    note: str = ""

    def __post_init__(self) -> None:
        assert self.evidence or self.value == NOT_STATED, f"{self.value!r} is claimed without evidence"

    @property
    def stated(self) -> bool:
        return self.value != NOT_STATED

    def to_dict(self) -> dict[str, Any]:
        said: dict[str, Any] = {"value": self.value}
        if self.stated:
            said |= {"basis": self.basis, "evidence": [_quote(quote) for quote in self.evidence]}
        return said | ({"note": self.note} if self.note else {})


@dataclass(frozen=True)
class Explanation:
    """about_rlhf: False where the text is about something else; then every other answer is "not stated"

    stages: how each stage differs from InstructGPT ("as in InstructGPT", "changed: ...", "left out")
    losses: the loss of each stage      kl: whether there is a KL penalty or an equivalent, and where
    """

    about_rlhf: Finding
    stages: dict[str, Finding]
    losses: dict[str, Finding]
    kl: Finding
    reference: Finding
    preferences: Finding

    @property
    def modified(self) -> tuple[str, ...]:
        """The stages that are not as in InstructGPT, as far as the text says."""
        return tuple(s for s in STAGES if self.stages[s].value.startswith(("changed", "left out")))

    def findings(self) -> dict[str, Finding]:
        named = {f"stage {stage}": self.stages[stage] for stage in STAGES}
        named |= {f"loss {stage}": self.losses[stage] for stage in STAGES}
        return named | {"kl": self.kl, "reference": self.reference, "preferences": self.preferences}

    def to_dict(self) -> dict[str, Any]:
        return {
            "about_rlhf": self.about_rlhf.value == "yes",
            "why": self.about_rlhf.to_dict(),
            "modified": list(self.modified),
            "stages": {stage: finding.to_dict() for stage, finding in self.stages.items()},
            "losses": {stage: finding.to_dict() for stage, finding in self.losses.items()},
            "kl": self.kl.to_dict(),
            "reference": self.reference.to_dict(),
            "preferences": self.preferences.to_dict(),
        }


def nothing(why: str) -> Explanation:
    """For a text that is about something else."""
    empty = {stage: Finding() for stage in STAGES}
    return Explanation(Finding(note=why), empty, dict(empty), Finding(), Finding(), Finding())


def in_words(explanation: Explanation) -> list[str]:
    """Lines for a terminal; hostile text in a quotation cannot paint it."""
    if explanation.about_rlhf.value != "yes":
        return [f"Not about RLHF. {explanation.about_rlhf.note}"]
    modified = ", ".join(STAGE_NAMES[stage] for stage in explanation.modified)
    lines = [f"Stages modified against InstructGPT: {modified or 'none, as far as it says'}"]
    for stage in STAGES:
        lines += ["", STAGE_NAMES[stage].capitalize()]
        lines += _told("what is done", explanation.stages[stage], ()) + _told(
            "loss", explanation.losses[stage], explanation.stages[stage].evidence
        )
    lines.append("")
    for name in ("kl", "reference", "preferences"):
        words = {"kl": "KL or equivalent", "reference": "reference", "preferences": "preferences from"}[name]
        lines += _told(words, getattr(explanation, name), ())
    return lines


def _told(what: str, finding: Finding, quoted: tuple[Quote, ...]) -> list[str]:
    basis = {"stated": "", "follows": "  (follows from what is quoted)", "default": "  (default)"}[finding.basis]
    lines = [f"  {what}: {visible(finding.value)}{basis if finding.stated else ''}"]
    if finding.note:
        lines.append(f"      {visible(finding.note)}")
    for quote in finding.evidence:
        if quote not in quoted:
            where = f"{visible(quote.where)}: " if quote.where else ""
            lines.append(f'      {where}"{visible(quote.words)}"')
    return lines


def _quote(quote: Quote) -> dict[str, str]:
    return {"words": quote.words} | ({"where": quote.where} if quote.where else {})
