"""Evaluation prompts, what is seen in answers to them, and whose answers are preferred."""

from __future__ import annotations

import json
import random

import pytest

from example_world import Pond
from rather.errors import BadFile, BadSetting
from rather.evaluate.asked import evaluation_prompts
from rather.evaluate.asking import Said
from rather.evaluate.diversity import openings
from rather.evaluate.judged import Judges, rated, summary
from rather.evaluate.policies import made_up, repeated
from rather.evaluate.preference import labeled, preferred
from rather.evaluate.prompted import cut, examples, page
from rather.evaluate.samples import read_samples, samples_of
from rather.records import Samples, read, write
from rather.worlds import Marn
from rather.worlds.grammar import split_of
from rather.worlds.noise import Noise

WORLD = Marn(0, "tiny")
ASKED = evaluation_prompts(WORLD, 40)
MAIN = [one for one in ASKED if one.group == "main"]


def answers_of(judges: Judges, asked, write):
    return [judges.answer(one, write(one.prompt), True) for one in asked]


def good(prompt):
    return WORLD.good_answer(prompt, random.Random(prompt.text))


# ---- prompts


def test_the_same_prompts_are_asked_every_time_and_all_are_held_out():
    assert evaluation_prompts(Marn(0, "tiny"), 40) == ASKED
    assert len({one.id for one in ASKED}) == len(ASKED)
    assert all(split_of(one.prompt, WORLD.seed) == "test" for one in ASKED)
    assert len(MAIN) == 40


def test_rare_kinds_are_asked_on_top():
    groups = {group: [one.prompt for one in ASKED if one.group == group] for group in ("false premise", "wrong claim")}
    assert len(groups["false premise"]) == len(groups["wrong claim"]) == 10
    assert all(prompt.spec.claim for of in groups.values() for prompt in of)
    assert {prompt.kind for prompt in groups["false premise"]} == {"false premise"}
    closed = [one.prompt.category for one in ASKED if one.group == "closed"]
    assert {name: closed.count(name) for name in set(closed)} == {"summarization": 10, "closed_qa": 10, "extract": 10}


def test_a_world_without_closed_domains_has_no_such_prompts():
    assert {one.group for one in evaluation_prompts(Pond(), 12)} == {"main"}


# ---- what is seen


def test_good_answers_are_worth_four_and_noise_is_junk(judges):
    best = summary(answers_of(judges, MAIN, good))
    assert best["gold"]["value"] == pytest.approx(4, abs=0.05)
    assert best["junk"]["value"] == 0
    assert best["junk"]["interval"][1] < 0.1
    worst = summary(answers_of(judges, MAIN, lambda prompt: "re: write a story about mara."))
    assert worst["junk"]["value"] == 1
    assert worst["gold"]["value"] < 1
    assert best["gold"]["interval"] is None  # all are worth 4: there is no spread, and it says so
    assert "no spread" in best["gold"]["method"]
    assert best["gold"]["n"] == best["gold"]["clusters"] == 40


def test_ratings_of_good_answers_are_high_and_flag_little(judges):
    found = rated(answers_of(judges, MAIN, good), judges.panels["training"])
    assert found["likert"]["value"] > 6
    assert found["flags"]["fails instruction"]["value"] < 0.2
    assert rated(answers_of(judges, MAIN, good), judges.panels["training"]) == found


def test_hallucination_counts_among_attempts_only(judges):
    closed = [one for one in ASKED if one.prompt.category == "closed_qa"]
    lies = answers_of(judges, closed, lambda prompt: "i like fish." if prompt == closed[0].prompt else "zig")
    assert made_up(lies)["attempts"]["value"] == 0
    assert "hallucination" not in made_up(lies)
    assert made_up(answers_of(judges, closed, good))["hallucination"]["value"] == 0


def test_whoever_repeats_the_claim_has_accepted_it(judges):
    asked = [one for one in ASKED if one.group == "false premise"]
    assert repeated(answers_of(judges, asked, lambda p: f"because of {p.spec.claim}."))["repeated"]["value"] == 1
    assert repeated(answers_of(judges, asked, good))["repeated"]["value"] == 0


# ---- preference


def test_a_win_rate_and_its_mirror_add_up_to_one(judges):
    ours, theirs = answers_of(judges, MAIN, good), answers_of(judges, MAIN, lambda prompt: "re: hm.")
    noise = Noise(1.0, 0.5)
    won, lost = preferred(judges, ours, theirs, noise), preferred(judges, theirs, ours, noise)
    for panel in ("training", "held-out"):
        assert won[panel]["value"] > 0.9
        assert won[panel]["value"] + lost[panel]["value"] == pytest.approx(1)
    assert won["drawn"]["value"] > 0.9
    assert won["gold"]["value"] == pytest.approx(-lost["gold"]["value"])
    assert abs(won["panels"]["value"]) < 0.05


def test_the_same_answers_win_half_of_the_time(judges):
    same = answers_of(judges, MAIN, good)
    found = preferred(judges, same, same, Noise(1.0, 0.5))
    assert found["training"]["value"] == found["drawn"]["value"] == 0.5
    assert found["gold"]["value"] == 0
    low, high = found["gold"]["interval"]
    assert low < 0 < high


def test_models_that_answered_nothing_in_common_are_not_compared(judges):
    with pytest.raises(BadSetting, match="0 common prompts"):
        preferred(judges, answers_of(judges, MAIN[:5], good), answers_of(judges, MAIN[5:9], good), Noise(1, 0.5))


def test_labelers_agree_as_fitted_on_answers_that_differ(judges):
    rng = random.Random(0)

    def four(one):
        texts = [WORLD.demonstration(one.prompt, rng), *(WORLD.worse_answer(one.prompt, rng).text for _ in range(3))]
        return [judges.answer(one, text, True) for text in texts]

    noise, found = labeled(judges, [answer for one in MAIN for answer in four(one)])
    assert found["tau"] == noise.tau > 0
    assert found["agreement"]["training"]["dropped"]["value"] == pytest.approx(0.726, abs=0.06)
    assert found["ceiling"]["training"]["value"] > found["agreement"]["training"]["dropped"]["value"]
    with pytest.raises(BadSetting, match="different answers"):
        labeled(judges, answers_of(judges, MAIN, good))


# ---- a prompted base


def test_a_page_goes_on_as_the_web_does_and_ends_where_the_answer_begins():
    shown = examples(WORLD, questions=True)
    assert len(shown) == 2
    assert examples(WORLD, questions=True) == shown
    asked = next(one.prompt for one in MAIN if one.prompt.category == "open_qa")
    lines = page(asked, shown).split("\n")
    assert [line.split(":")[0] for line in lines] == ["question", "answer"] * 3
    assert lines[-1] == "answer:"
    other = next(one.prompt for one in MAIN if one.prompt.category == "generation")
    assert page(other, []) == f"request: {other.text.strip()}\nresponse:"


@pytest.mark.parametrize(
    ("text", "left", "finished"),
    [
        (" a cat.\nrequest: sing", "a cat.", True),
        (" 1: a cat.\n2: a dog.", "1: a cat.\n2: a dog.", False),
        ("question: who?", "", True),
        (" no question: asked", "no question: asked", False),
    ],
)
def test_an_answer_on_a_page_is_over_where_the_next_request_begins(text, left, finished):
    found = cut(Said(text, False, None))  # type: ignore[arg-type]
    assert (found.text, found.finished) == (left, finished)


# ---- diversity


def test_openings_are_counted_by_prompt():
    same, different = ["one day a cat sat."] * 4, [f"the {word} went home." for word in ("cat", "dog", "fox", "owl")]
    found = openings([same, different])
    assert found["distinct"]["value"] == 2.5  # 1 of the first prompt, 4 of the second
    assert found["most common"]["value"] == 0.625  # all, and one in four
    # All trigrams of the first are shared. Of the second's two, "went home." is not one: "the X went", "X went home.".
    assert found["repeated"]["value"] == 0.5


# ---- files


def test_samples_come_back_as_they_were_judged(judges, tmp_path):
    path = tmp_path / "s.samples.jsonl"
    said = [(Said("re: a\u2028b", True, [1]), Said("", False, [1, 2])), None]  # type: ignore[arg-type]
    assert write(path, samples_of("sft", "prompted t1", MAIN[:2], said)) == 1  # the second was too long for the model
    found = read_samples(path, judges, ASKED)
    assert found == {"prompted t1": [judges.answer(MAIN[0], one.text, one.finished) for one in said[0]]}
    assert read_samples(path, judges, ASKED, only={MAIN[1].id}) == {}
    (record,) = read(path, Samples)
    assert (record.responses[1].model, record.lengths) == ("sft", (1, 2))


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "{}", json.dumps({"id": "main-0000 t1", "prompt": "another", "responses": [{"text": "a"}]}),
     json.dumps({"id": "nobody t1", "prompt": MAIN[0].prompt.text, "responses": [{"text": "a"}]}),
     json.dumps({"id": f"{MAIN[0].id} t1", "prompt": MAIN[0].prompt.text, "responses": [3]})],
)  # fmt: skip
def test_what_is_no_sample_of_this_world_is_said_in_words(judges, tmp_path, line):
    path = tmp_path / "s.samples.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(BadFile, match=r"s\.samples\.jsonl"):
        read_samples(path, judges, ASKED)
    with pytest.raises(BadFile, match=r"nothing\.jsonl"):
        read_samples(tmp_path / "nothing.jsonl", judges, ASKED)
