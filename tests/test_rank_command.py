"""`rather world rank`: answers of policies in, rankings by simulated labelers out, whose noise was fitted on them."""

from __future__ import annotations

import json
import random

import pytest
import torch
from click.testing import CliRunner

from rather.batches.encoding import Encoder
from rather.cli.rank import RankConfig, command
from rather.errors import BadSetting, NotReady
from rather.models.load import Policy, save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.records import Ranking, Response, read
from rather.stages.reward_data import judged
from rather.worlds import Marn
from rather.worlds.judging import task_of
from rather.worlds.writing import stage_prompts


def babbler(seed: int) -> Policy:
    """Knows the world's words and nothing else: its answers differ in length and in what they happen to mention."""
    texts = [page.text for page, _ in zip(Marn(0, "tiny").web_documents(random.Random(0)), range(300), strict=False)]
    config = TinyConfig(vocabulary=600, hidden=8, layers=1, heads=1, context=128, template="page")
    return tiny(config, texts, torch.Generator().manual_seed(seed))


@pytest.fixture
def story(tmp_path):
    for seed, name in enumerate(("sft", "base")):
        (tmp_path / name).mkdir()
        save_policy(babbler(seed), tmp_path / name / "checkpoint")
    return tmp_path


QUICK = ("--world", "marn:0:tiny", "prompts=30", "validation=20", "max_new_tokens=12", "--json")


def verb(*words: object) -> dict:
    outcome = CliRunner().invoke(command, list(map(str, words)), catch_exceptions=False, standalone_mode=False)
    return json.loads(outcome.stdout.splitlines()[-1])


def test_training_labelers_rank_for_training_and_both_groups_for_validation(story):
    said = verb(story, *QUICK, 'policies=["sft","base"]')
    rankings = list(read(story / "rankings.jsonl", Ranking))
    train = [r for r in rankings if r.split == "train"]
    held = [r for r in rankings if r.split == "validation"]
    assert len(train) == said["prompts"]["train"]
    assert len(held) == 8 * said["prompts"]["validation"]
    assert {str(r.labeler).rpartition("-")[0] for r in train} == {"training"}
    assert {str(r.labeler).rpartition("-")[0] for r in held} == {"training", "held-out"}
    assert not {r.prompt for r in train} & {r.prompt for r in held}
    assert {response.model for r in rankings for response in r.responses} == {"sft", "base"}
    assert max(len(r.responses) for r in rankings) <= 9
    assert set(said["agreement"]) == {"training", "held-out"}
    assert said["agreement"]["training"]["value"] == pytest.approx(0.726, abs=0.12)  # of 20 prompts
    assert json.loads((story / "rankings.about.json").read_text())["tau"] == said["tau"]


def test_the_same_seed_gives_the_same_file_and_another_another(story):
    first = verb(story, *QUICK)["file"]
    one = (story / "rankings.jsonl").read_bytes()
    assert first == str(story / "rankings.jsonl")
    verb(story, *QUICK, "--out", "again.jsonl")
    verb(story, *QUICK, "--out", "other.jsonl", "seed=1")
    assert (story / "again.jsonl").read_bytes() == one
    assert (story / "other.jsonl").read_bytes() != one


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (['policies=["nobody"]'], NotReady, "nobody"),
        (["k_max=3"], BadSetting, "below k_min"),
        (["prompt=3"], BadSetting, "Did you mean 'prompts'"),
        (["policies=[]"], BadSetting, "policies"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(story, words, error, said):
    with pytest.raises(error, match=said):
        verb(story, *QUICK, *words)
    assert not (story / "rankings.jsonl").exists()


def test_the_paper_s_k_is_the_default():
    assert (RankConfig().k_min, RankConfig().k_max) == (4, 9)


def test_an_answer_that_ended_at_once_is_its_eos_for_the_reward_model():
    policy = babbler(0)
    world = Marn(0, "tiny")
    (prompt,) = stage_prompts(world, random.Random(0), 1, "reward")
    task = task_of(world, "t", prompt, [Response(text="", model="sft"), Response(text="mara .", model="sft")])
    assert task is not None
    record = Ranking(id="1", prompt=prompt.text, responses=task.responses, ranks=(2, 1))
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template)
    (tree,), _ = encoder.encode_all([record])
    assert tree.responses[0].tolist() == [encoder.eos_id]
    again = record.model_copy(update={"id": "2", "labeler": "another"})
    (element,), _ = judged([record, again], encoder)  # two labelers, one tree
    assert [list(tree.responses[0]) for tree in [element.tree]] == [[encoder.eos_id]]
    assert len(element.records) == 2
