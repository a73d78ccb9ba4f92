"""Several runs of one story are several seeds: one line for each claim, with the verdict of each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rather.diagnose.over_runs import Outcome, mean, one_run, overall, together
from rather.diagnose.reading import Number
from rather.evaluate.claims import CLAIMS, Claim, decided
from rather.evaluate.claims.evidence import Evidence
from rather.evaluate.claims.figures import Figure, Verdict


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
        found = mean([number for of in self.verdicts if (number := _number(of)) is not None])
        return None if found is None else Figure(found.value, found.interval, found.n)

    def to_dict(self, runs: Sequence[str]) -> dict[str, Any]:
        return {
            "claim": self.claim.number,
            "sentence": self.claim.sentence,
            "criterion": self.claim.criterion,
            **together(runs, [one_run(of.outcome, _number(of), of.why) for of in self.verdicts]),
        }


def _number(of: Verdict) -> Number | None:
    return None if of.figure is None else Number(of.figure.value, of.figure.interval, of.figure.n)


def table(runs: Sequence[Evidence]) -> list[Line]:
    """Every claim, decided or not."""
    return [Line(claim, tuple(decided(claim, run) for run in runs)) for claim in CLAIMS]
