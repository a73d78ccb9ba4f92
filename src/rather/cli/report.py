"""`rather report RUN...`: one page that says what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rather.diagnose.reading import Story
from rather.errors import BadSetting, visible
from rather.report import write_report
from rather.report.claims_over_runs import rows_over
from rather.report.verdict import of_claims, verdict
from rather.run.seeds import each_seed


@click.command("report", context_settings={"max_content_width": 120})
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The page. Default: RUN/report.html of the first.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(runs: tuple[Path, ...], out: Path | None, as_object: bool) -> None:
    """Write what the folders of stories say to one HTML page: verdict first, then figures, claims, curves, samples.

    Several RUNs are compared, claim by claim too; a folder of seeds stands for all its seeds.

    The page needs no script and no network. Beside it, in a folder of its name, lie the numbers of each figure as CSV.
    """
    if out is not None and out.suffix != ".html":
        raise BadSetting(f"{visible(str(out))} is no name of a page.", "Expected one that ends in .html.")
    path = write_report(runs, out)
    stories = [Story.read(run) for run in each_seed(runs)]
    said = {str(story.path): [(sentence.mood, sentence.words) for sentence in verdict(story)] for story in stories}
    rows, names = rows_over(stories)
    if rows:
        over = of_claims({"claims": rows}, f", over {len(names)} runs,")
        said["all of them"] = [(over.mood, over.words)]
    if as_object:
        click.echo(json.dumps({"page": str(path), "verdict": said}))
        return
    for run, sentences in said.items():
        if len(stories) > 1:
            click.echo(visible(run))
        for mood, words in sentences:
            click.echo(visible(f"{mood:5} {words}"))
    click.echo(f"The page: {visible(str(path))}")
