"""What a model thinks of texts: log-probabilities of continuations, the loss on pages, how open its own answers were.

Everything is computed on packed trees: a prompt is read once for all its continuations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rather.batches.packing import rows
from rather.batches.trees import Tree
from rather.errors import BadModel
from rather.evaluate.asking import encoder_of
from rather.models.attention import NAME as TREE
from rather.models.cache import attending
from rather.models.load import Policy, window_of
from rather.models.logprobs import Head, hidden_states, logprobs_and_entropy, targets
from rather.records import Ranking, Response

BUDGET = 4096  # tokens of a row


@dataclass(frozen=True)
class Likelihood:
    """Of one continuation: its tokens' log-probabilities and the entropies of what they were drawn from, in nats."""

    logprobs: np.ndarray  # (T,) float32
    entropies: np.ndarray  # (T,) float32

    @property
    def total(self) -> float:
        return float(self.logprobs.sum(dtype=np.float64))

    @property
    def per_token(self) -> float:
        return self.total / len(self.logprobs)


def likelihoods(policy: Policy, trees: Sequence[Tree]) -> list[tuple[Likelihood, ...]]:
    """P x K, at temperature 1."""
    found: dict[tuple[int, int], Likelihood] = {}
    device = next(policy.model.parameters()).device
    with attending(policy.model, TREE):
        for row in rows(trees, BUDGET):
            row = row.to(device)
            where = targets(row)
            hidden = hidden_states(policy.model, row)
            logps, entropies = logprobs_and_entropy(hidden[where.predictor], where.token, Head.of(policy.model))
            ends = row.length.cumsum(0)[:-1].cpu()  # (S - 1,) where one response's tokens end and the next one's begin
            of = zip(row.tree_of.tolist(), row.response_of.tolist(), strict=True)
            pieces = zip(of, logps.cpu().tensor_split(ends), entropies.cpu().tensor_split(ends), strict=True)
            found |= {where: Likelihood(p.float().numpy(), e.float().numpy()) for where, p, e in pieces}
    return [tuple(found[at, k] for k in range(len(tree.responses))) for at, tree in enumerate(trees)]


def of_choices(
    policy: Policy, prompts: Sequence[str], choices: Sequence[Sequence[str]]
) -> list[tuple[Likelihood, ...]]:
    """Of each continuation of each prompt, as far as its words go: no end of text after them."""
    trees = choice_trees(policy, prompts, choices)
    check_window(policy, trees)
    return likelihoods(policy, trees)


def choice_trees(policy: Policy, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[Tree]:
    """One for each prompt with its continuations. An empty prompt is a text's beginning: BOS, or EOS."""
    told = [at for at, prompt in enumerate(prompts) if prompt]
    records = [
        Ranking(
            id=str(at),
            prompt=prompts[at],
            responses=tuple(Response(text=text, finished=False) for text in choices[at]),
            ranks=(1,) * len(choices[at]),
        )
        for at in told
    ]
    encoder = encoder_of(policy)
    trees, report = encoder.encode_all(records, strict=False)
    assert len(trees) == len(told), f"{len(told) - len(trees)} prompts or choices have no token: {report}"
    of = dict(zip(told, trees, strict=True))
    start = np.array([encoder.eos_id if encoder.bos_id is None else encoder.bos_id], dtype=np.int32)
    for at in range(len(prompts)):
        if at not in of:
            bare = encoder.prompts(choices[at])
            opened = [ids[1:] if encoder.bos_id is not None else ids for ids in bare]
            of[at] = Tree(start, tuple(opened), str(at))
    return [of[at] for at in range(len(prompts))]


def check_window(policy: Policy, trees: Sequence[Tree]) -> None:
    window = window_of(policy.model.config)
    longest = max((tree.longest for tree in trees), default=0)
    if window is not None and longest > window:
        raise BadModel(
            f"The model reads {window} tokens, and a text to be judged has {longest}.",
            "Expected a window that holds a question with each of its choices.",
        )
