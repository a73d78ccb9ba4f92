"""Faults that are planted in real runs of step 3, each named by what the user sees: self-test, alarm or doctor.

What they say here is what the table in docs/ppo.md says they say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_ppo import PROMPTS, SMALL, TEXTS, small_policy, small_reward, small_rows, small_run

from rather import cli
from rather.advantages import AdaptiveKL
from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.errors import BadModel, BadSetting, CheckFailed
from rather.models.dropout import set_dropout
from rather.models.load import Policy, save_policy
from rather.models.logprobs import use_trees
from rather.models.reward_folder import Reward, load_reward_model, save_reward_model
from rather.models.tiny import TinyConfig, tiny
from rather.models.tokenizers import save_tokenizer
from rather.records import Demonstration
from rather.run import Run, read_log, read_metrics
from rather.stages import ppo
from rather.stages.answers import Asked
from rather.stages.ppo import train_ppo
from rather.stages.ppo_checks import SelfTest
from rather.stages.ppo_config import PPOConfig
from rather.stages.sft import SFTConfig, train_sft
from reward_world import demonstrations, rankings
from reward_world import policy as polite_policy

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "ppo.md").read_text().split())


def named(said: str, *words: str) -> None:
    """The user sees these words, and the table in docs/ppo.md has them."""
    for some in words:
        assert some in " ".join(said.split())
        assert some in PAGE


def refused(kind: type[Exception], work: Callable[[], object]) -> str:
    with pytest.raises(kind) as error:
        work()
    return str(error.value)


def run_with(folder: Path, policy: Policy, **settings: Any) -> dict[str, Any]:
    config = PPOConfig(**{**SMALL, **settings})
    with Run.open(folder, config) as run:
        return train_ppo(policy, small_reward(), PROMPTS, small_rows(policy), run, config)


def story_of(folder: Path, policy: Policy, reward: Reward) -> None:
    for name in ("init", "reward"):
        (folder / name).mkdir()
    save_policy(policy, folder / "init" / "checkpoint")
    save_reward_model(reward.model, policy.tokenizer, folder / "reward" / "checkpoint", [[0, 5, 6]])
    (folder / "prompts.jsonl").write_text("".join(prompt.model_dump_json() + "\n" for prompt in PROMPTS))
    (folder / "pretraining.jsonl").write_text('{"id": "1", "text": "the old cat sees a fox ."}\n')


def door(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(word) for word in words])
    return left.value.code


QUICK = [f"{key}={str(value).lower()}" for key, value in SMALL.items() if key != "episodes"]


def alarms(folder: Path) -> dict[str, str]:
    """The first of each name, with its evidence."""
    events = [row for row in read_log(folder / "events.jsonl") if row["event"] == "alarm"]
    return {row["alarm"]: row["evidence"] + " " + row["do"] for row in reversed(events)}


# ---- EOS


def fine_tuned(folder: Path, cut: Callable[[Tree], Tree] = lambda tree: tree) -> Policy:
    policy = small_policy()
    shown = [Demonstration(id=str(n), prompt=text[:9], response=text[9:20]) for n, text in enumerate(TEXTS)]
    trees = [cut(tree) for tree in Encoder(policy.tokenizer, None).encode_all(shown)[0]]
    config = SFTConfig(epochs=8, batch_size=6, learning_rate=3e-2, precision="fp32", checkpoint_every=1000)
    with Run.open(folder, config) as run:
        train_sft(policy, trees, trees, Asked((), (), 8), run, config)
    return policy


def without_end(tree: Tree) -> Tree:
    return Tree(tree.prompt, (tree.responses[0][:-1],), tree.key)


def test_eos_missing_from_the_demonstrations(tmp_path):
    policy = fine_tuned(tmp_path / "sft", without_end)
    ending: dict[str, Any] = {"missing_eos": "replace", "max_new_tokens": 24}
    said = refused(SelfTest, lambda: run_with(tmp_path / "ppo", policy, **ending))
    named(said, "responses ended within 24 tokens", "1. the demonstrations the policy learned from had no EOS")
    policy = fine_tuned(tmp_path / "sft-2")
    run_with(tmp_path / "ppo-2", policy, **ending)
    assert read_metrics(tmp_path / "ppo-2")[0]["response/finished"] > 0.9


# ---- what differs between the models


def test_dropout_left_on(tmp_path):
    policy = small_policy()
    set_dropout(policy.model, 0.2)
    said = refused(SelfTest, lambda: run_with(tmp_path, policy))
    named(said, "Self-test: the policy: Dropout is on", "1. set_dropout was called on the model after it was loaded")


def test_temperature_on_one_side(tmp_path, monkeypatch):
    forward = ppo.response_logprobs
    monkeypatch.setattr(
        ppo, "response_logprobs", lambda model, trees, share, temperature: forward(model, trees, share, 1)
    )
    said = refused(SelfTest, lambda: run_with(tmp_path, small_policy(), temperature=0.7))
    named(said, "Self-test: sampler and trainer disagree", "1. the temperature (0.7) is applied on one side only")


def test_a_reference_that_is_another_model(tmp_path, monkeypatch):
    policy, other, forward = small_policy(), small_policy(seed=5).model, ppo.response_logprobs
    use_trees(other)
    swapped = lambda model, *rest: forward(model if model is policy.model else other, *rest)  # noqa: E731
    monkeypatch.setattr(ppo, "response_logprobs", swapped)
    said = refused(SelfTest, lambda: run_with(tmp_path, policy))
    named(said, "Self-test: the KL at step 0 is not 0", "1. the reference is another model")


def test_a_reference_that_was_made_anew_while_the_run_was_interrupted(tmp_path, capsys):
    story_of(tmp_path, small_policy(), small_reward())
    assert door("ppo", tmp_path, *QUICK, "episodes=48") == 0
    (tmp_path / "ppo" / "DONE").unlink()
    save_policy(small_policy(seed=5), tmp_path / "init" / "checkpoint")
    assert door("ppo", tmp_path, *QUICK, "episodes=48", "--resume") == 1
    named(capsys.readouterr().err, "Self-test: the reference is not the one this run began with")


def test_a_policy_and_a_reward_model_with_other_tokens(tmp_path):
    other = tiny(TinyConfig(vocabulary=280, hidden=32, layers=1), ["zz top"], torch.Generator().manual_seed(0))
    reward = replace(small_reward(), tokenizer=other.tokenizer)
    said = refused(BadSetting, lambda: small_run(tmp_path / "ppo", reward=reward))
    named(said, "The critic is to begin as the reward model, whose tokenizer is not the policy's.")
    policy = small_policy()
    save_reward_model(small_reward().model, policy.tokenizer, tmp_path / "reward", [[0, 5, 6]])
    save_tokenizer(other.tokenizer, tmp_path / "reward", tmp_path / "reward")
    said = refused(BadModel, lambda: load_reward_model(tmp_path / "reward"))
    named(said, "the tokenizer is not the one it was saved with")


# ---- the reward


def coins(n: int, seed: int) -> list:
    return rankings(n, seed=seed, wrong=0.5, labelers=("ana", "ben"))


def write(file: Path, records: list) -> None:
    file.write_text("".join(record.model_dump_json(exclude_none=True) + "\n" for record in records))


def test_labels_at_chance(tmp_path, capsys):
    for name in ("sft", "init"):
        (tmp_path / name).mkdir()
        save_policy(polite_policy(), tmp_path / name / "checkpoint")
    write(tmp_path / "rankings.jsonl", coins(80, 0))
    write(tmp_path / "demonstrations.jsonl", demonstrations(10))
    (tmp_path / "prompts.jsonl").write_text('{"id": "1", "prompt": "say red"}\n')
    quick = ("precision=fp32", "batch_size=16", "learning_rate=3e-3", "validation_share=0.4")
    assert door("reward", tmp_path, *quick) == 0
    assert door("reward", "report", tmp_path) == 0
    named(capsys.readouterr().out, "labels at chance: Two training labelers agree on", "at chance: It is right on")
    assert door("ppo", tmp_path, "preset=instructgpt") == 1
    named(capsys.readouterr().err, "Self-test: the reward model may be no better than a coin")


FLAW = "fox"


def wanted(prompts: Any, texts: Any) -> list[float]:
    """What people want: different words. What they get paid for repeating one is no part of it."""
    return [len(set(text.split())) / 4 for text in texts]


def flawed(prompts: Any, texts: Any) -> list[float]:
    return [score + 0.5 * text.count(FLAW) for score, text in zip(wanted(prompts, texts), texts, strict=True)]


LONG = {"episodes": 16 * 60, "critic_from": "policy", "ptx_coef": 0.0, "learning_rate": 5e-3, "warmup": 0,
        "critic_learning_rate": 5e-3, "checkpoint_every": 60, "samples": 0, "kl_coef": 0.02}  # fmt: skip


def stopped_by(folder: Path, alarm: str, **settings: Any) -> str:
    """What the run says that this alarm ended; it had no checkpoint to end at."""
    said = refused(CheckFailed, lambda: small_run(folder, **{**LONG, "stop_on": [alarm], **settings}))
    assert said.startswith(f"stop_on: {alarm}. ")
    return said


@pytest.mark.slow
def test_half_a_point_for_one_token(tmp_path):
    said = stopped_by(tmp_path / "flawed", "reward_hacking", reward=flawed, second_opinion=wanted)
    named(said, "the score went", "and the second opinion", "The reward model is being exploited")
    small_run(tmp_path / "honest", reward=wanted, second_opinion=wanted, **LONG)
    assert "reward_hacking" not in alarms(tmp_path / "honest")


# ---- beta


def test_beta_0(tmp_path):
    said = stopped_by(tmp_path, "no_penalty", reward=flawed, kl_coef=0.0)
    named(said, "beta is 0 and the KL is", "the score alone says where the policy goes")


FOLLOWING = {"reward": flawed, "kl_coef": 0.05, "kl_target": 0.5, "kl_horizon": 64}


def test_a_controller_that_follows_a_mean_over_tokens(tmp_path, monkeypatch):
    follow = AdaptiveKL.update
    monkeypatch.setattr(AdaptiveKL, "update", lambda self, kl, episodes: follow(self, kl / 6, episodes))
    said = stopped_by(tmp_path, "controller", **FOLLOWING)
    named(said, "on the other side of its target", "The controller follows a number of another unit")


def test_a_target_that_was_meant_for_a_token(tmp_path):
    said = stopped_by(tmp_path, "controller", **{**FOLLOWING, "kl_target": 0.05, "kl_horizon": 1000})
    named(said, "more than twice its target", "Was kl_target meant for a token?")
