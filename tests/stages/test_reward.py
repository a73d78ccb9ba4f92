"""Step 2 learns what the labelers want, is normalised in the saved file, and is the same whatever interrupts it."""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rather.errors import BadFile, BadModel, BadRecord, BadSetting
from rather.models.heads import reward_model_from
from rather.models.logprobs import use_trees
from rather.models.reward_folder import SCORING, load_reward_model
from rather.records import Comparison, Ranking, Rating, Response, as_rankings
from rather.run import Run, read_metrics
from rather.stages.optim import Adam
from rather.stages.reward import RewardConfig, encoder_of, train_reward
from rather.stages.reward_data import MOST, judged, one_by_one, pairs_of, split_rankings, with_ratings
from rather.stages.reward_loss import Comparing, reward_gradients
from rather.stages.reward_scoring import Scorer, length_slope
from rather.stages.steps import Share
from reward_world import demonstrations, policy, rankings

SMALL = {"learning_rate": 3e-3, "batch_size": 16, "precision": "fp32"}
TRAIN, HELD, DEMOS = rankings(96), rankings(40, seed=1), demonstrations(30)


def train(folder, start=None, train=TRAIN, held=HELD, demos=DEMOS, **settings):
    config = RewardConfig(**(SMALL | settings))
    with Run.open(folder, config) as run:
        return train_reward(start or policy(), train, held, demos, run, config)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "reward"
    return folder, train(folder)


def encoder():
    return encoder_of(policy().tokenizer, 128, RewardConfig())


def elements(records):
    return judged(records, encoder())[0]


# What is learned


def test_the_defaults_are_the_papers():
    config = RewardConfig()
    assert (config.epochs, config.batch_size, config.learning_rate) == (1, 64, 9e-6)
    assert (config.ties, config.max_prompt, config.max_length) == ("dropped", 1024, 2048)


def test_it_learns_what_the_labelers_want_and_says_so_on_prompts_it_has_not_seen(trained):
    folder, result = trained
    assert result["val/accuracy"] > 0.95
    lines = read_metrics(folder)
    assert len(lines) == 6
    assert {"loss", "accuracy", "margin", "mean_reward", "grad_norm", "learning_rate", "num_tokens"} <= set(lines[0])
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=0.3)
    assert lines[-1]["learning_rate"] == pytest.approx(3e-4)  # 10 % of the peak


def test_demonstrations_average_0_in_the_saved_file_and_in_plain_transformers(trained):
    folder, result = trained
    scores = [float(scored.values[0]) for scored in Scorer.load(folder / "checkpoint").score(DEMOS)]
    assert len(scores) == 30
    assert abs(np.mean(scores)) < 1e-4
    assert result["normalised_on"] == "demonstrations"
    plain = AutoModelForSequenceClassification.from_pretrained(folder / "checkpoint").eval()
    trees, _ = encoder().encode_all(DEMOS)
    with torch.no_grad():
        ids = [torch.tensor([[*tree.prompt, *tree.responses[0]]]).long() for tree in trees]
        theirs = [float(plain(row).logits) for row in ids]
    assert theirs == pytest.approx(scores, abs=1e-5)


def test_the_shift_moves_the_mean_and_not_the_pairwise_loss(tmp_path, trained):
    folder, result = trained
    without = train(tmp_path / "none", demos=[])
    assert without["normalised_on"] == "ranked responses"
    assert without["val/loss"] == pytest.approx(result["val/loss"], abs=1e-6)
    mine, other = (Scorer.load(path / "checkpoint") for path in (folder, tmp_path / "none"))
    one = np.concatenate([scored.values for scored in mine.score(HELD)])
    two = np.concatenate([scored.values for scored in other.score(HELD)])
    assert (one - two).std() < 1e-5
    assert abs((one - two).mean()) > 0.1


def test_a_reward_model_goes_on_from_a_reward_model(tmp_path, trained):
    start = load_reward_model(trained[0] / "checkpoint")
    again = train(tmp_path / "again", start=start, learning_rate=1e-6)
    assert again["val/accuracy"] == pytest.approx(trained[1]["val/accuracy"], abs=0.02)


def test_with_muon_it_learns_it_too(tmp_path):
    assert train(tmp_path / "muon", optimizer="muon", learning_rate=1e-2, epochs=3)["val/accuracy"] > 0.95


def test_samples_show_the_validation_prompts_best_first(trained):
    rows = [json.loads(line) for line in (trained[0] / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert rows[0]["score"] >= rows[1]["score"] >= rows[2]["score"] >= rows[3]["score"]


# One prompt is one element


def test_three_labelers_of_one_prompt_are_one_tree_that_counts_once():
    found = elements(rankings(5, labelers=("ana", "ben", "cho")))
    assert [len(e.tree.responses) for e in found] == [4] * 5
    assert [e.ranks.shape for e in found] == [(3, 4)] * 5
    assert pairs_of(found[0].ranks).weight.sum() == pytest.approx(1)


def test_pairs_in_a_circle_share_one_tree():
    a, b, c = (Response(text=text) for text in ("one", "two", "three"))
    pairs = [Comparison(id=str(n), prompt="say", a=x, b=y, preferred="a", group_id="g")
             for n, (x, y) in enumerate([(a, b), (b, c), (c, a)])]  # fmt: skip
    (found,) = elements(as_rankings(pairs))
    assert len(found.tree.responses) == 3
    assert sorted(found.ranks.tolist()) == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]


def test_a_text_that_a_ranking_holds_twice_has_two_places():
    same = Ranking(id="x", prompt="say", responses=tuple(Response(text=t) for t in ("one", "one", "two")),
                   ranks=(1, 2, 3))  # fmt: skip
    (found,) = elements([same, same.model_copy(update={"id": "y"})])
    assert found.ranks.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_a_prompt_asked_a_thousand_times_is_several_elements():
    many = [Ranking(id=str(n), prompt="say", responses=(Response(text=f"a {n}"), Response(text=f"b {n}")), ranks=(1, 2))
            for n in range(50)]  # fmt: skip
    found = elements(many)
    assert [len(e.tree.responses) for e in found] == [MOST, MOST, MOST, 4]


def test_a_pair_is_a_ranking_of_two(tmp_path):
    pairs = [Comparison(id=r.id, prompt=r.prompt, a=r.responses[0], b=r.responses[1], preferred="a") for r in TRAIN]
    twos = [Ranking(id=r.id, prompt=r.prompt, responses=r.responses[:2], ranks=(1, 2)) for r in TRAIN]
    one = train(tmp_path / "pairs", train=list(as_rankings(pairs)))
    assert one == train(tmp_path / "twos", train=twos)


# Micro-batches, resume, what is refused


def after_ten_steps(budget: int):
    batch = elements(rankings(8, labelers=("ana", "ben"), wrong=0.2))
    model = reward_model_from(policy().model, torch.Generator().manual_seed(0))
    use_trees(model.body)
    model.head.bias.requires_grad_(False)
    adam = Adam(model)
    seen = []
    for _ in range(10):
        counts = np.ones((len(batch), 1), dtype=np.float32)
        loss, _ = reward_gradients(model, batch, counts, Comparing(), torch.zeros(()), Share(budget))
        seen.append((loss, adam.step(1e-4, max_norm=1.0)))
    return seen, torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("budget", [1, 150, 400])
def test_the_token_budget_changes_neither_loss_nor_gradient_norm_nor_weights(budget):
    seen, weights = after_ten_steps(10_000)
    other, theirs = after_ten_steps(budget)
    assert other == [pytest.approx(pair, abs=1e-6) for pair in seen]
    assert (weights - theirs).abs().max() < 1e-6


def test_a_run_that_was_cut_off_ends_in_the_same_bytes(tmp_path):
    settings = {"checkpoint_every": 1, "evaluate_every": 3, "epochs": 2, "heads": 2, "ties": "davidson"}
    train(tmp_path / "straight", **settings)
    config = RewardConfig(**(SMALL | settings))

    class Cut(Exception):
        pass

    def cut_at(step):
        def watch(at, values):
            if at == step:
                raise Cut

        return watch

    for at in (3, 7, None):  # within the first epoch, within the second, never
        with Run.open(tmp_path / "cut", config, resume=True) as run:
            run.watch = cut_at(at)
            if at is None:
                train_reward(policy(), TRAIN, HELD, DEMOS, run, config)
            else:
                with pytest.raises(Cut):
                    train_reward(policy(), TRAIN, HELD, DEMOS, run, config)
    for name in ("metrics.jsonl", "samples.jsonl", "checkpoint/model.safetensors", f"checkpoint/{SCORING}"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name


def test_a_loss_that_is_no_number_stops_before_anything_moves(tmp_path):
    start = policy()
    with torch.no_grad():
        start.model.model.layers[1].mlp.down_proj.weight[0, 0] = math.nan
    with pytest.raises(FloatingPointError, match="step 1: the loss is nan"):
        train(tmp_path / "nan", start=start)
    assert not (tmp_path / "nan" / "checkpoint").exists()
    assert not (tmp_path / "nan" / "metrics.jsonl").read_text()


def test_only_ties_is_nothing_to_train_on(tmp_path):
    tied = [r.model_copy(update={"ranks": (1, 1, 1, 1)}) for r in TRAIN]
    with pytest.raises(BadFile, match="nothing to train on: 96 rankings"):
        train(tmp_path / "tied", train=tied)


def test_bfloat16_learns_the_same_and_its_saved_scores_are_exact(tmp_path):
    result = train(tmp_path / "bf16", precision="bf16")
    assert result["val/accuracy"] > 0.95
    scores = [float(scored.values[0]) for scored in Scorer.load(tmp_path / "bf16" / "checkpoint").score(DEMOS)]
    assert abs(np.mean(scores)) < 1e-4


# Options


def test_heads_are_an_ensemble_whose_mean_is_the_plain_model(tmp_path):
    result = train(tmp_path / "heads", heads=3)
    assert result["val/accuracy"] > 0.9
    scorer = Scorer.load(tmp_path / "heads" / "checkpoint")
    single = replace(scorer, heads=None)
    for one, other in zip(scorer.score(HELD[:5]), single.score(HELD[:5]), strict=True):
        assert one.values == pytest.approx(other.values, abs=1e-5)
        assert one.spread is not None
        assert (one.spread > 0).all()
        assert other.spread is None


def test_heads_disagree_more_about_what_they_have_never_seen(tmp_path):
    train(tmp_path / "heads", heads=5, epochs=3)
    scorer = Scorer.load(tmp_path / "heads" / "checkpoint")
    rng = random.Random(0)
    strange = [r.model_copy(update={"responses": tuple(
        Response(text="".join(rng.choices("XYZ!?#", k=30))) for _ in r.responses)}) for r in HELD]  # fmt: skip
    seen, unseen = ([np.mean(s.spread) for s in scorer.score(records)] for records in (HELD, strange))
    assert np.mean(unseen) > np.mean(seen)


def test_the_length_residual_has_no_slope_left_and_still_averages_0(tmp_path):
    longer = [r.model_copy(update={"ranks": tuple(1 + (len(a.text) < max(len(b.text) for b in r.responses))
                                                  for a in r.responses)}) for r in TRAIN]  # fmt: skip
    result = train(tmp_path / "residual", train=longer, length_residual=True)
    assert result["slope"] > 0.01
    scorer = Scorer.load(tmp_path / "residual" / "checkpoint")
    scored = list(scorer.score(longer))
    trees = [s.tree for s in scored]
    assert length_slope(trees, [s.plain for s in scored]) == pytest.approx(result["slope"], rel=1e-4)
    assert length_slope(trees, [s.values for s in scored]) == pytest.approx(0, abs=1e-6)
    assert abs(np.mean([s.values[0] for s in scorer.score(DEMOS)])) < 1e-4


def test_shuffled_pairs_take_as_many_updates_and_compute_far_more_tokens(tmp_path, trained):
    result = train(tmp_path / "shuffled", shuffled=True)
    assert len(read_metrics(tmp_path / "shuffled")) == len(read_metrics(trained[0]))
    assert result["num_tokens"] > 1.5 * trained[1]["num_tokens"]
    pairs = one_by_one(elements(rankings(3)), ties=False)
    assert all(e.ranks.tolist() in ([[1, 2]], [[2, 1]]) for e in pairs)


@pytest.mark.parametrize("ties", ["davidson", "rao-kupper"])
def test_modelled_ties_learn_how_often_labelers_tie(ties, tmp_path):
    few = [r.model_copy(update={"responses": r.responses[:2], "ranks": (1, 2)}) for r in TRAIN]
    often = train(tmp_path / "often", ties=ties, epochs=4)
    seldom = train(tmp_path / "seldom", train=few, ties=ties, epochs=4)
    assert often["tie"] > 0 > seldom["tie"]
    assert often["val/accuracy"] > 0.95


def test_a_margin_asks_for_a_lead_in_proportion_to_the_ratings(tmp_path):
    def rated(points):
        def scored(ranking):
            pairs = zip(ranking.responses, ranking.ranks, strict=True)
            return tuple(answer.model_copy(update={"score": points * float(rank == 1)}) for answer, rank in pairs)

        return [ranking.model_copy(update={"responses": scored(ranking)}) for ranking in TRAIN]

    near, far = (train(tmp_path / str(points), train=rated(points), margin=1.0, epochs=3) for points in (0.5, 20.0))
    assert far["val/margin"] > near["val/margin"] + 1


def test_a_margin_without_ratings_is_refused(tmp_path):
    with pytest.raises(BadRecord, match="has a response without a score or rating"):
        train(tmp_path / "unrated", margin=1.0)


def test_ratings_become_scores_the_labelers_own_first():
    (r,) = rankings(1)
    text = r.responses[0].text
    said = [Rating(id=str(n), prompt=r.prompt, response=Response(text=text), likert=likert, labeler=who)
            for n, (likert, who) in enumerate([(7, "ana"), (2, "ben")])]  # fmt: skip
    (own,) = with_ratings([r], said)
    (others,) = with_ratings([r.model_copy(update={"labeler": "cho"})], said)
    assert own.responses[0].score == 7
    assert others.responses[0].score == 4.5
    assert own.responses[1].score is None


def test_label_smoothing_keeps_scores_closer(tmp_path, trained):
    result = train(tmp_path / "smooth", label_smoothing=0.2)
    assert result["val/margin"] < trained[1]["val/margin"]
    assert result["val/accuracy"] > 0.95


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(BadSetting, match="takes neither margin nor label_smoothing"):
        RewardConfig.load(None, ["ties=davidson", "margin=1.0"])


# The folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "was not made by rather reward"),
        ({"slope": "steep"}, "holds something that is no number"),
        ({"spread": None}, "holds something that is no number"),
        ({"heads": [[0.5]]}, "its heads are not those of the model"),
        ({"heads": 3}, "holds something that is no number"),
        ({"more": 1}, "has other fields than were saved"),
    ],
)
def test_a_scoring_file_that_is_not_ours_is_refused_in_words(change, words, tmp_path, trained):
    folder = tmp_path / "broken"
    shutil.copytree(trained[0] / "checkpoint", folder)
    if change is None:
        (folder / SCORING).unlink()
    else:
        (folder / SCORING).write_text(json.dumps(json.loads((folder / SCORING).read_text()) | change))
    with pytest.raises(BadModel, match=words):
        Scorer.load(folder)


# Which rankings are learned from


def test_a_prompt_is_trained_on_or_validated_with_and_stays_there_when_the_file_grows():
    small, large = (split_rankings(rankings(n, labelers=("ana", "ben")), 0.3) for n in (100, 200))
    assert not {r.prompt for r in small.train} & {r.prompt for r in small.held}
    assert {r.prompt for r in small.held} <= {r.prompt for r in large.held}
    assert 40 <= len(small.held) <= 80
    assert small.left_out == 0


def test_the_records_own_split_goes_before_a_share():
    marked = [r.model_copy(update={"split": "validation" if n % 4 == 0 else "train"}) for n, r in enumerate(TRAIN)]
    found = split_rankings(marked, 0.5)
    assert [r.split for r in found.held] == ["validation"] * 24
    assert len(split_rankings([r.model_copy(update={"split": "test"}) for r in TRAIN], 0.0).train) == 96


def test_a_held_out_labeler_is_never_trained_on_and_heard_only_about_unseen_prompts():
    found = split_rankings(rankings(100, labelers=("ana", "zoe")), 0.3, ("zoe",))
    assert {r.labeler for r in found.train} == {"ana"}
    assert {r.labeler for r in found.held} == {"ana", "zoe"}
    assert found.left_out == len(found.train)  # zoe's rankings of the prompts that ana's taught


def test_a_reward_model_does_not_go_on_with_another_separator(tmp_path, trained):
    start = load_reward_model(trained[0] / "checkpoint")
    with pytest.raises(BadSetting, match=r"separator is ' ', and the reward model begun from has '\\n'"):
        train(tmp_path / "other", start=start, separator=" ")
