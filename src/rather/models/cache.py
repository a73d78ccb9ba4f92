"""Keys and values for sampling, under a model's own forward: caches that transformers' models fill and read.

Prompts go through packed rows and tree attention, and `RowStates` keeps what their layers computed. From there a
prompt is copied into as many slots of a `SlotCache` as it has samples, and one decoding step takes every slot one
token further, each at its own position. Slots are static: nothing is concatenated, shapes repeat.

Attention over slots is two batched products and a softmax, over slices as long as the slots in them. On a CPU the
fused kernel is no match for them with one query a head: over 64 slots of 160 keys, 8 heads of 32, it took 3 to 5 ms a
layer on one thread, and these 1 to 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Cache, PreTrainedModel

from rather.batches.packing import ROW_STEP, SEGMENT_STEP, Row, Segment, round_up
from rather.batches.trees import Tokens
from rather.models.attention import NAME as TREE
from rather.models.attention import Layout, reading
from rather.models.logprobs import attends_elsewhere, hidden_states
from rather.models.tokenizers import quiet

NAME = "rather_slots"
LENGTH_STEP = 32  # slices over the cache are rounded up to this many keys, so that the shapes of the products repeat
# On the CPU this was tried on, a row of a float32 product has the same bits in every product of four rows or more, and
# others in one of fewer. With at least eight, a sample does not depend on how many others are sampled beside it.
LEAST_ROWS = 8
GROUP = 16  # slots that are read together, as far as the longest of them reaches


@dataclass(frozen=True)
class Prefix:
    """What the layers computed for one prompt: per layer, keys and values (H_kv, P, d)."""

    states: list[tuple[Tensor, Tensor]]
    length: int


class RowStates(Cache):
    """Keeps the keys and values of one packed row, and changes nothing."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.states: list[tuple[Tensor, Tensor]] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        assert layer_idx == len(self.states), "layers are computed in their order, each once"
        self.states.append((key_states[0], value_states[0]))  # (H_kv, T, d)
        return key_states, value_states

    def prefixes(self, row: Row) -> list[Prefix]:
        return [
            Prefix([(k[:, at : at + length], v[:, at : at + length]) for k, v in self.states], length)
            for at, length, *_ in row.segments
        ]


class SlotCache(Cache):
    """Keys and values of S sequences, each in a slot of its own. `step` is the decoding step that goes on."""

    def __init__(self, slots: int, length: int) -> None:
        super().__init__(layers=[])
        self.slots, self.length = slots, length
        self.keys: list[Tensor] = []  # per layer (S, H_kv, length, d)
        self.values: list[Tensor] = []
        self.step: Step | None = None

    def fill(self, slot: int, prefix: Prefix) -> None:
        """Begin a slot with a prompt. What another sequence left behind it is hidden by the mask."""
        if not self.keys:
            for key, value in prefix.states:  # zeros, not empty: what is hidden has to be finite
                self.keys.append(key.new_zeros(self.slots, len(key), self.length, key.shape[-1]))
                self.values.append(value.new_zeros(self.slots, len(value), self.length, value.shape[-1]))
        for layer, (key, value) in enumerate(prefix.states):
            self.keys[layer][slot, :, : prefix.length] = key
            self.values[layer][slot, :, : prefix.length] = value

    def keep(self, slots: Sequence[int], length: int) -> None:
        """Move these slots to the front, as many tokens of each as are asked for."""
        index = torch.tensor(slots, device=self.keys[0].device)
        for states in (*self.keys, *self.values):
            states[: len(slots), :, :length] = states[index, :, :length]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """One more token for each of the step's n slots: (n, H_kv, 1, d) -> (n, H_kv, live, d)."""
        assert self.step is not None, "a slot cache is updated within `decode`"
        step, keys, values = self.step, self.keys[layer_idx], self.values[layer_idx]
        keys[step.index, :, step.positions] = key_states[:, :, 0]  # (n, H_kv, d)
        values[step.index, :, step.positions] = value_states[:, :, 0]
        return keys[: len(step.index), :, : step.live], values[: len(step.index), :, : step.live]


class Step:
    """What the attention of every layer needs to know of one decoding step.

    places: where the new token of each of the n slots stands; it sees itself and everything before it
    positions: (n,) int64, the same as a tensor
    groups: (first slot, slot after the last, keys to be read) of slots that are read together
    """

    def __init__(self, places: Sequence[int], device: torch.device) -> None:
        self.positions = torch.tensor(places, device=device)
        self.index = torch.arange(len(places), device=device)
        self.live = round_up(max(places) + 1, LENGTH_STEP)
        self.groups = [
            (at, min(at + GROUP, len(places)), round_up(max(places[at : at + GROUP]) + 1, LENGTH_STEP))
            for at in range(0, len(places), GROUP)
        ]
        self._masks: dict[Any, Tensor] = {}

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """(n, 1, live) to be added to scores: 0 where a key is seen, -inf where not."""
        key = (window, dtype)
        if key not in self._masks:
            distance = self.positions[:, None] - torch.arange(self.live, device=self.positions.device)
            hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
            mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
            self._masks[key] = mask[:, None]
        return self._masks[key]


_step: ContextVar[Step | None] = ContextVar("step", default=None)


def slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """query (n, H, 1, d), key and value (n, H_kv, live, d) -> (n, 1, H, d). A key head is read once for its queries."""
    step = _step.get()
    assert step is not None, "slot attention was called outside `decode`"
    n, heads, _, size = query.shape
    kv_heads, live = key.shape[1:3]
    query = (query * (size**-0.5 if scaling is None else scaling)).view(n, kv_heads, heads // kv_heads, size)
    mask = step.mask(None if sliding_window is None or sliding_window >= live else sliding_window, query.dtype)
    found = []
    for start, end, read in step.groups:
        # Slots and heads are one dimension of a view, so the products read the cache where it lies.
        slots = slice(start, end)
        k, v = (states[slots, :, :read].flatten(0, 1) for states in (key, value))  # (slots * H_kv, read, d)
        scores = _scores(query[slots].flatten(0, 1), k)  # (slots * H_kv, group, read)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        scores = scores.view(end - start, heads, read) + mask[slots, :, :read]
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype)
        found.append(torch.bmm(weights.view(len(k), -1, read), v).view(end - start, 1, heads, -1))
    return torch.cat(found), None


AttentionInterface.register(NAME, slot_attention)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """query (n, group, d), key (n, read, d) -> (n, group, read)"""
    if query.shape[1] == 1 and key.dtype == torch.bfloat16:
        # Keys from the left: on a CPU the product with one bfloat16 row from the left first copies all keys.
        return torch.bmm(key, query.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(query, key.transpose(1, 2))


@contextmanager
def attending(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Within this context attention is what is registered under this name, nothing is dropped and nothing learned."""
    config: Any = model.config.get_text_config()
    before = config._attn_implementation
    training = [module for module in model.modules() if module.training]
    try:
        config._attn_implementation = name
        for module in training:
            module.training = False
        # Not inference mode: rotary tables that a model computes anew here must still do for training.
        with torch.no_grad():
            yield
    finally:
        config._attn_implementation = before
        for module in training:
            module.training = True


def read_prompts(model: PreTrainedModel, prompts: Sequence[Tokens]) -> tuple[list[Prefix], Tensor]:
    """All prompts in one packed forward. Returns their states and (n, V) the logits that follow each."""
    row = prompt_row(prompts).to(_device(model))
    last = [segment.start + segment.length - 1 for segment in row.segments]
    last += last[-1:] * (LEAST_ROWS - len(last))
    cache = RowStates()
    with attending(model, TREE), reading(Layout(row)):
        out = model(
            input_ids=row.tokens,
            position_ids=row.positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=torch.tensor(last, device=row.tokens.device),
        )
    return cache.prefixes(row), out.logits[0, : len(prompts)]


def decode(model: PreTrainedModel, cache: SlotCache, tokens: Sequence[int], places: Sequence[int]) -> Tensor:
    """One step of the first n slots: each takes its token at its place. Returns (n, V) the logits that follow."""
    device = _device(model)
    cache.step = Step(places, device)
    outer = _step.set(cache.step)
    try:
        with attending(model, NAME):
            out = model(
                input_ids=torch.tensor(tokens, device=device)[:, None],
                position_ids=cache.step.positions[:, None],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
    finally:
        _step.reset(outer)
        cache.step = None
    logits: Tensor = out.logits[:, 0]
    return logits


def prompt_row(prompts: Sequence[Tokens]) -> Row:
    """Prompts one after another, each seeing itself alone; rounded up as `rather.batches.packing` rounds rows."""
    lengths = [len(prompt) for prompt in prompts]
    starts = np.cumsum([0, *lengths])
    end = max(start + round_up(length, SEGMENT_STEP) for start, length in zip(starts[:-1], lengths, strict=True))
    filler = round_up(int(end), ROW_STEP) - int(starts[-1])
    # The filler repeats a token of a prompt: transformers warns about rows that end in a pad, and 0 may be one.
    tokens = np.concatenate([*prompts, np.repeat(prompts[-1][-1:], filler)])
    positions = np.concatenate([*map(np.arange, lengths), np.zeros(filler)])
    tree = np.concatenate([np.repeat(np.arange(len(prompts)), lengths), np.full(filler, -1)])
    none = torch.zeros(0, dtype=torch.int64)
    return Row(
        tokens=torch.from_numpy(tokens.astype(np.int64))[None],
        positions=torch.from_numpy(positions.astype(np.int64))[None],
        tree=torch.from_numpy(tree.astype(np.int32)),
        branch=torch.full((len(tree),), -1, dtype=torch.int32),
        start=none,
        length=none,
        prompt_last=none,
        tree_of=none,
        response_of=none,
        segments=tuple(Segment(int(at), length, int(at), 0) for at, length in zip(starts[:-1], lengths, strict=True)),
    )


def check_attention(model: PreTrainedModel) -> None:
    """Refuse a model whose layers attend another way than through the interface. The model stays as it was."""
    config: Any = model.config.get_text_config()
    if config._attn_implementation == TREE:
        return  # `use_trees` has seen to it
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}  # outer ones first
    before = [(each, each._attn_implementation) for each in configs.values()]
    layout = Layout(prompt_row([np.zeros(2, np.int32)]).to(_device(model)))
    why = ""
    try:
        with quiet(), attending(model, config._attn_implementation):  # transformers logs what is said here in words
            model.set_attn_implementation(TREE)
            hidden_states(model, layout.row, layout)
    except (ValueError, ImportError, NotImplementedError) as refused:
        why = str(refused).splitlines()[0]
    finally:
        for each, name in before:
            each._attn_implementation = name
    if not why and layout.calls != config.num_hidden_layers:
        why = f"{layout.calls} of its {config.num_hidden_layers} layers asked for ours"
    if why:
        raise attends_elsewhere(config.model_type, "sampled from here", why)


def _device(model: PreTrainedModel) -> torch.device:
    return next(model.parameters()).device
