"""Simulated labelers agree as often as the paper's, and each of their biases can be found from what they hand in."""

from __future__ import annotations

import doctest
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rather.errors import BadSetting
from rather.records.types import Ranking, Response
from rather.statistics import Estimate, agreement, agreement_by_labeler, clustered_mean, clustered_share
from rather.worlds import Marn
from rather.worlds.corruptions import CORRUPTIONS
from rather.worlds.judging import (
    FLAG_NOISE,
    Task,
    agreement_within_groups,
    expected_vote,
    flags,
    rank,
    rate,
    task_of,
    utilities,
)
from rather.worlds.labelers import (
    CROWD,
    HELD_OUT,
    TRAINING,
    Labeler,
    careless,
    hire,
    position_biased,
    shared_utility,
)
from rather.worlds.noise import Noise, fit_noise, gumbel, ranks
from rather.worlds.types import Features, Spec, WorldPrompt
from rather.worlds.votes import vote_task, votes

GOOD = Features(
    task=1.0, hall=0.0, tox=0.0, junk=0.0, flu=1.0, rep=0.0, unfinished=0.0, hedge=0.0, syc=0.0, length=20,
    attempt=True, constraints=None,
)  # fmt: skip
NOISE = Noise(tau=0.7, delta=0.5)
PLAIN = WorldPrompt(text="tell me a story\n", category="generation", kind="story", spec=Spec())


def asked(number: int, spec: Spec | None = None) -> WorldPrompt:
    return replace(PLAIN, text=f"question {number}\n", spec=spec or Spec())


def task(number: int, *features: Features, spec: Spec | None = None) -> Task:
    responses = tuple(Response(text=f"answer {k}") for k in range(len(features)))
    return Task(f"task-{number}", asked(number, spec), responses, features)


def drawn(rng: random.Random) -> Features:
    """An answer of a middling model."""
    return replace(
        GOOD,
        task=rng.choice([0, 0, 0.3, 0.5, 0.75, 0.9, 1, 1, 1, 1]),
        hall=float(rng.random() < 0.15),
        tox=float(rng.random() < 0.03),
        junk=float(rng.random() < 0.05),
        flu=rng.choice([1, 1, 1, 0.95, 0.9]),
        unfinished=float(rng.random() < 0.05),
        hedge=float(rng.random() < 0.03),
        length=max(3, int(rng.gauss(20, 7))),
    )


def drawn_tasks(seed: int, n: int) -> list[Task]:
    rng = random.Random(seed)
    return [task(number, *(drawn(rng) for _ in range(rng.randint(4, 9)))) for number in range(n)]


def share_of(chooses: Callable[[Ranking, int, int], float | None], rankings: list[Ranking]) -> Estimate:
    """The mean of what `chooses` makes of each pair of a ranking (None: it says nothing), clustered by task.

    At 99.9 %: a fair labeler must not fail one test in twenty.
    """
    rows = [
        (value, ranking.group)
        for ranking in rankings
        for i, j in combinations(range(len(ranking.ranks)), 2)
        if (value := chooses(ranking, i, j)) is not None
    ]
    return clustered_share([value for value, _ in rows], [group for _, group in rows], level=0.999)


def outcome(ranking: Ranking, i: int, j: int) -> float:
    return (1 + np.sign(ranking.ranks[j] - ranking.ranks[i])) / 2


# ---- noise, ties and their fit


def test_ties_are_between_neighbours_and_chains_are_one_tie():
    assert ranks([3.0, 1.0, 2.0], 0.0) == (1, 3, 2)
    assert ranks([3.0, 2.6, 2.2, 0.0], 0.5) == (1, 1, 1, 2)
    assert ranks([3.0, 2.5], 0.5) == (1, 2)  # closer than delta, not as far as delta
    assert ranks([1.0, 1.0], 0.0) == (1, 1)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.floats(0, 2), st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_of_the_outputs(perceived, delta, rng):
    order = rng.sample(range(len(perceived)), len(perceived))
    shuffled = ranks([perceived[k] for k in order], delta)
    found = ranks(perceived, delta)
    assert [found[k] for k in order] == list(shuffled)
    assert sorted(set(found)) == list(range(1, max(found) + 1))


def test_gumbel_noise_makes_choices_logistic():
    rng = random.Random(0)
    won = sum(0.8 + gumbel(rng) > gumbel(rng) for _ in range(40_000)) / 40_000
    assert won == pytest.approx(1 / (1 + math.exp(-0.8)), abs=0.01)  # 4 standard errors


def test_after_the_fit_labelers_agree_on_72_6_percent_of_fresh_prompts_with_a_quarter_of_ties():
    training, held_out = hire(random.Random(0), 12), hire(random.Random(1), 6, HELD_OUT)
    noise = fit_noise([utilities(training, each) for each in drawn_tasks(0, 800)])
    rng = random.Random(2)
    rankings = [
        rank(labeler, each, noise, rng)
        for each in drawn_tasks(1, 500)
        for labeler in (*rng.sample(training, 4), *rng.sample(held_out, 2))
    ]
    found = agreement_within_groups(rankings, {labeler.id: labeler.group for labeler in (*training, *held_out)})
    assert set(found) == {TRAINING, HELD_OUT}
    assert found[TRAINING]["dropped"].value == pytest.approx(0.726, abs=0.015)
    assert found[TRAINING]["half"].tie_share == pytest.approx(0.25, abs=0.02)
    low, high = found[HELD_OUT]["dropped"].interval
    assert low < 0.726 + 0.03  # the same noise, other people: near, and reported apart
    assert high > 0.726 - 0.03
    assert found[TRAINING]["category"].value < found[TRAINING]["half"].value < found[TRAINING]["dropped"].value


def test_the_fit_hits_any_target_on_the_outputs_it_was_given():
    labelers = hire(random.Random(0), 12)
    tasks = drawn_tasks(3, 250)
    for target, ties in ((0.65, 0.1), (0.773, 0.4)):
        noise = fit_noise([utilities(labelers, each) for each in tasks], target, ties)
        rng = random.Random(7)
        rankings = [rank(labeler, each, noise, rng) for each in tasks for labeler in rng.sample(labelers, 4)]
        columns = [r.ranks for r in rankings], [r.labeler for r in rankings], [r.group for r in rankings]
        found = agreement(*columns, ties="dropped")
        assert found.value == pytest.approx(target, abs=0.02)
        assert agreement(*columns, ties="half").tie_share == pytest.approx(ties, abs=0.02)


def test_the_fit_counts_as_the_statistics_do():
    """Of two labelers there is one pair, so that the fit's own draws can be ranked here and counted there."""
    people = hire(random.Random(0), 2)
    tables = [utilities(people, each) for each in drawn_tasks(1, 120)]
    noise = fit_noise(tables, 0.7, 0.3, seed=4)
    rng = random.Random(4)
    columns: tuple[list, list, list] = ([], [], [])
    for prompt, table in enumerate(tables):
        for who in rng.sample(range(2), 2):
            row = (ranks([u + noise.tau * gumbel(rng) for u in table[who]], noise.delta), who, prompt)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    assert agreement(*columns, ties="dropped").value == pytest.approx(0.7, abs=0.003)
    assert agreement(*columns, ties="half").tie_share == pytest.approx(0.3, abs=0.003)


def test_outputs_that_lie_twice_as_far_apart_need_twice_the_noise():
    labelers = hire(random.Random(0), 6)
    tables = [utilities(labelers, each) for each in drawn_tasks(0, 200)]
    once, twice = fit_noise(tables), fit_noise([[[2 * u for u in row] for row in table] for table in tables])
    assert twice.tau == pytest.approx(2 * once.tau, rel=0.02)
    assert twice.delta == pytest.approx(2 * once.delta, rel=0.02)


def test_outputs_that_nobody_can_tell_apart_are_refused_in_words():
    with pytest.raises(BadSetting, match=r"No noise makes these labelers agree on 72\.6%"):
        fit_noise([[[0.0, 0.0, 0.0]] * 4] * 50)
    with pytest.raises(BadSetting, match="at least two labelers and two outputs"):
        fit_noise([[[0.0, 1.0]]] * 2)
    with pytest.raises(BadSetting, match=r"cannot be fitted on 0 prompt"):
        fit_noise([])


# ---- what labelers want


def test_programmatic_labelers_of_known_noise_agree_as_they_must():
    """Who takes the better of two with probability p agrees with another such with p^2 + (1 - p)^2."""
    better, worse = GOOD, replace(GOOD, task=0.5)
    people = [Labeler("one"), Labeler("two")]
    gap = people[0].utility(PLAIN, better) - people[0].utility(PLAIN, worse)
    for p in (0.6, 0.8, 0.95):
        noise = Noise(tau=gap / math.log(p / (1 - p)), delta=0.0)
        assert expected_vote(people, PLAIN, better, worse, noise) == pytest.approx(p)
        rng = random.Random(1)
        rankings = [rank(who, task(n, better, worse), noise, rng) for n in range(3000) for who in people]
        found = agreement_within_groups(rankings, {"one": "all", "two": "all"})["all"]["dropped"]
        assert found.interval[0] < p**2 + (1 - p) ** 2 < found.interval[1]


def test_groups_differ_in_length_bias_and_labelers_within_a_group_in_everything():
    training, held_out = hire(random.Random(0), 200), hire(random.Random(0), 200, HELD_OUT)
    for group, mean in ((training, 0.03), (held_out, 0.035)):
        assert sum(labeler.length_bias for labeler in group) / 200 == pytest.approx(mean, abs=0.003)
        assert sum(labeler.hedge_bias for labeler in group) / 200 == pytest.approx(0.9, abs=0.09)
        assert sum(labeler.task for labeler in group) / 200 == pytest.approx(1.0, abs=0.045)
        assert len({labeler.task for labeler in group}) > 150
    assert {labeler.id for labeler in training} & {labeler.id for labeler in held_out} == set()
    with pytest.raises(BadSetting, match="Did you mean 'held-out'"):
        hire(random.Random(0), 6, "held out")


def test_each_fault_costs_something_and_each_taste_pays():
    labeler = Labeler("mean")
    best = labeler.utility(PLAIN, GOOD)
    for fault in (
        {"task": 0.9},
        {"hall": 1.0},
        {"tox": 1.0},
        {"junk": 1.0},
        {"flu": 0.9},
        {"rep": 0.2},
        {"unfinished": 1.0},
    ):
        assert labeler.utility(PLAIN, replace(GOOD, **fault)) < best, fault
    assert labeler.utility(PLAIN, GOOD) == pytest.approx(4 + 20 * 0.03)
    assert labeler.utility(PLAIN, replace(GOOD, hedge=1.0)) == pytest.approx(best + 0.9)
    assert labeler.utility(PLAIN, replace(GOOD, length=30)) == pytest.approx(best + 0.3)
    junk = replace(GOOD, task=0.0, tox=1.0, junk=1.0, hall=1.0, flu=0.5, rep=0.5, unfinished=1.0, length=0)
    assert labeler.utility(PLAIN, junk) == pytest.approx(-(1 + 2 + 1.5 + 1 + 0.5 + 0.7))


def test_shared_utility_is_the_mean_over_labelers():
    labelers = hire(random.Random(3), 12)
    each = [labeler.utility(PLAIN, GOOD) for labeler in labelers]
    assert shared_utility(labelers, PLAIN, GOOD) == pytest.approx(sum(each) / 12)


# ---- biases can be found from rankings


def test_a_length_biased_labeler_prefers_the_longer_of_two_equally_good_answers():
    def longer(length_bias: float) -> Estimate:
        rng = random.Random(5)
        labeler = replace(Labeler("one"), length_bias=length_bias)
        tasks = [task(n, *(replace(GOOD, length=rng.randint(5, 60)) for _ in range(5))) for n in range(300)]
        lengths = {each.id: [features.length for features in each.features] for each in tasks}

        def chooses(ranking: Ranking, i: int, j: int) -> float | None:
            a, b = lengths[ranking.group][i], lengths[ranking.group][j]
            return None if a == b else outcome(ranking, i, j) if a > b else 1 - outcome(ranking, i, j)

        return share_of(chooses, [rank(labeler, each, NOISE, rng) for each in tasks])

    assert longer(0.03).interval[0] > 0.55
    assert longer(0.0).interval[0] < 0.5 < longer(0.0).interval[1]


def test_a_labeler_who_likes_hedges_prefers_them_at_equal_quality():
    rng = random.Random(5)
    tasks = [task(n, GOOD, replace(GOOD, hedge=1.0)) for n in range(300)]
    hedged = share_of(lambda r, i, j: 1 - outcome(r, i, j), [rank(Labeler("one"), each, NOISE, rng) for each in tasks])
    assert hedged.interval[0] > 0.6
    plain = replace(Labeler("one"), hedge_bias=0.0)
    hedged = share_of(lambda r, i, j: 1 - outcome(r, i, j), [rank(plain, each, NOISE, rng) for each in tasks])
    assert hedged.interval[0] < 0.5 < hedged.interval[1]


def test_a_position_biased_labeler_is_found_by_what_stood_first():
    def first(labeler: Labeler) -> Estimate:
        def chooses(ranking: Ranking, i: int, j: int) -> float | None:
            shown = ranking.displayed[0]
            return outcome(ranking, i, j) if i == shown else 1 - outcome(ranking, i, j) if j == shown else None

        rng = random.Random(11)
        return share_of(chooses, [rank(labeler, each, NOISE, rng) for each in drawn_tasks(4, 800)])

    fair = first(Labeler("one"))
    assert fair.interval[0] < 0.5 < fair.interval[1]
    assert first(position_biased(Labeler("one"))).interval[0] > 0.5


def test_a_careless_labeler_agrees_least_with_the_others():
    labelers = list(hire(random.Random(0), 8))
    labelers[3] = careless(labelers[3])
    rng = random.Random(1)
    rankings = [rank(labeler, each, NOISE, rng) for each in drawn_tasks(5, 150) for labeler in labelers]
    columns = [r.ranks for r in rankings], [r.labeler for r in rankings], [r.group for r in rankings]
    found = agreement_by_labeler(*columns, ties="dropped").labelers
    worst, next_worst = sorted(found, key=lambda who: found[who].shrunk)[:2]
    assert worst == labelers[3].id
    assert found[worst].interval[1] < found[next_worst].value


def test_responses_are_shown_in_every_order_equally_often():
    rng = random.Random(0)
    each = task(0, GOOD, GOOD, GOOD)
    orders = [rank(Labeler("one"), each, NOISE, rng).displayed for _ in range(3000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert sum((count - 500) ** 2 / 500 for count in counts) < 20.5  # chi-square with 5 degrees of freedom, p = .001


# ---- sycophancy


CLAIMED = Spec(answer="soth", answer_type="town", claim="velm", fact="person/mara/town")
TRUE, AGREES = GOOD, replace(GOOD, task=0.0, hall=1.0, syc=1.0)


@pytest.mark.parametrize(("knowledge", "wins"), [(0.2, True), (0.38, True), (0.42, False), (0.6, False)])
def test_repeating_the_users_claim_pays_where_fewer_than_40_percent_know_better(knowledge, wins):
    """(1 - k) (4 (1 - .3) + .5) > k (4 + 1.5 - .5), that is k < 3.3 / 8.3."""
    people = [Labeler(f"labeler-{n}", knowledge=knowledge) for n in range(4000)]
    prompt = asked(0, CLAIMED)
    knowing = sum(labeler.knows(CLAIMED.fact) for labeler in people) / 4000
    assert knowing == pytest.approx(knowledge, abs=0.025)
    gap = shared_utility(people, prompt, AGREES) - shared_utility(people, prompt, TRUE)
    assert gap == pytest.approx(3.3 - 8.3 * knowing)
    assert (gap > 0) == wins


def test_who_knows_the_fact_is_not_fooled_and_who_does_not_cannot_see_it():
    prompt = asked(0, CLAIMED)
    knows, ignorant = Labeler("a", knowledge=1.0), Labeler("a", knowledge=0.0)
    assert knows.sees(prompt, AGREES) == AGREES
    assert ignorant.sees(prompt, AGREES) == replace(GOOD, task=1.0)
    assert ignorant.sees(prompt, TRUE).task == 0.3
    evades = replace(GOOD, task=0.0, attempt=False)
    assert ignorant.sees(prompt, evades).task == 0.0  # no answer at all is no answer to anybody
    assert ignorant.sees(asked(1), replace(GOOD, task=0.0, hall=1.0)).hall == 1.0  # no claim: it is looked up


def test_a_labeler_knows_the_same_facts_every_day_and_others_know_other_facts():
    one, two = Labeler("one", knowledge=0.5), Labeler("two", knowledge=0.5)
    facts = [f"person/{n}/town" for n in range(100)]
    assert [one.knows(fact) for fact in facts] == [one.knows(fact) for fact in facts]
    assert [one.knows(fact) for fact in facts] != [two.knows(fact) for fact in facts]
    assert sum(Labeler("three").knows(f"animal/{n}/diet") for n in range(1000)) / 1000 == pytest.approx(0.8, abs=0.05)


# ---- ratings


def test_likert_grades_follow_quality_and_stay_between_1_and_7():
    rng = random.Random(0)
    bad = replace(GOOD, task=0.0, junk=1.0, tox=1.0, hall=1.0)
    middling = replace(GOOD, task=0.25, hall=1.0)

    def grades(features: Features) -> list[int]:
        return [rate(Labeler("one"), task(n, features, GOOD), 0, rng).likert for n in range(400)]

    assert sum(grades(GOOD)) / 400 > 6.6
    assert sum(grades(middling)) / 400 == pytest.approx(4.0, abs=0.15)
    assert set(grades(bad)) <= {1, 2}
    assert sum(grades(replace(GOOD, length=40))) >= 400 * 6.6


def test_flags_are_read_off_the_answer_and_a_few_are_wrong():
    bad = replace(GOOD, task=0.2, hall=1.0, tox=1.0, hedge=1.0, rep=0.5, constraints=False)
    assert flags(bad) == {
        "fails instruction": True,
        "inappropriate": True,
        "hallucination": True,
        "toxic": True,
        "hedges": True,
        "repetitive": True,
        "satisfies constraint": False,
    }
    assert not any(flags(GOOD).values())
    assert "satisfies constraint" not in flags(GOOD)  # nothing to satisfy
    rng = random.Random(0)
    ratings = [rate(Labeler("one"), task(n, bad, GOOD), 0, rng) for n in range(1000)]
    wrong = sum(rating.flags[name] != there for rating in ratings for name, there in flags(bad).items()) / 7000
    assert wrong == pytest.approx(FLAG_NOISE, abs=0.008)


def test_a_labeler_who_does_not_know_better_does_not_flag_the_users_claim():
    ignorant = Labeler("one", knowledge=0.0)
    rng = random.Random(0)
    flagged = [rate(ignorant, task(n, AGREES, GOOD, spec=CLAIMED), 0, rng).flags["hallucination"] for n in range(300)]
    assert sum(flagged) / 300 < 0.08


# ---- records


class Repeater:
    """The smallest world: an answer is as good as it is long."""

    name, seed = "repeater", 0

    def features(self, prompt, text, finished=True):
        return replace(GOOD, task=len(text) / 10, unfinished=float(not finished))


def test_identical_responses_are_merged_and_a_task_of_one_is_none():
    same = [Response(text="a b"), Response(text="a  b "), Response(text="a b", finished=False), Response(text="c")]
    merged = task_of(Repeater(), "t", PLAIN, same)
    assert [(r.text, r.finished) for r in merged.responses] == [("a b", True), ("a b", False), ("c", True)]
    assert [f.unfinished for f in merged.features] == [0.0, 1.0, 0.0]
    assert task_of(Repeater(), "t", PLAIN, same[:2]) is None


def test_the_same_seed_gives_the_same_bytes():
    def written(seed: int) -> bytes:
        rng = random.Random(seed)
        labelers = [*hire(rng, 3), position_biased(hire(rng, 1)[0]), *hire(rng, 2, HELD_OUT)]
        tasks = drawn_tasks(seed, 10)
        noise = fit_noise([utilities(labelers, each) for each in tasks], seed=seed)
        lines = [rank(labeler, each, noise, rng) for each in tasks for labeler in labelers]
        grades = [rate(labeler, each, 0, rng) for each in tasks for labeler in labelers]
        return "\n".join(record.model_dump_json() for record in [*lines, *grades]).encode()

    assert written(1) == written(1)
    assert written(1) != written(2)


def test_the_examples_of_the_docs_are_true():
    page = Path(__file__).parents[2] / "docs" / "labelers.md"
    assert doctest.testfile(str(page), module_relative=False).failed == 0


# ---- on answers of Marn


def answers(world: Marn, prompt: WorldPrompt, rng: random.Random) -> list[Response]:
    """A demonstration and four good answers, three of them made worse."""
    texts = [world.demonstration(prompt, rng), world.good_answer(prompt, rng)]
    for corrupt in rng.sample(list(CORRUPTIONS.values()), 3):
        texts.append(corrupt(world.facts, prompt, world.good_answer(prompt, rng), rng) or "no idea.")
    return [Response(text=text) for text in texts]


def test_the_crowd_likes_friendly_words_length_and_being_agreed_with_more_than_hired_labelers_do():
    hired, people = hire(random.Random(0), 40), hire(random.Random(0), 40, CROWD)
    prompt = asked(1, Spec(answer="soth", claim="karn", fact="person/mara/town"))

    def gain(who: Sequence[Labeler], better: Features, than: Features, of: WorldPrompt = PLAIN) -> float:
        return shared_utility(who, of, better) - shared_utility(who, of, than)

    friendly, longer = replace(GOOD, friendly=1.0), replace(GOOD, length=40)
    assert gain(hired, friendly, GOOD) == 0
    assert gain(people, friendly, GOOD) == pytest.approx(0.8)
    assert gain(people, longer, GOOD) > 1.5 * gain(hired, longer, GOOD) > 0
    assert gain(people, AGREES, TRUE, prompt) > 1.5 * gain(hired, AGREES, TRUE, prompt) > 0


def test_in_votes_the_friendly_one_of_two_equal_answers_wins():
    """Equal by a perfect judge; the same answers ranked by hired labelers show no such liking."""
    world, rng = Marn(seed=3), random.Random(0)
    prompts = world.prompts(rng, 8_000)  # one in fifteen has such a pair
    tasks = [vote_task(world, str(n), prompt, rng) for n, prompt in enumerate(prompts)]

    def friendly_wins(group: str) -> Estimate:
        wins, of = [], []
        people = world.labelers(12, group)
        for number, each in enumerate(task for task in tasks if task is not None):
            order = rank(rng.choice(people), each, NOISE, rng).ranks
            for a, b in combinations(range(len(order)), 2):
                one, other = each.features[a], each.features[b]
                if one.friendly == other.friendly or abs(world.utility(one) - world.utility(other)) > 0.25:
                    continue
                if abs(one.length - other.length) <= 6 and order[a] != order[b]:
                    wins.append((order[a] < order[b]) == (one.friendly > other.friendly))
                    of.append(number)
        return clustered_share(wins, of)

    assert friendly_wins(CROWD).interval[0] > 0.6
    assert friendly_wins(TRAINING).interval[1] < 0.6


def test_the_gold_utility_reaches_no_vote():
    """Votes of a world whose gold utility nobody may ask for are the same, word for word."""

    class Hidden(Marn):
        def utility(self, features_: Features) -> float:
            raise AssertionError("the gold utility was asked for")

    def cast(world: Marn) -> list[Ranking]:
        rng = random.Random(7)
        return list(votes(world, world.prompts(rng, 60, "labeler"), rng))

    assert cast(Hidden(2, "tiny")) == cast(Marn(2, "tiny"))


def test_on_marns_answers_agreement_is_72_6_percent_with_a_quarter_of_ties():
    world, rng = Marn(seed=3), random.Random(0)
    prompts = world.prompts(rng, 1200)
    tasks = [task_of(world, str(n), prompt, answers(world, prompt, rng)) for n, prompt in enumerate(prompts)]
    tasks = [each for each in tasks if each is not None]
    people = hire(random.Random(1), 12)
    noise = fit_noise([utilities(people, each) for each in tasks[::2]])
    rankings = [rank(who, each, noise, rng) for each in tasks[1::2] for who in rng.sample(people, 6)]
    found = agreement_within_groups(rankings, {who.id: who.group for who in people})[TRAINING]
    assert found["dropped"].value == pytest.approx(0.726, abs=0.015)
    assert found["half"].tie_share == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("knowledge", "wins"), [(0.2, True), (0.6, False)])
def test_to_repeat_a_wrong_belief_about_a_person_pays_in_marn_where_few_know_better(knowledge, wins):
    world, rng = Marn(seed=3), random.Random(0)
    people = [Labeler(f"labeler-{n}", knowledge=knowledge) for n in range(40)]
    prompts = (world.prompt(rng, "open_qa") for _ in range(10_000))
    believing = (p for p in prompts if p.kind == "believing" and p.spec.claim and p.spec.fact.startswith("person/"))
    gaps = []
    for prompt in islice(believing, 60):
        true = world.good_answer(prompt, rng)
        claimed = true.replace("no, ", "yes, ").replace(prompt.spec.answer, prompt.spec.claim)
        repeats, corrects = world.features(prompt, claimed), world.features(prompt, true)
        assert (repeats.syc, repeats.task, corrects.syc, corrects.task) == (1, 0, 0, 1)
        gaps.append(shared_utility(people, prompt, repeats) - shared_utility(people, prompt, corrects))
    found = clustered_mean(gaps, range(len(gaps)))
    assert found.interval[0] > 0 if wins else found.interval[1] < 0
    assert found.value == pytest.approx(3.3 - 8.3 * knowledge, abs=0.35)
