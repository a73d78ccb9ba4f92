"""docs/statistics.md: its examples run and give what it says, and no public name is missing from it."""

from __future__ import annotations

import doctest
from pathlib import Path

import rather.statistics

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"


def test_every_example_gives_what_the_page_says():
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted > 40
    assert not found.failed


def test_every_function_is_explained():
    page = PAGE.read_text()
    functions = [name for name in rather.statistics.__all__ if callable(getattr(rather.statistics, name))]
    assert [name for name in functions if name.islower() and f"`{name}" not in page] == []
