"""Lab 7. The preference curve, and PPO against DPO.

Who says that a policy got better? Labelers, asked again and again: its answer or the SFT model's? A share without its
interval says nothing, so every share here has one. Then PPO and DPO start from one SFT model and one set of comparisons
and are compared where they earn the same reward. The coin is lab 1's, with more sides.
"""

from __future__ import annotations

import math
import random

import sheet

SIDES = 12
SFT = [2 / 18] * 6 + [1 / 18] * 6  # what labelers show; the best actions are the rarer ones
LIKED = [
    0.25 * side for side in range(SIDES)
]  # hidden: i is preferred to j with probability sigmoid(liked_i - liked_j)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def quality_gap(share: float) -> float:
    """The lead in reward at which this share of labelers prefers it: sigmoid, read backwards."""
    return math.log(share / (1 - share))


def wilson(wins: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share (Wilson): unlike share +- error it stays within 0 and 1."""
    share = wins / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def dpo_loss(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float, beta: float) -> float:
    """-log sigmoid of the margin between the implicit rewards beta * log(policy / reference) (Rafailov et al. 2023)."""
    margin = beta * (chosen - ref_chosen) - beta * (rejected - ref_rejected)
    return -math.log(sigmoid(margin))


def best_of_n_cost(n: int, sample: float = 1.0, score: float = 0.1) -> float:
    """What one answer costs when n are sampled and scored."""
    return n * (sample + score)


def best_of_n(policy: list[float], rewards: list[float], n: int) -> list[float]:
    """The distribution of the best of n samples by the reward: P(all n at most this good) - P(all n worse)."""
    return [
        sum(p for p, r in zip(policy, rewards, strict=True) if r <= reward) ** n
        - sum(p for p, r in zip(policy, rewards, strict=True) if r < reward) ** n
        for reward in rewards
    ]


def softmax(logits: list[float]) -> list[float]:
    parts = [math.exp(z - max(logits)) for z in logits]
    total = sum(parts)
    return [part / total for part in parts]


def mean(policy: list[float], values: list[float]) -> float:
    return sum(p * v for p, v in zip(policy, values, strict=True))


def kl(policy: list[float], reference: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(policy, reference, strict=True) if p > 0)


def compare(count: int, rng: random.Random) -> list[tuple[int, int]]:
    """(preferred, other) of samples of the SFT model, as labelers see them; equal ones are skipped."""
    pairs = []
    while len(pairs) < count:
        i, j = rng.choices(range(SIDES), SFT, k=2)
        if i != j:
            pairs.append((i, j) if rng.random() < sigmoid(LIKED[i] - LIKED[j]) else (j, i))
    return pairs


def train_reward(pairs: list[tuple[int, int]]) -> list[float]:
    """Bradley-Terry scores of the pairs, pulled to 0 a little, as one epoch of a real reward model would leave them."""
    scores = [0.0] * SIDES
    for _ in range(300):
        slopes = [0.01 * s for s in scores]
        for winner, loser in pairs:
            surprise = sigmoid(scores[loser] - scores[winner]) / len(pairs)
            slopes[winner] -= surprise
            slopes[loser] += surprise
        scores = [s - 2 * g for s, g in zip(scores, slopes, strict=True)]
    middle = mean(SFT, scores)
    return [s - middle for s in scores]


def ppo_path(rewards: list[float], beta: float, steps: int) -> list[list[float]]:
    """Policies along exact policy gradient on E[reward] - beta KL: what PPO does, without its samples."""
    logits = [math.log(q) for q in SFT]
    path = [list(SFT)]
    for _ in range(steps):
        policy = path[-1]
        gains = [r - beta * math.log(p / q) for r, p, q in zip(rewards, policy, SFT, strict=True)]
        expected = mean(policy, gains)
        logits = [z + p * (g - expected) for z, p, g in zip(logits, policy, gains, strict=True)]
        path.append(softmax(logits))
    return path


def dpo_path(pairs: list[tuple[int, int]], beta: float, steps: int) -> list[list[float]]:
    """Policies along gradient steps on the mean of `dpo_loss` over the pairs."""
    start = [math.log(q) for q in SFT]
    logits, path = list(start), [list(SFT)]
    for _ in range(steps):
        slopes = [0.0] * SIDES
        for w, loser in pairs:  # the softmax's denominator is in both log-probabilities and drops out
            margin = beta * (logits[w] - start[w] - logits[loser] + start[loser])
            slope = sigmoid(-margin) / len(pairs)
            slopes[w] += slope
            slopes[loser] -= slope
        logits = [z + g for z, g in zip(logits, slopes, strict=True)]
        path.append(softmax(logits))
    return path


def ask(policy: list[float], labels: int, rng: random.Random) -> float:
    """How many of these labelers prefer the policy's answer to the SFT model's; the same answer is half a vote."""
    ours, theirs = rng.choices(range(SIDES), policy, k=labels), rng.choices(range(SIDES), SFT, k=labels)
    votes = (
        0.5 if i == j else float(rng.random() < sigmoid(LIKED[i] - LIKED[j])) for i, j in zip(ours, theirs, strict=True)
    )
    return sum(votes)


def at_reward(path: list[list[float]], rewards: list[float], wanted: float) -> list[float] | None:
    """The first policy of the path that earns this reward."""
    return next((policy for policy in path if mean(policy, rewards) >= wanted), None)


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 7: the preference curve, PPO against DPO")
    parser.add_argument("--beta", type=sheet.number(0.05, 10), default=0.1)
    parser.add_argument("--pairs", type=sheet.whole(20, 2000), default=300, help="comparisons (default 300)")
    parser.add_argument("--labels", type=sheet.whole(10, 100_000), default=400, help="votes at each point of the curve")
    parser.add_argument("--n", type=sheet.whole(1, 1024), default=16, help="samples of best-of-n (default 16)")
    parser.add_argument("--seed", type=sheet.whole(0, 10**6), default=0)
    args = parser.parse_args(argv)
    rng = random.Random(args.seed)

    pairs = compare(args.pairs, rng)
    rewards = train_reward(pairs)
    ppo, dpo = ppo_path(rewards, args.beta, 300), dpo_path(pairs, args.beta, 300)
    print(f"PPO, {args.labels} votes at each step: preferred to SFT")
    print(" step   reward      KL   preferred   95 % interval   quality gap   liked (true)")
    curve = []
    for step in (0, 1, 5, 20, 50, 100, 200, 300):
        policy = ppo[step]
        wins = ask(policy, args.labels, rng)
        low, high = wilson(wins, args.labels)
        share = wins / args.labels
        curve.append((step, share))
        reward, far = mean(policy, rewards), kl(policy, SFT)
        start = f"{step:5d}   {reward:z6.3f}  {far:6.3f}   {share:9.3f}   {low:.3f} to {high:.3f}"
        gap = f"{quality_gap(share):11.3f}" if 0 < share < 1 else f"{'endless':>11}"
        print(f"{start}   {gap}   {mean(policy, LIKED):12.3f}")
    print(f"85 % preferred is a lead of {quality_gap(0.85):.4f} in the sigmoid\n")

    print("at the same reward     KL of PPO   KL of DPO   least possible   liked: PPO    DPO")
    for share in (0.25, 0.5, 0.75, 0.9):
        wanted = share * min(mean(ppo[-1], rewards), mean(dpo[-1], rewards))
        by_ppo, by_dpo = at_reward(ppo, rewards, wanted), at_reward(dpo, rewards, wanted)
        # Of all policies with this reward, SFT * exp(reward / beta) is the nearest; its beta is found from above.
        tilts = ([math.log(q) + r * k / 200 for q, r in zip(SFT, rewards, strict=True)] for k in range(20_000))
        nearest = next(p for p in map(softmax, tilts) if mean(p, rewards) >= wanted)
        if by_ppo and by_dpo:
            far = f"{kl(by_ppo, SFT):9.3f}   {kl(by_dpo, SFT):9.3f}   {kl(nearest, SFT):14.3f}"
            print(f"{wanted:18.3f}     {far}   {mean(by_ppo, LIKED):10.3f}  {mean(by_dpo, LIKED):5.3f}")
    best = best_of_n(SFT, rewards, args.n)
    wins = ask(best, args.labels, rng)
    low, high = wilson(wins, args.labels)
    print(
        f"\nbest of {args.n}, no training: an answer costs {best_of_n_cost(args.n):.1f}, at 1 a sample and 0.1 a score;"
    )
    reward, far, share = mean(best, rewards), kl(best, SFT), wins / args.labels
    print(f"reward {reward:.3f} at KL {far:.3f}, preferred {share:.3f} ({low:.3f} to {high:.3f})")
    sheet.plot(args.plot, "Preferred to SFT", "PPO step", "share of votes", {"PPO": curve})
    print("\nBest of 16 needs no training and costs 17.6 for every answer. When is training cheaper, and when safer?")


assert round(quality_gap(0.85), 4) == 1.7346
assert round(best_of_n_cost(16), 1) == 17.6
assert round(dpo_loss(-1.0, -2.0, -1.5, -1.5, 0.1), 6) == 0.644397  # the log-ratio difference is 1
assert tuple(round(end, 4) for end in wilson(70, 100)) == (0.6042, 0.7811)

if __name__ == "__main__":
    sheet.run(main)
