"""Trees in rows: everything is there once, nothing sees a neighbour, and the same trees give the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.batches.packing import ROW_STEP, Segment, collate, pack, rows
from rather.batches.trees import Tree


def tree(prompt: int, *responses: int, first: int = 10) -> Tree:
    """Tokens count up from `first`, so that each is recognised in a row."""
    ids = iter(range(first, 10_000))
    take = lambda n: np.array([next(ids) for _ in range(n)], np.int32)  # noqa: E731
    return Tree(take(prompt), tuple(take(n) for n in responses), key=f"t{first}")


shapes = st.lists(st.tuples(st.integers(1, 40), st.lists(st.integers(1, 40), min_size=1, max_size=5)), min_size=1)


def test_a_row_holds_the_prompt_once_and_each_response_counts_on_from_its_end():
    row = collate([tree(3, 2, 1)])
    assert row.tokens[0, :6].tolist() == [10, 11, 12, 13, 14, 15]
    assert row.positions[0, :6].tolist() == [0, 1, 2, 3, 4, 3]
    assert row.branch[:6].tolist() == [-1, -1, -1, 0, 0, 1]
    assert row.start.tolist() == [3, 5]
    assert row.length.tolist() == [2, 1]
    assert row.prompt_last.tolist() == [2, 2]
    assert row.segments == (Segment(0, 3, 0, 0), Segment(3, 2, 0, 3), Segment(5, 1, 0, 3))


def test_a_tree_of_one_response_is_one_plain_sequence():
    row = collate([tree(3, 2)])
    assert row.segments == (Segment(0, 5, 0, 0),)


def test_filler_belongs_to_no_tree():
    row = collate([tree(3, 2)])
    assert row.tokens.shape == (1, ROW_STEP)
    assert (row.tree[5:] == -1).all()


@given(shapes)
@settings(max_examples=50, deadline=None)
def test_every_segment_finds_its_blocks_inside_the_row(shapes):
    row = collate([tree(p, *r) for p, r in shapes])
    for segment in row.segments:
        assert segment.start + -(-segment.length // 32) * 32 <= row.tokens.shape[1]
        assert segment.prompt_start + -(-segment.prompt_length // 32) * 32 <= row.tokens.shape[1]


@given(shapes, st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_packing_keeps_every_tree_once_and_the_budget_unless_one_tree_alone_breaks_it(shapes, budget):
    trees = [tree(p, *r) for p, r in shapes]
    plan = pack(trees, budget)
    assert sorted(i for row in plan for i in row) == list(range(len(trees)))
    for row in plan:
        assert len(row) == 1 or sum(trees[i].size for i in row) <= budget


@given(shapes, st.integers(30, 300), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_workers_see_disjoint_rows_that_together_are_all_and_equally_many(shapes, budget, workers):
    trees = [tree(p, *r) for p, r in shapes]
    shares = [list(rows(trees, budget, rank, workers)) for rank in range(workers)]
    assert len({len(share) for share in shares}) == 1
    seen = [
        (int(t), int(k)) for share in shares for row in share for t, k in zip(row.tree_of, row.response_of, strict=True)
    ]
    assert sorted(seen) == [(t, k) for t, (_, r) in enumerate(shapes) for k in range(len(r))]


def test_packing_is_deterministic():
    trees = [tree(n, n % 7 + 1) for n in range(1, 60)]
    assert pack(trees, 128) == pack(list(trees), 128)


def test_a_silent_row_has_the_tokens_and_no_responses():
    row = collate([tree(3, 2, 4)])
    assert row.silent().tokens.equal(row.tokens)
    assert len(row.silent().start) == 0


@pytest.mark.parametrize("parts", [((), ((1,),)), ((1,), ()), ((1,), ((),))])
def test_a_tree_without_prompt_or_response_is_our_own_mistake(parts):
    prompt, responses = parts
    with pytest.raises(AssertionError, match="tree 'x'"):
        Tree(np.array(prompt, np.int32), tuple(np.array(r, np.int32) for r in responses), key="x")
