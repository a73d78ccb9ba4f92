"""Lab 5. Advantages and the clip, by hand.

PPO asks two questions of every token: was it better than expected (the advantage), and has the policy already moved far
enough on it (the clip). Both are a line of arithmetic; here they are written out.
"""

from __future__ import annotations

import math

import sheet

REWARDS = [-0.01, 0.02, 0.0, 1.0]  # four tokens: the KL penalty on each, the score on the last
VALUES = [0.5, 0.4, 0.3, 0.6]  # what the critic expected before each


def advantage(reward: float, baseline: float) -> float:
    """How much better than expected."""
    return reward - baseline


def gae(rewards: list[float], values: list[float], gae_lambda: float, gamma: float = 1.0) -> list[float]:
    """Generalised advantages of one response, from the last token to the first (Schulman et al. 2016).

    delta_t = r_t + gamma V_t+1 - V_t        A_t = delta_t + gamma lambda A_t+1        after the last token V is 0
    """
    advantages = []
    next_value = next_advantage = 0.0
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        delta = reward + gamma * next_value - value
        next_advantage = delta + gamma * gae_lambda * next_advantage
        next_value = value
        advantages.append(next_advantage)
    return advantages[::-1]


def returns(advantages: list[float], values: list[float]) -> list[float]:
    """What the critic is fitted to: advantage + value, before any whitening."""
    return [a + v for a, v in zip(advantages, values, strict=True)]


def whiten(values: list[float], unbiased: bool) -> list[float]:
    """Mean 0, variance 1; the variance divides by n - 1 (unbiased) or by n."""
    n = len(values)
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / (n - 1 if unbiased else n)
    return [(v - mean) / math.sqrt(variance + 1e-8) for v in values]


def clip(ratio: float, clip_range: float) -> float:
    """The ratio, kept within 1 - c and 1 + c."""
    return min(max(ratio, 1 - clip_range), 1 + clip_range)


def ppo_policy_loss(ratio: float, advantage: float, clip_range: float = 0.2) -> float:
    """max(-A ratio, -A clip(ratio)) for one token: the worse of the two, so that the clip never flatters."""
    return max(-advantage * ratio, -advantage * clip(ratio, clip_range))


def surrogate_gradient(ratio: float, advantage: float, clip_range: float = 0.2) -> float:
    """Slope of the surrogate, which is minus the loss, for the ratio: A, or 0 where the clip took it away."""
    held = -advantage * clip(ratio, clip_range) > -advantage * ratio
    return 0.0 if held else advantage


def best_step(probability: float, advantage: float, rate: float, steps: int, clip_range: float) -> float:
    """Where a token's probability ends: gradient steps on its logit against all other tokens, one sample of it."""
    logit = math.log(probability / (1 - probability))
    p = probability
    for _ in range(steps):
        ratio = p / probability
        # d ratio / d logit = ratio (1 - p)
        logit += rate * surrogate_gradient(ratio, advantage, clip_range) * ratio * (1 - p)
        p = 1 / (1 + math.exp(-logit))
    return p


def row(name: str, numbers: list[float], digits: int = 4) -> None:
    print(f"{name:<28}" + " ".join(f"{number:{digits + 5}.{digits}f}" for number in numbers))


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 5: advantages and the clip, by hand")
    parser.add_argument("--gae-lambda", type=sheet.number(0, 1), default=0.95, help="0: one step ahead, 1: to the end")
    parser.add_argument("--clip", type=sheet.number(0, 1), default=0.2, help="the paper's is 0.2")
    parser.add_argument("--steps", type=sheet.whole(0, 1000), default=200, help="gradient steps on one rollout")
    parser.add_argument("--rate", type=sheet.number(0, 10), default=0.05, help="learning rate of those steps")
    args = parser.parse_args(argv)

    print("one response, one baseline")
    for reward, baseline in ((1.85, 1.20), (2.3, 1.7), (0.8, 1.7)):
        print(f"  reward {reward:.2f}, expected {baseline:.2f}: advantage {advantage(reward, baseline):+.2f}")

    print(f"\nfour tokens, lambda {args.gae_lambda:g}")
    advantages = gae(REWARDS, VALUES, args.gae_lambda)
    row("rewards", REWARDS)
    row("values", VALUES)
    row("advantages", advantages)
    row("returns", returns(advantages, VALUES))
    row("advantages at lambda 1", gae(REWARDS, VALUES, 1.0))
    row("whitened, over n", whiten(advantages, unbiased=False), 6)
    row("whitened, over n - 1", whiten(advantages, unbiased=True), 6)

    print(f"\nthe clip at {args.clip:g}: slope of the surrogate where the ratio is already ...")
    ratios = [0.5, 1 - args.clip, 1.0, 1 + args.clip, 1.5, 1 + args.clip + 0.01, 1 - args.clip - 0.01]
    print("   ratio      A = +1      A = -1")
    for ratio in sorted(set(ratios)):
        up, down = (surrogate_gradient(ratio, sign, args.clip) for sign in (1, -1))
        print(f"{ratio:8.2f}    {up:8.1f}    {down:8.1f}")

    print(f"\none rollout, {args.steps} steps at rate {args.rate:g}: where a token's probability goes")
    print(" advantage    from      to    ratio   edge of the clip   KL in nats")
    for p, sign in ((0.01, 1), (0.01, -1), (0.9, 1), (0.9, -1)):
        to = best_step(p, sign, args.rate, args.steps, args.clip)
        edge = min(p * clip(1 + sign, args.clip), 1.0)
        far = to * math.log(to / p) + (1 - to) * math.log((1 - to) / (1 - p))
        print(f"{sign:+10d} {p:7.2f}  {to:6.4f}   {to / p:6.3f}   {edge:16.4f}   {far:10.5f}")
    surrogate = {
        f"A = {sign:+d}": [(r / 100, -ppo_policy_loss(r / 100, sign, args.clip)) for r in range(50, 151)]
        for sign in (1, -1)
    }
    sheet.plot(args.plot, "The clipped surrogate", "ratio", "surrogate", surrogate)
    print(
        "\nOne clip for all: the rare token may gain 0.002, the common one reaches no edge. Does the clip bound the KL?"
    )


assert [round(a, 4) for a in gae(REWARDS, VALUES, 0.95)] == [0.4277, 0.5660, 0.6800, 0.4000]
assert [round(r, 4) for r in returns(gae(REWARDS, VALUES, 0.95), VALUES)] == [0.9277, 0.9660, 0.9800, 1.0]
assert [round(a, 2) for a in gae(REWARDS, VALUES, 1.0)] == [0.51, 0.62, 0.70, 0.40]

if __name__ == "__main__":
    sheet.run(main)
