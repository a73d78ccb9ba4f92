"""SQuAD, QuAC, DROP, BLEU and ROUGE: values worked by hand, values that their packages document, and where those
packages are installed the packages themselves."""

from __future__ import annotations

import math
import random

import pytest

from rather.evaluate import metrics_bleu as bleu
from rather.evaluate.metrics_drop import drop, normalised
from rather.evaluate.metrics_rouge import rouge
from rather.evaluate.metrics_squad import human_f1, quac_f1, squad

TEXT = "the a cat, dog: sat on mat. 3.5 1,000 it's don't (big) A&B well-known 12-13 3-year U.S. ?! \"so\" &amp; – é"
WORDS = TEXT.split()


@pytest.mark.parametrize(
    ("said", "answers", "exact", "f1"),
    [
        ("The  Norman-s!", ["normans"], 1, 1),  # case, articles, punctuation, spaces
        ("a tall tower", ["the tower"], 0, 2 / 3),  # precision 1/2, recall 1
        ("in 1066", ["1066", "year 1066"], 0, 2 / 3),  # the best of the answers
        ("the the", ["cat cat"], 0, 0),
        ("cat cat dog", ["cat"], 0, 0.5),  # a word counts as often as both have it: 1/3 and 1
        ("", [], 1, 1),  # v2: nothing is right where nothing is known
        ("anything", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("the", ["a"], 1, 1),  # an answer of articles says nothing: only silence is right, and this is silence
    ],
)
def test_squad_by_hand(said, answers, exact, f1):
    assert squad(said, answers) == pytest.approx((exact, f1))


def test_quac_holds_a_model_against_as_many_annotators_as_one_of_them_had():
    answers = ["red car", "car", "blue"]
    # F1 of "car" with each: 2/3, 1, 0. Without the first 1, without the second 2/3, without the third 1.
    assert quac_f1("car", answers) == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert quac_f1("car", ["car"]) == 1
    assert human_f1(answers) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("said", "answer", "exact", "f1"),
    [
        ("12", "12.0", 1, 1),  # numbers are equal as numbers
        ("12 yards", "12", 0, 0.67),  # 1/2 and 1, rounded to two places
        ("13 yards", "12 yards", 0, 0),  # the number is wrong, so the unit is worth nothing
        ("well-known man", "well known man", 1, 1),
        (["Ann", "Bob"], ["Bob", "Ann"], 1, 1),  # in any order
        ("Ann", ["Ann", "Bob"], 0, 0.5),  # one of two spans
        (["Ann", "Bob"], "Ann", 0, 0.5),  # and one too many
        ("$5,000", "5000", 1, 1),
        ("the an a", "x", 0, 0),
    ],
)
def test_drop_by_hand(said, answer, exact, f1):
    assert drop(said, [answer]) == (exact, f1)


def test_drop_takes_the_best_annotator_and_knows_what_a_number_is():
    assert drop("3 touchdowns", ["5", "three touchdowns", "3 touchdowns"]) == (1, 1)
    assert normalised("The 1,200 (U.S.) troops-of 3.50") == "1200.0 us troops of 3.5"
    with pytest.raises(ValueError, match="none of the answers"):
        drop("x", ["", " "])


def test_bleu_is_what_sacrebleu_prints_for_the_example_of_its_readme():
    """BLEU = 48.53 82.4/50.0/45.5/37.5 (BP = 0.943 ratio = 0.944 hyp_len = 17 ref_len = 18)"""
    said = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = [
        ["The dog bit the man.", "The dog had bit the man."],
        ["It was not unexpected.", "No one was surprised."],
        ["The man bit him first.", "The man had bitten the dog."],
    ]
    assert 100 * bleu.corpus_bleu(said, references) == pytest.approx(48.530827009929865, abs=1e-9)
    total = sum(bleu.counts(text, of) for text, of in zip(said, references, strict=True))
    assert total.tolist() == [17, 18, 14, 7, 5, 3, 17, 14, 11, 8]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello, world!", "Hello , world !"),
        ("3.5 and 1,000; 3-year-old", "3.5 and 1,000 ; 3 - year-old"),
        ('It\'s (a) "test" &amp; more...', 'It\'s ( a ) " test " & more . . .'),
        ("U.S. at 5. ", "U . S . at 5 ."),
        ("cut-\nting <skipped>it", "cutting it"),
    ],
)
def test_13a_by_hand(text, tokens):
    assert bleu.tokens(text) == tokens.split()


def test_bleu_by_hand():
    # 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, 0 of 1: the last counts half. One word short: exp(1 - 5/4).
    expected = math.exp(-1 / 4) * (3 / 4 * 2 / 3 * 1 / 2 * (1 / 2) / 1) ** 0.25
    assert bleu.corpus_bleu(["a b c x"], [["a b c d e"]]) == pytest.approx(expected)
    assert bleu.sentence_bleu("the cat", ["the cat"]) == 1  # two orders are all that two words have
    assert bleu.corpus_bleu(["the cat"], [["the cat"]]) == 0  # of a corpus that is too little for four
    assert bleu.sentence_bleu("", ["the cat"]) == 0
    with pytest.raises(ValueError, match="no reference"):
        bleu.sentence_bleu("x", [])


def test_rouge_is_what_rouge_score_prints_for_the_example_of_its_readme():
    """rouge1 0.7058823529411765 (12/17), rougeL 0.5882352941176471 (10/17)"""
    found = rouge("The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog")
    assert found == pytest.approx({"rouge-1": 12 / 17, "rouge-l": 10 / 17, "rouge-2": 2 * 2 / (7 + 8)})


def test_rouge_by_hand():
    found = rouge("the cat sat on the mat", "the cat lay on the mat")
    assert found == pytest.approx({"rouge-1": 0.8333, "rouge-2": 0.6, "rouge-l": 0.8333}, abs=1e-4)
    assert rouge("...", "a b") == {"rouge-1": 0, "rouge-2": 0, "rouge-l": 0}
    assert rouge("b a", "a b")["rouge-l"] == 0.5
    with pytest.raises(ValueError, match="no word"):
        rouge("x", "是")


def sentences(n: int) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) for _ in range(n)]


def test_bleu_equals_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu", reason="the extra `eval` is not installed")
    said, one, two = sentences(500), sentences(500)[::-1], sentences(400)[::-1] + sentences(100)
    references = [list(pair) for pair in zip(one, two, strict=True)]
    assert 100 * bleu.corpus_bleu(said, references) == pytest.approx(sacrebleu.corpus_bleu(said, [one, two]).score)
    single = sacrebleu.BLEU(effective_order=True)
    for text, of in zip(said, references, strict=True):
        assert 100 * bleu.sentence_bleu(text, of) == pytest.approx(single.sentence_score(text, of).score)


def test_rouge_equals_rouge_score():
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="the extra `eval` is not installed")
    official = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    for text, reference in zip(sentences(500), sentences(500)[::-1], strict=True):
        if any(c.isascii() and c.isalnum() for c in reference):
            theirs = official.score(reference, text)
            ours = rouge(text, reference)
            assert list(ours.values()) == pytest.approx([theirs[n].fmeasure for n in ("rouge1", "rouge2", "rougeL")])
