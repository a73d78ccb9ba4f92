"""Verifiers by name, and several of them weighed into one reward.

    reward = weighted({"number": 1.0, "pattern": 0.2})
    reward("The answer is 42.", {"answer": "42", "pattern": "answer"})       # Verdict(score=1.2, ...)

A case is the record of a prompt: each verifier takes the fields it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from rather.errors import BadRecord, BadSetting, NotReady, nearest
from rather.verifiers.code import python
from rather.verifiers.instructions import ifeval
from rather.verifiers.numbers import number
from rather.verifiers.schema import json_schema
from rather.verifiers.verdicts import Verdict, VerifierFailed
from rather.verifiers.words import choice, exact, pattern

Verifier = Callable[[str, Mapping[str, Any]], Verdict]  # (response, case)


def _field(case: Mapping[str, Any], name: str) -> Any:
    if case.get(name) is None:
        raise BadRecord(f"the case has no {name!r}", f"It has {', '.join(map(repr, case)) or 'nothing'}.")
    return case[name]


VERIFIERS: Mapping[str, Verifier] = {
    "number": lambda response, case: number(response, _field(case, "answer"), case.get("tolerance", 1e-6)),
    "choice": lambda response, case: choice(response, _field(case, "answer"), case.get("choices", ())),
    "exact": lambda response, case: exact(response, _field(case, "answer")),
    "pattern": lambda response, case: pattern(response, _field(case, "pattern")),
    "json_schema": lambda response, case: json_schema(response, _field(case, "schema")),
    "python": lambda response, case: python(response, _field(case, "tests")),
    "ifeval": lambda response, case: ifeval(response, _field(case, "instruction_id_list"), _field(case, "kwargs")),
}


def weighted(weights: Mapping[str, float], more: Mapping[str, Verifier] | None = None) -> Verifier:
    """One reward of several verifiers: the sum of weight times score, with what each of them said in `parts`.

    more: verifiers of your own, by name; a reward model or a world's checker is one as well
    A verifier that raises, or gives what is no verdict, raises VerifierFailed with the response and the case.
    """
    known = {**VERIFIERS, **(more or {})}
    for name, weight in weights.items():
        if name not in known:
            raise BadSetting(f"There is no verifier {name!r}.{nearest(name, known)}", f"Known: {', '.join(known)}.")
        if not math.isfinite(weight):
            raise BadSetting(f"The weight of {name!r} is {weight}.", "Expected a number.")
    if not weights:
        raise BadSetting("No verifier is named.", f"Expected one or more of {', '.join(known)}, with weights.")

    def reward(response: str, case: Mapping[str, Any]) -> Verdict:
        parts = {name: _judged(name, known[name], response, case) for name in weights}
        score = sum(weights[name] * verdict.score for name, verdict in parts.items())
        words = [f"{name} {verdict.score:g} x {weights[name]:g}: {verdict.reason}" for name, verdict in parts.items()]
        return Verdict(score, "; ".join(words), parts)

    return reward


def _judged(name: str, verifier: Verifier, response: str, case: Mapping[str, Any]) -> Verdict:
    try:
        verdict = verifier(response, case)
    except NotReady:
        raise  # the machine cannot run it for anybody: not this sample's doing
    except Exception as error:  # whatever a verifier raises is told with its sample; a score would hide it
        why = str(error).partition("\n")[0] if isinstance(error, BadRecord) else f"{type(error).__name__}: {error}"
        raise VerifierFailed(name, response, case, why) from error
    if not isinstance(verdict, Verdict):
        raise VerifierFailed(name, response, case, f"it gave {type(verdict).__name__} and not a Verdict")
    return verdict
