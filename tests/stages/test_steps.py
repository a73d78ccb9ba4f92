"""Gradients of whole batches: equal to the plain computation, whatever the token budget and the number of workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from families import tiny_family
from rather.batches.trees import Tree
from rather.losses import ranking_loss
from rather.models.heads import RewardModel
from rather.models.logprobs import use_trees
from rather.stages.dpo_steps import Preferring, preference_gradients
from rather.stages.optim import Adam
from rather.stages.reward_data import Judged, says_something
from rather.stages.reward_loss import Comparing, reward_gradients
from rather.stages.steps import Share, sft_gradients


def trees_of(seed: int, *shapes: tuple[int, tuple[int, ...]]) -> list[Tree]:
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.integers(3, 97, n).astype(np.int32)  # noqa: E731
    return [Tree(draw(p), tuple(draw(r) for r in responses)) for p, responses in shapes]


def ranked(tree: Tree, ranks: list[int]) -> Judged:
    return Judged(tree, np.array([ranks]), np.full((1, len(ranks)), np.nan), (), ())


DEMONSTRATIONS = trees_of(0, (7, (5,)), (12, (9,)), (1, (30,)), (40, (20,)), (33, (60,)))
PAIRS = [ranked(tree, [1, 2]) for tree in trees_of(1, (7, (5, 8)), (12, (9, 1)), (1, (30, 2)), (40, (20, 33)))]
RANKINGS = [
    ranked(tree, ranks)
    for tree, ranks in zip(
        trees_of(2, (7, (5, 8, 3, 3)), (12, (9, 1)), (5, (3, 2, 6, 4, 4, 9, 1, 2, 3))),
        [[2, 1, 3, 3], [1, 2], [5, 1, 2, 2, 3, 6, 6, 4, 1]],
        strict=True,
    )
]
TIED = ranked(*trees_of(3, (2, (4, 5, 6))), [1, 1, 1])


def tree_model(seed: int = 0):
    model = tiny_family("llama", seed)
    use_trees(model)
    return model


def ids_of(tree: Tree, k: int) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([tree.prompt, tree.responses[k]]).astype(np.int64))[None]


def plain_logprob(model, tree: Tree, k: int) -> torch.Tensor:
    ids, start = ids_of(tree, k), len(tree.prompt)
    logps = F.log_softmax(model(ids).logits[0, start - 1 : -1], -1)
    return logps.gather(1, ids[0, start:, None])[:, 0]


def reward_model() -> RewardModel:
    head = torch.nn.Linear(32, 1)
    torch.manual_seed(3)
    torch.nn.init.normal_(head.weight)
    return RewardModel(tiny_family("llama").model, head)


def sft(share):
    model = tree_model()
    adam = Adam(model)
    return sft_gradients(model, DEMONSTRATIONS, share), adam


def dpo(share):
    policy, reference = tree_model(), tiny_family("llama", 1)
    adam = Adam(policy)
    with torch.no_grad():
        known = torch.tensor([[plain_logprob(reference, pair.tree, k).sum() for k in (0, 1)] for pair in PAIRS])
    return preference_gradients(policy, PAIRS, known, Preferring(), share).loss, adam


def ranking(share, batch=RANKINGS):
    model = reward_model()
    use_trees(model.body)
    adam = Adam(model)
    once = np.ones((len(batch), 1), dtype=np.float32)
    return reward_gradients(model, batch, once, Comparing(), torch.zeros(()), share)[0], adam


def plain_sft():
    model = tiny_family("llama")
    logps = torch.cat([plain_logprob(model, tree, 0) for tree in DEMONSTRATIONS])
    return -logps.mean(), model


def plain_ranking():
    model = reward_model()
    total = torch.zeros(())
    for one in RANKINGS:
        (ranks,) = one.ranks
        scores = [model.score(ids_of(one.tree, k))[0] for k in range(len(ranks))]
        pairs = [
            -F.logsigmoid(scores[i] - scores[j])
            for i in range(len(ranks))
            for j in range(len(ranks))
            if ranks[i] < ranks[j]
        ]
        total = total + torch.stack(pairs).mean()
    return total / len(RANKINGS), model


@pytest.mark.parametrize("budget", [1, 70, 10_000])
@pytest.mark.parametrize(("ours", "plain"), [(sft, plain_sft), (ranking, plain_ranking)])  # DPO's: test_dpo.py
def test_a_batch_of_trees_equals_the_plain_computation_at_any_budget(ours, plain, budget):
    expected, model = plain()
    expected.backward()
    found, adam = ours(Share(budget))
    assert found == pytest.approx(expected.item(), abs=1e-5)
    for name, p, gradient in zip(adam.names, model.parameters(), adam.gradients(), strict=True):
        reference = torch.zeros_like(p) if p.grad is None else p.grad
        scale = reference.abs().max().clamp(min=1)
        assert (gradient - reference).abs().max() / scale < 1e-5, name


@pytest.mark.parametrize("ours", [sft, dpo, ranking])
@pytest.mark.parametrize("workers", [2, 3])
def test_the_shares_of_the_workers_add_up_to_the_whole(ours, workers):
    whole, one = ours(Share(70))
    shares = [ours(Share(70, rank, workers)) for rank in range(workers)]
    assert sum(loss for loss, _ in shares) == pytest.approx(whole, abs=1e-5)
    for expected, *parts in zip(one.gradients(), *(adam.gradients() for _, adam in shares), strict=True):
        scale = expected.abs().max().clamp(min=1)
        assert (sum(parts) - expected).abs().max() / scale < 1e-5


def test_a_prompt_that_is_all_ties_teaches_nothing():
    assert not says_something(TIED, ties=False), "so the stage leaves it out"
    loss, alone = ranking(Share(1000))
    diluted, with_it = ranking(Share(1000), [*RANKINGS, TIED])
    assert diluted == pytest.approx(loss * 3 / 4)
    for expected, gradient in zip(alone.gradients(), with_it.gradients(), strict=True):
        torch.testing.assert_close(gradient, expected * 3 / 4, atol=1e-6, rtol=1e-5)


def test_a_mean_over_prompts_is_not_a_mean_over_pairs():
    scores, ranks = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), torch.tensor([[1, 2, 3], [1, 2, 0]])
    first, second = (ranking_loss(scores[i : i + 1], ranks[i : i + 1], 1) for i in (0, 1))
    assert ranking_loss(scores, ranks, 2).item() == pytest.approx((first + second).item() / 2)


def test_a_few_updates_in_bfloat16_lower_the_loss():
    torch.manual_seed(0)
    model = tree_model()
    adam = Adam(model, compute=torch.bfloat16)
    losses = []
    for _ in range(20):
        losses.append(sft_gradients(model, DEMONSTRATIONS, Share(200)))
        adam.step(0.01)
    assert losses[-1] < losses[0] / 2
