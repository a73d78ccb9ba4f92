"""SQuADv2, QuAC and DROP: short answers about a passage, by the word F1 of each set (app. D). Questions of one passage
or dialogue are one cluster."""

from __future__ import annotations

from typing import Any

from rather.evaluate.metrics_drop import drop
from rather.evaluate.metrics_squad import HUMAN_FLOOR, human_f1, normalised, quac_f1, squad
from rather.evaluate.tasks.documents import Document, encodable, named, text, texts, words
from rather.evaluate.tasks.task import Grades, Task, one_by_one
from rather.records.lines import Row
from rather.records.words import quote

NOT_THERE = "Not in background."  # app. D's answer to a question that the passage does not answer
CANNOT = "CANNOTANSWER"  # QuAC's mark for one, which is a span of its passages


def squad_row(row: Row) -> list[Document]:
    """title, context, question, answers: a list of texts, or {"text": [...]}; empty where there is none."""
    value = row.take("answers")
    spans = value.get("text") if isinstance(value, dict) else value
    if not isinstance(spans, list) or not all(isinstance(span, str) for span in spans):
        raise row.bad(f'"answers" is {quote(value)}.', 'Expected a list of texts, or {"text": [...]}; [] for none.')
    answers = tuple(encodable(row, "answers", span) for span in spans if normalised(span))
    title = f"Title: {words(row, 'title')}\n\n" if row.has("title") else ""
    context = text(row, "context").strip()
    query = f"{title}Background: {context}\n\nQ: {words(row, 'question')}\n\nA:"
    answer = " " + (" ".join(answers[0].split()) if answers else NOT_THERE)
    return [Document(named(row, "id"), query, answer, cluster=context, truth=answers)]


def grade_squad(document: Document, said: str) -> Grades:
    if normalised(said) == normalised(NOT_THERE):
        said = ""
    exact, f1 = squad(said, document.truth)
    return {"f1": f1, "exact": exact, "f1 answerable" if document.truth else "f1 unanswerable": f1}


def quac_row(row: Row) -> list[Document]:
    """One dialogue: context, questions, orig_answers and answers, each {"texts": [...]}; wikipedia_page_title, ...

    A question is asked behind the dialogue so far, with the answers that were given in it.
    """
    questions = texts(row, "questions")
    first = _of_turns(row, "orig_answers", questions, of_lists=False)
    others = _of_turns(row, "answers", questions, of_lists=True) if row.has("answers") else [[each] for each in first]
    context = text(row, "context").replace(CANNOT, "").strip()
    names = ("wikipedia_page_title", "section_title")
    title = " - ".join(words(row, name) for name in names if row.has(name))
    page = (f"Title: {title}\n\n" if title else "") + f"Background: {context}"
    id, found = named(row, "dialogue_id", "id"), []
    for turn, (question, answer, references) in enumerate(zip(questions, first, others, strict=True)):
        page += f"\n\nQ: {' '.join(question.split())}\n\nA:"
        shown = " " + (NOT_THERE if answer == CANNOT else " ".join(answer.split()))
        found.append(Document(f"{id} {turn}", page, shown, cluster=id, truth=tuple(references)))
        page += shown
    return found


def _of_turns(row: Row, name: str, questions: list[str], of_lists: bool) -> list[Any]:
    value = row.take(name)
    held = value.get("texts") if isinstance(value, dict) else value

    def fine(one: object) -> bool:
        return isinstance(one, str) and bool(one.strip())

    def all_fine(one: object) -> bool:
        return isinstance(one, list) and bool(one) and all(map(fine, one))

    if not isinstance(held, list) or len(held) != len(questions) or not all(map(all_fine if of_lists else fine, held)):
        what = "a list of texts" if of_lists else "a text"
        raise row.bad(
            f"{quote(name)} is {quote(value)}.", f"Expected {what} for each of the {len(questions)} questions."
        )
    return held


def grade_quac(document: Document, said: str) -> Grades:
    """Nothing for a question on which people agree too little, as QuAC has it."""
    if human_f1(document.truth) < HUMAN_FLOOR:
        return {}
    if normalised(said) == normalised(NOT_THERE):
        said = CANNOT
    return {"f1": quac_f1(said, document.truth)}


def drop_row(row: Row) -> list[Document]:
    """passage, question, answer, validated_answers: each {"number", "date", "spans"}."""
    if not row.has("answer") and row.has("answers_spans"):
        raise row.bad(
            '"answers_spans" does not say which spans make one answer and which are other annotators\'.',
            'Expected "answer" and "validated_answers" as DROP was published, with number, date and spans.',
            "The hub id EleutherAI/drop has them.",
        )
    answers = [_answer(row, row.take("answer"))]
    more = row.take("validated_answers") or []
    if isinstance(more, dict):  # a table, as Parquet has lists of objects
        columns = {key: column for key, column in more.items() if isinstance(column, list)}
        length = max(map(len, columns.values()), default=0)
        if len(columns) != len(more) or any(len(column) != length for column in columns.values()):
            raise row.bad(f'"validated_answers" is {quote(more)}.', "Expected columns of the same length.")
        more = [{key: column[at] for key, column in columns.items()} for at in range(length)]
    if not isinstance(more, list):
        raise row.bad(f'"validated_answers" is {quote(more)}.', "Expected a list of answers.")
    answers += [_answer(row, each) for each in more]
    passage = text(row, "passage").strip()
    query = f"Passage: {passage}\n\nQ: {words(row, 'question')}\n\nA:"
    first = answers[0]
    shown = " " + (first if isinstance(first, str) else ", ".join(first))
    return [Document(named(row, "query_id", "id"), query, shown, cluster=passage, truth=tuple(answers))]


def _answer(row: Row, value: object) -> str | tuple[str, ...]:
    """A number, the spans, or the parts of a date: whichever is there first, as the official measure has it."""
    if isinstance(value, dict):
        number, spans, date = value.get("number"), value.get("spans"), value.get("date")
        if isinstance(number, str | int | float) and not isinstance(number, bool) and str(number).strip():
            return encodable(row, "answer", str(number).strip())
        if isinstance(spans, list) and spans and all(isinstance(span, str) and span.strip() for span in spans):
            return tuple(encodable(row, "answer", " ".join(span.split())) for span in spans)
        if isinstance(date, dict):
            parts = [str(date.get(part) or "").strip() for part in ("day", "month", "year")]
            if any(parts):
                return encodable(row, "answer", " ".join(filter(None, parts)))
    raise row.bad(
        f"an answer is {quote(value)}.", 'Expected {"number": ..., "spans": [...], "date": {...}}, one of them filled.'
    )


def grade_drop(document: Document, said: str) -> Grades:
    """Several spans are written with commas between them; a single text is held against all answers too."""
    listed = [part.strip() for part in said.split(", ") if part.strip()]
    wants_several = any(not isinstance(answer, str) and len(answer) > 1 for answer in document.truth)
    exact, f1 = drop(listed if wants_several and len(listed) > 1 else said, document.truth)
    return {"f1": f1, "exact": exact}


SQUAD = Task(
    name="squad_v2",
    about="questions about a passage, some without an answer in it",
    hub="rajpurkar/squad_v2@validation",
    hub_shots="rajpurkar/squad_v2@train",
    main="f1",
    read=squad_row,
    shots=4,
    ways={"": f"Each question is about the background before it. Where that does not say, the answer is: {NOT_THERE}"},
    written=one_by_one(grade_squad),
    max_new_tokens=50,
)
QUAC = Task(
    name="quac",
    about="a dialogue of questions about a passage",
    hub="allenai/quac@validation",
    hub_shots="allenai/quac@train",
    main="f1",
    read=quac_row,
    shots=2,
    ways={"": f"Each question is about the background before it. Where that does not say, the answer is: {NOT_THERE}"},
    written=one_by_one(grade_quac),
    max_new_tokens=80,
)
DROP = Task(
    name="drop",
    about="questions that need counting and sums over a passage",
    hub="EleutherAI/drop@validation",
    hub_shots="EleutherAI/drop@train",
    main="f1",
    read=drop_row,
    shots=4,
    ways={"": "Each question is about the passage before it. The answer is a number, a date, or words of the passage."},
    written=one_by_one(grade_drop),
    max_new_tokens=40,
)
