"""A run measured: files that are whole, that say what they rest on, and that are not made twice."""

from __future__ import annotations

import json

import pytest

from conftest import FEW, WORLD, small_policy
from example_world import Pond
from rather.cli import main
from rather.errors import BadFile, BadSetting, NotReady
from rather.evaluate.asked import evaluation_prompts
from rather.evaluate.judged import Judges
from rather.evaluate.policies import measure_policy
from rather.evaluate.results import read_result, result_path, samples_path
from rather.evaluate.rewards import _accuracy
from rather.evaluate.runs import LABELERS, Measuring
from rather.models.load import save_policy
from rather.records import Response
from rather.worlds import Marn
from rather.worlds.judging import Task


@pytest.fixture
def measuring(story):
    return Measuring(story, WORLD, FEW)


def numbers(found, path=()):
    """Every number with an interval, by its place."""
    for key, value in found.items():
        if isinstance(value, dict):
            if "interval" in value:
                yield (*path, key), value
            else:
                yield from numbers(value, (*path, key))


def test_every_number_has_its_n_and_an_interval_around_it(measuring):
    found = measuring.measure("base-s")
    named = dict(numbers(found))
    assert len(named) > 80
    for place, value in named.items():
        assert value["n"] >= value["clusters"] >= 1, place
        if value["interval"] is not None:
            low, high = value["interval"]
            assert low <= value["value"] <= high, place
    assert set(found["answers"]) == {"t1", "t0.5", "prompted t1"}
    assert set(found["toxicity"]) == set(found["bias"]) == {"none", "respectful", "biased"}
    assert {("truthfulness", "question", "true_and_informative"), ("web", "per byte")} < set(named)
    assert found["truthfulness"]["question"]["true"]["clusters"] == 20
    assert found["truthfulness"]["question"]["true"]["n"] == 20 * FEW.beliefs
    assert found["web"]["per byte"]["value"] < found["web"]["per token"]["value"]
    assert json.loads(result_path(measuring.run, "base-s").read_text()) == found


def test_only_a_base_model_is_asked_behind_examples(measuring):
    assert set(measuring.measure("sft-s")["answers"]) == {"t1", "t0.5"}


def test_what_did_not_change_is_not_measured_again(story, measuring):
    before = measuring.measure("sft-s")
    said = []
    assert Measuring(story, WORLD, FEW, said.append).measure("sft-s") == before
    assert said == []
    other = FEW.model_copy(update={"questions": 5})
    again = Measuring(story, WORLD, other, said.append).measure("sft-s")
    assert said
    assert again["benchmarks"]["reading"]["n"] == 5
    said.clear()
    save_policy(small_policy(7), story / "sft-s" / "checkpoint")
    assert Measuring(story, WORLD, other, said.append).measure("sft-s")["about"]["weights"] != again["about"]["weights"]
    assert said


def test_measured_again_it_is_the_same_but_for_the_time(measuring):
    one = measuring.measure("base-s")
    samples = samples_path(measuring.run, "base-s").read_bytes()
    two = measuring.measure("base-s", again=True)
    assert {**one, "about": 0} == {**two, "about": 0}
    assert samples_path(measuring.run, "base-s").read_bytes() == samples


def test_answers_are_read_back_for_comparisons(measuring):
    measuring.measure("base-s")
    answers = measuring.answers("base-s")
    assert {way: len(of) for way, of in answers.items() if way != "openings"} == {
        "t1": 16, "t0.5": 16, "prompted t1": 16,
    }  # fmt: skip


def test_labelers_are_fitted_on_the_policy_that_they_see(measuring):
    found = measuring.measure(LABELERS)
    assert found["about"]["model"] == "sft-s"
    assert measuring.noise().tau == found["tau"]


def test_a_world_with_little_to_measure_is_measured_as_far_as_it_goes():
    found, rows = measure_policy(small_policy(0), "pond", Judges(Pond()), FEW, prompted=True)
    assert not {"toxicity", "bias", "truthfulness"} & set(found) or found["benchmarks"] is not None
    assert found["closed"] == found["wrong users"] == {}
    assert rows


def test_missing_and_damaged_files_are_said_in_words(measuring, tmp_path):
    with pytest.raises(NotReady, match="no model 'sft-x'"):
        measuring.measure("sft-x")
    with pytest.raises(NotReady, match="no fine-tuned policy"):
        Measuring(tmp_path, WORLD, FEW).measure(LABELERS)
    for text in ("", "[]", '{"about": 3}', "{"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(BadFile, match=r"x\.json"):
            read_result(tmp_path / "x.json")


def test_the_door_says_a_line_for_each_model(story, capsys):
    settings = [f"{key}={value}" for key, value in FEW.model_dump().items()]
    with pytest.raises(SystemExit) as end:
        main(["world", "measure", str(story), "base-s", "--world", WORLD, *settings])
    out, err = capsys.readouterr()
    assert end.value.code == 0, err
    assert out.startswith("base-s")
    assert "junk 0.00 (0.00 to" in out
    for args, why in (([str(story), "bas-s"], "Did you mean 'base-s'"), ([str(story / "x")], "no model"),
                      ([str(story), "qestions=3"], "questions")):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main(["world", "measure", *args, "--world", WORLD])
        assert end.value.code == 2
        assert why in capsys.readouterr().err


def test_the_world_of_a_run_is_that_of_its_base_model(tmp_path):
    from rather.evaluate.runs import world_of  # here: beside its only test

    assert world_of(tmp_path) == "marn"
    (tmp_path / "base-s").mkdir()
    (tmp_path / "base-s" / "config.toml").write_text('texts = "marn:3:tiny"\n')
    assert world_of(tmp_path) == "marn:3:tiny"
    assert Marn(3, "tiny").seed == 3


def test_an_accuracy_without_pairs_is_no_number(judges):
    """Two answers that say the same are tied by every labeler: neither 0 nor .5 would be true."""
    asked = evaluation_prompts(judges.world, 16)[0]
    same = Response(text="no idea.")
    task = Task(asked.id, asked.prompt, (same, same), (judges.world.features(asked.prompt, same.text, True),) * 2)
    with pytest.raises(BadSetting, match=r"Of 1 prompts only 0 have answers that differ enough"):
        _accuracy([task], [[0.1, 0.2]], [[[1.0, 1.0]]])
