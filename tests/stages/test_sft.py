"""Step 1: what is trained, which epoch is kept, and that a run ends in the same bytes however often it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from rather.batches.encoding import Encoder
from rather.batches.trees import Tree
from rather.cli.sft import init, sft
from rather.errors import BadFile, BadSetting, NotReady
from rather.models.dropout import dropout_of
from rather.models.fingerprint import fingerprint_folder
from rather.models.load import load_policy, save_policy, stopping_at
from rather.models.tiny import TinyConfig, tiny
from rather.records import Demonstration, Text, write
from rather.run import Run, read_done, read_metrics
from rather.run import read_log as lines
from rather.stages import epochs
from rather.stages import sft as module
from rather.stages.answers import Asked, answer, ask
from rather.stages.sft import InitConfig, SFTConfig, mixed_in, rate_for, tokens_of, train_sft

ANSWERS = {"snow": "white", "coal": "black", "grass": "green", "blood": "red", "sky": "blue", "gold": "yellow"}
DEMONSTRATIONS = [
    Demonstration(id=f"{n} {thing}", prompt=asked.format(thing), response=f"it is {colour} .", labeler="program")
    for n, asked in enumerate(("colour of {} ?", "what colour is {} ?", "{} : which colour ?", "and {} ?"))
    for thing, colour in ANSWERS.items()
]
TEXTS = [f"the {thing} is {colour} and the {thing} stays {colour} ." for thing, colour in ANSWERS.items()] * 5
CONFIG = SFTConfig(
    epochs=3, batch_size=8, learning_rate=3e-3, dropout=0.1, precision="fp32", checkpoint_every=2, max_new_tokens=12,
    pretraining_share=0.3,
)  # fmt: skip


def start():
    words = [f"{d.prompt} {d.response}" for d in DEMONSTRATIONS]
    config = TinyConfig(vocabulary=300, hidden=16, layers=1, heads=2, context=64, template="page")
    return tiny(config, words, torch.Generator().manual_seed(0))


def inputs(policy):
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template)
    train, _ = encoder.encode_all(DEMONSTRATIONS[:18])
    held, _ = encoder.encode_all(DEMONSTRATIONS[18:])
    asked, _ = ask(encoder, [d.prompt for d in DEMONSTRATIONS[18:]], 64, 12)
    return policy, train, held, asked, list(encoder.windows(TEXTS, 32))


def train(folder: Path, config: SFTConfig = CONFIG, resume: bool = False, watch=None, scorer=None) -> dict:
    policy, mine, held, asked, texts = inputs(start())
    with Run.open(folder, config, resume=resume) as run:
        run.watch = watch
        return train_sft(policy, mine, held, asked, run, config, texts, scorer)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_paper_s_values_are_the_defaults():
    config = SFTConfig()
    assert (config.epochs, config.batch_size, config.dropout, config.pretraining_share) == (16, 32, 0.2, 0.0)
    assert (InitConfig().epochs, InitConfig().pretraining_share) == (2, 0.1)
    assert (rate_for(175_000_000_000), rate_for(6_000_000_000), rate_for(1_300_000_000)) == (5.03e-6, 9.65e-6, 9.65e-6)
    assert rate_for(100_000) > rate_for(1_000_000) > rate_for(10_000_000) > rate_for(124_000_000) > 9.65e-6


def test_it_learns_what_was_demonstrated_and_keeps_the_epoch_with_the_least_validation_loss(tmp_path):
    config = CONFIG.model_copy(update={"epochs": 10, "learning_rate": 3e-2, "dropout": 0.0, "pretraining_share": 0.0})
    result = train(tmp_path / "sft", config)
    rows = read_metrics(tmp_path / "sft")
    measured = [row["val/loss"] for row in rows if "val/loss" in row]
    assert len(measured) == 10
    assert min(measured) < 0.5 * rows[0]["loss"]
    assert result["chosen"] == 1 + measured.index(min(measured))
    assert result["by"] == "validation loss"
    said = json.loads((tmp_path / "sft" / "selection.json").read_text())
    assert said["chosen"] == result["chosen"]
    assert [row["val/loss"] for row in said["epochs"]] == measured
    assert weights(tmp_path / "sft" / "checkpoint") == weights(epochs.folder(tmp_path / "sft", result["chosen"]))
    assert result["sha256"] == fingerprint_folder(tmp_path / "sft" / "checkpoint")


def test_a_reward_model_chooses_the_epoch_it_likes_best_and_the_file_says_so(tmp_path):
    likes = iter([[0.0] * 6, [2.0] * 6, [1.0] * 6])
    result = train(tmp_path / "sft", scorer=lambda prompts, texts, finished: next(likes))
    assert (result["chosen"], result["by"]) == (2, "reward-model score on validation prompts")
    assert [row["val/reward"] for row in read_metrics(tmp_path / "sft") if "val/reward" in row] == [0.0, 2.0, 1.0]
    assert {row["score"] for row in lines(tmp_path / "sft" / "samples.jsonl")} == {0.0, 2.0, 1.0}


def test_dropout_is_on_while_training_and_never_when_something_is_measured(tmp_path, monkeypatch):
    seen: dict[str, set] = {"gradients": set(), "measured": set()}
    for name, where in (("sft_gradients", "gradients"), ("sft_loss", "measured"), ("answer", "measured")):
        real = getattr(module, name)

        def spy(model, *rest, real=real, where=where):
            inner = getattr(model, "model", model) if not isinstance(model, torch.nn.Module) else model
            seen[where].add((frozenset(dropout_of(inner).values()), inner.training))
            return real(model, *rest)

        monkeypatch.setattr(module, name, spy)
    train(tmp_path / "sft")
    assert seen == {"gradients": {(frozenset({0.1}), True)}, "measured": {(frozenset(), False)}}


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_stopped_anywhere_and_resumed_is_the_same_to_the_byte(tmp_path, stop):
    class Stopped(Exception):
        pass

    def at(step: int, values) -> None:
        if step == stop:
            raise Stopped

    train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", watch=at)
    train(tmp_path / "stopped", resume=True)
    for name in ("metrics.jsonl", "samples.jsonl", "selection.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for folder in ("checkpoint", "epochs/epoch-01", "epochs/epoch-03"):
        assert weights(tmp_path / "stopped" / folder) == weights(tmp_path / "whole" / folder)


def test_the_size_of_a_forward_changes_nothing(tmp_path):
    found = []
    for budget in (1, 100, 100_000):  # one tree at a time, a few, all
        config = CONFIG.model_copy(update={"dropout": 0.0, "row_budget": budget})
        train(tmp_path / str(budget), config)
        rows = read_metrics(tmp_path / str(budget))
        model = load_policy(epochs.folder(tmp_path / str(budget), 3)).model
        found.append(([row["loss"] for row in rows], [row["grad_norm"] for row in rows], list(model.parameters())))
    for losses, norms, parameters in found[1:]:
        assert losses == pytest.approx(found[0][0], abs=1e-6)
        assert norms == pytest.approx(found[0][1], rel=1e-5)
        for one, other in zip(parameters, found[0][2], strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_text_is_mixed_in_by_its_share_of_trained_tokens():
    _, mine, *_, texts = inputs(start())
    steps = 300
    rate = 0.25 / 0.75 * tokens_of(mine)  # a step is a whole epoch here
    added = [tree for step in range(1, steps + 1) for tree in mixed_in(texts, rate, step)]
    share = tokens_of(added) / (tokens_of(added) + steps * tokens_of(mine))
    assert share == pytest.approx(0.25, abs=0.002)
    counts = [sum(tree is text for tree in added) for text in texts]
    assert max(counts) - min(counts) <= 1
    assert mixed_in(texts, 0.0, 3) == mixed_in([], 5.0, 3) == []


def test_an_empty_answer_is_its_end_alone():
    policy, *_ = inputs(start())
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template)
    trees = encoder.answers(["and snow ?", "and snow ?"], ["", "it is"], [True, False])
    assert trees[0].responses[0].tolist() == [encoder.eos_id]
    assert encoder.eos_id not in trees[1].responses[0]
    whole, _ = encoder.encode_all([Demonstration(id="1", prompt="and snow ?", response="it is")])
    assert np.array_equal(whole[0].responses[0][:-1], trees[1].responses[0])


def test_prompts_that_leave_no_room_for_an_answer_are_not_asked():
    policy = start()
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template)
    asked, left_out = ask(encoder, ["and snow ?", "and snow ? " * 20], 64, 12)
    assert (asked.prompts, left_out) == (("and snow ?",), 1)
    with pytest.raises(BadSetting, match="Lower max_new_tokens"):
        ask(encoder, ["and snow ?"], 64, 63)


def test_the_same_weights_give_the_same_answers_and_their_ends_are_counted():
    policy, _, _, asked, _ = inputs(start())
    one, other = (answer(policy, asked, 3) for _ in range(2))
    assert one == other
    assert one.summary()["val/finished"] == sum(one.finished) / 6
    assert answer(policy, Asked((), (), 12), 3).summary() == {}


def test_a_model_that_ends_turns_with_another_token_says_so_where_generate_looks(tmp_path):
    policy = start()
    turn = policy.tokenizer.convert_tokens_to_ids("<|pad|>")
    save_policy(stopping_at(policy, turn), tmp_path / "model")
    saved = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [turn, policy.tokenizer.eos_token_id]


# ---- the verbs


@pytest.fixture
def story(tmp_path) -> Path:
    (tmp_path / "run" / "base").mkdir(parents=True)
    save_policy(start(), tmp_path / "run" / "base" / "checkpoint")
    write(tmp_path / "run" / "demonstrations.jsonl", DEMONSTRATIONS)
    write(tmp_path / "run" / "web.jsonl", [Text(id=str(n), text=text) for n, text in enumerate(TEXTS)])
    return tmp_path / "run"


def verb(command, *words: object) -> dict:
    outcome = CliRunner().invoke(command, [*map(str, words), "--json"], catch_exceptions=False, standalone_mode=False)
    return json.loads(outcome.stdout.splitlines()[-1])


QUICK = ("epochs=2", "batch_size=8", "precision=fp32", "max_new_tokens=8", "validation_share=0.3", "learning_rate=1e-2")


def test_sft_and_init_are_two_models_with_their_hashes(story):
    one, other = verb(sft, story, *QUICK), verb(init, story, *QUICK, "max_length=20")  # short rows of text
    assert one["from_sha256"] == other["from_sha256"] == fingerprint_folder(story / "base" / "checkpoint")
    assert one["sha256"] != other["sha256"]
    assert {path.name for path in story.iterdir()} >= {"sft", "init"}
    assert "pretraining_share = 0.1" in (story / "init" / "config.toml").read_text()


def test_another_epoch_can_be_chosen_afterwards(story):
    first = verb(sft, story, *QUICK, "epochs=4", "learning_rate=0.05")
    rows = epochs.measured(story / "sft")
    rows[0]["val/reward"], *rest = 5.0, *rows[1:]
    for row in rest:
        row["val/reward"] = 1.0
    run, done = Run.amend(story / "sft")
    with run:
        assert read_done(story / "sft") is None  # a kill here leaves an unfinished run
        run.finish(done["step"], done["result"] | epochs.choose(story / "sft", "reward", rows=rows))
    assert weights(story / "sft" / "checkpoint") == weights(epochs.folder(story / "sft", 1))
    again = verb(sft, story, *QUICK, "epochs=4", "--select-by", "loss")
    assert again["chosen"] == first["chosen"]
    assert again["sha256"] == first["sha256"]


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["model=nowhere"], Exception, "nowhere"),
        (["demonstrations=nowhere.jsonl"], BadFile, "nowhere.jsonl"),
        (["max_length=3"], BadFile, "fits in 3 tokens"),
        (["--select-by", "loss"], NotReady, "unfinished"),
        (["--select-by", "reward"], NotReady, "reward/checkpoint"),
        (["pretraining_share=0.5", "texts=none.jsonl"], BadFile, "none.jsonl"),
        (["epoch=3"], BadSetting, "Did you mean 'epochs'"),
    ],
)
def test_what_is_missing_or_wrong_is_said_before_anything_is_written(story, words, error, said):
    quick = [word for word in QUICK if word.split("=")[0] not in {w.split("=")[0] for w in words}]
    with pytest.raises(error, match=said):
        verb(sft, story, *quick, *words)
    assert not (story / "sft").exists()


def test_records_that_name_their_split_are_split_by_it(story):
    write(
        story / "demonstrations.jsonl",
        [d.model_copy(update={"split": "validation" if "gold" in d.id else "train"}) for d in DEMONSTRATIONS],
    )
    verb(sft, story, *QUICK)
    shown = {row["prompt"] for row in lines(story / "sft" / "samples.jsonl")}
    assert shown == {d.prompt for d in DEMONSTRATIONS if "gold" in d.id}


def test_a_damaged_selection_is_said(tmp_path):
    (tmp_path / "selection.json").write_text("[1")
    with pytest.raises(BadFile, match="cannot be read"):
        epochs.chosen(tmp_path)
    (tmp_path / "selection.json").write_text("[1]")
    with pytest.raises(BadFile, match="is not what a run writes"):
        epochs.chosen(tmp_path)
    (tmp_path / "selection.json").unlink()
    with pytest.raises(NotReady):
        epochs.chosen(tmp_path)


def test_trees_of_one_response_are_what_is_counted():
    assert tokens_of([Tree(np.ones(3, np.int32), (np.ones(4, np.int32),), "")]) == 4
