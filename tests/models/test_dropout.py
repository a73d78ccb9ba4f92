"""Dropout is where it was put, as likely as it was set, and provably off."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from families import FAMILIES, tiny_family
from rather.errors import BadModel, BadSetting, CheckFailed
from rather.models.dropout import dropout_of, prove_no_dropout, set_dropout

IDS = torch.arange(3, 35).reshape(2, 16)


def logits(model, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("name", FAMILIES)
def test_set_drops_in_training_only_and_zero_takes_it_away(name):
    model = tiny_family(name)
    clean = logits(model)
    set_dropout(model, 0.2)
    assert torch.equal(logits(model.eval()), clean)
    model.train()
    assert not torch.equal(logits(model, 1), logits(model, 2))
    assert torch.equal(logits(model, 1), logits(model, 1))
    set_dropout(model, 0.0)
    assert torch.equal(logits(model, 1), clean)
    assert dropout_of(model) == {}
    prove_no_dropout(model)


@pytest.mark.parametrize("name", FAMILIES)
def test_residual_dropout_stands_on_attention_and_mlp_of_every_layer(name):
    model = tiny_family(name)
    set_dropout(model, 0.2)
    places = dropout_of(model)
    assert len(places) == 4  # two layers, two halves
    assert set(places.values()) == {0.2}
    assert sum("attn" in place for place in places) == sum("mlp" in place for place in places) == 2


def test_a_fifth_of_what_is_added_is_dropped_and_the_rest_is_scaled():
    model = tiny_family("llama", hidden_size=512, intermediate_size=64)
    set_dropout(model, 0.2)
    model.train()
    seen = []
    module = model.model.layers[0].mlp
    module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    logits(model)
    ((entered, dropped),) = seen
    with torch.no_grad():
        whole = module.forward(entered)
    gone = dropped == 0
    assert gone.float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.allclose(dropped[~gone], whole[~gone] / 0.8)


def test_dropout_is_set_again_not_added():
    model = tiny_family("llama")
    set_dropout(model, 0.5)
    set_dropout(model, 0.1)
    assert list(dropout_of(model).values()) == [0.1] * 4


def test_all_dropout_of_the_library_is_switched_off():
    model = tiny_family("gpt2", attn_pdrop=0.1, embd_pdrop=0.1, resid_pdrop=0.1).train()
    assert any(isinstance(m, nn.Dropout) and m.p == 0.1 for m in model.modules())
    set_dropout(model, 0.0)
    prove_no_dropout(model)
    assert (model.config.attn_pdrop, model.config.embd_pdrop, model.config.resid_pdrop) == (0, 0, 0)


def test_attention_weights_are_never_dropped():
    model = tiny_family("llama", attention_dropout=0.3)
    set_dropout(model, 0.2)
    assert model.config.attention_dropout == 0
    assert {layer.self_attn.attention_dropout for layer in model.model.layers} == {0.0}


def test_proof_names_what_is_on():
    model = tiny_family("llama", attention_dropout=0.3)
    with pytest.raises(CheckFailed, match=r"attention_dropout is 0.3 and 1 more places"):
        prove_no_dropout(model)
    model = tiny_family("gpt2", embd_pdrop=0.1)
    with pytest.raises(CheckFailed, match=r"transformer.drop.p is 0.1"):
        prove_no_dropout(model.eval())  # eval mode is no proof
    model = tiny_family("llama")
    set_dropout(model, 0.2)
    with pytest.raises(CheckFailed, match=r"self_attn \(residual\) is 0.2"):
        prove_no_dropout(model)


def test_proof_finds_what_has_no_name():
    model = tiny_family("llama")
    model.model.layers[1].mlp.register_forward_hook(
        lambda module, _, output: output + torch.rand(()) * 1e-3 if module.training else output
    )
    assert dropout_of(model) == {}
    with pytest.raises(CheckFailed, match="though every dropout is 0"):
        prove_no_dropout(model)


def test_proof_leaves_mode_and_random_state_alone():
    model = tiny_family("llama").eval()
    before = torch.get_rng_state()
    prove_no_dropout(model)
    assert not model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_activation_checkpointing_drops_the_same_twice():
    model = tiny_family("llama").train()
    set_dropout(model, 0.3)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            for layer in model.model.layers:
                layer.gradient_checkpointing = True
                layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        model.zero_grad()
        torch.manual_seed(0)
        model(IDS, use_cache=False).logits.square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradients[1][name], gradient, rtol=1e-4, atol=1e-4), name


def test_a_deep_copy_can_be_set_apart():
    model = tiny_family("llama")
    set_dropout(model, 0.2)
    other = copy.deepcopy(model)
    set_dropout(other, 0.0)
    assert dropout_of(other) == {}
    assert set(dropout_of(model).values()) == {0.2}


def test_a_body_can_be_set_as_well():
    body = tiny_family("gpt2").base_model
    set_dropout(body, 0.2)
    assert len(dropout_of(body)) == 4


def test_a_model_whose_halves_are_not_known_is_refused_by_name_and_left_as_it_was():
    model = tiny_family("llama")
    layer = model.model.layers[1]
    layer.strange = layer.mlp
    del layer.mlp
    with pytest.raises(BadModel, match="Layer 1 of LlamaForCausalLM has 0 modules known as MLP"):
        set_dropout(model, 0.2)
    assert dropout_of(model) == {}


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(BadSetting, match="at least 0, below 1"):
        set_dropout(tiny_family("llama"), p)
