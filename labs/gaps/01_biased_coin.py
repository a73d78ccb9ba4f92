# Parts to write: softmax, sft_gradient, pair_gradient, kl, kl_optimum, ppo_slope. Check them: rather labs check 01
# ruff: noqa
"""Lab 1. Three stages of a biased coin: all of InstructGPT with three actions and no neural network.

The coin has three sides, A, B and C. What a language model is to words, the policy is to sides: a softmax over three
logits. Stage 1 imitates what labelers do, stage 2 learns what labelers like, stage 3 moves the policy towards what is
liked, on a leash of length beta. With three actions the best policy is known, so stage 3 can be marked like homework.
"""

from __future__ import annotations

import argparse
import math
import random

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # sheet.py lies beside the whole labs

import sheet

ACTIONS = "ABC"
DONE_BY_LABELERS = (0.5, 0.3, 0.2)  # how often labelers show each action
LIKED_BY_LABELERS = (0.0, 0.9, 1.2)  # hidden: they prefer i to j with probability sigmoid(liked_i - liked_j)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(logits: list[float]) -> list[float]:
    """Three numbers become three probabilities."""
    raise SystemExit("To write: softmax: e^logit of each, divided by their sum; take the largest off first")


def sft_gradient(policy: list[float], shown: list[float]) -> list[float]:
    """Slope of the mean of -log policy(action) over demonstrations, for each logit. shown: share of each action."""
    raise SystemExit("To write: sft_gradient: probability minus share shown, for each action")


def pair_gradient(lead: float) -> float:
    """Slope of -log sigmoid(lead) for the winner's score; the loser's is the opposite. lead: winner minus loser."""
    raise SystemExit("To write: pair_gradient: minus the probability that the loser wins")


def kl(policy: list[float], reference: list[float]) -> float:
    """KL(policy || reference) in nats: how far the policy has gone, as the mean log-ratio of its own samples."""
    raise SystemExit("To write: kl: sum of p ln(p / q); an action with p = 0 adds 0")


def kl_optimum(reference: list[float], rewards: list[float], beta: float) -> list[float]:
    """The policy of largest mean reward - beta KL: reference * exp(reward / beta), normalised."""
    raise SystemExit("To write: kl_optimum: reference * e^(reward / beta), divided by its sum: a softmax")


def ppo_slope(ratio: float, advantage: float, clip_range: float = 0.2) -> float:
    """Slope of the loss max(-A ratio, -A clip(ratio)) for the action's log-probability.

    -A ratio where the unclipped part is the larger or they are equal, else 0.
    """
    raise SystemExit("To write: ppo_slope: -A ratio where the unclipped loss is the larger or equal, else 0")


def train_sft(rng: random.Random) -> list[float]:
    """Stage 1: 200 actions that labelers showed; cross-entropy downhill. Returns logits."""
    demonstrations = rng.choices(range(3), DONE_BY_LABELERS, k=200)
    shown = [demonstrations.count(action) / 200 for action in range(3)]
    logits = [0.0, 0.0, 0.0]
    for _ in range(300):
        logits = [z - g for z, g in zip(logits, sft_gradient(softmax(logits), shown), strict=True)]
    return logits


def compare(rng: random.Random) -> list[tuple[int, int]]:
    """500 rankings of two actions: (preferred, other)."""
    pairs = []
    for _ in range(500):
        i, j = rng.sample(range(3), 2)
        first = rng.random() < sigmoid(LIKED_BY_LABELERS[i] - LIKED_BY_LABELERS[j])
        pairs.append((i, j) if first else (j, i))
    return pairs


def train_reward(pairs: list[tuple[int, int]], sft: list[float]) -> list[float]:
    """Stage 2: a score for each action, by Bradley-Terry. Shifted so that what SFT does scores 0 on average (3.5)."""
    scores = [0.0, 0.0, 0.0]
    for _ in range(300):
        slopes = [0.0, 0.0, 0.0]
        for winner, loser in pairs:
            slope = pair_gradient(scores[winner] - scores[loser]) / len(pairs)
            slopes[winner] += slope
            slopes[loser] -= slope
        scores = [s - 4 * g for s, g in zip(scores, slopes, strict=True)]
    mean = sum(p * s for p, s in zip(sft, scores, strict=True))
    return [s - mean for s in scores]


def train_ppo(
    start: list[float], rewards: list[float], beta: float, steps: int, rng: random.Random
) -> list[list[float]]:
    """Stage 3: 512 samples a step, in 8 minibatches of 64 (C.4). Returns the policy after each step."""
    reference, logits, path = softmax(start), list(start), [softmax(start)]
    for _ in range(steps):
        old = softmax(logits)
        actions = rng.choices(range(3), old, k=512)
        # The penalty is part of the reward (3.5, eq. 2): beta times the log-ratio of the action that was taken.
        gained = [rewards[a] - beta * math.log(old[a] / reference[a]) for a in actions]
        baseline = sum(gained) / 512
        for start_at in range(0, 512, 64):
            slopes, now = [0.0, 0.0, 0.0], softmax(logits)
            for a, reward in list(zip(actions, gained, strict=True))[start_at : start_at + 64]:
                slope = ppo_slope(now[a] / old[a], reward - baseline) / 64
                for k in range(3):  # d log p_a / d z_k = [k is a] - p_k
                    slopes[k] += slope * ((k == a) - now[k])
            logits = [z - 0.05 * g for z, g in zip(logits, slopes, strict=True)]
        path.append(softmax(logits))
    return path


def train_dpo(start: list[float], pairs: list[tuple[int, int]], beta: float) -> list[float]:
    """Stages 2 and 3 in one: the pairs move the policy directly, its log-ratios to SFT times beta are the scores."""
    logits = list(start)
    for _ in range(1000):
        slopes = [0.0, 0.0, 0.0]
        for w, loser in pairs:  # the softmax's denominator is the same for both and drops out
            slope = beta * pair_gradient(beta * (logits[w] - start[w] - logits[loser] + start[loser])) / len(pairs)
            slopes[w] += slope
            slopes[loser] -= slope
        logits = [z - 2 / beta**2 * g for z, g in zip(logits, slopes, strict=True)]
    return softmax(logits)


def mean(policy: list[float], values: tuple[float, ...] | list[float]) -> float:
    return sum(p * v for p, v in zip(policy, values, strict=True))


def preferred(policy: list[float], other: list[float]) -> float:
    """Share of labelers who prefer the policy's action to the other's; equal actions are a coin flip."""
    liked = LIKED_BY_LABELERS
    return sum(policy[i] * other[j] * sigmoid(liked[i] - liked[j]) for i in range(3) for j in range(3))


def bug(text: str) -> tuple[int, float]:
    name, _, size = text.partition("=")
    if name not in tuple(ACTIONS) or not size:
        raise argparse.ArgumentTypeError(f"expected an action and what to add, such as B=0.5, found {text!r}")
    return ACTIONS.index(name), sheet.number(-10, 10)(size)


def line(name: str, policy: list[float], rewards: list[float], sft: list[float]) -> str:
    shares = " ".join(f"{p:.3f}" for p in policy)
    reward, far, liked = mean(policy, rewards), kl(policy, sft), preferred(policy, sft)
    return f"{name:>5}  {shares}   {reward:+z.3f}  {far:6.4f}   {liked:.3f}"


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 1: three stages of a biased coin")
    parser.add_argument("--beta", type=sheet.number(0, 100), default=1.0, help="price of a nat of KL (default 1)")
    parser.add_argument("--steps", type=sheet.whole(0, 1000), default=200, help="steps of PPO (default 200)")
    parser.add_argument("--bug", type=bug, metavar="B=0.5", help="a fault in the reward: what it adds to an action")
    parser.add_argument("--dpo", action="store_true", help="also train DPO on the same 500 pairs")
    parser.add_argument("--sweep", action="store_true", help="the best policy at seven betas, with the bug and without")
    parser.add_argument("--seed", type=sheet.whole(0, 10**6), default=0)
    args = parser.parse_args(argv)
    if args.dpo and args.beta < 0.01:
        parser.error("argument --dpo: DPO divides by beta, so it needs --beta 0.01 or more")
    rng = random.Random(args.seed)

    start = train_sft(rng)
    sft = softmax(start)
    pairs = compare(rng)
    right = train_reward(pairs, sft)
    print("            A     B     C")
    print("1 shown   ", *(f"{share:.3f}" for share in DONE_BY_LABELERS), "  by labelers")
    print("  SFT     ", *(f"{p:.3f}" for p in sft), "  learned from 200 demonstrations")
    print("2 liked   ", *(f"{u - mean(sft, LIKED_BY_LABELERS):+.2f}" for u in LIKED_BY_LABELERS), "  by labelers")
    print("  reward  ", *(f"{r:+.2f}" for r in right), "  learned from 500 rankings of two")
    rewards = list(right)
    if args.bug:
        rewards[args.bug[0]] += args.bug[1]
        print("  bug     ", *(f"{r:+.2f}" for r in rewards), f"  {args.bug[1]:+g} on {ACTIONS[args.bug[0]]}")

    if args.sweep:
        print("\n beta    best for this reward   preferred to SFT   without the bug")
        for beta in (0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0):
            best, unharmed = kl_optimum(sft, rewards, beta), kl_optimum(sft, right, beta)
            shares = " ".join(f"{p:.3f}" for p in best)
            liked, otherwise = preferred(best, sft), preferred(unharmed, sft)
            print(f"{beta:5.2f}    {shares}            {liked:.3f}           {otherwise:.3f}")
        print("\nFrom which beta on is the leash short enough to contain the bug, and what does it cost without one?")
        return
    path = train_ppo(start, rewards, args.beta, args.steps, rng)
    print(f"3 PPO at beta {args.beta:g}\n\n step      A     B     C   reward      KL   preferred to SFT")
    for step in sorted({0, args.steps, *(s for s in (1, 5, 20, 50, 100, 200, 500) if s <= args.steps)}):
        print(line(str(step), path[step], rewards, sft))
    if args.beta > 0:
        best = kl_optimum(sft, rewards, args.beta)
        print(line("best", best, rewards, sft))
        print(f"distance to the closed form: {max(abs(p - b) for p, b in zip(path[-1], best, strict=True)):.3f}")
    if args.dpo:
        print(line("DPO", train_dpo(start, pairs, args.beta), rewards, sft))
    curves = {name: [(i, p[k]) for i, p in enumerate(path)] for k, name in enumerate(ACTIONS)}
    sheet.plot(args.plot, "PPO on a biased coin", "step", "share", curves)
    print("\nWith --beta 0 the coin ends on one side, and labelers like it best. What has been lost?")


# The closed form at two points whose values are known.
assert [round(p, 4) for p in kl_optimum([0.5, 0.3, 0.2], [0, 1, 2], 1)] == [0.1790, 0.2919, 0.5291]
assert [round(p, 4) for p in kl_optimum([0.5, 0.3, 0.2], [0, 1, 2], 10)] == [0.4648, 0.3082, 0.2271]

if __name__ == "__main__":
    sheet.run(main)
