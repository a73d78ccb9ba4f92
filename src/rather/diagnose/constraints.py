"""Does it still do what a prompt explicitly asks for: so many sentences, this word, that ending?"""

from __future__ import annotations

from rather.diagnose.evidence import Evidence, Finding, undecided, words_of

QUESTION = "constraints"


def constraints(evidence: Evidence) -> Finding:
    path = ("answers", "t1", "constraints")
    now, then = evidence.measured(*path), evidence.measured_before(*path)
    if now is None:
        why = f"answers of {evidence.name} to prompts with constraints were not measured"
        return undecided(QUESTION, why, "rather world measure RUN")
    words = f"{words_of(now, share=True)} of the answers keep every constraint of their prompt"
    if then is None:
        return undecided(QUESTION, f"{words}, and no model before it was measured")
    words += f", of {evidence.before} {words_of(then, share=True)}"
    if now.value < then.value - evidence.limits.constraints and now.less(then).beside(0) < 0:
        do = "add prompts with constraints to the rankings, or check them with a verifier (rather grpo)"
        return Finding(QUESTION, "ill", f"Constraints are lost: {words}", do, now, "classifier", 8, "lost constraints")
    return Finding(QUESTION, "well", f"Constraints are kept as before: {words}", figure=now)
