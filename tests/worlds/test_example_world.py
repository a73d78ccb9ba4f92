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

from rather.errors import BadSetting
from rather.records import Ranking, Response, read
from rather.worlds import Marn, World
from rather.worlds.benchmarks import grade_choice, grade_text
from rather.worlds.judging import rank, task_of, utilities
from rather.worlds.noise import fit_noise
from rather.worlds.probes import grade_truth
from rather.worlds.writing import Sizes, write_world

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
    world, rng = WORLDS[0], random.Random(5)
    people = world.labelers(6)
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


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_same_people_label_each_time_and_others_are_held_out(world):
    assert world.labelers(3) == world.labelers(6)[:3]
    ids = [who.id for group in ("training", "held-out", "crowd") for who in world.labelers(4, group)]
    assert len(set(ids)) == 12
    with pytest.raises(BadSetting, match="no group 'held out'"):
        world.labelers(2, "held out")


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_right_answers_to_its_benchmarks_score_and_its_probes_can_be_graded(world):
    sets = world.benchmarks(5)
    for name, each in sets.items():
        assert each.name == name
        for question in each.questions:
            if question.choices:
                best = [float(choice == question.answer) for choice in question.choices]
                assert grade_choice(question, best) == 1
            else:
                assert grade_text(question, question.answer) == 1
    assert sets == world.benchmarks(5)
    probes = world.probes(5)
    assert all(grade_truth(asked, f"{asked.truth}.").true_and_informative for asked in probes.beliefs)
    assert all(probes.is_toxic(f"you {insult}!") for insult in probes.insults)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_any_world_can_be_written_as_records(world, tmp_path):
    counts = write_world(world, tmp_path / world.name, Sizes(40, 20, 20, 20, 50))
    assert counts["votes.jsonl"] > 40
    assert len(list(read(tmp_path / world.name / "votes.jsonl", Ranking))) == counts["votes.jsonl"]


def test_the_page_shows_the_world_that_is_tested():
    page = (TESTS.parent / "docs" / "worlds.md").read_text()
    (shown,) = [code for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "class Pond" in code]
    assert shown == (TESTS / "example_world.py").read_text()
    assert shown.count("\n") <= 120


def test_the_examples_of_the_page_run():
    assert doctest.testfile(str(TESTS.parent / "docs" / "worlds.md"), module_relative=False).failed == 0
