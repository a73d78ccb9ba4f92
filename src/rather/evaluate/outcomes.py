"""Preferences, whoever judged: win rate with ties as half, raw and at equal length, by category, and Figure 1's panels.

A judge gives outcomes; everything that is said of them is made here. Judges are people (records), a reward model, a
model at an endpoint, and a world's labelers. Prompts are the independent units.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rather.errors import BadFile, BadSetting, visible
from rather.evaluate.endpoint_judges import Endpoint
from rather.evaluate.judged import Answer
from rather.records import Comparison, Demonstration, Ranking, Response, Samples, read, spoken
from rather.stages.reward_scoring import Scorer
from rather.statistics import both_orders, length_controlled_win_rate, win_rate
from rather.worlds.labelers import HELD_OUT, TRAINING

PANELS = (TRAINING, HELD_OUT)


@dataclass(frozen=True)
class Outcome:
    """outcome: 1 ours was preferred, 0.5 tie, 0 theirs    ours, theirs: lengths in characters

    panel: `training` or `held-out`, where the labelers are of two groups (sec. 3.6)
    """

    prompt: Hashable
    outcome: float
    ours: int
    theirs: int
    category: str | None = None
    source: str | None = None
    labeler: str | None = None
    panel: str | None = None


def worth(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All of it. Where labelers are of two groups, the number above the panels is the training labelers'."""
    panels = [panel for panel in PANELS if any(o.panel == panel for o in outcomes)]
    main = [o for o in outcomes if not panels or o.panel == panels[0]]
    found: dict[str, Any] = {"win rate": rate(main), "length controlled": _controlled(main)}
    found["by category"] = _by(main, lambda o: o.category)
    found["by source"] = _by(main, lambda o: o.source)
    if panels:
        # Figure 1 of the paper: who judged, times where the prompts came from.
        found["panels"] = {
            panel: {"all": rate(mine)} | _by(mine, lambda o: o.source)
            for panel in panels
            for mine in [[o for o in outcomes if o.panel == panel]]
        }
    return found


def rate(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Clustered by prompt; by labeler too where several people labeled. One prompt alone has no interval but all."""
    values, prompts = [o.outcome for o in outcomes], [o.prompt for o in outcomes]
    if len(set(prompts)) < 2:
        wins, losses = sum(v > 0.5 for v in values), sum(v < 0.5 for v in values)
        ties = len(values) - wins - losses
        alone = {"value": sum(values) / len(values), "interval": [0.0, 1.0], "n": len(values), "clusters": 1}
        return alone | {"wins": wins, "ties": ties, "losses": losses}
    people = [o.labeler for o in outcomes]
    several = all(people) and len(set(people)) > 1
    return win_rate(values, prompts, labelers=people if several else None).to_dict()


def _controlled(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """At equal length; where that cannot be computed the reason stands in its place."""
    columns = ([o.outcome for o in outcomes], [o.ours for o in outcomes], [o.theirs for o in outcomes])
    try:
        return length_controlled_win_rate(*columns, [o.prompt for o in outcomes]).to_dict()
    except ValueError as error:
        return {"not computed": str(error)}


def _by(outcomes: Sequence[Outcome], key: Callable[[Outcome], str | None]) -> dict[str, Any]:
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if (name := key(outcome)) is not None:
            found.setdefault(name, []).append(outcome)
    return {name: rate(found[name]) for name in sorted(found)}


# ---- people


def by_people(file: str, ours: str, theirs: str, held_out: Sequence[str] = ()) -> list[Outcome]:
    """From rankings and comparisons whose responses say which model wrote them.

    held_out: labelers who labeled no training data; naming some makes two panels
    """
    reader = read(file)
    if reader.kind not in (Ranking, Comparison):
        raise BadFile(
            f"{visible(file)} is read as {reader.shape.words}.", "Expected rankings or comparisons that people made."
        )
    found: list[Outcome] = []
    models: set[str] = set()
    people: set[str] = set()
    for record in reader:
        placed = _placed(record)
        models |= {response.model for response, _ in placed if response.model}
        who = record.labeler  # type: ignore[attr-defined]  # both kinds have one
        people |= {who} if who else set()
        panel = (HELD_OUT if who in held_out else TRAINING) if held_out else None
        pairs = (
            (a, b, mine, other) for a, mine in placed for b, other in placed if a.model == ours and b.model == theirs
        )
        for a, b, mine, other in pairs:
            outcome = 0.5 if mine == other else float(mine < other)
            found.append(_outcome(record, outcome, a.text, b.text, who, panel))
    if unknown := set(held_out) - people:
        raise BadSetting(f"Labelers {visible(', '.join(sorted(unknown)))} are not in {visible(file)}.")
    if not found:
        raise BadFile(
            f"{visible(file)}: nobody compared {visible(ours)} with {visible(theirs)}.",
            f"Models there: {visible(', '.join(sorted(models)) or 'none is named')}.",
            'Each response says who wrote it:  {"text": ..., "model": NAME}',
        )
    return found


def _placed(record: Any) -> list[tuple[Response, int]]:
    """The responses, each with its rank; 1 is best."""
    if isinstance(record, Ranking):
        return list(zip(record.responses, record.ranks, strict=True))
    places = {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}[record.preferred]
    return list(zip((record.a, record.b), places, strict=True))


def _outcome(
    record: Any, outcome: float, ours: str, theirs: str, who: str | None = None, panel: str | None = None
) -> Outcome:
    return Outcome(
        spoken(record.prompt), outcome, len(ours), len(theirs), record.category, record.source, who, panel
    )  # fmt: skip


# ---- programs, on answers to the same prompts


def answers_in(file: str) -> dict[str, Any]:
    """prompt -> record of samples or of a demonstration, which is a person's answer."""
    reader = read(file)
    if reader.kind not in (Samples, Demonstration):
        raise BadFile(
            f"{visible(file)} is read as {reader.shape.words}.",
            "Expected answers to prompts: samples, or demonstrations.",
            f"rather sample MODEL --file PROMPTS -o {visible(file)}",
        )
    found: dict[str, Any] = {}
    for record in reader:
        found.setdefault(spoken(record.prompt), record)  # type: ignore[attr-defined]  # both kinds have a prompt
    return found


def pairs_of_answers(ours: str, theirs: str) -> list[tuple[Any, str, str]]:
    """(record, our answer, their answer) to each prompt that both answered; of several answers the first."""
    mine, others = answers_in(ours), answers_in(theirs)
    both = [prompt for prompt in mine if prompt in others]
    if len(both) < 2:
        raise BadFile(
            f"{visible(ours)} and {visible(theirs)} answer {len(both)} common prompts.", "Expected two at least."
        )
    return [(mine[prompt], _first(mine[prompt]), _first(others[prompt])) for prompt in both]


def _first(record: Any) -> str:
    return str(record.response if isinstance(record, Demonstration) else record.responses[0].text)


def by_reward_model(scorer: Scorer, pairs: Sequence[tuple[Any, str, str]]) -> list[Outcome]:
    """The answer with the higher score wins. What is too long for the reward model is no tie: it is left out."""
    rankings = [
        Ranking(
            id=str(at),
            prompt=record.prompt,
            responses=(Response(text=ours, model="ours"), Response(text=theirs, model="theirs")),
            ranks=(1, 1),
        )
        for at, (record, ours, theirs) in enumerate(pairs)
    ]
    found = []
    for scored in scorer.score(rankings):
        record, ours, theirs = pairs[int(scored.record.id)]
        first, second = map(float, scored.values)
        found.append(_outcome(record, 0.5 if first == second else float(first > second), ours, theirs))
    if not found:
        raise BadFile("No pair of answers is short enough for the reward model.", "Expected some.")
    return found


def by_endpoint(judge: Endpoint, pairs: Sequence[tuple[Any, str, str]]) -> tuple[list[Outcome], dict[str, Any]]:
    """Each pair in both orders; a verdict that does not survive the swap is a tie. (outcomes, the judge's habits)"""
    first, second = judge.prefers([(spoken(record.prompt), ours, theirs) for record, ours, theirs in pairs])
    prompts = [spoken(record.prompt) for record, _, _ in pairs]
    said = both_orders(first, second, prompts)
    outcomes = [_outcome(pair[0], value, *pair[1:]) for pair, value in zip(pairs, said.outcomes, strict=True)]
    return outcomes, {"consistent": said.consistent.to_dict(), "first shown": said.first_shown.to_dict()}


def by_panels(votes: Mapping[str, Sequence[float]], met: Sequence[tuple[Answer, Answer]]) -> list[Outcome]:
    """Of a world's labelers: the expected vote of each panel on each pair."""
    return [
        Outcome(
            one.asked.id, vote, len(one.text), len(other.text),
            one.asked.prompt.category, one.asked.prompt.source, None, panel,
        )
        for panel, column in votes.items()
        for (one, other), vote in zip(met, column, strict=True)
    ]  # fmt: skip
