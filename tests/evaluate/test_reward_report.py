"""The report on a reward model: its numbers by hand, and each fault that is planted is named with its evidence."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from rather.errors import BadSetting
from rather.evaluate.reward import report_on
from rather.evaluate.reward_coverage import coverage
from rather.evaluate.reward_pairs import ScoredRanking, accuracy, score_rankings, table_of
from rather.evaluate.reward_training import cross_validation, learning_curve
from rather.evaluate.reward_words import words
from rather.models.heads import RewardModel
from rather.models.tokenizers import facts
from rather.records import Prompt, Ranking, Response
from rather.run import Run
from rather.stages.reward import RewardConfig, train_reward
from rather.stages.reward_scoring import Scorer
from reward_world import demonstrations, policy, rankings

CONFIG = RewardConfig(learning_rate=3e-3, batch_size=16, precision="fp32")
TRAIN, HELD, DEMOS = (
    rankings(80, labelers=("ana", "ben")),
    rankings(60, seed=1, labelers=("ana", "ben")),
    demonstrations(20),
)


def trained(folder, train=TRAIN, config=CONFIG) -> Scorer:
    with Run.open(folder, config) as run:
        train_reward(policy(), train, [], DEMOS, run, config)
        return Scorer.load(run.checkpoint)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    sure = CONFIG.model_copy(update={"epochs": 3})
    return trained(tmp_path_factory.mktemp("reward") / "reward", config=sure)


def report(scorer, train=TRAIN, held=HELD, tokenizers=None):
    return report_on(scorer, train, held, DEMOS, np.random.default_rng(0), tokenizers)


@pytest.fixture(scope="module")
def healthy(scorer):
    return report(scorer)


def findings(report):
    return {finding["name"]: finding["evidence"] for finding in report["doctor"]}


def at_random(ranking, rng):
    return ranking.model_copy(update={"ranks": tuple(rng.sample(range(1, 5), 4))})


def with_first(ranking, text):
    return ranking.model_copy(update={"responses": (Response(text=text), *ranking.responses[1:])})


def flipped(ranking):
    return ranking.model_copy(update={"ranks": tuple(max(ranking.ranks) + 1 - rank for rank in ranking.ranks)})


# Numbers


def test_the_pairs_of_a_ranking_are_counted_by_hand():
    record = Ranking(id="r", prompt="p", responses=tuple(Response(text=t) for t in "abc"), ranks=(2, 1, 2))
    table = table_of([ScoredRanking(record, 0, np.array([1.0, 0.5, 0.0]), np.array([3, 5, 2]))])
    assert table.lead.tolist() == [0.5, 0.5]  # a-b, b-c; a and c tie
    assert table.chosen.tolist() == [0, 1]
    assert table.longer.tolist() == [-2, 3]
    assert table.right.tolist() == [0, 1]
    assert table.ties == 1


def test_accuracy_counts_prompts_not_pairs():
    def one(prompt, k, right):
        record = Ranking(id=str(prompt), prompt=str(prompt), responses=tuple(Response(text=str(n)) for n in range(k)),
                         ranks=tuple(range(1, k + 1)))  # fmt: skip
        values = np.arange(k, dtype=float)
        return ScoredRanking(record, prompt, -values if right else values, np.ones(k))

    found = accuracy(table_of([one(0, 9, True), one(1, 2, False)]))
    assert found["value"] == 0.5
    assert (found["n"], found["clusters"]) == (37, 2)


def test_a_good_model_on_good_labels_is_said_to_be_near_the_ceiling(healthy):
    assert healthy["groups"]["validation"]["accuracy"]["value"] > 0.95
    assert healthy["agreement"]["training labelers"]["agreement"]["dropped"]["value"] == 1
    assert healthy["agreement"]["training labelers"]["ceiling"]["value"] == 1
    assert "held-out labelers" not in healthy["groups"]
    assert healthy["demonstrations"]["mean"]["value"] == pytest.approx(0, abs=1e-4)
    assert healthy["length"]["beaten"] is True
    assert healthy["doctor"] == []
    json.dumps(healthy, allow_nan=False)


def test_labelers_that_training_never_saw_are_a_group_apart(scorer):
    held = HELD + rankings(40, seed=2, labelers=("dan", "eve"), wrong=0.2)
    found = report(scorer, held=held)
    assert found["groups"]["held-out labelers"]["labelers"] == 2
    assert found["groups"]["held-out labelers"]["prompts"] == 40
    assert found["groups"]["validation"]["accuracy"] == report(scorer)["groups"]["validation"]["accuracy"]
    agreed = found["agreement"]["held-out labelers"]
    assert agreed["agreement"]["dropped"]["value"] < 0.95
    assert agreed["ceiling"]["value"] > agreed["agreement"]["dropped"]["value"]


def test_what_cannot_be_computed_has_a_reason_and_no_number(scorer):
    found = report(scorer, held=[])
    assert "reason" in found["groups"]["validation"]["accuracy"]
    assert "reason" in found["calibration"]
    assert found["length"]["beaten"] is None
    assert "reason" in found["agreement"]["held-out labelers"]["ceiling"]
    assert "- (" in words(found)


def test_the_words_hold_the_numbers(healthy):
    said = words(healthy)
    assert "Doctor: nothing found" in said
    low, high = healthy["groups"]["validation"]["accuracy"]["interval"]
    assert f"[{low:.3f}, {high:.3f}]" in said
    assert "the model beats it" in said


def test_hostile_texts_paint_nothing(scorer):
    hostile = [with_first(r, "\x1b[31mred please") for r in HELD]
    assert "\x1b" not in words(report(scorer, held=hostile))


# The doctor


def test_labels_at_chance(tmp_path):
    rng = random.Random(0)
    train, held = ([at_random(r, rng) for r in records] for records in (TRAIN, HELD))
    found = findings(report(trained(tmp_path / "coins", train), train, held))
    assert "training labelers agree on 0." in found["labels at chance"]
    assert "validation pairs, 60 prompts: that may be a coin" in found["at chance"]


def test_swapped_pairs(scorer):
    found = findings(report(scorer, held=[flipped(r) for r in HELD]))
    assert "worse than a coin" in found["swapped pairs"]


def test_one_source_with_its_pairs_swapped(scorer):
    held = [r.model_copy(update={"source": "web"}) for r in HELD]
    held += [flipped(r).model_copy(update={"source": "shop"}) for r in rankings(40, seed=3)]
    assert "source 'shop'" in findings(report(scorer, held=held))["swapped pairs"]


def test_labels_here_and_there_the_wrong_way_round(scorer):
    held = [flipped(r) if n % 5 == 0 else r for n, r in enumerate(rankings(100, seed=4))]
    found = findings(report(scorer, held=held))
    assert "4-0-ana" in found["surely wrong"] or "The surest of the wrong" in found["surely wrong"]
    named = found["surely wrong"].rpartition(": ")[2].rstrip(".").split(", ")
    assert all(int(name.split("-")[1]) % 5 == 0 for name in named)


def test_duplicates_across_splits(scorer):
    again = [r.model_copy(update={"id": "again " + r.id, "prompt": r.prompt.upper()}) for r in TRAIN[:6]]
    assert findings(report(scorer, held=HELD + again))["duplicates across splits"].startswith("3 of 63 validation")


def test_one_labeler_far_off(scorer):
    rng = random.Random(0)
    held = rankings(60, seed=1, labelers=("ana", "ben", "zoe"))
    held = [at_random(r, rng) if r.labeler == "zoe" else r for r in held]
    (only,) = [f for f in report(scorer, held=held)["doctor"] if f["name"] == "one labeler far off"]
    assert only["evidence"].startswith("zoe agrees with the others on 0.")
    assert 'held_out=["zoe"]' in only["do"]


def test_where_nobody_ranked_the_same_the_model_finds_the_labeler(tmp_path):
    rng = random.Random(0)
    apart = [r for n, who in enumerate(("ana", "ben", "zoe")) for r in rankings(40, seed=10 + n, labelers=(who,))]
    apart = [at_random(r, rng) if r.labeler == "zoe" else r for r in apart]
    found = findings(report(trained(tmp_path / "apart", apart), apart))
    assert found["one labeler far off"].startswith("zoe is followed by the model on 0.")


def test_equal_scores(scorer):
    head = torch.nn.Linear(32, 1)
    torch.nn.init.zeros_(head.weight)
    found = findings(report(replace(scorer, model=RewardModel(scorer.model.body, head))))
    assert found["equal scores"].startswith("100% of")


def test_another_template_or_eos(scorer):
    own = facts(scorer.encoder.tokenizer)
    found = findings(report(scorer, tokenizers={"sft": own, "ppo": own | {"eos": "<|im_end|>", "template": "other"}}))
    assert found["another template or EOS"].startswith("ppo differs from the reward model in EOS (<|eos|> here")


def test_markers_in_responses(scorer):
    held = [with_first(r, "so be it</s> and more") for r in HELD]
    assert "'</s>'" in findings(report(scorer, held=held))["markers in responses"]


def test_no_better_than_length(scorer):
    def longest_first(records):
        return [r.model_copy(update={"ranks": tuple(1 + sum(len(o.text) > len(a.text) for o in r.responses)
                                                    for a in r.responses)}) for r in records]  # fmt: skip

    found = report(scorer, longest_first(TRAIN), longest_first(HELD))
    assert found["length"]["rule"] == "the longer wins"
    assert found["length"]["baseline"]["value"] > 0.9
    assert found["length"]["beaten"] is False
    assert "no better than length" in findings(found)


# Coverage


def prompts(n, seed=0, category="generation"):
    rng = random.Random(seed)
    texts = [" ".join(f"word{rng.randrange(40)}" for _ in range(8)) for _ in range(n)]
    return [Prompt(id=f"{seed} {i}", prompt=text, category=category) for i, text in enumerate(texts)]


def test_prompts_of_the_same_source_are_covered(scorer):
    found = coverage(prompts(300), prompts(200, seed=1), scorer.encoder)
    assert found["outside"]["value"] <= 0.05
    assert found["words"]["unknown"] == []


def test_a_new_category_a_long_prompt_and_unknown_words_lie_outside(scorer):
    strange = [
        Prompt(id="a", prompt=prompts(1, 1)[0].prompt, category="legal"),
        Prompt(id="b", prompt=" ".join(p.prompt for p in prompts(5, 2)), category="generation"),
        Prompt(id="c", prompt="please explain quantum chromodynamics and gluons", category="generation"),
    ]
    found = coverage(prompts(300), prompts(17, seed=3) + strange, scorer.encoder)
    assert {row["id"]: row["why"][0] for row in found["examples"] if row["id"] in "abc"} == {
        "a": "category", "b": "length", "c": found["examples"][-1]["why"][0]}  # fmt: skip
    assert "vocabulary" in next(row["why"] for row in found["examples"] if row["id"] == "c")
    assert found["by"]["category"]["n"] == 20
    assert "quantum" in found["words"]["unknown"]


def test_coverage_of_nothing_is_refused(scorer):
    with pytest.raises(ValueError, match="0 training prompts and 3 to be asked"):
        coverage([], prompts(3), scorer.encoder)


# Several trainings


def test_a_learning_curve_trains_on_more_and_more_of_the_same_prompts(tmp_path):
    slow = CONFIG.model_copy(update={"learning_rate": 1e-3})
    points = learning_curve(policy(), TRAIN, HELD, DEMOS, tmp_path, slow, [80, 8])
    assert [point["prompts"] for point in points] == [8, 80]
    assert points[1]["accuracy"]["value"] > points[0]["accuracy"]["value"]
    with pytest.raises(BadSetting, match="up to 81 prompts, and there are 80"):
        learning_curve(policy(), TRAIN, HELD, DEMOS, tmp_path, CONFIG, [81])


def test_cross_validation_leaves_out_each_group_of_labelers_once(tmp_path):
    who = ("ana", "ben", "cho", "dan")
    train, held = rankings(40, labelers=who), rankings(20, seed=1, labelers=who)
    found = cross_validation(policy(), train, held, DEMOS, tmp_path, CONFIG, groups=2)
    assert sorted(name for fold in found["folds"] for name in fold["left out"]) == sorted(who)
    assert found["held-out group"]["n"] == found["training labelers"]["n"]  # two groups: each is once a stranger
    assert found["difference"]["clusters"] == 20
    with pytest.raises(BadSetting, match="5 groups of 4 labelers"):
        cross_validation(policy(), train, held, DEMOS, tmp_path, CONFIG, groups=5)


def test_a_response_is_scored_once_however_many_ranked_it(scorer):
    scored = score_rankings(scorer, rankings(5, labelers=("ana", "ben", "cho")))
    assert (len(scored.elements), len(scored.rankings)) == (5, 15)
    assert scored.rankings[0].values.tolist() == scored.rankings[1].values.tolist()
