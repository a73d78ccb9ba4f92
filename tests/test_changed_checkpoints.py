"""A checkpoint that somebody changed, checksums and all, is refused in words; so is one under another's name."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
import torch

from rather import checkpoint
from rather.errors import BadFile


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of two checkpoints, the second of step 2."""
    for step in (1, 2):
        checkpoint.save(tmp_path, state(step), step)
    return tmp_path


def state(step: int = 0) -> dict:
    return {"weights": torch.full((3,), float(step)), "beta": 0.1 * step, "history": [step, "x"]}


def change(saved: Path, name: str, content: bytes) -> None:
    folder = saved / "step-00000002"
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = [len(content), zlib.crc32(content)]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100_000,
        b"{}",
        b'{"dict": 3}',
        b'{"dict": [["weights"]]}',
        b'{"dict": [["weights", {"tensor": "w"}], ["beta", 0.2], ["history", {"list": []}]]}',
        b'{"dict": [["weights", {"tensor": "weights"}], ["beta", {"float": "x"}], ["history", {"list": []}]]}',
        b'{"dict": [["weights", {"tensor": "weights"}], ["beta", 0.2], ["history", {"pickle": ""}]]}',
    ],
)
def test_values_that_are_not_as_we_write_them_are_refused(saved: Path, content: bytes):
    change(saved, "values-0.json", content)
    with pytest.raises(BadFile, match=r"values-0.json is not what a checkpoint writes|not a checkpoint of this state"):
        checkpoint.load_latest(saved, state())


def test_tensors_that_are_not_as_we_write_them_are_refused(saved: Path):
    name = next(path.name for path in (saved / "step-00000002").glob("*.distcp"))
    for content in (b"", b"PK\x03\x04", (saved / "step-00000002" / name).read_bytes()[:-40]):
        change(saved, name, content)
        with pytest.raises(BadFile, match="could not be read"):
            checkpoint.load_latest(saved, state())


@pytest.mark.parametrize("entry", [True, [1], "12", None])
def test_a_manifest_without_sizes_and_sums_is_refused(saved: Path, entry: object):
    path = saved / "step-00000002" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["values-0.json"] = entry
    path.write_text(json.dumps(manifest))
    with pytest.raises(BadFile, match="not a whole checkpoint"):
        checkpoint.load_latest(saved, state())


@pytest.mark.parametrize("name", ["\ud800", "\0", "no-such-file", "x" * 300])
def test_a_manifest_that_names_no_file_is_refused(saved: Path, name: str):
    path = saved / "step-00000002" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = [1, 1]
    path.write_text(json.dumps(manifest))
    with pytest.raises(BadFile, match="cannot be read"):
        checkpoint.load_latest(saved, state())


def test_an_old_checkpoint_under_a_newer_name_is_not_gone_on_from(saved: Path):
    (saved / "step-00000001").rename(saved / "step-00000003")
    with pytest.raises(BadFile, match="step-00000003 holds step 1"):
        checkpoint.load_latest(saved, state())
    (saved / "step-00000003").rename(saved / "best")
    kept = state()
    checkpoint.load(saved / "best", kept)  # under a name that says no step it is a copy, and fine
    assert kept["beta"] == 0.1
