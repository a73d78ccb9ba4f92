"""Claims 1 to 6: who is preferred to whom, at which size, and by whom."""

from __future__ import annotations

from rather.evaluate.claims.evidence import Evidence, Missing, figure
from rather.evaluate.claims.figures import (
    Figure,
    Part,
    Verdict,
    at_least,
    at_most,
    minus,
    more_than,
    surely_more,
    verdict,
)

PANELS = ("training", "held-out")


def best_ppo(run: Evidence) -> str:
    """Step 3 as it was run: without the mix, and where there is none of these, with it."""
    return "ppo" if run.has("ppo") or not run.has("ppo-ptx") else "ppo-ptx"


def _both_panels(run: Evidence, theirs: str, their_way: str, bound: float) -> Verdict:
    won = run.wins("sft-xs", theirs, "t1", their_way)
    return verdict(*(at_least(f"{panel} labelers", Figure.of(won[panel]), bound) for panel in PANELS))


def small_beats_large(run: Evidence) -> Verdict:
    return _both_panels(run, "base-l", "t1", 0.75)


def small_beats_prompted_large(run: Evidence) -> Verdict:
    return _both_panels(run, "base-l", "prompted t1", 0.55)


def bases_ignore(run: Evidence) -> Verdict:
    junk = {size: figure(run, f"base-{size}", "answers", "t1", "junk") for size in ("xs", "s", "l")}
    fall = minus(junk["xs"], junk["l"])
    return verdict(*(at_least(size, of, 0.6) for size, of in junk.items()), at_most("xs - l", fall, 0.2))


def each_step_helps(run: Evidence) -> Verdict:
    ppo = best_ppo(run)
    steps = (
        ("prompted over base", run.wins("base-s", "base-s", "prompted t1", "t1")),
        ("SFT over prompted", run.wins("sft-s", "base-s", "t1", "prompted t1")),
        (f"{ppo} over SFT", run.wins(ppo, "sft-s")),
    )
    parts: list[Part] = []
    for words, won in steps:
        parts.append(surely_more(f"{words} wins", Figure.of(won["training"]), 0.5))
        parts.append(surely_more(f"{words} U*", Figure.of(won["gold"]), 0.0))
    return verdict(*parts)


def ppo_beats_sft(run: Evidence) -> Verdict:
    ppo = best_ppo(run)
    hot, cool = run.wins(ppo, "sft-s", "t1"), run.wins(ppo, "sft-s", "t0.5")
    return verdict(
        at_least("wins at T=1", Figure.of(hot["training"]), 0.55),
        more_than("U_lab at T=.5", Figure.of(cool["labelers"])),
        note=f"{ppo}; U* {hot['gold']['value']:+.2f} at T=1, {cool['gold']['value']:+.2f} at T=.5",
    )


def held_out_labelers_agree(run: Evidence) -> Verdict:
    ppo = best_ppo(run)
    pairs = (("sft-xs", "base-l"), ("sft-s", "base-s"), (ppo, "sft-s"))
    found: list[Part] = []
    for ours, theirs in pairs:
        if run.has(ours) and run.has(theirs):
            found.append(_apart(f"{ours} against {theirs}", Figure.of(run.wins(ours, theirs)["panels"]), 0.05))
    if len(found) < 2:
        raise Missing("fewer than two of " + ", ".join(f"{ours} and {theirs}" for ours, theirs in pairs))
    return verdict(*found)


def _apart(what: str, difference: Figure, bound: float) -> Part:
    """At most so far from 0 on either side."""
    words = f"{what}: panels differ by {difference.value:+.3f} (within {bound:g})"
    return Part(what, words, difference, abs(difference.value) <= bound)
