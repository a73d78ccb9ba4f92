"""The plan's arithmetic, held against the sizes of the tensors that the stages really form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from families import tiny_family
from rather.batches.packing import rows
from rather.batches.trees import Tree
from rather.models.heads import reward_model_from
from rather.models.logprobs import Head, hidden_states, logprobs_and_entropy, targets, use_trees, weighted_nll
from rather.models.lora import LoRA, attach
from rather.plan.lengths import Lengths
from rather.plan.memory import kept, learner, logits, sampling
from rather.plan.shapes import Shape, shape_of
from rather.rollout.batching import Batch, Request
from rather.rollout.types import Sampling
from rather.stages.optim import Adam, computing_in
from rather.stages.steps import Share, sft_gradients

MODELS = ("llama", "qwen2", "mistral", "gpt2")
# Wide enough that what does not grow with the width is small beside what does.
WIDE = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "vocab_size": 997}
WIDE_GPT2 = {"n_embd": 64, "n_inner": 160, "n_layer": 3, "vocab_size": 997}


def wide(family: str) -> tuple[nn.Module, Shape]:
    model = tiny_family(family, **(WIDE_GPT2 if family == "gpt2" else WIDE))
    use_trees(model)
    return model, shape_of(model.config, family)


def trees(count: int, prompt: int = 16, response: int = 16) -> list[Tree]:
    rng = np.random.default_rng(0)
    return [
        Tree(rng.integers(3, 97, prompt).astype(np.int32), (rng.integers(3, 97, response).astype(np.int32),))
        for _ in range(count)
    ]


def held(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("family", MODELS)
def test_parameters_are_counted_without_a_weight(family):
    model, shape = wide(family)
    assert shape.parameters == model.num_parameters()
    assert shape.body == model.base_model.num_parameters()
    critic = reward_model_from(model, torch.Generator().manual_seed(0))
    assert shape.body + shape.head == sum(p.numel() for p in critic.parameters())
    assert shape.largest == max(p.numel() for p in model.parameters())


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_what_learns_holds_masters_moments_a_working_copy_and_summed_gradients(compute):
    model, shape = wide("llama")
    optimizer = Adam(model, compute=compute)
    sft_gradients(model, trees(8), Share(128))  # two rows: their gradients are summed
    working = [p.data for p in optimizer.working]
    real = {
        "masters": held(optimizer.masters),
        "moments": held([*optimizer.means, *optimizer.squares]),
        "gradients": held(optimizer.gradients()),
    }
    if compute != torch.float32:
        real["working copy"] = held(working)
    assert {item.purpose: item.bytes for item in learner("policy", shape.parameters, compute)} == real


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("targets", ["all-linear", "one"])
def test_with_adapters_only_they_are_learned(family, targets):
    pytest.importorskip("peft")
    model, shape = wide(family)
    names = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"]}[family] if targets == "one" else targets
    attach(model, LoRA(rank=4, targets=names), 0)
    optimizer = Adam(model)
    assert sum(master.numel() for master in optimizer.masters) == shape.adapters(4, names)


@pytest.mark.parametrize("size", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", MODELS)
def test_activations_are_what_the_backward_keeps(family, size):
    model, shape = wide(family)
    computing_in(model, size)
    (row,) = rows(trees(8, 32, 32), 512)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = hidden_states(model, row)
    planned = row.tokens.numel() * kept(shape, size.itemsize, 64, on_gpu=False)
    assert hidden.requires_grad
    assert sum(storages.values()) == pytest.approx(planned, rel=0.1)


@pytest.mark.parametrize("size", [torch.float32, torch.bfloat16])
def test_a_slot_cache_at_its_longest_is_the_plans_kv_cache(size):
    model, shape = wide("llama")
    computing_in(model, size)
    requests = [Request(at, 0, tree.prompt, at) for at, tree in enumerate(trees(16, 40))]
    batch = Batch(model, requests, Sampling(max_new_tokens=24, slots=16), (), ())
    most = 0
    for _ in batch.run():
        states = [tensor for group in batch.cache.groups for tensor in (*group.keys, *group.values)]
        most = max(most, held(states))
    asked = Lengths(None, 40, 24, 40)
    planned = {item.purpose: item.bytes for item in sampling("policy", shape, 16, Sampling(max_new_tokens=24), asked,
                                                             size.itemsize)}  # fmt: skip
    assert most == planned["KV cache"]


@pytest.mark.parametrize("loss", ["nll", "entropy"])
def test_logits_in_all_their_copies_are_what_is_planned(loss):
    """What is alive at one time while nothing but the head is computed, by torch's own account."""
    model, shape = wide("llama")
    (row,) = rows(trees(8, 2, 62), 512)
    where = targets(row)
    states = hidden_states(model, row).detach()[where.predictor].requires_grad_()
    head, weight = Head.of(model), torch.full((len(where.token),), 1e-3)
    with torch.profiler.profile(profile_memory=True) as profile:
        if loss == "nll":
            weighted_nll(states, where.token, weight, head)
        else:
            logprobs_and_entropy(states, where.token, head)
    moved = [e.nbytes() for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    peak = max(np.cumsum(moved))
    few = held([states]) * 3 + held([head.weight])  # padded states, their gradient, and the table's
    assert peak - few == pytest.approx(logits(shape, len(where.token), 4), rel=0.2)
