"""Did answers take to hedging, or to lists? Habits that labelers reward and a policy overdoes."""

from __future__ import annotations

import re

from rather.diagnose.evidence import Evidence, Finding, thirds, undecided, words_of
from rather.diagnose.reading import Number
from rather.statistics import wilson

HEDGES = re.compile(
    r"i am not sure|i'm not sure|hard to say|difficult to say|some people think|it depends|as an ai\b|i could be wrong"
    r"|i cannot be (sure|certain)|it is possible that|there is no (single|one) answer|i may be mistaken",
    re.I,
)
LIST = re.compile(r"^\s*(?:[-*\u2022]|\d{1,2}[.:)])\s+\S", re.M)
FEWEST = 20  # answers


def hedging(evidence: Evidence) -> Finding:
    """By what the world sees in measured answers, else by the words of the run's own samples."""
    now, then = evidence.measured("answers", "t1", "hedge"), evidence.measured_before("answers", "t1", "hedge")
    if now is not None and then is not None:
        return _said(evidence, "hedging", "hedge", then, now)
    return _habit(evidence, "hedging", "hedge", HEDGES)


def lists(evidence: Evidence) -> Finding:
    return _habit(evidence, "lists", "are lists", LIST)


def _habit(evidence: Evidence, question: str, do_so: str, pattern: re.Pattern[str]) -> Finding:
    early, late = thirds(evidence.stage.samples)
    if min(len(early), len(late)) < FEWEST:
        return undecided(question, f"samples.jsonl has fewer than {FEWEST} answers of each end of the run")
    then, now = (
        Number.of(wilson(sum(bool(pattern.search(row["response"])) for row in rows), len(rows)).to_dict())
        for rows in (early, late)
    )
    assert then is not None, "a share is a number"
    assert now is not None, "a share is a number"
    return _said(evidence, question, do_so, then, now)


def _said(evidence: Evidence, question: str, do_so: str, then: Number, now: Number) -> Finding:
    more = now.less(then)
    words = f"{words_of(now, share=True)} of the answers {do_so}, before it were {100 * then.value:.0f} %"
    much = now.value >= evidence.limits.common and now.value >= evidence.limits.habit * then.value
    if not much or more.beside(0) <= 0:
        return Finding(question, "well", f"No excess of {question}: {words}", figure=now)
    judge = evidence.judge
    if question == "lists" and judge is not None and evidence.change(judge).up(evidence.sure):
        return Finding(
            question, "watch", f"More lists, and better answers: {words}", "compare with and without them", now
        )
    do = f"add comparisons in which the answer without {question} wins, and look at what labelers were told"
    return Finding(question, "ill", f"Excess of {question}: {words}", do, now, "classifier", 3, f"excess of {question}")
