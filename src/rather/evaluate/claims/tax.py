"""Claims 18 to 20: what alignment costs on the benchmarks, and what gives it back."""

from __future__ import annotations

from rather.evaluate.claims.evidence import Evidence, own_beta, part
from rather.evaluate.claims.figures import Figure, Part, Verdict, at_least, minus, more_than, undecided, verdict
from rather.evaluate.naming import BETAS, beta_folder
from rather.statistics import paired_difference

TAX = 0.1  # lost points that count


def lost(run: Evidence, name: str, to: str = "base-s") -> dict[str, Figure]:
    """benchmark -> what the model got less than the other, paired by question."""
    ours, theirs = part(run, name, "grades"), part(run, to, "grades")
    return {
        task: Figure.of(paired_difference(theirs[task], of, range(len(of)), scale=(0, 1)).to_dict())
        for task, of in ours.items()
        if task in theirs and len(theirs[task]) == len(of)
    }


def ppo_pays(run: Evidence) -> Verdict:
    tax = sorted(lost(run, "ppo").items(), key=lambda item: -item[1].value)
    words = ", ".join(f"{task} {of.value:+.2f}" for task, of in tax)
    return verdict(at_least("second largest loss", tax[1][1], TAX), note=f"lost: {words}")


def ptx_recovers(run: Evidence) -> Verdict:
    taxed = [task for task, of in lost(run, "ppo").items() if of.value >= TAX]
    if not taxed:
        return undecided("PPO lost nothing that could come back")
    back = _mean(lost(run, "ppo", "ppo-ptx"), taxed)
    gone = _mean(lost(run, "ppo"), taxed)
    wins = [Figure.of(run.wins(name, "sft-s")["training"]) for name in ("ppo-ptx", "ppo")]
    change = minus(*wins)
    return verdict(
        at_least("recovered", Figure(back.value / gone.value, n=back.n), 0.6),
        Part(
            "win rate over SFT",
            f"win rate over SFT {change.value:+.3f} (within 0.03)",
            change,
            abs(change.value) <= 0.03,
        ),
        note=f"on {', '.join(taxed)}",
    )


def beta_does_not(run: Evidence) -> Verdict:
    taxed = [task for task, of in lost(run, "ppo").items() if of.value >= TAX]
    if not taxed:
        return undecided("PPO lost nothing that could come back")
    beta = BETAS[-1] * own_beta(run)
    below = _mean(lost(run, beta_folder(beta), "ppo-ptx"), taxed)
    return verdict(more_than(f"ptx - beta {beta:g}", below), note=f"on {', '.join(taxed)}")


def _mean(losses: dict[str, Figure], tasks: list[str]) -> Figure:
    """Of benchmarks with questions of their own: variances add up."""
    chosen = [losses[task] for task in tasks]
    value = sum(of.value for of in chosen) / len(chosen)
    halves = [((of.interval[1] - of.interval[0]) / 2) ** 2 for of in chosen if of.interval]
    half = sum(halves) ** 0.5 / len(chosen)
    return Figure(value, (value - half, value + half), sum(of.n or 0 for of in chosen))
