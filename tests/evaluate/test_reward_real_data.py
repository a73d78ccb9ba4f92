"""Public comparisons train a reward model and are reported on, without a line of code for any of them."""

from __future__ import annotations

import json
from itertools import islice

import pytest
import torch

from rather.cli import main
from rather.models.load import save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.records import Ranking, read

pytestmark = pytest.mark.shared

# file: rankings used, K
FILES = {
    "comparisons_hh/helpful_base_test": (40, {2}),
    "comparisons_qa_feedback/comparisons": (40, {2, 4}),
}


@pytest.mark.parametrize("name", FILES)
def test_it_trains_and_says_plainly_whether_length_is_beaten(name, shared_data, tmp_path, capsys):
    count, ks = FILES[name]
    records = list(islice(read(shared_data / f"{name}.jsonl.gz", Ranking, on_problem=lambda problem: None), count))
    assert {len(record.responses) for record in records} <= ks
    rankings = tmp_path / "rankings.jsonl"
    rankings.write_text("".join(record.model_dump_json(exclude_none=True) + "\n" for record in records))
    texts = [response.text for record in records for response in record.responses]
    model = tiny(TinyConfig(vocabulary=1500, hidden=32, layers=1, heads=2, context=2048), texts, torch.Generator())
    save_policy(model, tmp_path / "base")
    settings = [f"model={tmp_path / 'base'}", "learning_rate=3e-3", "batch_size=8", "precision=fp32",
                "validation_share=0.3"]  # fmt: skip
    for args in (["reward", tmp_path, *settings], ["reward", "report", tmp_path]):
        with pytest.raises(SystemExit) as end:
            main([*map(str, args)])
        assert end.value.code == 0
    out = capsys.readouterr().out
    assert any(f"the model {verdict}" in out for verdict in ("beats it", "does not beat it"))
    report = json.loads((tmp_path / "reward" / "report.json").read_text())
    low, high = report["length"]["model - baseline"]["interval"]
    assert -1 <= low <= high <= 1
    assert report["groups"]["validation"]["accuracy"]["clusters"] >= 3
    assert report["scoring"]["normalised_on"] == "ranked responses"
