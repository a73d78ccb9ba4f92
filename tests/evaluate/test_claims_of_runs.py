"""Claims read a run folder: measurements, sample files, curves, settings. What is missing or damaged is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conftest import FEW, WORLD
from rather.cli import main
from rather.errors import BadFile
from rather.evaluate.claims import CLAIMS, decided
from rather.evaluate.claims.evidence import Missing, RunEvidence
from rather.evaluate.naming import MODELS, resolved
from rather.evaluate.runs import Measuring


@pytest.fixture(scope="module")
def evidence(story):
    return RunEvidence(Measuring(story, WORLD, FEW), measure=True)


def run_folder(run, name, *metrics, config="", events=()):
    folder = run / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(config)
    lines = [json.dumps({"step": at, **row}) + "\n" for at, row in enumerate(metrics, start=1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def test_models_are_compared_by_their_own_answers(evidence):
    won = evidence.wins("sft-s", "base-s", "t1", "prompted t1")
    assert won["training"]["n"] == won["gold"]["n"] == FEW.n
    assert 0 <= won["training"]["value"] <= 1
    assert evidence.wins("base-s", "base-s")["training"]["value"] == 0.5
    with pytest.raises(Missing, match="was not asked prompted t1"):
        evidence.wins("sft-s", "base-s", "prompted t1")


def test_what_is_not_measured_is_missing_unless_it_may_be_measured(story, evidence, tmp_path):
    evidence.measured("base-s")
    only_reads = RunEvidence(Measuring(story, WORLD, FEW), measure=False)
    assert only_reads.measured("base-s")["about"]["model"] == "base-s"
    other = FEW.model_copy(update={"seed": 1})
    with pytest.raises(Missing, match="not measured"):
        RunEvidence(Measuring(story, WORLD, other), measure=False).measured("base-s")
    with pytest.raises(Missing, match="no model ppo"):
        evidence.measured("ppo")


def test_curves_and_settings_are_read_from_the_stages(story, evidence):
    rows = ({"objective/kl": 0.0, "objective/scores": None}, {"objective/kl": 5.0, "objective/scores": 1})
    run_folder(story, "ppo-adaptive", *rows, config="kl_target = 2.0\n")
    assert evidence.curve("ppo-adaptive", "objective/kl") == [(0.0,), (5.0,)]
    assert evidence.curve("ppo-adaptive", "objective/kl", "objective/scores") == [(5.0, 1.0)]
    assert evidence.setting("ppo-adaptive", "kl_target") == 2.0
    with pytest.raises(Missing, match="no loss"):
        evidence.curve("ppo-adaptive", "loss")
    with pytest.raises(Missing, match="unfinished"):
        evidence.measured("ppo-adaptive")
    assert decided(CLAIMS[23], evidence).outcome == "fail"  # 5 is 2.5 times the target, and it does not return


def test_time_counts_only_if_a_stage_ran_in_one_go(story, evidence):
    started = {"time": "2026-01-01T00:00:00+00:00", "event": "started"}
    finished = {"time": "2026-01-01T00:02:30+00:00", "event": "finished"}
    run_folder(story, "reward-shuffled", events=(started, finished))
    assert evidence.seconds("reward-shuffled") == 150
    run_folder(story, "reward-shuffled", events=(started, started | {"event": "resumed"}, finished))
    with pytest.raises(Missing, match="in one go"):
        evidence.seconds("reward-shuffled")
    run_folder(story, "reward-shuffled", events=(started, finished | {"time": "late"}))
    with pytest.raises(BadFile, match="times"):
        evidence.seconds("reward-shuffled")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_report_is_said_in_words(story, evidence, text):
    run_folder(story, "reward-250")
    with pytest.raises(Missing, match="report"):
        evidence.report("reward-250")
    (story / "reward-250" / "report.json").write_text(text)
    with pytest.raises(BadFile, match=r"report\.json"):
        evidence.report("reward-250")
    (story / "reward-250" / "report.json").unlink()


def test_names_find_their_folders(tmp_path):
    assert resolved(tmp_path, "sft-s") is None
    for name in ("sft", "base-s", "ppo"):
        (tmp_path / name).mkdir()
    assert [resolved(tmp_path, name) for name in ("sft-s", "base-s", "ppo", "ppo-ptx")] == [
        "sft",
        "base-s",
        "ppo",
        None,
    ]
    (tmp_path / "ppo" / "config.toml").write_text("ptx_coef = 0.0\nkl_coef = 0.02\n")
    assert resolved(tmp_path, "ppo-beta-0.02") == "ppo"
    assert resolved(tmp_path, "ppo-beta-0.05") is None
    (tmp_path / "ppo" / "config.toml").write_text("ptx_coef = 27.8\n")  # what it is, its settings say
    assert [resolved(tmp_path, name) for name in ("ppo", "ppo-ptx")] == [None, "ppo"]
    (tmp_path / "sft-s").mkdir()
    assert resolved(tmp_path, "sft-s") == "sft-s"
    assert "ppo-ptx" in MODELS


def test_every_name_and_every_claim_is_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "claims.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| (.*?) \|$", page, re.M))
    assert {name: rows.get(name) for name in MODELS} == dict(MODELS)
    written = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \|", page, re.M)
    assert written == [(str(claim.number), claim.sentence, claim.criterion) for claim in CLAIMS]


def test_the_door_shows_every_claim_and_measures_nothing_when_told(story, capsys):
    settings = [f"{key}={value}" for key, value in FEW.model_dump().items()]
    for more in ((), ("--json",)):
        with pytest.raises(SystemExit) as end:
            main(["world", "claims", str(story), str(story), "--no-measure", "--world", WORLD, *settings, *more])
        out, err = capsys.readouterr()
        assert end.value.code == 0, err
        if more:
            found = json.loads(out)["claims"]
            assert [line["claim"] for line in found] == list(range(1, 33))
            assert found[0]["seeds"] == 2
        else:
            assert "of 32 claims; 2 seeds" in out
            assert "there is no model" in out
    for args, why in (["nowhere"], "no folder nowhere"), (["n=3"], "No run"), ([str(story), "m=3"], "m"):
        with pytest.raises(SystemExit) as end:
            main(["world", "claims", *args])
        assert end.value.code == 2
        assert why in capsys.readouterr().err
