"""What a verifier says of one response: a score and the reason. One that fails is an error, and never a score of 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rather.errors import RatherError


@dataclass(frozen=True)
class Verdict:
    """score: from 0, wrong, to 1, right, unless weights say otherwise      reason: one line a person can check

    parts: of a weighted sum, what each verifier said
    """

    score: float
    reason: str
    parts: Mapping[str, Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert math.isfinite(self.score), f"a score of {self.score}"


class VerifierFailed(RatherError):
    """A verifier could not judge. The caller saves the sample: it is all here."""

    def __init__(self, verifier: str, response: str, case: Mapping[str, Any], why: str) -> None:
        self.verifier, self.response, self.case = verifier, response, case
        name = f" (case {case['id']!r})" if "id" in case else ""
        super().__init__(
            f"The verifier {verifier!r} could not judge a response{name}: {why}",
            "This is no reward of 0: nothing is known about the response.",
            "Mend the case or the verifier, and go on with --resume.",
        )


def right_or_wrong(right: bool, reason: str) -> Verdict:
    return Verdict(1.0 if right else 0.0, reason)


def shown(text: str, most: int = 60) -> str:
    """A quotation of a response for a reason: one line, cut, control characters written out."""
    cut = text if len(text) <= most else text[: most - 3] + "..."
    return repr(cut)
