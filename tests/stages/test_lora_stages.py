"""LoRA in every stage: what moves, what it is held against, and that a stopped run ends in the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from small_ppo import PROMPTS, SMALL, TEXTS, small_policy, small_reward, small_rows
from small_preferences import HELD, RANKINGS
from transformers import AutoModelForCausalLM

from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.errors import BadFile
from rather.models.load import Policy, load_policy, save_policy
from rather.models.logprobs import use_trees
from rather.models.lora import LoRA, attach
from rather.models.reward_folder import load_reward_model
from rather.models.tiny import TinyConfig, tiny
from rather.records import Demonstration
from rather.run import Run, read_log, read_metrics
from rather.stages.answers import ask
from rather.stages.dpo import train_dpo
from rather.stages.dpo_config import DPOConfig
from rather.stages.grpo import train_grpo
from rather.stages.grpo_config import GRPOConfig
from rather.stages.grpo_rewards import Rewards
from rather.stages.optim import Adam
from rather.stages.ppo import train_ppo
from rather.stages.ppo_config import PPOConfig
from rather.stages.reward import RewardConfig, train_reward
from rather.stages.sft import SFTConfig, train_sft
from rather.stages.steps import Share, sft_gradients

LORA = {"rank": 4, "alpha": 16.0}
IDS = torch.arange(20)[None] % 7 + 3


class Stopped(Exception):
    pass


def sft(base: Path, run: Run, config: SFTConfig) -> None:
    policy = load_policy(base)
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template)
    records = [Demonstration(id=t, prompt=t[:9], response=t[9:], labeler="program") for t in TEXTS]
    train, held = encoder.encode_all(records[:12])[0], encoder.encode_all(records[12:])[0]
    asked, _ = ask(encoder, [r.prompt for r in records[12:]], 64, 6)
    train_sft(policy, train, held, asked, run, config)


def reward(base: Path, run: Run, config: RewardConfig) -> None:
    train_reward(load_policy(base), RANKINGS, HELD, [], run, config)


def dpo(base: Path, run: Run, config: DPOConfig) -> None:
    train_dpo(load_policy(base), RANKINGS, HELD, run, config)


def ppo(base: Path, run: Run, config: PPOConfig) -> None:
    policy = load_policy(base)
    train_ppo(policy, small_reward(policy), PROMPTS, small_rows(policy), run, config)


def grpo(base: Path, run: Run, config: GRPOConfig) -> None:
    def many_e(prompts, texts):
        return [text.count("e") / (1 + len(text)) for text in texts]

    train_grpo(load_policy(base), Rewards({"e": 1.0}, {"e": many_e}), PROMPTS, [], run, config)


LEARNS = {"precision": "fp32", "checkpoint_every": 1, "learning_rate": 3e-3}
STAGES = {
    "sft": (sft, SFTConfig, {**LEARNS, "epochs": 2, "batch_size": 6, "dropout": 0.1, "max_new_tokens": 6}),
    "reward": (reward, RewardConfig, {**LEARNS, "epochs": 2, "batch_size": 3}),
    "dpo": (dpo, DPOConfig, {**LEARNS, "epochs": 2, "batch_size": 3, "max_new_tokens": 6}),
    "ppo": (ppo, PPOConfig, {**SMALL, "ema_decay": 0.5}),
    "grpo": (
        grpo,
        GRPOConfig,
        {**LEARNS, "iterations": 3, "batch_size": 4, "minibatch_size": 2, "samples": 4, "max_new_tokens": 6},
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_policy(small_policy(), tmp_path_factory.mktemp("lora") / "base")


def go(stage: str, base: Path, folder: Path, resume: bool = False, stop: int | None = None, **changes: Any) -> Path:
    work, config, small = STAGES[stage]
    settings = config(**{**small, "lora": LoRA(**LORA), **changes})

    def watch(step: int, values: Any) -> None:
        if step == stop:
            raise Stopped

    with Run.open(folder, settings, resume=resume) as run:
        run.watch = watch
        work(base, run, settings)
    return folder


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory) -> Callable[[str], Path]:
    """A run of a stage from its beginning to its end, made once."""
    place = tmp_path_factory.mktemp("whole")
    return cache(lambda stage: go(stage, base, place / stage))


def results(folder: Path) -> dict[str, bytes]:
    kept = [f for f in folder.rglob("*") if f.is_file() and ("checkpoint" in str(f) or f.name.endswith(".safetensors"))]
    assert any(f.parent.name == "adapter" for f in kept)
    return {str(f.relative_to(folder)): f.read_bytes() for f in kept if "state" not in f.parts}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stopped_run_goes_on_to_the_same_bytes(stage, base, whole, tmp_path):
    first = whole(stage)
    steps = [row["step"] for row in read_metrics(first)]
    with pytest.raises(Stopped):
        go(stage, base, tmp_path / "again", stop=steps[-1])
    go(stage, base, tmp_path / "again", resume=True)
    assert results(tmp_path / "again") == results(first)
    assert read_metrics(tmp_path / "again") == read_metrics(first)
    (said, *_) = [event for event in read_log(first / "events.jsonl") if event["event"] == "lora"]
    assert (said["rank"], said["trained"] < said["total"]) == (4, True)


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "reward"])
def test_what_a_stage_leaves_loads_in_plain_peft_and_in_plain_transformers(stage, base, whole):
    folder = whole(stage) / "checkpoint"
    begun = AutoModelForCausalLM.from_pretrained(base)
    merged = AutoModelForCausalLM.from_pretrained(folder).eval()
    moved = (dict(begun.named_parameters())[n] - p for n, p in merged.named_parameters() if "layers" not in n)
    assert all(float(apart.detach().abs().max()) == 0 for apart in moved)  # all but the layers stays
    with torch.no_grad():
        before, expected = begun(IDS).logits, merged(IDS).logits
        found = PeftModel.from_pretrained(begun, folder / "adapter").eval()(IDS).logits
    assert float((expected - before).abs().max()) > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_later_stage_begins_from_the_merged_folder(whole, tmp_path):
    first = whole("sft") / "checkpoint"
    second = go("dpo", first, tmp_path / "dpo") / "checkpoint"
    settings = json.loads((second / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(first.resolve())
    reward_model = go("reward", first, tmp_path / "reward") / "checkpoint"
    load_reward_model(reward_model)  # which scores its probes again


def test_ppo_ships_the_average_of_its_adapters_and_begins_at_kl_0(whole):
    folder = whole("ppo")
    last, average = (load_policy(folder / name).model for name in ("checkpoint", "checkpoint-ema"))
    apart = {n: float((p - dict(average.named_parameters())[n]).abs().max()) for n, p in last.named_parameters()}
    assert max(apart.values()) > 0
    assert all(far == 0 for name, far in apart.items() if "layers" not in name)
    (test,) = [event for event in read_log(folder / "events.jsonl") if event["event"] == "self-test"]
    assert test["kl_abs_mean"] < 1e-5
    assert test["critic_minus_reward_max"] < 1e-4
    assert read_metrics(folder)[-1]["objective/kl"] != 0


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_in_bfloat16_what_is_frozen_is_saved_as_it_came(stage, base, tmp_path):
    folder = go(stage, base, tmp_path / stage, precision="bf16") / "checkpoint"
    if stage == "reward":
        load_reward_model(folder)
        return
    begun = dict(load_policy(base).model.named_parameters())
    for name, p in load_policy(folder).model.named_parameters():
        assert p.dtype == torch.float32
        if "layers" not in name or "norm" in name:
            assert torch.equal(p, begun[name])


def test_adapters_do_not_go_on_over_another_model(base, tmp_path):
    mine = shutil.copytree(base, tmp_path / "base")
    with pytest.raises(Stopped):
        go("dpo", mine, tmp_path / "dpo", stop=2)
    shutil.rmtree(mine)
    save_policy(small_policy(seed=3), mine)
    with pytest.raises(BadFile, match="frozen weights are not those"):
        go("dpo", mine, tmp_path / "dpo", resume=True)


def losses(policy: Policy, trees: list[Tree], lora: LoRA, rate: float, steps: int = 60) -> list[float]:
    """Plain training of the linear layers of one small model on a few texts, with adapters or whole."""
    model = policy.model
    if attach(model, lora, seed=0) is None:
        for name, p in model.named_parameters():
            p.requires_grad_("_proj" in name)
    use_trees(model)
    optimizer = Adam(model)
    found = []
    for _ in range(steps):
        found.append(sft_gradients(model, trees, Share(1000)))
        optimizer.step(rate)
    return found


def test_with_full_rank_on_one_layer_lora_tracks_full_training():
    """W + B A with rank D can be any matrix. The path is another one, since Adam moves B and A and not their product:
    so losses are compared, in shares of what full training learns. The layer alone is trained, on both sides.
    """
    sizes = TinyConfig(vocabulary=300, hidden=32, layers=1, heads=2, mlp=32, context=64, template="none")

    def begun() -> Policy:
        return tiny(sizes, TEXTS, torch.Generator().manual_seed(0))

    trees = small_rows(begun())
    whole, full, one = (losses(begun(), trees, LoRA(rank=rank, alpha=64.0), rate=1e-2) for rank in (None, 32, 1))
    learned = whole[0] - whole[-1]
    assert learned > 0.5
    assert full[0] == one[0] == whole[0]
    assert max(abs(a - b) for a, b in zip(full, whole, strict=True)) < 0.1 * learned  # at each of 60 steps
    assert abs(full[-1] - whole[-1]) < 0.05 * learned
    assert one[-1] - whole[-1] > 0.3 * learned  # which rank 1 does not


def test_the_state_holds_adapters_and_no_frozen_weight(base, whole, tmp_path):
    full = go("dpo", base, tmp_path / "full", lora=LoRA())
    size = [sum(f.stat().st_size for f in (folder / "state").rglob("*")) for folder in (whole("dpo"), full)]
    assert size[0] < size[1] / 2
    assert not (full / "checkpoint" / "adapter").exists()
