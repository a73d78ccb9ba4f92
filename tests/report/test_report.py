"""`rather report`: one page, read from run folders alone."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rather.diagnose.reading import Number, Story
from rather.errors import BadFile, RatherError
from rather.report import write_report
from rather.report.figures import curves, forest
from rather.report.tax import base_of, taxes
from rather.report.verdict import verdict

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "diagnose"))
import simulated
import written

HOSTILE = '</pre><script>alert(1)</script><img src=x onerror="x"> & {{7*7}} \x1b[31m'


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page: Path) -> Tags:
    tags = Tags()
    tags.feed(page.read_text())
    assert tags.open == []
    return tags


@pytest.fixture
def story(tmp_path):
    return written.story(tmp_path / "made-up")


def words(folder: Path) -> dict[str, str]:
    """What the first two sentences say, and those that are about alarms and what is unfinished."""
    said = [f"{sentence.mood}: {sentence.words}" for sentence in verdict(Story.read(folder))]
    found = dict(zip(("preferred", "tax"), said, strict=False))
    for key, start in (("alarms", ": Alarms"), ("unfinished", ": Unfinished"), ("diagnosis", "wrong with")):
        if having := [one for one in said if start in one]:
            found[key] = having[0]
    return found


def test_the_page_is_whole_and_fetches_nothing(story):
    tags = parsed(write_report([story]))
    names = {name for name, _ in tags.seen}
    assert not names & {"script", "link", "iframe", "img", "object", "form"}
    addresses = [a for _, given in tags.seen for a in (given.get("href"), given.get("src")) if a]
    assert all(re.fullmatch(r"report/[\w.-]+\.csv", address) for address in addresses)
    assert "url(" not in (story / "report.html").read_text()


def test_every_figure_says_what_it_shows_and_has_its_numbers_beside_it(story):
    tags = parsed(write_report([story]))
    figures = [given for name, given in tags.seen if name == "svg"]
    files = [given["href"] for name, given in tags.seen if name == "a"]
    assert len(figures) == len(files) >= 7
    assert all(len(given["aria-label"]) > 40 and given["role"] == "img" for given in figures)
    for file in files:
        head, *rows = list(csv.reader((story / file).open()))
        assert rows
        assert all(len(row) == len(head) for row in rows)
    rows = list(csv.DictReader((story / "report/figure-1.csv").open()))
    (last,) = [row for row in rows if row["row"] == "ppo-ptx" and row["group"] == "training labelers"]
    assert (float(last["value"]), float(last["low"]), last["n"]) == (0.7, pytest.approx(0.66), "200")


def test_what_others_wrote_is_text_and_never_markup(story):
    shutil.rmtree(story)
    written.story(story, said=HOSTILE)
    found = json.loads((story / "claims.json").read_text())
    found["claims"][0]["sentence"] = found["samples"][0]["prompt"] = found["wins"][0]["model"] = HOSTILE
    found["baseline"] = HOSTILE
    written.write(story / "claims.json", found)
    written.stage(story, "base-<b>x")
    tags = parsed(write_report([story]))
    assert not {"script", "img", "b"} & {name for name, _ in tags.seen}
    assert not any("onerror" in given for _, given in tags.seen)


def test_a_spreadsheet_gets_no_formula_from_a_name():
    figure = curves("x", "=1+1", "step", {"=HYPERLINK(1)": [(1, 1), (2, 2)], "b": [(1, 1), (2, 3)]})
    assert figure is not None
    assert not any(cell.startswith("=") for row in csv.reader(figure.csv.splitlines()) for cell in row)


@pytest.mark.parametrize(
    ("win", "mood", "says"), [(0.7, "good", "is preferred to"), (0.52, "open", "not told apart"), (0.3, "bad", "less")]
)
def test_the_verdict_goes_by_the_interval(tmp_path, win, mood, says):
    said = words(written.story(tmp_path / "s", win=win))["preferred"]
    assert said.startswith(f"{mood}: ppo-ptx")
    assert says in said
    assert "n = 200" in said


def test_the_tax_is_paired_and_the_policy_that_lost_is_named(story):
    found = {tax.model: tax for tax in taxes(Story.read(story))}
    assert found["ppo"].base == "base-s"
    assert found["ppo"].differences["reading"].value == pytest.approx(-0.6)
    assert found["ppo-ptx"].differences["reading"].value == 0
    assert words(story)["tax"].startswith("good: ppo-ptx is on no benchmark")
    shutil.rmtree(story / "ppo-ptx")
    assert words(story)["tax"] == "bad: ppo loses surely more than 10 points to base-s on reading and sums."


def test_an_alarm_and_an_unfinished_stage_are_said(story):
    with (story / "ppo" / "events.jsonl").open("a") as log:
        alarm = {"event": "alarm", "step": 7, "alarm": "kl_drift", "evidence": "3 > 2", "do": "raise kl_coef"}
        log.write(json.dumps(alarm) + "\n")
    (story / "sft-s" / "DONE").unlink()
    said = words(story)
    assert said["alarms"] == "open: Alarms rang while it learned: kl_drift in ppo."
    assert said["unfinished"] == "bad: Unfinished: sft-s."
    assert "raise kl_coef" in write_report([story]).read_text()


def test_without_a_world_it_says_what_was_not_measured(tmp_path):
    rows = {"objective/scores": [0.1, 0.9], "objective/kl": [0.0, 5.0]}
    written.stage(tmp_path / "mine", "sft")
    written.stage(tmp_path / "mine", "ppo", rows=rows)
    said = words(tmp_path / "mine")
    assert said["preferred"].startswith("open: Whether ppo is preferred was not measured. Its own reward model's score")
    assert "0.10 to 0.90 at a KL of 5.00" in said["preferred"]
    parsed(write_report([tmp_path / "mine"]))


def test_several_runs_are_on_one_page_with_figures_of_their_own(story, tmp_path):
    other = written.story(tmp_path / "other", win=0.4)
    page = write_report([story, other], tmp_path / "both.html")
    assert page.read_text().count("<article>") == 2
    assert {path.name for path in (tmp_path / "both").iterdir()} >= {"1-figure-1.csv", "2-figure-1.csv"}


def test_where_a_policy_comes_from_is_followed_and_a_circle_ends(tmp_path):
    written.stage(tmp_path, "ppo", f"{tmp_path}/init/checkpoint")
    written.stage(tmp_path, "init", f"{tmp_path}/ppo/checkpoint")
    assert base_of(Story.read(tmp_path), "ppo") is None


def test_a_figure_of_one_number_or_of_equal_numbers_can_be_drawn():
    assert curves("x", "t", "step", {"a": [(1, 2.0)]}) is None
    assert curves("x", "t", "step", {"a": [(1, 0.0), (2, 0.0)]}) is not None
    assert forest("x", "t", ["g"], [("row", [Number(0.5, None, None)])], 0.5) is not None
    assert forest("x", "t", ["g"], [("row", [None])], 0.5) is None


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, '{"a": "\ud800"'.encode("utf-8", "surrogatepass")])
@pytest.mark.parametrize("name", ["claims.json", "evaluate/ppo.json", "reward/report.json", "pipeline.json"])
def test_a_file_that_is_not_json_is_named_and_no_page_is_written(story, name, content):
    path = story / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadFile, match=re.escape(name)):
        write_report([story])
    assert not (story / "report.html").exists()


@pytest.mark.parametrize("value", [3, "x", None, [], {}, [1, "x"], {"value": "x"}, [{"model": 1}]])
def test_json_of_another_form_leaves_the_section_out(story, value):
    found = json.loads((story / "claims.json").read_text())
    for key in found:
        written.write(story / "claims.json", found | {key: value})
        parsed(write_report([story]))
    for key in ("answers", "grades"):
        written.write(story / "evaluate" / "ppo.json", {"about": {}, key: value})
        parsed(write_report([story]))


def test_a_folder_that_is_no_story_is_said_in_words(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(RatherError):
            write_report([folder])


def test_it_runs_without_torch(story):
    code = (
        "import sys; from rather.report import write_report; write_report(sys.argv[1:]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(story)], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


# ---- what a fuller story has


@pytest.fixture
def fuller(story):
    """ppo-ptx is optimised in the language whose truth is known, with half a point for a word planted in its score."""
    shutil.rmtree(story / "ppo-ptx")
    shutil.rmtree(story / "ppo")
    simulated.optimised(story, simulated.count_of("bee"))
    (story / "ppo").rename(story / "ppo-ptx")
    path = story / "ppo-ptx" / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["tokens"] = row["response"].split()
        row["kl"] = [3.0 if token == "bee" else -1.0 for token in row["tokens"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads((story / "claims.json").read_text())
    found["samples"][0]["answers"]["ppo-ptx"]["text"] = "A warm golden stone in the hand."
    written.write(story / "claims.json", found)
    return story


def test_the_verdict_has_the_illness_and_the_page_the_answer_to_every_question(fuller):
    said = [(one.mood, one.words) for one in verdict(Story.read(fuller))]
    assert any(mood == "bad" and words.startswith("ppo-ptx, classifier: Reward hacking") for mood, words in said)
    page = write_report([fuller]).read_text()
    assert page.count("<dt>") == 9
    rows = list(csv.DictReader((fuller / "report/over-optimisation.csv").open()))
    assert {row["stage"] for row in rows} == {"ppo-ptx: score", "ppo-ptx: second opinion"}
    assert re.search(r"second opinion is highest at [\d.]+ \([\d.]+ to [\d.]+\), n = ", page)


def test_words_that_sft_did_not_say_are_marked_and_tokens_shaded(fuller):
    page = write_report([fuller]).read_text()
    assert "A warm <ins>golden</ins> stone in the hand." in page
    assert '<span class="up4" title="+3.00 nats">bee</span>' in page
    assert '<span class="down1" title="-1.00 nats">the</span>' in page


def test_machine_versions_and_hashes_are_said(fuller):
    page = write_report([fuller]).read_text()
    assert "Python 3." in page
    assert "sha256:" in page
    (fuller / "rankings.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    assert "2 lines" in write_report([fuller]).read_text()


def test_runs_are_compared_in_one_table_with_the_settings_that_differ(fuller, tmp_path):
    other = tmp_path / "other"
    simulated.optimised(other, kl_coef=0.0)
    page = write_report([fuller, other], tmp_path / "both.html").read_text()
    first = page[: page.index("<article>")]
    assert "reward hacking" in first
    assert "KL drift" in first
    assert re.search(r"<td>kl_coef</td><td>0.02</td><td>0.0</td>", first)
    assert {row["stage"] for row in csv.DictReader((tmp_path / "both/compared-kl.csv").open())} == {"made-up", "other"}


@pytest.mark.parametrize("value", [3, "x", None, [], {}, [1], [{"value": "x"}], {"a": {"b": []}}])
def test_a_reward_report_curve_or_ranking_of_another_form_leaves_its_part_out(fuller, value):
    report = {
        "groups": value,
        "by": value,
        "agreement": value,
        "calibration": value,
        "learning curve": value,
        "length": value,
    }
    written.write(fuller / "reward" / "report.json", report)
    written.write(fuller / "rankings.about.json", {"prompts": value, "agreement": value, "ties": value, "pairs": value})
    (fuller / "best-of-n").mkdir()
    written.write(fuller / "best-of-n" / "curve.json", {"curve": value})
    parsed(write_report([fuller]))


def test_the_reward_model_is_drawn_beside_labelers_and_the_ceiling(story):
    of = written.estimate
    report = {
        "groups": {"train": {"accuracy": of(0.76)}, "validation": {"accuracy": of(0.7)}},
        "agreement": {"training labelers": {"agreement": {"dropped": of(0.73)}, "ceiling": of(0.84)}},
        "by": {"category": [{"name": "chat", "accuracy": of(0.8)}, {"name": "other", "accuracy": of(0.6)}]},
        "length": {"baseline": of(0.55)},
        "calibration": {"bins": [{"predicted": p, "observed": of(p)} for p in (0.5, 0.7, 0.9)]},
    }
    written.write(story / "reward" / "report.json", report)
    parsed(write_report([story]))
    rows = {row["row"]: row["value"] for row in csv.DictReader((story / "report/reward-accuracy.csv").open())}
    expected = {"train": "0.76", "validation": "0.7", "length alone": "0.55"}
    assert rows == expected | {"training agree": "0.73", "training ceiling": "0.84"}
    assert (story / "report/reward-calibration.csv").exists()
    assert (story / "report/reward-by-category.csv").exists()
