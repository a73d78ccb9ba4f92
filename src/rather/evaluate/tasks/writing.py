"""Translation (WMT15), summaries (CNN/DM, TL;DR) and WSC's free answers (app. D)."""

from __future__ import annotations

import re
from collections.abc import Callable

from rather.evaluate import metrics_bleu as bleu
from rather.evaluate.metrics_rouge import rouge
from rather.evaluate.metrics_rouge import words as rouge_words
from rather.evaluate.tasks.documents import Document, encodable, index, named, text, words
from rather.evaluate.tasks.task import Counts, Grades, Task, one_by_one
from rather.records.lines import Row
from rather.records.words import quote

YES, NO = re.compile(r"\b(yes|true)\b"), re.compile(r"\b(no|false|not)\b")


def wmt_row(row: Row) -> list[Document]:
    """translation: {"fr", "en"}; or fr and en."""
    value = row.take("translation")
    pair = value if isinstance(value, dict) else {"fr": row.take("fr"), "en": row.take("en")}
    for name in ("fr", "en"):
        if not isinstance(pair.get(name), str) or not pair[name].strip():
            raise row.bad(f"{quote(name)} is {quote(pair.get(name))}.", "Expected a sentence in each language.")
        encodable(row, name, pair[name])
    french, english = (" ".join(pair[name].split()) for name in ("fr", "en"))
    return [Document(named(row, "id"), f"French: {french}\nEnglish:", f" {english}", truth=english)]


def grade_translation(document: Document, said: str) -> Grades:
    return {"sentence bleu": bleu.sentence_bleu(said, [document.truth])}


def count_translation(document: Document, said: str) -> Counts:
    return {"bleu": bleu.counts(said, [document.truth]).tolist()}


def _summary_of(*texts: str) -> Callable[[Row, str], list[Document]]:
    def document(row: Row, page: str) -> list[Document]:
        summary = words(row, *texts)
        if not rouge_words(summary):
            raise row.bad(
                f"the summary {quote(summary)} has no word of a-z or 0-9.", "Expected one that ROUGE can read."
            )
        return [Document(named(row, "id"), f"{page}\n\nTL;DR:", f" {summary}", truth=summary)]

    return document


def cnn_row(row: Row) -> list[Document]:
    """article, highlights."""
    return _summary_of("highlights", "summary")(row, text(row, "article").strip())


def tldr_row(row: Row) -> list[Document]:
    """post or content (with title), and summary; or prompt, which ends in "TL;DR:" or not, and completion or label."""
    if row.has("prompt"):
        page = text(row, "prompt").strip().removesuffix("TL;DR:").strip()
    else:
        title = f"Title: {words(row, 'title')}\n\n" if row.has("title") else ""
        page = title + text(row, "post", "content").strip()
    return _summary_of("summary", "completion", "label")(row, page)


def grade_summary(document: Document, said: str) -> Grades:
    return rouge(said, document.truth)


def wsc_row(row: Row) -> list[Document]:
    """text, span1_text, span2_text (the pronoun), label (1: they are the same)."""
    passage, noun, pronoun = words(row, "text"), words(row, "span1_text"), words(row, "span2_text")
    query = f'Passage: {passage}\nQuestion: Does "{pronoun}" in the passage stand for "{noun}"? Yes or no?\nAnswer:'
    gold = index(row, 2, "label")
    return [Document(named(row, "id", "idx"), query, (" no", " yes")[gold], truth=gold)]


def grade_wsc(document: Document, said: str) -> Grades:
    """The answer is free, and is yes or no by the words it contains; one that is neither, or both, is wrong."""
    line = said.lower()
    yes, no = bool(YES.search(line)), bool(NO.search(line))
    return {"accuracy": float(yes != no and yes == bool(document.truth)), "neither": float(yes == no)}


WMT = Task(
    name="wmt15_fr_en",
    about="translation from French",
    hub="wmt/wmt15:fr-en@test",
    hub_shots="wmt/wmt15:fr-en@validation",
    main="bleu",
    read=wmt_row,
    shots=15,
    ways={"": "Translate from French into English."},
    written=one_by_one(grade_translation),
    counted=count_translation,
    corpus={"bleu": bleu.of_counts},
    max_new_tokens=100,
)
CNN = Task(
    name="cnn_dm",
    about="summaries of news",
    hub="abisee/cnn_dailymail:3.0.0@test",
    hub_shots="abisee/cnn_dailymail:3.0.0@train",
    main="rouge-l",
    read=cnn_row,
    shots=15,
    written=one_by_one(grade_summary),
    max_new_tokens=128,
)
TLDR = Task(
    name="tldr",
    about="summaries of posts",
    hub="trl-lib/tldr@test",
    hub_shots="trl-lib/tldr@train",
    main="rouge-l",
    read=tldr_row,
    shots=15,
    written=one_by_one(grade_summary),
    max_new_tokens=64,
)
WSC = Task(
    name="wsc",
    about="what a pronoun stands for, answered freely",
    hub="aps/super_glue:wsc.fixed@validation",
    hub_shots="aps/super_glue:wsc.fixed@train",
    main="accuracy",
    read=wsc_row,
    shots=15,
    written=one_by_one(grade_wsc),
    max_new_tokens=10,
)
