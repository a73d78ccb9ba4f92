"""Benchmarks on models: a policy that knows the answers gets them all, one that knows nothing gets chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rather.batches.trees import Tree
from rather.errors import BadModel
from rather.evaluate import benchmarks_of
from rather.evaluate.asking import ask, tokens_with
from rather.evaluate.benchmarks import grades
from rather.evaluate.likelihood import likelihoods, of_choices
from rather.models.load import Policy
from rather.models.tiny import TinyConfig, tiny
from rather.rollout import Sampling
from rather.worlds import Marn
from rather.worlds.benchmarks import Benchmark, Question

WORLD = Marn(seed=0, scale="tiny")


@pytest.fixture(scope="module")
def policy() -> Policy:
    texts = [q.prompt + q.answer + "\n" for b in WORLD.benchmarks(20).values() for q in b.questions]
    config = TinyConfig(vocabulary=600, hidden=16, layers=1, heads=2, context=192, template="none")
    return tiny(config, texts, torch.Generator().manual_seed(0))


def test_a_model_that_knows_nothing_gets_about_what_guessing_gets(policy):
    found = benchmarks_of(policy, WORLD, n=40)
    assert set(found) == set(WORLD.benchmarks(1))
    written = {"reading", "discrete_reasoning", "sums", "translation", "knowledge"}
    assert all(found[name] < 0.1 for name in written)
    assert 0.02 < found["commonsense"] < 0.6
    assert 0.2 < found["sentiment"] < 0.8
    assert benchmarks_of(policy, WORLD, n=40) == found


def test_the_choice_with_the_likeliest_tokens_is_taken(policy):
    prompts, choices = ["once there was", "1 + 1 ="], [(" a cat", " a dog and a cat"), (" 2", " 30")]
    found = of_choices(policy, prompts, choices)
    for prompt, texts, of in zip(prompts, choices, found, strict=True):
        start = policy.tokenizer(prompt)["input_ids"]
        for text, likelihood in zip(texts, of, strict=True):
            ids = policy.tokenizer(prompt + text)["input_ids"]
            with torch.no_grad():
                logits = policy.model(torch.tensor([ids])).logits[0]
            logps = torch.log_softmax(logits, -1)[torch.arange(len(start) - 1, len(ids) - 1), ids[len(start) :]]
            assert likelihood.total == pytest.approx(float(logps.sum()), abs=1e-4)
            assert likelihood.per_token == pytest.approx(float(logps.mean()), abs=1e-4)
    best = [max(range(2), key=lambda k: of[k].per_token) for of in found]
    right = [Question(str(at), p, c[k], c) for at, (p, c, k) in enumerate(zip(prompts, choices, best, strict=True))]
    assert grades(policy, Benchmark("b", "", tuple(right))) == [1.0, 1.0]


def test_entropies_are_those_of_what_a_token_was_drawn_from(policy):
    tree = Tree(np.array([0, 5], np.int32), (np.array([7, 8, 9], np.int32),))
    ((found,),) = likelihoods(policy, [tree])
    with torch.no_grad():
        logps = torch.log_softmax(policy.model(torch.tensor([[0, 5, 7, 8, 9]])).logits[0], -1)
    entropy = -(logps.exp() * logps).sum(-1)[1:4]
    assert found.entropies == pytest.approx(entropy.numpy(), abs=1e-4)


def test_an_answer_ends_with_its_line(policy):
    breaks = set(tokens_with(policy, "\n"))
    assert breaks
    sampling = Sampling(max_new_tokens=40, samples=8)
    for answers in ask(policy, ["once there was", "1 + 1 ="], sampling, seed=0, end="\n"):
        assert answers is not None
        for said in answers:
            assert not breaks & set(said.tokens[:-1].tolist())
            assert said.finished or len(said.tokens) == 40


def test_what_is_said_to_a_prompt_does_not_depend_on_prompts_that_do_not_fit(policy):
    sampling = Sampling(max_new_tokens=8)
    short, long = "once there was", "1 + 1 = 2 " * 60
    assert [a and a[0].text for a in ask(policy, [short, short], sampling, 3)][1] == (
        ask(policy, [long, short], sampling, 3)[1] or [None]
    )[0].text
    assert ask(policy, [long, short], sampling, 3)[0] is None


def test_a_model_with_too_small_a_window_has_no_score(policy):
    small = tiny(
        TinyConfig(vocabulary=300, hidden=16, layers=1, heads=2, context=16, template="none"),
        ["a b c"],
        torch.Generator().manual_seed(0),
    )
    with pytest.raises(BadModel, match="reads 16 tokens"):
        benchmarks_of(small, WORLD, n=2)
