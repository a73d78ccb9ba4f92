"""Parquet files and folders are read like JSON Lines; a hub that cannot be reached is said in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rather.errors import BadFile, BadRecord, MissingExtra
from rather.records import Comparison, Ranking, read

datasets = pytest.importorskip("datasets")

PAIRS = [{"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}", "margin": None} for n in range(700)]


def parquet(file: Path, rows: list[dict]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(file)
    return file


def test_a_parquet_file_has_rows_counted_from_one(tmp_path: Path):
    records = list(read(parquet(tmp_path / "train.parquet", PAIRS), Comparison))
    assert (len(records), records[699].id, records[699].a.text) == (700, "train:700", "good 699")
    assert records[0].margin is None


def test_null_in_parquet_is_a_field_that_is_not_there(tmp_path: Path):
    rows = [{"messages": [{"role": "user", "content": "Hi"}], "prompt": None, "responses":
             [{"text": "x", "rank": 0, "model": None}, {"text": "y", "rank": 1, "model": "m"}]}]  # fmt: skip
    (ranking,) = read(parquet(tmp_path / "r.parquet", rows), Ranking)
    assert (ranking.ranks, ranking.responses[0].model, ranking.responses[1].model) == ((1, 2), None, "m")


def test_a_folder_is_read_one_split_at_a_time(tmp_path: Path):
    parquet(tmp_path / "data" / "train-00000-of-00002.parquet", PAIRS[:3])
    parquet(tmp_path / "data" / "train-00001-of-00002.parquet", PAIRS[3:5])
    assert len(list(read(tmp_path))) == 5
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", PAIRS[5:6])
    with pytest.raises(BadFile, match="several splits: test, train"):
        read(tmp_path)
    assert [record.prompt for record in read(f"{tmp_path}@test")] == ["p5"]
    assert len(list(read(f"{tmp_path}@train"))) == 5
    with pytest.raises(BadFile, match="no split 'valid'"):
        read(f"{tmp_path}@valid")


def test_a_bad_row_of_parquet_is_named_by_its_number(tmp_path: Path):
    with pytest.raises(BadRecord, match=r"train\.parquet:2: response is empty"):
        list(read(parquet(tmp_path / "train.parquet", [{"prompt": "p", "response": r} for r in ("x", "")])))


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadFile, match="no file or folder nobody/no-such-dataset") as bad:
        read("nobody/no-such-dataset@test")
    assert len(str(bad.value).splitlines()) == 3


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = parquet(tmp_path / "train.parquet", PAIRS[:1])
    monkeypatch.setitem(sys.modules, "datasets", None)  # what an import finds when it is not installed
    for source in (file, "nobody/no-such-dataset"):
        with pytest.raises(MissingExtra, match=r"pip install 'rather\[hub\]'"):
            read(source)
