"""Lab 6. The leash: the full PPO-ptx objective, and who holds beta.

objective = reward - beta * sum of log(policy / reference) + gamma * log-likelihood of pretraining text   (3.5, eq. 2)

First seven tokens by hand. Then a softmax policy over ten answers, one of which the reward model loves and people hate:
a sweep of beta, and beta left to a controller, which can be fooled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import sheet

LOGPROBS = [-0.15, -0.30, -0.05, -0.10, -0.08, -0.20, -0.03]
REF_LOGPROBS = [-0.20, -0.45, -0.06, -0.12, -0.10, -0.80, -0.04]

ANSWERS = 10
REFERENCE = [0.11] * 9 + [0.01]  # the last answer is the exploit: rare before training
REWARD = [0.1 * k for k in range(9)] + [3.0]
UTILITY = [0.1 * k for k in range(9)] + [-1.0]


def log_ratios(logprobs: list[float], ref_logprobs: list[float]) -> list[float]:
    """log(policy / reference) of each token; their sum is the response's KL in nats, as one sample of it (k1)."""
    return [p - q for p, q in zip(logprobs, ref_logprobs, strict=True)]


def shaped_rewards(score: float, logprobs: list[float], ref_logprobs: list[float], kl_coef: float) -> list[float]:
    """What PPO sees: -beta times the log-ratio at every token, and the score at the last one (3.5)."""
    rewards = [-kl_coef * ratio for ratio in log_ratios(logprobs, ref_logprobs)]
    rewards[-1] += score
    return rewards


def objective(score: float, kl: float, kl_coef: float, pretraining: float = 0.0, ptx_coef: float = 0.0) -> float:
    """Equation 2 for one response. pretraining: log-likelihood of pretraining text."""
    return score - kl_coef * kl + ptx_coef * pretraining


@dataclass(frozen=True)
class FixedKL:
    """beta stays what it is: 0.02 in the paper (C.4)."""

    kl_coef: float

    def update(self, kl: float, episodes: int) -> FixedKL:
        return self


@dataclass(frozen=True)
class AdaptiveKL:
    """beta follows the KL (Ziegler et al. 2019, 2.2), by at most 20 % per horizon of episodes; not in the paper."""

    kl_coef: float
    target: float = 6.0
    horizon: int = 10_000
    floor: float = 0.0

    def update(self, kl: float, episodes: int) -> AdaptiveKL:
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return replace(self, kl_coef=max(self.kl_coef * (1 + error * episodes / self.horizon), self.floor))


def softmax(logits: list[float]) -> list[float]:
    parts = [math.exp(z - max(logits)) for z in logits]
    total = sum(parts)
    return [part / total for part in parts]


def mean(policy: list[float], values: list[float]) -> float:
    return sum(p * v for p, v in zip(policy, values, strict=True))


def kl(policy: list[float], reference: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(policy, reference, strict=True) if p > 0)


def kl_optimum(reference: list[float], rewards: list[float], beta: float) -> list[float]:
    """reference * exp(reward / beta), normalised."""
    return softmax([math.log(q) + r / beta for q, r in zip(reference, rewards, strict=True)])


def train(
    controller: FixedKL | AdaptiveKL, steps: int, quiet: int, rate: float = 0.5
) -> list[tuple[float, float, float]]:
    """(KL, beta, utility) after each step of exact policy gradient. For `quiet` steps all answers score the same."""
    logits = [math.log(q) for q in REFERENCE]
    path = []
    for step in range(steps):
        policy = softmax(logits)
        rewards = [0.5] * ANSWERS if step < quiet else REWARD
        gains = [r - controller.kl_coef * math.log(p / q) for r, p, q in zip(rewards, policy, REFERENCE, strict=True)]
        expected = mean(policy, gains)
        logits = [z + rate * p * (g - expected) for z, p, g in zip(logits, policy, gains, strict=True)]
        policy = softmax(logits)
        far = abs(kl(policy, REFERENCE))  # rounding may put a KL of 0 just below it
        controller = controller.update(far, episodes=512)
        path.append((far, controller.kl_coef, mean(policy, UTILITY)))
    return path


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 6: the leash")
    parser.add_argument("--beta", type=sheet.number(0, 10), default=0.02, help="the paper's is 0.02")
    parser.add_argument("--gamma", type=sheet.number(0, 100), default=0.1, help="weight of pretraining (paper: 27.8)")
    parser.add_argument("--quiet", type=sheet.whole(0, 400), default=100, help="steps in which nothing is to be gained")
    parser.add_argument("--floor", type=sheet.number(0, 10), default=0.0, help="beta of the controller goes no lower")
    parser.add_argument("--target", type=sheet.number(0.01, 10), default=0.2, help="KL the controller wants, in nats")
    args = parser.parse_args(argv)

    ratios = log_ratios(LOGPROBS, REF_LOGPROBS)
    rewards = shaped_rewards(2.1, LOGPROBS, REF_LOGPROBS, args.beta)
    print("token       log pi   log ref   log ratio   reward (score 2.1 on the last)")
    for token, columns in enumerate(zip(LOGPROBS, REF_LOGPROBS, ratios, rewards, strict=True), start=1):
        p, q, ratio, reward = columns
        print(f"{token:5d}     {p:8.2f}  {q:8.2f}   {ratio:9.2f}   {reward:8.4f}")
    total = sum(ratios)
    print(f"sum of log ratios {total:.2f}; times beta {args.beta:g}: {args.beta * total:.4f}")
    print(f"objective with pretraining log-likelihood -3.2 at weight {args.gamma:g}: "
          f"{objective(2.1, total, args.beta, -3.2, args.gamma):.4f}")  # fmt: skip
    print("(0.1 is what is often printed; the paper's gamma is 27.8, and multiplies gradients)")
    one, other = objective(1.5, 2.4, 0.05), objective(2.0, 12, 0.05)
    print(f"two responses at beta 0.05: reward 1.5 at KL 2.4 gives {one:.2f}, reward 2.0 at KL 12 gives {other:.2f}\n")

    print("ten answers, one an exploit: the best policy at each beta")
    print(" beta   reward      KL   utility   share of the exploit")
    for beta in (0.02, 0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0):
        best = kl_optimum(REFERENCE, REWARD, beta)
        reward, far, utility = mean(best, REWARD), kl(best, REFERENCE), mean(best, UTILITY)
        print(f"{beta:5.2f}   {reward:6.3f}  {far:6.3f}   {utility:7.3f}   {best[-1]:8.3f}")

    steps = args.quiet + 300
    paths = {
        "fixed 1.0": train(FixedKL(1.0), steps, args.quiet),
        "adaptive": train(AdaptiveKL(1.0, args.target, 2560, args.floor), steps, args.quiet),
    }
    print(f"\n{args.quiet} quiet steps, then 300 with something to gain; the controller wants {args.target:g} nats")
    print("           fixed beta                  adaptive beta")
    print(" step     KL    beta  utility       KL      beta  utility")
    later = [args.quiet + step for step in (1, 10, 25, 50, 75, 100, 150, 200, 300)]
    for step in sorted({1, max(args.quiet, 1), *later}):
        a, b = (path[step - 1] for path in paths.values())
        print(f"{step:5d} {a[0]:6.3f}  {a[1]:6.3f}  {a[2]:7.3f}   {b[0]:6.3f}  {b[1]:8.6f}  {b[2]:7.3f}")
    curves = {name: [(step, row[0]) for step, row in enumerate(path)] for name, path in paths.items()}
    sheet.plot(args.plot, "A quiet phase fools the controller", "step", "KL in nats", curves)
    print(
        "\nThe controller reached its target in the end. What did the policy do in between? What would --floor change?"
    )


assert round(sum(log_ratios(LOGPROBS, REF_LOGPROBS)), 2) == 0.86
assert round(objective(2.1, 0.86, 0.02, -3.2, 0.1), 4) == 1.7628
assert (round(objective(1.5, 2.4, 0.05), 2), round(objective(2.0, 12, 0.05), 2)) == (1.38, 1.40)
assert round(AdaptiveKL(0.1).update(12, 512).kl_coef, 6) == 0.101024

if __name__ == "__main__":
    sheet.run(main)
