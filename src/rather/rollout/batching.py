"""Continuous batching: S sequences decoded side by side, and a slot that is done begins the next one at once.

Prompts are read ahead, packed into rows, once for all their samples; a slot then begins with a copy of what the layers
computed for its prompt. A step takes every live slot one token further.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rather.batches.packing import round_up
from rather.batches.trees import Tokens
from rather.models.cache import LEAST_ROWS, Prefix, read_prompts
from rather.models.slots import GROUP, SlotCache, decode, may_share
from rather.rollout.drawing import draw, uniforms
from rather.rollout.types import Sample, Sampling, Token

READ_AHEAD = 1024  # tokens of prompts that are read in one forward, and kept until their samples have begun


class Request:
    """One response to be sampled, and what has come of it."""

    def __init__(self, prompt: int, sample: int, tokens: Tokens, seed: int) -> None:
        self.prompt, self.k, self.prompt_tokens, self.seed = prompt, sample, tokens, seed
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.uniforms = np.zeros(0)  # drawn when it begins
        self.prefix: Prefix | None = None  # once it has begun
        self.last = self.finished = False

    @property
    def place(self) -> int:
        """Where the last token stands: the cache holds everything before it."""
        return len(self.prompt_tokens) + len(self.tokens) - 1

    def sample(self) -> Sample:
        tokens, logprobs = np.array(self.tokens, np.int32), np.array(self.logprobs, np.float32)
        return Sample(self.prompt, self.k, self.seed, tokens, logprobs, self.finished)


@dataclass
class _Read:
    """A prompt that has been read: its states, the logits that follow it, and samples of it that have not begun."""

    prefix: Prefix
    logits: Tensor  # (V,)
    waiting: deque[Request]


Events = list[tuple[Request, Token]]


class Batch:
    """All requests of one call, on their way."""

    def __init__(
        self,
        model: PreTrainedModel,
        requests: Sequence[Request],
        sampling: Sampling,
        stops: Sequence[int],
        never: Sequence[int],
    ) -> None:
        self.model, self.sampling, self.stops = model, sampling, frozenset(stops)
        self.device = next(model.parameters()).device
        self.never = torch.tensor(list(never), dtype=torch.int64, device=self.device)
        by_prompt: dict[int, deque[Request]] = {}
        for request in requests:
            by_prompt.setdefault(request.prompt, deque()).append(request)
        # The longest first: slots that live at one time are then about equally long, and the slice over them short.
        self.unread = deque(sorted(by_prompt.values(), key=lambda group: -len(group[0].prompt_tokens)))
        self.ready: deque[_Read] = deque()
        rows = min(_rows(len(requests)), round_up(sampling.slots, LEAST_ROWS))
        self.slots: list[Request | None] = [None] * rows
        # Samples of one prompt read its keys together. Their slots then hold what follows it, all about equally long.
        longest = max((len(request.prompt_tokens) for request in requests), default=0)
        self.shared = sampling.samples > 1 and may_share(model, longest + sampling.max_new_tokens)
        self.cache = SlotCache(rows, rows if self.shared else GROUP)

    def run(self) -> Iterator[Events]:
        """What came of each step. Between steps the model is as it was found."""
        while self.unread or self.ready or any(self.slots):
            yield self._begin() or self._step()

    def _begin(self) -> Events:
        """Give free slots to waiting requests. Their first tokens follow from what is known of their prompts."""
        free = [slot for slot, request in enumerate(self.slots) if request is None]
        free = free[: self.sampling.slots - (len(self.slots) - len(free))]  # rows beyond the asked-for slots stay idle
        begun: list[tuple[int, Request, _Read]] = []
        for slot in free:
            if not self.ready and self.unread:
                self._read()
            if not self.ready:
                break
            read = self.ready[0]
            begun.append((slot, read.waiting.popleft(), read))
            if not read.waiting:
                self.ready.popleft()
        if not begun:
            return []
        for _, request, _ in begun:
            request.uniforms = uniforms(request.seed, self.sampling.max_new_tokens)
        events = self._draw(torch.stack([read.logits for _, _, read in begun]), [r for _, r, _ in begun])
        for slot, request, read in begun:
            if not request.last:
                if self.shared:
                    request.prefix = read.prefix
                else:
                    self.cache.fill(slot, read.prefix)
                self.slots[slot] = request
        return events

    def _read(self) -> None:
        groups = [self.unread.popleft()]
        size = len(groups[0][0].prompt_tokens)
        while self.unread and size + len(self.unread[0][0].prompt_tokens) <= READ_AHEAD:
            groups.append(self.unread.popleft())
            size += len(groups[-1][0].prompt_tokens)
        prefixes, logits = read_prompts(self.model, [group[0].prompt_tokens for group in groups])
        self.ready += [_Read(*read) for read in zip(prefixes, logits, groups, strict=True)]

    def _step(self) -> Events:
        """One token for every live slot. Idle ones compute on a single token that nobody reads."""
        self._close_ranks()
        live = [(slot, request) for slot, request in enumerate(self.slots) if request is not None]
        some_token = live[0][1].tokens[-1]
        tokens = [some_token if r is None else r.tokens[-1] for r in self.slots]
        places = [0 if r is None else self._place(r) for r in self.slots]
        prefixes = None
        if self.shared:  # idle slots read along with somebody
            prefixes = [self._prefix(live[0][1] if r is None else r) for r in self.slots]
        logits = decode(self.model, self.cache, tokens, places, prefixes)
        if len(live) < len(self.slots):
            logits = logits[[slot for slot, _ in live]]
        events = self._draw(logits, [request for _, request in live])
        self.slots = [None if request is None or request.last else request for request in self.slots]
        return events

    def _prefix(self, request: Request) -> Prefix:
        assert request.prefix is not None, "it has begun"
        return request.prefix

    def _place(self, request: Request) -> int:
        """Where the request's last token stands in its slot."""
        return request.place - len(request.prompt_tokens) if self.shared else request.place

    def _draw(self, logits: Tensor, requests: Sequence[Request]) -> Events:
        """The next token of each of these requests, (n, V) -> n events."""
        uniform = torch.tensor([r.uniforms[len(r.tokens)] for r in requests], dtype=torch.float64, device=self.device)
        how = self.sampling
        drawn, logprobs = draw(logits, uniform, how.temperature, self.never, how.top_k, how.top_p)
        events = []
        for request, token, logprob in zip(requests, drawn.tolist(), logprobs.tolist(), strict=True):
            request.tokens.append(token)
            request.logprobs.append(logprob)
            request.finished = token in self.stops
            request.last = request.finished or len(request.tokens) == how.max_new_tokens
            events.append((request, Token(request.prompt, request.k, token, logprob, request.last, request.finished)))
        return events

    def _close_ranks(self) -> None:
        """When nobody waits and half of the slots are idle, go on with half as many rows."""
        live = [slot for slot, request in enumerate(self.slots) if request is not None]
        rows = _rows(len(live))
        if self.ready or self.unread or rows >= len(self.slots):
            return
        requests = [self.slots[slot] for slot in live]
        self.cache.keep(live, rows, max(self._place(request) for request in requests if request is not None) + 1)
        self.slots = requests + [None] * (rows - len(live))


def _rows(slots: int) -> int:
    """Few shapes: 8, 16, 32, ... rows."""
    rows = LEAST_ROWS
    while rows < slots:
        rows *= 2
    return rows
