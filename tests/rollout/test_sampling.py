"""What is sampled: generate's tokens when greedy, the model's distribution when not, with the trainer's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from policies import EOS, PAD, as_policy, ended_more_often, next_probabilities, policy_of, prompts_of, seeds
from scipy.stats import chisquare

from families import FAMILIES
from rather.batches.packing import rows
from rather.errors import BadModel, BadRecord, BadSetting
from rather.models.load import load_policy
from rather.models.logprobs import Head, hidden_states, logprobs, targets, use_trees
from rather.rollout import Sampling, draw_seeds, never_drawn, sample, samples, tokens
from rather.rollout.drawing import uniforms

LENGTHS = (1, 2, 7, 33, 40, 12, 64, 3, 9, 31, 5, 17)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_what_generate_says_token_for_token(family):
    policy = policy_of(family)
    prompts = prompts_of(np.random.default_rng(0), LENGTHS)
    rollout = sample(policy, prompts, Sampling(max_new_tokens=25, temperature=0.0, slots=8), seeds(len(prompts)))
    for prompt, (found,) in zip(prompts, rollout.samples, strict=True):
        ids = torch.from_numpy(prompt.astype(np.int64))[None]
        said = policy.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=25,
            do_sample=False,
            pad_token_id=PAD,
            eos_token_id=EOS,
            suppress_tokens=[PAD],
        )
        expected = said[0, len(prompt) :].tolist()
        assert found.tokens.tolist() == expected
        assert found.finished == (expected[-1] == EOS)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_each_token_is_where_its_uniform_number_falls_in_the_distribution_of_a_plain_forward(family):
    policy = policy_of(family)
    prompts = prompts_of(np.random.default_rng(1), (1, 4, 30))
    rollout = sample(policy, prompts, Sampling(max_new_tokens=12, temperature=0.8), seeds(3, first=50))
    for prompt, (found,) in zip(prompts, rollout.samples, strict=True):
        for place, (token, uniform) in enumerate(zip(found.tokens, uniforms(found.seed, 12), strict=False)):
            p = next_probabilities(policy.model, [*prompt, *found.tokens[:place]], 0.8)
            assert found.logprobs[place] == pytest.approx(p[token].log().item(), abs=1e-4)
            p[PAD] = 0
            border = (p / p.sum()).cumsum(0)
            assert (border[token - 1] if token else 0) - 1e-5 < uniform < border[token] + 1e-5


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral_window", "gemma2", "gpt2"])
def test_log_probabilities_are_the_trainers(family, temperature):
    """Also while the pad is never drawn: the log-probability is that of the whole softmax, which a trainer computes."""
    policy = policy_of(family)
    prompts = prompts_of(np.random.default_rng(2), LENGTHS)
    rollout = sample(
        policy, prompts, Sampling(max_new_tokens=20, samples=2, temperature=temperature), seeds(len(prompts), 2)
    )
    use_trees(policy.model)
    found = {}
    with torch.no_grad():
        for row in rows(rollout.trees(), 200):
            where = targets(row)
            hidden = hidden_states(policy.model, row)[where.predictor]
            logps = logprobs(hidden, where.token, Head.of(policy.model), temperature)
            for s in range(len(row.length)):
                found[int(row.tree_of[s]), int(row.response_of[s])] = logps[where.sequence == s]
    trained = torch.cat([found[key] for key in sorted(found)]).numpy()
    assert trained.shape == rollout.logprobs.shape == (rollout.lengths.sum(),)
    assert np.abs(trained - rollout.logprobs).max() < 1e-4


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_tokens_come_as_often_as_the_model_says(temperature):
    """Chi-square of 4,000 first and second tokens over a vocabulary of 8, the pad's share spread over the others."""
    policy = policy_of("llama", vocab_size=8)
    prompt = np.array([3, 4, 5], np.int32)
    how = Sampling(max_new_tokens=2, samples=4000, temperature=temperature, slots=512)
    (drawn,) = sample(policy, [prompt], how, torch.Generator().manual_seed(0)).samples
    firsts = np.array([s.tokens[0] for s in drawn])
    for before, seen in [
        ([], firsts),
        ([5], np.array([s.tokens[1] for s in drawn if s.tokens[0] == 5])),
    ]:
        p = next_probabilities(policy.model, [*prompt, *before], temperature).numpy()
        p[PAD] = 0
        counts = np.bincount(seen, minlength=8)
        assert counts[PAD] == 0
        others = np.arange(8) != PAD
        assert chisquare(counts[others], p[others] / p.sum() * len(seen)).pvalue > 0.001


def test_pads_and_rows_without_a_word_are_never_drawn():
    """All mass on the pad, on a token the generation config suppresses, and on a row the tokenizer does not know."""
    policy = policy_of("llama")
    policy.model.resize_token_embeddings(100, mean_resizing=False)
    policy.model.generation_config.suppress_tokens = [7]
    assert never_drawn(policy) == [PAD, 7, 97, 98, 99]
    head = policy.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(100))
    with torch.no_grad():
        head.bias[[PAD, 7, 98]] = 50.0
    for temperature in (0.0, 1.0):
        how = Sampling(max_new_tokens=8, samples=8, temperature=temperature)
        (drawn,) = sample(policy, [np.array([5], np.int32)], how, torch.Generator().manual_seed(0)).samples
        assert not {PAD, 7, 97, 98, 99} & {int(token) for s in drawn for token in s.tokens}


def test_a_response_ends_with_its_first_stop_token_which_it_keeps():
    policy = ended_more_often(policy_of("llama", stops=(EOS, 9)), by=3.0)
    rollout = sample(policy, prompts_of(np.random.default_rng(3), [5] * 40), Sampling(max_new_tokens=9), seeds(40))
    ends = set()
    for (found,) in rollout.samples:
        stops = [place for place, token in enumerate(found.tokens) if token in (EOS, 9)]
        assert stops == ([len(found.tokens) - 1] if found.finished else [])
        assert found.finished or len(found.tokens) == 9
        ends.add((len(found.tokens), found.finished))
    assert {(1, True), (9, False)} < ends  # at the first token, and not at all


def test_one_new_token_is_drawn_from_the_prompt_alone():
    policy = policy_of("gpt2")
    rollout = sample(policy, prompts_of(np.random.default_rng(4), [1] * 20), Sampling(max_new_tokens=1), seeds(20))
    assert rollout.lengths.tolist() == [[1]] * 20


def test_a_window_is_filled_to_its_last_token():
    policy = policy_of("gpt2")  # absolute positions: there is no 129th
    prompts = prompts_of(np.random.default_rng(5), [100, 3])
    rollout = sample(policy, prompts, Sampling(max_new_tokens=28), seeds(2))
    assert rollout.lengths[0] == 28 or rollout.finished[0]


def test_a_rollout_is_in_the_order_of_its_prompts_and_becomes_trees():
    policy = policy_of("llama")
    prompts = prompts_of(np.random.default_rng(6), (3, 30, 8))
    rollout = sample(policy, prompts, Sampling(max_new_tokens=5, samples=4, slots=3), torch.Generator().manual_seed(1))
    trees = rollout.trees(["a", "b", "c"])
    assert [tree.key for tree in trees] == ["a", "b", "c"]
    for prompt, tree, row in zip(prompts, trees, rollout.samples, strict=True):
        assert tree.prompt.tolist() == prompt.tolist()
        assert [r.tolist() for r in tree.responses] == [s.tokens.tolist() for s in row]
        assert [s.sample for s in row] == [0, 1, 2, 3]
    assert (rollout.seeds == draw_seeds(torch.Generator().manual_seed(1), 3, 4)).all()
    assert rollout.finished.shape == rollout.lengths.shape == (3, 4)


def test_streams_give_the_same_samples_and_tokens():
    policy = ended_more_often(policy_of("llama"), by=2.0)
    prompts = prompts_of(np.random.default_rng(7), (3, 30, 8, 8, 1))
    how = Sampling(max_new_tokens=12, samples=2, slots=4)
    rollout = sample(policy, prompts, how, seeds(5, 2))
    by_name = {(s.prompt, s.sample): s for s in samples(policy, prompts, how, seeds(5, 2))}
    heard: dict = {}
    for token in tokens(policy, prompts, how, seeds(5, 2)):
        said, over = heard.setdefault((token.prompt, token.sample), ([], []))
        assert not over, "nothing comes after the last token"
        said.append((token.token, np.float32(token.logprob)))
        over += [token.finished] * token.last
    for row in rollout.samples:
        for s in row:
            alike = by_name[s.prompt, s.sample]
            assert (alike.tokens.tolist(), alike.finished) == (s.tokens.tolist(), s.finished)
            said, over = heard[s.prompt, s.sample]
            assert said == list(zip(s.tokens.tolist(), s.logprobs, strict=True))
            assert over == [s.finished]


def test_no_prompts_give_an_empty_rollout():
    rollout = sample(policy_of("llama"), [], Sampling(max_new_tokens=4), torch.Generator())
    assert rollout.trees() == []
    assert len(rollout.logprobs) == 0


@pytest.mark.parametrize(
    ("prompt", "new", "words"),
    [
        ([], 4, "Prompt 1 has no token"),
        ([5] * 120, 9, "Prompt 1 has 120 tokens: with max_new_tokens=9 it does not fit the model's window of 128"),
        ([5] * 120, 9, "Expected at most 119 tokens"),
        ([5, 97], 4, "Prompt 1 has the id 97"),
        ([-1, 5], 4, "Prompt 1 has the id -1"),
    ],
)
def test_prompts_that_cannot_be_answered_are_refused_in_words_before_anything_is_computed(prompt, new, words):
    prompts = [np.array([3], np.int32), np.array(prompt, np.int32)]
    with pytest.raises(BadRecord, match=words):
        samples(policy_of("llama"), prompts, Sampling(max_new_tokens=new), torch.Generator())


def test_a_response_as_long_as_the_window_is_refused():
    with pytest.raises(BadRecord, match="Expected max_new_tokens below 128"):
        samples(policy_of("llama"), [np.array([5], np.int32)], Sampling(max_new_tokens=128), torch.Generator())


@pytest.mark.parametrize("cut", [{"top_k": 3}, {"top_p": 0.5}])
def test_rollouts_for_training_are_not_cut_off(cut):
    (name,) = cut
    with pytest.raises(BadSetting, match=f"{name}=.* for a rollout"):
        sample(policy_of("llama"), [np.array([5], np.int32)], Sampling(max_new_tokens=4, **cut), torch.Generator())


@pytest.mark.parametrize(("cut", "kept"), [({"top_k": 3}, 3), ({"top_p": 0.6}, None)])
def test_the_playground_draws_from_the_likeliest_only(cut, kept):
    policy = policy_of("llama")
    prompt = np.array([5, 6], np.int32)
    how = Sampling(max_new_tokens=1, samples=600, slots=256, **cut)
    drawn = [int(s.tokens[0]) for s in samples(policy, [prompt], how, torch.Generator().manual_seed(0))]
    p = next_probabilities(policy.model, prompt)
    p[PAD] = 0
    ordered = (p / p.sum()).sort(descending=True)
    kept = kept or int((ordered.values.cumsum(0) < 0.6).sum()) + 1
    assert set(drawn) <= set(ordered.indices[:kept].tolist())
    assert len(set(drawn)) > kept / 2


def test_seeds_of_the_wrong_shape_are_refused():
    with pytest.raises(BadSetting, match=r"Expected one whole number from 0 for each sample: \(1, 2\)"):
        sample(policy_of("llama"), [np.array([5], np.int32)], Sampling(max_new_tokens=4, samples=2), seeds(1, 3))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_has_diverged_is_said_to_have(temperature):
    policy = policy_of("llama")
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[5] = float("nan")
    with pytest.raises(BadModel, match="logits are not numbers"):
        sample(policy, [np.array([5], np.int32)], Sampling(max_new_tokens=4, temperature=temperature), seeds(1))


def test_a_model_whose_attention_goes_elsewhere_is_refused_by_name():
    from transformers import BloomConfig, BloomForCausalLM  # late: only this test wants it

    bloom = as_policy(BloomForCausalLM(BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4)))
    before = bloom.model.config._attn_implementation
    with pytest.raises(BadModel, match="'bloom' cannot be sampled from here"):
        sample(bloom, [np.array([5], np.int32)], Sampling(max_new_tokens=4), torch.Generator())
    assert bloom.model.config._attn_implementation == before


@pytest.mark.shared
def test_a_pretrained_model_tells_the_story_that_generate_tells(shared_data):
    policy = load_policy(shared_data / "model_stories260k")
    prompts = [np.array(policy.tokenizer(text)["input_ids"]) for text in ("Once upon a time", "Lily had a", "Tom")]
    rollout = sample(policy, prompts, Sampling(max_new_tokens=80, temperature=0.0), seeds(3))
    for prompt, (found,) in zip(prompts, rollout.samples, strict=True):
        ids = torch.from_numpy(prompt)[None]
        said = policy.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=80, do_sample=False)
        assert found.tokens.tolist() == said[0, len(prompt) :].tolist()
