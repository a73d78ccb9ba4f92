"""tools/environment.py, which every make target runs first: when it does nothing, and when it starts afresh."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path) -> ModuleType:
    """A copy of the tool in a project of its own, as a module; the project can be set up by nobody but pip."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "environment.py", tmp_path / "tools")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\noptional-dependencies.dev = []\n")
    (tmp_path / "constraints.txt").write_text("")
    spec = importlib.util.spec_from_file_location("environment", tmp_path / "tools" / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stamp(project: ModuleType, *extras: str) -> None:
    project.VENV.mkdir(exist_ok=True)
    project.STAMP.write_text(json.dumps({"inputs": project.inputs(), "extras": extras}))


def call(project: ModuleType, *extras: str) -> subprocess.CompletedProcess[str]:
    no_packages = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    tool = [sys.executable, str(project.ROOT / "tools" / "environment.py"), *extras]
    return subprocess.run(tool, capture_output=True, text=True, env=no_packages)


def test_nothing_is_done_when_nothing_changed(project):
    stamp(project, "dev", "peers")
    done = call(project, "dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [f.name for f in project.VENV.iterdir()] == ["ready.json"]


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_it_is_made_from_is_noticed(project, file):
    stamp(project, "dev")
    assert project.is_ready(["dev"])
    assert not project.is_ready(["dev", "peers"])
    (project.ROOT / file).write_text("# another version")
    assert not project.is_ready(["dev"])


def test_a_set_up_that_was_interrupted_is_not_ready_and_not_kept(project):
    stamp(project, "dev")
    project.UNFINISHED.touch()
    assert not project.is_ready(["dev"])
    assert not project.can_be_kept()


def test_a_stamp_cut_in_two_is_no_stamp(project):
    project.VENV.mkdir()
    project.STAMP.write_text('{"inputs": "ab')
    assert not project.is_ready(["dev"])


def test_without_packages_it_fails_in_words_and_the_next_call_starts_afresh(project):
    project.VENV.mkdir()
    (project.VENV / "left over").touch()
    done = call(project, "dev")
    assert done.returncode == 1
    assert "pip could not install" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.VENV / "left over").exists()
    assert project.UNFINISHED.exists()
    assert not project.is_ready(["dev"])


@pytest.mark.skipif(not shutil.which("make"), reason="make is not here")
def test_an_old_python_is_refused_in_words(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n')
    old.chmod(0o755)
    done = subprocess.run(["make", "lint", f"PYTHON={old}"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "needs Python 3.11 or newer; found here: Python 3.9.2." in done.stderr
    assert "make PYTHON=/path/to/python3.11 lint" in done.stderr
