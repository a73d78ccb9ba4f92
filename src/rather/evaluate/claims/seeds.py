"""Several runs of one story are several seeds: one line for each claim, with the verdict of each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rather.diagnose.over_runs import Outcome, mean, one_run, overall, together
from rather.diagnose.reading import Number, Row
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
        found = mean([_said(of) for of in self.verdicts])
        return None if found is None else Figure(found.value, found.interval, found.n)

    def to_dict(self, runs: Sequence[str]) -> dict[str, Any]:
        return {
            "claim": self.claim.number,
            "sentence": self.claim.sentence,
            "criterion": self.claim.criterion,
            **together(runs, [_said(of) for of in self.verdicts]),
        }


def _said(of: Verdict) -> Row:
    number = None if of.figure is None else Number(of.figure.value, of.figure.interval, of.figure.n)
    return one_run(of.outcome, number, of.of, of.why)


def table(runs: Sequence[Evidence]) -> list[Line]:
    """Every claim, decided or not."""
    return [Line(claim, tuple(decided(claim, run) for run in runs)) for claim in CLAIMS]
