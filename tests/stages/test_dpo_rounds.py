"""Online rounds of DPO where there is no world: best-of-N samples the newest policy and a reward model ranks it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_ppo import PROMPTS, small_policy
from small_preferences import HELD, RANKINGS

from rather.models.fingerprint import fingerprint_folder
from rather.models.load import save_policy
from rather.pipeline import Told, story
from rather.pipeline_recipe import Recipe
from rather.records import Ranking, read, write
from rather.run import Run, read_done, read_metrics
from rather.stages.reward import RewardConfig, train_reward

ONLINE = """
[story]
stages = ["best-of-n", "dpo"]
rounds = 2

[best-of-n]
samples = 4
max_new_tokens = 6
missing_eos = "keep"
precision = "fp32"

[dpo]
rankings = "{run}/best-of-n/rankings.jsonl"
reward = "{run}/reward/checkpoint"
batch_size = 4
epochs = 2
learning_rate = 3e-3
max_new_tokens = 6
validation_share = 0.3
precision = "fp32"
"""


@pytest.fixture(scope="module")
def rounds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    run = folder / "run"
    (run / "sft").mkdir(parents=True)
    save_policy(small_policy(), run / "sft" / "checkpoint")
    write(run / "prompts.jsonl", PROMPTS)
    config = RewardConfig(precision="fp32", batch_size=3, learning_rate=3e-3)
    with Run.open(run / "reward", config) as one:
        train_reward(small_policy(), RANKINGS, HELD, [], one, config)
    (folder / "online.toml").write_text(ONLINE)
    story(Recipe.read(folder / "online.toml", run), Told(lambda step, why: None, lambda words: None))
    return run


def test_each_round_learns_from_what_the_policy_before_it_said(rounds):
    for name in ("dpo", "dpo-2"):
        assert read_done(rounds / name) is not None
    first, second = (list(read(rounds / name / "rankings.jsonl", Ranking)) for name in ("best-of-n", "best-of-n-2"))
    assert {one.text for r in first for one in r.responses} != {one.text for r in second for one in r.responses}
    asked = json.loads((rounds / "best-of-n-2" / "DONE").read_text())["result"]
    assert asked["from"] == str(rounds / "dpo" / "checkpoint")
    before, after = (read_done(rounds / name)["result"] for name in ("dpo", "dpo-2"))
    assert after["from"] == after["reference"] == str(rounds / "dpo" / "checkpoint")
    assert after["prompts"] <= len(second)
    assert fingerprint_folder(rounds / "dpo-2" / "checkpoint") != fingerprint_folder(rounds / "dpo" / "checkpoint")
    assert before["reference_sha256"] != after["reference_sha256"]


def test_the_drift_of_a_round_is_from_where_the_round_began(rounds):
    for name in ("dpo", "dpo-2"):
        first, *_, last = (row["objective/kl"] for row in read_metrics(rounds / name) if "objective/kl" in row)
        assert first == 0 != last
