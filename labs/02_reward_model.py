"""Lab 2. A reward model from rankings, best-of-N, and an over-optimised reward.

A response is five features between 0 and 1. People weigh them with weights we hide from the reward model; it sees only
how they ranked four responses to each of 200 prompts. Then the reward model picks the best of N samples, and we look at
what people get: first with that reward, then with one that is mis-weighted, then with one that has a hole.
"""

from __future__ import annotations

import math

import numpy as np
import sheet

FEATURES = ("helpful", "truthful", "concise", "relevant", "safe")
TRUE_WEIGHTS = np.array([0.35, 0.25, 0.15, 0.15, 0.10])  # hidden from the reward model
SAMPLES = (1, 4, 16, 64, 256, 1024)
SAID = """
Often printed for 50 epochs: loss 0.51, cosine 0.997, weights at the scale of the truth, accuracy 0.732. The loss says
how many steps an epoch had (--epochs 50 --batch 50 takes 200 steps, to 0.50). Labels without noise let the weights grow
for ever: compare directions, not sizes. And 0.73 is no accuracy on labels without noise, it is the ceiling of noisy
ones (--noise 0.075). Also printed: a mis-weighted reward ruins best-of-256. It does not; a hole in the reward does."""
EXPLOIT = (0.02, 0.6, -0.4)  # share of responses that carry it, what the reward sees in it, what the user gets


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def responses(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(*shape, 5) features, each from Beta(2, 2): middling ones are common, extremes are rare."""
    return rng.beta(2, 2, (*shape, 5))


def beats(ranks: np.ndarray) -> np.ndarray:
    """(P, K) -> (P, K, K) bool: the row's response ranks above the column's; ties form no pair (C.2)."""
    return ranks[:, :, None] < ranks[:, None, :]


def ranking_loss(scores: np.ndarray, ranks: np.ndarray) -> float:
    """Bradley-Terry: the mean of -log sigmoid(winner's score - loser's score) over all pairs. Both (P, K)."""
    lead = scores[:, :, None] - scores[:, None, :]  # (P, K, K)
    return float(-np.log(sigmoid(lead[beats(ranks)])).mean())


def ranking_gradient(features: np.ndarray, ranks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slope of `ranking_loss` for the weights of a linear reward: the mean of -(1 - sigmoid(lead)) (x_w - x_l).

    features: (P, K, 5)     ranks: (P, K)     weights: (5,)
    """
    difference = (features[:, :, None] - features[:, None, :])[beats(ranks)]  # (pairs, 5) winner minus loser
    surprise = 1 - sigmoid(difference @ weights)  # (pairs,) near 0 once the order is learned
    return -(surprise[:, None] * difference).mean(0)


def train_reward(weights: np.ndarray, features: np.ndarray, ranks: np.ndarray, epochs: int, batch: int) -> np.ndarray:
    """(5,) weights after so many epochs more."""
    for _ in range(epochs):
        for start in range(0, len(features), batch):  # all pairs of a prompt in the same step (C.2)
            step = slice(start, start + batch)
            weights = weights - 0.1 * ranking_gradient(features[step], ranks[step], weights)
    return weights


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def pair_accuracy(features: np.ndarray, ranks: np.ndarray, weights: np.ndarray) -> float:
    """Share of pairs the reward orders as the labelers did."""
    scores = features @ weights
    return float((scores[:, :, None] > scores[:, None, :])[beats(ranks)].mean())


def rank(utility: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """(P, K) ranks of labelers who see the utility through logistic noise of this scale."""
    seen = utility + rng.logistic(0, noise, utility.shape) if noise else utility
    return (-seen).argsort(1).argsort(1) + 1


def best_of_n_kl(n: int) -> float:
    """KL in nats of best-of-n from the policy it samples: log n - (n - 1) / n."""
    return math.log(n) - (n - 1) / n


def best_of_n(reward: np.ndarray, utility: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(prompts, N) -> reward and utility, (prompts,) each, of the sample the reward likes best."""
    chosen = reward.argmax(1)[:, None]
    return np.take_along_axis(reward, chosen, 1)[:, 0], np.take_along_axis(utility, chosen, 1)[:, 0]


def optimise(kind: str, learned: np.ndarray, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(reward, utility, win rate against one sample) at each N, for the learned reward or one with a fault."""
    weights = {"learned": learned, "misweighted": TRUE_WEIGHTS * [3, 1, 1, 1, 1], "exploit": TRUE_WEIGHTS}[kind]
    weights, prompts = weights / weights.sum(), 500
    rows = []
    for n in SAMPLES:
        samples = responses((prompts, n), rng)
        reward, utility = samples @ weights, samples @ TRUE_WEIGHTS
        if kind == "exploit":
            share, gain, harm = EXPLOIT
            has = rng.random((prompts, n)) < share
            reward, utility = reward + gain * has, utility + harm * has
        scored, got = best_of_n(reward, utility)
        other = responses((prompts,), rng) @ TRUE_WEIGHTS
        rows.append((float(scored.mean()), float(got.mean()), float((got > other).mean())))
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 2: a reward model from rankings, best-of-N, and an over-optimised reward")
    parser.add_argument("--epochs", type=sheet.whole(1, 5000), default=5000, help="passes over the 200 prompts")
    parser.add_argument("--batch", type=sheet.whole(20, 200), default=200, help="prompts in a step")
    parser.add_argument(
        "--noise", type=sheet.number(0, 5), default=0.0, help="scale of the labelers' noise (try 0.075)"
    )
    parser.add_argument("--leash", type=sheet.number(0, 10), help="find the best N when a nat of KL costs this much")
    parser.add_argument("--seed", type=sheet.whole(0, 10**6), default=0)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(args.seed)

    features, fresh = responses((200, 4), rng), responses((2000, 4), rng)
    ranks = rank(features @ TRUE_WEIGHTS, args.noise, rng)
    fresh_ranks = rank(fresh @ TRUE_WEIGHTS, args.noise, rng)
    print(f"200 prompts, K = 4: {int(beats(ranks).sum())} pairs; labelers' noise {args.noise:g}\n")
    print("epochs   loss   cosine   accuracy on new labels   " + " ".join(f"{name:>8}" for name in FEATURES))
    weights, trained = np.zeros(5), 0
    for epochs in sorted({e for e in (50, 500) if e < args.epochs} | {args.epochs}):
        weights, trained = train_reward(weights, features, ranks, epochs - trained, args.batch), epochs
        loss, accuracy = ranking_loss(features @ weights, ranks), pair_accuracy(fresh, fresh_ranks, weights)
        words = " ".join(f"{w:8.2f}" for w in weights)
        print(f"{epochs:6d}  {loss:.3f}   {cosine(weights, TRUE_WEIGHTS):.4f}   {accuracy:22.3f}   {words}")
    words = " ".join(f"{w:8.2f}" for w in TRUE_WEIGHTS)
    print(f" truth                    {pair_accuracy(fresh, fresh_ranks, TRUE_WEIGHTS):22.3f}   {words}")
    print(SAID)

    kinds = ("learned", "misweighted", "exploit")
    found = {kind: optimise(kind, weights, rng) for kind in kinds}
    print("\nbest of N by the reward: what the reward says, and what people get\n")
    print("             " + "".join(f"{kind:>22}" for kind in kinds))
    print("    N     KL " + "   reward  people   won" * 3)
    for row, n in enumerate(SAMPLES):
        cells = "".join(f"{r:9.2f}{u:8.2f}{w:6.2f}" for r, u, w in (found[kind][row] for kind in kinds))
        print(f"{n:5d}  {best_of_n_kl(n):5.2f} {cells}")
    if args.leash is not None:
        print(f"\non a leash, reward - {args.leash:g} KL, the best N is")
        for kind in kinds:
            held = [row[0] - args.leash * best_of_n_kl(n) for n, row in zip(SAMPLES, found[kind], strict=True)]
            best = int(np.argmax(held))
            print(f"{kind:>12}: {SAMPLES[best]:4d}, and people get {found[kind][best][1]:.2f}")
    curves = {
        f"{kind}: {what}": [(math.sqrt(best_of_n_kl(n)), found[kind][row][column]) for row, n in enumerate(SAMPLES)]
        for kind in ("misweighted", "exploit")
        for column, what in enumerate(("reward", "people"))
    }
    sheet.plot(args.plot, "Best of N: what the reward says and what people get", "sqrt(KL)", "score", curves)
    print(
        "\nThe mis-weighted reward is wrong everywhere, the other in 2 of 100 responses. Why is the second the worse?"
    )


assert [round(best_of_n_kl(n), 4) for n in (2, 4, 16, 64, 256)] == [0.1931, 0.6363, 1.8351, 3.1745, 4.5491]

if __name__ == "__main__":
    sheet.run(main)
