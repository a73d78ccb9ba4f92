"""The loop of step 3 as a whole: against numpy, against a closed form, interrupted and resumed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_ppo import PROMPTS, SMALL, small_policy, small_reward, small_rows, small_run

from rather import checkpoint
from rather.advantages import kl_optimum
from rather.batches.encoding import Encoder
from rather.models.load import load_policy
from rather.records import Prompt
from rather.rollout import Sampling, draw_seeds, sample
from rather.run import Run, read_metrics
from rather.stages.optim import Adam
from rather.stages.passes import in_passes
from rather.stages.ppo import train_ppo
from rather.stages.ppo_config import PPOConfig

RESULTS = ("metrics.jsonl", "samples.jsonl", "checkpoint/model.safetensors", "checkpoint-ema/model.safetensors")


def the_same(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in RESULTS)


class Interrupted(Exception):
    pass


class Opinion:
    """A second opinion that interrupts the run when it is asked for the n-th time."""

    def __init__(self, stop_at: int = 0) -> None:
        self.left = stop_at

    def __call__(self, prompts, texts):
        self.left -= 1
        if self.left == 0:
            raise Interrupted
        return [float(len(text)) for text in texts]


@pytest.mark.parametrize("stop_at", [2, 6, 8])
def test_ten_iterations_are_some_a_kill_and_the_rest_to_the_byte(tmp_path, stop_at):
    settings = {"episodes": 160, "kl_target": 0.001, "kl_horizon": 50, "kl_coef": 0.1, "checkpoint_every": 2}
    small_run(tmp_path / "straight", second_opinion=Opinion(), **settings)
    with pytest.raises(Exception, match="Interrupted"):
        small_run(tmp_path / "broken", second_opinion=Opinion(stop_at), **settings)
    small_run(tmp_path / "broken", second_opinion=Opinion(), resume=True, **settings)
    assert the_same(tmp_path / "straight", tmp_path / "broken")
    betas = [row["objective/kl_coef"] for row in read_metrics(tmp_path / "straight")]
    assert len(set(betas)) == 10, "the controller's state is part of it"


def test_with_no_rate_nothing_moves_and_the_average_is_what_it_was(tmp_path):
    small_run(tmp_path, learning_rate=1e-30, critic_learning_rate=1e-30)
    before = small_policy().model.state_dict()
    for folder in ("checkpoint", "checkpoint-ema"):
        after = load_policy(tmp_path / folder).model.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
    for row in read_metrics(tmp_path):
        assert row["policy/log_ratio_max"] < 1e-4
        assert abs(row["objective/kl"]) < 1e-4


# ---- against numpy


def plain_logprobs(model, tree):
    """(T,) by the model's own forward over one sequence, without packing; with gradient."""
    ids = torch.from_numpy(np.concatenate([tree.prompt, tree.responses[0]]).astype(np.int64))[None]
    logits = model(ids).logits[0, len(tree.prompt) - 1 : -1]
    return F.log_softmax(logits, -1).gather(1, ids[0, len(tree.prompt) :, None])[:, 0]


def plain_values(critic, tree):
    ids = torch.from_numpy(np.concatenate([tree.prompt, tree.responses[0]]).astype(np.int64))[None]
    hidden = critic.body(input_ids=ids).last_hidden_state[0]
    values = critic.values(hidden)
    return values[len(tree.prompt) - 1 : -1], values[-1]


class NumpyAdam:
    def __init__(self, parameters, eps):
        self.parameters = list(parameters)
        self.eps, self.t = eps, 0
        self.m = [np.zeros(p.shape) for p in self.parameters]
        self.v = [np.zeros(p.shape) for p in self.parameters]

    def step(self, gradients, lr):
        self.t += 1
        for p, g, m, v in zip(self.parameters, gradients, self.m, self.v, strict=True):
            g = g.double().numpy()
            m += 0.1 * (g - m)
            v += 0.05 * (g * g - v)
            move = (m / (1 - 0.9**self.t)) / (np.sqrt(v / (1 - 0.95**self.t)) + self.eps)
            with torch.no_grad():
                p -= torch.from_numpy(lr * move).float()


def test_an_iteration_of_two_updates_is_what_numpy_computes_from_the_recorded_rollout(tmp_path):
    """Rewards, advantages, both clipped losses, the pretraining mix, Adam and the average, written out once more."""
    beta, lam, eps, gamma = 0.3, 0.9, 1e-4, 2.0
    settings = {**SMALL, "episodes": 16, "kl_coef": beta, "gae_lambda": lam, "adam_eps": eps, "ptx_coef": gamma}
    settings |= {"warmup": 0, "learning_rate": 3e-3, "critic_learning_rate": 2e-3, "inner_epochs": 2}
    settings |= {"missing_eos": "replace", "max_new_tokens": 12, "value_clip": 0.05, "clip_range": 0.02}
    policy, reward = stops_soon(small_policy()), small_reward()
    config = PPOConfig(**settings)
    with Run.open(tmp_path, config) as run:
        train_ppo(policy, reward, PROMPTS, small_rows(policy), run, config)

    # The rollout again, from its seeds.
    policy, reward = stops_soon(small_policy()), small_reward()
    ids = Encoder(policy.tokenizer, None).prompts(p.prompt for p in PROMPTS)
    chosen = in_passes(len(PROMPTS), 0, 16, "0 prompts")
    seeds = draw_seeds(torch.Generator().manual_seed(0), 16, 1)
    rollout = sample(policy, [ids[i] for i in chosen], Sampling(max_new_tokens=12), seeds)
    trees = rollout.trees()
    ended = rollout.finished[:, 0]
    assert 0 < ended.sum() < len(ended)

    # From here on: plain forwards of one sequence each, and numpy.
    policy, reward, critic = stops_soon(small_policy()), small_reward(), small_reward().model
    old, values, advantages, returns = [], [], [], []
    for tree, finished in zip(trees, ended, strict=True):
        logps = plain_logprobs(policy.model, tree).detach().double().numpy()
        before, _ = plain_values(critic, tree)
        before = before.detach().double().numpy()
        score = plain_values(reward.model, tree)[1].item() if finished else -1.0
        r = np.zeros(len(logps))  # the policy is still its reference: no KL
        r[-1] += score
        a = np.zeros(len(r) + 1)
        v = np.append(before, 0.0)
        for t in reversed(range(len(r))):
            a[t] = r[t] + v[t + 1] - v[t] + lam * a[t + 1]
        old.append(logps)
        values.append(before)
        advantages.append(a[:-1])
        returns.append(a[:-1] + before)
    everything = np.concatenate(advantages)
    advantages = [(a - everything.mean()) / np.sqrt(everything.var() + 1e-8) for a in advantages]

    adam, critic_adam = NumpyAdam(policy.model.parameters(), eps), NumpyAdam(critic.parameters(), eps)
    average = [p.detach().clone() for p in policy.model.parameters()]
    shuffling, rows = random.Random(0), small_rows(policy)
    order = [i for _ in range(2) for i in shuffling.sample(range(16), 16)]
    clipped = 0
    for update in range(4):
        picked = order[8 * update : 8 * update + 8]
        tokens = sum(len(old[i]) for i in picked)
        outputs, slopes, critic_outputs, critic_slopes = [], [], [], []
        for i in picked:
            logps = plain_logprobs(policy.model, trees[i])
            ratio, a = np.exp(logps.detach().double().numpy() - old[i]), advantages[i]
            outside = ((a > 0) & (ratio > 1.02)) | ((a < 0) & (ratio < 0.98))
            clipped += outside.sum()
            outputs.append(logps)
            slopes.append(torch.from_numpy(np.where(outside, 0.0, -a * ratio) / tokens).float())
            now, _ = plain_values(critic, trees[i])
            v = now.detach().double().numpy()
            kept = np.clip(v, values[i] - 0.05, values[i] + 0.05)
            worse = (kept - returns[i]) ** 2 > (v - returns[i]) ** 2
            critic_outputs.append(now)
            critic_slopes.append(torch.from_numpy(np.where(worse, 0.0, v - returns[i]) / tokens).float())
        texts = [rows[i] for i in in_passes(len(rows), 4 * update, 4, "0 pretraining")]
        web = sum(len(tree.responses[0]) for tree in texts)
        for tree in texts:
            logps = plain_logprobs(policy.model, tree)
            outputs.append(logps)
            slopes.append(torch.full((len(logps),), -gamma / web))
        gradients = torch.autograd.grad(outputs, list(policy.model.parameters()), slopes)
        adam.step(gradients, 3e-3)
        gradients = torch.autograd.grad(critic_outputs, list(critic.parameters()), critic_slopes)
        critic_adam.step(gradients, 2e-3)
        for mean, p in zip(average, policy.model.parameters(), strict=True):
            mean.mul_(0.992).add_(p.detach(), alpha=0.008)
    assert clipped > 0, "both branches of the clip are in it"

    state = saved_masters(tmp_path, policy, small_reward().model)
    found = load_policy(tmp_path / "checkpoint").model
    found_average = load_policy(tmp_path / "checkpoint-ema").model
    for (name, p), mine, mean, its_mean in zip(
        policy.model.named_parameters(), found.parameters(), average, found_average.parameters(), strict=True
    ):
        assert (p - mine).abs().max() < 1e-6, name
        assert (mean - its_mean).abs().max() < 1e-6, name
    for name, p in critic.named_parameters():
        assert (p - state[name]).abs().max() < 1e-6, name


def stops_soon(policy):
    """The same policy with an EOS that is drawn now and then."""
    torch.manual_seed(0)
    with torch.no_grad():
        head = policy.model.get_output_embeddings().weight
        head[policy.tokenizer.eos_token_id] = head[5:60].sum(0) * 1.5
    return policy


def saved_masters(folder, policy, critic):
    """The critic's weights as the last checkpoint has them, by name."""
    values = {"critic": Adam(critic)}
    [path] = [folder / "state" / f"step-{step:08d}" for step in checkpoint.steps(folder / "state")[-1:]]
    metadata = torch.distributed.checkpoint.FileSystemReader(path).read_metadata().state_dict_metadata
    names = [name for name in metadata if name.startswith("critic.parameters.") and name.endswith(".master")]
    tensors = {name: torch.empty(metadata[name].size) for name in names}
    torch.distributed.checkpoint.load(tensors, checkpoint_id=path)
    assert len(names) == len(values["critic"].names)
    return {name.removeprefix("critic.parameters.").removesuffix(".master"): t for name, t in tensors.items()}


# ---- against a closed form


ARMS = ("a", "b", "c")


def bandit():
    """A policy of one token whose distribution is .5 .3 .2 on three arms, and all of its weights to learn with."""
    policy = small_policy()
    arms = [policy.tokenizer.convert_tokens_to_ids(arm) for arm in ARMS]
    prompt = Encoder(policy.tokenizer, None).prompts(["go"])[0]
    with torch.no_grad():
        body = policy.model.get_decoder()
        ids = torch.from_numpy(prompt.astype(np.int64))[None]
        # The head gets weights of its own, and they alone learn: the hidden state stays what it is.
        policy.model.config.tie_word_embeddings = False
        h = body(ids).last_hidden_state[0, -1]
        logits = torch.full((len(policy.model.lm_head.weight),), -30.0)
        logits[arms] = torch.tensor([0.5, 0.3, 0.2]).log()
        policy.model.requires_grad_(False)
        policy.model.lm_head.weight = torch.nn.Parameter(logits[:, None] * h / h.square().sum())
    return policy, arms, ids


@pytest.mark.parametrize(("beta", "expected"), [(1.0, (0.1790, 0.2919, 0.5291)), (10.0, (0.4648, 0.3082, 0.2271))])
def test_a_bandit_of_three_arms_converges_to_the_closed_form(tmp_path, beta, expected):
    rewards = torch.tensor([0.0, 1.0, 2.0])
    assert kl_optimum(torch.tensor([0.5, 0.3, 0.2]), rewards, beta).tolist() == pytest.approx(expected, abs=1e-4)
    policy, arms, ids = bandit()
    settings = {**SMALL, "episodes": 120 * 32, "batch_size": 32, "minibatch_size": 32, "max_new_tokens": 1}
    settings |= {"ptx_coef": 0.0, "critic_from": "policy", "kl_coef": beta, "schedule": "linear", "samples": 0}
    settings |= {"learning_rate": 2e-3, "critic_learning_rate": 1e-2, "warmup": 0, "checkpoint_every": 120}
    config = PPOConfig(**settings, stop_on=[])
    pulls = [Prompt(id="1", prompt="go")]
    with Run.open(tmp_path, config) as run:
        train_ppo(policy, lambda prompts, texts: [float(ARMS.index(t)) for t in texts], pulls, [], run, config)
    with torch.no_grad():
        found = load_policy(tmp_path / "checkpoint").model(ids).logits[0, -1].softmax(-1)[arms]
    assert found.tolist() == pytest.approx(expected, abs=0.02)
