"""Several runs of one story are several seeds: a claim passes when two of three pass (and with fewer runs, all)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rather.evaluate.claims import CLAIMS, Claim, decided
from rather.evaluate.claims.evidence import Evidence
from rather.evaluate.claims.figures import Figure, Outcome, Verdict


def overall(outcomes: Sequence[Outcome]) -> Outcome:
    """Two thirds of the runs have to pass; a run that cannot decide speaks for neither side."""
    needed = -(-2 * len(outcomes) // 3)
    passed, open_ones = outcomes.count("pass"), outcomes.count("not decided")
    return "pass" if passed >= needed else "not decided" if passed + open_ones >= needed else "fail"


@dataclass(frozen=True)
class Line:
    """A claim, and the verdict of each run in their order."""

    claim: Claim
    verdicts: tuple[Verdict, ...]

    @property
    def outcome(self) -> Outcome:
        return overall([verdict.outcome for verdict in self.verdicts])

    @property
    def figure(self) -> Figure | None:
        """The mean over runs, with the outermost ends of their intervals; n of all together."""
        found = [verdict.figure for verdict in self.verdicts if verdict.figure is not None]
        if not found:
            return None
        ends = [of.interval for of in found if of.interval is not None]
        around = (min(low for low, _ in ends), max(high for _, high in ends)) if len(ends) == len(found) else None
        counted = [of.n for of in found if of.n is not None]
        return Figure(sum(of.value for of in found) / len(found), around, sum(counted) if counted else None)

    def to_dict(self, runs: Sequence[str]) -> dict[str, Any]:
        figure = self.figure
        return {
            "claim": self.claim.number,
            "sentence": self.claim.sentence,
            "criterion": self.claim.criterion,
            "outcome": self.outcome,
            **_plain(figure),
            "passed": sum(verdict.outcome == "pass" for verdict in self.verdicts),
            "seeds": len(self.verdicts),
            "runs": {
                run: {"outcome": verdict.outcome, **_plain(verdict.figure), "why": verdict.why}
                for run, verdict in zip(runs, self.verdicts, strict=True)
            },
        }


def _plain(figure: Figure | None) -> dict[str, Any]:
    if figure is None:
        return {"figure": None, "interval": None, "n": None}
    return {"figure": figure.value, "interval": figure.interval, "n": figure.n}


def table(runs: Sequence[Evidence]) -> list[Line]:
    """Every claim, decided or not."""
    return [Line(claim, tuple(decided(claim, run) for run in runs)) for claim in CLAIMS]
