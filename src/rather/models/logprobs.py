"""From packed rows to log-probabilities: the one place of the shift by one, and the only place that meets V.

Logits exist only for positions that predict a response token, a few hundred at a time: no (B, T, V) tensor is ever
formed. The temperature divides the logits here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from rather.batches.packing import Row, collate, round_up
from rather.batches.trees import Tree
from rather.errors import BadModel
from rather.models.attention import NAME, Layout, reading
from rather.models.lighter import lighten

CHUNK_BYTES = 64 << 20  # of logits at a time: large enough for full-speed products, small enough for any machine
HEAD_STEP = 64  # head rows are rounded up to this many, so that the shapes of the products repeat


@dataclass(frozen=True)
class Targets:
    """The N response tokens of a row, each with the position that predicts it.

    predictor: (N,) int64, where in the row the hidden state lies that predicts the token: one before it, and for the
        first token of a response the last token of its prompt
    token: (N,) int64
    sequence: (N,) int64, which of the row's S responses it belongs to
    """

    predictor: Tensor
    token: Tensor
    sequence: Tensor


def targets(row: Row) -> Targets:
    device = row.tokens.device
    sequence = torch.repeat_interleave(torch.arange(len(row.length), device=device), row.length)  # (N,)
    first = row.length.cumsum(0) - row.length  # (S,)
    offset = torch.arange(len(sequence), device=device) - first[sequence]  # (N,) 0 at each response's first token
    at = row.start[sequence] + offset
    predictor = torch.where(offset == 0, row.prompt_last[sequence], at - 1)
    return Targets(predictor, row.tokens[0, at], sequence)


def last_tokens(row: Row) -> Tensor:
    """(S,) position of the last token of each response: where a reward model reads its score."""
    return row.start + row.length - 1


def use_trees(model: PreTrainedModel) -> None:
    """Switch a transformers model to tree attention, and refuse one whose attention goes another way.

    The proof is a forward: every layer must have asked for the row's layout. Its norms and GELUs get lighter too.
    """
    kind = getattr(model.config, "model_type", type(model).__name__)
    try:
        model.set_attn_implementation(NAME)
    except (ValueError, ImportError, NotImplementedError) as refused:
        raise attends_elsewhere(kind, "trained on trees", str(refused).splitlines()[0]) from refused
    token = 1 if model.config.get_text_config().pad_token_id == 0 else 0  # anything but padding
    first, second = np.full(3, token, np.int32), np.full(2, token, np.int32)
    layout = Layout(collate([Tree(first, (second, second))]).to(_device(model)))
    with torch.no_grad():
        hidden_states(model, layout.row, layout)
    layers = model.config.get_text_config().num_hidden_layers
    if layout.calls != layers:
        why = f"{layout.calls} of its {layers} layers asked for the tree"
        raise attends_elsewhere(kind, "trained on trees", why)
    lighten(model)


def attends_elsewhere(kind: str, wanted: str, why: str) -> BadModel:
    return BadModel(
        f"Models of type {kind!r} cannot be {wanted}: {why}.",
        "Expected a model whose attention goes through transformers' AttentionInterface in every layer, such as "
        "llama, qwen2, qwen3, mistral, gemma or gpt2.",
    )


def _device(model: PreTrainedModel) -> torch.device:
    return next(model.parameters()).device


def hidden_states(model: PreTrainedModel, row: Row, layout: Layout | None = None) -> Tensor:
    """(T, D) the body's last hidden states over one row. `model` is a causal LM or its body."""
    body = model.get_decoder() if hasattr(model, "get_decoder") else model
    with reading(layout or Layout(row)):
        out = body(input_ids=row.tokens, position_ids=row.positions, use_cache=False)
    return out.last_hidden_state[0]


@dataclass(frozen=True)
class Head:
    """The output projection of a causal LM: weight (V, D), bias (V,) or none, and the cap on its logits if any."""

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None

    @classmethod
    def of(cls, model: PreTrainedModel) -> Head:
        projection = model.get_output_embeddings()
        softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        return cls(projection.weight, getattr(projection, "bias", None), softcap)


def logprobs(hidden: Tensor, token: Tensor, head: Head, temperature: float = 1.0) -> Tensor:
    """(N,) float32 log-probability of each token under softmax(logits / temperature), differentiable.

    hidden: (N, D) states that predict     token: (N,)
    """
    return _LogProbs.apply(hidden, token, head.weight, head.bias, head.softcap, temperature, False)[0]


def logprobs_and_entropy(hidden: Tensor, token: Tensor, head: Head, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """As `logprobs`, with the (N,) entropy of the same distributions in nats; the entropy carries no gradient."""
    return _LogProbs.apply(hidden, token, head.weight, head.bias, head.softcap, temperature, True)


def weighted_nll(hidden: Tensor, token: Tensor, weight: Tensor, head: Head) -> Tensor:
    """sum(weight * -log p(token)), a scalar in float32.

    The weights are known before the forward, so the gradients are formed in it, chunk by chunk, and the logits are
    computed once instead of twice.

    weight: (N,) float32, for a mean over all tokens of a batch 1 / (number of them in all its rows)
    """
    return _WeightedNLL.apply(hidden, token, weight, head.weight, head.bias, head.softcap)


def _chunks(rows: int, vocabulary: int, element_size: int) -> list[slice]:
    most = max(HEAD_STEP, CHUNK_BYTES // (vocabulary * element_size) // HEAD_STEP * HEAD_STEP)
    pieces = -(-rows // most)
    size = round_up(-(-rows // pieces), HEAD_STEP) if pieces else 0
    return [slice(at, min(at + size, rows)) for at in range(0, rows, size)] if rows else []


def _padded(hidden: Tensor) -> Tensor:
    """(N', D) with N' rounded up by rows of zeros, whose logits are discarded."""
    missing = round_up(len(hidden), HEAD_STEP) - len(hidden)
    return torch.cat([hidden, hidden.new_zeros(missing, hidden.shape[1])]) if missing else hidden


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None) -> Tensor:
    """(n, V) in the weights' dtype."""
    n = len(hidden)
    logits = F.linear(_padded(hidden), weight, bias)[:n]
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap


def _through_cap(grad: Tensor, logits: Tensor, softcap: float | None) -> Tensor:
    """The gradient before the cap, from the one after it and the capped logits."""
    return grad if softcap is None else grad * (1 - (logits.to(grad.dtype) / softcap).square())


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        token: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        softcap: float | None,
        temperature: float,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        logps = torch.empty(len(hidden), dtype=wide, device=hidden.device)
        lses, entropies = torch.empty_like(logps), torch.zeros_like(logps if with_entropy else logps[:0])
        for rows in _chunks(len(hidden), len(weight), hidden.element_size()):
            logits = _logits(hidden[rows], weight, bias, softcap).to(wide).div_(temperature)
            lse = torch.logsumexp(logits, -1)
            logps[rows] = logits.gather(1, token[rows, None])[:, 0] - lse
            lses[rows] = lse
            if with_entropy:  # H = lse - sum(p * logit)
                entropies[rows] = lse - (torch.exp(logits - lse[:, None]) * logits).sum(-1)
        ctx.save_for_backward(hidden, token, weight, bias, lses)
        ctx.softcap, ctx.temperature = softcap, temperature
        ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple:
        hidden, token, weight, bias, lses = ctx.saved_tensors
        sums = _HeadGradients(hidden, weight, bias, learns=ctx.needs_input_grad[2])
        for rows in _chunks(len(hidden), len(weight), hidden.element_size()):
            logits = _logits(hidden[rows], weight, bias, ctx.softcap)
            slope = logits.to(lses.dtype, copy=True).div_(ctx.temperature).sub_(lses[rows, None]).exp_()  # p
            slope.mul_(-grad[rows, None])
            slope.scatter_add_(1, token[rows, None], grad[rows, None])
            slope.div_(ctx.temperature)
            sums.add(rows, _through_cap(slope, logits, ctx.softcap).to(weight.dtype))
        of_hidden, of_weight, of_bias = sums.done()
        return of_hidden, None, of_weight, of_bias, None, None, None


class _WeightedNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        token: Tensor,
        weights: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        softcap: float | None,
    ) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        learns = ctx.needs_input_grad[3]
        sums = _HeadGradients(hidden, weight, bias, learns) if any(ctx.needs_input_grad) else None
        for rows in _chunks(len(hidden), len(weight), hidden.element_size()):
            logits = _logits(hidden[rows], weight, bias, softcap)
            logp = torch.log_softmax(logits.to(wide), -1)
            scale = weights[rows].to(wide)[:, None]
            total -= (logp.gather(1, token[rows, None]) * scale).sum()
            if sums is not None:
                slope = logp.exp_().mul_(scale)
                slope.scatter_add_(1, token[rows, None], -scale)
                sums.add(rows, _through_cap(slope, logits, softcap).to(weight.dtype))
        if sums is not None:
            ctx.save_for_backward(*sums.done())
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        hidden, weight, bias = (None if g is None else g * grad.to(g.dtype) for g in ctx.saved_tensors)
        return hidden, None, None, weight, bias, None


class _HeadGradients:
    """Gradients of hidden, weight and bias, gathered chunk by chunk from the gradient of the logits.

    One chunk is the common case and costs nothing extra; the parts of several are summed in float32.

    learns: False where the head is frozen, as beside adapters: a third of the work is not done
    """

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, learns: bool = True) -> None:
        self._states, self._matrix, self._bias_like, self._learns = hidden, weight, bias, learns
        self._hidden = torch.zeros_like(hidden)
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None

    def add(self, rows: slice, slope: Tensor) -> None:
        n = len(slope)
        slope = _padded(slope)  # (n', V)
        self._hidden[rows] = (slope @ self._matrix)[:n]
        if not self._learns:
            return
        self._weight = _plus(self._weight, slope.t() @ _padded(self._states[rows]))  # (V, D)
        if self._bias_like is not None:
            self._bias = _plus(self._bias, slope.sum(0))

    def done(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if not self._learns:
            return self._hidden, None, None
        weight = torch.zeros_like(self._matrix) if self._weight is None else self._weight.to(self._matrix.dtype)
        bias = self._bias_like
        if bias is not None:
            bias = torch.zeros_like(bias) if self._bias is None else self._bias.to(bias.dtype)
        return self._hidden, weight, bias


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    if total is None:
        return part
    wide = torch.promote_types(part.dtype, torch.float32)
    return total.to(wide).add_(part)
