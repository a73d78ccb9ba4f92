"""A number for each place in a text: the reward at the last token of a response, the value at every token."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rather.errors import BadModel
from rather.models.attention import NAME as TREES


class RewardModel(nn.Module):
    """A transformers body without its language-model head, and a scalar head with a bias.

    body: what `AutoModel` gives, e.g. LlamaModel
    head: Linear(D, 1) in fp32; its bias carries the normalisation (sec. 3.5: demonstrations average 0)

    The critic of PPO is the same thing, read at every token.
    """

    def __init__(self, body: PreTrainedModel, head: nn.Linear) -> None:
        super().__init__()
        assert head.bias is not None, "without a bias a reward model cannot be normalised"
        self.body = body
        self.head = head

    @property
    def config(self) -> Any:
        return self.body.config

    def forward(self, hidden: Tensor, last: Tensor) -> Tensor:
        """Scores at given positions.

        hidden: (..., D) of the body, any leading shape     last: (S,) positions in the flattened leading shape
        -> (S,) fp32
        """
        return self.values(hidden.reshape(-1, hidden.shape[-1])[last])

    def values(self, hidden: Tensor) -> Tensor:
        """hidden: (..., D) -> (...) fp32, one number for each position."""
        return nn.functional.linear(hidden.float(), self.head.weight.float(), self.head.bias.float()).squeeze(-1)

    def score(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The plain way, one padded row for each text: what packed trees are compared with.

        tokens: (B, T) ids     mask: (B, T) 1 on real tokens, padding on either side; None is no padding
        -> (B,) fp32, read at the last real token
        """
        mask = torch.ones_like(tokens) if mask is None else mask.long()
        positions = (mask.cumsum(1) - 1).clamp(min=0)  # (B, T) real tokens only count
        with plain_attention(self.body):
            output = self.body(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False)
        hidden = output.last_hidden_state  # (B, T, D)
        order = torch.arange(tokens.shape[1], device=tokens.device)
        last = (mask * order).argmax(1)  # (B,)
        rows = torch.arange(len(tokens), device=tokens.device) * tokens.shape[1]
        return self(hidden, rows + last)

    def shift(self, by: float) -> None:
        """Add `by` to every score, for good. To make a mean zero, shift by minus that mean.

        Rankings do not notice; PPO does: without it kl_coef means something else for each reward model.
        """
        with torch.no_grad():
            self.head.bias.add_(by)


@contextmanager
def plain_attention(body: PreTrainedModel) -> Iterator[None]:
    """Within this context the body reads padded rows, though it may have been switched to trees."""
    name = body.config._attn_implementation
    if name != TREES:
        yield
        return
    body.set_attn_implementation("eager")
    try:
        yield
    finally:
        body.set_attn_implementation(TREES)


def new_head(hidden: int, rng: torch.Generator) -> nn.Linear:
    """Weight ~ N(0, variance 1/(D+1)), bias 0, as in openai/summarize-from-feedback. The paper is silent.

    Normalised hidden states have length near sqrt(D), so first scores are near N(0, 1).
    """
    head = nn.utils.skip_init(nn.Linear, hidden, 1)
    with torch.no_grad():
        head.weight.normal_(0.0, (hidden + 1) ** -0.5, generator=rng)
        head.bias.zero_()
    return head


def reward_model_from(
    model: PreTrainedModel, rng: torch.Generator, copied: Callable[[PreTrainedModel], PreTrainedModel] = copy.deepcopy
) -> RewardModel:
    """A causal LM as the beginning of a reward model (sec. 3.5): a copy of its body, and a new head."""
    body: Any = model.base_model
    if body is model:
        raise BadModel(f"{type(model).__name__} has no body apart from its head.", "Expected a causal language model.")
    body = copied(body)
    head = new_head(body.config.get_text_config().hidden_size, rng)
    return RewardModel(body, head.to(body.get_input_embeddings().weight.device))
