"""Trees packed into rows without padding between them, under a token budget.

A row is one forward pass: the tokens of its trees one after another, `prompt, response 1, ..., response K`, each
response counting its positions on from the end of the prompt. Who may see whom stands in the row's segments;
`rather.models.attention` reads them. Nothing is cut: a tree larger than the budget gets a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rather.batches.trees import Tree

# Rows are rounded up to this many tokens and segments are read in blocks of this many, so that the shapes of the
# matrix products repeat: on a CPU each new shape costs the building of a kernel (2 ms becomes 11).
ROW_STEP = 128
SEGMENT_STEP = 32


class Segment(NamedTuple):
    """A run of tokens that see each other causally, and also see all of the prompt of their tree."""

    start: int
    length: int
    prompt_start: int  # of the tokens before the branch; prompt_length is 0 for a segment that is nobody's branch
    prompt_length: int


@dataclass(frozen=True, eq=False)
class Row:
    """One packed forward pass of S responses in T tokens.

    tokens, positions: (1, T) int64. The filler at the end repeats the row's first token at position 0; nobody sees it,
        and transformers does not take it for padding.
    tree, branch: (T,) int32, the tree of each token (-1 filler) and its response (-1 prompt), for mask functions
    start, length: (S,) int64, where each response lies in the row
    prompt_last: (S,) int64, the last token of each response's prompt
    tree_of: (S,) int64, the position of the response's tree in the sequence that was packed
    response_of: (S,) int64, which response of its tree it is
    """

    tokens: Tensor
    positions: Tensor
    tree: Tensor
    branch: Tensor
    start: Tensor
    length: Tensor
    prompt_last: Tensor
    tree_of: Tensor
    response_of: Tensor
    segments: tuple[Segment, ...]

    def to(self, device: torch.device | str) -> Row:
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Row(**moved, segments=self.segments)

    def silent(self) -> Row:
        """The same forward pass with no responses: what a worker runs when the others have one more row than it has."""
        none = self.start[:0]
        emptied = dict.fromkeys(("start", "length", "prompt_last", "tree_of", "response_of"), none)
        return Row(**{**vars(self), **emptied})


def pack(trees: Sequence[Tree], budget: int) -> list[list[int]]:
    """Indices of the trees of each row; no row exceeds `budget` tokens unless one tree alone does.

    First fit, the largest first, then rows and their trees in the order of the input: deterministic, and a row's
    content does not depend on how equal trees were ordered.
    """
    assert budget > 0, f"token budget {budget}"
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(trees)), key=lambda i: (-trees[i].size, i)):
        size = trees[index].size
        for row, free in enumerate(room):
            if size <= free:
                rows[row].append(index)
                room[row] -= size
                break
        else:
            rows.append([index])
            room.append(budget - size)
    return sorted(sorted(row) for row in rows)


def rows(trees: Sequence[Tree], budget: int, rank: int = 0, workers: int = 1) -> Iterator[Row]:
    """The rows of one batch, or worker `rank`'s share of them.

    Workers see disjoint rows that together are all of them, and each sees equally many: sharded models need that,
    so the last rows of some may be silent.
    """
    plan = pack(trees, budget)
    plan.sort(key=lambda row: -sum(trees[i].size for i in row))  # neighbours are equally long, so workers wait little
    mine = plan[rank::workers]
    for indices in mine:
        yield collate(trees, indices)
    for _ in range(-(-len(plan) // workers) - len(mine)):
        yield collate(trees, plan[-1]).silent()


def collate(trees: Sequence[Tree], indices: Sequence[int] | None = None) -> Row:
    """One row from the trees at `indices` (all by default); `tree_of` holds those indices."""
    indices = range(len(trees)) if indices is None else indices
    tokens: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    owner: list[np.ndarray] = []  # (tree, branch) of each token
    segments: list[Segment] = []
    responses: list[tuple[int, int, int, int, int]] = []  # start, length, prompt_last, tree_of, response_of
    at = 0
    for index in indices:
        tree = trees[index]
        prompt = len(tree.prompt)
        root = at
        tokens.append(tree.prompt)
        positions.append(np.arange(prompt))
        owner.append(np.tile((index, -1), (prompt, 1)))
        at += prompt
        if len(tree.responses) > 1:
            segments.append(Segment(root, prompt, root, 0))
        for branch, response in enumerate(tree.responses):
            length = len(response)
            tokens.append(response)
            positions.append(np.arange(prompt, prompt + length))
            owner.append(np.tile((index, branch), (length, 1)))
            if len(tree.responses) > 1:
                segments.append(Segment(at, length, root, prompt))
            else:  # a tree of one response is one plain sequence
                segments.append(Segment(root, prompt + length, root, 0))
            responses.append((at, length, root + prompt - 1, index, branch))
            at += length
    # Segments are read in whole blocks, so the last one must find its block inside the row.
    end = max((s.start + round_up(s.length, SEGMENT_STEP) for s in segments), default=0)
    total = round_up(max(end, 1), ROW_STEP)
    filler = total - at
    owner.append(np.full((filler, 2), -1))
    table = torch.tensor(responses, dtype=torch.int64).reshape(-1, 5)
    of = torch.from_numpy(np.concatenate(owner).astype(np.int32))
    return Row(
        tokens=torch.from_numpy(np.concatenate([*tokens, np.full(filler, tokens[0][0])]).astype(np.int64))[None],
        positions=torch.from_numpy(np.concatenate([*positions, np.zeros(filler)]).astype(np.int64))[None],
        tree=of[:, 0].contiguous(),
        branch=of[:, 1].contiguous(),
        start=table[:, 0],
        length=table[:, 1],
        prompt_last=table[:, 2],
        tree_of=table[:, 3],
        response_of=table[:, 4],
        segments=tuple(segments),
    )


def round_up(number: int, step: int) -> int:
    return -(-number // step) * step
