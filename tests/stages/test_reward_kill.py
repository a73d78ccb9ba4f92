"""kill -9 at any moment of a reward training, ten times: what it ends in are the bytes of a training nobody killed."""

from __future__ import annotations

import sys
from pathlib import Path

from killing import ends_in_the_same_bytes, kill_again_and_again

from rather.run import Run
from rather.stages.reward import RewardConfig, train_reward
from reward_world import demonstrations, policy, rankings

CONFIG = RewardConfig(learning_rate=3e-3, batch_size=3, precision="fp32", checkpoint_every=1, evaluate_every=7, heads=2)


def train(folder: Path) -> None:
    with Run.open(folder, CONFIG, resume=True) as run:
        train_reward(policy(), rankings(100), rankings(8, seed=1), demonstrations(8), run, CONFIG)


def test_killed_ten_times_it_ends_in_the_bytes_of_a_straight_run(tmp_path):
    names = ends_in_the_same_bytes(__file__, tmp_path)
    assert {"metrics.jsonl", "samples.jsonl", "checkpoint/model.safetensors"} <= names


if __name__ == "__main__":
    kill_again_and_again(train, Path(sys.argv[1]), steps=34)
