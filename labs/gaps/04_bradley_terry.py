# Parts to write: ranking_pairs, ranking_loss, ranking_gradient, centred. Check them: rather labs check 04
# ruff: noqa
"""Lab 4. Bradley-Terry, and why all comparisons of a prompt belong into one batch element.

A ranking of K outputs is K(K-1)/2 pairs, and each pair says: sigmoid(winner's score - loser's score) should be near 1.
The pairs of one prompt share their outputs. Fed one by one in random order, each output is trained on K-1 times in an
epoch, and the model overfits (3.5); together, it is read once and trained on once. A small network shows both.
"""

from __future__ import annotations

import math

import numpy as np
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # sheet.py lies beside the whole labs

import sheet

SCORES = [1.8, 0.9, 0.3, -0.5]  # in rank order, the best first
FIVE = [2.1, 1.5, 0.8, 0.2, -0.3]


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    return (1 + np.tanh(np.asarray(x, dtype=float) / 2)) / 2  # 1 / (1 + e^-x), without overflow


def ranking_pairs(ranks: list[int]) -> list[tuple[int, int]]:
    """(winner, loser) of each pair, as positions from 0; rank 1 is the best, equal ranks are ties: no pair (C.2)."""
    raise SystemExit("To write: ranking_pairs: all (i, j) whose rank i is smaller than rank j")


def ranking_loss(scores: list[float], ranks: list[int]) -> float:
    """The mean of -log sigmoid(winner - loser) over the pairs of one ranking (3.5, eq. 1)."""
    raise SystemExit("To write: ranking_loss: mean of -log sigmoid(winner - loser) over ranking_pairs")


def ranking_gradient(scores: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """(K,) slope of the mean loss over these pairs for each score: -(1 - sigmoid) for a winner, + for a loser."""
    raise SystemExit("To write: ranking_gradient: each pair: the winner -(1 - sigmoid(lead)) / pairs, the loser +")


def centred(scores: list[float], demonstrations: list[float]) -> list[float]:
    """Scores moved so that demonstrations score 0 on average: before PPO, the only bias the reward model gets (3.5)."""
    raise SystemExit("To write: centred: each score minus the mean score of the demonstrations")


class Net:
    """One hidden layer: 100 numbers in, 64 units, one score out. Large enough to learn 60 prompts by heart."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.inner, self.outer = rng.normal(0, 1 / 10, (100, 64)), rng.normal(0, 1 / 8, 64)
        self.forwards = 0

    def score(self, x: np.ndarray) -> np.ndarray:
        """x: (K, 100) -> (K,)"""
        self.forwards += len(x)
        return np.tanh(x @ self.inner) @ self.outer

    def step(self, x: np.ndarray, pairs: list[tuple[int, int]], rate: float) -> None:
        """One step down the loss of these pairs of one prompt."""
        slope = ranking_gradient(self.score(x), pairs)  # (K,)
        hidden = np.tanh(x @ self.inner)  # (K, 64)
        back = slope[:, None] * self.outer * (1 - hidden**2)  # (K, 64)
        self.outer = self.outer - rate * slope @ hidden
        self.inner = self.inner - rate * x.T @ back


def rankings(count: int, outputs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x (P, K, 100) and ranks (P, K). Two numbers of the 100 matter; labelers see them through noise."""
    x = rng.normal(size=(count, outputs, 100))
    seen = x[..., 0] + x[..., 1] + rng.logistic(0, 1, (count, outputs))
    return x, (-seen).argsort(1).argsort(1) + 1


def pair_accuracy(net: Net, x: np.ndarray, ranks: np.ndarray) -> float:
    scores = np.tanh(x @ net.inner) @ net.outer  # (P, K)
    right = scores[:, :, None] > scores[:, None, :]
    return float(right[ranks[:, :, None] < ranks[:, None, :]].mean())


def train(trick: bool, rate: float, outputs: int, epochs: int, seed: int) -> tuple[float, float, int]:
    """Accuracy on the training pairs, on new pairs, and outputs read: one element per prompt, or shuffled pairs."""
    rng = np.random.default_rng(seed)
    x, ranks = rankings(60, outputs, rng)
    fresh, fresh_ranks = rankings(300, outputs, rng)
    net = Net(rng)
    elements = [(p, ranking_pairs(list(ranks[p]))) for p in range(60)]
    if not trick:
        elements = [(p, [pair]) for p, pairs in elements for pair in pairs]
    for _ in range(epochs):
        for e in rng.permutation(len(elements)):
            prompt, pairs = elements[e]
            if trick:
                net.step(x[prompt], pairs, rate)
            else:
                winner, loser = pairs[0]
                net.step(x[prompt][[winner, loser]], [(0, 1)], rate)
    return pair_accuracy(net, x, ranks), pair_accuracy(net, fresh, fresh_ranks), net.forwards // (60 * epochs)


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 4: Bradley-Terry and the batching trick")
    parser.add_argument("--shift", type=sheet.number(-100, 100), default=0.0, help="add this to all scores")
    parser.add_argument("--tie", action="store_true", help="items 2 and 3 are tied")
    parser.add_argument("--k", type=sheet.whole(2, 9), default=6, help="outputs in a ranking, for the trick")
    parser.add_argument("--epochs", type=sheet.whole(1, 5), default=1)
    parser.add_argument("--seed", type=sheet.whole(0, 10**6), default=0)
    args = parser.parse_args(argv)

    ranks = [1, 2, 2, 3] if args.tie else [1, 2, 3, 4]
    scores = [score + args.shift for score in SCORES]
    print("pair             lead   sigmoid    loss")
    for i, j in ranking_pairs(ranks):
        p = float(sigmoid(scores[i] - scores[j]))
        print(f"{scores[i]:5.1f} > {scores[j]:5.1f}   {scores[i] - scores[j]:6.1f}   {p:7.3f}   {-np.log(p):.3f}")
    print(f"mean of {len(ranking_pairs(ranks))} pairs: {ranking_loss(scores, ranks):.6f}\n")
    print(f"K = 5, scores {FIVE}: {len(ranking_pairs([1, 2, 3, 4, 5]))} pairs; the pair (1.5, 0.2) costs "
          f"{ranking_loss([1.5, 0.2], [1, 2]):.3f}")  # fmt: skip
    print("demonstrations score 0.7 on average; shifted, the four are "
          + " ".join(f"{s:+.1f}" for s in centred(scores, [0.6, 0.8])) + "\n")  # fmt: skip

    print(
        f"60 rankings of {args.k}, {args.epochs} epoch(s), mean of 4 seeds; * is the best learning rate for new pairs"
    )
    print("                                rate   training   new pairs     gap   outputs read per prompt and epoch")
    for trick in (True, False):
        name, formula = ("one element per prompt", "K") if trick else ("shuffled pairs", "K(K-1)")
        rows = []
        for rate in (0.01, 0.03, 0.1):
            runs = [train(trick, rate, args.k, args.epochs, args.seed + s) for s in range(4)]
            rows.append((rate, *(float(np.mean([run[column] for run in runs])) for column in (0, 1)), runs[0][2]))
        best = max(rows, key=lambda row: row[2])
        for row in rows:
            rate, own, new, read = row
            mark = "*" if row is best else " "
            print(f"{name:<24}   {mark} {rate:6.2f} {own:10.3f}  {new:10.3f}  {own - new:6.3f}   {read:4d} = {formula}")
    curve = [(lead / 10, ranking_loss([lead / 10, 0.0], [1, 2])) for lead in range(-40, 41)]
    sheet.plot(args.plot, "What a pair costs", "winner's score - loser's score", "loss", {"-log sigmoid": curve})
    print(
        "\nAdd 7 to every score and the loss is the same (--shift 7). Then what does a reward of 2.3 mean, and to whom?"
    )


assert round(ranking_loss(SCORES, [1, 2, 3, 4]), 6) == 0.277853
assert round(ranking_loss(SCORES, [1, 2, 2, 3]), 6) == 0.245926
assert round(ranking_loss([1.5, 0.2], [1, 2]), 3) == 0.241

if __name__ == "__main__":
    sheet.run(main)
