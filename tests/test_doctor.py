"""`rather doctor` tells a machine that works from one that does not, and says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from rather.cli import doctor

ROOT = Path(__file__).parents[1]


def ask(folder: Path, *args: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rather", "doctor", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, **settings})


def test_here_it_is_usable_and_json_is_one_object(tmp_path):
    done = ask(tmp_path, "--json", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    said = json.loads(done.stdout)
    assert (done.returncode, said["usable"]) == (0, True)
    assert said["packages"]["torch"].startswith("2.")
    assert {(m["device"], m["dtype"]) for m in said["matmul"]} >= {("cpu", "fp32"), ("cpu", "bf16")}
    assert all(m["flops"] > 0 for m in said["matmul"])
    assert 1 <= said["best_threads"] <= said["cores"]
    assert said["precision"] in ("fp32", "bf16")
    assert (said["disk"]["locks"], said["hub_offline"], said["omp_num_threads"]) == (True, True, "1")
    assert 0 < said["memory"]["available"] <= said["memory"]["total"]


def test_quick_measures_nothing_and_words_have_no_colour_in_a_file(tmp_path):
    done = ask(tmp_path, "--quick")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "matmul" not in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("Ready.\n")


def test_a_torch_that_is_too_old_or_does_not_load_is_broken(tmp_path):
    # Planted where Python looks first: what pip says is installed, and the module that is imported.
    about = tmp_path / "torch-2.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.1.0\n")
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    done = ask(tmp_path, "--json", PYTHONPATH=str(tmp_path))
    problems = {p["found"]: p for p in json.loads(done.stdout)["problems"]}
    least = dict(doctor.requirements(""))["torch"]
    assert done.returncode == 1
    assert problems[f"torch 2.1.0 is older than {least}."]["do"] == f"pip install 'torch>={least}'"
    assert problems["torch does not load: libtorch_cpu.so: cannot open shared object file"]["fatal"]
    assert "Not usable as it is" in ask(tmp_path, PYTHONPATH=str(tmp_path)).stdout


def test_more_threads_than_cores_are_noticed():
    problems: list[doctor.Problem] = []
    doctor.torch_can(True, cores=torch.get_num_threads() - 1, problems=problems)  # as in a container with a quota
    assert [p.do.split("=")[0] for p in problems] == ["export OMP_NUM_THREADS"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is the full disk of this test")
def test_a_full_disk_is_broken():
    problems: list[doctor.Problem] = []
    doctor.disk(Path("/proc"), problems)
    assert problems[0].found == "0.0 GB are free in /proc."
    assert problems[1].found.startswith("/proc cannot be written: ")
    assert all(problem.fatal for problem in problems[:2])


def test_every_extra_of_pyproject_is_explained_and_its_packages_are_looked_for():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(declared)
    assert doctor.requirements("lora") == [("peft", "0.15")]
    assert doctor.release(dict(doctor.requirements(""))["torch"]) >= (2, 6)


def test_versions_compare_as_numbers():
    assert doctor.release("2.13.0+cpu") == (2, 13, 0) > doctor.release("2.6")
    assert doctor.release("0.4.3") == (0, 4, 3)
