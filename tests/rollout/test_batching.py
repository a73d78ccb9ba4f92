"""Slots keep nothing and mix nothing: a request's tokens do not know who was beside it, before it or after it."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from policies import ended_more_often, policy_of, prompts_of, seeds

from families import FAMILIES
from rather.models.dropout import dropout_of, set_dropout
from rather.models.load import Policy
from rather.models.logprobs import use_trees
from rather.models.slots import SlotCache
from rather.rollout import Sampling, sample, samples, tokens


def said(policy, prompts, how, numbers):
    """(prompt, seed) -> what was said, log-probabilities to four places"""
    return {
        (tuple(prompts[s.prompt]), s.seed): (s.tokens.tolist(), [pytest.approx(p, abs=1e-4) for p in s.logprobs])
        for s in samples(policy, prompts, how, numbers)
    }


def ragged(family: str) -> Policy:
    return ended_more_often(policy_of(family), by=1.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_is_the_same_whatever_is_in_the_batch_in_any_order_on_any_number_of_slots(family):
    policy = ragged(family)
    prompts = prompts_of(np.random.default_rng(0), [1, 50, 3, 17, 64, 2, 31, 8, 8, 40])
    numbers = seeds(10, 3)
    how = Sampling(max_new_tokens=20, samples=3, slots=8)
    together = said(policy, prompts, how, numbers)
    backwards = said(policy, prompts[::-1], how.model_copy(update={"slots": 64}), numbers[::-1])
    one_slot = said(policy, prompts[3:5], how.model_copy(update={"slots": 1}), numbers[3:5])
    assert backwards == together
    assert one_slot.items() <= together.items()
    for prompt, row in zip(prompts[:3], numbers, strict=False):
        alone = said(policy, [prompt], Sampling(max_new_tokens=20), row[:1, None])
        assert alone.items() <= together.items()


def leaks(requests: int, seed: int) -> None:
    """Each of many ragged requests through few slots, and then alone."""
    policy = ended_more_often(policy_of("llama", num_hidden_layers=1), by=2.5)
    use_trees(policy.model)
    rng = np.random.default_rng(seed)
    prompts = prompts_of(rng, rng.integers(1, 25, requests))
    how = Sampling(max_new_tokens=10, slots=24)
    lengths = set()
    for s in samples(policy, prompts, how, seeds(requests)):
        ((alone,),) = sample(policy, [prompts[s.prompt]], how, np.array([[s.seed]])).samples
        assert s.tokens.tolist() == alone.tokens.tolist()
        assert np.abs(s.logprobs - alone.logprobs).max() < 1e-5
        assert s.finished == alone.finished
        lengths.add(len(s.tokens))
    assert lengths == set(range(1, 11))


def test_five_hundred_ragged_requests_each_say_what_they_say_alone():
    leaks(500, seed=1)


@pytest.mark.slow
def test_ten_thousand_ragged_requests_each_say_what_they_say_alone():
    leaks(10_000, seed=2)


def test_more_samples_than_slots_share_one_reading_of_their_prompt(monkeypatch):
    """Counted at the embedding: the prompt's tokens go in once, whatever K."""
    policy = ragged("llama")
    widths = []
    handle = policy.model.get_input_embeddings().register_forward_hook(lambda m, args, out: widths.append(out.shape[1]))
    use_trees(policy.model)
    widths.clear()
    prompt = np.arange(10, 60, dtype=np.int32)
    rollout = sample(policy, [prompt], Sampling(max_new_tokens=6, samples=40, slots=8), seeds(1, 40))
    handle.remove()
    assert [w for w in widths if w > 1] == [128]  # one row
    assert len({s.tokens.tobytes() for s in rollout.samples[0]}) > 20


def test_samples_that_live_on_while_most_end_at_once_say_what_they_say_alone():
    """The slots move together before any of them has made a step."""
    policy = ended_more_often(policy_of("llama"), by=5.0)
    prompt = np.arange(10, 40, dtype=np.int32)
    how = Sampling(max_new_tokens=6, samples=64)
    together = said(policy, [prompt], how, seeds(1, 64))
    living = [(key, value) for key, value in together.items() if len(value[0]) > 1]
    assert 0 < len(living) <= 32
    for (_, seed), (tokens_of_it, _) in living:
        ((alone,),) = sample(policy, [prompt], Sampling(max_new_tokens=6), np.array([[seed]])).samples
        assert alone.tokens.tolist() == tokens_of_it


def test_a_training_model_is_sampled_without_dropout_and_left_as_it_was():
    policy = ragged("llama")
    still = sample(policy, [np.array([5, 6], np.int32)], Sampling(max_new_tokens=8, samples=8), seeds(1, 8))
    model = policy.model.train()
    set_dropout(model, 0.5)
    model.model.layers[0].eval()  # a part that somebody froze
    model(torch.tensor([[5, 6, 7]])).logits.sum().backward()
    before = {name: (p.grad.clone(), p.requires_grad) for name, p in model.named_parameters()}
    flags = [module.training for module in model.modules()]
    attention = model.config._attn_implementation
    stream = samples(policy, [np.array([5, 6], np.int32)], Sampling(max_new_tokens=8, samples=8), seeds(1, 8))
    drawn = []
    for s in stream:  # also while the stream waits
        assert [module.training for module in model.modules()] == flags
        assert model.config._attn_implementation == attention
        drawn.append((s.sample, s.tokens.tolist()))
    assert sorted(drawn) == [(s.sample, s.tokens.tolist()) for s in still.samples[0]]
    assert dropout_of(model)
    assert all(
        torch.equal(p.grad, before[n][0]) and p.requires_grad == before[n][1] for n, p in model.named_parameters()
    )
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("stream", [samples, tokens])
def test_a_closed_stream_frees_everything(stream):
    policy = ragged("llama")
    caches = lambda: sum(type(thing) is SlotCache for thing in gc.get_objects())  # noqa: E731
    gc.collect()
    before = caches()
    running = stream(policy, prompts_of(np.random.default_rng(0), [5] * 30), Sampling(max_new_tokens=20), seeds(30))
    next(running)
    assert caches() == before + 1
    running.close()
    del running
    assert caches() == before  # by reference counting alone: nothing waits for the collector


def test_two_streams_of_one_model_may_take_turns():
    policy = ragged("gpt2")
    prompts = prompts_of(np.random.default_rng(0), [5, 9, 20])
    how = Sampling(max_new_tokens=10)
    apart = [list(tokens(policy, prompts, how, seeds(3, first=first))) for first in (0, 100)]
    streams = [tokens(policy, prompts, how, seeds(3, first=first)) for first in (0, 100)]
    heard: list[list] = [[], []]
    while any(more := [next(stream, None) for stream in streams]):
        for where, token in zip(heard, more, strict=True):
            where += [token] if token else []
    assert heard == apart
