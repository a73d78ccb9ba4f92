"""A function in fewer passes is the same function, and is put only where it is."""

from __future__ import annotations

import copy

import pytest
import torch

from families import tiny_family
from rather.models.lighter import _RMSNorm, lighten


def test_gradcheck():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    w = torch.randn(5, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: _RMSNorm.apply(x, w, 1e-3), (x, w))


@pytest.mark.parametrize(("family", "modules"), [("llama", 5), ("mistral", 5), ("qwen2", 5), ("qwen3", 9), ("gpt2", 2)])
def test_modules_are_replaced_and_the_logits_stay(family, modules):
    plain, fused = tiny_family(family), tiny_family(family)
    assert lighten(fused) == modules
    ids = torch.arange(3, 60)[None]
    assert (plain(ids).logits - fused(ids).logits).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3_text"])
def test_a_norm_that_computes_something_else_is_left_alone(family):
    assert lighten(tiny_family(family)) == 0


def test_a_copy_of_a_model_reads_its_own_weights():
    model = tiny_family("llama")
    lighten(model)
    twin = copy.deepcopy(model)
    ids = torch.arange(3, 60)[None]
    before = twin(ids).logits
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert twin(ids).logits.equal(before)


def test_in_bfloat16_it_rounds_no_more_than_the_original():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    rng = torch.Generator().manual_seed(1)
    x = torch.randn(200, 64, generator=rng)
    norm = LlamaRMSNorm(64)
    norm.weight.data = torch.randn(64, generator=rng)
    exact = norm(x)
    own, ours = norm.bfloat16()(x.bfloat16()), _RMSNorm.apply(x.bfloat16(), norm.weight, norm.variance_epsilon)
    assert (ours - exact).abs().mean() <= (own - exact).abs().mean() * 1.05
