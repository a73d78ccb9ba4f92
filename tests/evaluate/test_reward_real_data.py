"""Public comparisons train a reward model and are reported on, without a line of code for any of them."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path

import pytest
import torch

from rather.cli import main
from rather.models.load import save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.records import Ranking, read

pytestmark = pytest.mark.shared

# file: rankings used, K, base model (stories: 512 tokens of two characters, which HANNA's stories do not fit in)
FILES = {
    "comparisons_hh/helpful_base_test": (40, {2}, "tiny"),
    "comparisons_qa_feedback/comparisons": (40, {2, 4}, "tiny"),
    "comparisons_hanna_stories/rankings": (12, {11}, "tiny"),
    "comparisons_pandalm/comparisons": (240, {2, 3, 4, 5}, "stories"),
}


@pytest.fixture(scope="module")
def reports(shared_data, tmp_path_factory):
    """What `rather reward` and `rather reward report` made of a file, and printed; each once."""
    made: dict[str, tuple[dict, str]] = {}

    def report(name: str, capsys) -> tuple[dict, str]:
        if name not in made:
            made[name] = reported(name, shared_data, tmp_path_factory.mktemp("run"), capsys)
        return made[name]

    return report


def reported(name: str, shared_data: Path, folder: Path, capsys) -> tuple[dict, str]:
    count, ks, base = FILES[name]
    records = list(islice(read(shared_data / f"{name}.jsonl.gz", Ranking, on_problem=lambda problem: None), count))
    assert {len(record.responses) for record in records} <= ks
    rankings = folder / "rankings.jsonl"
    rankings.write_text("".join(record.model_dump_json(exclude_none=True) + "\n" for record in records))
    model = shared_data / "model_stories260k"
    if base == "tiny":
        texts = [response.text for record in records for response in record.responses]
        model = folder / "base"
        sizes = TinyConfig(vocabulary=1500, hidden=32, layers=1, heads=2, context=2048)
        save_policy(tiny(sizes, texts, torch.Generator()), model)
    settings = [f"model={model}", "learning_rate=3e-3", "batch_size=8", "precision=fp32", "validation_share=0.3"]
    for args in (["reward", folder, *settings], ["reward", "report", folder]):
        with pytest.raises(SystemExit) as end:
            main([*map(str, args)])
        assert end.value.code == 0
    return json.loads((folder / "reward" / "report.json").read_text()), capsys.readouterr().out


@pytest.mark.parametrize("name", FILES)
def test_it_trains_and_says_plainly_whether_length_is_beaten_and_by_how_much(name, reports, capsys):
    report, out = reports(name, capsys)
    assert re.search(
        r"the model (beats it|does not beat it): -?\d\.\d{3} \[-?\d\.\d{3}, -?\d\.\d{3}\], \d+ prompts", out
    )
    low, high = report["length"]["model - baseline"]["interval"]
    assert -1 <= low <= high <= 1
    assert report["length"]["beaten"] == (low > 0)
    assert report["groups"]["validation"]["accuracy"]["clusters"] >= 3
    assert report["scoring"]["normalised_on"] == "ranked responses"


def test_all_fifty_five_pairs_of_eleven_stories_count(reports, capsys):
    report, _ = reports("comparisons_hanna_stories/rankings", capsys)
    groups = report["groups"].values()
    assert sum(group["pairs"] + group["ties"] for group in groups) == 55 * sum(group["prompts"] for group in groups)
    assert [row["name"] for row in report["by"]["K"]] == ["11"]


def test_three_annotators_are_held_against_each_other(reports, capsys):
    report, _ = reports("comparisons_pandalm/comparisons", capsys)
    assert report["groups"]["train"]["labelers"] == 3
    low, high = report["agreement"]["training labelers"]["agreement"]["dropped"]["interval"]
    assert 0.5 < low <= high <= 1
