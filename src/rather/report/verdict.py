"""The sentences that stand first: is it preferred, what did it cost, did anything go wrong, does the method hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rather.diagnose import diagnose, illness
from rather.diagnose.reading import Number, Row, Stage, Story, at, rows_of
from rather.report.tax import LOST, taxes

Mood = Literal["good", "bad", "open"]
TRAINING, HELD_OUT = "training", "held-out"


@dataclass(frozen=True)
class Sentence:
    """mood: good, bad, or open where it cannot be said"""

    mood: Mood
    words: str


def verdict(story: Story) -> list[Sentence]:
    return [_preferred(story), _tax(story), *_diagnosed(story), *_alarms(story), _claims(story), *_unfinished(story)]


def _preferred(story: Story) -> Sentence:
    name, baseline = story.aligned(), at(story.claims, "baseline")
    wins = [row for row in rows_of(at(story.claims, "wins")) if row.get("model") == name]
    number = Number.of(at(wins[0], TRAINING)) if wins else None
    if name is None:
        return Sentence("open", "Nothing is aligned yet: no policy is finished.")
    if number is None:
        return Sentence("open", f"Whether {name} is preferred was not measured. {_proxy(story.stages[name])}".strip())
    held = Number.of(at(wins[0], HELD_OUT))
    side = number.beside(0.5)
    said = {1: "is preferred to", 0: "is not told apart from", -1: "is less liked than"}[side]
    words = f"{name} {said} {baseline}: {_share(number)} of the votes of training labelers"
    if held is not None:
        words += f", {_share(held)} of held-out ones"
    return Sentence({1: "good", 0: "open", -1: "bad"}[side], words + f" (n = {number.n} prompts).")  # type: ignore[arg-type]


def _share(number: Number) -> str:
    words = f"{100 * number.value:.0f} %"
    if number.interval:
        words += f" ({100 * number.interval[0]:.0f} to {100 * number.interval[1]:.0f})"
    return words


def _proxy(stage: Stage) -> str:
    scores, drift = stage.curve("objective/scores"), stage.curve("objective/kl")
    if len(scores) < 2:
        return ""
    words = f"Its own reward model's score went from {scores[0][1]:.2f} to {scores[-1][1]:.2f}"
    return words + (f" at a KL of {drift[-1][1]:.2f} nats" if drift else "") + ", which proves nothing by itself."


def _tax(story: Story) -> Sentence:
    name = story.aligned()
    found = {tax.model: tax for tax in taxes(story)}
    if name not in found:
        return Sentence("open", "What alignment costs on benchmarks was not measured.")
    tax = found[name]
    lost = [bench for bench, number in tax.differences.items() if number.beside(-LOST) < 0]
    less = [bench for bench, number in tax.differences.items() if number.beside(0) < 0]
    if lost:
        return Sentence("bad", f"{name} loses surely more than {100 * LOST:.0f} points to {tax.base} on {_and(lost)}.")
    if less:
        return Sentence("open", f"{name} is behind {tax.base} on {_and(less)}, by little.")
    return Sentence("good", f"{name} is on no benchmark surely behind {tax.base}.")


def _diagnosed(story: Story) -> list[Sentence]:
    """Of the policy the page is about; of others only that something is wrong with them."""
    name, found = story.aligned(), {one: diagnose(story, one) for one in story.optimised()}
    if not found:
        return []
    said = []
    if name in found:
        ill = illness(found[name])
        open_ones = [one.question for one in found[name] if one.outcome == "not decided"]
        rest = f" Not decided: {_and(open_ones)}." if open_ones else ""
        if ill is not None:
            said.append(Sentence("bad", f"{name}, {ill.mechanism}: {ill.sentence}"))
        elif len(open_ones) == len(found[name]):
            said.append(Sentence("open", f"Whether anything is wrong with {name} cannot be decided."))
        else:
            said.append(Sentence("good", f"No illness was found in {name}.{rest}"))
    others = [f"{one} ({ill.name})" for one, of in found.items() if one != name and (ill := illness(of)) is not None]
    return said + ([Sentence("open", f"Of the other policies these are ill: {_and(others)}.")] if others else [])


def _alarms(story: Story) -> list[Sentence]:
    raised = [f"{row.get('alarm')} in {name}" for name, stage in story.stages.items() for row in stage.alarms()]
    if not raised:
        return []
    return [Sentence("open", f"Alarms rang while it learned: {_and(list(dict.fromkeys(raised)))}.")]


def _claims(story: Story) -> Sentence:
    return of_claims(story.claims)


def of_claims(found: Row, over: str = "") -> Sentence:
    """found: what a claims.json holds"""
    outcomes = [row.get("outcome") for row in rows_of(at(found, "claims"))]
    if not outcomes:
        return Sentence("open", "Claims of the paper were not decided: they need a world, where the truth is known.")
    passed, failed = outcomes.count("pass"), outcomes.count("fail")
    words = f"Of {len(outcomes)} claims of the paper{over} {passed} pass, {failed} fail"
    return Sentence(
        "bad" if failed > passed else "good", f"{words}, {len(outcomes) - passed - failed} are not decided."
    )


def _unfinished(story: Story) -> list[Sentence]:
    open_ones = [name for name, stage in story.stages.items() if stage.done is None]
    return [Sentence("bad", f"Unfinished: {_and(open_ones)}.")] if open_ones else []


def _and(words: list[str]) -> str:
    shown = words if len(words) < 7 else [*words[:5], f"{len(words) - 5} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
