"""The 44 things that a PPO for language models gets silently wrong, each as a claim, by number.

The list and its sources: docs/ppo.md. Items 12, 40 and 44 are also in the loop as a whole, tests/stages/test_ppo.py.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from small_ppo import PROMPTS, SMALL, TEXTS, small_policy, small_reward, small_rows, small_run

from rather.advantages import AdaptiveKL, FixedKL, gae, shaped_rewards, whiten
from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.errors import BadSetting
from rather.losses import ppo_policy_loss, ppo_value_loss, ranking_loss
from rather.models.dropout import set_dropout
from rather.models.heads import new_head
from rather.models.load import load_policy
from rather.models.logprobs import use_trees
from rather.models.tiny import TinyConfig, tiny
from rather.records import Demonstration
from rather.rollout import Sampling, draw_seeds, sample
from rather.run import Run, read_log, read_metrics
from rather.stages import ppo_checks, ppo_metrics
from rather.stages.alarms import Alarms
from rather.stages.ema import EMA
from rather.stages.episodes import episodes_of, response_logprobs, response_scores, token_values, truncated
from rather.stages.optim import Adam, computing_in
from rather.stages.passes import in_passes, minibatches
from rather.stages.ppo import train_ppo
from rather.stages.ppo_checks import SelfTest
from rather.stages.ppo_config import PRESETS, PPOConfig
from rather.stages.ppo_start import fitting_prompts, missing_eos
from rather.stages.ppo_steps import critic_gradients, policy_gradients, ptx_gradients
from rather.stages.scorers import ByModel
from rather.stages.steps import Share

CPU = torch.device("cpu")
SHARE = Share(10_000)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small run in fp32, from nothing to the end."""
    folder = tmp_path_factory.mktemp("ppo") / "run"
    small_run(folder)
    return folder


def tree_policy(seed: int = 0):
    policy = small_policy(seed)
    use_trees(policy.model)
    return policy


def trees_of(*lengths: tuple[int, int], seed: int = 0) -> list[Tree]:
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.integers(3, 250, n).astype(np.int32)  # noqa: E731
    return [Tree(draw(prompt), (draw(response),)) for prompt, response in lengths]


RAGGED = trees_of((4, 3), (9, 1), (2, 12), (7, 7), (1, 5), (5, 2), (3, 9), (6, 6))


def ids_of(tree: Tree) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([tree.prompt, tree.responses[0]]).astype(np.int64))[None]


def plain(model, tree: Tree, temperature: float = 1.0) -> torch.Tensor:
    ids, start = ids_of(tree), len(tree.prompt)
    logps = (model(ids).logits[0, start - 1 : -1] / temperature).log_softmax(-1)
    return logps.gather(1, ids[0, start:, None])[:, 0].detach()


def rollout_of(policy, temperature=1.0, new=8, count=12):
    ids = Encoder(policy.tokenizer, None).prompts(p.prompt for p in PROMPTS[:count])
    seeds = draw_seeds(torch.Generator().manual_seed(3), count, 1)
    return sample(policy, ids, Sampling(max_new_tokens=new, temperature=temperature), seeds)


# ---- tokens, padding, EOS


def test_item_01_a_response_has_the_same_logits_alone_and_packed_beside_others():
    found = response_logprobs(tree_policy().model, RAGGED, SHARE, 1.0)
    bare = small_policy().model
    for row, tree in zip(found, RAGGED, strict=True):
        assert (row[: len(tree.responses[0])] - plain(bare, tree)).abs().max() < 1e-5
        assert (row[len(tree.responses[0]) :] == 0).all()


def test_item_02_pad_is_not_eos_and_a_demonstration_has_exactly_one():
    tokenizer = small_policy().tokenizer
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    records = [Demonstration(id=str(n), prompt=text[:9], response=text[9:]) for n, text in enumerate(TEXTS)]
    for tree in Encoder(tokenizer, None).encode_all(records)[0]:
        assert (tree.responses[0] == tokenizer.eos_token_id).sum() == 1


def test_item_03_a_response_ends_at_its_first_eos_and_is_scored_there():
    policy = tree_policy()
    with torch.no_grad():  # an EOS that is drawn now and then
        head = policy.model.get_output_embeddings().weight
        head[policy.tokenizer.eos_token_id] = head[5:60].sum(0) * 1.5
    rollout = rollout_of(policy, new=16)
    assert 0 < rollout.finished.sum() < rollout.finished.size
    for [one] in rollout.samples:
        assert (one.tokens[:-1] != policy.tokenizer.eos_token_id).all()
        assert (one.tokens[-1] == policy.tokenizer.eos_token_id) == one.finished
    reward, bare = small_reward(), small_reward()
    use_trees(reward.model.body)
    found = response_scores(reward.model, rollout.trees(), SHARE)
    expected = [bare.model.score(ids_of(tree)).item() for tree in rollout.trees()]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_item_04_a_response_without_eos_is_replaced_penalised_or_kept():
    scores, ended = torch.tensor([3.0, 3.0]), torch.tensor([True, False])
    for rule, expected in (("replace", [3.0, -1.0]), ("subtract", [3.0, 2.0]), ("keep", [3.0, 3.0])):
        assert missing_eos(scores, ended, PPOConfig(missing_eos=rule)).tolist() == expected
    assert PPOConfig().missing_eos == "replace"


def test_item_05_a_response_may_end_at_the_first_full_stop_after_a_place():
    rollout = rollout_of(small_policy(), new=8)
    [first] = rollout.samples[0]
    stop = int(first.tokens[4])
    cut = truncated(rollout, stop, 4).samples[0][0]
    assert cut.tokens.tolist() == first.tokens[:5].tolist()
    assert cut.finished
    assert len(cut.logprobs) == 5
    never = truncated(rollout, 10_000, 4).samples[0][0]
    assert (never.finished, len(never.tokens)) == (False, len(first.tokens))


def test_item_06_ids_that_are_scored_are_the_ids_that_were_sampled():
    policy = tree_policy()
    episodes = episodes_of(policy, PROMPTS[:12], rollout_of(policy), CPU)
    seen = []
    same = ByModel(small_reward(), policy)
    other_tokenizer = tiny(TinyConfig(vocabulary=270, hidden=32), TEXTS[:4], torch.Generator()).tokenizer
    other = ByModel(replace(small_reward(), tokenizer=other_tokenizer), policy)
    assert same.same_tokens
    assert not other.same_tokens
    before = [tree.responses[0].copy() for tree in episodes.trees]
    seen = [same(episodes, SHARE).scores, other(episodes, SHARE).scores]
    assert not torch.equal(*seen), "the other reward model read its own encoding of the text"
    assert all(np.array_equal(tree.responses[0], was) for tree, was in zip(episodes.trees, before, strict=True))


def test_item_07_prompts_that_are_too_long_are_dropped_and_never_cut():
    config = PPOConfig(**{**SMALL, "max_prompt": 6})
    policy = small_policy()
    _, kept, ids = fitting_prompts(policy, [*PROMPTS, PROMPTS[0].model_copy(update={"prompt": "a b " * 30})], config)
    whole = Encoder(policy.tokenizer, None).prompts(p.prompt for p in kept)
    assert 0 < len(kept) <= len(PROMPTS)
    assert all(np.array_equal(one, other) for one, other in zip(ids, whole, strict=True))
    with pytest.raises(BadSetting, match="None of 18 prompts fits"):
        fitting_prompts(policy, PROMPTS, PPOConfig(max_new_tokens=64))


def test_item_08_what_lies_beside_the_response_has_no_gradient():
    """Cells of the tables that hold no token may be NaN; the value of a token is read one place before it."""
    gradients = []
    for garbage in (0.0, math.nan):
        policy, critic = tree_policy(), small_reward().model
        use_trees(critic.body)
        adam, critic_adam = Adam(policy.model), Adam(critic)
        width = max(len(t.responses[0]) for t in RAGGED)
        table = torch.full((len(RAGGED), width), garbage)
        for row, tree in zip(table, RAGGED, strict=True):
            row[: len(tree.responses[0])] = -5.0
        policy_gradients(policy.model, RAGGED, table, table, SHARE, 0.2, 1.0)
        critic_gradients(critic, RAGGED, table, table, SHARE, 0.2)
        gradients.append([g.clone() for g in (*adam.gradients(), *critic_adam.gradients())])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    critic, bare = small_reward().model, small_reward().model
    use_trees(critic.body)
    values, _ = token_values(critic, RAGGED, SHARE)
    hidden = bare.body(input_ids=ids_of(RAGGED[0])).last_hidden_state[0]
    assert values[0, :3].tolist() == pytest.approx(bare.values(hidden)[3:6].tolist(), abs=1e-5)


# ---- sampling and log-probabilities


def test_item_09_at_temperature_07_sampler_trainer_and_plain_model_say_the_same():
    policy = tree_policy()
    rollout = rollout_of(policy, temperature=0.7)
    episodes = episodes_of(policy, PROMPTS[:12], rollout, CPU)
    trained = response_logprobs(policy.model, episodes.trees, SHARE, 0.7)
    assert (trained - episodes.sampled_logprobs).abs().max() < 1e-4
    assert (trained[0, :8] - plain(small_policy().model, episodes.trees[0], 0.7)).abs().max() < 1e-4


@pytest.mark.parametrize("cut", [{"top_k": 5}, {"top_p": 0.9}])
def test_item_10_a_rollout_is_drawn_from_the_whole_distribution(cut):
    with pytest.raises(BadSetting, match="whole distribution"):
        sample(small_policy(), [np.array([3, 4])], Sampling(max_new_tokens=2, **cut), torch.Generator())


def test_item_11_in_bfloat16_the_trainer_forms_the_old_logprobs_and_the_gap_is_logged(tmp_path, finished):
    small_run(tmp_path, precision="bf16", learning_rate=1e-30)
    for row in read_metrics(tmp_path):
        assert 0 < row["policy/sampler_gap"] < 0.05
        assert row["policy/log_ratio_max"] < 0.5
    assert not any("policy/sampler_gap" in row for row in read_metrics(finished)), "in fp32 they are the same numbers"


def test_item_12_ratio_is_one_at_the_first_minibatch(finished):
    [said] = [event for event in read_log(finished / "events.jsonl") if event["event"] == "self-test"]
    assert said["log_ratio_max"] < 1e-4
    with pytest.raises(SelfTest, match="ratio at the first minibatch"):
        ppo_checks.ratio_is_one(0.1, exact=True)


def test_item_13_dropout_is_refused_in_every_model():
    for name in ("the policy", "the reference", "the critic"):
        policy = tree_policy()
        set_dropout(policy.model, 0.2)
        with pytest.raises(SelfTest, match=f"{name}: Dropout is on"):
            ppo_checks.no_dropout({name: policy.model})


def test_item_14_no_two_samples_share_a_seed(finished):
    seeds = draw_seeds(torch.Generator().manual_seed(0), 512, 1)
    assert len(np.unique(seeds)) == 512
    rows = list(read_log(finished / "samples.jsonl"))
    assert len({row["response"] for row in rows}) == len(rows)


def test_item_15_log_probabilities_values_and_scores_are_float32_under_bfloat16_products():
    policy, critic = tree_policy(), small_reward().model
    use_trees(critic.body)
    for model in (policy.model, critic):
        computing_in(model, torch.bfloat16)
    values, last = token_values(critic, RAGGED, SHARE)
    for table in (response_logprobs(policy.model, RAGGED, SHARE, 1.0), values, last):
        assert table.dtype == torch.float32
    assert all(master.dtype == torch.float32 for master in Adam(small_policy().model, compute=torch.bfloat16).masters)


# ---- reward


def test_item_16_a_new_head_has_variance_one_over_d_plus_one_and_no_bias():
    head = new_head(4095, torch.Generator().manual_seed(0))
    assert head.weight.std().item() == pytest.approx(1 / 64, rel=0.05)
    assert head.bias.item() == 0


def test_item_17_shifting_the_scores_to_a_mean_of_zero_changes_no_ranking():
    model = small_reward().model
    use_trees(model.body)
    ranks = torch.tensor([[1, 2, 3, 4], [2, 1, 4, 3]])
    before = response_scores(model, RAGGED, SHARE)
    model.shift(-before.mean().item())
    after = response_scores(model, RAGGED, SHARE)
    assert after.mean().item() == pytest.approx(0, abs=1e-6)
    losses = [ranking_loss(scores.view(2, 4), ranks, denominator=2).item() for scores in (before, after)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_item_18_the_score_lands_on_the_last_token_and_the_kl_on_every_token():
    logps, ref, mask = torch.zeros(1, 4), torch.tensor([[-1.0, 0.0, 1.0, 9.0]]), torch.tensor([[1, 1, 1, 0]])
    rewards, kl = shaped_rewards(torch.tensor([2.0]), logps, ref, mask, kl_coef=0.5)
    assert kl.tolist() == [[1.0, 0.0, -1.0, 0.0]]
    assert rewards.tolist() == [[-0.5, 0.0, 2.5, 0.0]]


def test_item_19_the_kl_of_a_token_may_be_negative_and_is_not_clamped(tmp_path):
    small_run(tmp_path, learning_rate=3e-2, samples=16, warmup=0)
    [*_, last] = read_metrics(tmp_path)
    tokens = [kl for row in read_log(tmp_path / "samples.jsonl") if row["step"] == 2 for kl in row["kl"]]
    assert min(tokens) < 0 < max(tokens)
    assert last["objective/kl"] == pytest.approx(sum(tokens) / 16, abs=1e-3)
    assert last["objective/kl_per_token"] == pytest.approx(np.mean(tokens), abs=1e-3)


def test_item_20_scores_are_not_clipped():
    assert [name for name in PPOConfig.model_fields if "clip" in name] == ["clip_range", "value_clip"]
    rewards, _ = shaped_rewards(torch.tensor([1e6]), torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1), 0.02)
    assert rewards.item() == 1e6


def test_item_21_reward_whitening_scales_without_a_shift_and_only_zieglers_preset_does_it(tmp_path):
    white = whiten(torch.tensor([[1.0, 3.0]]), torch.ones(1, 2), unbiased=False, shift_mean=False)
    assert white.tolist() == [[1.0, 3.0]]
    assert whiten(torch.tensor([[10.0, 30.0]]), torch.ones(1, 2), False, shift_mean=False).mean() == 20
    assert [name for name in PRESETS if of_preset(name).whiten_rewards] == ["ziegler2019"]
    small_run(tmp_path, whiten_rewards=True)


def test_item_22_the_reward_model_is_frozen(tmp_path):
    reward, before = small_reward(), small_reward().model.state_dict()
    small_run(tmp_path, reward=reward)
    assert not reward.model.training
    assert not any(p.requires_grad for p in reward.model.parameters())
    assert all(torch.equal(before[name], after) for name, after in reward.model.state_dict().items())


# ---- advantages

REWARDS, VALUES = torch.tensor([[-0.01, 0.02, 0.0, 1.0]]), torch.tensor([[0.5, 0.4, 0.3, 0.6]])
ONES = torch.ones(1, 4)


def test_item_23_advantages_have_no_discount_and_nothing_is_expected_after_the_last_token():
    advantages, _ = gae(REWARDS, VALUES, ONES, PPOConfig().gae_lambda)
    assert advantages[0].tolist() == pytest.approx([0.4277, 0.5660, 0.6800, 0.4000], abs=1e-4)
    advantages, _ = gae(REWARDS, VALUES, ONES, 1.0)
    assert advantages[0].tolist() == pytest.approx([0.51, 0.62, 0.70, 0.40], abs=1e-6)


def test_item_24_ten_more_columns_of_padding_change_no_number():
    wide = [torch.cat([table, torch.full((1, 10), math.nan)], 1) for table in (REWARDS, VALUES)]
    mask = torch.cat([ONES, torch.zeros(1, 10)], 1)
    for one, other in zip(gae(REWARDS, VALUES, ONES, 0.95), gae(*wide, mask, 0.95), strict=True):
        assert torch.equal(one, other[:, :4])
        assert (other[:, 4:] == 0).all()


def test_item_25_advantages_are_whitened_over_the_tokens_of_the_whole_batch_with_the_biased_variance(finished):
    advantages, _ = gae(REWARDS, VALUES, ONES, 0.95)
    white = whiten(advantages, ONES, unbiased=False)
    assert white[0].tolist() == pytest.approx([-0.806441, 0.422887, 1.436216, -1.052662], abs=1e-4)


def test_item_25_in_a_run_too(tmp_path):
    small_run(tmp_path, samples=16)
    tokens = [a for row in read_log(tmp_path / "samples.jsonl") if row["step"] == 1 for a in row["advantages"]]
    assert np.mean(tokens) == pytest.approx(0, abs=1e-4)
    assert np.std(tokens) == pytest.approx(1, abs=1e-4)


def test_item_26_returns_are_advantages_before_whitening_plus_values():
    advantages, returns = gae(REWARDS, VALUES, ONES, 0.95)
    assert returns[0].tolist() == pytest.approx([0.9277, 0.9660, 0.9800, 1.0], abs=1e-4)
    assert torch.equal(returns, advantages + VALUES)


# ---- losses and optimisation


def test_item_27_the_policy_loss_is_the_larger_of_two_and_pads_give_a_ratio_of_one():
    old = torch.zeros(1, 4)
    new = torch.tensor([[math.log(1.5), math.log(0.5), math.log(1.1), 900.0]], requires_grad=True)
    step = ppo_policy_loss(new, old, torch.tensor([[1.0, -1.0, 1.0, 1.0]]), torch.tensor([[1, 1, 1, 0]]), 3)
    assert step.loss.item() == pytest.approx((-1.2 + 0.8 - 1.1) / 3)
    step.loss.backward()
    assert new.grad.tolist()[0] == pytest.approx([0.0, 0.0, -1.1 / 3, 0.0])


def test_item_28_the_value_loss_is_half_the_larger_square_and_the_critic_has_its_own_rate():
    loss = ppo_value_loss(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([2.0]), None, 1).loss
    assert loss.item() == pytest.approx(0.5 * (0.2 - 2.0) ** 2)
    config = PPOConfig()
    assert (config.value_clip, config.critic_learning_rate) == (0.2, 9e-6)


@pytest.mark.parametrize("budget", [1, 40])
def test_item_29_eight_micro_batches_of_one_are_one_of_eight(budget):
    """Loss, gradients and all that is logged."""
    found = []
    old, advantages = torch.randn(2, 8, 12, generator=torch.Generator().manual_seed(0)).unbind()
    for share in (Share(budget), SHARE):
        policy, critic = tree_policy(), small_reward().model
        use_trees(critic.body)
        adam, critic_adam = Adam(policy.model), Adam(critic)
        logged = policy_gradients(policy.model, RAGGED, old - 5, advantages, share, 0.2, 1.0)
        fit = critic_gradients(critic, RAGGED, old, advantages, share, 0.2)
        web = ptx_gradients(policy.model, small_rows(policy)[:3], share, 2.0)
        found.append(([*logged, *fit, web], [*adam.gradients(), *critic_adam.gradients()]))
    (one, gradients), (other, others) = found
    assert one == pytest.approx(other, abs=1e-5)
    assert max((a - b).abs().max() for a, b in zip(gradients, others, strict=True)) < 1e-5


def test_item_30_each_inner_epoch_takes_every_episode_once_in_an_order_of_its_own():
    parts = list(minibatches(512, 64, 4, random.Random(0)))
    assert [len(part) for part in parts] == [64] * 32
    epochs = [[i for part in parts[8 * n : 8 * n + 8] for i in part] for n in range(4)]
    assert all(sorted(epoch) == list(range(512)) for epoch in epochs)
    assert all(one != other for one, other in pairwise(epochs))
    assert (PPOConfig().inner_epochs, PPOConfig().updates, of_preset("ziegler2019").inner_epochs) == (1, 8, 4)


@pytest.mark.parametrize("form", ["pytorch", "tensorflow"])
def test_item_31_adam_adds_eps_where_pytorch_or_where_tensorflow_does(form):
    layer = torch.nn.Linear(3, 1, bias=False)
    weight = layer.weight.detach().double().numpy().copy()
    adam = Adam(layer, betas=(0.9, 0.999), eps=1e-2, form=form)
    m = v = np.zeros((1, 3))
    for t in range(1, 11):
        x = torch.tensor([0.01, 0.1, 1.0]) * t
        layer(x).sum().backward()
        adam.step(1e-2)
        g = x.double().numpy()[None]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        if form == "pytorch":
            weight -= 1e-2 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-2)
        else:
            weight -= 1e-2 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-2)
    assert layer.weight.detach().numpy() == pytest.approx(weight, abs=1e-6)


def test_item_32_the_rate_rises_from_a_tenth_in_ten_iterations_and_stays():
    factors = [PPOConfig().rate_factor(iteration) for iteration in (1, 2, 6, 11, 12, 500)]
    assert factors == pytest.approx([0.1, 0.19, 0.55, 1.0, 1.0, 1.0])
    ziegler = PPOConfig(preset="ziegler2019", episodes=5120)
    assert [ziegler.rate_factor(n) for n in (1, 6, 10)] == pytest.approx([1.0, 0.5, 0.1])


def test_item_33_the_gradient_norm_is_the_one_before_clipping(tmp_path, finished):
    small_run(tmp_path, max_norm=1e-3)
    assert read_metrics(tmp_path)[0]["grad_norm"] == pytest.approx(read_metrics(finished)[0]["grad_norm"], rel=0.05)
    assert PPOConfig().max_norm is None


def test_item_34_a_large_step_is_an_alarm_and_no_early_stop(tmp_path):
    small_run(tmp_path, learning_rate=0.1, warmup=0, episodes=48)
    assert len(read_metrics(tmp_path)) == 3
    raised = [event["alarm"] for event in read_log(tmp_path / "events.jsonl") if event["event"] == "alarm"]
    assert "clipping" in raised


def test_item_35_the_critic_begins_as_the_reward_model_bias_included(finished):
    [said] = [event for event in read_log(finished / "events.jsonl") if event["event"] == "self-test"]
    assert said["critic_minus_reward_max"] < 1e-5
    scores = torch.randn(64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SelfTest, match=r"always by the same -0.7.*\n.*1\. the bias of the head"):
        ppo_checks.critic_is_reward(scores - 0.7, scores, exact=True)
    with pytest.raises(SelfTest, match=r"1\. the critic was loaded from another checkpoint"):
        ppo_checks.critic_is_reward(scores.flip(0), scores, exact=True)


def test_item_36_the_kl_at_step_0_is_0(finished):
    assert abs(read_metrics(finished)[0]["objective/kl"]) < 1e-4
    with pytest.raises(SelfTest, match=r"KL at step 0 is not 0.*\n.*1\. the reference is another model"):
        ppo_checks.kl_is_zero(torch.tensor([0.0, 0.3]), exact=True)


# ---- KL control


def test_item_37_beta_is_002_and_stays(finished):
    assert PPOConfig().controller() == FixedKL(0.02)
    assert [row["objective/kl_coef"] for row in read_metrics(finished)] == [0.02, 0.02]


@pytest.mark.parametrize(("kl", "beta"), [(12, 0.101024), (6.6, 0.100512), (6, 0.1), (3, 0.098976)])
def test_item_38_the_adaptive_controller_moves_as_zieglers_on_nats_of_a_response(kl, beta):
    controller = PPOConfig(kl_coef=0.1, kl_target=6.0).controller()
    assert controller == AdaptiveKL(0.1, 6.0, 10_000, floor=0.01)
    assert controller.update(kl, 512).kl_coef == pytest.approx(beta, abs=1e-6)


def test_item_38_one_easy_batch_cannot_make_beta_collapse():
    controller = PPOConfig(kl_coef=0.1, kl_target=6.0, kl_horizon=512).controller()
    assert controller.update(0.0, 512).kl_coef == pytest.approx(0.08)
    for _ in range(100):
        controller = controller.update(0.0, 512)
    assert controller.kl_coef == pytest.approx(0.01)
    with pytest.raises(ValueError, match="one easy batch"):
        PPOConfig(kl_target=6.0, kl_horizon=100)


def test_item_39_the_kl_is_in_nats_with_its_standard_error_and_a_negative_one_stops_the_run(finished):
    kl = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    episodes = episodes_of(small_policy(), PROMPTS[:2], rollout_of(small_policy(), new=2, count=2), CPU)
    row = ppo_metrics.of_rollout(episodes, torch.zeros(2), torch.zeros(2), None, kl, 0.1)
    assert (row["objective/kl"], row["objective/kl_se"], row["objective/kl_per_token"]) == (3.0, 0.0, 1.5)
    assert "negative_kl" in PPOConfig().stop_on
    alarms = Alarms(PPOConfig())
    low = {"step": 1, "objective/kl": -1.0, "objective/kl_se": 0.1}
    assert alarms.check({**read_metrics(finished)[0], **low}) == []
    assert [alarm.name for alarm in alarms.check({**read_metrics(finished)[0], **low})] == ["negative_kl"]


# ---- the pretraining mix, the average, the budget


def test_item_40_the_gradient_is_that_of_ppo_plus_27_8_times_that_of_the_web():
    old, advantages = torch.randn(2, 8, 12, generator=torch.Generator().manual_seed(1)).unbind()

    def gradients(*, ppo: bool, ptx: float) -> list[torch.Tensor]:
        policy = tree_policy()
        adam = Adam(policy.model)
        if ppo:
            policy_gradients(policy.model, RAGGED, old - 5, advantages, SHARE, 0.2, 1.0)
        if ptx:
            ptx_gradients(policy.model, small_rows(policy)[:3], SHARE, ptx)
        return [g.clone() for g in adam.gradients()]

    both, one, other = gradients(ppo=True, ptx=27.8), gradients(ppo=True, ptx=0), gradients(ppo=False, ptx=1.0)
    for total, of_ppo, of_web in zip(both, one, other, strict=True):
        assert (total - (of_ppo + 27.8 * of_web)).abs().max() < 1e-4
    assert PPOConfig().ptx_coef == 27.8
    assert PPOConfig().ptx_examples == 512


def test_item_41_the_average_is_of_every_update_of_the_policy_in_float32():
    layer = torch.nn.Linear(2, 1)
    adam = Adam(layer, compute=torch.bfloat16)
    ema = EMA(adam, 0.992)
    expected = [m.clone() for m in adam.masters]
    for _ in range(3):
        layer(torch.ones(2, dtype=torch.bfloat16)).sum().backward()
        adam.step(0.1)
        ema.update()
        expected = [0.992 * e + 0.008 * m for e, m in zip(expected, adam.masters, strict=True)]
    with ema.shipped():
        assert layer.weight.dtype == torch.float32
        assert torch.allclose(layer.weight, expected[0], atol=1e-7)
    assert layer.weight.dtype == torch.bfloat16


def test_item_41_both_are_shipped_and_differ(finished):
    raw, mean = (load_policy(finished / name).model for name in ("checkpoint", "checkpoint-ema"))
    assert any(not torch.equal(p, q) for p, q in zip(raw.parameters(), mean.parameters(), strict=True))


def test_item_42_prompts_come_without_replacement_in_passes():
    taken = [i for start in range(0, 90, 9) for i in in_passes(30, start, 9, "seed")]
    assert [sorted(taken[n : n + 30]) for n in (0, 30, 60)] == [list(range(30))] * 3
    assert taken[:30] != taken[30:60]
    assert (PPOConfig().episodes, PPOConfig().iterations) == (256_000, 500)


def test_item_43_what_is_logged_is_in_the_docs_and_the_signs_are_right(finished):
    rows = read_metrics(finished)
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert [name for name in rows[0] if name != "step" and f"`{name}`" not in page] == []
    for row in rows:
        assert row["objective/non_score_reward"] == pytest.approx(-0.02 * row["objective/kl"])
        assert row["objective/rlhf_reward"] == pytest.approx(row["objective/scores"] - 0.02 * row["objective/kl"])
        assert {"grad_norm/ppo", "grad_norm/ptx", "grad_norm/critic", "loss/ptx", "val/explained_variance"} <= set(row)


def test_item_44_the_whole_state_is_in_the_checkpoint(tmp_path):
    """Resumed with another second half of the world: what is not in the state shows. Byte equality: test_ppo.py."""
    small_run(tmp_path / "one", episodes=64)
    config = PPOConfig(**{**SMALL, "episodes": 64})
    policy = small_policy()
    calls = []

    def interrupts(prompts, texts):
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return [0.0] * len(texts)

    with pytest.raises(KeyboardInterrupt), Run.open(tmp_path / "two", config) as run:
        train_ppo(policy, small_reward(), PROMPTS, small_rows(policy), run, config, second_opinion=interrupts)
    small_run(tmp_path / "two", episodes=64, resume=True)
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [row["objective/scores"] for row in one] == [row["objective/scores"] for row in two]
    assert one[2:] == two[2:]


def of_preset(name: str) -> PPOConfig:
    return PPOConfig.load(overrides=[f"preset={name}"])
