"""DPO: its gradients are the plain computation's, its reference stays where it was, its runs go on after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from small_ppo import small_policy, small_rows
from small_preferences import HELD, RANKINGS, ranking

from rather.batches.encoding import Encoder
from rather.cli.dpo import command
from rather.errors import BadFile, BadModel, BadSetting, NotReady
from rather.models.fingerprint import fingerprint
from rather.models.load import load_policy, save_policy
from rather.models.logprobs import use_trees
from rather.records import write
from rather.run import Run, read_log, read_metrics
from rather.stages.answers import answer, ask
from rather.stages.dpo import elements, train_dpo
from rather.stages.dpo_config import DPOConfig
from rather.stages.dpo_reference import content_hash, reference_logprobs
from rather.stages.dpo_steps import Preferring, preference_gradients, preference_loss, summary, tree_logprobs
from rather.stages.optim import Adam
from rather.stages.ppo_checks import SelfTest
from rather.stages.reward import RewardConfig, train_reward
from rather.stages.steps import Share

BETA = 0.5
FORMS = {
    "sigmoid": Preferring("sigmoid", BETA),
    "ipo": Preferring("ipo", BETA),
    "hinge": Preferring("hinge", BETA),
    "conservative": Preferring("conservative", BETA, flip_rate=0.2),
    "robust": Preferring("robust", BETA, flip_rate=0.2),
    "plackett-luce": Preferring("plackett-luce", BETA),
    "length-normalised": Preferring("sigmoid", BETA, length_normalised=True),
    "ipo by tokens": Preferring("ipo", BETA, length_normalised=True),
    "with SFT": Preferring("sigmoid", BETA, sft_coef=0.7),
}


def encoder_of(policy):
    return Encoder(policy.tokenizer, policy.tokenizer.chat_template)


def batch_of(policy, rankings=RANKINGS):
    return elements(rankings, encoder_of(policy), "train")[0]


def plain_logprob(model, tree, k) -> torch.Tensor:
    """(T,) by the model's own forward over one sequence."""
    ids = torch.from_numpy(np.concatenate([tree.prompt, tree.responses[k]]).astype(np.int64))[None]
    logits = model(ids).logits[0, len(tree.prompt) - 1 : -1]
    return F.log_softmax(logits, -1).gather(1, ids[0, len(tree.prompt) :, None])[:, 0]


def of_pair(margin: torch.Tensor, how: Preferring) -> torch.Tensor:
    right, wrong = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    return {
        "sigmoid": right,
        "ipo": (margin / BETA - 1 / (2 * BETA)) ** 2,
        "hinge": torch.relu(1 - margin),
        "conservative": 0.8 * right + 0.2 * wrong,
        "robust": (0.8 * right - 0.2 * wrong) / 0.6,
    }[how.form]


def of_ranking(rewards: list[torch.Tensor], ranks, how: Preferring) -> torch.Tensor:
    """Mean over the pairs without ties; of Plackett-Luce over the choices that had an alternative."""
    k = [i for i, rank in enumerate(ranks) if rank]
    if how.form == "plackett-luce":
        choices = [(i, [j for j in k if ranks[j] > ranks[i]]) for i in k]
        choices = [(i, below) for i, below in choices if below]
        terms = [
            torch.logsumexp(torch.stack([rewards[j] for j in (i, *below)]), 0) - rewards[i] for i, below in choices
        ]
    else:
        pairs = [(i, j) if ranks[i] < ranks[j] else (j, i) for i, j in combinations(k, 2) if ranks[i] != ranks[j]]
        terms = [of_pair(rewards[i] - rewards[j], how) for i, j in pairs]
    return torch.stack(terms).mean()


def plain_loss(policy, reference, batch, how: Preferring) -> torch.Tensor:
    prompts, nll, tokens = [], torch.zeros(()), 0
    for element in batch:
        tree = element.tree
        mine = [plain_logprob(policy, tree, k) for k in range(len(tree.responses))]
        theirs = [plain_logprob(reference, tree, k).detach() for k in range(len(tree.responses))]
        length = [len(m) if how.length_normalised else 1 for m in mine]
        rewards = [BETA * (m.sum() - t.sum()) / n for m, t, n in zip(mine, theirs, length, strict=True)]
        said = [ranks for ranks in element.ranks if len(set(ranks[ranks > 0])) > 1]
        prompts.append(torch.stack([of_ranking(rewards, ranks, how) for ranks in said]).mean())
        for k in range(len(tree.responses)):
            if any(ranks[k] == 1 for ranks in said):
                nll, tokens = nll - mine[k].sum(), tokens + len(mine[k])
    return torch.stack(prompts).mean() + how.sft_coef * nll / tokens


@pytest.mark.parametrize("name", FORMS)
def test_gradients_are_those_of_the_plain_computation(name):
    how, plain, policy, reference = FORMS[name], small_policy().model, small_policy(), small_policy(seed=1).model
    batch = batch_of(policy)
    wanted = plain_loss(plain, reference, batch, how)
    wanted.backward()
    for model in (policy.model, reference):
        use_trees(model)
    adam = Adam(policy.model)
    for budget in (30, 10_000):  # one prompt at a time, all together
        share = Share(budget)
        ref = tree_logprobs(reference, [element.tree for element in batch], share)
        found = preference_gradients(policy.model, batch, ref, how, share)
        assert found.loss + how.sft_coef * found.nll == pytest.approx(float(wanted), abs=2e-5)
        for (name, p), gradient in zip(plain.named_parameters(), adam.gradients(), strict=True):
            torch.testing.assert_close(gradient, p.grad, atol=2e-5, rtol=2e-4, msg=name)
        adam.step(0.0)  # the batch is done: its gradients go
        alone = preference_loss(policy.model, batch, ref, how, share)
        assert alone.loss == pytest.approx(found.loss, abs=1e-5)
        torch.testing.assert_close(alone.logps, found.logps)


def test_a_prompt_counts_once_however_often_it_was_ranked():
    policy = small_policy()
    use_trees(policy.model)
    share, how = Share(1000), Preferring("ipo", 0.3)
    losses = []
    for said in ([ranking(2, (3, 1, 2)), RANKINGS[1]], [*(ranking(2, (3, 1, 2), who) for who in "abc"), RANKINGS[1]]):
        batch = batch_of(policy, said)
        ref = torch.zeros(len(batch), 3)
        losses.append(preference_loss(policy.model, batch, ref, how, share).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_rewards_are_logged_under_trl_s_names_with_ties_left_out():
    policy = small_policy()
    [element] = batch_of(policy, [ranking(0, (1, 2, 2))])
    said = summary([element], torch.tensor([[-1.0, -2.0, -6.0]]), torch.tensor([[-3.0, -3.0, -3.0]]), FORMS["sigmoid"])
    assert said == pytest.approx({
        "rewards/chosen": 1.0, "rewards/rejected": -0.5, "rewards/margins": 1.5, "rewards/accuracies": 1.0,
        "logps/chosen": -1.0, "logps/rejected": -4.0,
    })  # fmt: skip


# ---- whole runs

CONFIG = DPOConfig(
    epochs=3, batch_size=3, learning_rate=3e-3, beta=0.3, warmup=0.2, precision="fp32", checkpoint_every=2,
    evaluate_every=3, ptx_coef=0.5, ptx_length=16, sft_coef=0.1, max_new_tokens=6,
)  # fmt: skip


def train(
    folder: Path, config: DPOConfig = CONFIG, resume: bool = False, watch=None, reference=None, scorer=None
) -> dict:
    policy = small_policy()
    asked, _ = ask(encoder_of(policy), [one.prompt for one in HELD], 64, 6)
    with Run.open(folder, config, resume=resume) as run:
        run.watch = watch
        return train_dpo(
            policy, RANKINGS, HELD, run, config, reference=reference, pretraining=small_rows(policy), asked=asked,
            scorer=scorer,
        )  # fmt: skip


def trained(folder: Path) -> list[dict]:
    """What was logged of steps; before the first there are only answers."""
    return [row for row in read_metrics(folder) if row["step"]]


def test_it_learns_what_is_preferred_and_says_what_it_began_as(tmp_path):
    config = CONFIG.model_copy(update={"epochs": 12, "ptx_coef": 0.0, "checkpoint_every": 100})
    result = train(tmp_path, config)
    rows = trained(tmp_path)
    assert rows[0]["loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert abs(rows[0]["rewards/margins"]) < 1e-4
    assert rows[-1]["rewards/accuracies"] > 0.8, "ana and ben disagree about one prompt of the three"
    assert rows[-1]["rewards/margins"] > 0.5
    assert result["reference_sha256"] == result["from_sha256"] == fingerprint(small_policy().model)
    assert result["val/loss"] == rows[-1]["val/loss"]
    assert result["dropped"] == {"too long": 0, "all ties": 1}
    assert {row["prompt"] for row in read_log(tmp_path / "samples.jsonl")} == {one.prompt for one in HELD}


def test_its_kl_is_0_where_it_begins_and_then_that_of_its_own_answers(tmp_path):
    """Read again with two plain models: log policy - log reference, summed over what the policy says."""
    train(tmp_path, scorer=lambda prompts, texts, finished: [float(len(text)) for text in texts])
    rows = [row for row in read_metrics(tmp_path) if "objective/kl" in row]
    assert [row["step"] for row in rows] == [0, 3, 6]
    assert (rows[0]["objective/kl"], rows[0]["objective/kl_se"]) == (0.0, 0.0)
    policy, reference = load_policy(tmp_path / "checkpoint"), small_policy()
    asked, _ = ask(encoder_of(policy), [one.prompt for one in HELD], 64, 6)
    said = answer(policy, asked, CONFIG.seed)
    with torch.no_grad():
        kl = [
            float((plain_logprob(policy.model, tree, 0) - plain_logprob(reference.model, tree, 0)).sum())
            for tree in said.trees
        ]
    assert rows[-1]["objective/kl"] == pytest.approx(np.mean(kl), abs=1e-4)
    assert rows[-1]["objective/kl"] != 0
    assert rows[-1]["objective/kl_se"] == pytest.approx(np.std(kl) / 2**0.5, abs=1e-4)
    assert rows[-1]["objective/scores"] == np.mean([len(text) for text in said.texts])
    shown = [row for row in read_log(tmp_path / "samples.jsonl") if row["step"] == 6]
    assert [row["kl_sum"] for row in shown] == pytest.approx(kl, abs=1e-4)


def test_its_kl_is_from_the_reference_that_was_named(tmp_path):
    train(tmp_path, reference=small_policy(seed=1))
    assert read_metrics(tmp_path)[0]["objective/kl"] != 0


@pytest.mark.parametrize("stop", [0, 1, 4, 6])
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
    for name in ("metrics.jsonl", "samples.jsonl", "checkpoint/model.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    kept = [row["kept"] for row in read_log(tmp_path / "stopped" / "events.jsonl") if row["event"] == "reference"]
    assert kept == [False, True], "the reference's log-probabilities were computed once"


def test_the_reference_may_be_another_checkpoint_and_is_hashed(tmp_path):
    other = small_policy(seed=1)
    result = train(tmp_path, reference=other)
    assert result["reference_sha256"] == fingerprint(small_policy(seed=1).model) != result["from_sha256"]
    assert trained(tmp_path)[0]["loss"] != pytest.approx(np.log(2), abs=1e-3)
    assert not [row for row in read_log(tmp_path / "events.jsonl") if row["event"] == "self-test"]


def test_what_the_reference_said_is_kept_under_the_hash_of_all_it_follows_from(tmp_path):
    policy = small_policy()
    use_trees(policy.model)
    trees = [element.tree for element in batch_of(policy)]
    computed, there = reference_logprobs(policy.model, "weights", trees, tmp_path, Share(100))
    read, again = reference_logprobs(policy.model, "weights", trees, tmp_path, Share(100))
    assert (there, again) == (False, True)
    assert torch.equal(computed, read)
    cases = [("weights", "float32", trees), ("other", "float32", trees), ("weights", "bfloat16", trees)]
    assert len({content_hash(*case) for case in (*cases, ("weights", "float32", trees[::-1]))}) == 4
    [file] = tmp_path.iterdir()
    for damaged in (b"[1", b'{"key": 3}', file.read_bytes().replace(b"-", b"-1", 3)):
        file.write_bytes(damaged)
        mended, there = reference_logprobs(policy.model, "weights", trees, tmp_path, Share(100))
        assert not there
        assert torch.equal(mended, computed)


def test_a_reference_on_file_that_is_another_model_s_stops_the_run_before_it_moves(tmp_path, monkeypatch):
    wrong = torch.full((8, 4), -3.0)
    monkeypatch.setattr("rather.stages.dpo.reference_logprobs", lambda *_: (wrong, True))
    with pytest.raises(SelfTest, match="KL at step 0 is not 0"):
        train(tmp_path)
    assert trained(tmp_path) == []


def test_the_size_of_a_forward_changes_nothing(tmp_path):
    found = []
    for budget in (1, 10_000):
        train(tmp_path / str(budget), CONFIG.model_copy(update={"row_budget": budget}))
        found.append([(row["loss"], row["grad_norm"]) for row in trained(tmp_path / str(budget))])
    assert np.allclose(found[0], found[1], atol=1e-4)


def test_settings_that_do_not_go_together_are_refused():
    for wrong in ({"form": "robust"}, {"flip_rate": 0.1}, {"form": "conservative", "flip_rate": 0.6}):
        with pytest.raises(ValueError, match="flip_rate"):
            DPOConfig(**wrong)


# ---- the verb


@pytest.fixture
def story(tmp_path) -> Path:
    (tmp_path / "run" / "sft").mkdir(parents=True)
    save_policy(small_policy(), tmp_path / "run" / "sft" / "checkpoint")
    write(tmp_path / "run" / "rankings.jsonl", [*RANKINGS, *HELD])
    return tmp_path / "run"


def verb(*words: object) -> dict:
    outcome = CliRunner().invoke(command, [*map(str, words), "--json"], catch_exceptions=False, standalone_mode=False)
    return json.loads(outcome.stdout.splitlines()[-1])


QUICK = ("batch_size=3", "precision=fp32", "max_new_tokens=6", "validation_share=0.3", "learning_rate=1e-3")


def test_the_verb_takes_the_story_s_files_and_leaves_a_policy(story):
    said = verb(story, *QUICK, "form=ipo", "length_normalised=true")
    assert said["run"] == str(story / "dpo")
    assert said["from"] == said["reference"] == str(story / "sft" / "checkpoint")
    assert read_metrics(story / "dpo")[0]["objective/kl"] == 0
    assert not torch.equal(
        load_policy(story / "dpo" / "checkpoint").model.get_input_embeddings().weight,
        small_policy().model.get_input_embeddings().weight,
    )


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["model=nowhere"], Exception, "nowhere"),
        (["rankings=nowhere.jsonl"], BadFile, "nowhere.jsonl"),
        (["max_length=3"], BadFile, "in at most 3 tokens"),
        (["ptx_coef=1"], NotReady, "ptx_coef=0"),
        (["form=kto"], BadSetting, "form"),
        (["beat=0.2"], BadSetting, "Did you mean 'beta'"),
        (["form=robust"], BadSetting, "flip_rate"),
        (["reward=nowhere/at/all"], BadModel, "no folder nowhere/at/all"),
        (["reward={run}/sft/checkpoint"], BadModel, "sft/checkpoint"),
    ],
)
def test_what_is_missing_or_wrong_is_said(story, words, error, said):
    with pytest.raises(error, match=said):
        verb(story, *QUICK, *words)
    assert not (story / "dpo" / "checkpoint").exists()


def test_a_reward_model_scores_what_it_says_and_nobody_has_to_be_asked(story):
    of_reward = RewardConfig(precision="fp32", batch_size=3)
    with Run.open(story / "reward", of_reward) as run:
        train_reward(small_policy(), RANKINGS, HELD, [], run, of_reward)
    verb(story, *QUICK, "reward={run}/reward/checkpoint")
    rows = read_metrics(story / "dpo")
    assert all({"objective/kl", "objective/scores"} <= row.keys() for row in (rows[0], rows[-1]))
    verb(story, *QUICK, "validation_prompts=0", "--name", "silent")
    assert not any("objective/kl" in row for row in read_metrics(story / "silent"))
    assert read_metrics(story / "silent")[0]["step"] == 1


def test_a_reference_with_other_tokens_is_refused(tmp_path):
    other = small_policy(seed=1)
    other = replace(other, tokenizer=small_policy().tokenizer)
    other.tokenizer.add_tokens(["<odd>"])
    with pytest.raises(BadSetting, match="another tokenizer"):
        train(tmp_path, reference=other)
