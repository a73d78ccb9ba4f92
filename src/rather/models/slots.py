"""Sequences decoded side by side, each in a slot: a cache under a model's own forward, and the attention over it.

A slot begins with a copy of its prompt's keys and values, or holds only what follows them; one decoding step takes
every slot one token further, each at its own position. Few shapes: lengths are rounded up.

Attention over slots is two batched products and a softmax, over as many keys as the slots have. With one query a head
which is faster depends on the CPU: over 64 slots of 160 keys, 8 heads of 32, the fused kernel took 3 to 5 ms a layer on
an AMD EPYC without AMX and these products 1 to 2; on an Intel Xeon with AMX the kernel took half as long as they.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, Cache, PreTrainedModel

from rather.batches.packing import round_up
from rather.models.cache import Prefix, attending

NAME = "rather_slots"
LENGTH_STEP = 32  # slices over the cache are rounded up to this many keys, so that the shapes of the products repeat
GROUP = 16  # slots that are read together, as far as the longest of them reaches


class Slots:
    """Keys and values of neighbouring slots, as many of each as the longest of them needs: per layer (S, H_kv, L, d).

    Room for more makes reading slow: 128 keys of 64 slots took 10.4 ms where there was room for 320, and 6.4 where
    there was not (six layers, 8 heads of 32, bfloat16, one thread). Growing copies all keys, at one step in 32.
    """

    def __init__(self, count: int) -> None:
        self.count, self.length = count, 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def fit(self, length: int, like: Prefix) -> None:
        """Room for this many keys. Zeros, not empty: what the mask hides has to be finite."""
        length = round_up(length, LENGTH_STEP)
        if self.length // 2 < length <= self.length:
            return
        kept = min(length, self.length)
        for layer, states in enumerate(like.states):
            for mine, one in zip((self.keys, self.values), states, strict=True):
                room = one.new_zeros(self.count, len(one), length, one.shape[-1])
                if layer < len(mine):
                    room[:, :, :kept] = mine[layer][:, :, :kept]
                    mine[layer] = room
                else:
                    mine.append(room)
        self.length = length


class SlotCache(Cache):
    """Keys and values of S sequences, each in a slot of its own. `step` is the decoding step that goes on.

    together: slots that are read in one operation, as far as the longest of them reaches
    """

    def __init__(self, slots: int, together: int = GROUP) -> None:
        super().__init__(layers=[])
        self.together = min(together, slots)
        self.groups = [Slots(min(together, slots - at)) for at in range(0, slots, together)]
        self.like: Prefix | None = None  # any prompt: how many layers, heads and numbers
        self.step: Step | None = None

    def fill(self, slot: int, prefix: Prefix) -> None:
        """Begin a slot with a prompt. What another sequence left behind it is hidden by the mask."""
        self.like = self.like or prefix.shape()
        group, index = self.groups[slot // self.together], slot % self.together
        group.fit(max(prefix.length + 1, group.length), prefix)
        for layer, (key, value) in enumerate(prefix.states):
            group.keys[layer][index, :, : prefix.length] = key
            group.values[layer][index, :, : prefix.length] = value

    def keep(self, slots: Sequence[int], rows: int, length: int) -> None:
        """Go on with these slots, moved to the front of `rows`, with as many tokens of each as are asked for."""
        old, before = self.groups, self.together
        self.together = min(self.together, rows)
        self.groups = [Slots(min(self.together, rows - at)) for at in range(0, rows, self.together)]
        if self.like is None:
            return  # nothing has been written: these samples have begun and made no step
        for group in self.groups:
            group.fit(length, self.like)
        for to, slot in enumerate(slots):
            source, target = old[slot // before], self.groups[to // self.together]
            kept = min(length, source.length)
            for mine, theirs in zip((*target.keys, *target.values), (*source.keys, *source.values), strict=True):
                mine[to % self.together, :, :kept] = theirs[slot % before, :, :kept]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """One more token for each of the step's n slots, (n, H_kv, 1, d). `slot_attention` finds the others itself."""
        assert self.step is not None, "a slot cache is updated within `decode`"
        self.step.write(layer_idx, key_states[:, :, 0], value_states[:, :, 0])
        self.step.written = key_states
        return key_states, value_states


class Step:
    """What the attention of every layer needs to know of one decoding step.

    places: where the new token of each of the n slots stands in its slot; it sees itself and everything before it
    prefixes: of each slot, the prompt that its own keys follow; none where slots begin with a copy of it
    """

    def __init__(
        self, cache: SlotCache, places: Sequence[int], device: torch.device, prefixes: Sequence[Prefix] | None = None
    ) -> None:
        self.cache = cache
        self.places = torch.tensor(places, device=device)
        self.positions = self.places
        if prefixes:
            self.positions = self.places + torch.tensor([prefix.length for prefix in prefixes], device=device)
            cache.like = cache.like or prefixes[0].shape()
        assert cache.like is not None, "a slot was filled"
        self.heads = len(cache.like.states[0][0])
        self.ranges = [(at, at + group.count) for at, group in self._groups()]
        self.reads = [round_up(max(places[start:end]) + 1, LENGTH_STEP) for start, end in self.ranges]
        self.rows: list[Tensor] = []  # of each group, where its new keys go among (S * H_kv * L)
        for (_, group), (start, end), read in zip(self._groups(), self.ranges, self.reads, strict=True):
            group.fit(read, cache.like)
            heads = torch.arange(group.count * self.heads, device=device) * group.length
            self.rows.append(heads + self.places[start:end].repeat_interleave(self.heads))
        self.siblings = None if prefixes is None else Siblings(prefixes, device)
        self.layer, self.written = -1, self.places
        self._masks: dict[Any, list[Tensor]] = {}

    def _groups(self) -> Iterator[tuple[int, Slots]]:
        return ((index * self.cache.together, group) for index, group in enumerate(self.cache.groups))

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """key, value: (n, H_kv, d)"""
        self.layer = layer
        for group, (start, end), rows in zip(self.cache.groups, self.ranges, self.rows, strict=True):
            for states, new in ((group.keys[layer], key), (group.values[layer], value)):
                states.view(-1, states.shape[-1]).index_copy_(0, rows, new[start:end].reshape(-1, new.shape[-1]))

    def attend(self, query: Tensor, scaling: float, window: int | None = None, softcap: float | None = None) -> Tensor:
        """(n, H, d) -> (n, H, d), over what the layer wrote last. A key head is read once for all its queries."""
        n, heads, size = query.shape
        query = query.reshape(n, self.heads, heads // self.heads, size)
        if self.siblings is not None:
            window = None  # `may_share`
        masks = self.masks(None if window is None or window >= max(self.reads) else window, query.dtype)
        parts = [
            _attend(
                query[start:end],
                group.keys[self.layer][:, :, :read],
                group.values[self.layer][:, :, :read],
                mask,
                scaling,
                softcap,
                self.siblings is not None,
            )
            for group, (start, end), read, mask in zip(self.cache.groups, self.ranges, self.reads, masks, strict=True)
        ]
        found, lse = _joined(parts)
        if self.siblings is not None:
            assert lse is not None, "it was asked for"
            shared, lse_of_shared = self.siblings.attend(self.layer, query, scaling, softcap)
            share = torch.sigmoid(lse_of_shared - lse).to(found.dtype)[..., None]
            found = torch.lerp(found, shared, share)
        return found.reshape(n, heads, size)

    def masks(self, window: int | None, dtype: torch.dtype) -> list[Tensor]:
        """Per group (slots, 1, 1, keys read) to be added to scores: 0 where a key is seen, -inf where not."""
        key = (window, dtype)
        if key not in self._masks:
            self._masks[key] = []
            for (start, end), read in zip(self.ranges, self.reads, strict=True):
                distance = self.places[start:end, None] - torch.arange(read, device=self.places.device)
                hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
                mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
                self._masks[key].append(mask.masked_fill_(hidden, float("-inf"))[:, None, None])
        return self._masks[key]


class Siblings:
    """Slots by the prompt that they answer: its keys are read once for all of them.

    The softmax over a prompt and over what follows it are two sums, put together by the logarithms of their sizes.
    """

    def __init__(self, prefixes: Sequence[Prefix], device: torch.device) -> None:
        by_prompt: dict[int, list[int]] = {}
        for slot, prefix in enumerate(prefixes):
            by_prompt.setdefault(id(prefix), []).append(slot)
        order = [slot for slots in by_prompt.values() for slot in slots]
        self.order = self.back = None
        if order != sorted(order):
            self.order = torch.tensor(order, device=device)
            self.back = torch.argsort(self.order)
        self.prompts = [(prefixes[slots[0]], len(slots)) for slots in by_prompt.values()]

    def attend(self, layer: int, query: Tensor, scaling: float, softcap: float | None) -> tuple[Tensor, Tensor]:
        """(n, H_kv, group, d) -> the same, and (n, H_kv, group) the logarithms of what was summed."""
        if self.order is not None:
            query = query[self.order]
        _, heads, group, size = query.shape
        parts, at = [], 0
        for prefix, count in self.prompts:
            key, value = prefix.states[layer]
            together = query[at : at + count].transpose(0, 1).reshape(1, heads, count * group, size)
            found, lse = _attend(together, key[None], value[None], None, scaling, softcap, True)
            assert lse is not None, "it was asked for"
            parts.append(
                (found.view(heads, count, group, -1).transpose(0, 1), lse.view(heads, count, group).transpose(0, 1))
            )
            at += count
        found, joined = _joined(parts)
        assert joined is not None, "every part has one"
        return (found, joined) if self.back is None else (found[self.back], joined[self.back])


def _joined(parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    if len(parts) == 1:
        return parts[0]
    lses = [lse for _, lse in parts if lse is not None]
    return torch.cat([found for found, _ in parts]), torch.cat(lses) if lses else None


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
    """The function registered with transformers: query (n, H, 1, d) -> (n, 1, H, d)."""
    step = _step.get()
    assert step is not None, "slot attention was called outside `decode`"
    assert step.written is key, "a layer attends over what it has just written"
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return step.attend(query[:, :, 0], scaling, sliding_window, softcap)[:, None], None


AttentionInterface.register(NAME, slot_attention)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    softcap: float | None,
    with_lse: bool,
) -> tuple[Tensor, Tensor | None]:
    """query (n, H_kv, group, d), key and value (n, H_kv, L, d), mask (n, 1, 1, L) -> (n, H_kv, group, d).

    with_lse: also the (n, H_kv, group) logarithm of the sum of exponentials of the scores, in float32
    """
    if softcap is None and query.dtype == torch.bfloat16 and _fused_is_faster(query.device):
        if with_lse:
            found, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query, key, value, attn_mask=mask, scale=scaling
            )
            return found, lse
        return F.scaled_dot_product_attention(query, key, value, mask, scale=scaling), None
    n, heads, group, _ = query.shape
    # Slots and heads are one dimension of a view, so the products read the cache where it lies.
    k, v = key.flatten(0, 1), value.flatten(0, 1)  # (n * H_kv, L, d)
    scores = _scores((query * scaling).flatten(0, 1), k).view(n, heads, group, -1)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype)
    found = torch.bmm(weights.flatten(0, 1), v).view(n, heads, group, -1)
    return found, torch.logsumexp(scores.to(torch.float32), -1) if with_lse else None


@cache
def _fused_is_faster(device: torch.device) -> bool:
    """In bfloat16 where the CPU has AMX. float32 keeps to the products: their rows do not depend on each other."""
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_tile", False))


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """query (n, group, d), key (n, L, d) -> (n, group, L)"""
    if query.shape[1] == 1 and key.dtype == torch.bfloat16:
        # Keys from the left: on a CPU the product with one bfloat16 row from the left first copies all keys.
        return torch.bmm(key, query.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(query, key.transpose(1, 2))


def decode(
    model: PreTrainedModel,
    cache: SlotCache,
    tokens: Sequence[int],
    places: Sequence[int],
    prefixes: Sequence[Prefix] | None = None,
) -> Tensor:
    """One step of all n slots: each takes its token at its place. Returns (n, V) the logits that follow.

    prefixes: the prompt of each slot, where the slots hold only what follows it; places are counted from its end
    """
    device = next(model.parameters()).device
    step = Step(cache, places, device, prefixes)
    cache.step = step
    outer = _step.set(step)
    try:
        with attending(model, NAME):
            out = model(
                input_ids=torch.tensor(tokens, device=device)[:, None],
                position_ids=step.positions[:, None],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
    finally:
        _step.reset(outer)
        cache.step = None
    logits: Tensor = out.logits[:, 0]
    return logits


def may_share(model: PreTrainedModel, length: int) -> bool:
    """Whether samples may read their prompt together.

    Not in float32: the last bits of a product depend on how few rows it has, so a sample would depend on how many
    others of its prompt live beside it. Not where some layer does not see all of so many tokens. Elsewhere than on a
    CPU it has not been measured, and a call for each prompt may cost more than it saves.
    """
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    weight = next(model.parameters())
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and (window is None or length < window)
