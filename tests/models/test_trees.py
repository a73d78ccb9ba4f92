"""A tree equals K separate sequences: loss, log-probabilities and gradients, for each family of models.

The oracle is the plain model on one sequence at a time, with transformers' own attention.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from families import FAMILIES, tiny_family
from rather.batches.packing import collate, rows
from rather.batches.trees import Tree
from rather.errors import BadModel
from rather.models.attention import Layout
from rather.models.logprobs import Head, hidden_states, last_tokens, logprobs, targets, use_trees, weighted_nll

WAYS = ("blocks", "dense")


def trees_of(rng: np.random.Generator, *shapes: tuple[int, tuple[int, ...]]) -> list[Tree]:
    draw = lambda n: rng.integers(3, 97, n).astype(np.int32)  # noqa: E731
    return [Tree(draw(p), tuple(draw(r) for r in responses)) for p, responses in shapes]


MIXED = ((7, (5,)), (12, (3, 9)), (1, (1, 2, 30, 4)), (40, (20, 33, 1)), (33, (60,)))


def separate(model, trees):
    """(log-probs, token by token, of every response of every tree) by plain forwards without packing or padding."""
    found = []
    for tree in trees:
        for response in tree.responses:
            ids = torch.from_numpy(np.concatenate([tree.prompt, response]).astype(np.int64))[None]
            logits = model(ids).logits[0, len(tree.prompt) - 1 : -1]
            found.append(F.log_softmax(logits.float(), -1).gather(1, ids[0, len(tree.prompt) :, None])[:, 0])
    return torch.cat(found)


def packed(model, trees, budget, way):
    found = {}
    for row in rows(trees, budget):
        where = targets(row)
        hidden = hidden_states(model, row, Layout(row, way))
        logps = logprobs(hidden[where.predictor], where.token, Head.of(model))
        for s in range(len(row.length)):
            found[int(row.tree_of[s]), int(row.response_of[s])] = logps[where.sequence == s]
    return torch.cat([found[key] for key in sorted(found)])


def same_gradients(plain, model):
    for (name, p), q in zip(plain.named_parameters(), model.parameters(), strict=True):
        scale = p.grad.abs().max().clamp(min=1.0)
        assert (p.grad - q.grad).abs().max() / scale < 1e-5, name


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_equals_separate_sequences_in_loss_and_gradients(family, way):
    plain, model = tiny_family(family), tiny_family(family)
    use_trees(model)
    trees = trees_of(np.random.default_rng(0), *MIXED)
    weight = torch.linspace(0.5, 1.5, sum(len(r) for t in trees for r in t.responses))
    expected, found = separate(plain, trees), packed(model, trees, 150, way)
    assert (expected - found).abs().max() < 2e-5  # single tokens; their mean, the loss, is nearer
    assert (expected - found).mean().abs() < 1e-5
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    same_gradients(plain, model)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_trees_equal_each_tree_in_a_row_of_its_own(family):
    alone, together = tiny_family(family), tiny_family(family)
    for model in (alone, together):
        use_trees(model)
    trees = trees_of(np.random.default_rng(1), *MIXED)
    expected, found = (packed(model, trees, budget, "blocks") for model, budget in ((alone, 1), (together, 10_000)))
    assert (expected - found).abs().max() < 1e-5
    expected.sum().backward()
    found.sum().backward()
    same_gradients(alone, together)


@pytest.mark.parametrize("budget", [1, 64, 200, 10_000])
def test_the_token_budget_changes_no_number(budget):
    model = tiny_family("llama")
    use_trees(model)
    trees = trees_of(np.random.default_rng(1), *MIXED)
    one = packed(model, trees, 400, "blocks")
    assert (packed(model, trees, budget, "blocks") - one).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_segments_longer_than_a_block_of_queries_are_cut_without_a_seam(family, monkeypatch):
    monkeypatch.setattr("rather.models.attention.QUERY_BLOCK", 32)
    model = tiny_family(family)
    trees = trees_of(np.random.default_rng(2), (70, (50,)), (35, (40, 33)))
    expected = separate(model, trees)
    use_trees(model)
    assert (packed(model, trees, 1000, "blocks") - expected).abs().max() < 2e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_padded_batch_equals_unpadded_rows_in_loss_and_gradients(family):
    """Left-padded prompts, right-padded responses, positions counting real tokens: the usual way to batch."""
    plain, model = tiny_family(family), tiny_family(family)
    use_trees(model)
    trees = trees_of(np.random.default_rng(3), (3, (9,)), (11, (4,)), (6, (6,)))
    left, right = 11, 9
    ids = torch.full((3, left + right), 2)
    seen = torch.zeros_like(ids)
    for i, t in enumerate(trees):
        n, m = len(t.prompt), len(t.responses[0])
        ids[i, left - n : left + m] = torch.from_numpy(np.concatenate([t.prompt, t.responses[0]]))
        seen[i, left - n : left + m] = 1
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    logits = plain(ids, attention_mask=seen, position_ids=positions).logits
    padded = torch.cat(
        [
            F.log_softmax(logits[i, left - 1 : left - 1 + len(t.responses[0])], -1).gather(
                1, ids[i, left : left + len(t.responses[0]), None]
            )[:, 0]
            for i, t in enumerate(trees)
        ]
    )
    unpadded = packed(model, trees, 1000, "blocks")
    assert (unpadded - padded).abs().max() < 1e-5
    padded.sum().backward()
    unpadded.sum().backward()
    same_gradients(plain, model)


def test_another_tree_in_the_row_changes_nothing():
    model = tiny_family("llama")
    use_trees(model)
    rng = np.random.default_rng(4)
    mine, other, strange = trees_of(rng, (9, (5, 6)), (9, (5, 6)), (9, (5, 6)))
    beside = packed(model, [mine, other], 1000, "blocks")[:11]
    assert beside.equal(packed(model, [mine, strange], 1000, "blocks")[:11])


def test_last_tokens_are_where_a_reward_model_reads():
    row = collate(trees_of(np.random.default_rng(5), (4, (3, 1)), (2, (2,))))
    assert last_tokens(row).tolist() == [6, 7, 11]


def test_a_silent_row_gives_zero_gradients_and_no_error():
    model = tiny_family("llama")
    use_trees(model)
    row = collate(trees_of(np.random.default_rng(6), *MIXED)).silent()
    where = targets(row)
    hidden = hidden_states(model, row)
    weighted_nll(hidden[where.predictor], where.token, torch.zeros(0), Head.of(model)).backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_transformers_takes_nothing_of_a_row_for_padding(caplog):
    """Its warning would go to every user of a model whose pad is token 0, and ask for a mask that rows do not need."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    model = tiny_family("gpt2", pad_token_id=0)
    use_trees(model)
    hidden_states(model, collate(trees_of(np.random.default_rng(9), (4, (3, 1)))))
    logger.removeHandler(caplog.handler)
    assert "attention_mask" not in caplog.text


def test_a_model_with_attention_of_its_own_is_refused_by_name():
    from transformers import BloomConfig, BloomForCausalLM  # late: only this test wants it

    bloom = BloomForCausalLM(BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(BadModel, match="'bloom' cannot be trained on trees"):
        use_trees(bloom)


def test_a_model_in_which_only_some_layers_attend_is_refused_by_name():
    from transformers import Lfm2Config, Lfm2ForCausalLM  # late: only this test wants it

    config = Lfm2Config(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
    )
    with pytest.raises(BadModel, match=r"'lfm2' cannot be trained on trees: 1 of its 2 layers"):
        use_trees(Lfm2ForCausalLM(config))


def test_attention_dropout_is_refused_rather_than_ignored():
    model = tiny_family("llama", attention_dropout=0.1).train()
    with pytest.raises(BadModel, match=r"attention dropout 0\.1"):
        use_trees(model)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_reads_the_same_tree():
    """Forward only: FlexAttention has no backward on CPU."""
    model = tiny_family("llama", head_dim=16)
    use_trees(model)
    row = collate(trees_of(np.random.default_rng(7), (40, (20, 33, 1)), (7, (5,))))
    real = row.tree >= 0
    with torch.no_grad():
        flex, dense = (hidden_states(model, row, Layout(row, way)) for way in ("flex", "dense"))
    assert (flex - dense)[real].abs().max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_flex_attention_gives_the_gradients_of_the_dense_mask(family):
    model = tiny_family(family, head_dim=16) if family != "gpt2" else tiny_family(family, n_embd=64)
    model.cuda()
    use_trees(model)
    row = collate(trees_of(np.random.default_rng(7), *MIXED)).to("cuda")
    where, found = targets(row), []
    for way in ("flex", "dense"):
        model.zero_grad()
        hidden = hidden_states(model, row, Layout(row, way))
        logprobs(hidden[where.predictor], where.token, Head.of(model)).mean().backward()
        found.append(gradients(model))
    for name, gradient in found[0].items():
        scale = found[1][name].abs().max().clamp(min=1.0)
        assert (gradient - found[1][name]).abs().max() / scale < 1e-4, name


@pytest.mark.shared
def test_a_pretrained_model_computes_trees_as_it_computes_sequences(shared_data):
    from transformers import AutoModelForCausalLM  # late: only this test wants it

    model = AutoModelForCausalLM.from_pretrained(shared_data / "model_stories260k", dtype=torch.float32)
    rng = np.random.default_rng(8)
    trees = [
        Tree(
            np.concatenate([[1], rng.integers(3, 512, p)]).astype(np.int32),
            tuple(rng.integers(3, 512, r).astype(np.int32) for r in responses),
        )
        for p, responses in ((90, (40, 12, 70, 33)), (20, (100,)), (5, (8, 200)))
    ]
    with torch.no_grad():
        expected = separate(model, trees)
        use_trees(model)
        assert (packed(model, trees, 600, "blocks") - expected).abs().max() < 1e-4
