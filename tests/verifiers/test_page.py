"""The examples of docs/verifiers.md run."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_the_examples_of_the_page_run():
    page = Path(__file__).parents[2] / "docs" / "verifiers.md"
    done = doctest.testfile(str(page), module_relative=False)
    assert done.attempted > 4
    assert done.failed == 0
