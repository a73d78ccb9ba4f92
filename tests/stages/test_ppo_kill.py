"""kill -9 at any moment of step 3, ten times: policy, average, critic, beta and samples end in the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import ends_in_the_same_bytes, kill_again_and_again, made, said
from small_ppo import PROMPTS, SMALL, small_policy, small_reward, small_run

from rather.models.load import save_policy
from rather.models.reward_folder import save_reward_model

ITERATIONS = 26
SETTINGS = {"episodes": 16 * ITERATIONS, "kl_target": 0.001, "kl_horizon": 50, "kl_coef": 0.1}
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}
RESULTS = {"metrics.jsonl", "samples.jsonl", "checkpoint/model.safetensors", "checkpoint-ema/model.safetensors"}


def train(folder: Path) -> None:
    small_run(folder, resume=True, **SETTINGS)


@pytest.mark.slow
def test_killed_ten_times_it_ends_in_the_bytes_of_a_straight_run(tmp_path):
    assert ends_in_the_same_bytes(__file__, tmp_path) >= RESULTS


# ---- through the verb


def verb(story: Path, *words: str) -> subprocess.Popen[bytes]:
    settings = [f"{key}={str(value).lower()}" for key, value in {**SMALL, "episodes": 160}.items()]
    command = [sys.executable, "-m", "rather", "ppo", str(story), *settings, *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ALONE)


@pytest.mark.slow
def test_ten_iterations_are_five_a_kill_and_five_more(tmp_path):
    policy = small_policy()
    for name in ("init", "reward"):
        (tmp_path / name).mkdir()
    save_policy(policy, tmp_path / "init" / "checkpoint")
    save_reward_model(small_reward().model, policy.tokenizer, tmp_path / "reward" / "checkpoint", [[0, 5, 6]])
    (tmp_path / "prompts.jsonl").write_text("".join(p.model_dump_json() + "\n" for p in PROMPTS))
    (tmp_path / "pretraining.jsonl").write_text('{"id": "1", "text": "the old cat sees a fox ."}\n')
    straight, broken = verb(tmp_path, "--name=straight"), verb(tmp_path, "--name=broken")
    while said(tmp_path / "broken") < 5:
        time.sleep(0.001)
        assert broken.poll() is None
    broken.kill()
    broken.communicate()
    resumed = verb(tmp_path, "--name=broken", "--resume")
    for process in (straight, resumed):
        words = process.communicate()[1].decode()
        assert process.returncode == 0, words
    assert made(tmp_path / "straight") == made(tmp_path / "broken")
    assert len((tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()) == 10
    events = [json.loads(line)["event"] for line in (tmp_path / "broken" / "events.jsonl").read_text().splitlines()]
    assert events.count("resumed") == 1


if __name__ == "__main__":
    kill_again_and_again(train, Path(sys.argv[1]), steps=ITERATIONS)
