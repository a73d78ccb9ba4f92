"""What lm-evaluation-harness asks of a model, held against plain forwards; its class where it is installed."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from conftest import small_policy
from rather.errors import BadModel, BadSetting, MissingExtra
from rather.evaluate.asking import encoder_of
from rather.evaluate.lm_eval_adapter import generate_until, language_model, loglikelihood, loglikelihood_rolling
from rather.models.load import window_of

THERE = importlib.util.find_spec("lm_eval") is not None


@pytest.fixture(scope="module")
def policy():
    return small_policy(0)


def forward(policy, ids):
    """(T - 1, V) log-probabilities of what follows each token but the last."""
    with torch.no_grad():
        return policy.model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)


def ids_of(policy, text):
    ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = encoder_of(policy).bos_id
    return [policy.stops[0] if start is None else start, *ids]


def test_continuations_and_whether_they_are_greedy(policy):
    context = "the island has"
    ids = ids_of(policy, context)[(encoder_of(policy).bos_id is None) :]
    best = [*ids, int(forward(policy, [*ids, 0])[-1].argmax())]
    likeliest = policy.tokenizer.decode(best[-1:])
    for continuation in (" a harbour", likeliest):
        ((total, greedy),) = loglikelihood(policy, [(context, continuation)])
        tokens = policy.tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
        whole = ids[: len(ids) - len(policy.tokenizer(context, add_special_tokens=False)["input_ids"])] + tokens
        logps = forward(policy, whole)[len(ids) - 1 :]
        wanted = torch.tensor(whole[len(ids) :])
        assert total == pytest.approx(float(logps.gather(1, wanted[:, None]).sum()), abs=1e-3)
        assert greedy == bool((logps.argmax(-1) == wanted).all())


def test_the_space_that_ends_a_context_opens_the_continuation(policy):
    assert loglikelihood(policy, [("the island ", "has")]) == loglikelihood(policy, [("the island", " has")])
    assert loglikelihood(policy, []) == []
    ((alone, _),) = loglikelihood(policy, [("", "the island")])
    assert alone == pytest.approx(loglikelihood_rolling(policy, ["the island"])[0], abs=1e-4)


def test_whole_texts_token_by_token_over_several_windows(policy):
    text = "the island has a harbour and " * 60
    ids, window = ids_of(policy, text), window_of(policy.model.config)
    assert len(ids) > 2 * window
    total = 0.0
    for begin in range(0, len(ids) - 1, window - 1):
        part = ids[begin : begin + window]
        total += float(forward(policy, part).gather(1, torch.tensor(part[1:])[:, None]).sum())
    assert loglikelihood_rolling(policy, [text, "so"])[0] == pytest.approx(total, abs=1e-2)


def test_answers_end_before_whatever_ends_them(policy):
    asked = [("the island", {"until": ["\n", " zz"], "max_gen_toks": 12}), ("so", {"until": "e", "max_gen_toks": 8})]
    first, second = generate_until(policy, asked)
    assert "\n" not in first
    assert "e" not in second
    assert generate_until(policy, asked[::-1]) == [second, first]
    with pytest.raises(BadSetting, match="num_beams"):
        generate_until(policy, [("x", {"num_beams": 2})])
    with pytest.raises(BadModel, match="reads 192 tokens"):
        generate_until(policy, [("x", {"max_gen_toks": 500})])


@pytest.mark.skipif(THERE, reason="lm-eval is installed")
def test_without_lm_eval_it_says_how_to_get_it():
    with pytest.raises(MissingExtra, match=r"rather\[eval\]"):
        language_model()


@pytest.mark.skipif(not THERE, reason="the extra `eval` is not installed")
def test_lm_eval_knows_the_class(policy):
    from lm_eval.api.instance import Instance  # an optional dependency
    from lm_eval.api.registry import get_model

    made = language_model()
    assert get_model("rather") is made
    request = Instance(request_type="loglikelihood", doc={}, arguments=("the island", " has"), idx=0)
    assert made(policy).loglikelihood([request]) == loglikelihood(policy, [("the island", " has")])
