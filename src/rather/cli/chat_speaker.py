"""One model in a conversation: what it has heard and said, what of it fits its window, and its next answer."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from rather.batches.encoding import Encoder
from rather.batches.trees import Tokens
from rather.errors import BadSetting
from rather.models.load import Policy, load_policy, stopping_at, window_of
from rather.models.tokenizers import quiet
from rather.records import Message, Response, Samples
from rather.rollout import Sampling, tokens

LEAST = 16  # tokens that an answer has to have room for, or as many as it may have


@dataclass(frozen=True)
class Exchange:
    """What was said, and what this model answered. finished: it ended its answer itself"""

    said: str
    answer: str
    finished: bool = True


@dataclass
class Speaker:
    """forgotten: exchanges at the beginning that its window has no room for any more"""

    name: str
    policy: Policy
    encoder: Encoder
    separator: str
    system: str | None = None
    history: list[Exchange] = field(default_factory=list)
    forgotten: int = 0

    @property
    def has_turns(self) -> bool:
        """Whether a chat template says who speaks. Without one a conversation is one text."""
        return self.policy.tokenizer.chat_template is not None

    def conversation(self, said: str, forgotten: int = 0) -> str | tuple[Message, ...]:
        """What the model reads: the exchanges that it has not forgotten, and what is said now."""
        kept = self.history[forgotten:]
        if not self.has_turns:
            turns = [turn for one in kept for turn in (one.said, one.answer)]
            return self.separator.join([*([self.system] if self.system else []), *turns, said])
        messages = [Message(role="system", content=self.system)] if self.system else []
        for one in kept:
            messages += [Message(role="user", content=one.said), Message(role="assistant", content=one.answer)]
        return (*messages, Message(role="user", content=said))

    def reads(self, said: str, most: int) -> tuple[Tokens, int, int]:
        """The ids it would be asked with, how many tokens its answer may have, and how many of the oldest exchanges
        had to go for that."""
        window = window_of(self.policy.model.config)
        wanted = min(most, LEAST)
        for forgotten in range(self.forgotten, len(self.history) + 1):
            with quiet():  # transformers counts tokens as well, and says so in its own words
                (ids,) = self.encoder.prompts([self.conversation(said, forgotten)])
            room = most if window is None else min(most, window - len(ids))
            if room >= wanted:
                return ids, room, forgotten
        raise BadSetting(
            f"{self.name}: that alone has {len(ids):,} tokens, and the window of {window:,} leaves no room to answer.",
            f"Expected at least {wanted} tokens of room. Nothing was asked.",
        )

    def answer(self, said: str, sampling: Sampling, seed: int) -> Generator[str, None, None]:
        """The answer in pieces of text, as it comes. Whatever has come when it is closed or ends is in the history."""
        ids, room, self.forgotten = self.reads(said, sampling.max_new_tokens)
        sampling = sampling.model_copy(update={"max_new_tokens": room})
        drawn: list[int] = []
        shown = ""
        self.history.append(Exchange(said, "", finished=False))
        try:
            for token in tokens(self.policy, [ids], sampling, np.array([[seed]])):
                drawn += [] if token.finished else [token.token]
                text = str(self.policy.tokenizer.decode(drawn, skip_special_tokens=True))
                if not token.last:
                    text = text.rstrip("\N{REPLACEMENT CHARACTER}")  # a character may be several tokens
                self.history[-1] = Exchange(said, text, token.finished)
                if text.startswith(shown) and len(text) > len(shown):
                    yield text[len(shown) :]
                    shown = text
        finally:
            if not self.history[-1].answer and not self.history[-1].finished:
                self.history.pop()  # stopped before there was anything to remember

    def undo(self) -> bool:
        """Forget the last exchange, as if it had not been."""
        if not self.history:
            return False
        self.history.pop()
        self.forgotten = min(self.forgotten, len(self.history))
        return True

    def reset(self) -> None:
        self.history, self.forgotten = [], 0

    def record(self) -> Samples | None:
        """The conversation as a record: all but the last answer is its prompt."""
        if not self.history:
            return None
        *before, last = self.history
        messages = [Message(role="system", content=self.system)] if self.system else []
        for one in before:
            messages += [Message(role="user", content=one.said), Message(role="assistant", content=one.answer)]
        answer = Response(text=last.answer, finished=last.finished, model=self.name)
        return Samples(id=self.name, prompt=(*messages, Message(role="user", content=last.said)), responses=(answer,))


def speakers(
    names: list[str], dtype: torch.dtype, template: str | None, separator: str, system: str | None
) -> list[Speaker]:
    """A folder, a hub id, or a run, whose checkpoint is meant. Each is called by what tells it from the others."""
    found = []
    for name, called in zip(names, _called(names), strict=True):
        path = Path(name).expanduser()
        inside = path / "checkpoint"
        where = inside if inside.is_dir() and not (path / "config.json").exists() else path
        policy = load_policy(where if path.is_dir() else name, dtype=dtype, template=template)
        encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template, separator=separator)
        found.append(Speaker(called, stopping_at(policy, encoder.eos_id), encoder, separator, system))
    return found


def _called(names: list[str]) -> list[str]:
    """run/sft/checkpoint and run/ppo/checkpoint are sft and ppo; what is named twice is numbered."""
    last = []
    for name in names:
        parts = [part for part in Path(name).parts if part not in ("checkpoint", "/")]
        last.append(parts[-1] if parts else name)
    return [f"{name} {last[: at + 1].count(name)}" if last.count(name) > 1 else name for at, name in enumerate(last)]
