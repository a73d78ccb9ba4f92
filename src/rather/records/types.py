"""What people hand in: prompts, demonstrations, rankings, comparisons, ratings; and the samples they are shown.

People and programs (simulated labelers, judges, files) hand in the same records, so no stage knows which it was.
All are frozen; an unknown field is refused; `rather.records.read` turns what is wrong into words with file and line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    field_validator,
    model_validator,
)


def _number_as_name(value: Any) -> Any:
    # Public files number their rows; the number is the name. A bool is an int to Python, not to anybody else.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("empty text: nothing was said")
    return text


def _encodable(text: str) -> str:
    # Half of a surrogate pair ("\\ud83d" alone) is legal JSON and legal Python, but no tokenizer and no file takes it.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a character (lone surrogate) at position {error.start}") from None
    return text


Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Whole = Annotated[int, Strict()]
Plain = Annotated[str, Strict(), AfterValidator(_encodable)]
Name = Annotated[Plain, BeforeValidator(_number_as_name)]
Id = Annotated[Name, Field(min_length=1)]


class Record(BaseModel):
    """Frozen, and every field is one we know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Plain


# Plain text, or the turns so far. The tags only choose which of the two an error speaks about.
PromptText: TypeAlias = Annotated[
    Annotated[Plain, Tag("(text)")] | Annotated[tuple[Message, ...], Tag("(messages)")],
    Discriminator(lambda prompt: "(text)" if isinstance(prompt, str) else "(messages)"),
]


def spoken(prompt: str | Sequence[Message]) -> str:
    """A prompt as one text to be shown, hashed or sent; the turns of a conversation each on a line."""
    return prompt if isinstance(prompt, str) else "\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def _prompt(prompt: str | tuple[Message, ...]) -> str | tuple[Message, ...]:
    if isinstance(prompt, str):
        return _said(prompt)
    if not prompt:
        raise ValueError("no messages: a prompt has at least one")
    if prompt[-1].role == "assistant":
        raise ValueError("the prompt ends with the assistant's turn: the last message is the one to be answered")
    if not any(message.content.strip() for message in prompt):
        raise ValueError("empty text: no message of the prompt says anything")
    return prompt


class _Asked(Record):
    """The fields every record has."""

    id: Id
    prompt: PromptText
    category: Name | None = None  # use case: generation, open QA, brainstorming, ... (table 1)
    source: Name | None = None  # where it came from, for licences and for a look at the mix
    split: Name | None = None  # train, validation, test: by user, so that nobody's prompts are in two (sec. 3.2)

    @field_validator("prompt")
    @classmethod
    def _prompt_says_something(cls, prompt: str | tuple[Message, ...]) -> str | tuple[Message, ...]:
        return _prompt(prompt)


class _Judged(_Asked):
    """The fields of everything a labeler hands in."""

    labeler: Name | None = None
    guideline: Name | None = None  # the version of the instructions the labeler had before them


class Prompt(_Asked):
    """Something a person asked."""

    user: Name | None = None


class Demonstration(_Judged):
    """A prompt with the answer a labeler wrote (step 1)."""

    response: Plain

    @field_validator("response")
    @classmethod
    def _response_says_something(cls, response: str) -> str:
        return _said(response)


class Response(Record):
    """One answer, cut at the stop token. A model may answer nothing; a text of nobody's says something.

    finished: False means that it never stopped: it was cut off by the length limit.
    model: who wrote it, hidden from labelers.     score: what the file, or a reward model, said of it.
    """

    text: Plain
    finished: Annotated[bool, Strict()] = True
    model: Name | None = None
    score: Number | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Response:
        if self.model is None:
            _said(self.text)
        return self


class Samples(_Asked):
    """What models said to a prompt: K responses that nobody has put in order. Ranking tasks are made of these.

    Where they are known, one for each response: lengths in tokens and logprobs (sums), stop token included; the seeds
    it was drawn with; utilities and flags, where a world knows what it is worth and what is wrong with it.
    """

    responses: tuple[Response, ...] = Field(min_length=1)
    user: Name | None = None
    lengths: tuple[Whole, ...] | None = None
    logprobs: tuple[Number, ...] | None = None
    seeds: tuple[Whole, ...] | None = None
    utilities: tuple[Number, ...] | None = None
    flags: tuple[dict[str, Annotated[bool, Strict()]], ...] | None = None

    @model_validator(mode="after")
    def _one_for_each(self) -> Samples:
        for name in OF_SAMPLES:
            values = getattr(self, name)
            if values is not None and len(values) != len(self.responses):
                raise ValueError(f"{len(values)} {name} for {len(self.responses)} responses: expected one for each")
        return self


OF_SAMPLES = ("lengths", "logprobs", "seeds", "utilities", "flags")


class Ranking(_Judged):
    """K responses to one prompt in one labeler's order (step 2).

    ranks: 1 is best, equal ranks are ties. Dense (1, 2, 2, 3) and competition (1, 2, 2, 4) ranks are read; both are
        kept as dense. Anything else has a hole, and a hole means that a response went missing on the way.
    displayed: the order in which the labeler saw the responses, as indices into `responses`.
    """

    responses: tuple[Response, ...] = Field(min_length=2)
    ranks: tuple[Whole, ...]
    displayed: tuple[Whole, ...] | None = None
    group: Name | None = None  # the task it came from: rankings of several labelers share it

    @field_validator("ranks")
    @classmethod
    def _ranks_are_dense(cls, ranks: tuple[int, ...]) -> tuple[int, ...]:
        return dense_ranks(ranks)

    @model_validator(mode="after")
    def _fits(self) -> Ranking:
        k = len(self.responses)
        if len(self.ranks) != k:
            raise ValueError(f"{len(self.ranks)} ranks for {k} responses: each response has one rank")
        if self.displayed is not None and sorted(self.displayed) != list(range(k)):
            raise ValueError(f"displayed is {_shown(self.displayed)}: the order is each of 0 to {k - 1} once")
        return self


class Comparison(_Judged):
    """Which of two responses a labeler prefers.

    displayed: which one stood first.     group_id: keeps the pairs of one ranking together.
    margin: how much better the preferred one is, where the labeler said.
    """

    a: Response
    b: Response
    preferred: Literal["a", "b", "tie"]
    displayed: Literal["ab", "ba"] | None = None
    group_id: Id | None = None
    margin: Number | None = None


class Rating(_Judged):
    """A labeler's grade of one response: overall quality from 1 to 7, and yes/no questions (table 3)."""

    response: Response
    likert: Annotated[int, Strict(), Field(ge=1, le=7)] | None = None
    flags: dict[str, Annotated[bool, Strict()]] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Rating:
        if self.likert is None and not self.flags:
            raise ValueError("neither likert nor flags: a rating says at least one thing")
        return self


class Text(Record):
    """Plain text for pretraining and its mix (PPO-ptx)."""

    id: Id
    text: Plain
    category: Name | None = None
    source: Name | None = None
    split: Name | None = None

    @field_validator("text")
    @classmethod
    def _text_says_something(cls, text: str) -> str:
        return _said(text)


def _shown(numbers: Sequence[int]) -> str:
    """As in an error: `[1, 3]`, and of many or long ones only the beginning."""
    short = [str(number) if number.bit_length() < 64 else "..." for number in numbers[:9]]
    return f"[{', '.join(short)}{', ...' if len(numbers) > 9 else ''}]"


def dense_ranks(ranks: Sequence[int]) -> tuple[int, ...]:
    """(1, 2, 2, 4) and (1, 2, 2, 3) are the same weak order; it is kept as (1, 2, 2, 3)."""
    order = sorted(set(ranks))
    if order and order[0] != 1:
        raise ValueError(f"ranks {_shown(ranks)} do not begin at 1, which is the best")
    dense = {rank: place for place, rank in enumerate(order, start=1)}
    competition = {rank: 1 + sum(other < rank for other in ranks) for rank in order}
    if any(rank != dense[rank] for rank in order) and any(rank != competition[rank] for rank in order):
        raise ValueError(
            f"ranks {_shown(ranks)} have a gap: 1 is best, ties are equal, as in [1, 2, 2, 3] or [1, 2, 2, 4]"
        )
    return tuple(dense[rank] for rank in ranks)


def ranks_from_scores(scores: Sequence[float]) -> tuple[int, ...]:
    """Dense ranks of scores where higher is better: equal scores are ties."""
    assert all(math.isfinite(score) for score in scores), f"scores {list(scores)} are not all finite"
    order = sorted(set(scores), reverse=True)
    return tuple(order.index(score) + 1 for score in scores)
