"""Prompts: Table 1's shares, users with a cap and a split, no shared long prefix, held-out combinations."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from scipy.stats import chisquare

from rather.errors import BadSetting
from rather.records import Prompt
from rather.worlds import SAFETY, SHARES, Marn, World, lexicon
from rather.worlds.facts import Facts
from rather.worlds.grammar import BY_NAME, KINDS, kind_of, prefix, split_of
from rather.worlds.users import CAP, LABELER_SHARES, collect, users
from rather.worlds.writing import prompt_record

WORLD = Marn(seed=5)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def of_users():
    """10,000 prompts to train with, 1,000 for each of the others."""
    return {split: WORLD.prompts(random.Random(split), n, "api", split)
            for split, n in zip(SPLITS, (10_000, 1_000, 1_000), strict=True)}  # fmt: skip


@pytest.fixture(scope="module")
def of_labelers():
    return {split: WORLD.prompts(random.Random(split), n, "labeler", split)
            for split, n in zip(SPLITS, (2_000, 300, 300), strict=True)}  # fmt: skip


def test_ten_thousand_prompts_have_the_shares_of_table_1(of_users):
    found = Counter(prompt.category for prompt in of_users["train"])
    expected = [10_000 * share / sum(SHARES.values()) for share in SHARES.values()]
    assert sum(found.values()) == 10_000
    # A seed at which chance alone would fail this once in a thousand is not the one above.
    assert chisquare([found[category] for category in SHARES], expected).pvalue > 0.001


def test_the_shares_are_right_over_many_seeds_and_not_too_right():
    """p-values of honest draws are uniform: neither all small (wrong shares) nor all large (not drawn)."""
    expected = [500 * share / sum(SHARES.values()) for share in SHARES.values()]
    found = []
    for seed in range(20):
        counts = Counter(prompt.category for prompt in WORLD.prompts(random.Random(seed), 500))
        found.append(chisquare([counts[category] for category in SHARES], expected).pvalue)
    assert 0.3 < sum(found) / 20 < 0.7


def test_labelers_write_for_rare_use_cases_too(of_labelers):
    prompts = [prompt for prompt in of_labelers["train"] if prompt.category != SAFETY]
    found = Counter(prompt.category for prompt in prompts)
    expected = [len(prompts) * share for share in LABELER_SHARES.values()]
    assert chisquare([found[category] for category in SHARES], expected).pvalue > 0.001
    assert min(LABELER_SHARES.values()) > 0.05
    assert sum(LABELER_SHARES.values()) == pytest.approx(1)
    safety = 1 - len(prompts) / 2_000
    assert 0.02 < safety < 0.04


def test_labelers_write_plain_few_shot_and_for_a_use_case(of_labelers):
    styles = Counter(prompt.source for prompt in of_labelers["train"])
    assert set(styles) == {"labeler: plain", "labeler: few-shot", "labeler: use case"}
    assert min(styles.values()) > 100
    for prompt in of_labelers["train"]:
        if prompt.source == "labeler: few-shot":
            # Two examples with their answers stand before the query.
            assert len(prompt.text.strip().split("\n")) >= 5


def test_nobody_is_in_two_splits_and_nobody_beyond_the_cap(of_users):
    people = {split: Counter(prompt.user for prompt in prompts) for split, prompts in of_users.items()}
    assert all(all(counts) and max(counts.values()) <= CAP for counts in people.values())
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(people[one]) & set(people[other])
    everyone = {split: {who.name for who in users(WORLD.seed, split, 10_000)} for split in SPLITS}
    assert not everyone["train"] & everyone["test"]


def test_a_few_users_ask_most(of_users):
    counts = sorted(Counter(prompt.user for prompt in of_users["train"]).values(), reverse=True)
    assert len(counts) > 200
    assert sum(counts[: len(counts) // 5]) > 0.55 * 10_000
    assert counts[0] == CAP


def test_users_have_tastes_of_their_own(of_users):
    """A chi-square of user by use case is far from independence, though the sum over users is Table 1."""
    most = [user for user, _ in Counter(prompt.user for prompt in of_users["train"]).most_common(10)]
    strange = 0
    for user in most:
        counts = Counter(prompt.category for prompt in of_users["train"] if prompt.user == user)
        n = sum(counts.values())
        expected = [n * share / sum(SHARES.values()) for share in SHARES.values()]
        strange += chisquare([counts[category] for category in SHARES], expected).pvalue < 0.01
    assert strange >= 3


@pytest.mark.parametrize("source", ["api", "labeler"])
def test_no_two_prompts_share_a_long_prefix_within_or_across_splits(source, of_users, of_labelers):
    sets = of_users if source == "api" else of_labelers
    starts = {split: [prefix(prompt.text) for prompt in prompts] for split, prompts in sets.items()}
    for found in starts.values():
        assert len(set(found)) == len(found)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(starts[one]) & set(starts[other])


def test_prefixes_of_users_and_labelers_do_not_meet_across_splits(of_users, of_labelers):
    train = {prefix(prompt.text) for prompts in (of_users, of_labelers) for prompt in prompts["train"]}
    test = {prefix(prompt.text) for prompts in (of_users, of_labelers) for prompt in prompts["test"]}
    assert not train & test


def test_the_prefix_decides_the_split():
    """Two prompts that begin alike have the same template and entity, whatever follows."""
    rng = random.Random(0)
    seen: dict[tuple[str, ...], str] = {}
    for kind in BY_NAME.values():
        for _ in range(600):
            prompt = kind.ask(WORLD.facts, rng)
            split = split_of(prompt, WORLD.seed)
            # Some users begin with "please", which leaves one word less for the rest.
            for text in (prompt.text, f"please, {prompt.text}"):
                assert seen.setdefault(prefix(text), split) == split, prompt.text


def test_combinations_are_held_out(of_users, of_labelers):
    combinations = {
        split: {(p.category, p.template, p.entity) for p in (*of_users[split], *of_labelers[split])} for split in SPLITS
    }
    assert not combinations["train"] & combinations["test"]
    assert not combinations["train"] & combinations["validation"]
    assert not combinations["validation"] & combinations["test"]
    # A tenth of all of them.
    rng = random.Random(1)
    splits = Counter(split_of(KINDS["generation"][0].ask(WORLD.facts, rng), WORLD.seed) for _ in range(8_000))
    assert 0.07 < splits["test"] / 8_000 < 0.13


def test_the_web_shows_no_held_out_combination():
    rng = random.Random(2)
    test = {prompt.text.strip() for prompt in WORLD.prompts(rng, 500, "labeler", "test")}
    for genre in ("forum", "prompt list", "direct", "help desk", "ask the sage"):
        pages = WORLD.web_documents(rng, genre)
        for _ in range(300):
            text = next(pages).text
            assert not any(f"\n{prompt}\n" in f"\n{text}\n" for prompt in test)


def test_held_out_beliefs_are_in_no_prompt(of_users, of_labelers):
    held_out = [belief for belief in WORLD.facts.beliefs if belief.held_out]
    assert len(held_out) == 20
    asked = "\n".join(
        prompt.text for sets in (of_users, of_labelers) for prompts in sets.values() for prompt in prompts
    )
    for belief in held_out:
        assert f"{belief.condition}?" not in asked
        assert f"{belief.condition}," not in asked
    assert any(belief.condition in asked for belief in WORLD.facts.beliefs)


def test_typing_errors_are_in_about_two_words_of_a_hundred_and_never_in_what_is_graded(of_users):
    known = set()
    rng = random.Random(3)
    for kind in BY_NAME.values():
        for _ in range(200):
            known.update(lexicon.plain(kind.ask(WORLD.facts, rng).text))
    known.add("please")
    strange = [word for prompt in of_users["train"] for word in lexicon.plain(prompt.text) if word not in known]
    words = sum(len(lexicon.plain(prompt.text)) for prompt in of_users["train"])
    assert 0.001 < len(strange) / words < 0.03
    for prompt in of_users["train"]:
        # Everything a good answer needs is still in the prompt: values are never mistyped.
        for value in prompt.spec.require:
            assert lexicon.holds(lexicon.words(prompt.text), value)


def test_prompts_are_diverse(of_users):
    """Brainstorming had ninety different prompts in a prototype; here ten thousand draws repeat few."""
    rng = random.Random(4)
    for category, least in (("brainstorming", 0.85), ("generation", 0.97), ("open_qa", 0.6)):
        drawn = [WORLD.prompt(rng, category, "api").text for _ in range(4_000)]
        assert len(set(drawn)) / 4_000 > least, category


def test_a_world_that_has_no_more_prompts_says_so():
    with pytest.raises(BadSetting, match="no 20,000 different prompts for test"):
        collect(Facts(0, "tiny"), random.Random(0), 0, 20_000, "api", "test", tries=4)


def test_prompts_are_short_enough_for_a_small_model(of_users, of_labelers):
    rng = random.Random(5)
    lengths = []
    for prompt in (*of_users["train"][:3_000], *of_labelers["train"]):
        lengths.append(len(lexicon.words(prompt.text + WORLD.demonstration(prompt, rng))))
    lengths.sort()
    assert lengths[-1] <= 150
    assert lengths[len(lengths) // 2] < 45


def test_records_are_ordinary(of_users):
    record = prompt_record(of_users["train"][0], "p-1", "train")
    assert isinstance(record, Prompt)
    assert record.user == of_users["train"][0].user
    assert Prompt.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("split", SPLITS)
def test_every_use_case_has_a_prompt_of_every_split_and_source(split):
    world: World = WORLD
    rng = random.Random(6)
    for category in (*SHARES, SAFETY):
        for source in ("api", "labeler"):
            prompt = world.prompt(rng, category, source, split)
            assert prompt.category == category
            assert prompt.source.split(":")[0] == source
            assert kind_of(prompt) in KINDS[category]
            # After an unfinished sentence the answer goes on; elsewhere it begins on a line of its own.
            assert prompt.text.endswith("\n") == (category != SAFETY)


def test_wrong_names_are_answered_in_words():
    rng = random.Random(0)
    with pytest.raises(BadSetting, match="Did you mean 'rewrite'"):
        WORLD.prompt(rng, "rewriting")
    with pytest.raises(BadSetting, match="Did you mean 'story'"):
        next(WORLD.web_documents(rng, "storys"))
    with pytest.raises(BadSetting, match="Did you mean 'small'"):
        Marn(0, "smal")
