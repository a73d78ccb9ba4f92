"""The shapes that files of prompts, demonstrations and preferences have, and how a row shows which one it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rather.errors import BadSetting, nearest
from rather.records.demonstrations import demonstration_row, instances_row, messages_row, prompt_row, text_row
from rather.records.fields import PROMPT, RESPONSE, RESPONSES
from rather.records.lines import Row
from rather.records.preferences import (
    chosen_row,
    comparison_row,
    pairs_row,
    ranking_row,
    rating_row,
    samples_row,
    transcript_row,
)
from rather.records.transcripts import is_transcript
from rather.records.types import OF_SAMPLES, Comparison, Demonstration, Prompt, Ranking, Rating, Record, Samples, Text
from rather.records.words import listed, quote


@dataclass(frozen=True)
class Shape:
    """One way of writing one kind of record as a row. `words` finishes the sentence "read as ..."."""

    name: str
    words: str
    kind: type[Record]
    read: Callable[[Row], Iterator[Record]]


FIXED = {
    shape.name: shape
    for shape in (
        Shape("text", "plain text", Text, text_row),
        Shape("messages", "conversations: the last turn of `messages` is the response", Demonstration, messages_row),
        Shape("instances", "instructions with several inputs and outputs each", Demonstration, instances_row),
        Shape("rankings", "rankings: responses with ranks or scores", Ranking, ranking_row),
        Shape("samples", "samples: responses in no order", Samples, samples_row),
        Shape("pairs", "pairs: responses with a label for the better of two", Comparison, pairs_row),
        Shape(
            "hh",
            "Anthropic HH transcripts: chosen/rejected with Human:/Assistant: turns",
            Comparison,
            transcript_row,
        ),
        Shape(
            "chosen/rejected",
            "conversations chosen/rejected: the turns they share are the prompt",
            Comparison,
            partial(chosen_row, prompt=None),
        ),
        Shape("comparison", "comparisons: a, b, preferred", Comparison, comparison_row),
        Shape("rating", "ratings: a response with likert or flags", Rating, rating_row),
    )
}
EACH_TURN = Shape(
    "messages",
    "conversations: each turn of the assistant is a response",
    Demonstration,
    partial(messages_row, turns="each"),
)
# For people; the names of fields may be mixed: instruction/response, question/chosen/rejected.
KNOWN = (
    "prompt",
    "prompt/response",
    "prompt/completion",
    "instruction/output",
    "question/answer",
    "prompt/chosen/rejected",
    *FIXED,
)


def shape_named(name: str) -> Shape:
    """The shape of a name: one of KNOWN, or put together from the names of its fields: `question/response`."""
    if name in FIXED:
        return FIXED[name]
    prompt, _, rest = name.partition("/")
    if prompt in PROMPT and rest == "chosen/rejected":
        return Shape(
            name, f"{prompt} with chosen and rejected responses", Comparison, partial(chosen_row, prompt=prompt)
        )
    if prompt in PROMPT and rest in RESPONSE:
        read = partial(demonstration_row, prompt=prompt, response=rest)
        return Shape(name, f"demonstrations: {prompt} with {rest}", Demonstration, read)
    if prompt in PROMPT and not rest and name != "messages":
        return Shape(
            name, "prompts" if name == "prompt" else f"prompts: {name}", Prompt, partial(prompt_row, prompt=prompt)
        )
    raise BadSetting(f"There is no shape {quote(name)}.{nearest(name, KNOWN)}", f"Shapes: {', '.join(KNOWN)}.")


class Unclear(Exception):
    """A row that shows no shape, or more than one."""

    def __init__(self, found: str, do: str = "") -> None:
        self.found, self.do = found, do
        super().__init__(found)


def shape_of(fields: Mapping[str, Any]) -> Shape:
    """The shape a row shows, the most telling fields first. Raises Unclear."""
    has = {name for name, value in fields.items() if value is not None}
    if {"a", "b", "preferred"} <= has:
        return FIXED["comparison"]
    if "chosen" in has or "rejected" in has:
        return _shape_of_choice(fields, has)
    if len(has & set(RESPONSES)) == 1:
        return _shape_of_many(fields, has)
    if has & {"likert", "flags"} or isinstance(fields.get("response"), Mapping):
        return FIXED["rating"]
    if {"instruction", "instances"} <= has:
        return FIXED["instances"]
    return _shape_of_one(fields, has)


def _shape_of_choice(fields: Mapping[str, Any], has: set[str]) -> Shape:
    for missing in {"chosen", "rejected"} - has:
        raise Unclear(f"there is no {missing!r}.{nearest(missing, has)}")
    sides = fields["chosen"], fields["rejected"]
    texts = all(isinstance(side, str) for side in sides)
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        if not isinstance(side, str) and not (
            isinstance(side, list | tuple) and all(isinstance(m, Mapping) for m in side)
        ):
            raise Unclear(
                f"{name} is {quote(side)}, expected text or a list of messages.", "Give each pair its own row."
            )
    if texts and all(is_transcript(side) for side in sides):
        return FIXED["hh"]
    prompts = [name for name in PROMPT if name in has]
    if len(prompts) > 1 and "messages" in prompts:
        prompts.remove("messages")  # a formatted copy of chosen, as in UltraFeedback
    if len(prompts) > 1:
        raise Unclear(*_several(prompts, [f"{name}/chosen/rejected" for name in prompts]))
    if texts and not prompts:
        raise Unclear("chosen and rejected are texts without Human: and Assistant: turns, and there is no prompt.")
    return shape_named(f"{prompts[0]}/chosen/rejected") if prompts else FIXED["chosen/rejected"]


def _shape_of_many(fields: Mapping[str, Any], has: set[str]) -> Shape:
    name = next(name for name in RESPONSES if name in has)
    many = fields[name]
    if not isinstance(many, list | tuple):
        raise Unclear(f"{name} is {quote(many)}, expected a list of responses.", "Only the prompts:  --shape prompt")
    inside = {key for one in many if isinstance(one, Mapping) for key, value in one.items() if value is not None}
    if has & {"ranks", "scores"} or "rank" in inside:
        return FIXED["rankings"]
    if has & set(OF_SAMPLES):
        return FIXED["samples"]  # a reward model may have scored them: that is no labeler's order
    if "pairs" in has or (has & {"label", "labels"} and len(many) == 2):
        return FIXED["pairs"]  # before the scores: what people said of the two outranks what a model said of each
    if "score" in inside:
        return FIXED["rankings"]
    if has & {"label", "labels"}:
        return FIXED["pairs"]
    near = nearest("score", inside - {"text"}) or nearest("ranks", has) or nearest("pairs", has)
    if inside & {"model", "finished"} and not near:
        return FIXED["samples"]
    raise Unclear(
        f"{name} have no order: no rank, score, ranks, scores, pairs or label.{near}",
        "Without one, or only the prompts:  --shape samples or --shape prompt",
    )


def _shape_of_one(fields: Mapping[str, Any], has: set[str]) -> Shape:
    prompts, responses = [n for n in PROMPT if n in has], [n for n in RESPONSE if n in has]
    messages = fields.get("messages")
    if isinstance(messages, list | tuple) and not responses and prompts in (["messages"], ["prompt", "messages"]):
        return FIXED["messages"]  # UltraChat repeats the first turn in `prompt`
    for name in prompts:
        if isinstance(fields[name], Mapping):
            raise Unclear(f"{name} is {quote(fields[name])}.", "Give each prompt with its responses a row of its own.")
    if len(prompts) > 1 or len(responses) > 1:
        names = [f"{p}/{r}" for p in prompts for r in responses] or prompts
        raise Unclear(*_several(prompts if len(prompts) > 1 else responses, names))
    if prompts and responses:
        return shape_named(f"{prompts[0]}/{responses[0]}")
    if prompts and "text" not in has:
        return shape_named(prompts[0])
    if "text" in has and not prompts and not responses:
        return FIXED["text"]
    if prompts:
        raise Unclear(*_several([prompts[0], "text"], [prompts[0], "text"]))
    known = {*PROMPT, *RESPONSE, *RESPONSES, "chosen", "rejected", "text", "instances", "preferred"}
    near = next((near for name in has if (near := nearest(name, known))), "")
    raise Unclear(f"no shape fits this row.{near}")


def _several(names: list[str], shapes: list[str]) -> tuple[str, str]:
    return (
        f"{listed(names)} are all there, and each could be the one.",
        f"Say which:  --shape {' or --shape '.join(shapes[:3])}",
    )
