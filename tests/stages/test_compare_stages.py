"""rather compare on real small runs: a story with PPO, DPO, GRPO and best-of-N, and what sampling adds to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from small_ppo import PROMPTS, SMALL, small_policy, small_reward, small_rows
from small_preferences import HELD, RANKINGS

from rather.cli.compare import command
from rather.errors import BadSetting
from rather.evaluate.compare import at_equal
from rather.evaluate.compare_drift import DriftConfig, drift
from rather.evaluate.compare_reading import courses_of
from rather.models.load import load_policy, save_policy
from rather.records import write
from rather.run import Run, read_metrics
from rather.stages.best_of_n import BestOfNConfig, best_of_n
from rather.stages.dpo import train_dpo
from rather.stages.dpo_config import DPOConfig
from rather.stages.grpo_rewards import Rewards
from rather.stages.ppo import train_ppo
from rather.stages.ppo_config import PPOConfig
from rather.stages.reward import RewardConfig, train_reward

MOVES = {"precision": "fp32", "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("story") / "run"
    begun = run / "init" / "checkpoint"
    begun.parent.mkdir(parents=True)
    save_policy(small_policy(), begun)
    reward = RewardConfig(**MOVES, batch_size=3)
    with Run.open(run / "reward", reward) as one:
        train_reward(load_policy(begun), RANKINGS, HELD, [], one, reward)
    write(run / "prompts.jsonl", PROMPTS)
    named = {"model": str(begun)}
    ppo = PPOConfig(**{**SMALL, **named, "ptx_coef": 0.0, "ema_decay": 0.0})
    with Run.open(run / "ppo", ppo) as one:
        policy = load_policy(begun)
        train_ppo(policy, small_reward(policy), PROMPTS, small_rows(policy), one, ppo)
    dpo = DPOConfig(**MOVES, **named, epochs=3, batch_size=3)
    with Run.open(run / "dpo", dpo) as one:
        train_dpo(load_policy(begun), RANKINGS, HELD, one, dpo)
    bon = BestOfNConfig(**named, samples=4, max_new_tokens=6, missing_eos="keep")
    with Run.open(run / "best-of-n", bon) as one:
        policy = load_policy(begun)
        best_of_n(policy, Rewards({"it": 1.0}, {"it": small_reward(policy)}), PROMPTS, one, bon)
    return run


def test_the_course_of_ppo_is_what_it_logged(story):
    courses = {course.name: course for course in courses_of(story)}
    rows = read_metrics(story / "ppo")
    assert [point.values["kl"].value for point in courses["ppo"].points] == [row["objective/kl"] for row in rows]
    assert courses["ppo"].method == "PPO"
    assert courses["ppo"].tokens == pytest.approx(sum(16 * row["response/length"] for row in rows))
    assert {course.reference for course in courses.values()} == {str((story / "init" / "checkpoint").resolve())}
    assert [point.place for point in courses["best-of-n"].points] == ["n = 1", "n = 2", "n = 4"]
    assert courses["dpo"].points == ()


def test_sampling_gives_dpo_its_drift_and_is_not_done_twice(story):
    words = [str(story), "--measure", "--set", "n=18", "--set", "max_new_tokens=6", "--json"]
    first = CliRunner().invoke(command, words, catch_exceptions=False)
    found = {one["policy"]: one for one in json.loads(first.stdout)["policies"]}
    kl = found["dpo"]["ended"]["kl"]
    assert kl["value"] > 0
    assert kl["interval"][0] < kl["value"] < kl["interval"][1]
    assert (kl["n"], found["dpo"]["ended"]["reward"]["n"]) == (18, 18)
    at = at_equal(courses_of(story), "kl", [kl["value"]])[0].matched
    assert at["dpo"].place == "end"
    before = {file: file.stat().st_mtime_ns for file in (story / "compare").iterdir()}
    assert {file.name for file in before} == {"dpo.json", "ppo.json"}  # best-of-n has no weights of its own
    CliRunner().invoke(command, words, catch_exceptions=False)
    assert {file: file.stat().st_mtime_ns for file in (story / "compare").iterdir()} == before


def test_a_policy_is_at_no_distance_from_itself_and_the_estimate_is_the_plain_one(story):
    asked = [prompt.prompt for prompt in PROMPTS]
    config = DriftConfig(n=6, max_new_tokens=5)
    begun, moved = (story / name / "checkpoint" for name in ("init", "dpo"))
    assert drift(load_policy(begun), load_policy(begun), asked, config)["kl"] == {
        "value": 0.0, "interval": None, "n": 6,
    }  # fmt: skip
    found = drift(load_policy(moved), load_policy(begun), asked, config)
    assert found["length"]["n"] == 6
    assert 0 < found["entropy"]["value"] < torch.log(torch.tensor(300.0))
    stranger = load_policy(begun)
    stranger.tokenizer.add_tokens(["another"])
    with pytest.raises(BadSetting, match="another tokenizer"):
        drift(load_policy(begun), stranger, asked, config)
