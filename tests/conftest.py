"""What the tests share: the data folder that lies beside the checkout on some machines, and quiet libraries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches a hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that nobody here wrote. Set RATHER_SHARED to its folder, or lay it beside the checkout."""
    folder = Path(os.environ.get("RATHER_SHARED") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set RATHER_SHARED to a folder that has it")
    return folder
