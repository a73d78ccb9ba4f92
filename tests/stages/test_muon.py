"""Muon's update is PyTorch's, the ends of the model stay Adam's, and a resumed run cannot tell that it was one."""

from __future__ import annotations

import copy

import pytest
import torch

from families import tiny_family
from rather.models.heads import RewardModel
from rather.stages.muon import Muon, orthogonal
from rather.stages.optim import Adam


def loss_of(model, seed):
    ids = torch.randint(3, 90, (2, 12), generator=torch.Generator().manual_seed(seed))
    return model(input_ids=ids, labels=ids).loss.float()


def inner(model):
    ends = ("embed_tokens", "lm_head")
    return {name: p for name, p in model.named_parameters() if p.ndim == 2 and not any(end in name for end in ends)}


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon to compare with")
def test_ten_steps_equal_those_of_pytorch():
    ours = tiny_family("llama")
    theirs = copy.deepcopy(ours)
    muon = Muon(ours)
    turned = list(inner(theirs).values())
    reference = torch.optim.Muon(turned, lr=0.01, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    ids = {id(p) for p in turned}
    rest = torch.optim.AdamW([p for p in theirs.parameters() if id(p) not in ids], 0.01, (0.9, 0.95), weight_decay=0.0)
    for step in range(10):
        loss_of(ours, step).backward()
        muon.step(0.01)
        theirs.zero_grad()
        loss_of(theirs, step).backward()
        reference.step()
        rest.step()
    before = tiny_family("llama").state_dict()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        moved = (b - before[name]).norm()
        assert (a - b).norm() < 0.05 * moved, name  # theirs turns in bfloat16
        assert moved > 0, name


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 64), (96, 32), (32, 96)])
def test_all_directions_are_about_as_long(shape, compute):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    lengths = torch.linalg.svdvals(orthogonal(matrix, compute))
    assert lengths.max() < 1.25
    assert lengths.median() > 0.65
    skewed = matrix * torch.logspace(0, -2, shape[1])  # one column a hundred times as long as another
    before, after = torch.linalg.svdvals(skewed), torch.linalg.svdvals(orthogonal(skewed, compute))
    assert after.max() / after.median() < 1.8
    assert before.max() / before.median() > 1.9 * after.max() / after.median()


def test_embeddings_head_and_norms_move_as_under_adam():
    ours = tiny_family("llama")
    theirs = copy.deepcopy(ours)
    one, other = Muon(ours), Adam(theirs)
    for model, optimizer in ((ours, one), (theirs, other)):
        loss_of(model, 0).backward()
        optimizer.step(0.01)
    turned = set(inner(ours))
    assert turned
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b) == (name not in turned), name


def test_the_head_of_a_reward_model_moves_as_under_adam():
    def begun():
        torch.manual_seed(0)
        return RewardModel(tiny_family("llama").model, torch.nn.Linear(32, 2))  # two heads: a matrix too

    ours, theirs = begun(), begun()
    ids = torch.randint(3, 90, (2, 12), generator=torch.Generator().manual_seed(0))
    for model, optimizer in ((ours, Muon(ours)), (theirs, Adam(theirs))):
        model.values(model.body(input_ids=ids).last_hidden_state).square().mean().backward()
        optimizer.step(0.01)
    moved_alike = {
        n for (n, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True) if torch.equal(a, b)
    }
    assert {"head.weight", "head.bias", "body.embed_tokens.weight"} <= moved_alike
    assert not any("proj" in name for name in moved_alike)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_a_resumed_run_goes_on_to_the_same_weights(compute):
    straight, first = tiny_family("llama"), tiny_family("llama")
    whole, begun = Muon(straight, compute=compute), Muon(first, compute=compute)
    for step in range(4):
        loss_of(straight, step).backward()
        whole.step(0.01)
    for step in range(2):
        loss_of(first, step).backward()
        begun.step(0.01)
    again = tiny_family("llama", seed=1)
    resumed = Muon(again, compute=compute)
    resumed.load_state_dict(copy.deepcopy(begun.state_dict()))
    for step in range(2, 4):
        loss_of(again, step).backward()
        resumed.step(0.01)
    for a, b in zip(whole.masters, resumed.masters, strict=True):
        assert torch.equal(a, b)


def test_a_gradient_that_is_not_finite_moves_nothing():
    model = tiny_family("llama")
    muon = Muon(model)
    (loss_of(model, 0) * float("nan")).backward()
    muon.step(0.01)
    for a, b in zip(model.parameters(), tiny_family("llama").parameters(), strict=True):
        assert torch.equal(a, b)
