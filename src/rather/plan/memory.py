"""Bytes that a stage holds, by model and purpose: what is always there, and what each phase adds to it.

The peak is what is always there and the largest phase. Every line is the size of a tensor that the code forms; what
the program and the allocator take besides is one line of its own, from what was seen in real runs (docs/plan.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from rather.batches.packing import ROW_STEP, SEGMENT_STEP, round_up
from rather.models.attention import QUERY_BLOCK
from rather.models.cache import LEAST_ROWS
from rather.models.logprobs import CHUNK_BYTES, HEAD_STEP
from rather.models.slots import LENGTH_STEP
from rather.plan.lengths import Lengths
from rather.plan.machines import Machine
from rather.plan.models import Cast
from rather.plan.shapes import Shape
from rather.rollout.batching import READ_AHEAD

SAMPLING = "sampling"
COPIES = 12  # bytes of a logit: itself, its log-probability or exponential, and a product or a padded gradient


@dataclass(frozen=True)
class Item:
    """phase: when it is there, "" for always"""

    model: str
    purpose: str
    bytes: int
    phase: str = ""


@dataclass(frozen=True)
class Need:
    items: tuple[Item, ...]

    @property
    def always(self) -> int:
        return sum(item.bytes for item in self.items if not item.phase)

    @property
    def phases(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for item in self.items:
            if item.phase:
                found[item.phase] = found.get(item.phase, 0) + item.bytes
        return found

    @property
    def phase(self) -> str:
        return max(self.phases, key=lambda name: self.phases[name], default="")

    @property
    def peak(self) -> int:
        return self.always + max(self.phases.values(), default=0)


def need_of(verb: str, settings: Any, cast: Cast, compute: torch.dtype, machine: Machine) -> Need:
    beside = Item("the program", "Python, libraries, what the allocator keeps", machine.program)
    items = [beside] if machine.program else []
    match verb:
        case "rank":
            for name, shape in cast.shapes.items():
                phase = f"{name} answers"  # one after the other
                items += [Item(name, "weights", 4 * shape.parameters, phase)]
                items += sampling(name, shape, settings.slots, settings, cast.reads["prompts"], 4, phase)
        case "ppo" | "grpo":
            items += _with_rollouts(verb, settings, cast, compute, machine)
        case _:
            items += _learning(verb, settings, cast, compute, machine)
    return Need(tuple(items))


def _learning(verb: str, settings: Any, cast: Cast, compute: torch.dtype, machine: Machine) -> Iterator[Item]:
    policy, size = cast.shapes["policy"], compute.itemsize
    longest = min(getattr(settings, "max_length", None) or policy.window or 2048, policy.window or 1 << 30)
    if verb == "reward":
        count = trained(policy, policy.body, settings) + settings.heads * policy.head
        yield from learner("reward model", count, compute)
        yield from frozen("reward model", policy.body, settings, compute, machine)
        yield from forward_backward("reward model", policy, settings.row_budget, longest, size, machine, False)
        return
    yield from learner("policy", trained(policy, policy.parameters, settings), compute)
    yield from frozen("policy", policy.parameters, settings, compute, machine)
    yield from forward_backward("policy", policy, settings.row_budget, longest, size, machine, True)
    if verb in ("sft", "init", "dpo"):
        asked = cast.reads["demonstrations" if verb != "dpo" else "rankings"]
        yield from sampling("policy", policy, 64, settings, asked, size)
    if "reference" in cast.shapes and (settings.reference or settings.lora.rank is None):
        yield Item("reference", "weights", size * cast.shapes["reference"].parameters)
    if "reward model" in cast.shapes:
        yield Item("reward model", "weights", 4 * cast.shapes["reward model"].body)


def _with_rollouts(verb: str, settings: Any, cast: Cast, compute: torch.dtype, machine: Machine) -> Iterator[Item]:
    """PPO holds four models: two that learn, each with its own optimiser, and two that look on."""
    policy, size, asked = cast.shapes["policy"], compute.itemsize, cast.reads["prompts"]
    limit = min(settings.max_prompt + settings.max_new_tokens, policy.window or 1 << 30)
    moving, adapted = trained(policy, policy.parameters, settings), settings.lora.rank is not None
    yield from learner("policy", moving, compute)
    yield from frozen("policy", policy.parameters, settings, compute, machine)
    if getattr(settings, "ema_decay", 0.0):
        yield Item("policy", "moving average", 4 * moving)
    for role, shape in cast.shapes.items():
        if role == "reference" and adapted:
            continue  # it is the policy without its adapters
        if role == "reference":
            yield Item(role, "weights", size * shape.parameters)
        elif role not in ("policy", "critic"):
            yield Item(role, "weights", size * shape.body + 4 * shape.head)
    if "critic" in cast.shapes:
        critic = cast.shapes["critic"]
        # With adapters its body is the reward model's, or the policy's, which is there already.
        yield from learner("critic", trained(critic, critic.body, settings) + critic.head, compute, "learning, critic")
        yield from forward_backward("critic", critic, settings.row_budget, limit, size, machine, False, "critic")
    yield from sampling("policy", policy, settings.slots, settings, asked, size)
    yield from forward_backward("policy", policy, settings.row_budget, limit, size, machine, True)
    if settings.ptx_coef and verb == "ppo":
        # The mix's own gradient is taken apart once an iteration: a copy of PPO's, and the difference.
        yield Item("policy", "gradients of PPO and of the mix apart", 2 * 4 * moving, "learning")
    if settings.ptx_examples:
        updates = (settings.iterations - getattr(settings, "value_iterations", 0)) * settings.updates
        rows = min(updates * settings.ptx_examples, 20_000_000 // settings.ptx_length)
        yield Item("data", "pretraining text", 4 * rows * settings.ptx_length)


def learner(model: str, parameters: int, compute: torch.dtype, phase: str = "learning") -> Iterator[Item]:
    """What `stages.optim.Adam` holds. In fp32 the model's own weights are the masters."""
    yield Item(model, "masters", 4 * parameters)
    if compute != torch.float32:
        yield Item(model, "working copy", compute.itemsize * parameters)
    yield Item(model, "moments", 8 * parameters)
    yield Item(model, "gradients", 4 * parameters, phase)  # of two rows and more they are summed in fp32


def trained(shape: Shape, whole: int, settings: Any) -> int:
    """Parameters that learn: all of them, or those of the adapters."""
    lora = settings.lora if hasattr(settings, "lora") else None  # a model from nothing has no adapters
    return whole if lora is None or lora.rank is None else shape.adapters(lora.rank, lora.targets)


def frozen(model: str, parameters: int, settings: Any, compute: torch.dtype, machine: Machine) -> Iterator[Item]:
    """With adapters the weights beside them stay: as they are computed with, and what that rounds off, on the host."""
    lora = settings.lora if hasattr(settings, "lora") else None
    if lora is None or lora.rank is None:
        return
    yield Item(model, "frozen weights", parameters // 2 if lora.four_bit else compute.itemsize * parameters)
    if compute != torch.float32 and machine.gpu is None and not lora.four_bit:
        yield Item(model, "frozen weights as they came", 4 * parameters)


def forward_backward(
    model: str, shape: Shape, budget: int, longest: int, size: int, machine: Machine, words: bool, who: str = ""
) -> Iterator[Item]:
    """One row forward and backward. words: the vocabulary is met, as by a policy and not by a critic"""
    tokens = round_up(max(budget, min(longest, shape.window or longest)), ROW_STEP)
    phase = f"learning, {who}" if who else "learning"
    yield Item(model, "activations", tokens * kept(shape, size, longest, machine.gpu is not None), phase)
    if words:
        yield Item(model, "logits, a chunk", logits(shape, tokens, size), phase)


def kept(shape: Shape, size: int, longest: int, on_gpu: bool) -> int:
    """Bytes that the backward needs of one token.

    Of a layer: the residual stream twice and its norms, queries, keys, values and what attention gave, the MLP's
    middle (gated: before and after the gate, the other half, their product), and on a CPU the attention's weights.
    """
    norms = 4 * shape.hidden + 2 * (2 if on_gpu else 0) * shape.hidden  # on a GPU transformers' own run in fp32
    attention = 2 * (shape.heads + shape.kv_heads) * shape.head_size
    middle = (4 if shape.gated else 2) * shape.mlp
    weights = 0 if on_gpu else shape.heads * _keys(longest)
    return size * (shape.layers * (norms + attention + middle + weights) + 2 * shape.hidden)


def _keys(longest: int) -> int:
    """Keys that a token's block holds weights for, mean over a sequence cut into blocks of queries."""
    ends = [min(at + QUERY_BLOCK, longest) for at in range(0, longest, QUERY_BLOCK)] or [1]
    return round(sum(round_up(end, SEGMENT_STEP) for end in ends) / len(ends))


def logits(shape: Shape, tokens: int, size: int) -> int:
    """At most a chunk of positions meets the vocabulary at a time, in three copies in fp32."""
    most = max(HEAD_STEP, CHUNK_BYTES // (shape.vocabulary * size) // HEAD_STEP * HEAD_STEP)
    return COPIES * min(tokens, most) * shape.vocabulary


def sampling(
    model: str, shape: Shape, slots: int, settings: Any, asked: Lengths, size: int, phase: str = SAMPLING
) -> Iterator[Item]:
    """Keys and values of every slot at its longest, of prompts read ahead, and one step's logits."""
    room = settings.max_new_tokens + asked.longest_prompt
    length = round_up(min(room, shape.window or room), LENGTH_STEP)
    rows = max(LEAST_ROWS, slots)
    yield Item(model, "KV cache", rows * length * shape.cached(size), phase)
    yield Item(model, "prompts read ahead", max(READ_AHEAD, asked.longest_prompt) * shape.cached(size), phase)
    yield Item(model, "logits of a step", rows * shape.vocabulary * (size + 8), phase)
