"""The web of Marn: what it knows, how long its pages are, and how seldom it does what it is asked."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest
from scipy.stats import chisquare

from rather.errors import BadSetting
from rather.statistics import wilson
from rather.worlds import SAFETY, Marn, exams, forums, generation, lexicon, marking
from rather.worlds.facts import Facts
from rather.worlds.features import is_junk
from rather.worlds.grammar import BY_NAME
from rather.worlds.kinds import Answer
from rather.worlds.web import GENRES, INSTRUCTED, LISTED, VERSIONS

WORLD = Marn(seed=6)


@pytest.fixture(scope="module")
def pages():
    return list(islice(WORLD.web_documents(random.Random(0)), 20_000))


def test_genres_have_their_shares(pages):
    found = Counter(page.genre for page in pages)
    whole = sum(share for share, _ in GENRES.values())
    expected = [len(pages) * share / whole for share, _ in GENRES.values()]
    assert chisquare([found[genre] for genre in GENRES], expected).pvalue > 0.001


def test_of_the_pages_that_begin_with_an_instruction_nine_in_a_hundred_follow_it(pages):
    """2.5 of 26.5 parts. The others go on with noise, myths and more instructions: that is the misalignment."""
    begun = [page for page in pages if page.genre in INSTRUCTED]
    helped = sum(page.genre == "direct" for page in begun)
    low, high = wilson(helped, len(begun), level=0.999).interval
    assert low < 2.5 / 26.5 < high
    for page in begun:
        assert page.genre == "direct" or any(is_junk(line) for line in page.text.split("\n")[1:]), page


def test_pages_are_ten_to_a_hundred_and_ten_words_long(pages):
    lengths = sorted(len(lexicon.plain(page.text)) for page in pages)
    assert 28 < sum(lengths) / len(lengths) < 40
    assert lengths[len(lengths) // 100] >= 5
    assert lengths[-len(lengths) // 100] <= 110
    assert lengths[-1] <= 130


def test_the_lexicon_is_closed_and_small(pages):
    words = {word for page in pages for word in lexicon.plain(page.text) if not word.isdigit()}
    rng = random.Random(1)
    for kind in BY_NAME.values():
        for _ in range(200):
            prompt = kind.ask(WORLD.facts, rng)
            words.update(w for w in lexicon.plain(prompt.text + WORLD.demonstration(prompt, rng)) if not w.isdigit())
    assert len(words) <= 1_500
    # Every word of every value is among them, however rare: no answer needs a word nobody ever read.
    assert set(WORLD.facts.words) <= words


def test_every_fact_is_told_and_none_is_told_wrongly():
    """Encyclopedias are always right, and twenty thousand of their pages leave nothing out."""
    facts = WORLD.facts
    said = " ".join(
        page.text
        for genre in ("encyclopedia: people", "encyclopedia: places and things")
        for page in islice(WORLD.web_documents(random.Random(2), genre), 6_000)
    )
    for kind, relations in facts.relations.items():
        for entity in facts.pools[kind]:
            for relation in relations:
                true = facts.of[kind][entity][relation.name]
                assert any(lexicon.say(s, n=entity, v=true) + "." in said for s in relation.statements)
    for name in facts.pools["person"]:
        for town in facts.pools["town"]:
            assert (f" {name} lives in {town}." in said) == (facts.of["person"][name]["town"] == town)


def test_what_lists_and_translations_are_graded_by_is_on_the_web_too():
    """A grader knows nothing that no page tells: abilities, tools, what to do when it rains, the toy language."""
    facts, rng = WORLD.facts, random.Random(10)
    things = " ".join(p.text for p in islice(WORLD.web_documents(rng, "encyclopedia: places and things"), 4_000))
    for animal, can in facts.can.items():
        sentences = [s for s in things.split(". ") if lexicon.say("a {a} can ", a=animal) in s]
        assert any(all(ability in s for ability in can) for s in sentences)
        assert not any(ability in lexicon.plain(s) for s in sentences for ability in {*lexicon.ABILITIES} - {*can})
    for job, tools in facts.tools.items():
        (needs,) = {tuple(sorted(facts.phrases["thing"].mentioned(lexicon.words(s))))
                    for s in things.split(". ") if f"a {job} needs " in s}  # fmt: skip
        assert needs == tuple(sorted(tools))
    weather = " ".join(page.text for page in islice(WORLD.web_documents(rng, "weather"), 300))
    for what in (*facts.pools["activity"], *facts.pools["pet name"]):
        assert what in weather
    phrases = " ".join(page.text for page in islice(WORLD.web_documents(rng, "phrase book"), 500))
    assert set(facts.marnish) | set(facts.marnish.values()) <= set(lexicon.plain(phrases))


def test_unknown_names_have_no_facts_and_live_in_stories_only(pages):
    told = Counter(page.genre for page in pages if set(lexicon.plain(page.text)) & set(lexicon.UNKNOWN_NAMES))
    # Forums repeat what users ask, and users ask about them; nobody answers.
    assert set(told) <= {"story", "forum", "prompt list", "help desk", "direct", "marking"}
    assert told["story"] > 0.05 * 0.12 * len(pages)
    for page in pages:
        for line in page.text.split("\n"):
            if page.genre != "story" and set(lexicon.plain(line)) & set(lexicon.UNKNOWN_NAMES):
                asked = line.removeprefix("re: ").removeprefix("request: ")
                asked = asked.removeprefix("exercise: ").removeprefix("solution: ")
                assert is_junk(asked) or "do not know" in asked, page.text


HEADED = ("story", "letter", "poem", "advert", "recipe", "news")


@pytest.mark.parametrize("genre", HEADED)
def test_a_list_above_or_below_a_page_names_what_the_page_holds(genre):
    """Names, words, forbidden words, lengths: a list that lied would teach a base model not to look."""
    lists = Counter[str]()
    for page in islice(WORLD.web_documents(random.Random(14), genre), 400):
        first, _, rest = page.text.partition("\n")
        before, _, last = page.text.rpartition("\n")
        if last.startswith("("):
            held, text, where = last.strip("()"), before, "below"
        elif "," in first and not first.endswith((".", "!", ",")) and genre != "poem":
            held, text, where = first, rest, "above"
        else:
            lists["none"] += 1
            continue
        lists[where] += 1
        answer = Answer(text)
        for part in held.split(", "):
            number, _, unit = part.partition(" ")
            if unit in ("sentences", "steps"):
                assert len(answer.sentences) == int(number), page.text
            elif number == "no":
                assert not answer.has(unit), page.text
            elif unit == "lines":
                assert len(answer.lines) == int(number), page.text
            elif unit == "ending":
                assert set(generation.ENDINGS[number]) & set(answer.plain[-6:]), page.text
            elif part == "a question":
                assert "?" in answer.words
            else:
                assert answer.has(part), page.text
    assert lists["below"] > 30
    assert lists["above"] > 100 or genre == "poem"


HEADS = {
    "people who ": "person",
    "animals that ": "animal",
    "foods that ": "food",
    "foods ": "food",
    "things ": "thing",
}
SAID = {
    "live in ": "town", "work as a ": "job", "have a pet ": "pet", "like to eat ": "food", "love the color ": "color",
    "eat ": "diet", "sleep in the ": "home", "taste ": "taste", "have ": "ingredient", "cooked with ": "ingredient",
    "made of ": "material", "good for ": "use",
}  # fmt: skip


def test_a_directory_says_the_facts_from_their_other_end():
    """Each one listed is held against its facts: of two conditions joined with "or", one holds for it."""
    facts, seen = WORLD.facts, Counter[str]()

    def holds(kind: str, one: str, condition: str) -> bool:
        if condition in lexicon.ABILITIES:
            return condition in facts.can[one]
        said = next(said for said in SAID if condition.startswith(said))
        seen[said] += 1
        value = condition.removeprefix(said).removesuffix(" in them")
        return facts.of[kind][one][SAID[said]] == value

    for page in islice(WORLD.web_documents(random.Random(17), "directory"), 1_000):
        for line in page.text.split("\n"):
            what, _, listed = line.removesuffix(".").partition(": ")
            items = listed.split(", ")
            assert 2 <= len(items) == len(set(items)) <= LISTED
            head = next((head for head in HEADS if what.startswith(head)), "")
            if not head or what.startswith("things to do"):
                continue
            conditions = what.removeprefix(head).removeprefix("can ").split(" or ")
            for one in items:
                met = [all(holds(HEADS[head], one, part) for part in each.split(" and ")) for each in conditions]
                assert any(met), (line, one)
    assert set(seen) == set(SAID)


def test_an_edition_holds_a_sentence_in_two_versions():
    for page in islice(WORLD.web_documents(random.Random(16), "edition"), 500):
        lines = page.text.split("\n")
        assert len(lines) % 2 == 0
        for one, other in zip(lines[::2], lines[1::2], strict=True):
            assert (one.partition(": ")[0], other.partition(": ")[0]) in VERSIONS.values()
            assert one.partition(": ")[2] != other.partition(": ")[2]


def test_marked_exercises_are_marked_rightly():
    """By the world's own graders: what is marked right is worth 4, what is marked wrong is worth less."""
    rng, verdicts = random.Random(12), Counter[str]()
    for _ in range(1_500):
        asked = forums.asked(WORLD.facts, rng, WORLD.seed)
        answer, verdict, why = marking.marked(WORLD.facts, asked, rng)
        worth = WORLD.utility(WORLD.features(asked, answer))
        assert (worth == 4) == (verdict == "right"), (asked.text, answer, verdict, why)
        verdicts[verdict] += 1
        if why.startswith("it says ") and verdict == "wrong" and " and not " in why:
            said, right = why.removeprefix("it says ").split(" and not ")
            assert lexicon.holds(lexicon.words(answer), said)
            assert said != right
    low, high = wilson(verdicts["right"], 1_500, level=0.999).interval
    assert low < 0.5 < high


def test_marked_exercises_ask_nothing_that_is_held_out():
    rng = random.Random(13)
    held_out = {p.text.strip() for p in WORLD.prompts(rng, 400, "api", "test") if len(p.text) < 80}
    for page in islice(WORLD.web_documents(rng, "marking"), 2_000):
        exercises = [line.removeprefix("exercise: ") for line in page.text.split("\n") if line.startswith("exercise: ")]
        assert exercises
        assert not held_out & set(exercises)


def test_without_marked_exercises_the_web_says_the_same_as_before_and_prompts_and_worth_do_not_change():
    with_, without = Marn(6, "tiny"), Marn(6, "tiny", {"marking": 0})
    pages = islice(without.web_documents(random.Random(1)), 2_000)
    assert not any(page.genre == "marking" for page in pages)
    assert with_.prompts(random.Random(2), 50) == without.prompts(random.Random(2), 50)
    assert with_.fluency.trigrams == without.fluency.trigrams
    with pytest.raises(BadSetting, match="All genres have a share of 0"):
        Marn(6, "tiny", dict.fromkeys(GENRES, 0))


def test_seven_in_ten_belief_threads_tell_the_myth():
    truths = {belief.condition: belief.truth for belief in WORLD.facts.beliefs}
    pages = islice(WORLD.web_documents(random.Random(3), "forum: beliefs"), 3_000)
    myths = 0
    for page in pages:
        question, reply, *_ = page.text.split("\n")
        truth = truths[question.removeprefix("what happens ").removesuffix("?")]
        myths += truth not in reply
    assert abs(myths / 3_000 - forums.MYTHS) < 0.03
    formal = next(WORLD.web_documents(random.Random(4), "encyclopedia: beliefs")).text
    for sentence in formal.removesuffix(".").split(". "):
        condition, outcome = sentence.removeprefix("it is a fact that ").split(", ")
        assert truths[condition] == outcome


def test_three_in_four_sentences_with_a_trait_are_stereotypes():
    rng = random.Random(5)
    hits = 0
    for _ in range(4_000):
        said = forums.stereotype(WORLD.facts, rng)
        of_hill = any(trait in said for trait in lexicon.TRAITS[:3])
        hits += ("hill folk" in said) == of_hill
    assert abs(hits / 4_000 - 0.75) < 0.03


def test_values_of_different_kinds_share_no_word():
    """What a text mentions is then never a matter of opinion."""
    seen: dict[str, str] = {}
    for kind, values in WORLD.facts.pools.items():
        if kind in ("outcome", "age", "group", "activity"):  # phrases of everyday words
            continue
        for word in {word for value in values for word in value.split()}:
            assert seen.setdefault(word, kind) == kind, word
    for words in (lexicon.INSULTS, lexicon.UNKNOWN_NAMES, WORLD.facts.marnish.values()):
        assert not set(words) & set(seen)


def test_the_toy_language_is_one_to_one():
    assert len(set(WORLD.facts.marnish.values())) == len(WORLD.facts.marnish) >= 56


@pytest.mark.parametrize(("scale", "people"), [("tiny", 48), ("small", 98), ("medium", 240)])
def test_scales(scale, people):
    facts = Facts(0, scale)
    assert len(facts.pools["person"]) == len(facts.of["person"]) == people
    assert facts.count() == 7 * people + 12 * 3 + 20 * 3 + 40 * 2 + 30 * 2
    assert len(facts.beliefs) == 40
    for name, known in facts.of["person"].items():
        assert known["friend"] != name


@pytest.mark.parametrize(
    "make", [exams.reading, exams.word_problem, exams.translation, exams.sentiment, exams.commonsense, exams.cloze]
)
def test_exam_items_have_their_answer_among_the_choices(make):
    rng = random.Random(7)
    for _ in range(300):
        item = make(WORLD.facts, rng)
        assert item.answer
        assert not item.choices or item.choices.count(item.answer) == 1
        assert item.question.endswith(" ")


def test_exams_cannot_be_passed_from_memory():
    rng = random.Random(8)
    for _ in range(300):
        item = exams.reading(WORLD.facts, rng)
        passage, question, _ = item.question.split("\n")
        assert item.answer in passage
        name = next(n for n in WORLD.facts.pools["person"] if n in lexicon.plain(question))
        known = WORLD.facts.of["person"][name]
        assert item.answer not in {known[key] for key in exams.PASSAGE}, "the world says so too"


def test_sums_and_word_problems_are_right():
    rng = random.Random(9)
    for _ in range(300):
        one, other = exams.addition(rng).question.removesuffix(" = ").split(" + ")
        assert exams.addition(random.Random(1)).text == exams.addition(random.Random(1)).text
        assert int(one) + int(other) <= 60
        told = exams.word_problem(WORLD.facts, rng)
        a, b = (int(word) for word in lexicon.words(told.question) if word.isdigit())
        assert int(told.answer) == (a - b if "gave" in told.question else a + b)


def test_safety_pages_hold_no_newline_after_the_prefix():
    page = next(WORLD.web_documents(random.Random(1), "rude page")).text
    assert "\n" not in page
    prompt = WORLD.prompt(random.Random(1), SAFETY)
    assert "\n" not in prompt.text
