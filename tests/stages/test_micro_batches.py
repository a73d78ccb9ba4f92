"""Eight at once, eight times one, packed under any budget: the same loss, gradient norm and weights after ten steps.

Held against one padded batch of eight, forward and backward by plain `transformers`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.models.heads import RewardModel, reward_model_from
from rather.models.load import Policy
from rather.models.logprobs import use_trees
from rather.stages.optim import Adam
from rather.stages.reward import RewardConfig, encoder_of
from rather.stages.reward_data import Judged, judged
from rather.stages.reward_loss import Comparing, reward_gradients
from rather.stages.steps import Share, sft_gradients
from reward_world import demonstrations, policy, rankings

STEPS, RATE = 10, 1e-4
Trained = tuple[list[tuple[float, float]], Tensor]  # loss and gradient norm of each step, the weights at the end


def ten_steps(model: torch.nn.Module, gradients: Callable[[], float]) -> Trained:
    adam, seen = Adam(model), []
    for _ in range(STEPS):
        loss = gradients()
        seen.append((loss, adam.step(RATE, max_norm=1.0)))
    return seen, torch.cat([p.detach().flatten() for p in model.parameters()])


def padded(sequences: list[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    """-> ids and attention mask (B, T), padded on the right; lengths (B,)"""
    lengths = torch.tensor([len(s) for s in sequences])
    ids = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = torch.from_numpy(sequence.astype(np.int64))
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long(), lengths


# ---- step 1


def eight_demonstrations(start: Policy) -> list[Tree]:
    trees, _ = Encoder(start.tokenizer, start.tokenizer.chat_template).encode_all(demonstrations(8))
    assert len({len(tree.responses[0]) for tree in trees}) >= 3, "of different lengths"
    return trees


def sft_by_trees(budget: int) -> Trained:
    start = policy()
    use_trees(start.model)
    trees = eight_demonstrations(start)
    return ten_steps(start.model, lambda: sft_gradients(start.model, trees, Share(budget)))


def sft_by_a_padded_batch() -> Trained:
    start = policy()
    trees = eight_demonstrations(start)
    ids, mask, _ = padded([np.concatenate([tree.prompt, tree.responses[0]]) for tree in trees])
    labels = torch.full_like(ids, -100)
    for row, tokens, tree in zip(labels, ids, trees, strict=True):
        end = tree.size
        row[len(tree.prompt) : end] = tokens[len(tree.prompt) : end]

    def gradients() -> float:
        logits = start.model(ids, attention_mask=mask).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        return float(loss.detach())

    return ten_steps(start.model, gradients)


# ---- step 2


def eight_rankings(start: Policy) -> list[Judged]:
    """K is 4, ties among them: from three to four of six pairs count."""
    found = judged(rankings(8, seed=3), encoder_of(start.tokenizer, 128, RewardConfig()))[0]
    assert {sorted(element.ranks[0]).count(1) for element in found} == {1, 2, 3}
    return found


def reward_model() -> tuple[Policy, RewardModel]:
    start = policy()
    model = reward_model_from(start.model, torch.Generator().manual_seed(0))
    model.head.bias.requires_grad_(False)  # of a difference of scores it has no gradient
    return start, model


def reward_by_trees(budget: int) -> Trained:
    start, model = reward_model()
    use_trees(model.body)
    batch, once = eight_rankings(start), np.ones((8, 1), dtype=np.float32)
    share, none = Share(budget), torch.zeros(())
    return ten_steps(model, lambda: reward_gradients(model, batch, once, Comparing(), none, share)[0])


def reward_by_a_padded_batch() -> Trained:
    start, model = reward_model()
    batch = eight_rankings(start)
    texts = [np.concatenate([one.tree.prompt, response]) for one in batch for response in one.tree.responses]
    ids, mask, lengths = padded(texts)

    def gradients() -> float:
        hidden = model.body(ids, attention_mask=mask).last_hidden_state
        scores = model.head(hidden[torch.arange(len(ids)), lengths - 1])[:, 0].view(8, 4)
        loss = torch.zeros(())
        for of_prompt, ranks in zip(scores, (element.ranks[0] for element in batch), strict=True):
            pairs = [(i, j) for i in range(4) for j in range(4) if ranks[i] < ranks[j]]
            loss = loss + sum(F.softplus(of_prompt[j] - of_prompt[i]) / len(pairs) for i, j in pairs) / 8
        loss.backward()
        return float(loss.detach())

    return ten_steps(model, gradients)


STAGES = {"sft": (sft_by_trees, sft_by_a_padded_batch), "reward": (reward_by_trees, reward_by_a_padded_batch)}


@pytest.fixture(scope="module", params=STAGES)
def stage(request) -> tuple[Callable[[int], Trained], Trained]:
    by_trees, by_a_padded_batch = STAGES[request.param]
    return by_trees, by_a_padded_batch()


@pytest.mark.parametrize("budget", [1, 100_000, *random.Random(0).sample(range(20, 400), 4)])
def test_the_token_budget_changes_neither_loss_nor_gradient_norm_nor_weights(stage, budget):
    by_trees, (seen, weights) = stage
    found, mine = by_trees(budget)
    assert found == [pytest.approx(pair, abs=1e-6, rel=1e-6) for pair in seen]
    assert (weights - mine).abs().max() < 1e-6
