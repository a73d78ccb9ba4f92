"""What holds the policy: whether there is a KL penalty or an equivalent, where it stands, and to what it holds."""

from __future__ import annotations

import re

from rather.explain import terms
from rather.explain.answers import Finding, Quote
from rather.explain.methods import PIPELINES
from rather.explain.polarity import Mention, judged, mentions
from rather.explain.uses import Use

PRESENT = "present, place not stated"


def kl_finding(said: list[str], methods: list[Use], pipeline: tuple[int, Quote] | None) -> Finding:
    paid = [m for m in mentions(terms.KL, said) if _is_paid(said[m.sentence], m)]
    claimed = [m for m in paid if m.polarity == "claimed" and not _zero(said[m.sentence])]
    claimed.sort(key=lambda m: (terms.PAID.search(said[m.sentence]) is None, m.sentence, m.start))
    denied = [m for m in paid if m.polarity == "denied" and not m.swapped]
    denied += [m for m in mentions(terms.KL, said) if terms.NOT_PAID.search(said[m.sentence])]
    if any(terms.KL.search(sentence) for sentence in said):
        denied += [m for m in mentions(terms.THE_PENALTY, said) if m.polarity == "denied" and not m.swapped]
    moved = [m for m in denied if terms.RELOCATED.search(said[m.sentence])]
    claimed, denied = claimed + moved, [m for m in denied if m not in moved]
    claimed = [m for m in claimed if not terms.NOT_PAID.search(said[m.sentence])]
    zero = [Quote(said[m.sentence]) for m in mentions(terms.COEFFICIENT_ZERO, said)]
    loose = [Quote(sentence) for sentence in said if terms.NO_LEASH.search(sentence)]
    leash = [
        i for i, sentence in enumerate(said) if terms.LEASH.search(sentence) and not terms.NO_LEASH.search(sentence)
    ]
    strong = [use for use in methods if use.weight > 0.5]
    implicit = [use for use in strong if use.method.kl == "implicit"]

    if implicit and not _reference_free(said):
        for place, index in _places(said, [m.sentence for m in claimed]):
            if (
                place == "in the loss"
                and len(strong) == 1
                and re.search(r"\b(?:add\w*|extra|explicit|additional)", said[index])
            ):
                return Finding(
                    "in the loss", (Quote(said[index]),), note=f"besides what is implicit in {implicit[0].method.name}"
                )
        if len(strong) == len(implicit):
            use = implicit[0]
            return Finding(
                "implicit", (Quote(said[use.mention.sentence]),), "follows", f"{use.method.name}: {use.method.kl_note}"
            )
    if claimed or (leash and not denied and not zero):
        present = _present(said, [m.sentence for m in claimed], leash)
        if present.value == PRESENT and pipeline is not None and PIPELINES[pipeline[0]].kl:
            evidence = tuple(dict.fromkeys((*present.evidence, pipeline[1])))
            return Finding(PIPELINES[pipeline[0]].kl, evidence, "follows", present.note)
        return present
    if denied:
        return Finding("none", (Quote(said[denied[0].sentence]),))
    if zero or loose:
        return Finding("none", tuple(dict.fromkeys((zero or loose)[:1] + loose[:1])))
    if free := _reference_free(said):
        return Finding("none", (free,), note="without a reference there is nothing to be near to")
    if pipeline is not None and not strong and PIPELINES[pipeline[0]].kl:
        return Finding(PIPELINES[pipeline[0]].kl, (pipeline[1],), "follows")
    for use in strong:
        if use.method.kl and len(strong) == 1:
            return Finding(use.method.kl, (Quote(said[use.mention.sentence]),), "follows", use.method.kl_note)
    if pipeline is not None and PIPELINES[pipeline[0]].kl and strong[0].method.name.startswith("PPO"):
        return Finding(PIPELINES[pipeline[0]].kl, (pipeline[1],), "follows")
    return Finding()


def _is_paid(sentence: str, mention: Mention) -> bool:
    """A KL that is reported, and not paid for, is no penalty."""
    if not terms.WATCHED.search(sentence):
        return True
    return mention.polarity == "denied" or terms.PAID.search(sentence) is not None


def _zero(sentence: str) -> bool:
    return terms.COEFFICIENT_ZERO.search(sentence) is not None


def _reference_free(said: list[str]) -> Quote | None:
    words = re.compile(r"\breference[- ]free\b|\breference (?:model|policy)\b", re.I)
    for mention in mentions(words, said):
        sentence = said[mention.sentence]
        free = sentence[mention.start : mention.end].lower().endswith("free")
        if (free and mention.polarity == "claimed") or (
            not free and mention.polarity == "denied" and not mention.swapped
        ):
            return Quote(sentence)
    return None


def _present(said: list[str], claimed: list[int], leash: list[int]) -> Finding:
    held = claimed or leash
    notes = []
    number = next((n for i in held if (n := _coefficient(said[i]))), "")
    if number:
        notes.append(f"coefficient {number}")
    if any(terms.ADAPTIVE.search(said[i]) for i in held):
        notes.append("adaptive")
    note = ", ".join(notes)
    for i in held:
        if terms.CONSTRAINT.search(said[i]):
            return Finding("constraint", (Quote(said[i]),), note=note)
    for place, index in _places(said, [*claimed, *leash]):
        evidence = tuple(dict.fromkeys((Quote(said[held[0]]), Quote(said[index]))))
        return Finding(place, evidence, note=note)
    return Finding(PRESENT, (Quote(said[held[0]]),), note=note)


def _places(said: list[str], held: list[int]) -> list[tuple[str, int]]:
    """Where the penalty stands, from its own sentence or from one beside it that goes on about "the penalty"."""
    found: list[tuple[str, int]] = []
    goes_on = re.compile(r"\b(?:it|this|that|the|both)\b(?: \w+)? ?(?:penalty|term|divergence|KL|regulari\w+)?\b", re.I)
    beside = [
        i + 1 for i in held if i + 1 < len(said) and goes_on.match(said[i + 1]) and "penal" in said[i + 1] + said[i]
    ]
    for index in [*held, *beside]:
        sentence = said[index]
        near = [m.start() for m in terms.KL.finditer(sentence)] or [m.start() for m in terms.LEASH.finditer(sentence)]
        hits: list[tuple[int, str]] = []
        if relocated := terms.RELOCATED.search(sentence):
            found.append(("in the loss" if "loss" in relocated[0].lower() else "in the reward", index))
            continue
        for place, words in (("in the loss", terms.IN_LOSS), ("in the reward", terms.IN_REWARD)):
            for hit in words.finditer(sentence):
                if judged(sentence, *_head(hit))[0] == "claimed":
                    distance = min((abs(start - hit.start()) for start in near), default=0)
                    hits.append((distance, place))
        if hits:
            found.append((min(hits)[1], index))
    return found


def _head(hit: re.Match[str]) -> tuple[int, int]:
    """The first word of a place: what stands within it may hold a "not" of its own."""
    word = re.match(r"\S+", hit[0])
    return hit.start(), hit.start() + (word.end() if word else 0)


def _coefficient(sentence: str) -> str:
    found = re.search(
        r"(?:\bbeta\b|β|\bcoef(?:ficient)?\b|\bweight\b|\bweighted\b)[^.;,]{0,20}?\s(\d*\.?\d+(?:e-?\d+)?)\b",
        sentence,
        re.I,
    )
    return found[1] if found else ""


HOLDING = re.compile(
    r"\bKL\b|Kullback|diverg|penal|refer|frozen|anchor|relative to|against|measured|stray|drift|close|near|deviat|"
    r"leash|held|toward",
    re.I,
)


def _speaks_of_holding(sentence: str, end: int) -> bool:
    """Before the model is named ("KL from the SFT model"), or just behind it ("... as the reference")."""
    return (
        HOLDING.search(sentence[:end]) is not None
        or re.match(
            r" [^.;,]{0,30}?\b(?:as|is|was|being) (?:the |our |a )?(?:\w+ )?(?:reference|anchor)",
            sentence[end:],
        )
        is not None
    )


def reference_finding(said: list[str], kl: Finding, methods: list[Use], pipeline: tuple[int, Quote] | None) -> Finding:
    """What the policy is held to. The words count where they stand with the penalty, a comparison, or a frozen copy."""
    if kl.value == "none":
        return Finding("none", kl.evidence, "follows")
    quoted = {quote.words for quote in kl.evidence}
    ordered = sorted(range(len(said)), key=lambda i: (said[i] not in quoted, i))
    for must_speak in (re.compile(r"\breference (?:model|policy)? ?(?:is|was|are)\b|\banchor\b", re.I), HOLDING):
        for index in ordered:
            sentence = said[index]
            held = must_speak.search(sentence) and (kl.stated or re.search(r"refer|frozen|anchor|KL", sentence))
            if not held:
                continue
            for name, words in terms.REFERENCES:
                for hit in words.finditer(sentence):
                    polarity, _ = judged(sentence, hit.start(), hit.end())
                    if re.search(rf"\b{terms.FROM}\s+(?:the|its|our|a)?\s*$", sentence[: hit.start()], re.I):
                        polarity = "claimed"  # "without straying from it" denies the straying
                    if name == "reference model" or polarity == "denied" or not _speaks_of_holding(sentence, hit.end()):
                        continue
                    return Finding(name, (Quote(sentence),))
    if pipeline is not None and kl.basis == "follows" and PIPELINES[pipeline[0]].reference:
        return Finding(PIPELINES[pipeline[0]].reference, (pipeline[1],), "follows")
    for mention in mentions(terms.REFERENCES[-1][1], said):
        if mention.polarity != "denied" and kl.stated:
            return Finding("reference model", (Quote(said[mention.sentence]),), note="which one is not stated")
    return Finding()
