"""`rather diagnose RUN`: what went wrong with a policy while it was optimised, question by question."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rather.diagnose import Thresholds, diagnose, illness, patient
from rather.diagnose.reading import Story
from rather.errors import visible
from rather.run import CONFIG


@click.command("diagnose", context_settings={"max_content_width": 120})
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--name", help="The policy's folder in RUN. Default: the policy that the story ends with.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(run: Path, overrides: tuple[str, ...], name: str | None, as_object: bool) -> None:
    """Say what went wrong with the policy of RUN, a story or one stage of it: one sentence to each question.

    Each has the number that decides it, with its interval and n, and what to change. What was not measured is not
    guessed. KEY=VALUE are thresholds of docs/diagnose.md. It reads files alone, also while the run is going on.
    """
    limits = Thresholds.load(None, list(overrides))
    if name is None and (run / CONFIG).is_file():
        run, name = run.resolve().parent, run.resolve().name
    story = Story.read(run)
    policy = patient(story, name)
    findings = diagnose(story, policy, limits)
    ill = illness(findings)
    if as_object:
        said = {"run": str(run), "policy": policy, "illness": ill and ill.to_dict()}
        click.echo(json.dumps(said | {"findings": [one.to_dict() for one in findings]}))
        return
    headline = f"{ill.name} ({ill.mechanism})" if ill is not None else "no illness was found"
    click.echo(visible(f"{policy}: {headline}"))
    for one in sorted(findings, key=lambda one: (one is not ill, one.outcome == "not decided")):
        click.echo(visible(f"{one.outcome:12}{one.question:18}{one.sentence}"))
