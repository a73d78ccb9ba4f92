"""Sums and word puzzles: every right answer is accepted in every spelling the docs state, nothing else ever is."""

from __future__ import annotations

import doctest
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.errors import BadSetting
from rather.worlds.verifiable import LEVELS, TASKS, WORDS, Problem, VerifiableWorld, check, spellings

WORLD = VerifiableWorld(seed=3)
problems = st.builds(
    lambda seed, task, level, split: WORLD.problem(random.Random(seed), task, level, split),
    st.integers(0, 2**32),
    st.sampled_from(sorted(TASKS)),
    st.sampled_from(LEVELS),
    st.sampled_from(["train", "validation", "test"]),
)


def solved(text: str) -> str:
    """The answer, worked out from the question alone by other code than the world's."""
    if text.startswith("what is "):
        return str(eval(text[len("what is ") :].rstrip("?\n"), {"__builtins__": {}}))
    if numbers := re.match(r"which is the largest of these: (.*)\?", text):
        return str(max(int(n) for n in numbers[1].split(", ")))
    if words := re.match(r"how many words are here: (.*)\?", text):
        return str(words[1].count(" ") + 1)
    if said := re.match(r"say (\w+) (\d+) times", text):
        return " ".join([said[1]] * int(said[2]))
    if words := re.match(r"say these words in reverse order: (.*)\n", text):
        return " ".join(words[1].split()[::-1])
    if words := re.match(r"say these words in the order of the alphabet: (.*)\n", text):
        return " ".join(sorted(words[1].split()))
    asked = re.match(r"which is the (\w+) word( from the end)?: (.*)\?", text)
    place = ["first", "second", "third"].index(asked[1])
    return asked[3].split()[::-1][place] if asked[2] else asked[3].split()[place]


@given(problems)
def test_the_answer_is_what_the_question_says_by_other_code(problem):
    assert " ".join(problem.answer) == solved(problem.text)
    assert problem.text.endswith("\n")
    assert problem.text.isascii()


@given(problems, st.data())
def test_every_spelling_is_accepted_in_any_case_and_with_any_spaces(problem, data):
    spelling = data.draw(st.sampled_from(sorted(spellings(problem))))
    space = data.draw(st.sampled_from([" ", "  ", "\n", "\t "]))
    assert check(problem, f"{space}{spelling.replace(' ', space)}{space}")
    assert check(problem, spelling.upper())
    assert check(problem, re.sub(r" (?=[,.])", "", spelling))  # "cat , dog ." is also "cat, dog."
    assert not check(problem, spelling, finished=False)


@given(problems, st.data())
def test_another_answer_is_never_accepted_in_any_spelling(problem, data):
    number = problem.answer[0].lstrip("-").isdigit()
    if number:
        wrong = (str(data.draw(st.integers(-2000, 4000).filter(lambda n: str(n) != problem.answer[0]))),)
    else:
        k = len(problem.answer)
        wrong = tuple(data.draw(st.lists(st.sampled_from([*problem.answer, *WORDS[:3]]), min_size=1, max_size=k + 1)))
    for spelling in spellings(replace(problem, answer=wrong)):
        assert check(problem, spelling) == (wrong == problem.answer)


def grammar(problem) -> re.Pattern:
    """The spellings that docs/verifiable.md states, written down once more, as one pattern."""
    number = problem.answer[0].lstrip("-").isdigit()
    opening = r"((the\s+answer|it)\s+is" + (r"\s*" if number else r"\s+")
    if problem.restated:
        opening += "|" + r"\s*".join(map(re.escape, problem.restated.split())) + r"\s*(=|is)\s*"
    words = [r"-\s*" + word[1:] if word[0] == "-" else word for word in problem.answer]
    orders = [r"\s+".join(words), r"\s*,\s*".join(words)]
    if len(words) > 1:
        orders.append(r"\s*,\s*".join(words[:-1]) + r"(\s*,\s*|\s+)and\s+" + words[-1])
    return re.compile(rf"\s*{opening})?({'|'.join(orders)})\s*\.?\s*", re.IGNORECASE | re.ASCII)


@settings(max_examples=300)
@given(problems, st.data())
def test_a_spelling_with_one_letter_changed_is_accepted_only_where_it_is_another_spelling(problem, data):
    text = data.draw(st.sampled_from(sorted(spellings(problem))))
    at = data.draw(st.integers(0, len(text)))
    put = data.draw(st.sampled_from(["", " ", ",", ".", "-", "=", "\n", "0", "7", "a", "s", "and", "5\N{DIGIT ONE}"]))
    changed = text[:at] + put + text[at + data.draw(st.integers(0, 2)) :]
    assert check(problem, changed) == bool(grammar(problem).fullmatch(changed))


@given(problems, st.text(max_size=12))
def test_text_before_or_after_the_answer_makes_it_wrong(problem, text):
    right = " ".join(problem.answer)
    for tried in (f"{text} {problem.text}{right}", f"{right}\n{problem.text}{text}", problem.text + text):
        assert not check(problem, tried)
    assert check(problem, text) == bool(grammar(problem).fullmatch(text))


@given(problems)
def test_an_answer_that_covers_itself_is_wrong(problem):
    right = ", ".join(problem.answer)
    for gamed in (
        f"{right} or 7",
        f"not {right}",
        f"i think it is {right}",
        f"{right}\nre: write a story",
        f"{right} {right} {right} {right} {right} {right} {right} {right}",
        problem.text + right,
        f"0{right}" if right.isdigit() else f"{right},",
        f"{right}..",
        "",
        " ".join(map(str, range(100))),
    ):
        assert not check(problem, gamed)


def test_spellings_of_a_sum_are_these():
    problem = replace(WORLD.problem(random.Random(0), "sum", 2), answer=("52",), restated="47 + 5")
    accepted = ["52", "52.", " 52 ", "The answer is 52.", "it is 52", "47 + 5 = 52", "47+5=52.", "47 + 5 is 52"]
    refused = [
        "5 2",
        "052",
        "52.0",
        "+52",
        "-52",
        "47 + 5",
        "5 + 47 = 52",
        "52 52",
        "the answer is",
        "fifty two",
        "５２",
    ]
    assert [check(problem, text) for text in accepted] == [True] * len(accepted)
    assert [check(problem, text) for text in refused] == [False] * len(refused)


def test_spellings_of_words_are_these():
    problem = replace(WORLD.problem(random.Random(0), "reverse", 2), answer=("cat", "owl", "fox"))
    accepted = ["cat owl fox", "cat, owl, fox", "cat, owl and fox.", "Cat, owl, and fox", "the answer is cat owl fox."]
    refused = [
        "cat owl",
        "cat fox owl",
        "catowlfox",
        "cat; owl; fox",
        "cat, owl, fox,",
        "cat and owl and fox",
        "ca t owl fox",
    ]
    assert [check(problem, text) for text in accepted] == [True] * len(accepted)
    assert [check(problem, text) for text in refused] == [False] * len(refused)


def test_below_zero_is_spelled_with_or_without_a_space():
    problem = replace(WORLD.problem(random.Random(0), "difference", 4), answer=("-3",), restated="5 - 8")
    assert check(problem, "-3")
    assert check(problem, "- 3")
    assert check(problem, "5 - 8 = -3")
    assert not check(problem, "3")
    assert not check(problem, "--3")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("level", LEVELS)
def test_no_problem_of_training_is_on_another_side(task, level):
    sides = {
        split: {WORLD.problem(random.Random(seed), task, level, split).about for seed in range(40)}
        for split in ("train", "validation", "test")
    }
    assert not sides["train"] & sides["test"]
    assert not sides["train"] & sides["validation"]
    assert not sides["validation"] & sides["test"]


def test_turning_a_sum_around_does_not_change_its_side():
    one, other = (
        {p.text for p in WORLD.problems(random.Random(1), 10, "sum", 1, split)} for split in ("train", "test")
    )
    assert not {re.sub(r"(\d) \+ (\d)", r"\2 + \1", text) for text in other} & one


def test_shares_of_the_split_are_what_is_written():
    rng = random.Random(0)
    drawn = [WORLD.split(TASKS["sum"](rng, 5)) for _ in range(5000)]
    assert drawn.count("test") / 5000 == pytest.approx(0.2, abs=0.02)  # 3.5 standard errors
    assert drawn.count("validation") / 5000 == pytest.approx(0.1, abs=0.015)


def test_higher_levels_ask_for_more():
    rng = random.Random(0)

    def length(task, level):
        return sum(len(TASKS[task](rng, level).text) for _ in range(200)) / 200

    for task in TASKS:
        if task != "difference":  # its levels 3 and 4 differ in the sign of the answer
            assert length(task, 5) > length(task, 1), task


def test_a_constant_answer_does_not_solve_a_level():
    rng = random.Random(0)
    for task in TASKS:
        for level in LEVELS:
            answers = [WORLD.problem(rng, task, level).answer for _ in range(300)]
            most = max(answers.count(answer) for answer in set(answers)) / 300
            assert most < 0.5, (task, level)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_split():
    def write(world):
        rng = random.Random(7)
        return "".join(p.text for p in world.problems(rng, 200)).encode()

    assert write(WORLD) == write(VerifiableWorld(seed=3))
    assert write(WORLD) != write(VerifiableWorld(seed=4))


def test_a_test_set_has_no_problem_twice_and_too_many_are_refused_in_words():
    texts = [p.text for p in WORLD.problems(random.Random(0), 300, split="test")]
    assert len(set(texts)) == 300
    with pytest.raises(BadSetting, match=r"different problems \(sum of level 1, test\)"):
        WORLD.problems(random.Random(0), 100, "sum", 1, "test")


def test_unknown_tasks_levels_and_splits_are_named():
    rng = random.Random(0)
    with pytest.raises(BadSetting, match="Did you mean 'reverse'"):
        WORLD.problem(rng, "revers")
    with pytest.raises(BadSetting, match="no level 6"):
        WORLD.problem(rng, level=6)
    with pytest.raises(BadSetting, match="no split 'held out'"):
        WORLD.problem(rng, split="held out")


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_every_task_has_problems_on_every_side_or_says_that_it_has_none(seed):
    world = VerifiableWorld(seed)
    for task in TASKS:
        for split in ("train", "validation", "test"):
            try:
                assert world.split(world.problem(random.Random(seed), task, 1, split)) == split
            except BadSetting as error:
                assert f"has no {task} of level 1 on the side {split}" in str(error)  # noqa: PT017 (either is right)
                assert split != "train"


def test_a_side_that_chance_left_empty_is_said_and_not_looked_for_for_ever():
    problems = {tuple(sorted((a, b))) for a in range(10) for b in range(10)}
    empty = next(
        seed for seed in range(5_000)
        if all(VerifiableWorld(seed).split(_sum_of(a, b)) != "validation" for a, b in problems)
    )  # fmt: skip
    with pytest.raises(BadSetting, match="has no sum of level 1 on the side validation"):
        VerifiableWorld(empty).problem(random.Random(0), "sum", 1, "validation")


def _sum_of(a: int, b: int) -> Problem:
    return Problem("", "sum", 1, (), "", (str(a), str(b)))


def test_the_examples_of_the_docs_are_true():
    page = Path(__file__).parents[2] / "docs" / "verifiable.md"
    assert doctest.testfile(str(page), module_relative=False).failed == 0
