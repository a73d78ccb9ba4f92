"""GRPO: advantages and gradients are the plain computation's, and the loop stops, resumes and counts as it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from small_ppo import PROMPTS, small_policy, small_rows

from rather.batches.trees import Tree
from rather.cli.grpo import command
from rather.cli.stage import settings_of
from rather.errors import BadSetting, NotReady, RatherError
from rather.models.load import load_policy, save_policy
from rather.models.logprobs import use_trees
from rather.run import Run, read_log, read_metrics
from rather.stages.grpo import train_grpo
from rather.stages.grpo_config import GRPOConfig
from rather.stages.grpo_rewards import Rewards
from rather.stages.grpo_steps import Groups, advantages_of, branches, counting, group_gradients, group_logprobs
from rather.stages.optim import Adam
from rather.stages.ppo_checks import SelfTest
from rather.stages.ppo_config import PPOConfig
from rather.stages.steps import Share
from rather.verifiers import Verdict, VerifierFailed

SMALL = {
    "iterations": 3, "batch_size": 4, "minibatch_size": 2, "samples": 4, "max_new_tokens": 6, "precision": "fp32",
    "learning_rate": 3e-3, "checkpoint_every": 100, "shown": 1,
}  # fmt: skip


def likes_e(prompts, texts):
    return [float(text.count("e")) for text in texts]


LIKES_E = Rewards({"likes_e": 1.0}, models={"likes_e": likes_e})


def small_grpo(folder: Path, rewards: Rewards = LIKES_E, resume=False, watch=None, held=(), **settings) -> dict:
    config = GRPOConfig(**{**SMALL, **settings})
    policy = small_policy()
    with Run.open(folder, config, resume=resume) as run:
        run.watch = watch
        return train_grpo(policy, rewards, PROMPTS, small_rows(policy), run, config, validation=held)


# ---- one minibatch against a computation written out

SHAPES = [(7, (5, 8, 2)), (3, (4, 4, 9)), (12, (1, 6, 3))]  # prompt, its three responses


def groups_of(seed: int = 0) -> list[Tree]:
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.integers(3, 250, n).astype(np.int32)  # noqa: E731
    return [Tree(draw(p), tuple(draw(r) for r in responses)) for p, responses in SHAPES]


def plain_logprobs(model, prompt, response) -> torch.Tensor:
    """(T,) by the model's own forward over one sequence."""
    ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
    logits = model(ids).logits[0, len(prompt) - 1 : -1]
    return F.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None])[:, 0]


def plain_loss(model, old, ref, advantages, counted, config) -> torch.Tensor:
    terms, tokens, responses = [], 0, 0
    for p, tree in enumerate(groups_of()):
        for g, response in enumerate(tree.responses):
            if not counted[p, g]:
                continue
            at = 3 * p + g
            logps = plain_logprobs(model, tree.prompt, response)
            ratio = (logps - old[at, : len(response)]).exp()
            a = advantages[p, g]
            clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
            token = -torch.minimum(a * ratio, a * clipped)
            r = logps - ref[at, : len(response)]
            if config.kl == "k3":
                token = token + config.kl_coef * (torch.exp(-r) - 1 + r)
            elif config.kl == "k2":
                token = token + config.kl_coef * r**2 / 2
            terms.append(token.mean() if config.mean_over == "sequence" else token.sum())
            tokens, responses = tokens + len(response), responses + 1
    below = {"sequence": responses, "token": tokens, "constant": 9 * config.max_new_tokens}[config.mean_over]
    return torch.stack(terms).sum() / below


@pytest.mark.parametrize("mean_over", ["sequence", "token", "constant"])
@pytest.mark.parametrize("kl", ["k3", "k2", "none"])
def test_gradients_are_those_of_the_plain_computation(mean_over, kl):
    config = GRPOConfig(
        mean_over=mean_over, kl=kl, kl_coef=0.3, clip_low=0.1, clip_high=0.25, max_new_tokens=20, samples=3
    )
    plain, policy, trees = small_policy().model, small_policy().model, groups_of()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        old = torch.zeros(9, 9)
        for at, (tree, k) in enumerate((tree, k) for tree in trees for k in range(3)):
            old[at, : len(tree.responses[k])] = plain_logprobs(plain, tree.prompt, tree.responses[k])
    ref = old + 0.3 * torch.randn(9, 9, generator=rng)
    old = old + 0.2 * torch.randn(9, 9, generator=rng)  # so that some tokens are clipped, on both sides
    counted = torch.tensor([[True, True, True], [True, False, True], [True, True, True]])
    advantages = advantages_of(torch.randn(3, 3, generator=rng), counted, "normalised")
    wanted = plain_loss(plain, old, ref, advantages, counted, config)
    wanted.backward()
    for budget in (8, 40, 1000):  # a response at a time, some, all
        policy = small_policy().model
        use_trees(policy)
        adam = Adam(policy)
        groups = Groups(trees, old, None if kl == "none" else ref, advantages, counted)
        step = group_gradients(policy, groups, Share(budget), config)
        assert step.loss + step.kl == pytest.approx(float(wanted), abs=1e-5)
        assert 0 < step.clip_fraction < 1
        for (name, p), gradient in zip(plain.named_parameters(), adam.gradients(), strict=True):
            torch.testing.assert_close(gradient, p.grad, atol=2e-5, rtol=2e-4, msg=name)
        table = group_logprobs(policy, trees, Share(budget), 9, 1.0)
        one = plain_logprobs(plain, trees[1].prompt, trees[1].responses[2]).detach()
        torch.testing.assert_close(table[5, : len(one)], one, atol=1e-4, rtol=0)


def test_advantages_are_the_closed_form():
    rewards, all_of_them = torch.tensor([[1.0, 0, 0, 0], [2, 2, 2, 2]]), torch.ones(2, 4, dtype=torch.bool)
    for how, good, bad in (("normalised", 1.5, -0.5), ("centred", 0.75, -0.25), ("leave-one-out", 1.0, -1 / 3)):
        found = advantages_of(rewards, all_of_them, how)
        assert found[0].tolist() == pytest.approx([good, bad, bad, bad], abs=1e-5)
        assert found[1].tolist() == [0, 0, 0, 0], "a group that says nothing gets exactly 0"


def test_responses_that_are_left_out_are_neither_in_their_group_nor_alone_in_it():
    finished = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    counted = counting(finished, leave_out=True)
    assert counted.tolist() == [[True, True, False], [False] * 3, [False] * 3]
    found = advantages_of(torch.tensor([[1.0, 0, 50], [1, 2, 3], [1, 2, 3]]), counted, "leave-one-out")
    assert found.tolist() == [[1, -1, 0], [0, 0, 0], [0, 0, 0]]
    assert counting(finished, leave_out=False).all()


def test_a_group_larger_than_the_budget_is_read_in_parts_that_keep_their_places():
    [tree] = groups_of()[:1]
    parts, first = branches([tree, tree], budget=15)  # prompt 7: 5; 8; 2
    assert [[len(r) for r in part.responses] for part in parts] == [[5], [8], [2], [5], [8], [2]]
    assert first == [0, 1, 2, 3, 4, 5]
    parts, first = branches([tree, tree], budget=20)
    assert [[len(r) for r in part.responses] for part in parts] == [[5, 8], [2], [5, 8], [2]]
    assert first == [0, 2, 3, 5]


# ---- whole runs


def test_it_learns_what_is_rewarded(tmp_path):
    small_grpo(tmp_path, iterations=12, batch_size=8, minibatch_size=8, samples=8, kl_coef=0.0, learning_rate=2e-2)
    rows = read_metrics(tmp_path)
    assert rows[0]["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert rows[0]["policy/log_ratio_max"] < 1e-3, "the ratio begins at 1"
    assert rows[-1]["objective/scores"] > rows[0]["objective/scores"] + 1
    assert rows[-1]["objective/kl"] > 0.1
    assert rows[-1]["rewards/likes_e/mean"] == rows[-1]["objective/scores"]
    assert [row["event"] for row in read_log(tmp_path / "events.jsonl")][1] == "self-test"


def test_unseen_prompts_are_measured_and_change_nothing_of_what_is_learned(tmp_path):
    settings = {"iterations": 4, "evaluate_every": 2, "validation_prompts": 3}
    small_grpo(tmp_path / "without", **settings)
    small_grpo(tmp_path / "with", held=PROMPTS[:5], **settings)
    rows = {row["step"]: row for row in read_metrics(tmp_path / "with")}
    assert [step for step, row in rows.items() if "val/scores" in row] == [0, 2, 4]
    seen = [row["objective/scores"] for row in read_metrics(tmp_path / "without")]
    assert seen == [rows[step]["objective/scores"] for step in range(1, 5)]
    weights = "checkpoint/model.safetensors"
    assert (tmp_path / "with" / weights).read_bytes() == (tmp_path / "without" / weights).read_bytes()


@pytest.mark.parametrize("stop", [1, 3])
def test_stopped_anywhere_and_resumed_is_the_same_to_the_byte(tmp_path, stop):
    class Stopped(Exception):
        pass

    def at(step: int, values) -> None:
        if step == stop:
            raise Stopped

    settings = {"iterations": 4, "ptx_coef": 0.5, "ptx_length": 16, "inner_epochs": 2, "resample": 1, "kl": "k2"}
    settings["checkpoint_every"] = 2
    settings["held"] = PROMPTS[:2]
    small_grpo(tmp_path / "whole", **settings)
    with pytest.raises(Stopped):
        small_grpo(tmp_path / "stopped", watch=at, **settings)
    small_grpo(tmp_path / "stopped", resume=True, **settings)
    for name in ("metrics.jsonl", "samples.jsonl", "checkpoint/model.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_run_does_not_go_on_from_another_reference(tmp_path):
    """The folder it began from was written again: the KL would be held against other weights from here on."""
    small_grpo(tmp_path / "run", iterations=1, checkpoint_every=1)
    config, policy = GRPOConfig(**{**SMALL, "iterations": 1, "checkpoint_every": 1}), small_policy(seed=5)
    (tmp_path / "run" / "DONE").unlink()
    with Run.open(tmp_path / "run", config, resume=True) as run, pytest.raises(SelfTest, match="the reference is not"):
        train_grpo(policy, LIKES_E, PROMPTS, small_rows(policy), run, config)


def test_equal_rewards_teach_nothing_and_are_counted(tmp_path):
    same = Rewards({"same": 1.0}, models={"same": lambda prompts, texts: [2.0] * len(texts)})
    small_grpo(tmp_path, same, kl="none")
    before, after = small_policy().model.state_dict(), load_policy(tmp_path / "checkpoint").model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for row in read_metrics(tmp_path):
        assert row["frac_reward_zero_std"] == 1
        assert row["reward_std"] == row["grad_norm"] == 0
        assert not any(name.startswith("objective/kl") for name in row), "without a reference no KL is known"


def test_groups_that_say_nothing_are_replaced_by_other_prompts(tmp_path):
    def some(prompts, texts):
        return [
            float(text.count("e")) if int(prompt.id) % 2 else 0.0 for prompt, text in zip(prompts, texts, strict=True)
        ]

    half = Rewards({"half": 1.0}, models={"half": some})
    small_grpo(tmp_path / "kept", half, samples=8)
    small_grpo(tmp_path / "replaced", half, samples=8, resample=4)
    kept, replaced = (read_metrics(tmp_path / name) for name in ("kept", "replaced"))
    assert np.mean([row["frac_reward_zero_std"] for row in kept]) > np.mean(
        [row["frac_reward_zero_std"] for row in replaced]
    )
    assert sum(row.get("groups/replaced", 0) for row in replaced) > 0
    assert replaced[-1]["episode"] > kept[-1]["episode"] == 3 * 4 * 8


@pytest.mark.parametrize("truncated", ["keep", "replace", "leave-out"])
def test_a_response_that_does_not_end_is_treated_as_chosen(tmp_path, truncated):
    settings = {"max_new_tokens": 20, "truncated": truncated, "truncated_reward": -9.0, "iterations": 1, "shown": 4}
    ends = Rewards({"one": 1.0}, models={"one": lambda prompts, texts: [1.0 + len(t) for t in texts]})
    small_grpo(tmp_path, ends, samples=16, **settings)
    rows = [row for row in read_log(tmp_path / "samples.jsonl") if not row["finished"]]
    assert rows
    for row in rows:
        if truncated == "replace":
            assert row["score"] == -9
        else:
            assert row["score"] > 0
        if truncated == "leave-out":
            assert row["advantage"] == 0


def test_k1_goes_into_the_reward_and_the_others_into_the_loss(tmp_path):
    small_grpo(tmp_path / "k1", kl="k1", kl_coef=0.5)
    small_grpo(tmp_path / "k3", kl="k3", kl_coef=0.5)
    k1, k3 = (read_metrics(tmp_path / name)[-1] for name in ("k1", "k3"))
    assert k1["objective/non_score_reward"] == pytest.approx(-0.5 * k1["objective/kl"])
    assert "loss/kl_avg" not in k1
    assert k3["loss/kl_avg"] > 0
    assert "objective/non_score_reward" not in k3


def test_a_verifier_that_fails_stops_the_run_and_after_mending_it_goes_on(tmp_path):
    calls = []

    def fragile(response, case):
        calls.append(case["id"])
        if len(calls) == 20:
            raise RuntimeError("no disk")
        return Verdict(float("e" in response), "has an e")

    cases = {prompt.id: {"wanted": "e"} for prompt in PROMPTS}
    rewards = Rewards({"fragile": 1.0}, verifiers={"fragile": fragile}, cases=cases)
    with pytest.raises(VerifierFailed, match="no disk"):
        small_grpo(tmp_path / "broken", rewards, checkpoint_every=1)
    assert len(read_metrics(tmp_path / "broken")) == 1
    saved = json.loads((tmp_path / "broken" / "failed.json").read_text())
    assert (saved["step"], saved["verifier"], saved["case"]["wanted"]) == (2, "fragile", "e")
    small_grpo(tmp_path / "broken", rewards, resume=True, checkpoint_every=1)
    small_grpo(tmp_path / "whole", rewards, checkpoint_every=1)
    for name in ("metrics.jsonl", "checkpoint/model.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_presets_keep_their_meaning_and_what_is_given_counts():
    assert (GRPOConfig().samples, GRPOConfig().kl, GRPOConfig().kl_coef) == (64, "k3", 0.04)
    dr = GRPOConfig(preset="dr-grpo", clip_high=0.3)
    assert (dr.advantage, dr.mean_over, dr.kl, dr.clip_high) == ("centred", "constant", "none", 0.3)
    assert (GRPOConfig(preset="dapo").clip_high, GRPOConfig(preset="dapo").truncated) == (0.28, "leave-out")
    with pytest.raises(ValueError, match="multiple"):
        GRPOConfig(batch_size=6, minibatch_size=4)


# ---- the verb


@pytest.fixture
def story(tmp_path) -> Path:
    (tmp_path / "run" / "init").mkdir(parents=True)
    save_policy(small_policy(), tmp_path / "run" / "init" / "checkpoint")
    return tmp_path / "run"


def verb(*words: object) -> dict:
    outcome = CliRunner().invoke(command, [*map(str, words), "--json"], catch_exceptions=False, standalone_mode=False)
    return json.loads(outcome.stdout.splitlines()[-1])


QUICK = ("iterations=1", "batch_size=2", "minibatch_size=2", "samples=2", "max_new_tokens=4", "precision=fp32")


def test_the_verb_asks_the_verifiable_world(story):
    said = verb(story, *QUICK, "prompts=sums:0:sum:1")
    assert (said["run"], said["rewarded by"]) == (str(story / "grpo"), "world")
    assert load_policy(story / "grpo" / "checkpoint")
    assert [row["step"] for row in read_metrics(story / "grpo") if "val/scores" in row] == [0, 1]


def test_nothing_unseen_is_asked_for_where_none_is_wanted(story, monkeypatch):
    """A world of few problems may have none on one side."""
    monkeypatch.setattr("rather.worlds.verifiable.HELD_OUT", {"test": 0.2, "validation": 0.0})
    with pytest.raises(BadSetting, match="on the side validation"):
        verb(story, *QUICK, "prompts=sums:0:sum:1")
    verb(story, *QUICK, "prompts=sums:0:sum:1", "validation_prompts=0")
    assert not [row for row in read_metrics(story / "grpo") if "val/scores" in row]


def test_the_verb_takes_prompts_with_answers(story):
    rows = [{"id": str(n), "prompt": f"the {n}", "answer": "#### 4"} for n in range(4)]
    (story / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert verb(story, *QUICK, "rewards={number=1.0}")["rewarded by"] == "number"
    assert "rewards/number/mean" in read_metrics(story / "grpo")[0]


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ([], NotReady, "prompts.jsonl"),
        (["prompts=sums", "rewards={nubmer=1.0}"], BadSetting, "Did you mean 'number'"),
        (["prompts=sums:0:summ"], BadSetting, "Did you mean 'sum'"),
        (["prompts=sums", "kl=k4"], BadSetting, "kl"),
        (["prompts=sums", "ptx_coef=1"], NotReady, "ptx_coef=0"),
        (["prompts=sums", "sampels=3"], BadSetting, "Did you mean 'samples'"),
        (["prompts=sums", "rewards={}"], BadSetting, "rewards"),
        (["prompts=sums", 'rewards={"{run}/reward/checkpoint"=1.0}'], RatherError, "run/reward/checkpoint"),
    ],
)
def test_what_is_missing_or_wrong_is_said(story, words, error, said):
    with pytest.raises(error, match=said):
        verb(story, *QUICK, *words)
    assert not (story / "grpo").exists()


def test_a_window_that_the_response_alone_fills_is_said_with_what_would_fit(story):
    with pytest.raises(BadSetting, match="leaves no room for one in the model's window of 64") as refused:
        verb(story, *QUICK, "prompts=sums", "max_new_tokens=64")
    assert "max_new_tokens=32" in str(refused.value)


def test_the_folder_of_the_story_may_stand_in_the_name_of_a_reward(tmp_path):
    said = ['rewards={"{run}/reward/checkpoint"=1.0, number=0.5}']
    settings = settings_of(GRPOConfig, tmp_path, None, said, "grpo", "grpo")
    assert settings.rewards == {f"{tmp_path}/reward/checkpoint": 1.0, "number": 0.5}


def test_a_batch_is_whole_minibatches_or_less_than_one():
    for config in (GRPOConfig, PPOConfig):
        with pytest.raises(ValueError, match="batch_size=12 is not a multiple of minibatch_size=8"):
            config(batch_size=12, minibatch_size=8)
        assert config(batch_size=24, minibatch_size=8, inner_epochs=2).updates == 6
    assert GRPOConfig(batch_size=4, minibatch_size=8, ptx_coef=1.0, ptx_ratio=0.5).ptx_examples == 2
