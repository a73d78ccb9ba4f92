"""The diagnosis on the page: each question with its answer, and the curve of over-optimisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from rather.diagnose import Evidence, Finding, diagnose, illness
from rather.diagnose.overoptimisation import KL, PROXY, best_of_curve, peak
from rather.diagnose.reading import Number, Story
from rather.report import figures
from rather.report.figures import Figure

MOODS = {"ill": "bad", "well": "good", "watch": "open", "not decided": "open"}


def patient(story: Story) -> str | None:
    """The policy that the page is about: the aligned one, if it was optimised."""
    name = story.aligned()
    return name if name in story.optimised() else None


def examined(story: Story) -> list[tuple[str, list[Finding]]]:
    """Every policy that was optimised, the aligned one first."""
    return [
        (name, diagnose(story, name)) for name in sorted(story.optimised(), key=lambda name: name != patient(story))
    ]


def answers(story: Story) -> Markup:
    found = examined(story)
    if not found:
        return Markup("")
    items = []
    for place, (name, findings) in enumerate(found):
        cause = illness(findings)
        for one in findings:
            if place and one is not cause:  # of the others what is wrong with them, if anything is
                continue
            asked = f"{name}: {one.question}" if len(found) > 1 else one.question
            items.append(
                Markup('<dt>{} <span class="{}">{}</span></dt><dd>{}</dd>').format(
                    asked, MOODS[one.outcome], one.outcome, one.sentence
                )
            )
    return Markup('<dl class="asked">{}</dl>').format(Markup("").join(items))


def over_optimisation(story: Story) -> list[Figure]:
    """Score and second opinion against the root of the KL, with best-of-n; as gains, each in its own unit."""
    name = patient(story)
    if name is None:
        return []
    evidence = Evidence(story, name)
    if not evidence.has(KL) or not evidence.has(PROXY):
        return []
    roots = [math.sqrt(max(0.0, kl)) for kl in evidence.smooth(KL)]
    lines: dict[str, Sequence[tuple[float, float]]] = {}
    judge = evidence.judge
    told = {PROXY: "score", "world/gold": "U*", "second_opinion/scores": "second opinion"}
    for key in filter(None, (PROXY, judge)):
        smooth = evidence.smooth(key)
        first = float(evidence.values(key)[0])  # before anything moved
        gains = [float(value) - first for value in smooth]
        lines[f"{name}: {told[key]}"] = [(0.0, 0.0), *zip(roots, gains, strict=True)]
    points = best_of_curve(evidence)
    for key, what in (("score", "score"), ("gold", "U*")):
        known = [(float(row["kl"]), number.value) for row in points if (number := Number.of(row.get(key))) is not None]
        if len(known) > 1:
            lines[f"best of n: {what}"] = [(math.sqrt(max(0.0, kl)), value - known[0][1]) for kl, value in known]
    mark = None
    if judge is not None and (best := peak(evidence, judge).kl) is not None:
        ends = best.interval or (best.value, best.value)
        low, middle, high = (math.sqrt(max(0.0, kl)) for kl in (ends[0], best.value, ends[1]))
        mark = (f"{told[judge]} is highest", Number(middle, (low, high), best.n))
    title = "Gain over the beginning, by the root of the KL to it"
    return [found] if (found := figures.curves("over-optimisation", title, "sqrt(KL), nats", lines, mark)) else []
