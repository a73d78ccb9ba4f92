"""A run whose models have learned nothing, small enough to measure in a second, and the settings to do it with."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch

from rather.evaluate.judged import Judges
from rather.evaluate.policies import MeasureConfig
from rather.models.load import Policy, save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.worlds import Marn

WORLD = "marn:0:tiny"
FEW = MeasureConfig(n=16, max_new_tokens=12, questions=4, beliefs=2, openings=4, alike=3, times=5, pages=20, slots=32)


def small_policy(seed: int, hidden: int = 16) -> Policy:
    texts = [page.text for page in islice(Marn(0, "tiny").web_documents(Random(0)), 300)]
    config = TinyConfig(vocabulary=600, hidden=hidden, layers=1, heads=2, context=192, template="none")
    return tiny(config, texts, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def judges() -> Judges:
    return Judges(Marn(0, "tiny"))


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN with a base model and a fine-tuned one."""
    run = tmp_path_factory.mktemp("story") / "run"
    for seed, name in enumerate(("base-s", "sft-s")):
        (run / name).mkdir(parents=True)
        save_policy(small_policy(seed), run / name / "checkpoint")
    return run
