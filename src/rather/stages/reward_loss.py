"""The loss of a batch of judged prompts, and what their scores say: gradients row by row, numbers for the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rather.batches.packing import Row
from rather.batches.trees import Tree
from rather.losses import davidson_loss, ranking_loss, rao_kupper_loss
from rather.models.heads import RewardModel
from rather.models.logprobs import hidden_states, last_tokens
from rather.parallel import all_reduce_sum
from rather.stages.reward_data import Judged, pairs_of
from rather.stages.steps import Share


@dataclass(frozen=True)
class Comparing:
    """How scores are held against ranks.

    ties: dropped (app. C.2), or modelled with one learned number, see `rather.losses`
    margin: lead asked for per point of difference between two ratings; 0 is none
    """

    ties: str = "dropped"
    margin: float = 0.0
    label_smoothing: float = 0.0

    @property
    def models_ties(self) -> bool:
        return self.ties != "dropped"

    def loss(
        self, scores: Tensor, ranks: Tensor, ratings: Tensor, weights: Tensor, denominator: float, tie: Tensor
    ) -> Tensor:
        """scores, ranks, ratings: (R, K)     weights: (R,)     tie: () -> this part of the batch's loss"""
        if self.ties == "davidson":
            return davidson_loss(scores, ranks, denominator, tie, weights)
        if self.ties == "rao-kupper":
            return rao_kupper_loss(scores, ranks, denominator, tie, weights)
        margins = None
        if self.margin:
            # A labeler who ranks against the ratings' mean asks for no negative lead.
            margins = self.margin * (ratings[:, :, None] - ratings[:, None, :]).clamp(min=0)
        return ranking_loss(scores, ranks, denominator, margins, self.label_smoothing, weights)


@dataclass(frozen=True, eq=False)
class Table:
    """The rankings of the trees of one row: where their scores stand among the row's S.

    place: (R, K) index of the score, 0 in empty cells     ranks: (R, K) 0 in empty cells
    ratings: (R, K)     weights: (R,) 1 / rankings of the same prompt     element: (R,) position in the batch
    """

    place: Tensor
    ranks: Tensor
    ratings: Tensor
    weights: Tensor
    element: Tensor


def table_of(row: Row, batch: Sequence[Judged], ties: bool) -> Table:
    device = row.tree_of.device
    at = {pair: s for s, pair in enumerate(zip(row.tree_of.tolist(), row.response_of.tolist(), strict=True))}
    rows: list[tuple[int, int, float]] = []  # element, its ranking, weight
    for n in sorted({tree for tree, _ in at}):
        said = [r for r, ranks in enumerate(batch[n].ranks) if _says(ranks, ties)]
        rows += [(n, r, 1 / len(said)) for r in said]
    most = max(batch[n].ranks.shape[1] for n, _, _ in rows)
    place, ranks = np.zeros((len(rows), most), dtype=np.int64), np.zeros((len(rows), most), dtype=np.int64)
    ratings = np.zeros((len(rows), most), dtype=np.float32)
    for i, (n, r, _) in enumerate(rows):
        k = batch[n].ranks.shape[1]
        place[i, :k] = [at[n, j] for j in range(k)]
        ranks[i, :k] = batch[n].ranks[r]
        ratings[i, :k] = np.nan_to_num(batch[n].ratings[r])
    return Table(
        torch.from_numpy(place).to(device),
        torch.from_numpy(ranks).to(device),
        torch.from_numpy(ratings).to(device),
        torch.tensor([weight for _, _, weight in rows], device=device),
        torch.tensor([n for n, _, _ in rows], device=device),
    )


def _says(ranks: np.ndarray, ties: bool) -> bool:
    ranked = ranks[ranks > 0]
    return ties or bool((ranked != ranked[0]).any())


def reward_gradients(
    model: RewardModel, batch: Sequence[Judged], counts: np.ndarray, how: Comparing, tie: Tensor, share: Share
) -> tuple[float, list[np.ndarray]]:
    """Mean over prompts of the mean over pairs, and over heads; this worker's part. -> loss, each element's (K, n).

    counts: (P, n) how often each head has each prompt of the batch: 1, or a bootstrap's numbers
    tie: () the tie model's parameter, whose gradient is left in `.grad`
    """
    trees = [element.tree for element in batch]
    drawn = counts.sum(0)  # (n,) before the split, so that the parts add up
    total, found = 0.0, []
    for row in share.rows(trees):
        scores = _scores(model, row)  # (S, n)
        if not len(scores):
            scores.sum().backward()  # a silent row: a sharded backward needs everybody's graph
            continue
        table = table_of(row, batch, how.models_ties)
        of_prompt = torch.from_numpy(counts).to(scores)[table.element]  # (R, n)
        loss = scores.sum() * 0.0
        for head in range(scores.shape[1]):
            if drawn[head]:
                weights = table.weights * of_prompt[:, head]
                loss = loss + how.loss(
                    scores[table.place, head], table.ranks, table.ratings, weights, float(drawn[head]), tie
                )
        loss = loss / scores.shape[1]
        loss.backward()
        total += float(loss.detach())
        found.append((row, scores.detach()))
    return total, _gathered(model, trees, found, share)


@torch.no_grad()
def score_trees(model: RewardModel, trees: Sequence[Tree], share: Share) -> list[np.ndarray]:
    """(K, n) for each tree: the score of each response by each head, the same on all workers."""
    return _gathered(model, trees, [(row, _scores(model, row)) for row in share.rows(trees)], share)


def _scores(model: RewardModel, row: Row) -> Tensor:
    """(S, n) fp32"""
    last = hidden_states(model.body, row)[last_tokens(row)]
    return torch.nn.functional.linear(last.float(), model.head.weight.float(), model.head.bias.float())


def _gathered(
    model: RewardModel, trees: Sequence[Tree], found: Sequence[tuple[Row, Tensor]], share: Share
) -> list[np.ndarray]:
    widest = max((len(tree.responses) for tree in trees), default=0)
    table = torch.zeros(len(trees), widest, len(model.head.bias), device=share.device)
    for row, scores in found:
        table[row.tree_of, row.response_of] = scores.detach().float()
    whole = all_reduce_sum(table).cpu().numpy()  # what a worker did not read is 0 with it
    return [whole[n, : len(tree.responses)] for n, tree in enumerate(trees)]


def summary(batch: Sequence[Judged], scores: Sequence[np.ndarray]) -> dict[str, float | None]:
    """What the mean of the heads says of some prompts: plain loss, accuracy and margin over their pairs without ties.

    scores: (K, n) each. Each prompt counts once; a margin of exactly 0 is half right.
    """
    losses, right, leads = [], [], []
    for element, found in zip(batch, scores, strict=True):
        pairs = pairs_of(element.ranks)
        if len(pairs.weight):
            mean = found.mean(1).astype(np.float64)
            lead = mean[pairs.winner] - mean[pairs.loser]
            losses.append(float(pairs.weight @ np.logaddexp(0.0, -lead)))
            right.append(float(pairs.weight @ (1 + np.sign(lead)) / 2))
            leads.append(float(pairs.weight @ lead))
    if not losses:  # a batch of nothing but ties, where ties are modelled
        return {"loss": None, "accuracy": None, "margin": None}
    return {name: float(np.mean(v)) for name, v in (("loss", losses), ("accuracy", right), ("margin", leads))}
