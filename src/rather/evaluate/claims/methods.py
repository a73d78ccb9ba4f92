"""Claims 29 to 32: other methods, another critic, another round."""

from __future__ import annotations

from collections.abc import Sequence

from rather.evaluate.claims.evidence import Evidence
from rather.evaluate.claims.figures import Figure, Verdict, at_least, more_than, undecided, verdict
from rather.evaluate.claims.optimisation import ends

FIRST = 10  # iterations in which a critic's beginning shows


def dpo_drifts(run: Evidence) -> Verdict:
    """At the highest reward that both reached: each where it first did, between the two steps around that place."""
    curves = {name: run.curve(name, "objective/scores", "objective/kl") for name in ("ppo", "dpo")}
    if lost := [name for name, curve in curves.items() if max(kl for _, kl in curve) <= 0]:
        return undecided(f"{lost[0]} did not move from where it began")
    start = max(curve[0][0] for curve in curves.values())
    common = min(max(score for score, _ in curve) for curve in curves.values())
    if common <= start:
        return undecided(f"the two have no reward above {start:.2f} in common")
    kl = {name: kl_at(common, curve) for name, curve in curves.items()}
    return verdict(more_than("KL of DPO - KL of PPO", Figure(kl["dpo"] - kl["ppo"])), note=f"at reward {common:.2f}")


def kl_at(reward: float, curve: Sequence[tuple[float, ...]]) -> float:
    """On a straight line between the steps: DPO is asked seldom, and the first step past the reward is far past it."""
    at = next(at for at, (score, _) in enumerate(curve) if score >= reward)
    (score, kl), (before, less) = curve[at], curve[max(at - 1, 0)]
    return less + (kl - less) * ((reward - before) / (score - before) if score > before else 1.0)


def grpo_learns(run: Evidence) -> Verdict:
    first, last = ends(run.curve("grpo", "val/scores"))
    return verdict(at_least("accuracy rises by", Figure(last - first), 0.3), note=f"{first:.2f} to {last:.2f}")


def critic_from_reward(run: Evidence) -> Verdict:
    losses = [run.curve(name, "loss/value_avg")[:FIRST] for name in ("ppo", "ppo-random-value")]
    ours, theirs = (sum(loss for (loss,) in curve) / len(curve) for curve in losses)
    return verdict(more_than("random's value loss - ours", Figure(theirs - ours)), note=f"{ours:.3f} and {theirs:.3f}")


def rounds_help(run: Evidence) -> Verdict:
    return verdict(more_than("U*, round 2 - round 1", Figure.of(run.wins("ppo-2", "ppo")["gold"])))
