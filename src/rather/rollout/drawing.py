"""From logits to tokens: one uniform number per token, through the inverse of the cumulative distribution.

`torch.multinomial` draws from a generator that all rows share, so a sample would depend on its neighbours; it is also
ten times as slow on a CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rather.errors import BadModel

BLOCK = 64  # weights are summed in blocks of this many; only one block of a row is looked into
# Weights formed at a time: 64 rows of 151,936 are drawn from in 15 ms by this many, and in 35 all at once.
IN_CACHE = 2**20


def uniforms(seed: int, count: int) -> np.ndarray:
    """(count,) float64 in [0, 1). The n-th is a function of the seed and of n, on every platform.

    Philox is counter-based, and its raw bits are what numpy promises never to change.
    """
    bits = np.random.Philox(key=seed).random_raw(count)
    return (bits >> np.uint64(11)) * 2.0**-53


def draw(
    logits: Tensor,
    uniform: Tensor,
    temperature: float,
    never: Tensor,
    top_k: int | None = None,
    top_p: float | None = None,
) -> tuple[Tensor, Tensor]:
    """A token for each row, and its log-probability under softmax(logits / temperature).

    The log-probability is the model's own, what a trainer computes for this token: neither `never` nor top_k nor
    top_p enters it. At temperature 0 the most likely token is taken, and the temperature of its log-probability is 1.

    logits: (n, V)     uniform: (n,) float64 in [0, 1)     never: ids that are not drawn -> (n,) int64, (n,) float32
    """
    rows = max(1, IN_CACHE // logits.shape[-1])
    parts = [
        _draw(logits[at : at + rows], uniform[at : at + rows], temperature, never, top_k, top_p)
        for at in range(0, len(logits), rows)
    ]
    if len(parts) == 1:
        return parts[0]
    tokens, logprobs = zip(*parts, strict=True)
    return torch.cat(tokens), torch.cat(logprobs)


def _draw(
    logits: Tensor, uniform: Tensor, temperature: float, never: Tensor, top_k: int | None, top_p: float | None
) -> tuple[Tensor, Tensor]:
    weights = logits.to(torch.float32, copy=True)
    if temperature not in (0.0, 1.0):
        weights.div_(temperature)
    highest = weights.amax(-1, keepdim=True)
    weights.sub_(highest).exp_()  # (n, V) unnormalised
    total = weights.sum(-1)
    if not bool(total.isfinite().all()):
        raise BadModel(
            "The model's logits are not numbers: nothing can be drawn from them.",
            "Expected finite logits. Weights that have diverged in training look like this.",
            "Go back to an earlier checkpoint",
        )
    if temperature == 0:  # of the logits: exp makes equals of neighbours
        tokens = logits.index_fill(-1, never, float("-inf")).argmax(-1)
    else:
        weights.index_fill_(-1, never, 0.0)
        if top_k is not None:
            weights = _best(weights, top_k)
        if top_p is not None:
            weights = _nucleus(weights, top_p)
        tokens = _inverse(weights, uniform)
    chosen = logits.gather(-1, tokens[:, None])[:, 0].to(torch.float32)
    if temperature not in (0.0, 1.0):
        chosen = chosen / temperature
    return tokens, chosen - highest[:, 0] - total.log()


def _inverse(weights: Tensor, uniform: Tensor) -> Tensor:
    """(n,) the first id at which the cumulative sum of the row exceeds uniform * its total. An id of weight 0 never is.

    The sums run in float64: in float32 50,000 words would each move their neighbours' borders by 1e-7.
    """
    vocabulary = weights.shape[-1]
    whole = vocabulary // BLOCK * BLOCK
    sums = weights[:, :whole].unflatten(1, (-1, BLOCK)).sum(-1)
    if whole < vocabulary:
        sums = torch.cat([sums, weights[:, whole:].sum(-1, keepdim=True)], -1)
    border = sums.to(torch.float64).cumsum(-1)  # (n, V / 64)
    place = _below(uniform[:, None] * border[:, -1:], border[:, -1:])
    block = torch.searchsorted(border, place, right=True)  # (n, 1)
    before = torch.where(block > 0, border.gather(1, (block - 1).clamp(min=0)), 0.0)
    ids = block * BLOCK + torch.arange(BLOCK, device=weights.device)  # (n, 64)
    inside = weights.gather(1, ids.clamp(max=vocabulary - 1)).masked_fill_(ids >= vocabulary, 0.0)
    inside = inside.to(torch.float64).cumsum(-1)
    place = _below(place - before, inside[:, -1:])
    return (block * BLOCK + torch.searchsorted(inside, place, right=True))[:, 0]


def _below(place: Tensor, end: Tensor) -> Tensor:
    """Rounding may carry a place to the very end, where no id is."""
    return torch.minimum(place, torch.nextafter(end, torch.zeros_like(end)))


def _best(weights: Tensor, k: int) -> Tensor:
    """The k likeliest ids, and those as likely as the last of them."""
    least = weights.topk(min(k, weights.shape[-1])).values[:, -1:]
    return weights.masked_fill(weights < least, 0.0)


def _nucleus(weights: Tensor, p: float) -> Tensor:
    """The fewest likeliest ids that together have the probability p."""
    ordered, ids = weights.sort(dim=-1, descending=True, stable=True)
    before = ordered.to(torch.float64).cumsum(-1) - ordered  # the probability of all likelier ones
    ordered = ordered.masked_fill(before >= p * before[:, -1:].add(ordered[:, -1:]), 0.0)
    return torch.zeros_like(weights).scatter_(-1, ids, ordered)
