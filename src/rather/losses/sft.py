"""Next-token losses: step 1 (sec. 3.5) and the pretraining mix of step 3 (eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from rather.losses.tokens import full_precision, token_mean


def sft_loss(logprobs: Tensor, mask: Tensor | None, denominator: float) -> Tensor:
    """Negative log-likelihood of the demonstrations' response tokens, EOS included (sec. 3.5, app. C.1).

    logprobs: (B, T) or (N,) log pi of each token     mask: the same shape, 1 on trained tokens; None when all are
    denominator: trained tokens of the whole batch
    """
    return -token_mean(logprobs, mask, denominator)


def ptx_loss(logprobs: Tensor, mask: Tensor | None, denominator: float, ptx_coef: float) -> Tensor:
    """gamma times the next-token loss over all tokens of pretraining text (eq. 2, app. C.4: gamma = 27.8).

    logprobs: (B, T) or (N,)     mask: the same shape, 0 on padding only
    denominator: tokens of the whole ptx minibatch

    Add its gradient to the PPO minibatch's and take one step: in a step of its own, Adam would divide gamma away.
    """
    return ptx_coef * sft_loss(logprobs, mask, denominator)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the next-token distribution in nats: (..., V) -> (...). Average it with `token_mean`, without pads."""
    logprobs = full_precision(logits).log_softmax(-1)  # (..., V)
    # A forbidden token (-inf) has probability 0 and adds 0, not 0 * -inf.
    return -(logprobs.exp() * logprobs.masked_fill(torch.isneginf(logprobs), 0.0)).sum(-1)
