"""What data became: from files to what was trained on, and why the rest was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from rather.diagnose.reading import Number, Stage, Story, at, is_number, items_of
from rather.report.tables import table

# What a stage says of its data when it finishes, in words.
SAID = {
    "prompts": "prompts",
    "pairs": "pairs",
    "num_tokens": "tokens",
    "demonstrations": "demonstrations",
    "rankings": "rankings",
    "too long": "too long",
    "samples": "samples to each prompt",
}


def funnel(story: Story) -> Markup:
    """Files with their lines; labelers and how they agree; what each stage took in and left out."""
    files = [(file.name, f"{lines(file):,} lines", "") for file in sorted(story.path.glob("*.jsonl"))]
    taken = [row for row in map(_taken, story.stages.values()) if row[1] or row[2]]
    return Markup("").join(
        table(head, rows)
        for head, rows in (
            (("file", "holds", "of them"), files + _ranked(story)),
            (("stage", "took in", "left out"), taken),
        )
        if rows
    )


def lines(file: Path) -> int:
    """Counted without holding the file in memory."""
    with file.open("rb") as content:
        return sum(block.count(b"\n") for block in iter(lambda: content.read(1 << 20), b""))


def _ranked(story: Story) -> list[tuple[str, str, str]]:
    """What `rather rank` says about its rankings."""
    found = []
    for name, about in story.ranked.items():
        prompts = ", ".join(f"{count:,} {split}" for split, count in items_of(at(about, "prompts")) if is_number(count))
        pairs, ties = at(about, "pairs"), at(about, "ties")
        of = [f"{prompts} prompts"] if prompts else []
        of += [f"{100 * ties:.0f} % ties"] if is_number(ties) else []
        for group, agreed in items_of(at(about, "agreement")):
            number, ceiling = Number.of(agreed), Number.of(at(about, "ceiling", group))
            if number is not None:
                of.append(f"{group} labelers agree on {number.words()}")
            if ceiling is not None:
                of.append(f"so nobody is right about them more often than {ceiling.words()}")
        found.append((name, f"{pairs:,} pairs" if is_number(pairs) else "", "; ".join(of)))
    return found


def _taken(stage: Stage) -> tuple[str, str, str]:
    result: Any = at(stage.done, "result")
    took = [
        f"{value:,.0f} {SAID[key]}" for key, value in items_of(result) if key in SAID and is_number(value) and value
    ]
    left = [f"{count:,} {why}" for why, count in items_of(at(result, "dropped")) if is_number(count) and count]
    for event in stage.events:
        if event.get("event") == "prompts" and is_number(event.get("too_long")):
            took.append(f"{event.get('given', 0):,} prompts")
            left.append(f"{event['too_long']:,} too long")
        if event.get("event") == "note":
            left.append(str(event.get("note")))
    episodes = stage.curve("episode")
    if episodes:
        took.append(f"{episodes[-1][1]:,.0f} episodes")
    return stage.name, ", ".join(took), "; ".join(left)
