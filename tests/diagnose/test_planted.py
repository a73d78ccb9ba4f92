"""What is planted in a real run is named; in a healthy one nothing is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rather.diagnose import diagnose, illness
from rather.diagnose.reading import Story

sys.path.insert(0, str(Path(__file__).parent))
import planted

pytestmark = pytest.mark.slow  # each is a real run of PPO, of ten seconds and more

FLAWS = {
    "bee": lambda text: 0.5 * text.split().count("bee"),
    "none": lambda text: 0.0,
}


def examined(folder, flaw="none", **settings):
    found = diagnose(Story.read(planted.optimised(folder, FLAWS[flaw], **settings)), "ppo")
    return {one.question: one for one in found}, illness(found)


def test_a_healthy_run_is_called_well_and_what_was_not_measured_is_said(tmp_path):
    found, ill = examined(tmp_path)
    assert ill is None
    assert found["over-optimisation"].outcome == found["drift"].outcome == found["length"].outcome == "well"
    assert found["sycophancy"].outcome == "not decided"
    assert "were not measured" in found["sycophancy"].words


def test_half_a_point_for_a_word_is_reward_hacking_and_the_word_is_named(tmp_path):
    found, ill = examined(tmp_path, "bee")
    assert ill is not None
    assert (ill.name, ill.mechanism) == ("reward hacking", "classifier")
    assert "the word 'bee'" in ill.words
    assert ill.figure is not None
    assert ill.figure.interval is not None
    assert ill.figure.interval[1] < 0
    assert found["drift"].outcome != "ill", "the controller did what it was told: the score paid for every nat"


def test_a_controller_that_is_off_is_named(tmp_path):
    _, ill = examined(tmp_path, kl_coef=0.0)
    assert ill is not None
    assert (ill.question, ill.mechanism) == ("drift", "controller")
    assert "beta is 0" in ill.words
