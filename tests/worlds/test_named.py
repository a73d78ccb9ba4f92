"""A world by words: the same words are the same world, and words that name none are said to."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rather.errors import BadSetting
from rather.worlds import Marn
from rather.worlds.named import named, world_named


@pytest.mark.parametrize(
    ("words", "seed", "scale"),
    [("marn", 0, "small"), ("marn:3", 3, "small"), ("marn:3:tiny", 3, "tiny"), (" marn:0:medium\n", 0, "medium")],
)
def test_words_name_a_world(words, seed, scale):
    world, same = world_named(words), Marn(seed, scale)
    assert (world.name, world.seed, world.scale) == ("marn", seed, scale)
    assert next(world.web_documents(random.Random(0))) == next(same.web_documents(random.Random(0)))


@pytest.mark.parametrize("words", ["texts.jsonl", "", "marnish", "data/marn", "./marn:3"])
def test_other_words_may_be_a_file(words):
    assert named(words) is None
    with pytest.raises(BadSetting, match="There is no world"):
        world_named(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("marn:", "There is no world 'marn:'"),
        ("marn:-1", "marn:SEED"),
        ("marn:1.5", "marn:SEED"),
        ("marn:" + "9" * 5000, "marn:SEED"),
        ("marn:\u0663", "marn:SEED"),
        ("marn:1:tiny:2", "marn:SEED:SCALE"),
        ("marn:1:tiny:marking=much", "GENRE=SHARE"),
        ("marn:1:tiny:marks=1", "There is no genre 'marks'"),
        ("marn:1:tiny:story=nan", "The share of story is nan"),
        ("marn:1:tiny:story=-1", "The share of story is -1"),
        ("marn:1:tinny", "There is no scale 'tinny'. Did you mean 'tiny'?"),
        ("marn:1:", "There is no scale ''"),
        ("marm:1", "There is no world 'marm:1'. Did you mean 'marn'?"),
    ],
)
def test_words_that_nearly_name_a_world_are_refused_with_what_was_expected(words, said):
    with pytest.raises(BadSetting) as error:
        world_named(words)
    assert said in str(error.value)


def test_a_genre_of_its_web_can_be_left_out_or_be_all_there_is():
    def genres(words: str) -> set[str]:
        return {page.genre for page in islice(world_named(words).web_documents(random.Random(0)), 500)}

    whole, without = genres("marn:1:tiny"), genres("marn:1:tiny:marking=0")
    stories = genres("marn:1:tiny:encyclopedia: people=0,story=1e9")
    assert whole - without == {"marking"}
    assert stories == {"story"}


@given(st.text(max_size=12).map(lambda tail: f"marn:{tail}"))
def test_whatever_follows_the_name_is_a_world_or_an_error_in_words(words):
    with suppress(BadSetting):
        assert world_named(words).name == "marn"
