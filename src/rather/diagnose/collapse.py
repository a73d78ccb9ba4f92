"""Does the policy still say different things? The third of the three failures: mode collapse."""

from __future__ import annotations

from rather.diagnose.evidence import Evidence, Finding, undecided, words_of
from rather.diagnose.reading import Number

QUESTION = "collapse"
ENTROPY, OPENING = "policy/entropy_avg", "response/top_opening"
DO = "look at the answers with rather look, raise kl_coef, mix in pretraining text, or stop earlier"


def collapse(evidence: Evidence) -> Finding:
    if evidence.has(OPENING):
        top = evidence.change(OPENING)
        level = evidence.level(OPENING)
        if top.up(evidence.sure) and level.value > max(evidence.limits.opening, 2 * top.before):
            words = (
                f"Mode collapse: {words_of(level, share=True)} of the answers begin alike, {100 * top.before:.0f} % did"
            )
            return _ill(words, level)
    if evidence.has(ENTROPY):
        left, number = _left(evidence)
        first = float(evidence.values(ENTROPY)[0])
        fell = number.interval is not None and number.interval[1] < first
        said = f"{words_of(number)} nats a token, {100 * left:.0f} % of the {first:.2f} it began with"
        if fell and left < evidence.limits.entropy:
            return _ill(f"Mode collapse: the entropy is {said}", number)
        if fell and left < 0.7:
            words = f"No collapse, but answers are much sharper: the entropy is {said}{_many(evidence)}"
            return Finding(QUESTION, "watch", words, "compare the models at temperature 0.5 too", number)
        return Finding(QUESTION, "well", f"No mode collapse: the entropy is {said}{_many(evidence)}", figure=number)
    return _measured(evidence)


def _ill(words: str, number: Number) -> Finding:
    return Finding(QUESTION, "ill", words, DO, number, "distribution", cause=6, name="mode collapse")


def _left(evidence: Evidence) -> tuple[float, Number]:
    """Beside the first iteration, in which nothing had moved: entropy jumps when a policy is first pushed."""
    first, level = float(evidence.values(ENTROPY)[0]), evidence.level(ENTROPY)
    return (level.value / first if first > 0 else 1.0), level


def _many(evidence: Evidence) -> str:
    """Openings of many answers to one prompt, where they were measured."""
    now, then = evidence.measured("diversity", "distinct"), evidence.measured_before("diversity", "distinct")
    if now is None or then is None:
        return ""
    return f"; many answers to one prompt have {now.value:.0f} openings, those of {evidence.before} {then.value:.0f}"


def _measured(evidence: Evidence) -> Finding:
    now, then = evidence.measured("diversity", "entropy"), evidence.measured_before("diversity", "entropy")
    if now is None or then is None or then.value <= 0:
        return undecided(QUESTION, "neither entropy nor openings were measured", "rather world measure RUN")
    left = now.value / then.value
    words = (
        f"the entropy is {words_of(now)} nats a token, {100 * left:.0f} % of that of {evidence.before}{_many(evidence)}"
    )
    if left < evidence.limits.entropy and now.less(then).beside(0) < 0:
        return _ill(f"Mode collapse: {words}", now)
    return Finding(QUESTION, "well", f"No mode collapse: {words}", figure=now)
