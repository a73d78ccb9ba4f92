"""The world that docs/worlds.md shows: it is the file the tests run, and everything that takes a world takes it."""

from __future__ import annotations

import doctest
import random
import re
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.records import Response
from rather.worlds import Marn, World
from rather.worlds.judging import rank, task_of, utilities
from rather.worlds.labelers import hire
from rather.worlds.noise import fit_noise

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
from example_world import NAMES, Pond  # noqa: E402  (it lies beside this folder)

WORLDS: list[World] = [Pond(1), Marn(1, "tiny")]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_same_seed_is_the_same_world(world):
    again = type(world)(world.seed)
    if isinstance(again, Marn):
        again = Marn(world.seed, "tiny")
    for make in (
        lambda w, rng: list(islice(w.web_documents(rng), 50)),
        lambda w, rng: w.prompts(rng, 50),
        lambda w, rng: w.demonstration(w.prompt(rng), rng),
    ):
        assert make(world, random.Random(3)) == make(again, random.Random(3))


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_demonstrations_are_worth_more_than_what_the_web_goes_on_with(world):
    rng = random.Random(4)
    prompts = world.prompts(rng, 60)
    demonstrated = [world.utility(world.features(p, world.demonstration(p, rng))) for p in prompts]
    ignored = [world.utility(world.features(p, world.prompt(rng).text)) for p in prompts]
    assert sum(demonstrated) / 60 > 3.5
    assert sum(ignored) / 60 < 0.5


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=60), seed=st.integers(0, 3))
def test_features_of_the_pond_are_total(text, seed):
    world = WORLDS[0]
    f = world.features(world.prompt(random.Random(seed)), text)
    assert 0 <= f.task <= 1
    assert world.utility(f) <= 4


def test_labelers_rank_answers_of_the_pond():
    """Whatever was written for Marn's labelers takes any world."""
    world, rng, people = WORLDS[0], random.Random(5), hire(random.Random(6), 6)
    tasks = []
    for at in range(80):
        prompt = world.prompt(rng, "open_qa")
        texts = [world.demonstration(prompt, rng), f"{rng.choice(NAMES)} is red.", prompt.text.strip(), "maybe green."]
        task = task_of(world, f"t{at}", prompt, [Response(text=text) for text in texts])
        assert task is not None
        tasks.append(task)
    noise = fit_noise([utilities(people, task) for task in tasks])
    ranking = rank(people[0], tasks[0], noise, rng)
    assert len(ranking.ranks) == len(tasks[0].responses)


def test_the_page_shows_the_world_that_is_tested():
    page = (TESTS.parent / "docs" / "worlds.md").read_text()
    (shown,) = [code for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "class Pond" in code]
    assert shown == (TESTS / "example_world.py").read_text()
    assert shown.count("\n") <= 120


def test_the_examples_of_the_page_run():
    assert doctest.testfile(str(TESTS.parent / "docs" / "worlds.md"), module_relative=False).failed == 0
