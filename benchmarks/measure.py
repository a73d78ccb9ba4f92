"""Which steps were disturbed, and what the others say: rates, ratios, spreads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.process import Step

PROBE_SHARE = 0.8  # of the machine's usual probe: below, something else had the processor
CPU_SHARE = 0.9  # of the wall time: below, the process itself was kept waiting inside the step


def is_clean(step: Step, usual_probe: float) -> bool:
    probe = min(step.probe_before, step.probe_after)
    return probe >= PROBE_SHARE * usual_probe and step.cpu >= CPU_SHARE * step.wall


def usual_probe(steps: Sequence[Step]) -> float:
    """The probe of an undisturbed machine: the ninth decile, as the single best may be a burst of the clock."""
    probes = sorted(probe for step in steps for probe in (step.probe_before, step.probe_after))
    return probes[int(0.9 * (len(probes) - 1))]


def wall(step: Step) -> float:
    return step.wall


def cpu(step: Step) -> float:
    return step.cpu


def flops_per_second(steps: Sequence[Step], seconds: Callable[[Step], float] = wall) -> float:
    return sum(step.work.flops for step in steps) / sum(seconds(step) for step in steps)


@dataclass(frozen=True)
class Comparison:
    """Ours over the peer's, round by round. All None where no round had steps of both that count."""

    ratio: float | None
    spread: tuple[float, float] | None  # the lowest and the highest round
    ours: float | None  # needed FLOP/s, the median round
    peer: float | None
    n: int  # rounds

    @classmethod
    def of(
        cls, rounds: Sequence[tuple[Sequence[Step], Sequence[Step]]], seconds: Callable[[Step], float] = wall
    ) -> Comparison:
        """rounds: the steps of ours and of the peer that count, one pair per round; a round without either is out.

        Rates are of needed FLOPs, so that a step of long examples is not taken for a slow one.
        """
        both = [
            (flops_per_second(ours, seconds), flops_per_second(peer, seconds)) for ours, peer in rounds if ours and peer
        ]
        if not both:
            return cls(None, None, None, None, 0)
        ratios = [ours / peer for ours, peer in both]
        return cls(
            ratio=median(ratios),
            spread=(min(ratios), max(ratios)),
            ours=median(ours for ours, _ in both),
            peer=median(peer for _, peer in both),
            n=len(both),
        )
