"""Policies to sample from: tiny models of every family with a tokenizer in which one word is one token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from families import tiny_family
from rather.models.load import Policy

BOS, EOS, PAD = 0, 1, 2


def policy_of(family: str, stops: Sequence[int] = (EOS,), **sizes: Any) -> Policy:
    return as_policy(tiny_family(family, **sizes), stops)


def as_policy(model: PreTrainedModel, stops: Sequence[int] = (EOS,)) -> Policy:
    return Policy(model, words(model.config.get_text_config().vocab_size), tuple(stops))


def words(size: int) -> PreTrainedTokenizerFast:
    """Token i is written `i`, but for the special ones."""
    names = {BOS: "<s>", EOS: "</s>", PAD: "<pad>"}
    plain = Tokenizer(WordLevel({names.get(i, str(i)): i for i in range(size)}, unk_token="<pad>"))
    plain.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def ended_more_often(policy: Policy, by: float) -> Policy:
    """The same policy with `by` added to the logit of EOS, so that responses end at all lengths."""
    head = policy.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)))
    with torch.no_grad():
        head.bias[EOS] += by
    return policy


def prompts_of(rng: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
    return [rng.integers(3, 97, length).astype(np.int32) for length in lengths]


def seeds(prompts: int, k: int = 1, first: int = 0) -> np.ndarray:
    return np.arange(first, first + prompts * k).reshape(prompts, k)


def next_probabilities(model: PreTrainedModel, ids: Sequence[int], temperature: float = 1.0) -> torch.Tensor:
    """(V,) float64 by a plain forward over one sequence."""
    with torch.no_grad():
        logits = model(torch.tensor([[int(i) for i in ids]])).logits[0, -1]
    return torch.softmax(logits.double() / temperature, -1)
