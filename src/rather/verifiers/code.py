"""Python that is tested: the code of a response, run against tests where it can do no harm."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rather.errors import BadRecord
from rather.verifiers.sandbox import Limits, run
from rather.verifiers.verdicts import Verdict

FENCE = re.compile(r"```[ \t]*(?:python|py|python3|Python)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.S)


def python(
    response: str,
    tests: str | Sequence[str],
    share: bool = False,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
) -> Verdict:
    """1 where the response's code passes every test; with `share`, the share of tests it passes.

    The code is the last fence of the response that holds Python, or all of it where there is none. A test is Python
    that raises where the code is wrong: "assert f(2) == 4". Only the standard library is there.
    """
    listed = [tests] if isinstance(tests, str) else list(tests)
    if not listed or not all(isinstance(test, str) and test.strip() for test in listed):
        raise BadRecord("there are no tests", "Expected Python that asserts, as a text or a list of texts.")
    outcome = run(code_of(response), listed, limits)
    passed = f"{outcome.passed} of {outcome.of} tests passed"
    score = outcome.passed / outcome.of if share else float(outcome.passed == outcome.of)
    return Verdict(score, f"{passed}: {outcome.why}" if outcome.why else passed)


def code_of(response: str) -> str:
    fences = FENCE.findall(response)
    return fences[-1] if fences else response
