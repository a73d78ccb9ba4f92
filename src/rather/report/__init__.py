"""`rather report RUN ...`: what run folders say, on one page that needs no script and no network.

reading   a run folder as plain values       verdict   the sentences that stand first
figures   curves and intervals as SVG        parts     the sections of the page        page   the page itself
compared  several stories beside each other  claims_over_runs   their claims, one line each
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rather import files
from rather.diagnose.reading import Story
from rather.report.page import page
from rather.run.seeds import each_seed, seeds_in

FILE, FIGURES = "report.html", "report"

__all__ = ["FIGURES", "FILE", "write_report"]


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """The page, by default RUN/report.html of the first run; beside it report/*.csv, the numbers behind each figure.

    A folder of seeds is all its seeds.
    """
    out = out or Path(runs[0]) / FILE
    stories = [Story.read(run) for run in each_seed(runs)]
    of_one = len(runs) == 1 and bool(seeds_in(Path(runs[0])))
    html, tables = page(stories, out.stem, "seeds" if of_one else "runs")
    folder = out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        files.write_text(folder / f"{name}.csv", table)
    files.write_text(out, html)
    return out
