"""Rows of public files as rankings, comparisons and ratings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from rather.records.fields import (
    RESPONSES,
    about,
    id_of,
    make,
    messages_of,
    number,
    prompt_of,
    required,
    responses_of,
    text_of,
    the_field,
    the_prompt_field,
)
from rather.records.lines import Row
from rather.records.transcripts import turns_of
from rather.records.types import (
    OF_SAMPLES,
    Comparison,
    Message,
    PromptText,
    Ranking,
    Rating,
    Response,
    Samples,
    ranks_from_scores,
)
from rather.records.words import explain, quote

PREFERRED = {1: "a", 0: "b", 0.5: "tie"}


def ranking_row(row: Row) -> Iterator[Ranking]:
    """K responses with `ranks`, or each with its `rank` (0 or 1 is best) or `score` (higher is better)."""
    name = the_field(row, RESPONSES, "list of responses")
    written = row.fields[name]
    ours = row.has("ranks") and isinstance(written, list | tuple) and all(isinstance(one, Mapping) for one in written)
    responses, objects = responses_of(row, name, ours=ours)
    k, ranks = row.take("k"), _ranks(row, name, objects)
    if k is not None and k != len(responses):
        raise row.bad(f"k is {quote(k)} and there are {len(responses)} responses.", "Expected the same number.")
    if ours:
        row.ours = True
        for one in objects:
            make(Response, row, **{key: value for key, value in one.items() if value is not None})
    prompt = prompt_of(row, the_prompt_field(row))
    more = {key: row.take(key) for key in ("displayed",) if row.has(key)} | about(row, Ranking)
    yield make(Ranking, row, id=id_of(row), prompt=prompt, responses=responses, ranks=ranks, **more)


def samples_row(row: Row) -> Iterator[Samples]:
    """K responses, 1 or more, in no order, with what was noted of each."""
    name = the_field(row, RESPONSES, "list of responses")
    responses, objects = responses_of(row, name, fewest=1, ours=True)
    noted = {of: row.take(of) for of in OF_SAMPLES if row.has(of)}
    if noted:
        row.ours = True
        for one in objects:
            make(Response, row, **{key: value for key, value in one.items() if value is not None})
    prompt = prompt_of(row, the_prompt_field(row))
    yield make(Samples, row, id=id_of(row), prompt=prompt, responses=responses, **noted, **about(row, Samples))


def pairs_row(row: Row) -> Iterator[Comparison]:
    """Responses with a `label` for the two of them, or `pairs` of indices a, b with a label, or one label for each
    annotator. 1: a is better, 0: b is better, 0.5: neither."""
    responses, _ = responses_of(row, the_field(row, RESPONSES, "list of responses"))
    prompt, name, more = prompt_of(row, the_prompt_field(row)), id_of(row), about(row, Comparison)
    if row.has("pairs"):
        pairs = row.take("pairs")
        if not isinstance(pairs, list | tuple) or not pairs:
            raise row.bad(f"pairs is {quote(pairs)}.", "Expected a list of objects with a, b and label.")
        more.setdefault("group_id", name)
    elif len(responses) == 2:
        pairs = [{"a": 0, "b": 1} | {key: row.take(key) for key in ("label", "labels")}]
        more |= {"displayed": row.take("displayed")} if row.has("displayed") else {}
    else:
        raise row.bad(f"one label for {len(responses)} responses.", "Expected two responses, or `pairs` of indices.")
    for n, pair in enumerate(pairs):
        where = f"pairs[{n}]." if row.has("pairs") else ""
        a, b, labels = _pair(row, where, pair, len(responses))
        for labeler, label in labels:
            said = more | ({"labeler": labeler} if labeler else {})
            parts = [name, f"{a}-{b}" if row.has("pairs") else None, labeler]
            id = "/".join(part for part in parts if part)
            yield make(Comparison, row, id=id, prompt=prompt, a=responses[a], b=responses[b], preferred=label, **said)


def _pair(row: Row, where: str, pair: Any, k: int) -> tuple[int, int, list[tuple[str | None, str]]]:
    """The indices of a pair and what each annotator said of it: (labeler or None, preferred)."""
    if not isinstance(pair, Mapping):
        raise row.bad(f"{where.rstrip('.')} is {quote(pair)}.", "Expected an object with a, b and label.")
    a, b = pair.get("a"), pair.get("b")
    if type(a) is not int or type(b) is not int or not (0 <= a < k and 0 <= b < k) or a == b:
        raise row.bad(f"{where}a and b are {quote(a)} and {quote(b)}.", f"Expected two of the indices 0 to {k - 1}.")
    if pair.get("labels") is None:
        return a, b, [(None, _preferred(row, f"{where}label", pair.get("label")))]
    labels = pair["labels"]
    if not isinstance(labels, list | tuple) or not labels:
        raise row.bad(f"{where}labels is {quote(labels)}.", "Expected a list with one label for each annotator.")
    return (
        a,
        b,
        [
            (f"annotator-{n}", _preferred(row, f"{where}labels[{n - 1}]", label))
            for n, label in enumerate(labels, start=1)
        ],
    )


def _preferred(row: Row, where: str, label: Any) -> str:
    # A bool equals 1 or 0 in Python; in a file it may as well mean "the two agree", so it is asked about.
    if isinstance(label, bool) or not isinstance(label, int | float) or label not in PREFERRED:
        raise row.bad(f"{where} is {quote(label)}.", "Expected 1 (a is better), 0 (b is better) or 0.5 (neither).")
    return PREFERRED[label]


def chosen_row(row: Row, prompt: str | None) -> Iterator[Comparison]:
    """chosen and rejected, texts or messages; the prompt in its own field, or as the turns that both begin with."""
    chosen, rejected = required(row, "chosen"), required(row, "rejected")
    asked = prompt_of(row, prompt) if prompt else None
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise row.bad(
            f"chosen is {quote(chosen)} and rejected is {quote(rejected)}.",
            "Expected two texts, or two lists of messages.",
        )
    if isinstance(chosen, str) and asked is not None:
        texts = text_of(row, "chosen", chosen), text_of(row, "rejected", rejected)
    else:
        turns = messages_of(row, "chosen", chosen), messages_of(row, "rejected", rejected)
        history = _history(row, *turns)
        asked = _agreed(row, asked, history)
        texts = turns[0][-1].content, turns[1][-1].content
    yield _chosen(row, asked, *texts)


def transcript_row(row: Row) -> Iterator[Comparison]:
    """chosen and rejected, each a whole dialogue with Human: and Assistant: turns."""
    turns: list[tuple[Message, ...]] = []
    for name in ("chosen", "rejected"):
        text = required(row, name)
        if not isinstance(text, str):
            raise row.bad(f"{name} is {quote(text)}.", "Expected a dialogue with Human: and Assistant: turns.")
        try:
            turns.append(turns_of(text))
        except ValidationError as error:
            raise row.bad(*explain(error, Message)) from None
        except ValueError as error:
            raise row.bad(f"{name}: {error}.", "Expected a dialogue with Human: and Assistant: turns.") from None
    history = _history(row, *turns)
    yield _chosen(row, _agreed(row, None, history), turns[0][-1].content, turns[1][-1].content)


def _history(row: Row, chosen: Sequence[Message], rejected: Sequence[Message]) -> tuple[Message, ...]:
    """The turns before the last, which both dialogues have to share: they are the prompt."""
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1].role != "assistant":
            raise row.bad(f"{name} ends with the turn of {turns[-1].role}.", "Expected the assistant's turn last.")
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if chosen[:-1] != rejected[:-1]:
        raise row.bad(
            f"chosen and rejected part at turn {shared + 1}; their last turns are {len(chosen)} and {len(rejected)}.",
            "Expected one prompt and two answers to it: the same turns up to the last.",
        )
    return tuple(chosen[:-1])


def _agreed(row: Row, asked: PromptText | None, history: tuple[Message, ...]) -> PromptText:
    """The prompt, where its own field and the first turns of the dialogues may both hold it."""
    if not history and asked is None:
        raise row.bad("chosen and rejected have one turn each and there is no prompt.", "Expected what was answered.")
    if not history or asked is None:
        return history or asked  # type: ignore[return-value]  # one of the two is there
    same = asked == history if isinstance(asked, tuple) else asked.strip() == history[-1].content.strip()
    if not same:
        raise row.bad("the prompt differs from the turns before the answers.", "Expected the same words in both.")
    return history


def _chosen(row: Row, prompt: PromptText, chosen: str, rejected: str) -> Comparison:
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if not text.strip():
            raise row.bad(f"the answer in {name} is empty.", "Expected a response that says something.")
    if chosen == rejected:
        raise row.bad("chosen and rejected are the same answer.", "Expected two: nothing can be learnt from one.")
    a, b = (
        make(Response, row, text=text, **_of_side(row, side))
        for side, text in (("chosen", chosen), ("rejected", rejected))
    )
    more = about(row, Comparison) | ({"displayed": row.take("displayed")} if row.has("displayed") else {})
    return make(Comparison, row, id=id_of(row), prompt=prompt, a=a, b=b, preferred="a", **more)


def _of_side(row: Row, side: str) -> dict[str, Any]:
    """What the row says of one of the two: score_chosen, model_chosen, finished_chosen."""
    return {f: row.take(f"{f}_{side}") for f in ("model", "score", "finished") if row.has(f"{f}_{side}")}


def comparison_row(row: Row) -> Iterator[Comparison]:
    """Our own: a, b, preferred."""
    yield make(Comparison, row, **_whole(row))


def rating_row(row: Row) -> Iterator[Rating]:
    """Our own: a response with likert, flags or both."""
    yield make(Rating, row, **_whole(row))


def _whole(row: Row) -> dict[str, Any]:
    row.used.update(row.fields)
    return {name: value for name, value in row.fields.items() if value is not None} | {"id": id_of(row)}


def _ranks(row: Row, name: str, objects: list[Mapping[str, Any]]) -> Sequence[Any]:
    """The order of the responses: from `ranks`, from each one's `rank`, from `scores` or from each one's `score`."""
    for many, one in (("ranks", "rank"), ("scores", "score")):
        if row.has(many):
            values, where = row.take(many), many
            if not isinstance(values, list | tuple):
                raise row.bad(f"{many} is {quote(values)}.", f"Expected a list, one {one} for each response.")
        elif any(fields.get(one) is not None for fields in objects):
            values, where = [fields.get(one) for fields in objects], f"{name}.{one}"
        else:
            continue
        if len(values) != len(objects):
            raise row.bad(
                f"{len(values)} {many} for {len(objects)} responses.", f"Expected one {one} for each response."
            )
        if one == "score":
            return ranks_from_scores([number(row, f"{where}[{n}]", value) for n, value in enumerate(values)])
        return _from_one([_whole_rank(row, f"{where}[{n}]", value) for n, value in enumerate(values)])
    raise row.bad("the responses have no order.", "Expected `ranks`, or a rank or a score for each response.")


def _whole_rank(row: Row, where: str, value: Any) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != int(value if abs(value) < 2**31 else 0)
    ):
        raise row.bad(
            f"{where} is {quote(value)}.", "Expected a whole number; 1 is best (or 0, for the whole ranking)."
        )
    return int(value)


def _from_one(ranks: list[int]) -> list[int]:
    """Files count from 0 or from 1; records count from 1, as the paper does."""
    return [rank + 1 for rank in ranks] if min(ranks) == 0 else ranks
