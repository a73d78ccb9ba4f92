"""Verifiers: programs that tell a right response from a wrong one, for GRPO, best-of-N and evaluation. No torch.

    verdict = number("It costs 12 + 30 = $42.", "42")      # verdict.score 1.0, verdict.reason in words
    reward = weighted({"python": 1.0, "pattern": 0.1})     # reward(response, case) -> Verdict

A verifier that cannot judge raises; it never gives 0 for want of knowing.
"""

from rather.verifiers.code import python
from rather.verifiers.instructions import INSTRUCTIONS, follows, ifeval
from rather.verifiers.named import VERIFIERS, Verifier, weighted
from rather.verifiers.numbers import number
from rather.verifiers.sandbox import Limits
from rather.verifiers.schema import json_schema
from rather.verifiers.verdicts import Verdict, VerifierFailed
from rather.verifiers.words import choice, exact, pattern

__all__ = [
    "INSTRUCTIONS",
    "VERIFIERS",
    "Limits",
    "Verdict",
    "Verifier",
    "VerifierFailed",
    "choice",
    "exact",
    "follows",
    "ifeval",
    "json_schema",
    "number",
    "pattern",
    "python",
    "weighted",
]
