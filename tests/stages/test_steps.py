"""Gradients of whole batches: equal to the plain computation, whatever the token budget and the number of workers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from families import tiny_family
from rather.batches.trees import Tree
from rather.losses import dpo_loss, ranking_loss
from rather.models.logprobs import use_trees
from rather.stages.optim import Adam
from rather.stages.steps import Share, dpo_gradients, ranking_gradients, sft_gradients


def trees_of(seed: int, *shapes: tuple[int, tuple[int, ...]]) -> list[Tree]:
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.integers(3, 97, n).astype(np.int32)  # noqa: E731
    return [Tree(draw(p), tuple(draw(r) for r in responses)) for p, responses in shapes]


DEMONSTRATIONS = trees_of(0, (7, (5,)), (12, (9,)), (1, (30,)), (40, (20,)), (33, (60,)))
PAIRS = trees_of(1, (7, (5, 8)), (12, (9, 1)), (1, (30, 2)), (40, (20, 33)))
RANKINGS = trees_of(2, (7, (5, 8, 3, 3)), (12, (9, 1)), (5, (3, 2, 6, 4, 4, 9, 1, 2, 3)), (2, (4, 5, 6)))
RANKS = [[2, 1, 3, 3], [1, 2], [5, 1, 2, 2, 3, 6, 6, 4, 1], [1, 1, 1]]


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


class Scored(torch.nn.Module):
    """A body with a scalar head, for these tests."""

    def __init__(self) -> None:
        super().__init__()
        self.body = tiny_family("llama").model
        self.head = torch.nn.Linear(32, 1)
        torch.manual_seed(3)
        torch.nn.init.normal_(self.head.weight)

    def score(self, last: torch.Tensor) -> torch.Tensor:
        return self.head(last)[:, 0]


def sft(share):
    model = tree_model()
    adam = Adam(model)
    return sft_gradients(model, DEMONSTRATIONS, share), adam


def dpo(share):
    policy, reference = tree_model(), tree_model(seed=1)
    adam = Adam(policy)
    return dpo_gradients(policy, reference, PAIRS, partial(dpo_loss, beta=0.1), share), adam


def ranking(share):
    model = Scored()
    use_trees(model.body)
    adam = Adam(model)
    return ranking_gradients(model.body, model.score, RANKINGS, RANKS, share), adam


def plain_sft():
    model = tiny_family("llama")
    logps = torch.cat([plain_logprob(model, tree, 0) for tree in DEMONSTRATIONS])
    return -logps.mean(), model


def plain_dpo():
    policy, reference = tiny_family("llama"), tiny_family("llama", 1)
    total = torch.zeros(())
    for tree in PAIRS:
        ratio = [
            plain_logprob(policy, tree, k).sum() - plain_logprob(reference, tree, k).sum().detach() for k in (0, 1)
        ]
        total = total - F.logsigmoid(0.1 * (ratio[0] - ratio[1]))
    return total / len(PAIRS), policy


def plain_ranking():
    model = Scored()
    total = torch.zeros(())
    for tree, ranks in zip(RANKINGS, RANKS, strict=True):
        scores = [model.score(model.body(ids_of(tree, k)).last_hidden_state[:, -1])[0] for k in range(len(ranks))]
        pairs = [
            -F.logsigmoid(scores[i] - scores[j])
            for i in range(len(ranks))
            for j in range(len(ranks))
            if ranks[i] < ranks[j]
        ]
        total = total + (torch.stack(pairs).mean() if pairs else 0)
    return total / len(RANKINGS), model


@pytest.mark.parametrize("budget", [1, 70, 10_000])
@pytest.mark.parametrize(("ours", "plain"), [(sft, plain_sft), (dpo, plain_dpo), (ranking, plain_ranking)])
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
    _, adam = ranking(Share(1000))
    model = Scored()
    use_trees(model.body)
    tied = Adam(model)
    loss = ranking_gradients(model.body, model.score, RANKINGS[3:], RANKS[3:], Share(1000))
    assert loss == 0
    assert not any(gradient.any() for gradient in tied.gradients())
    assert any(gradient.any() for gradient in adam.gradients())


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
