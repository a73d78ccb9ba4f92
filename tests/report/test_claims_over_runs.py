"""The claims of several runs on one page: outcome of all, mean figure, how many passed, each run's own figure."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from rather.diagnose.over_runs import mean, one_run, table_over, together
from rather.diagnose.reading import Number
from rather.report import write_report
from rather.run.seeds import write_seeds

sys.path.insert(0, str(Path(__file__).parent))
import written
from test_report import HOSTILE, parsed


@pytest.fixture
def run(tmp_path) -> Path:
    for number, win in enumerate((0.7, 0.5)):
        written.story(tmp_path / "story" / f"seed-{number}", win=win)
    write_seeds(tmp_path / "story", 2)
    return tmp_path / "story"


def test_a_folder_of_seeds_is_one_page_whose_first_section_is_the_claims_over_all(run):
    page = write_report([run])
    assert page == run / "report.html"
    text = page.read_text()
    parsed(page)
    claims, compared, first = (text.index(f"<h1>{of}</h1>") for of in
                               ("The claims of the paper, over 2 seeds", "Compared", "seed-0"))  # fmt: skip
    assert claims < compared < first
    row = text[claims:compared].partition("PPO is better than SFT")[2].partition("</tr>")[0]
    assert "<strong>0.60 (0.46 to 0.74), n = 400</strong>" in row
    assert "2 of 2" in row
    assert "seed-1: win 0.5 (&gt;= 0.55)" in row
    assert row.count(">pass</span>") == 2
    assert [value for value in ("0.70", "0.50") if f"<br>{value}</td>" in row] == ["0.70", "0.50"]


def test_on_a_phone_each_run_s_outcome_says_whose_it_is(run):
    text = write_report([run]).read_text()
    row = text.partition("PPO is better than SFT")[2].partition("</tr>")[0]
    assert [row.count(f'<b class="whose">{name}</b>') for name in ("seed-0", "seed-1")] == [1, 1]
    assert ".whose { display: none; }" in text


def test_a_figure_that_rounds_to_nothing_has_no_sign():
    assert Number(-0.002, (-0.001, 0.06), 24).words() == "0.00 (0.00 to 0.06), n = 24"


def test_the_numbers_lie_beside_the_page(run):
    text = write_report([run]).read_text()
    assert 'href="report/claims-over-runs.csv"' in text
    with (run / "report" / "claims-over-runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["claim"] == "5"]
    assert [(row["run"], row["outcome"], float(row["figure"]), row["n"]) for row in rows] == [
        ("all", "pass", pytest.approx(0.6), "400"), ("seed-0", "pass", 0.7, "200"), ("seed-1", "pass", 0.5, "200"),
    ]  # fmt: skip


def test_figures_of_different_conditions_say_of_what_they_are(run):
    path = run / "seed-1" / "claims.json"
    found = json.loads(path.read_text())
    found["claims"][0]["runs"]["made up"]["of"] = "U_lab at T=.5"
    written.write(path, found)
    text = write_report([run]).read_text()
    row = text.partition("PPO is better than SFT")[2].partition("</tr>")[0]
    assert "n = 400" not in row
    assert "0.50<br><small>U_lab at T=.5</small>" in row


def test_other_runs_are_called_runs_and_those_without_claims_are_named(run, tmp_path):
    third = written.story(tmp_path / "other")
    (third / "claims.json").unlink()
    text = write_report([run, third]).read_text()
    assert "The claims of the paper, over 2 runs" in text
    assert "Without claims: other." in text
    assert "The claims of the paper, over" not in write_report([run / "seed-0", third]).read_text()


def test_what_a_file_says_is_text(run):
    found = json.loads((run / "seed-0" / "claims.json").read_text())
    found["claims"][0] |= {"sentence": HOSTILE, "outcome": HOSTILE, "claim": HOSTILE, "interval": [HOSTILE], "runs": 3}
    written.write(run / "seed-0" / "claims.json", found)
    tags = parsed(write_report([run]))
    assert not [tag for tag, _ in tags.seen if tag in ("script", "img")]


@pytest.mark.parametrize("claims", [None, [], {}, "x", [None, 3], [{}], [{"claim": None, "outcome": None}]])
def test_files_of_somebody_else_make_a_page_too(run, claims):
    written.write(run / "seed-1" / "claims.json", {"claims": claims})
    parsed(write_report([run]))


def test_a_run_that_cannot_decide_counts_for_neither_side_and_has_no_figure():
    found = [one_run("pass", Number(0.6, (0.5, 0.7), 10), "x", "a"), one_run("not decided", None, "", "b"),
             one_run("pass", Number(0.8, None, 10), "x", "c")]  # fmt: skip
    said = together(["a", "b", "c"], found)
    assert (said["outcome"], said["passed"], said["seeds"]) == ("pass", 2, 3)
    assert said["figure"] == pytest.approx(0.7)
    assert said["interval"] is None, "one of them has none"
    assert mean([]) is None
    assert table_over({}) == []
