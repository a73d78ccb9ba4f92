"""Attention over packed trees, for any transformers model whose attention goes through `AttentionInterface`.

A response sees its prompt and itself, a prompt sees itself, nobody sees another tree. Three ways to compute it:

    blocks   CPU: one small matrix product per segment, forward and backward written out, nothing padded but the
             segment to a multiple of 32. The fused kernels lose here: bf16 SDPA's backward takes two to four times
             as long as these products, and FlexAttention has no backward on CPU at all.
    flex     CUDA: FlexAttention with the tree as its mask.
    dense    anywhere: one (T, T) mask and SDPA. Slow and plain; what the other two are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from rather.batches.packing import SEGMENT_STEP, Row, Segment, round_up
from rather.errors import BadModel

NAME = "rather_tree"
# Queries of one block. Longer segments are cut into several, each seeing only the keys before its end.
QUERY_BLOCK = 256


@dataclass(frozen=True)
class Block:
    """Queries of one segment with all the keys that they may see.

    Ranges are (first token, tokens read). What is read beyond the segment belongs to a neighbour: the mask hides it.
    """

    query: tuple[int, int]
    real: int  # queries that are ours; the rest of the range is a neighbour's and is written by nobody
    keys: tuple[tuple[int, int], ...]  # the prompt's range (branches only), then the segment's own
    prompt: int  # keys of the prompt range that are real
    before: int  # tokens of the segment before this block's first query

    def hidden(self, window: int | None) -> Tensor:
        """(queries, keys) True where a key must not be seen."""
        own = torch.arange(self.keys[-1][1])
        query = torch.arange(self.query[1])[:, None] + self.before
        hidden = own > query
        distance = query - own
        if len(self.keys) == 2:
            prompt = torch.arange(self.keys[0][1])
            hidden = torch.cat([(prompt >= self.prompt).expand(len(query), -1), hidden], 1)
            distance = torch.cat([query + self.prompt - prompt, distance], 1)
        return hidden if window is None else hidden | (distance >= window)


def blocks_of(segment: Segment) -> Iterator[Block]:
    for before in range(0, segment.length, QUERY_BLOCK):
        real = min(QUERY_BLOCK, segment.length - before)
        read = round_up(real, SEGMENT_STEP)
        own = (segment.start, before + read)
        prompt = (segment.prompt_start, round_up(segment.prompt_length, SEGMENT_STEP))
        keys = (prompt, own) if segment.prompt_length else (own,)
        yield Block((segment.start + before, read), real, keys, segment.prompt_length, before)


class Layout:
    """What the attention of every layer needs to know of a row, worked out once."""

    def __init__(self, row: Row, way: str | None = None) -> None:
        self.row = row
        self.blocks = [block for segment in row.segments for block in blocks_of(segment)]
        self.way = way or ("blocks" if row.tokens.device.type == "cpu" else _cuda_way())
        self.longest = max((s.prompt_length + s.length for s in row.segments), default=0)
        self.calls = 0  # layers that have read this layout: a model whose attention goes elsewhere leaves it at 0
        self._masks: dict[Any, Any] = {}

    def block_masks(self, window: int | None, dtype: torch.dtype) -> list[Tensor]:
        """One additive (queries, keys) mask per block. Blocks of one shape share theirs."""
        key = ("blocks", window, dtype)
        if key not in self._masks:
            seen: dict[tuple, Tensor] = {}
            for block in self.blocks:
                shape = _shape(block)
                if shape not in seen:
                    mask = torch.zeros(block.query[1], sum(length for _, length in block.keys), dtype=dtype)
                    seen[shape] = mask.masked_fill_(block.hidden(window), torch.finfo(dtype).min)
            self._masks[key] = [seen[_shape(block)] for block in self.blocks]
        return self._masks[key]

    def visible(self, window: int | None) -> Any:
        """A mask function in FlexAttention's form: may query token q see key token k?"""
        tree, branch, positions = self.row.tree, self.row.branch, self.row.positions[0]

        def visible(batch: Any, head: Any, q: Any, k: Any) -> Any:
            allowed = (tree[q] == tree[k]) & (q >= k) & ((branch[k] == -1) | (branch[k] == branch[q]))
            if window is not None:
                allowed = allowed & (positions[q] - positions[k] < window)
            return allowed

        return visible

    def dense_mask(self, window: int | None) -> Tensor:
        """(T, T) True where a key may be seen. Filler sees filler, so that no softmax runs over nothing."""
        key = ("dense", window)
        if key not in self._masks:
            index = torch.arange(self.row.tokens.shape[1], device=self.row.tokens.device)
            self._masks[key] = self.visible(window)(None, None, index[:, None], index[None, :])
        return self._masks[key]

    def flex_mask(self, window: int | None) -> Any:
        from torch.nn.attention.flex_attention import create_block_mask  # late: costs an import of the compiler

        key = ("flex", window)
        if key not in self._masks:
            tokens = self.row.tokens
            self._masks[key] = create_block_mask(
                self.visible(window), None, None, tokens.shape[1], tokens.shape[1], device=str(tokens.device)
            )
        return self._masks[key]


def _shape(block: Block) -> tuple:
    return (block.query[1], block.real, tuple(length for _, length in block.keys), block.prompt, block.before)


def _cuda_way() -> str:
    try:
        import torch.nn.attention.flex_attention  # noqa: F401 - late: absent from CPU-only and older builds
    except ImportError:
        return "dense"
    return "flex"


_layout: ContextVar[Layout | None] = ContextVar("layout", default=None)


@contextmanager
def reading(layout: Layout) -> Iterator[Layout]:
    """Within this context, `rather_tree` attention reads this layout."""
    token = _layout.set(layout)
    try:
        yield layout
    finally:
        _layout.reset(token)


def tree_attention(
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
    """The function registered with transformers. query (1, H, T, d), key and value (1, H_kv, T, d) -> (1, T, H, d)."""
    layout = _layout.get()
    assert layout is not None, "tree attention was called outside `reading(layout)`"
    strange = [name for name in ("s_aux", "position_bias", "head_mask", "alibi") if other.get(name) is not None]
    if strange:
        raise BadModel(
            f"{type(module).__name__} attends with {', '.join(strange)}, which tree attention does not compute.",
            "Expected attention of queries, keys and values with an optional window and softcap.",
        )
    if dropout:
        raise BadModel(
            f"{type(module).__name__} has attention dropout {dropout}.",
            "Trees are computed without it; residual dropout is what the paper uses (sec. 3.5).",
            "Set it with rather.models.dropout.set_dropout.",
        )
    layout.calls += 1
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = sliding_window
    if window is not None and window >= layout.longest:
        window = None  # nobody is that far away
    if layout.way == "blocks":
        return _Blocks.apply(query, key, value, layout, scaling, softcap, window), None
    if layout.way == "flex":
        return _flex(query, key, value, layout, scaling, softcap, window), None
    return _dense(query, key, value, layout, scaling, softcap, window), None


AttentionInterface.register(NAME, tree_attention)


def _dense(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float, softcap: float | None, window: int | None
) -> Tensor:
    visible = layout.dense_mask(window)
    if softcap is None:
        out = F.scaled_dot_product_attention(query, key, value, visible, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2)
    groups = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scaling  # (1, H, T, T)
    scores = torch.tanh(scores / softcap) * softcap
    weights = scores.float().masked_fill(~visible, float("-inf")).softmax(-1).to(query.dtype)
    return (weights @ value.repeat_interleave(groups, 1)).transpose(1, 2)


def _flex(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float, softcap: float | None, window: int | None
) -> Tensor:
    cap = softcap or 1.0

    def capped(score: Tensor, batch: Any, head: Any, q: Any, k: Any) -> Tensor:
        return torch.tanh(score / cap) * cap

    out = _flex_kernel(query.is_cuda)(
        query,
        key,
        value,
        score_mod=capped if softcap is not None else None,
        block_mask=layout.flex_mask(window),
        scale=scaling,
        enable_gqa=True,
    )
    return out.transpose(1, 2)


@cache
def _flex_kernel(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention  # late: costs an import of the compiler

    return torch.compile(flex_attention, dynamic=True) if compiled else flex_attention


class _Blocks(torch.autograd.Function):
    """softmax(Q K^T scaling + mask) V block by block; the weights are kept for the backward in the model's dtype.

    With P the weights and O = P V the output:  dP = dO V^T,  dS = P * (dP - sum(dO * O)),  dQ = dS K,  dK = dS^T Q,
    dV = P^T dO. Rows of P that belong to a neighbour are set to zero, so they give nothing to any of these.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Layout,
        scaling: float,
        softcap: float | None,
        window: int | None,
    ) -> Tensor:
        assert query.shape[0] == 1, "a row is a batch of one"
        heads, total, size = query.shape[1:]
        kv_heads = key.shape[1]
        query = query[0] * scaling  # (H, T, d); the scaling is folded in here once
        query, key, value = query.contiguous(), key[0].contiguous(), value[0].contiguous()
        masks = layout.block_masks(window, query.dtype)
        out = query.new_zeros(total, heads, size)
        learning = any(ctx.needs_input_grad[:3])
        weights, caps = [], []
        for block, mask in zip(layout.blocks, masks, strict=True):
            (at, read), real = block.query, block.real
            q = query[:, at : at + read].reshape(kv_heads, -1, size)  # (H_kv, group * queries, d)
            k, v = _read(key, block), _read(value, block)  # (H_kv, keys, d)
            scores = torch.bmm(q, k.transpose(1, 2))
            if softcap is not None:
                scores = torch.tanh_(scores.div_(softcap))
                caps += [scores] * learning
                scores = scores * softcap
            scores = scores.view(heads, read, -1).add_(mask)
            p = torch.softmax(scores, -1)
            p[:, real:] = 0
            o = torch.bmm(p.view(kv_heads, -1, p.shape[-1]), v).view(heads, read, size)
            out[at : at + real] = o[:, :real].transpose(0, 1)
            weights += [p] * learning
        ctx.save_for_backward(query, key, value, out, *weights, *caps)
        ctx.layout, ctx.scaling, ctx.softcap = layout, scaling, softcap
        return out[None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        query, key, value, out, *kept = ctx.saved_tensors
        weights, caps = kept[: len(ctx.layout.blocks)], kept[len(ctx.layout.blocks) :]
        heads, _, size = query.shape
        kv_heads = key.shape[0]
        grad = grad[0]  # (T, H, d)
        delta = (grad.float() * out.float()).sum(-1).to(grad.dtype).t().contiguous()  # (H, T)
        grad = grad.transpose(0, 1).contiguous()  # (H, T, d)
        dq, dk, dv = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for index, (block, p) in enumerate(zip(ctx.layout.blocks, weights, strict=True)):
            (at, read), real = block.query, block.real
            q = query[:, at : at + read].reshape(kv_heads, -1, size)
            k, v = _read(key, block), _read(value, block)
            g = grad[:, at : at + read].reshape(kv_heads, -1, size)
            p_kv = p.view(kv_heads, -1, p.shape[-1])  # (H_kv, group * queries, keys)
            ds = torch.bmm(g, v.transpose(1, 2)).view_as(p)
            ds.sub_(delta[:, at : at + read, None]).mul_(p)
            if caps:
                ds = ds.view_as(caps[index]) * (1 - caps[index].square())
            ds = ds.view_as(p_kv)
            dq[:, at : at + real] = torch.bmm(ds, k).view(heads, read, size)[:, :real]
            _add(dk, block, torch.bmm(ds.transpose(1, 2), q))
            _add(dv, block, torch.bmm(p_kv.transpose(1, 2), g))
        return dq.mul_(ctx.scaling)[None], dk[None], dv[None], None, None, None, None


def _read(tensor: Tensor, block: Block) -> Tensor:
    parts = [tensor[:, at : at + length] for at, length in block.keys]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _add(total: Tensor, block: Block, part: Tensor) -> None:
    done = 0
    for at, length in block.keys:
        total[:, at : at + length] += part[:, done : done + length]
        done += length
