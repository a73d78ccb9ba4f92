"""Is it better, or only longer? What a reward model learned from labelers who like long answers."""

from __future__ import annotations

import math

from rather.diagnose.evidence import Change, Evidence, Finding, undecided, words_of
from rather.diagnose.reading import Number, is_number
from rather.statistics.intervals import t_quantile

QUESTION = "length"
LENGTH, SLOPE, SCORE = "response/length", "response/length_slope", "objective/scores"
DO = "compare at equal length, add comparisons in which the shorter answer wins, or lower max_new_tokens"


def length(evidence: Evidence) -> Finding:
    if not evidence.has(LENGTH):
        return undecided(QUESTION, f"{evidence.name} has no ten iterations with response/length")
    tokens = evidence.change(LENGTH)
    went = f"answers went from {tokens} tokens, by {words_of(tokens.number(), 1)}"
    if not tokens.up(evidence.sure) or tokens.after < (1 + evidence.limits.longer) * tokens.before:
        return Finding(QUESTION, "well", f"Length is not exploited: {went}", figure=tokens.number())
    start, worse, heard = 0, False, ""
    if evidence.judge is not None:
        peak = int(evidence.smooth(evidence.judge).argmax())
        fell = evidence.change(evidence.judge, peak).down(evidence.sure)
        worse = fell or not evidence.change(evidence.judge).up(evidence.sure)
        start = peak if fell else 0
        did = "fell" if fell else "did not rise" if worse else "rose for other reasons"
        heard = f", while what answers are worth {did}"
    later, score = evidence.change(LENGTH, start), evidence.change(SCORE, start)
    share = explained(evidence, start, later, score)
    if share is None:
        return undecided(QUESTION, f"{went}, and response/length_slope, what length is worth, was not measured")
    since = f" since step {evidence.rows[start].get('step')}" if start else ""
    said = f"{went}, and length alone explains {words_of(share, share=True)} of what the score rose{since}"
    grew = later.up(evidence.sure) and score.up(evidence.sure)
    by_length = grew and share.value > evidence.limits.explained and share.beside(0) > 0
    # So much longer, and surely for the score: that is exploited even where answers got better on the way.
    sure = share.interval is not None and share.interval[0] > evidence.limits.explained
    much = evidence.judge is not None and sure and tokens.after > (1 + evidence.limits.much_longer) * tokens.before
    if by_length and (worse or much):
        words = f"Length is exploited: {said}{heard}"
        return Finding(QUESTION, "ill", words, DO, share, "classifier", cause=2, name="length exploitation")
    if by_length:
        known = "and better" if evidence.judge is not None else "and nobody was asked whether they are better"
        return Finding(QUESTION, "watch", f"Answers are longer, {known}: {said}", "compare at equal length", share)
    return Finding(QUESTION, "well", f"Answers are longer, but not for the score: {said}", figure=share)


def explained(evidence: Evidence, start: int, tokens: Change, score: Change) -> Number | None:
    """Slope of score on length within a batch, times growth, over gain: the share of the gain that is length."""
    rows = [row for row in evidence.rows[start:] if is_number(row.get(SLOPE))]
    if len(rows) < evidence.width or score.by == 0:
        return None
    slopes = [float(row[SLOPE]) for row in rows]
    slope = sum(slopes) / len(slopes)
    error = math.sqrt(sum((one - slope) ** 2 for one in slopes) / (len(slopes) - 1) / len(slopes))
    share = slope * tokens.by / score.by
    # The delta method: relative errors of a product and a quotient add up in squares.
    parts = [one / abs(of) for one, of in ((error, slope), (tokens.se, tokens.by), (score.se, score.by)) if of]
    half = t_quantile(0.95, len(slopes)) * abs(share) * math.hypot(*parts)
    return Number(share, (share - half, share + half), tokens.n)
