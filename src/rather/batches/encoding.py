"""From records to trees: what is one token, what is trained, what is too long.

The rules, each with a test in tests/batches/test_encoding.py (docs/encoding.md says why):
- the template is applied once; a prompt begins with exactly one BOS where the tokenizer uses one
- a finished response ends in exactly one EOS, an unfinished one has none; what a template writes after EOS is dropped
- the prompt's ids are those of the prompt alone, as generation encodes it; the response's ids are what the joint text
  has more, and where a token would straddle the border the response is tokenised apart
- a control token that a message spells out is text
- a row that is too long is dropped and counted, never cut
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from rather.batches.encoding_report import EncodingReport, Tally, refuse_pointless
from rather.batches.templates import BREAK, OTHER, ChatTemplate, PlainText, broken, special_tokens
from rather.batches.tokenising import CONTEXT, Ids, ids_behind
from rather.batches.trees import Tokens, Tree
from rather.errors import BadModel, BadRecord, BadSetting
from rather.records.types import Comparison, Demonstration, Message, Ranking, Rating, Record, Text

T = TypeVar("T")

CHUNK, CHARACTERS = 512, 1 << 22  # tokenised in one call: this many records, or plain texts of this many characters


@dataclass
class _Row:
    """A record on its way: texts first, ids later."""

    key: str
    prompt: str | Sequence[Message]
    responses: list[tuple[str, bool]]  # text, finished
    judged: bool = False  # a model's answers, as people compared them
    prompt_text: str = ""
    response_texts: list[str] = field(default_factory=list)


class Encoder:
    """Writes records as token ids, one way for every stage.

    tokenizer: of `transformers`, taken as it is
    template: jinja source of a chat template, or None: prompt, separator, response
    max_prompt, max_length: tokens of a prompt, and of a prompt with its longest response; None is no limit
    name: what to call the template in messages

    eos_id: what finished responses end in, and what a sampler has to stop at
    bos_id: what prompts begin with, None where the tokenizer does not use one
    template_name: `name`, or "no template"
    notes: what the reader of a log should know about this tokenizer with this template
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str | None,
        max_prompt: int | None = None,
        max_length: int | None = None,
        separator: str = "\n",
        name: str = "The chat template",
    ) -> None:
        self.tokenizer = tokenizer
        self.max_prompt, self.max_length = max_prompt, max_length
        self._template = (
            PlainText(tokenizer, separator) if template is None else ChatTemplate(tokenizer, template, name)
        )
        self._special = special_tokens(tokenizer)
        self.eos_id = self._template.eos_id
        # A BOS that the tokenizer has but does not use (Phi-3, OLMo) was not there in pretraining either.
        opened = tokenizer("x", verbose=False)["input_ids"][:1]
        self.bos_id: int | None = tokenizer.bos_token_id if opened == [tokenizer.bos_token_id] else None
        self.notes = self._template.notes
        self.template_name = self._template.name

    def prompts(self, prompts: Iterable[str | Sequence[Message]]) -> list[Tokens]:
        """What generation starts from: the same ids that training sees before a response. None is dropped."""
        chunks = _chunks(self._template.prompt(prompt) for prompt in prompts)
        return [_tokens(ids) for chunk in chunks for ids in self._prompt_ids(chunk)]

    def encode_all(
        self, records: Iterable[Record], progress: Callable[[int], None] | None = None, strict: bool = True
    ) -> tuple[list[Tree], EncodingReport]:
        """One tree for each demonstration, ranking, comparison or text, in order; responses as the record has them.

        progress: called with the number of records done
        strict: rows in which nothing or everything would be trained stop the work; otherwise they are only counted
        """
        trees: list[Tree] = []
        tally = Tally()
        for chunk in _chunks(records):
            trees += self._chunk(chunk, tally)
            if progress:
                progress(tally.rows)
        report = tally.report(trees)
        if strict:
            refuse_pointless(report)
        return trees, report

    def answers(
        self, prompts: Sequence[str | Sequence[Message]], texts: Sequence[str], finished: Sequence[bool]
    ) -> list[Tree]:
        """One tree for each prompt with what a model said to it, however long. An answer may be its end alone."""
        rows = [
            _Row(str(at), prompt, [(text, ended)])
            for at, (prompt, text, ended) in enumerate(zip(prompts, texts, finished, strict=True))
        ]
        for row in rows:
            self._write(row)
        contexts = [row.prompt_text.rpartition(BREAK)[2][-CONTEXT:] for row in rows]
        said = ids_behind(self.tokenizer, [row.response_texts[0] for row in rows], contexts)
        asked = self._prompt_ids([row.prompt_text for row in rows])
        ends = [[self.eos_id] if ended or not ids else [] for ids, ended in zip(said, finished, strict=True)]
        return [
            Tree(_tokens(prompt), (_tokens(ids + end),), row.key)
            for row, prompt, ids, end in zip(rows, asked, said, ends, strict=True)
        ]

    def windows(self, texts: Iterable[str], length: int) -> Iterator[Tree]:
        """Plain text as one stream of tokens (BOS text EOS, BOS text EOS, ...), cut into rows of `length`.

        Each row begins with the last token of the row before it, so that every token but the very first is predicted
        exactly once. The last row is as long as what is left.
        """
        if length < 2:
            raise BadSetting(f"Windows of {length} token.", "Expected at least 2: one is read, the other predicted.")
        stream: Ids = []
        count = 0
        for chunk in _chunks(texts):
            for ids in self._text_ids(chunk):
                stream += ids
            start = 0
            while len(stream) - start >= length:
                yield _text_tree(stream[start : start + length], f"window {count}")
                start, count = start + length - 1, count + 1
            del stream[:start]
        if len(stream) > 1:
            yield _text_tree(stream, f"window {count}")

    def _chunk(self, records: Sequence[Record], tally: Tally) -> list[Tree]:
        rows = [_row(record) for record in records if not isinstance(record, Text)]
        for row in rows:
            self._write(row)
        prompts = iter(self._prompt_ids([row.prompt_text for row in rows]))
        contexts = [row.prompt_text.rpartition(BREAK)[2][-CONTEXT:] for row in rows for _ in row.responses]
        responses = iter(ids_behind(self.tokenizer, [text for row in rows for text in row.response_texts], contexts))
        texts = iter(self._text_ids([record.text for record in records if isinstance(record, Text)]))

        trees = []
        waiting = iter(rows)
        for record in records:
            if isinstance(record, Text):
                tree = self._sized(_text_tree(next(texts), record.id), tally)
            else:
                row = next(waiting)
                tree = self._tree(row, next(prompts), list(islice(responses, len(row.responses))), tally)
            if tree:
                tally.kept.append(tally.rows)
                trees.append(tree)
            tally.rows += 1
        return trees

    def _write(self, row: _Row) -> None:
        """The record as text. Everything that a template can refuse, it refuses here, with the record's name."""
        try:
            row.prompt_text = self._template.prompt(row.prompt)
            for text, finished in row.responses:
                written = self._template.response(row.prompt, row.prompt_text, text)
                row.response_texts.append(written + self._template.before_eos if finished else written)
        except BadModel as error:
            raise BadModel(f"Record {row.key!r}: {error.found}", error.expected, error.do) from error

    def _tree(self, row: _Row, prompt: Ids, responses: list[Ids], tally: Tally) -> Tree | None:
        # An answer that a model ended at once is its EOS: a reward model has to learn what that is worth. Nobody
        # demonstrates nothing, so in step 1 it is a mistake somewhere.
        if not all(ids or (row.judged and ended) for ids, (_, ended) in zip(responses, row.responses, strict=True)):
            tally.untrained.append(row.key)
            return None
        if not set(prompt) - {self.bos_id}:
            tally.untold.append(row.key)
            return None
        for ids, (_, finished) in zip(responses, row.responses, strict=True):
            if self.eos_id in ids:
                raise _eos_from_text(self.tokenizer, self.eos_id, row.key)
            if finished:
                ids.append(self.eos_id)
        tree = self._sized(Tree(_tokens(prompt), tuple(map(_tokens, responses)), row.key), tally)
        if tree:
            _notice(row, tally)
        return tree

    def _sized(self, tree: Tree, tally: Tally) -> Tree | None:
        if self.max_prompt is not None and len(tree.prompt) > self.max_prompt:
            tally.long_prompt.append(tree.key)
            return None
        if self.max_length is not None and tree.longest > self.max_length:
            tally.long_total.append(tree.key)
            return None
        return tree

    def _prompt_ids(self, texts: Sequence[str]) -> list[Ids]:
        prompts = ids_behind(self.tokenizer, texts, [None] * len(texts))
        if self.bos_id is None:
            return prompts
        for ids in prompts:
            if ids[:2] == [self.bos_id] * 2:
                raise BadModel(
                    f"{self._template.name} writes BOS {self.tokenizer.bos_token!r} twice at the start.",
                    "Expected one BOS.",
                    OTHER,
                )
        # A template that writes BOS itself has done it (perhaps after a line break); one that does not gets it here.
        return [ids if self.bos_id in ids[:4] else [self.bos_id, *ids] for ids in prompts]

    def _text_ids(self, texts: Sequence[str]) -> list[Ids]:
        """BOS, text, EOS; the tokenizer's EOS, for a text is not a turn."""
        eos_id = self.eos_id if self.tokenizer.eos_token_id is None else self.tokenizer.eos_token_id
        bos = [] if self.bos_id is None else [self.bos_id]
        encoded = ids_behind(self.tokenizer, [broken(text, self._special) for text in texts], [None] * len(texts))
        for ids in encoded:
            if eos_id in ids:
                raise _eos_from_text(self.tokenizer, eos_id, "of plain text")
        return [[*bos, *ids, eos_id] for ids in encoded]


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Pieces of work. Texts may be whole books, and tokenising takes many bytes for each character."""
    chunk: list[T] = []
    characters = 0
    for item in items:
        chunk.append(item)
        text = item.text if isinstance(item, Text) else item
        characters += len(text) if isinstance(text, str) else 0
        if len(chunk) == CHUNK or characters >= CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _row(record: Record) -> _Row:
    match record:
        case Demonstration():
            return _Row(record.id, record.prompt, [(record.response, True)])
        case Ranking():
            return _Row(record.id, record.prompt, [(r.text, r.finished) for r in record.responses], True)
        case Comparison():
            return _Row(record.id, record.prompt, [(r.text, r.finished) for r in (record.a, record.b)], True)
    kind = type(record).__name__.lower()
    name = getattr(record, "id", "?")
    reason = "ratings are for reports" if isinstance(record, Rating) else "no response follows"
    raise BadRecord(
        f"There is nothing to train on in {kind} {name!r}: {reason}.",
        "Expected demonstrations, rankings, comparisons or texts.",
    )


def _notice(row: _Row, tally: Tally) -> None:
    """Count what was kept and still deserves a look."""
    if not all(finished for _, finished in row.responses):
        tally.unfinished.append(row.key)
    if any(BREAK in text for text in (row.prompt_text, *row.response_texts)):
        tally.spelt.append(row.key)
    if any(_lost(said, text) for (said, _), text in zip(row.responses, row.response_texts, strict=True)):
        tally.shortened.append(row.key)


def _lost(said: str, written: str) -> bool:
    """True if the template dropped words of a response, not only white space."""
    if said.strip() in written:
        return False
    return "".join(said.split()) not in "".join(written.replace(BREAK, "").split())


def _eos_from_text(tokenizer: Any, eos_id: int, key: str) -> BadModel:
    token = tokenizer.convert_ids_to_tokens(eos_id)
    return BadModel(
        f"The tokenizer makes its EOS {token!r} from plain text (record {key!r}).",
        "Expected EOS only where a response ends: a model would learn to stop in the middle of a sentence.",
        f"Declare {token!r} as a special token of the tokenizer, or choose another EOS",
    )


def _text_tree(ids: Ids, key: str) -> Tree:
    return Tree(_tokens(ids[:1]), (_tokens(ids[1:]),), key)


def _tokens(ids: Ids) -> Tokens:
    return np.array(ids, dtype=np.int32)
