"""Did the controller hold the policy near where it began? The first of the three failures: KL drift."""

from __future__ import annotations

import math

from rather.diagnose.collapse import collapse
from rather.diagnose.evidence import Change, Evidence, Finding, undecided, words_of

QUESTION = "drift"
KL, BETA, SCORE = "objective/kl", "objective/kl_coef", "objective/scores"
PAPER = 0.02  # its beta (C.4): what a nat has to bring where the run itself asks nothing


def drift(evidence: Evidence) -> Finding:
    if not evidence.has(KL):
        return undecided(QUESTION, f"{evidence.name} has no ten iterations with objective/kl")
    level = evidence.level(KL)
    where = f"the KL to where it began is {words_of(level)} nats a response"
    target, beta = evidence.setting("kl_target"), evidence.setting("kl_coef")
    if target is not None:
        found = _adaptive(evidence, target)
        if found is not None:
            return found
    if beta == 0 and target is None:
        return _unheld(evidence)
    lost = _bought_dear(evidence, beta) if beta else None
    if lost is not None and not lost[1].up(evidence.sure):
        kl, score = lost
        words = (
            f"KL drift: the KL went from {kl} nats and brought {words_of(score.number())} of score, less than beta asks"
        )
        return _ill(words, "lower learning_rate, raise kl_coef, and see that the critic learns", evidence)
    own = evidence.setting("kl_budget")
    budget = own or evidence.limits.kl_budget
    if level.interval is not None and level.interval[0] > budget:
        do = "raise kl_coef, lower learning_rate, or go back to an earlier checkpoint"
        if own is not None:
            return _ill(f"KL drift: {where}, over the run's own budget of {own:g}", do, evidence)
        # A beta that is above 0 and fixed did what it was told: the score paid for every nat. Was the score right?
        words = f"Far away, and the score paid for it: {where}, over {budget:g}"
        return Finding(QUESTION, "watch", words, "see over-optimisation; raise kl_coef", level)
    held = f"follows its target of {target:g}" if target is not None else f"holds it with beta = {beta or 0:g}"
    controlled = f", and the controller {held}" if target is not None or beta is not None else ""  # DPO has none
    return Finding(QUESTION, "well", f"No drift: {where}{controlled}", figure=level)


def _ill(words: str, do: str, evidence: Evidence) -> Finding:
    level = evidence.level(KL)
    return Finding(QUESTION, "ill", words, do, level, "controller", cause=0, name="KL drift")


def _adaptive(evidence: Evidence, target: float) -> Finding | None:
    """The three ways in which a target can be wrong: never reached, lost hold of, held far too short."""
    level, overshoot = evidence.level(KL), evidence.limits.overshoot
    highest = int(evidence.smooth(KL).argmax())
    peak = evidence.level(KL, highest)
    if peak.interval is not None and peak.interval[0] > overshoot * target:
        now = "" if highest == evidence.last else f", and is {level.value:.1f} at the end"
        times = f"{peak.value / target:.1f} times the controller's target of {target:g}"
        words = f"KL drift: the KL reached {words_of(peak)} nats, {times}{now}"
        return _ill(words, "lower kl_horizon or learning_rate, or fix beta with kl_target=none", evidence)
    if not evidence.has(BETA):
        return None
    start, beta = evidence.setting("kl_coef") or 0.0, evidence.level(BETA).value
    floor = evidence.setting("kl_floor")
    floor = start / 10 if floor is None else floor
    at_floor = beta <= max(floor, start / 20) * 1.01
    reached = target if at_floor else target / 2  # a run may end on its way there
    if (at_floor or beta < start / 2) and level.interval is not None and level.interval[1] < reached:
        words = (
            f"KL drift: the controller's target of {target:g} nats is out of reach, so beta fell from {start:g} to "
            f"{beta:.2g}{', its floor' if at_floor else ''}, and nothing holds the policy at a KL of {words_of(level)}"
        )
        return _ill(
            words, "set kl_target to the KL that you want, raise kl_floor, or fix beta with kl_target=none", evidence
        )
    score = evidence.change(SCORE)
    if beta > 5 * start and not score.up(evidence.sure):
        words = (
            f"KL control is too tight: for a target of {target:g} nats beta went from {start:g} to {beta:.2g}, and the "
            f"score did not rise, {words_of(score.number())}"
        )
        return _ill(words, "raise kl_target, or fix beta with kl_target=none", evidence)
    return None


def _unheld(evidence: Evidence) -> Finding:
    """With beta 0 there is no controller, and a reward model is right only near what it was trained on."""
    level, late = evidence.level(KL), evidence.change(KL, max(0, evidence.last - evidence.width))
    where = f"beta is 0 and the KL is {words_of(level)} nats a response"
    harm = "" if _program(evidence) else "wherever the reward model leads"
    if late.up(evidence.sure) and late.after > 1.1 * late.before:
        harm = "still rising"
    elif level.interval is not None and level.interval[0] > evidence.limits.kl_budget:
        harm = f"over {evidence.limits.kl_budget:g}"
    elif (lost := _bought_dear(evidence, PAPER)) is not None:
        harm = f"and the last {lost[0].by:.1f} nats brought {lost[1].by:+.2f} of score"
    elif _worse(evidence):
        harm = "and what answers are worth fell on the way"
    elif collapse(evidence).outcome == "ill":
        harm = "and all answers became alike"
    if harm:
        return _ill(
            f"KL drift: nothing holds the policy, {where}, {harm}", "set kl_coef=0.02, the paper's, or more", evidence
        )
    words = f"Nothing holds the policy, {where}, where it has levelled"
    return Finding(QUESTION, "watch", words, "set kl_coef above 0", level)


def _program(evidence: Evidence) -> bool:
    """Whether a program says what is right, as in GRPO with a verifier: there a KL penalty is not always wanted."""
    reward = str(evidence.stage.settings.get("reward", ""))
    return "rewards" in evidence.stage.settings or (":" in reward and not reward.startswith("http"))


def _worse(evidence: Evidence) -> bool:
    judge = evidence.judge
    return judge is not None and evidence.change(judge, int(evidence.smooth(judge).argmax())).down(evidence.sure)


def _bought_dear(evidence: Evidence, beta: float) -> tuple[Change, Change] | None:
    """KL and score since score less beta KL was highest, where that surely fell while the KL rose by a fifth."""
    scores, kls = evidence.smooth(SCORE), evidence.smooth(KL)
    best = int((scores - beta * kls).argmax())
    kl, score = evidence.change(KL, best), evidence.change(SCORE, best)
    lost = beta * kl.by - score.by
    if (
        kl.up(evidence.sure)
        and kl.after > 1.2 * kl.before
        and lost > evidence.sure * math.hypot(beta * kl.se, score.se)
    ):
        return kl, score
    return None
