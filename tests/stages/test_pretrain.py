"""A tiny base model: the ladder, the schedule, and a run that ends in the same bytes however often it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rather.cli.pretrain import command
from rather.errors import BadFile, BadSetting, NotReady
from rather.models.load import load_policy
from rather.run import Run, read_done, read_metrics
from rather.stages.pretrain import LADDER, PretrainConfig, new_policy, pretrain, windows
from rather.stages.schedules import cosine, warm_then_linear

TEXTS = [f"{who} lives in {town} . {who} has a {pet} ." for who in ("mara", "tolo", "sika", "bren")
         for town in ("soth", "velm", "karu") for pet in ("cat", "dog", "owl", "fox")] * 12  # fmt: skip
CONFIG = PretrainConfig(size="xs", batch_size=2, evaluate_every=4, checkpoint_every=3, precision="fp32", warmup=2)


def fresh():
    policy = new_policy(CONFIG, TEXTS)
    return policy, windows(policy, TEXTS, 5000), windows(policy, TEXTS[:40], 400)


def train(folder: Path, resume: bool = False, measure=None) -> dict:
    with Run.open(folder, CONFIG, resume=resume) as run:
        return pretrain(*fresh(), run, CONFIG, measure)


def model_bytes(folder: Path) -> bytes:
    return (folder / "checkpoint" / "model.safetensors").read_bytes()


def test_the_cosine_falls_from_the_peak_to_a_tenth_without_warm_up():
    assert cosine(1, 101, 2.0) == 2.0
    assert cosine(51, 101, 2.0) == pytest.approx(1.1)
    assert cosine(101, 101, 2.0) == pytest.approx(0.2)
    assert cosine(1, 1, 2.0) == 2.0


def test_warm_up_is_a_line_then_level_then_a_line_down_to_three_percent():
    rates = [warm_then_linear(step, 100, 1.0, warmup=10, decay=0.2) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[50] == rates[79] == 1.0
    assert rates[89] == pytest.approx(0.03 + 0.97 * 0.5)
    assert rates[99] == pytest.approx(0.03)
    assert warm_then_linear(100, 100, 1.0) == 1.0  # no decay: level to the end


def test_l_is_at_least_135_times_xs_as_175b_is_of_1_3b():
    texts = [chr(97 + n % 26) + str(n) for n in range(3000)] + TEXTS
    counts = {size: new_policy(PretrainConfig(size=size), texts).model.num_parameters() for size in LADDER}
    vocabulary = new_policy(PretrainConfig(size="xs"), texts).model.config.vocab_size
    # What a whole vocabulary of 2,048 would add to each: this text has words for fewer.
    full = {size: counts[size] + (2048 - vocabulary) * LADDER[size].hidden for size in LADDER}
    assert list(full.values()) == sorted(full.values())
    assert full["l"] / full["xs"] >= 135


def test_it_learns_and_every_step_is_logged(tmp_path):
    result = train(tmp_path / "base", measure=lambda policy: {"benchmark/made-up": 0.5})
    rows = read_metrics(tmp_path / "base")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["val/loss"] < 0.7 * rows[0]["loss"]
    assert rows[-1]["num_tokens"] == result["num_tokens"]
    assert [row["step"] for row in rows if "benchmark/made-up" in row] == [*range(4, len(rows), 4), len(rows)]
    assert load_policy(tmp_path / "base" / "checkpoint").model.num_parameters() == result["parameters"]
    done = read_done(tmp_path / "base")
    assert done is not None
    assert done["result"]["val/loss"] == result["val/loss"]


def test_stopped_anywhere_and_resumed_is_the_same_to_the_byte(tmp_path):
    train(tmp_path / "whole")
    for stop in (2, 7):  # before the first checkpoint, and between two

        class Stopped(Exception):
            pass

        folder = tmp_path / f"stopped-{stop}"

        def at(step: int, values, stop=stop, error=Stopped) -> None:
            if step == stop:
                raise error

        with Run.open(folder, CONFIG) as run:
            run.watch = at
            with pytest.raises(Stopped):
                pretrain(*fresh(), run, CONFIG)
        train(folder, resume=True)
        assert model_bytes(folder) == model_bytes(tmp_path / "whole")
        assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


# ---- the verb


def run_verb(*words: str) -> dict:
    outcome = CliRunner().invoke(command, [*words, "--json"], catch_exceptions=False, standalone_mode=False)
    return json.loads(outcome.stdout.splitlines()[-1])


QUICK = ("size=xs", "tokens=4000", "validation_tokens=1000", "precision=fp32", "evaluate_every=1000")


def test_the_verb_pretrains_on_a_file_of_texts(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(TEXTS)))
    said = run_verb(str(tmp_path / "run"), f"texts={file}", *QUICK)
    assert said["run"] == str(tmp_path / "run" / "base")
    assert said["num_tokens"] > 3000


def test_settings_come_from_the_recipes_table_and_the_command_line_has_the_last_word(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(TEXTS)))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'[pretrain]\ntexts = "{file}"\nsize = "xs"\ntokens = 2000\nseed = 5\n[sft]\nepochs = 3\n')
    run_verb(str(tmp_path / "run"), str(recipe), "--name", "base-xs", "precision=fp32", "tokens=3000")
    saved = (tmp_path / "run" / "base-xs" / "config.toml").read_text()
    assert "seed = 5" in saved
    assert "tokens = 3000" in saved


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["sise=xs"], BadSetting, "Did you mean 'size'"),
        (["a", "b"], BadSetting, "one is enough"),
        (["--resume", "--again"], BadSetting, "Go on, or start over"),
        (["texts=marn:x"], BadSetting, "marn:x"),
        (["texts=nowhere.jsonl"], BadFile, "nowhere.jsonl"),
        (["tokens=0"], BadSetting, "at least 1000"),
    ],
)
def test_bad_words_are_refused_before_anything_is_written(tmp_path, monkeypatch, words, error, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        run_verb(*words)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_begun_is_not_overwritten(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(TEXTS)))
    with Run.open(tmp_path / "run" / "base", PretrainConfig()):
        pass
    with pytest.raises(NotReady, match="--resume"):
        run_verb(str(tmp_path / "run"), f"texts={file}", *QUICK)
