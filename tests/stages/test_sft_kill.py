"""kill -9 at any moment of step 1, ten times: dropout, the mix and every epoch's weights end in the same bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from killing import ends_in_the_same_bytes, kill_again_and_again
from test_sft import CONFIG, inputs, start

from rather.run import Run
from rather.stages.sft import InitConfig, SFTConfig, train_sft

SETTINGS = CONFIG.model_dump() | {"batch_size": 2, "checkpoint_every": 1, "dropout": 0.2}
CONFIGS: dict[str, SFTConfig] = {
    "sft": SFTConfig(**SETTINGS | {"epochs": 4, "pretraining_share": 0.0}),
    "init": InitConfig(**SETTINGS | {"epochs": 4, "pretraining_share": 0.1}),
}


def train(folder: Path, config: SFTConfig) -> None:
    policy, mine, held, asked, texts = inputs(start())
    with Run.open(folder, config, resume=True) as run:
        train_sft(policy, mine, held, asked, run, config, texts)


@pytest.mark.slow
@pytest.mark.parametrize("verb", CONFIGS)
def test_killed_ten_times_it_ends_in_the_bytes_of_a_straight_run(tmp_path, verb):
    names = ends_in_the_same_bytes(__file__, tmp_path, verb)
    assert {f"epochs/epoch-{epoch:02d}/model.safetensors" for epoch in range(1, 5)} <= names
    assert {"metrics.jsonl", "samples.jsonl", "selection.json", "checkpoint/model.safetensors"} <= names


if __name__ == "__main__":
    chosen = CONFIGS[sys.argv[2]]
    kill_again_and_again(lambda folder: train(folder, chosen), Path(sys.argv[1]), steps=4 * 9)
