"""Instructions a program can check: small cases by hand, and the stored verdicts of IFEval's own checker."""

from __future__ import annotations

import gzip
import json

import pytest

from rather.errors import BadRecord
from rather.verifiers import INSTRUCTIONS, choice, follows, ifeval
from rather.verifiers.instructions import count_sentences
from rather.verifiers.languages import language_of

CASES = [
    ("keywords:existence", {"keywords": ["red", "Blue"]}, "Blue and RED", "only red"),
    ("keywords:frequency", {"keyword": "a", "frequency": 2, "relation": "at least"}, "a, a", "a"),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "a catalogue", "a Cat!"),
    ("keywords:letter_frequency", {"letter": "Z", "let_frequency": 2, "let_relation": "less than"}, "z", "Zz"),
    ("language:response_language", {"language": "de"}, "Das ist nicht das, was er will.", "This is it."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "One.", "One. Two!"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "one two three", "one two"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"},
        "It is.\n\n'So, yes.",
        "So.\n\nIt is.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b]", "[a] (b)"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np. s. more", "Bye. PS more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n - b", "* a\n** b **"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", "*a* and * *"),
    ("detectable_format:multiple_sections", {"section_spliter": "Day", "num_sections": 2}, "Day 1 x\nDay 2 y", "Day 1"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<A title>>\ntext", "<< >>\ntext"),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. It.", "It. Say it."),
    ("startend:end_checker", {"end_phrase": "The end."}, 'So. the END."', "The end. Not."),
    ("startend:quotation", {}, ' "all of it" ', '"half" of it'),
    ("change_case:english_capital", {}, "THIS IS THE ONE.", "THIS is the one."),
    ("change_case:english_lowercase", {}, "this is the one.", "This is the one."),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "YES AND no",
        "YES and no",
    ),
    ("punctuation:no_comma", {}, "no comma; here", "a, comma"),
]


def test_there_is_a_case_for_every_instruction():
    assert {case[0] for case in CASES} == set(INSTRUCTIONS)
    assert len(INSTRUCTIONS) == 25


@pytest.mark.parametrize(("name", "given", "good", "bad"), CASES, ids=[case[0] for case in CASES])
def test_each_instruction_by_hand(name, given, good, bad):
    assert follows(good, name, given)
    assert not follows(bad, name, given)
    assert not follows("   ", name, given), "nothing follows nothing"


def test_loose_forgives_an_opening_a_close_and_asterisks():
    said = 'Sure, here it is:\n"quoted"'
    assert not follows(said, "startend:quotation", {})
    assert follows(said, "startend:quotation", {}, loose=True)
    assert follows('**"quoted"**', "startend:quotation", {}, loose=True)


def test_several_instructions_are_all_or_a_share():
    names, given = ["punctuation:no_comma", "startend:quotation"], [{}, {}]
    verdict = ifeval("no comma", names, given)
    assert (verdict.score, verdict.reason) == (0, "it follows 1 of 2, not startend:quotation")
    assert ifeval("no comma", names, given, share=True).score == 0.5
    assert ifeval('"no comma"', names, given).score == 1


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("punctuation:no_coma", {}, "Did you mean 'punctuation:no_comma'?"),
        ("startend:end_checker", {}, "has no end_phrase"),
        ("startend:end_checker", {"end_phrase": 3}, "cannot be checked"),
        ("keywords:existence", {"keywords": ["("]}, "cannot be checked"),
        ("length_constraints:number_words", {"num_words": 3, "relation": "about"}, "'less than' or 'at least'"),
    ],
)
def test_an_instruction_that_cannot_be_checked_is_refused(name, given, words):
    with pytest.raises(BadRecord) as refused:
        follows("text", name, given)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith met Mr. J. Brown at 3.5 p.m. on it. Then he left", 2),
        ("1. First thing.\n2. Second thing.", 2),
        ('"Really?" she said. Yes...', 2),
        ("", 0),
        ("no end", 1),
    ],
)
def test_sentences_are_counted(text, count):
    assert count_sentences(text) == count


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("This is the first of the two.", "en"),
        ("etchings", "en"),
        ("Das ist ein Haus und es ist nicht alt.", "de"),
        ("C'est la vie et les enfants sont dans le jardin.", "fr"),
        ("Esto es lo que los niños hacen en la escuela.", "es"),
        ("Questo è il libro che non ho letto.", "it"),
        ("Isto não é o que eu queria para os meus filhos.", "pt"),
        ("Se on hyvä ja hän ei ole täällä.", "fi"),
        ("Hii ni habari ya watu wa Kenya na lugha yao.", "sw"),
        ("Tôi là một người Việt và tôi không có tiền.", "vi"),
        ("Это не то, что мы хотели, и вы это знаете.", "ru"),
        ("Това е нещо, което не може да се види.", "bg"),
        ("यह एक किताब है और मैं इसे पढ़ता हूँ।", "hi"),
        ("हे एक पुस्तक आहे आणि मी ते वाचतो.", "mr"),
        ("یہ ایک کتاب ہے اور میں اسے پڑھتا ہوں۔", "ur"),
        ("این کتاب را من خوانده‌ام و خوب است.", "fa"),
        ("هذا الكتاب الذي قرأته في المدرسة.", "ar"),
        ("이것은 책입니다.", "ko"),
        ("これは本です。東京で買いました。", "ja"),
        ("这是一本书。", "zh-cn"),
        ("આ એક પુસ્તક છે.", "gu"),
        ("ਇਹ ਇੱਕ ਕਿਤਾਬ ਹੈ।", "pa"),
        ("นี่คือหนังสือ", "th"),
        ("12345 !", ""),
    ],
)
def test_languages_are_told_apart(text, language):
    assert language_of(text) == language


# Where we differ from IFEval's own checker. It draws a letter at random where the one asked for is no letter (1129),
# and its language detector takes a word or three of English for something else (202, 1843, 2341).
DIFFER = {
    "strict": {"ifeval-1129", "ifeval-202", "ifeval-1843", "ifeval-2341"},
    "loose": {"ifeval-202", "ifeval-1843", "ifeval-2341"},
}


@pytest.mark.shared
@pytest.mark.parametrize("how", ["strict", "loose"])
def test_we_agree_with_the_stored_verdicts_of_ifeval(shared_data, how):
    with gzip.open(shared_data / "eval_ifeval" / "prompts.jsonl.gz", "rt") as file:
        rows = [row for row in map(json.loads, file) if row[how] is not None and row["gpt4_response"] is not None]
    judged, differ = 0, set()
    for row in rows:
        for name, given, verdict in zip(row["instruction_id_list"], row["kwargs"], row[how], strict=True):
            judged += 1
            if follows(row["gpt4_response"], name, given, loose=how == "loose") != verdict:
                differ.add(row["id"])
    assert judged == 407
    assert differ == DIFFER[how]


@pytest.mark.parametrize("piece", ["[", "<", ". ", ".", "p. ", "\n", "*", "a "])
def test_a_response_of_one_thing_over_and_over_is_judged_as_well(piece):
    # Of patterns that take the square of the time this took minutes; now it is far below a second.
    response = piece * (20_000 // len(piece))
    given = {name: value for _, settings, _, _ in CASES for name, value in settings.items()}
    for name in INSTRUCTIONS:
        follows(response, name, given)
    choice(response, "A", ["x", "y"])
