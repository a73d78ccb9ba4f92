"""Samples of one prompt may read its keys together, and a CPU may attend by another kernel: both say the same."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from policies import as_policy, policy_of, prompts_of, seeds

from families import tiny_family
from rather.models import slots
from rather.models.cache import read_prompts
from rather.models.logprobs import use_trees
from rather.models.slots import SlotCache, decode, may_share
from rather.rollout import Sampling, sample

ANSWERS = (0, 1, 0, 2, 1, 0, 2, 2)  # which prompt each of eight slots answers: samples of one do not lie together


def bfloat16(family: str, **sizes):
    model = tiny_family(family, **sizes)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    return model


@pytest.mark.parametrize(
    ("family", "sizes"), [("llama", {}), ("gpt2", {}), ("gemma2", {"sliding_window": 100}), ("qwen3", {})]
)
def test_logits_after_a_shared_prompt_are_those_after_a_copied_one(family, sizes):
    """In float32, over forty tokens: the slots grow on the way. Gemma 2 caps its scores."""
    model = tiny_family(family, **sizes)
    use_trees(model)
    prefixes, _ = read_prompts(model, prompts_of(np.random.default_rng(0), [3, 40, 17]))
    mine = [prefixes[prompt] for prompt in ANSWERS]
    copied, shared = SlotCache(8, together=4), SlotCache(8, together=8)
    for slot, prefix in enumerate(mine):
        copied.fill(slot, prefix)
    rng = np.random.default_rng(1)
    for place in range(40):
        tokens = rng.integers(3, 97, 8).tolist()
        apart = decode(model, copied, tokens, [prefix.length + place for prefix in mine])
        together = decode(model, shared, tokens, [place] * 8, mine)
        torch.testing.assert_close(together, apart, atol=2e-5, rtol=0)
    assert shared.groups[0].length == 64, "what follows the prompts, and not the prompts"


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("family", "sizes"), [("llama", {}), ("gpt2", {}), ("mistral_window", {}), ("gemma2", {"sliding_window": 100})]
)
def test_in_bfloat16_log_probabilities_are_as_near_the_truth_as_a_plain_forwards(family, sizes, fused, monkeypatch):
    """By either kernel. The truth is float32 under the same weights."""
    monkeypatch.setattr(slots, "_fused_is_faster", lambda device: fused)
    model = bfloat16(family, **sizes)
    prompts = prompts_of(np.random.default_rng(2), [1, 40, 12])
    rollout = sample(as_policy(model), prompts, Sampling(max_new_tokens=36, samples=5, slots=8), seeds(3, 5))
    truth = deepcopy(model).to(torch.float32)
    ours, plain = [], []
    for prompt, row in zip(prompts, rollout.samples, strict=True):
        for one in row:
            true = logprobs_of(truth, prompt, one.tokens)
            ours.append(np.abs(one.logprobs - true))
            plain.append(np.abs(logprobs_of(model, prompt, one.tokens) - true))
    mean = lambda parts: np.concatenate(parts).mean()  # noqa: E731
    assert 0 < mean(ours) < 1.3 * mean(plain)


def logprobs_of(model, prompt, response) -> np.ndarray:
    """By a plain forward."""
    ids = torch.tensor([*prompt.tolist(), *response.tolist()])
    with torch.no_grad():
        logits = model(ids[None]).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, ids[len(prompt) :, None])[:, 0].numpy()


@pytest.mark.parametrize("queries", [1, 2, 5])
def test_both_kernels_find_the_same_sums(queries, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    drawn = lambda *shape: torch.randn(*shape, generator=rng).to(torch.bfloat16)  # noqa: E731
    query, key, value = drawn(4, 2, queries, 8), drawn(4, 2, 33, 8), drawn(4, 2, 33, 8)
    mask = torch.zeros(4, 1, 1, 33, dtype=torch.bfloat16)
    mask[1, ..., 20:] = float("-inf")
    scores = (query.double() @ key.double().mT) * 0.3 + mask
    found = {}
    for fused in (False, True):
        monkeypatch.setattr(slots, "_fused_is_faster", lambda device, fused=fused: fused)
        found[fused] = slots._attend(query, key, value, mask, 0.3, None, with_lse=True)
        torch.testing.assert_close(found[fused][0].double(), scores.softmax(-1) @ value.double(), atol=0.02, rtol=0.02)
        torch.testing.assert_close(found[fused][1].double(), scores.logsumexp(-1), atol=0.02, rtol=0)


def test_float32_shares_nothing_as_its_seeds_promise_and_a_short_window_forbids_it():
    assert not may_share(tiny_family("llama"), 10)
    assert may_share(bfloat16("llama"), 10)
    assert may_share(bfloat16("mistral_window"), 4)
    assert not may_share(bfloat16("mistral_window"), 5)


def test_in_float32_one_of_many_samples_of_a_prompt_has_the_same_bits_alone():
    policy = policy_of("llama", stops=())
    (prompt,) = prompts_of(np.random.default_rng(3), [50])
    many = sample(policy, [prompt], Sampling(max_new_tokens=20, samples=12), seeds(1, 12)).samples[0]
    for one in many[::4]:
        ((alone,),) = sample(policy, [prompt], Sampling(max_new_tokens=20), np.array([[one.seed]])).samples
        assert alone.tokens.tolist() == one.tokens.tolist()
        assert alone.logprobs.tolist() == one.logprobs.tolist()
