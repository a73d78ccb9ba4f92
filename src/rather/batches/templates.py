"""From a prompt and a response to text: a chat template, or a separator where there is none.

Both kinds write a prompt once and then only ever append to it: what generation reads is, character for character, what
training reads before the response. A chat template is held to that by a probe when it is loaded and again on every row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from rather.errors import BadModel
from rather.records.types import Message

# Put into text where a message spells a control token ("</s>" becomes "<", BREAK, "/s>"); the encoder tokenises the two
# sides apart. A Unicode noncharacter: no text in exchange may hold it, and no template trims or matches it.
BREAK = "\ufdd0"

OTHER = "Choose another template, and look at it with:  rather preview FILE --model MODEL --template NAME"
# What a template is asked with when it is loaded.
QUESTION, PROBE = "A question to look for.", "An answer to look for."


class PlainText:
    """No template: prompt, separator, response.

    The spaces that end the separator open the response, because in a BPE vocabulary a space belongs to the word after
    it: a prompt that ends in a space makes the model continue with tokens it never saw in that place.
    """

    name = "no template"

    def __init__(self, tokenizer: Any, separator: str) -> None:
        if tokenizer.eos_token_id is None:
            raise _no_eos()
        self.eos_id: int = tokenizer.eos_token_id
        self.notes: tuple[str, ...] = ()
        self.before_eos = ""
        self._closing = separator.rstrip(" ")
        self._opening = separator[len(self._closing) :]
        self._control = special_tokens(tokenizer)

    def prompt(self, prompt: str | Sequence[Message]) -> str:
        if not isinstance(prompt, str):
            if len(prompt) > 1 or prompt[0].role != "user":
                raise BadModel(
                    f"The prompt is a conversation ({', '.join(m.role for m in prompt)}), and without a chat template "
                    "there is no way to write it as text.",
                    "A conversation needs a template that says where each turn begins and ends.",
                    OTHER,
                )
            prompt = prompt[0].content
        return broken(prompt, self._control) + self._closing

    def response(self, prompt: str | Sequence[Message], written: str, response: str) -> str:
        return self._opening + broken(response, self._control)


class ChatTemplate:
    """A jinja chat template, and what it was found to do.

    eos_id: the token that ends the assistant's turn. It is what a response is trained to end in and what a sampler
        stops at; it need not be the tokenizer's EOS (`<end_of_turn>`, `<|eot_id|>`, `<|im_end|>` often are not).
    before_eos: what stands between the last word and EOS: mostly nothing, in Llama 2's template a space
    """

    def __init__(self, tokenizer: Any, source: str, name: str) -> None:
        self.name = name
        self._tokenizer, self._source = tokenizer, source
        # Some tokenizers do not mark their turn markers as special (DeepSeek's `<|User|>`), so in what people say every
        # added token that the template writes is a marker. The assistant may write those (`<think>`, `<tool_call>`).
        self._of_people = _pattern(
            t for t, special in _added(tokenizer) if special or (t in source and not t.isspace())
        )
        self._of_assistant = special_tokens(tokenizer)

        notes = []
        written = self.prompt(QUESTION)
        turn = self._turn(QUESTION, written, PROBE)
        if QUESTION not in written or PROBE not in turn:
            raise BadModel(
                f"{name} leaves out what was said: it writes {written[-80:]!r}, then {turn[:80]!r}.",
                "Expected a template that writes user and assistant turns.",
                OTHER,
            )
        self._tail = turn[turn.rindex(PROBE) + len(PROBE) :]
        end = self._end_of_turn()
        if end:
            self.before_eos = self._tail[: end.start()]
            self.eos_id = int(tokenizer.convert_tokens_to_ids(end[0]))
            if self.eos_id != tokenizer.eos_token_id:
                notes.append(
                    f"{name} ends a turn with {end[0]!r}, and the tokenizer's EOS is {tokenizer.eos_token!r}: "
                    f"responses end in {end[0]!r}"
                )
        elif tokenizer.eos_token_id is None:
            raise _no_eos()
        else:
            self.before_eos = ""
            self.eos_id = int(tokenizer.eos_token_id)
            notes.append(
                f"{name} does not end the assistant's turn with a token of its own: {tokenizer.eos_token!r} is added"
            )
        if opening := turn[: turn.rindex(PROBE)].strip():
            notes.append(f"{name} opens every answer with {opening!r}, and that is trained")
        if "strftime_now" in source:
            notes.append(f"{name} writes today's date: tomorrow the same records give other tokens")
        self.notes = tuple(notes)

    def prompt(self, prompt: str | Sequence[Message]) -> str:
        return self._render(self._messages(prompt), add_generation_prompt=True)

    def response(self, prompt: str | Sequence[Message], written: str, response: str) -> str:
        """What the template writes after `written` (the prompt) up to where EOS belongs."""
        turn = self._turn(prompt, written, response)
        if not turn.endswith(self._tail):
            raise BadModel(
                f"{self.name} ends this answer with {turn[-20:]!r}, and another with {self._tail[-20:]!r}.",
                "The end of a turn must not depend on what was said.",
                OTHER,
            )
        return turn.removesuffix(self._tail)

    def _turn(self, prompt: str | Sequence[Message], written: str, response: str) -> str:
        messages = [*self._messages(prompt), {"role": "assistant", "content": broken(response, self._of_assistant)}]
        both = self._render(messages, add_generation_prompt=False)
        if not both.startswith(written):
            raise self._not_monotone(written, both)
        return both[len(written) :]

    def _end_of_turn(self) -> re.Match[str] | None:
        """The first marker after the answer; the tokenizer's EOS if only markers stand before it (Command R7B)."""
        ends = list(self._of_people.finditer(self._tail)) if self._of_people else []
        for end in ends:
            markers_only = sum(len(e[0]) for e in ends if e.end() <= end.start()) == end.start() - ends[0].start()
            if end[0] == self._tokenizer.eos_token and markers_only:
                return end
        return ends[0] if ends else None

    def _messages(self, prompt: str | Sequence[Message]) -> list[dict[str, str]]:
        if isinstance(prompt, str):
            return [{"role": "user", "content": broken(prompt, self._of_people)}]
        return [
            {
                "role": m.role,
                "content": broken(m.content, self._of_assistant if m.role == "assistant" else self._of_people),
            }
            for m in prompt
        ]

    def _render(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages,
                chat_template=self._source,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        except Exception as error:  # a template is foreign code: whatever it raises is said about it
            roles = ", ".join(message["role"] for message in messages)
            raise BadModel(
                f"{self.name} refuses a conversation of {roles}: {error}",
                "Expected a template that writes user and assistant turns.",
                OTHER,
            ) from error
        return text

    def _not_monotone(self, written: str, both: str) -> BadModel:
        generating, training = (self._tokenizer.tokenize(text.replace(BREAK, "")) for text in (written, both))
        place = next((i for i, (a, b) in enumerate(zip(generating, training, strict=False)) if a != b), len(training))
        found = [repr(tokens[place]) if place < len(tokens) else "nothing" for tokens in (generating, training)]
        return BadModel(
            f"{self.name} changes the prompt when an answer follows: "
            f"its token {place + 1} is {found[0]} when generating and {found[1]} in training.",
            "Expected a prompt that an answer only adds to, so that sampling asks for what training taught.",
            OTHER,
        )


def _no_eos() -> BadModel:
    return BadModel(
        "The tokenizer has no EOS token, so nothing can mark the end of a response.",
        "Expected eos_token in tokenizer_config.json, or the name of one of its tokens.",
        "eos_token=TOKEN   (rather preview: --eos-token TOKEN)",
    )


def _added(tokenizer: Any) -> list[tuple[str, bool]]:
    """Every token that is matched in text before the vocabulary's own rules: its text, and whether it is special."""
    named = set(tokenizer.all_special_tokens)
    return [(str(t.content), bool(t.special) or t.content in named) for t in tokenizer.added_tokens_decoder.values()]


def special_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    return _pattern(token for token, special in _added(tokenizer) if special)


def _pattern(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """Longest first, so that a token takes precedence over those inside it. One-character tokens cannot be broken."""
    known = sorted({token for token in tokens if len(token) > 1}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, known))) if known else None


def broken(text: str, control: re.Pattern[str] | None) -> str:
    """Text with every control token it spells broken after its first character; other text comes back as it is."""
    text = text.replace(BREAK, "\N{REPLACEMENT CHARACTER}")
    while control and control.search(text):  # again, because what is left of a token may spell a shorter one
        text = control.sub(lambda spelt: spelt[0][0] + BREAK + spelt[0][1:], text)
    return text
