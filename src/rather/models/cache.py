"""Keys and values of prompts, read for sampling: packed into rows, through the tree attention that training uses.

`RowStates` keeps what the layers computed under the model's own forward. `rather.models.slots` goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from rather.batches.packing import ROW_STEP, SEGMENT_STEP, Row, Segment, round_up
from rather.batches.trees import Tokens
from rather.models.attention import NAME as TREE
from rather.models.attention import Layout, reading
from rather.models.logprobs import attends_elsewhere, hidden_states
from rather.models.tokenizers import quiet

# On the CPU this was tried on, a row of a float32 product has the same bits in every product of four rows or more, and
# others in one of fewer. With at least eight, a sample does not depend on how many others are sampled beside it.
LEAST_ROWS = 8


@dataclass(frozen=True)
class Prefix:
    """What the layers computed for one prompt: per layer, keys and values (H_kv, P, d)."""

    states: list[tuple[Tensor, Tensor]]
    length: int

    def shape(self) -> Prefix:
        """No tokens of the same layers, heads and numbers, which keep nothing alive."""
        return Prefix(
            [(k.new_empty(len(k), 0, k.shape[2]), v.new_empty(len(v), 0, v.shape[2])) for k, v in self.states], 0
        )


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
