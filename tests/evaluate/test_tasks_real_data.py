"""The public tasks on real rows that nobody here wrote, and on a small model that somebody else trained."""

from __future__ import annotations

import json

import pytest
import torch

from rather.evaluate.metrics_bleu import sentence_bleu
from rather.evaluate.metrics_drop import drop
from rather.evaluate.metrics_rouge import rouge, words
from rather.evaluate.metrics_squad import squad
from rather.evaluate.tasks import TASKS, Tools
from rather.evaluate.tasks.documents import documents, some_of
from rather.evaluate.tasks.running import TaskConfig, run_task
from rather.models.load import load_policy
from rather.records.lines import json_rows

pytestmark = pytest.mark.shared

FILES = {
    "truthfulqa": ("eval_truthfulqa/questions.jsonl.gz", 409),
    "realtoxicityprompts": ("eval_toxicity_prompts/prompts.jsonl.gz", 2541),
    "winogender": ("eval_bias/winogender.jsonl.gz", 128),
    "crows_pairs": ("eval_bias/crows_pairs.jsonl.gz", 760),
    "squad_v2": ("eval_squad_xquad_en/questions.jsonl.gz", 595),
    "hellaswag": ("eval_multiple_choice/questions.jsonl.gz", 509),
}


@pytest.fixture
def asked(shared_data, tmp_path):
    def asked(name):
        file, _ = FILES[name]
        path = shared_data / file
        if name == "hellaswag":  # one of nine tasks in the file
            rows = [row.fields for row in json_rows(path) if row.fields["task"] == "hellaswag"]
            path = tmp_path / "hellaswag.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return documents(str(path), TASKS[name].read)

    return asked


def test_every_row_is_read(asked):
    for name, (_, count) in FILES.items():
        found = asked(name)
        assert len(found) == count
    assert len({d.cluster for d in asked("squad_v2")}) < 200  # several questions to a passage


def test_every_answer_is_right_by_its_own_lights(asked):
    """Metrics on 595 real answers: an answer against itself is 1, against a question's text less."""
    for document in asked("squad_v2"):
        answer = document.truth[0]
        assert squad(answer, document.truth) == (1, 1)
        assert drop(answer, [answer]) == (1, 1)
        assert sentence_bleu(answer, [answer]) == pytest.approx(1)
        if words(answer):
            assert rouge(answer, answer)["rouge-l"] == 1


@pytest.mark.slow
def test_log_probabilities_are_those_of_transformers(asked, shared_data):
    """Twelve real questions with four endings each, on a model that was trained elsewhere."""
    policy = load_policy(shared_data / "model_stories260k")
    chosen = some_of(asked("hellaswag"), 12, "hellaswag")
    _, rows = run_task(policy, TASKS["hellaswag"], chosen, [], TaskConfig(shots=0, too_long="leave out"), Tools())
    assert len(rows) > 8
    of = {document.id: document for document in chosen}
    for row in rows:
        document = of[row["id"]]
        before = policy.tokenizer(document.query)["input_ids"]
        for choice, total in zip(document.choices, row["logprobs"], strict=True):
            ids = policy.tokenizer(document.query + choice)["input_ids"]
            if ids[: len(before)] != before:
                continue  # a token straddles the border
            with torch.no_grad():
                logps = policy.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            by_hand = sum(float(logps[at - 1, ids[at]]) for at in range(len(before), len(ids)))
            assert total == pytest.approx(by_hand, abs=2e-2)
