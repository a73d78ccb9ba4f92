"""Several stories beside each other: one line each, the settings that differ, and their last policies in one figure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from markupsafe import Markup

from rather.diagnose import diagnose, illness
from rather.diagnose.reading import Number, Row, Story, at, rows_of
from rather.report import figures
from rather.report.diagnosis import patient
from rather.report.figures import Figure
from rather.report.tables import table
from rather.report.tax import taxes
from rather.report.verdict import TRAINING

DRAWN = (
    ("objective/scores", "compared-scores", "Score by the reward model"),
    ("second_opinion/scores", "compared-second-opinion", "Score by a second opinion"),
    ("objective/kl", "compared-kl", "KL to where it started, nats a response"),
    ("response/length", "compared-length", "Length of responses, tokens"),
)
OWN = {"model", "reward", "prompts", "texts"}  # settings that name a story's own files


def labels(stories: Sequence[Story]) -> list[str]:
    """The names of their folders, told apart by a number where two are called the same."""
    names = [story.name for story in stories]
    return [f"{name} ({at_ + 1})" if names.count(name) > 1 else name for at_, name in enumerate(names)]


def lines(stories: Sequence[Story]) -> Markup:
    rows = []
    for label, story in zip(labels(stories), stories, strict=True):
        name = story.aligned()
        wins = [row for row in rows_of(at(story.claims, "wins")) if row.get("model") == name]
        won = Number.of(at(wins[0], TRAINING)) if wins else None
        gold = Number.of(at(story.measured.get(name or ""), "answers", "t1", "gold"))
        tax = next((tax for tax in taxes(story) if tax.model == name), None)
        worst = min(tax.differences.items(), key=lambda item: item[1].value) if tax else None
        kl = story.stages[name].curve("objective/kl") if name else []
        ill = illness(diagnose(story, name)) if name is not None and name == patient(story) else None
        rows.append((
            label,
            name or "",
            won.words() if won else "not measured",
            gold.words() if gold else "not measured",
            f"{worst[0]}: {worst[1].words()}" if worst else "not measured",
            f"{kl[-1][1]:.2f}" if kl else "",
            ill.name if ill else "none found" if name == patient(story) else "not asked",
        ))  # fmt: skip
    head = ("run", "policy", "votes against SFT", "U*", "largest tax", "KL", "illness")
    return table(head, rows) + _settings(stories)


def _settings(stories: Sequence[Story]) -> Markup:
    """Only what differs between the last policies."""
    found = [_of(story) for story in stories]
    keys = [key for key in dict.fromkeys(key for of in found for key in of) if key not in OWN]
    rows = [
        (key, *(_short(of.get(key, "")) for of in found))
        for key in keys
        if len({json.dumps(of.get(key, ""), default=str, sort_keys=True) for of in found}) > 1
    ]
    return table(("setting that differs", *labels(stories)), rows) if rows else Markup("")


def _of(story: Story) -> Row:
    name = story.aligned()
    return story.stages[name].settings if name is not None else {}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def drawn(stories: Sequence[Story]) -> list[Figure]:
    found = []
    rows = []
    for label, story in zip(labels(stories), stories, strict=True):
        wins = [row for row in rows_of(at(story.claims, "wins")) if row.get("model") == story.aligned()]
        rows.append((label, [Number.of(at(wins[0], TRAINING)) if wins else None]))
    won = figures.forest(
        "compared-votes", "Votes for the last policy against SFT (.5: no difference)", ["votes"], rows, 0.5
    )
    found += [won] if won is not None else []
    for key, name, title in DRAWN:
        curves = {}
        for label, story in zip(labels(stories), stories, strict=True):
            policy = story.aligned()
            curves[label] = (
                (story.stages[policy].curve(key, "episode") or story.stages[policy].curve(key)) if policy else []
            )
        figure = figures.curves(name, title, "episode", curves)
        found += [figure] if figure is not None else []
    return found
