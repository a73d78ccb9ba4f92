"""What is wrong with a reward model or with its labels, each with the evidence and what to do.

A finding is raised only where the numbers exclude chance: an interval, not a point. No finding is no proof of health.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rather.evaluate.reward_pairs import Judgements, PairTable, same_tasks
from rather.models.tokenizers import facts
from rather.records import Ranking, spoken
from rather.stages.reward_scoring import Scorer
from rather.statistics import agreement_by_labeler, clustered_share, pair_accuracy

SURE = 0.9  # a stated probability from which on a pair counts as sure
FEW = 20  # prompts below which a part of the data is not called reversed


class Finding(NamedTuple):
    name: str
    evidence: str
    do: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the doctor looks at. train, unseen: the pairs; report: what was measured; tokenizers: facts by name"""

    scorer: Scorer
    learned: Judgements
    others: Judgements
    train: PairTable
    unseen: PairTable
    report: Mapping[str, Any]
    tokenizers: Mapping[str, Mapping[str, Any]]


def examine(evidence: Evidence) -> list[Finding]:
    checks: tuple[Callable[[Evidence], Iterable[Finding]], ...] = (
        equal_scores,
        at_chance,
        reversed_parts,
        sure_and_wrong,
        shared_prompts,
        far_off,
        other_tokenizers,
        spelt_markers,
        no_better_than_length,
    )
    return [finding for check in checks for finding in check(evidence)]


def equal_scores(evidence: Evidence) -> Iterator[Finding]:
    table = evidence.unseen if len(evidence.unseen) else evidence.train
    if not len(table):
        return
    same = float((np.abs(table.lead) < 1e-6).mean())
    if same > 0.5:
        yield Finding(
            "equal scores",
            f"{same:.0%} of {len(table):,} pairs of different responses have the same score.",
            "Was anything trained (learning_rate, steps)? Does every response end in an EOS that is not the pad, so "
            "that its last token is found?  rather preview FILE --model MODEL",
        )


def at_chance(evidence: Evidence) -> Iterator[Finding]:
    for name, said in evidence.report["agreement"].items():
        found = said["agreement"]["dropped"]
        if "interval" in found and found["interval"][0] <= 0.5:
            yield Finding(
                "labels at chance",
                f"Two {name} agree on {_share(found)} of their pairs without ties, {found['clusters']} prompts: "
                "that may be coins.",
                "No model can learn from this. Look at the task and its instructions, and at who labels.",
            )
    table, name = (evidence.unseen, "validation") if len(evidence.unseen) else (evidence.train, "training")
    found = _accuracy(table)
    if found is not None and found["interval"][0] <= 0.5 <= found["interval"][1]:
        trained = _accuracy(evidence.train)
        learned = "" if trained is None else f" On its training pairs it is right on {_share(trained)}."
        yield Finding(
            "at chance",
            f"It is right on {_share(found)} of the {name} pairs, {found['clusters']} prompts: that may be a coin."
            + learned,
            "Do not train a policy on it. If it is at chance in training too, raise learning_rate or question the "
            "labels; if not, more prompts are needed.",
        )


def reversed_parts(evidence: Evidence) -> Iterator[Finding]:
    """The whole, or a part that says where it comes from, preferred the other way round."""
    # Training pairs too: a part too small to be learned is as wrong there as anywhere.
    for table, where in ((evidence.unseen, "validation"), (evidence.train, "training")):
        whole = _accuracy(table)
        if whole is not None and whole["interval"][1] < 0.5:
            yield Finding(
                "swapped pairs",
                f"It is right on {_share(whole)} of the {where} pairs, {whole['clusters']} prompts: worse than a coin.",
                "Something has best and worst the wrong way round: are ranks 1 = best and scores higher = better?",
            )
            return
    for field in ("labeler", "source", "guideline"):
        both = [table for table in (evidence.unseen, evidence.train) if len(table)]
        values = sorted({str(getattr(one.record, field)) for table in both for one in table.of} - {"None"})
        for value in values if len(values) > 1 else ():
            for table in both:
                part = table.where(np.array([str(getattr(one.record, field)) == value for one in table.of]))
                found = _accuracy(part)
                if found is not None and found["clusters"] >= FEW and found["interval"][1] < 0.5:
                    yield Finding(
                        "swapped pairs",
                        f"On the rankings of {field} {value!r} it is right on {_share(found)}, {found['clusters']} "
                        f"prompts, and on all on {_share(_accuracy(table) or found)}.",
                        "These look reversed: best and worst are the wrong way round, or the scale is.",
                    )
                    break


def sure_and_wrong(evidence: Evidence) -> Iterator[Finding]:
    """Labels here and there the wrong way round: where the model is surest, it is contradicted too often."""
    table = evidence.unseen if len(evidence.unseen) else evidence.train
    sure = np.abs(table.lead) > np.log(SURE / (1 - SURE))
    if not sure.any():
        return
    part = table.where(sure)
    stated = float((0.5 * (1 + np.tanh(np.abs(part.lead) / 2))).mean())
    if len(set(part.prompt.tolist())) < FEW:
        return
    found = clustered_share(part.right, part.prompt, name="prompts").to_dict()
    if found["interval"][1] < min(SURE, stated):
        wrong = np.flatnonzero(part.right == 0)
        worst = sorted(wrong, key=lambda n: -abs(part.lead[n]))[:5]
        names = ", ".join(dict.fromkeys(part.of[n].record.id for n in worst))
        yield Finding(
            "surely wrong",
            f"Of {len(part):,} pairs of which it is sure ({stated:.0%} on average) it is right on {_share(found)}. "
            f"The surest of the wrong: {names}.",
            "Read these rankings. Labels the wrong way round look like this, and so does a model trained for too long "
            "(epochs) or too fast (learning_rate).",
        )


def shared_prompts(evidence: Evidence) -> Iterator[Finding]:
    seen = {_key(one.record): one.record.id for one in evidence.learned.rankings}
    both = {_key(one.record): one.record.id for one in evidence.others.rankings if _key(one.record) in seen}
    if both:
        held = {_key(one.record) for one in evidence.others.rankings}
        examples = ", ".join(f"{name} is {seen[key]}" for key, name in list(both.items())[:3])
        yield Finding(
            "duplicates across splits",
            f"{len(both):,} of {len(held):,} validation prompts were trained on ({examples}).",
            "Their accuracy is memory. Take them out of one of the two: split by prompt, and by user.",
        )


def far_off(evidence: Evidence) -> Iterator[Finding]:
    """A labeler with whom the others, or where nobody ranked the same the model, agree far less than with the rest."""
    elements = [*evidence.learned.elements, *evidence.others.elements]
    table = evidence.train
    alone = sorted({one.record.labeler for one in table.of} - {None}, key=str)
    ranks, who, prompts, tasks = same_tasks(elements, lambda name: True)
    try:
        found = agreement_by_labeler(ranks, who, prompts, ties="dropped", tasks=tasks)
    except ValueError:  # no two ranked the same
        pass
    else:
        alone = [name for name in alone if name in found.alone]
        each = {name: one.to_dict() for name, one in found.labelers.items()}
        yield from _far_off(each, found.overall.value, "agrees with the others on")
    whole = _accuracy(table)
    parts = {name: _accuracy(table.where(np.array([one.record.labeler == name for one in table.of]))) for name in alone}
    known = {name: part for name, part in parts.items() if part is not None and part["clusters"] >= FEW}
    if whole is not None:
        yield from _far_off(known, whole["value"], "is followed by the model on")


def _far_off(each: Mapping[Any, Mapping[str, Any]], overall: float, how: str) -> Iterator[Finding]:
    for name, said in each.items():
        # The mean has the one in it, so the gap that is seen is smaller than the gap that is.
        if said["interval"][1] < overall - 0.05:
            yield Finding(
                "one labeler far off",
                f"{name} {how} {_share(said)} of the pairs, {said['clusters']} prompts; all labelers: {overall:.3f}.",
                f'Look at a few of these rankings together. Until then train without:  held_out=["{name}"]',
            )


def other_tokenizers(evidence: Evidence) -> Iterator[Finding]:
    own = facts(evidence.scorer.encoder.tokenizer)
    for name, theirs in evidence.tokenizers.items():
        changed = [key for key in ("eos", "bos", "template", "sample") if own.get(key) != theirs.get(key)]
        if changed:
            words = {"sample": "the vocabulary", "template": "the chat template", "eos": "EOS", "bos": "BOS"}
            shown = [f"{words[key]} ({_short(own.get(key))} here, {_short(theirs.get(key))} there)" for key in changed]
            yield Finding(
                "another template or EOS",
                f"{name} differs from the reward model in {', '.join(shown)}.",
                "Its responses are scored in a form that was never trained on. Train the reward model from that model, "
                "or with the same template.",
            )


def spelt_markers(evidence: Evidence) -> Iterator[Finding]:
    """Responses that spell EOS or a marker of a template: they were cut from a text without being read as tokens."""
    tokenizer: Any = evidence.scorer.encoder.tokenizer
    common = ("</s>", "<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|eot_id|>", "<end_of_turn>", "\n\nHuman:")
    markers = {*(str(token) for token in tokenizer.all_special_tokens), *common}
    rankings = [one.record for one in (*evidence.learned.rankings, *evidence.others.rankings)]
    total = sum(len(ranking.responses) for ranking in rankings)
    found = [(r.id, m) for r in rankings for response in r.responses for m in markers if m in response.text]
    if len(found) > total / 100:
        name, marker = found[0]
        yield Finding(
            "markers in responses",
            f"{len(found):,} of {total:,} responses spell a marker such as {marker!r} (ranking {name}).",
            "They are read as text, and the responses do not end where they ended for the labeler. Cut them off there.",
        )


def no_better_than_length(evidence: Evidence) -> Iterator[Finding]:
    length = evidence.report["length"]
    if length["beaten"] is False:
        gap = length["model - baseline"]
        yield Finding(
            "no better than length",
            f"Its accuracy less that of the rule that {length['rule']} is {_share(gap)}, {gap['clusters']} prompts.",
            "A policy trained on it may only learn length. More prompts, or length_residual=true.",
        )


def _accuracy(table: PairTable) -> dict[str, Any] | None:
    try:
        return pair_accuracy(table.lead, table.chosen, table.prompt).to_dict()
    except ValueError:  # fewer than two prompts: nothing is said of them
        return None


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['value']:.3f} [{low:.3f}, {high:.3f}]"


def _key(record: Ranking) -> str:
    """The prompt without what changes nothing: capitals and white space."""
    return " ".join(spoken(record.prompt).lower().split())


def _short(value: object) -> str:
    return str(value)[:24]
