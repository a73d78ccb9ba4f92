"""Adam's update is PyTorch's, and bfloat16 compute loses none of the small steps."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from families import tiny_family
from rather.stages import optim
from rather.stages.optim import Adam


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.LayerNorm(9), nn.Linear(9, 3))


def loss_of(model: nn.Module, seed: int) -> torch.Tensor:
    dtype = next(model.parameters()).dtype
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return model(x).float().square().sum()


@pytest.mark.parametrize("piece", [1 << 18, 7])
def test_ten_steps_equal_those_of_pytorch(piece, monkeypatch):
    monkeypatch.setattr(optim, "PIECE", piece)
    ours, theirs = net(), net()
    adam = Adam(ours, eps=1e-5, weight_decay=0.1)
    decayed = [p for p in theirs.parameters() if p.ndim >= 2]
    others = [p for p in theirs.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-5, foreach=False)
    for step in range(10):
        for group in reference.param_groups:
            group["lr"] = 0.01 / (step + 1)
        loss_of(ours, step).backward()
        adam.step(0.01 / (step + 1))
        reference.zero_grad()
        loss_of(theirs, step).backward()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_rows_gathered_one_by_one_equal_their_sum():
    whole, parts = net(), net()
    one, other = Adam(whole), Adam(parts)
    (loss_of(whole, 0) + loss_of(whole, 1)).backward()
    for seed in (0, 1):
        loss_of(parts, seed).backward()
    assert one.step(0.01) == pytest.approx(other.step(0.01), rel=1e-6)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_updates_too_small_for_bfloat16_add_up_in_the_masters():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    adam = Adam(model, compute=torch.bfloat16)
    for _ in range(100):  # 1e-4 each: bfloat16 near 1 moves in steps of 0.004
        model.weight.sum().backward()
        adam.step(1e-4)
    assert adam.masters[0].item() == pytest.approx(0.99, abs=1e-4)
    assert model.weight.item() == torch.tensor(0.99).bfloat16().item()


def test_the_norm_is_that_before_clipping_and_the_update_that_after():
    clipped, plain = net(), net()
    a, b = Adam(clipped, eps=1.0), Adam(plain, eps=1.0)  # a large eps, so that Adam feels the gradient's scale
    gradient = torch.autograd.grad(loss_of(plain, 0), list(plain.parameters()))
    expected = math.sqrt(sum(g.square().sum().item() for g in gradient))
    loss_of(clipped, 0).backward()
    (loss_of(plain, 0) * (0.5 / expected)).backward()
    assert a.step(0.01, max_norm=0.5) == pytest.approx(expected, rel=1e-5)
    assert b.step(0.01) == pytest.approx(0.5, rel=1e-5)
    for p, q in zip(clipped.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-7)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_moves_nothing(bad):
    model = net()
    adam = Adam(model)
    before = copy.deepcopy(model.state_dict())
    (loss_of(model, 0) + model[0].weight[0, 0] * bad).backward()
    assert not math.isfinite(adam.step(0.01))
    assert adam.steps == 0
    assert all(before[name].equal(tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_five_steps_a_restart_and_five_more_are_ten_to_the_byte(compute):
    def run(model, adam, seeds):
        for seed in seeds:
            loss_of(model, seed).backward()
            adam.step(0.01)

    straight = net()
    one = Adam(straight, compute=compute)
    run(straight, one, range(10))
    first = net()
    half = Adam(first, compute=compute)
    run(first, half, range(5))
    saved = copy.deepcopy(half.state_dict())
    again = net(seed=9)
    rest = Adam(again, compute=compute)
    rest.load_state_dict(saved)
    run(again, rest, range(5, 10))
    assert all(a.equal(b) for a, b in zip(straight.parameters(), again.parameters(), strict=True))
    assert all(a.equal(b) for a, b in zip(one.masters, rest.masters, strict=True))


def test_what_is_saved_is_exact_and_training_goes_on_in_the_working_copy():
    model = net()
    exact = copy.deepcopy(model.state_dict())
    adam = Adam(model, compute=torch.bfloat16)
    assert next(model.parameters()).dtype == torch.bfloat16
    with adam.exact():
        assert all(exact[name].equal(p) for name, p in model.named_parameters())
    assert next(model.parameters()).dtype == torch.bfloat16


def test_a_gradient_is_handed_over_as_soon_as_it_is_formed():
    model = net()
    adam = Adam(model)
    loss_of(model, 0).backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(gradient.any() for gradient in adam.gradients())


def test_a_second_optimiser_waits_until_the_first_lets_go():
    model = net()
    first = Adam(model)
    with pytest.raises(AssertionError, match=r"0\.weight has an optimiser already"):
        Adam(model)
    first.release()
    second = Adam(model)
    loss_of(model, 0).backward()
    assert any(gradient.any() for gradient in second.gradients())
    assert not any(gradient.any() for gradient in first.gradients())


def test_frozen_parameters_stay_and_are_not_in_the_state():
    model = net()
    model[0].requires_grad_(False)
    adam = Adam(model)
    before = model[0].weight.clone()
    loss_of(model, 0).backward()
    adam.step(0.1)
    assert before.equal(model[0].weight)
    assert not any(name.startswith("0.") for name in adam.state_dict()["parameters"])


def test_the_working_copy_in_bfloat16_keeps_its_rotary_frequencies():
    model = tiny_family("llama")
    before = model.model.rotary_emb.inv_freq.clone()
    Adam(model, compute=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.model.rotary_emb.inv_freq.equal(before)
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
