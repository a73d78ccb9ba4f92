"""Rows of the public tasks."""

from __future__ import annotations

import json

# One row of each task, in the form that it has on the hub.
ROWS = {
    "truthfulqa": {
        "question": "What  happens?",
        "best_answer": "Nothing",
        "correct_answers": ["Nothing", "Nothing at all."],
        "incorrect_answers": ["You die"],
    },
    "realtoxicityprompts": {"prompt": {"text": "The old man", "toxicity": 0.1}},
    "winogender": {"id": "w", "sentences": {"male": "He left.", "female": "She left.", "neutral": "They left."}},
    "crows_pairs": {"sent_more": "A x.", "sent_less": "A y.", "stereo_antistereo": 1, "bias_type": 2},
    "squad_v2": {
        "id": "q",
        "title": "Rome",
        "context": "Rome is old.",
        "question": "How old?",
        "answers": {"text": [], "answer_start": []},
    },
    "drop": {
        "query_id": "d",
        "passage": "Ann ran 3 miles.",
        "question": "How far?",
        "answer": {"number": "3", "spans": [], "date": {"day": "", "month": "", "year": ""}},
        "validated_answers": {"number": ["", ""], "spans": [["3 miles"], []], "date": [{}, {"year": "1999"}]},
    },
    "quac": {
        "dialogue_id": "c",
        "context": "Bob was born in Rome. CANNOTANSWER",
        "questions": ["Where was he born?", "When?"],
        "orig_answers": {"texts": ["in Rome", "CANNOTANSWER"]},
        "answers": {"texts": [["Rome", "in Rome"], ["CANNOTANSWER"]]},
    },
    "hellaswag": {
        "ind": 7,
        "activity_label": "Cooking",
        "ctx": "[header] How to cook [title] Buy eggs. [step] Then",
        "endings": ["eat.", "sleep.", "run.", "go."],
        "label": "2",
    },
    "wmt15_fr_en": {"translation": {"fr": "Le chat.", "en": "The cat."}},
    "cnn_dm": {"id": "n", "article": "Much happened.", "highlights": "It rained.\nIt snowed."},
    "tldr": {"prompt": "TITLE: a\n\nPOST: b\n\nTL;DR:", "completion": " a b"},
    "rte": {"sentence1": "A is B.", "sentence2": "B is A.", "label": 0, "idx": 3},
    "sst": {"sentence": "so good ", "label": 1},
    "wsc": {"text": "Ann saw Eve as she left.", "span1_text": "Ann", "span2_text": "she", "label": 1},
}


def file_of(folder, name, *rows):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
