"""The documents say what is: their commands, links, files and printed lines exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rather.cli import VERBS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN_BY_A_COMMAND = {"benchmarks/results.json"}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def run(*args: str, folder: Path) -> str:
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, cwd=folder, env=quiet)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=named)
def test_python_in_a_page_runs(page, tmp_path):
    for code in blocks(page, "python"):
        run("-c", code, folder=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    text = re.sub(BLOCK, "", page.read_text())
    for target in re.findall(r"\]\((?!https?://)([^)#]*)(?:#[\w-]*)?\)", text):
        assert (page.parent / target).exists(), target
    headings = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}
    for anchor in re.findall(r"\]\(#([^)]*)\)", text):
        assert anchor in headings, anchor


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_that_are_named_exist(page):
    text = page.read_text()
    verbs = re.findall(r"(?:^\$ |^|`)(?:\.venv/bin/)?rather ([a-z][a-z-]*)", text, re.M)
    assert set(verbs) - set(VERBS) == set()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page):
    for path in re.findall(r"`((?:src|tests|docs|benchmarks|recipes|tools)/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists() or path in WRITTEN_BY_A_COMMAND, path


def test_every_page_is_reached_from_the_one_page():
    one = (ROOT / "docs" / "all-of-rather.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"all-of-rather.md"}
    assert pages - set(re.findall(r"\]\(([\w-]+\.md)\)", one)) == set()
    assert "docs/all-of-rather.md" in (ROOT / "README.md").read_text()


def test_every_verb_is_in_the_readme():
    assert set(re.findall(r"^\| `rather ([a-z][a-z-]*)", (ROOT / "README.md").read_text(), re.M)) == set(VERBS)
