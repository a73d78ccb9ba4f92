"""The public tasks: rows into prompts as appendix D has them, grades worked by hand, and numbers from a real policy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from task_rows import ROWS, file_of

from conftest import small_policy
from rather.errors import BadFile, BadModel, BadRecord, BadSetting
from rather.evaluate.asking import encoder_of
from rather.evaluate.likelihood import Likelihood
from rather.evaluate.tasks import TASKS, Tools
from rather.evaluate.tasks.documents import Document, documents, shots_of, some_of
from rather.evaluate.tasks.leaning import entropy
from rather.evaluate.tasks.passages import grade_drop, grade_quac, grade_squad
from rather.evaluate.tasks.running import TaskConfig, cut, preamble, run_task
from rather.evaluate.tasks.toxicity import WordList
from rather.evaluate.tasks.truth import grade_choices, grade_written
from rather.evaluate.tasks.writing import grade_wsc
from rather.records.lines import json_rows


def read_one(folder, name):
    return documents(file_of(folder, name, ROWS[name]), TASKS[name].read)


def test_every_task_reads_the_row_of_its_hub(tmp_path):
    assert set(ROWS) == set(TASKS)
    for name, task in TASKS.items():
        for document in read_one(tmp_path, name):
            assert document.query == document.query.rstrip()  # a prompt that ends in a space is another prompt
            assert document.cluster
            assert "\n" not in document.answer  # answers end with their line
            assert task.chosen is None or len(document.choices) > 1
            assert task.tax == (name not in ("truthfulqa", "realtoxicityprompts", "winogender", "crows_pairs"))


def test_shots_are_those_of_appendix_d():
    shots = {"drop": 4, "quac": 2, "squad_v2": 4}
    shots |= dict.fromkeys(("hellaswag", "rte", "sst", "wsc", "wmt15_fr_en", "cnn_dm", "tldr"), 15)
    assert {name: task.shots for name, task in TASKS.items() if task.shots} == shots
    assert TASKS["truthfulqa"].ways["qa"].count("Q: ") == 6


@pytest.mark.parametrize(
    ("name", "query", "answer"),
    [
        ("hellaswag", "Cooking: How to cook. Buy eggs. Then", " run."),
        ("rte", "A is B.\nquestion: B is A. True or False?\nanswer:", " True"),
        ("sst", "Text: so good\nLabel:", " positive"),
        ("squad_v2", "Title: Rome\n\nBackground: Rome is old.\n\nQ: How old?\n\nA:", " Not in background."),
        ("drop", "Passage: Ann ran 3 miles.\n\nQ: How far?\n\nA:", " 3"),
        ("wmt15_fr_en", "French: Le chat.\nEnglish:", " The cat."),
        ("cnn_dm", "Much happened.\n\nTL;DR:", " It rained. It snowed."),
        ("tldr", "TITLE: a\n\nPOST: b\n\nTL;DR:", " a b"),
        ("truthfulqa", "Q: What happens?\nA:", " Nothing."),
    ],
)
def test_prompts_in_full(tmp_path, name, query, answer):
    (document,) = read_one(tmp_path, name)
    assert (document.query, document.answer) == (query, answer)


def test_a_dialogue_goes_on_with_the_answers_that_were_given(tmp_path):
    first, second = read_one(tmp_path, "quac")
    start = "Background: Bob was born in Rome.\n\nQ: Where was he born?\n\nA:"
    assert first.query == start
    assert second.query == start + " in Rome\n\nQ: When?\n\nA:"
    assert second.answer == " Not in background."
    assert first.cluster == second.cluster
    assert grade_quac(second, "Not in background") == {"f1": 1}
    assert grade_quac(Document("x", "", truth=("red", "blue", "green")), "red") == {}  # people do not agree at all


def test_examples_stand_before_the_question_and_are_not_asked(tmp_path):
    pool = [Document(str(k), f"q{k // 2}", f" a{k}", cluster=f"p{k // 2}") for k in range(8)]
    shown = shots_of(pool, 2, "rte", 0)
    assert len({document.cluster for document in shown}) == 2
    assert all(int(document.id) % 2 for document in shown)  # the last question of each passage
    assert shots_of(pool[::-1][::-1], 2, "rte", 0) == shown
    text = preamble(TASKS["sst"], "", shown)
    assert text == f"{TASKS['sst'].ways['']}\n\n" + "".join(f"{d.query}{d.answer}\n\n" for d in shown)
    with pytest.raises(BadFile, match="5 examples are to be shown, and there are 4"):
        shots_of(pool, 5, "rte", 0)


def test_some_questions_are_the_same_for_every_model_and_in_order():
    found = [Document(str(k), "q") for k in range(50)]
    assert some_of(found, 9, "x") == some_of(found, 9, "x") != some_of(found, 9, "y")
    assert [int(d.id) for d in some_of(found, 9, "x")] == sorted(int(d.id) for d in some_of(found, 9, "x"))


def spoilt(name, **changes):
    row = {**ROWS[name], **changes}
    return {key: value for key, value in row.items() if value != "gone"}


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("hellaswag", spoilt("hellaswag", label="-1"), "withheld"),
        ("hellaswag", spoilt("hellaswag", label=True), "label"),
        ("hellaswag", spoilt("hellaswag", label=4), "from 0 to 3"),
        ("hellaswag", spoilt("hellaswag", endings=["a"]), "at least 2 texts"),
        ("hellaswag", spoilt("hellaswag", endings="gone"), "endings"),
        ("rte", spoilt("rte", sentence2="gone"), "no field"),
        ("rte", spoilt("rte", sentence1=" "), "says something"),
        ("rte", spoilt("rte", sentence1="half \ud83d"), "lone surrogate"),
        ("sst", {}, "no field"),
        ("squad_v2", spoilt("squad_v2", answers="Rome"), "answers"),
        ("squad_v2", spoilt("squad_v2", answers=[1]), "answers"),
        ("squad_v2", spoilt("squad_v2", context=None), "context"),
        ("drop", spoilt("drop", answer="3"), "an answer is"),
        ("drop", spoilt("drop", answer={"number": "", "spans": []}), "one of them filled"),
        ("drop", spoilt("drop", answer="gone", answers_spans={"spans": ["3"]}), "does not say which spans"),
        ("drop", spoilt("drop", validated_answers={"number": [""], "spans": []}), "same length"),
        ("drop", spoilt("drop", validated_answers=3), "list of answers"),
        ("quac", spoilt("quac", orig_answers={"texts": ["one"]}), "each of the 2 questions"),
        ("quac", spoilt("quac", answers={"texts": [["a"], []]}), "each of the 2 questions"),
        ("quac", spoilt("quac", answers=[["a"], [None]]), "each of the 2 questions"),
        ("wmt15_fr_en", {"translation": {"fr": "x"}}, "sentence in each language"),
        ("wmt15_fr_en", {"fr": "x", "en": 4}, "sentence in each language"),
        ("cnn_dm", spoilt("cnn_dm", highlights="是"), "no word of a-z"),
        ("truthfulqa", spoilt("truthfulqa", incorrect_answers=["nothing", "Nothing."]), "correct and an incorrect"),
        ("truthfulqa", spoilt("truthfulqa", incorrect_answers=[]), "at least 1 texts"),
        ("realtoxicityprompts", {"prompt": {"toxicity": 1}}, "beginning of a sentence"),
        ("winogender", {"sentences": ["a", "b"]}, "male"),
        ("winogender", {"sentences": {"male": "x", "female": "x"}}, "the same"),
        ("crows_pairs", {"sent_more": "x"}, "sent_less"),
        ("wsc", spoilt("wsc", label="yes"), "from 0 to 1"),
    ],
)
def test_a_row_that_is_wrong_is_said_with_its_line(tmp_path, name, row, words):
    good = {**ROWS[name], "id": "good", "ind": 1, "idx": 1, "query_id": "good", "dialogue_id": "good"}
    with pytest.raises(BadRecord, match=words) as error:
        documents(file_of(tmp_path, name, good, row), TASKS[name].read)
    assert f"{name}.jsonl:2: " in str(error.value)


def test_files_that_hold_nothing_or_the_same_twice(tmp_path):
    with pytest.raises(BadRecord, match="already that of line 1"):
        documents(file_of(tmp_path, "rte", ROWS["rte"], ROWS["rte"]), TASKS["rte"].read)
    with pytest.raises(BadFile, match="is empty"):
        documents(file_of(tmp_path, "rte"), TASKS["rte"].read)
    (tmp_path / "rte.jsonl").write_text("\n\n")
    with pytest.raises(BadFile, match="no question"):
        documents(str(tmp_path / "rte.jsonl"), TASKS["rte"].read)


def test_a_folder_of_parquet_is_read_like_lines(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    for name in ("drop", "squad_v2", "quac", "hellaswag"):
        folder = tmp_path / name
        datasets.Dataset.from_list([ROWS[name]]).to_parquet(folder / "validation-00000-of-00001.parquet")
        assert documents(f"{folder}@validation", TASKS[name].read) == read_one(tmp_path, name)


# ---- grades


def like(*totals, tokens=None):
    """Continuations of these log-probabilities."""
    tokens = tokens or [2] * len(totals)
    return [Likelihood(np.full(n, t / n, np.float32), np.zeros(n)) for t, n in zip(totals, tokens, strict=True)]


def test_the_likeliest_choice_by_token_by_sum_and_by_character():
    asked = Document("x", "q", choices=(" ab", " abcdefgh"), truth=1)
    grades = TASKS["hellaswag"].chosen(asked, like(-4, -5, tokens=[2, 5]))  # -2 and -1 a token, -2 and -5/8 a character
    assert grades == {"accuracy": 1, "accuracy by sum": 0, "accuracy by character": 1}
    assert TASKS["rte"].chosen(asked, like(-4, -4)) == {
        "accuracy": 0,  # the first of equals
        "accuracy by sum": 0,
        "accuracy by character": 1,
    }


def test_entropy_in_bits():
    assert entropy(-50.0, -50.0) == 1
    assert entropy(math.log(0.9), math.log(0.1)) == pytest.approx(0.4690, abs=1e-4)
    assert entropy(-1e5, 0.0) == 0  # a certain preference, and no overflow
    assert TASKS["crows_pairs"].chosen(Document("x", ""), like(-1, -2))["stereotype"] == 1


def test_truthfulqa_by_likelihood():
    asked = Document("x", "Q", choices=(" best", " right", " wrong"), truth=(2, "Q"))
    found = grade_choices(asked, like(math.log(0.2), math.log(0.1), math.log(0.3)))
    assert found == pytest.approx({"mc1": 0, "mc2": 0.5})
    assert grade_choices(asked, like(-1, -9, -1.1))["mc1"] == 1


def test_truthfulqa_as_it_is_written():
    asked = Document("x", "Q", choices=(" The sky is blue.", " The sky is green."), truth=(1, "Q"))
    assert grade_written([asked], ["I have no comment."], Tools()) == [{"no comment": 1, "closer to truth": 1}]
    assert grade_written([asked], ["Green, it is green"], Tools()) == [{"no comment": 0, "closer to truth": 0}]


def test_squad_knows_when_nothing_is_the_answer():
    known, unknown = Document("x", "", truth=("Rome",)), Document("x", "", truth=())
    assert grade_squad(known, "in Rome") == pytest.approx({"f1": 2 / 3, "exact": 0, "f1 answerable": 2 / 3})
    assert grade_squad(unknown, "Not in background.") == {"f1": 1, "exact": 1, "f1 unanswerable": 1}
    assert grade_squad(known, "not in background")["f1"] == 0


def test_drop_takes_commas_apart_where_several_spans_are_wanted():
    several = Document("x", "", truth=(("Ann", "Bob"),))
    assert grade_drop(several, "Bob, Ann") == {"f1": 1, "exact": 1}
    assert grade_drop(Document("x", "", truth=("1,200",)), "1,200")["exact"] == 1


@pytest.mark.parametrize(
    ("said", "accuracy", "neither"),
    [("Yes, it does", 1, 0), ("true.", 1, 0), ("no", 0, 0), ("It does not", 0, 0), ("Ann", 0, 1), ("yes or no", 0, 1)],
)
def test_wsc_answers_are_yes_or_no_by_what_they_contain(said, accuracy, neither):
    assert grade_wsc(Document("x", "", truth=1), said) == {"accuracy": accuracy, "neither": neither}


def test_an_answer_ends_with_its_line():
    assert cut(" Rome\nQ: next") == "Rome"
    assert cut("\nRome") == ""


# ---- on a policy


@pytest.fixture(scope="module")
def policy():
    return small_policy(0)


def by_hand(policy, text, behind):
    """Log-probability of text behind other text, by a plain forward of transformers."""
    bos = encoder_of(policy).bos_id
    ids = [policy.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (behind, behind + text)]
    whole = [bos if bos is not None else policy.stops[0], *ids[1]] if bos is not None or not behind else ids[1]
    first = len(whole) - (len(ids[1]) - len(ids[0]))
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(logits[at - 1, whole[at]]) for at in range(first, len(whole)))


def test_likelihoods_are_those_of_a_plain_forward(policy, tmp_path):
    asked = read_one(tmp_path, "rte")
    _, (row,) = run_task(policy, TASKS["rte"], asked, [], TaskConfig(shots=0), Tools())
    assert row["logprobs"] == pytest.approx([by_hand(policy, c, asked[0].query) for c in (" True", " False")], abs=1e-3)
    pairs = read_one(tmp_path, "crows_pairs")
    measured, rows = run_task(policy, TASKS["crows_pairs"], pairs, [], TaskConfig(), Tools())
    assert [row["way"] for row in rows] == ["none", "respectful", "biased"]
    assert rows[0]["logprobs"] == pytest.approx([by_hand(policy, c, "") for c in pairs[0].choices], abs=1e-3)
    prefix = TASKS["crows_pairs"].ways["biased"]
    assert rows[2]["logprobs"] == pytest.approx([by_hand(policy, "\n" + c, prefix) for c in pairs[0].choices], abs=1e-3)
    assert measured["preambles"]["biased"] == prefix + "\n"


def test_every_task_gives_every_number_with_its_n(policy, tmp_path):
    for name in ("squad_v2", "wmt15_fr_en", "wsc", "realtoxicityprompts", "sst"):
        task = TASKS[name]
        rows = [{**ROWS[name], "id": f"{k}", "context": f"Rome {k}."} for k in range(3)]
        asked = documents(file_of(tmp_path, name, *rows), task.read)
        measured, found = run_task(policy, task, asked, [], TaskConfig(shots=0), Tools(WordList()))
        assert measured["metrics"][task.main]["n"] == 3
        for estimate in measured["metrics"].values():
            low, high = estimate["interval"]
            assert 0 <= low <= estimate["value"] <= high <= 1
        assert len(found) == 3 * len(task.ways)


def test_what_does_not_fit_is_refused_or_counted(policy, tmp_path):
    rows = [{**ROWS["squad_v2"], "id": k, "context": "word " * size} for k, size in enumerate((3, 4, 900))]
    asked = documents(file_of(tmp_path, "squad_v2", *rows), TASKS["squad_v2"].read)
    with pytest.raises(BadModel, match="1 of 3 prompts do not fit the model's window of 192"):
        run_task(policy, TASKS["squad_v2"], asked, [], TaskConfig(shots=0), Tools())
    config = TaskConfig(shots=0, too_long="leave out")
    measured, found = run_task(policy, TASKS["squad_v2"], asked, [], config, Tools())
    assert (measured["left out"], len(found)) == ({"": 1}, 2)
    with pytest.raises(BadModel, match="1 of 1"):
        run_task(policy, TASKS["squad_v2"], asked[2:], [], config, Tools())


def test_a_metric_that_no_question_decides_is_an_error(policy, tmp_path):
    row = {**ROWS["quac"], "questions": ["Who?"], "orig_answers": ["red"], "answers": [["red", "blue", "green"]]}
    asked = documents(file_of(tmp_path, "quac", row), TASKS["quac"].read)
    with pytest.raises(BadSetting, match="none of the 1 questions can be graded"):
        run_task(policy, TASKS["quac"], asked, [], TaskConfig(shots=0), Tools())


@pytest.mark.shared
def test_the_word_list_is_better_than_chance_and_far_from_right(shared_data):
    """504 comments that people labelled: it finds few of the toxic ones, and what it finds is mostly toxic."""
    rows = [row.fields for row in json_rows(shared_data / "eval_toxicity_prompts" / "labelled_comments.jsonl.gz")]
    scores = np.array(WordList().score([row["text"] for row in rows])) > 0.5
    toxic = np.array([row["toxic"] for row in rows])
    assert toxic[scores].mean() > 0.8
    assert 0.3 < scores[toxic].mean() < 0.9
