"""Gold while training: it is the world's own, it is the same for the same weights, and training does not see it."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from conftest import WORLD, small_policy
from rather.batches.encoding import Encoder
from rather.cli.sft import sft
from rather.errors import BadFile, BadSetting
from rather.evaluate import gold as module
from rather.evaluate.gold import (
    as_records,
    gold_of_answers,
    gold_of_episodes,
    prompts_for_ppo,
    refuse_strangers,
    worth,
)
from rather.evaluate.judged import Judges
from rather.models.load import save_policy
from rather.records import Demonstration, Prompt, read, write
from rather.run import Run, read_log, read_metrics
from rather.stages.ppo import train_ppo
from rather.stages.ppo_config import PPOConfig
from rather.worlds.writing import Sizes, write_world

NAMES = {f"world/{what}{end}" for what in ("gold", "labelers", "junk") for end in ("", "_se")}


def test_a_good_answer_is_worth_more_than_junk_to_the_user_and_to_labelers(judges: Judges):
    prompts = list(prompts_for_ppo(judges.world, 12).values())
    rng = module._rng(judges.world, "test")
    good = worth(judges, prompts, [judges.world.demonstration(prompt, rng) for prompt in prompts], [True] * 12)
    junk = worth(judges, prompts, ["share this page"] * 12, [False] * 12)
    assert good.keys() == junk.keys() == NAMES
    assert good["world/gold"] > 2 > -1 > junk["world/gold"]
    assert good["world/labelers"] > junk["world/labelers"]
    values = [judges.world.utility(judges.world.features(p, "share this page", False)) for p in prompts]
    assert junk["world/gold"] == pytest.approx(statistics.fmean(values))
    assert junk["world/gold_se"] == pytest.approx(statistics.stdev(values) / 12**0.5)


def test_the_same_weights_are_worth_the_same_after_every_epoch(judges: Judges):
    policy = small_policy(0)
    encoder = Encoder(policy.tokenizer, None, separator="")
    measure, left_out = gold_of_answers(judges.world, encoder, 192, 8, seed=3, n=10)
    dropout = torch.default_generator.get_state()
    found = measure(policy)
    assert found == measure(policy)
    assert torch.equal(dropout, torch.default_generator.get_state()), "a resumed run would drop other units"
    assert found != measure(small_policy(1))
    assert left_out == 0


def test_ppo_draws_the_prompts_that_the_world_writes(judges: Judges, tmp_path: Path):
    write_world(judges.world, tmp_path / "world", Sizes(1, 1, 1, 30, 50))
    written = list(read(tmp_path / "world" / "prompts-ppo.jsonl", Prompt))
    known = prompts_for_ppo(judges.world, 30)
    assert as_records(known.values()) == written
    refuse_strangers(judges.world, known, written, "prompts-ppo.jsonl")
    with pytest.raises(BadFile, match=r"mine.jsonl: the world marn:0 does not know the prompt stranger"):
        refuse_strangers(judges.world, known, [Prompt(id="stranger", prompt="hello ?")], "mine.jsonl")


def test_sft_logs_gold_after_each_epoch_when_a_world_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gold_of_answers, "__defaults__", (6,))
    run = tmp_path / "run"
    (run / "base").mkdir(parents=True)
    save_policy(small_policy(0), run / "base" / "checkpoint")
    write(
        run / "demonstrations.jsonl",
        [Demonstration(id=str(n), prompt=f"word {n} ?\n", response="tree", labeler="p") for n in range(12)],
    )
    words = [
        str(run),
        f"world={WORLD}",
        "epochs=2",
        "max_new_tokens=6",
        "precision=fp32",
        "validation_share=0.4",
    ]
    done = CliRunner().invoke(sft, words, catch_exceptions=False, standalone_mode=False)
    assert done.exit_code == 0
    rows = [row for row in read_metrics(run / "sft") if "val/loss" in row]
    assert len(rows) == 2
    assert all(row.keys() >= NAMES for row in rows)
    with pytest.raises(BadSetting, match="There is no world"):
        CliRunner().invoke(sft, [*words, "world=morn:0", "--again"], catch_exceptions=False, standalone_mode=False)


def test_ppo_logs_what_its_own_answers_are_worth_and_takes_it_for_a_second_opinion(judges: Judges, tmp_path: Path):
    policy, known = small_policy(0), prompts_for_ppo(judges.world, 12)
    prompts = [record for record in as_records(known.values()) if len(str(record.prompt)) < 300]
    config = PPOConfig(
        episodes=16, batch_size=8, minibatch_size=8, max_new_tokens=6, ptx_coef=0, missing_eos="keep", precision="fp32",
        critic_from="policy", samples=8,
    )  # fmt: skip
    with Run.open(tmp_path / "ppo", config) as run:
        liked = lambda prompts, texts: [float(len(text)) for text in texts]  # noqa: E731
        train_ppo(policy, liked, prompts, [], run, config, gold=gold_of_episodes(judges.world, known))
    for row in read_metrics(tmp_path / "ppo"):
        assert row.keys() >= NAMES
        assert row["second_opinion/scores"] == row["world/gold"]
    said = [row for row in read_log(tmp_path / "ppo" / "samples.jsonl") if row["step"] == 1]
    texts, ended = [row["response"] for row in said], [row["finished"] for row in said]
    again = worth(judges, [known[row["prompt"]] for row in said], texts, ended)
    assert again == pytest.approx({name: read_metrics(tmp_path / "ppo")[0][name] for name in NAMES})
