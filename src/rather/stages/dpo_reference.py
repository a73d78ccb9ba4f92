"""The reference's log-probabilities: computed once, and kept in the run folder under the hash of what they follow from.

The reference never moves, so no second model has to stay in memory, and a resumed run computes nothing twice. Another
reference, other data, another tokenizer or another precision is another hash, and so another file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rather import files
from rather.batches.trees import Tree
from rather.parallel import barrier, gather_objects, is_first
from rather.stages.dpo_steps import tree_logprobs
from rather.stages.steps import Share


def reference_logprobs(
    model: PreTrainedModel, weights: str, trees: Sequence[Tree], folder: Path, share: Share
) -> tuple[Tensor, bool]:
    """(B, K) log-probability of each response under the reference, and whether they were there already.

    weights: the hash of the reference's weights     folder: where the file lies, RUN/reference
    """
    dtype = next(model.parameters()).dtype
    key = content_hash(weights, str(dtype), trees)
    path = folder / f"{key}.json"
    known = gather_objects(_read(path, key, trees) if is_first() else None)[0]
    if known is None:
        table = tree_logprobs(model, trees, share)
        if is_first():
            rows = [row[: len(tree.responses)] for row, tree in zip(table.tolist(), trees, strict=True)]
            folder.mkdir(parents=True, exist_ok=True)
            files.write_json(path, {"key": key, "reference_sha256": weights, "sum": _sum(rows), "logprobs": rows})
        barrier()
        return table, False
    table = torch.zeros(len(trees), max(len(tree.responses) for tree in trees), device=share.device)
    for at, row in enumerate(known):
        table[at, : len(row)] = torch.tensor(row)
    return table, True


def content_hash(weights: str, dtype: str, trees: Sequence[Tree]) -> str:
    """Of all that the numbers follow from: the weights, the precision, and every token in its place."""
    digest = hashlib.sha256(f"{weights} {dtype}".encode())
    for tree in trees:
        digest.update(np.array([len(tree.prompt), *map(len, tree.responses)], np.int64).tobytes() + b"|")
        for part in (tree.prompt, *tree.responses):
            digest.update(np.ascontiguousarray(part, dtype=np.int32).tobytes())
    return digest.hexdigest()[:32]


def _read(path: Path, key: str, trees: Sequence[Tree]) -> list[list[float]] | None:
    """What was kept, or None: a file that is not whole is no loss, the numbers are computed again."""
    try:
        found = json.loads(path.read_bytes())
        rows = found["logprobs"]
        whole = found["key"] == key and found["sum"] == _sum(rows)
        fits = [len(row) for row in rows] == [len(tree.responses) for tree in trees]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return rows if whole and fits else None


def _sum(rows: Sequence[Sequence[float]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
