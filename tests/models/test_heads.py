"""The scalar head: how it begins, what it reads, what a shift does."""

from __future__ import annotations

import pytest
import torch
from torch import tensor

from families import FAMILIES, tiny_family
from rather.batches.packing import collate
from rather.batches.trees import Tree
from rather.models.heads import new_head, reward_model_from
from rather.models.logprobs import hidden_states, last_tokens, use_trees


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def reward_model(name, **sizes):
    model = reward_model_from(tiny_family(name, **sizes), rng())
    model.shift(0.7)
    return model.eval()


def test_a_new_head_has_weights_of_variance_one_over_d_plus_one_and_no_bias():
    head = new_head(9999, rng())
    assert head.bias.tolist() == [0.0]
    assert head.weight.shape == (1, 9999)
    assert head.weight.var().item() == pytest.approx(1e-4, rel=0.05)  # not standard deviation 1/(D+1): 1e-8
    assert abs(head.weight.mean().item()) < 3e-4


def test_the_same_generator_gives_the_same_head():
    assert torch.equal(new_head(64, rng(3)).weight, new_head(64, rng(3)).weight)
    assert not torch.equal(new_head(64, rng(3)).weight, new_head(64, rng(4)).weight)


def test_the_body_is_a_copy_and_the_policy_stays_as_it_is():
    policy = tiny_family("llama")
    before = policy.model.norm.weight.detach().clone()
    model = reward_model_from(policy, rng())
    with torch.no_grad():
        model.body.norm.weight.zero_()
    assert torch.equal(policy.model.norm.weight, before)


def test_scores_are_read_at_the_positions_given():
    model = reward_model("llama")
    with torch.no_grad():
        model.head.weight.copy_(torch.arange(32.0))
        model.head.bias.fill_(0.5)
        hidden = torch.zeros(1, 4, 32)
        hidden[0, 1, 3], hidden[0, 3, 2] = 2.0, 1.0
        assert model(hidden, tensor([3, 1, 0])).tolist() == [2.5, 6.5, 0.5]
        assert model.values(hidden).tolist() == [[0.5, 6.5, 0.5, 2.5]]


def test_a_shift_moves_every_score_by_that_much_and_no_difference():
    model = reward_model("gpt2")
    tokens = torch.arange(3, 33).reshape(3, 10)
    with torch.no_grad():
        before = model.score(tokens)
        model.shift(-before.mean().item())
        after = model.score(tokens)
    assert after.mean().item() == pytest.approx(0, abs=1e-6)
    assert torch.allclose(after - after[0], before - before[0], atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_on_either_side_changes_no_score(name):
    model = reward_model(name)
    text, pad = torch.arange(5, 12)[None], torch.full((1, 4), 2)
    ones, zeros = torch.ones_like(text), torch.zeros_like(pad)
    with torch.no_grad():
        bare = model.score(text)
        right = model.score(torch.cat([text, pad], 1), torch.cat([ones, zeros], 1))
        left = model.score(torch.cat([pad, text], 1), torch.cat([zeros, ones], 1))
    assert torch.allclose(right, bare, atol=1e-5)
    assert torch.allclose(left, bare, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_scores_of_a_tree_are_those_of_its_responses_one_by_one(name):
    model = reward_model(name)
    prompt, responses = torch.arange(3, 9), [torch.arange(20, 24), torch.arange(40, 47), torch.arange(7, 9)]
    with torch.no_grad():
        apart = [model.score(torch.cat([prompt, response])[None]).item() for response in responses]
        use_trees(model.body)
        row = collate([Tree(prompt.numpy(), tuple(response.numpy() for response in responses))])
        together = model(hidden_states(model.body, row), last_tokens(row))
        assert together.tolist() == pytest.approx(apart, abs=1e-5)
        # The plain way still reads padded rows, and leaves the body switched to trees.
        assert model.score(torch.cat([prompt, responses[0]])[None]).item() == pytest.approx(apart[0], abs=1e-5)
        assert model(hidden_states(model.body, row), last_tokens(row)).tolist() == pytest.approx(apart, abs=1e-5)
