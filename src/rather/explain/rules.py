"""The explainer's rules: from a description in English to what it says of each stage, its losses and its KL penalty.

Every answer carries the sentence it rests on. What the text does not say is "not stated"; what a named method has by
definition ("DPO": no reward model, KL implicit) is given as following from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from rather.explain import terms
from rather.explain.answers import NOT_STATED, Explanation, Finding, Quote, nothing
from rather.explain.held import kl_finding, reference_finding
from rather.explain.methods import BY_NAME, PIPELINES
from rather.explain.polarity import Mention, Polarity, mentions, sentences
from rather.explain.uses import Use, chosen, uses

ALIGNED = re.compile(r"\balign\w*\b[^.;]{0,60}\b(?:with|to)\s+(?:\w+\s)?$", re.I)
HUMAN_FEEDBACK = re.compile(r"\bfrom human feedback\b|\bRLHF\b", re.I)
FOLLOWED = re.compile(r"\b(?:same as|as in|following|follows?|recipe of|that of)\s+(?:the )?$", re.I)
DISPARAGED = re.compile(
    r"^[^.;,]{0,25}\b(?:slow|dear|expensive|costly|hard|scarce|time-consuming|does not scale|noisy)\b", re.I
)
AS_BEFORE = "as in InstructGPT"
# Methods that train on pairs or single labels and so have no reward model; the rest of the offline ones use a scorer.
WITHOUT_REWARD_MODEL = {name for name, method in BY_NAME.items() if method.reward == "none"}


def explain(text: str) -> Explanation:
    """What a description of a pipeline, or a paper's abstract, says."""
    said = sentences(text)
    found = uses(said)
    about = _about_rlhf(said, found)
    if about.value != "yes":
        return nothing(about.note)
    methods = chosen(found)
    # A paper that proposes a method names InstructGPT as what it departs from.
    pipeline = None if any(use.introduced for use in methods) else _pipeline(said)
    policy = _policy_loss(said, methods, pipeline)
    preferences = _preferences(said, pipeline)
    sft = _sft_loss(said, methods, pipeline)
    reward = _reward_loss(said, methods, pipeline)
    kl = kl_finding(said, methods, pipeline)
    losses = {"sft": sft, "reward": reward, "policy": policy}
    stages = {
        "sft": _sft_stage(said, sft, methods),
        "reward": _reward_stage(said, reward, preferences),
        "policy": _policy_stage(said, policy, kl),
    }
    return Explanation(about, stages, losses, kl, reference_finding(said, kl, methods, pipeline), preferences)


# ---- is it about RLHF


def _about_rlhf(said: list[str], found: list[Use]) -> Finding:
    text = " ".join(said)
    technical = len({hit[0].lower() for hit in terms.TECHNICAL.finditer(text)})
    language = terms.LANGUAGE.search(text) is not None
    feedback = _first(said, terms.FEEDBACK)
    if feedback is not None:
        return Finding("yes", (feedback,))
    strong = [use for use in found if use.weight > 0.5]
    if strong and (terms.ELSEWHERE.search(text) is None or terms.LANGUAGE_MODEL.search(text)):
        known = any(_unmistakable(said, use) for use in strong)
        if technical + language >= (2 if known else 3):
            return Finding("yes", (_quote(said, strong[0].mention),))
    trained = _first(said, terms.REWARD_MODEL) or _first(said, terms.SFT) or _first(said, terms.REINFORCEMENT)
    if trained is not None and language and terms.LEARNING.search(text):
        people = [quote for _, words in terms.PREFERENCES if (quote := _first(said, words)) is not None]
        if people:
            return Finding("yes", (people[0],))
        if terms.REINFORCEMENT.search(text) and terms.LANGUAGE_MODEL.search(text):
            return Finding("yes", (trained,))
    if strong:
        name = strong[0].method.name
        return Finding(
            note=f"It may mean {name}, but nothing of a language model that learns from preferences or rewards."
        )
    return Finding(note="It says nothing of a model that learns from preferences, demonstrations or rewards.")


def _unmistakable(said: list[str], use: Use) -> bool:
    """Told by its name written out, by an acronym that means nothing else, or by a description."""
    words = said[use.mention.sentence][use.mention.start : use.mention.end]
    return words not in ("PPO", "DPO", "IPO", "KTO", "CPO", "PRO", "SPIN", "RAFT", "WARP", "STaR", "ReST", "BoN", "A2C")


def _first(
    said: list[str], words: re.Pattern[str], polarities: Iterable[Polarity] = ("claimed", "others", "denied")
) -> Quote | None:
    return next((_quote(said, m) for m in mentions(words, said) if m.polarity in polarities), None)


def _quote(said: list[str], mention: Mention) -> Quote:
    return Quote(said[mention.sentence])


def _of(said: list[str], words: re.Pattern[str], polarity: Polarity = "claimed") -> list[Mention]:
    return [m for m in mentions(words, said) if m.polarity == polarity]


def _pipeline(said: list[str]) -> tuple[int, Quote] | None:
    """(which of PIPELINES the text says it follows or is, where)"""
    for number, pipeline in enumerate(PIPELINES):
        for mention in mentions(pipeline.name, said):
            before = said[mention.sentence][: mention.start]
            if mention.polarity == "claimed" or (mention.polarity == "others" and FOLLOWED.search(before)):
                return number, _quote(said, mention)
    return None


def _from_pipeline(
    pipeline: tuple[int, Quote] | None, what: Literal["sft", "reward", "policy", "preferences"]
) -> Finding:
    if pipeline is None:
        return Finding()
    value = getattr(PIPELINES[pipeline[0]], what)
    return Finding(value, (pipeline[1],), "follows") if value else Finding()


# ---- losses


def _policy_loss(said: list[str], methods: list[Use], pipeline: tuple[int, Quote] | None) -> Finding:
    strong = [use for use in methods if use.weight > 0.5]
    if strong:
        names = [use.method.name for use in strong]
        evidence = tuple(dict.fromkeys(_quote(said, use.mention) for use in strong))
        note = "; ".join(use.method.loss for use in strong)
        mix = _of(said, terms.PRETRAINING_MIX)
        if "PPO" in names and mix:
            names[names.index("PPO")] = "PPO-ptx"
            note = note.replace(BY_NAME["PPO"].loss, BY_NAME["PPO-ptx"].loss)
            evidence = tuple(dict.fromkeys((*evidence, _quote(said, mix[0]))))
        return Finding(" then ".join(dict.fromkeys(names)), evidence, note=note)
    if pipeline is not None:
        return _from_pipeline(pipeline, "policy")
    learning = _of(said, terms.REINFORCEMENT)
    if learning:
        return Finding("reinforcement learning", (_quote(said, learning[0]),), note="which algorithm is not stated")
    denied = _of(said, terms.REINFORCEMENT, "denied")
    if denied:
        return Finding("none", (_quote(said, denied[0]),))
    if methods:
        use = methods[0]
        return Finding(use.method.name, (_quote(said, use.mention),), note="named only beside something else")
    return Finding()


def _sft_loss(said: list[str], methods: list[Use], pipeline: tuple[int, Quote] | None) -> Finding:
    joined = [use for use in methods if use.method.sft == "joined"]
    if joined:
        return Finding(
            "joined", (_quote(said, joined[0].mention),), "follows", "cross-entropy is a term of the policy's loss"
        )
    selected = [use for use in methods if use.method.sft == "selected"]
    if selected:
        return Finding("cross-entropy", (_quote(said, selected[0].mention),), "follows", "on the selected samples")
    trained = _of(said, terms.SFT)
    if not trained:
        skipped = [m for m in mentions(terms.SFT, said) if m.polarity == "denied"] or _of(said, terms.NO_SFT)
        if skipped:
            return Finding("none", (_quote(said, skipped[0]),))
    for value, words in terms.SFT_LOSSES:
        named = [m for m in _of(said, words) if any(m.sentence == t.sentence for t in trained)]
        if named:
            return Finding(value, (_quote(said, named[0]),))
    if trained:
        return Finding("cross-entropy", (_quote(said, trained[0]),), "follows", "what imitating an answer minimises")
    return _from_pipeline(pipeline, "sft")


def _reward_loss(said: list[str], methods: list[Use], pipeline: tuple[int, Quote] | None) -> Finding:
    without = [use for use in methods if use.weight > 0.5 and use.method.name in WITHOUT_REWARD_MODEL]
    models = _of(said, terms.REWARD_MODEL)
    denied = [m for m in mentions(terms.REWARD_MODEL, said) if m.polarity == "denied"]
    checked = _of(said, terms.CHECKER)
    if without and len(methods) == len(without):
        stated = denied or [use.mention for use in without]
        return Finding("none", (_quote(said, stated[0]),), "stated" if denied else "follows")
    fitted = _fitted(said, models, without)
    if checked and models and not denied and fitted.stated:
        evidence = (_quote(said, checked[0]), *fitted.evidence)
        return Finding(f"checker and {fitted.value}", evidence, note="a program and a model that is fitted")
    if checked and (denied or not models):
        return Finding("checker", (_quote(said, checked[0]),), note="a program decides; nothing is fitted")
    if denied and not models:
        return Finding("none", (_quote(said, denied[0]),))
    return fitted if fitted.stated else _from_pipeline(pipeline, "reward")


def _fitted(said: list[str], models: list[Mention], without: list[Use]) -> Finding:
    """The loss that a reward model is fitted with, from the sentences that speak of it and those beside them."""
    near = {m.sentence for m in models}
    beside = near | {s + 1 for s in near} | {s - 1 for s in near}
    offline = {use.mention.sentence for use in without}
    for value, words in terms.REWARD_LOSSES:
        for sentences_ in (near, beside):
            named = [m for m in _of(said, words) if m.sentence in sentences_ - offline]
            if named and (value != "pairwise" or _learns(said[named[0].sentence])):
                note = "which of two is preferred; the form of the loss is not stated" if value == "pairwise" else ""
                return Finding(value, (_quote(said, named[0]),), note=note)
    return Finding()


def _learns(sentence: str) -> bool:
    return re.search(r"\b(?:train|fit|fine-?tun|learn|predict|taught|guess|estimat)\w*", sentence) is not None


# ---- stages against InstructGPT


def _sft_stage(said: list[str], loss: Finding, methods: list[Use]) -> Finding:
    if loss.value == "none":
        return Finding("left out", loss.evidence)
    if loss.value == "joined":
        return Finding("changed: joined with the preference loss", loss.evidence, loss.basis)
    if any(use.method.sft == "selected" for use in methods):
        return Finding("changed: on selected samples of the model", loss.evidence, loss.basis)
    trained = {m.sentence for m in _of(said, terms.SFT)}
    data = [m for m in _of(said, terms.SFT_DATA) if m.sentence in trained]
    if data:
        return Finding("changed: on answers that a model wrote or a filter kept", (_quote(said, data[0]),))
    return Finding(AS_BEFORE, loss.evidence, loss.basis) if loss.stated else Finding()


def _reward_stage(said: list[str], loss: Finding, preferences: Finding) -> Finding:
    if loss.value == "none":
        return Finding("left out", loss.evidence, loss.basis)
    if loss.value.startswith("checker"):
        place = "in place of" if loss.value == "checker" else "beside"
        return Finding(f"changed: a checker {place} a learned model", loss.evidence, loss.basis)
    several = _of(said, terms.ENSEMBLE)
    if several:
        return Finding("changed: several reward models, or another thing to score", (_quote(said, several[0]),))
    if loss.value in ("softmax over the best", "listwise", "hinge", "regression", "classification"):
        return Finding(f"changed: {loss.value} instead of Bradley-Terry", loss.evidence, loss.basis)
    models = _of(said, terms.REWARD_MODEL)
    sources = preferences.value.split(", ")
    if models and preferences.stated and "human labelers" not in sources:
        return Finding(f"changed: preferences from {preferences.value}", preferences.evidence, preferences.basis)
    if loss.stated:
        return Finding(AS_BEFORE, loss.evidence, loss.basis)
    return Finding(AS_BEFORE, (_quote(said, models[0]),), note="as far as it says") if models else Finding()


def _policy_stage(said: list[str], loss: Finding, kl: Finding) -> Finding:
    if loss.value == "none":
        return Finding("left out", loss.evidence, loss.basis)
    if loss.value not in (NOT_STATED, "PPO", "PPO-ptx", "reinforcement learning"):
        return Finding(f"changed: {loss.value} instead of PPO", loss.evidence, loss.basis)
    if kl.value in ("none", "in the loss", "constraint", "other regulariser"):
        where = {"none": "no KL penalty", "in the loss": "KL in the loss", "constraint": "KL as a constraint"}
        return Finding(f"changed: {where.get(kl.value, 'another regulariser than KL')}", kl.evidence, kl.basis)
    if kl.stated and "adaptive" in kl.note:
        return Finding("changed: an adaptive KL coefficient", kl.evidence)
    return Finding(AS_BEFORE, loss.evidence, loss.basis) if loss.stated else Finding()


# ---- people


def _no_source(sentence: str, mention: Mention) -> bool:
    """What a model is aligned with, and the name of RLHF written out, do not say who gave these preferences."""
    before = sentence[: mention.start]
    return ALIGNED.search(before) is not None or before.lower().endswith("learning from ")


def _preferences(said: list[str], pipeline: tuple[int, Quote] | None) -> Finding:
    for strictly in (True, False):  # "aligned with human preferences" counts where nothing better is said
        sources: dict[str, Quote] = {}
        for name, words in terms.PREFERENCES:
            found = [m for m in _of(said, words) if not (strictly and _no_source(said[m.sentence], m))]
            found = [m for m in found if not DISPARAGED.search(said[m.sentence][m.end :])]
            if found:
                sources[name] = _quote(said, found[0])
        if sources:
            return Finding(", ".join(sources), tuple(dict.fromkeys(sources.values())))
    named = _of(said, HUMAN_FEEDBACK)
    if named:
        return Finding("human labelers", (_quote(said, named[0]),))
    return _from_pipeline(pipeline, "preferences")
