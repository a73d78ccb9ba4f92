"""The head in chunks equals the head at once, with its gradients, temperature and entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rather.models import logprobs as module
from rather.models.logprobs import Head, logprobs, logprobs_and_entropy, weighted_nll

N, D, V = 150, 8, 23


@pytest.fixture(params=[1 << 26, 64 * V * 8], ids=["one chunk", "three chunks"])
def chunk(request, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", request.param)


def leaves(seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=dtype).requires_grad_()  # noqa: E731
    token = torch.randint(V, (N,), generator=rng)
    return draw(N, D), token, draw(V, D), draw(V)


def plain(hidden, token, weight, bias, softcap, temperature):
    logits = F.linear(hidden, weight, bias)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    return F.log_softmax(logits / temperature, -1)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("with_bias", [True, False])
def test_chunked_equals_full_with_gradients(chunk, softcap, temperature, with_bias):
    hidden, token, weight, bias = leaves()
    bias = bias if with_bias else None
    given = [t for t in (hidden, weight, bias) if t is not None]
    up = torch.linspace(-1, 1, N, dtype=torch.float64)
    expected = plain(hidden, token, weight, bias, softcap, temperature).gather(1, token[:, None])[:, 0]
    found = logprobs(hidden, token, Head(weight, bias, softcap), temperature)
    assert torch.allclose(found, expected, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad((found * up).sum(), given), torch.autograd.grad((expected * up).sum(), given), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-11)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_gradients_formed_in_the_forward_equal_those_of_autograd(chunk, softcap):
    hidden, token, weight, bias = leaves(1)
    weights = torch.linspace(0, 2, N, dtype=torch.float64)
    expected = -(plain(hidden, token, weight, bias, softcap, 1.0).gather(1, token[:, None])[:, 0] * weights).sum()
    found = weighted_nll(hidden, token, weights, Head(weight, bias, softcap))
    assert torch.allclose(found, expected, atol=1e-11)
    for a, b in zip(
        torch.autograd.grad(3 * found, [hidden, weight, bias]),
        torch.autograd.grad(3 * expected, [hidden, weight, bias]),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-11)


def test_entropy_is_that_of_the_tempered_distribution(chunk):
    hidden, token, weight, bias = leaves(2)
    logp = plain(hidden, token, weight, bias, None, 0.7)
    found, entropy = logprobs_and_entropy(hidden, token, Head(weight, bias), 0.7)
    assert torch.allclose(entropy, -(logp.exp() * logp).sum(-1))
    assert torch.equal(found, logprobs(hidden, token, Head(weight, bias), 0.7))
    assert not entropy.requires_grad


def test_bf16_states_give_float32_logprobs():
    hidden, token, weight, _ = leaves(3, torch.float32)
    low = logprobs(hidden.bfloat16(), token, Head(weight.bfloat16()))
    assert low.dtype == torch.float32
    full = logprobs(hidden, token, Head(weight))
    assert (low - full).abs().max() < 0.1


def test_frozen_parts_get_no_gradient():
    hidden, token, weight, _ = leaves(4)
    logprobs(hidden, token, Head(weight.detach())).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_gradcheck():
    hidden, token, weight, bias = leaves(5)
    assert torch.autograd.gradcheck(
        lambda h, w, b: logprobs(h, token[:5], Head(w, b, 2.0), 0.7),
        (hidden[:5].detach().requires_grad_(), weight, bias),
    )
