"""Lab 8. Labelers: agreement, noise and the ceiling.

Labelers disagree, so a reward model is judged against labels that are partly wrong. How often people agree says how
good it can get. Here labelers are simulated, each with a noise of their own, and we count as one does with real ones.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import sheet

TIE_CONVENTIONS = ("dropped", "half", "category")
# Four observers, twelve units, gaps: the table by which implementations of alpha are compared.
TABLE = """1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 ."""

Ratings = list[list[int | None]]  # one row per unit, one column per labeler


def expected_agreement(p: float) -> float:
    """Two labelers who each give the better-liked answer with probability p: both right, or both wrong."""
    return p**2 + (1 - p) ** 2


def noise_ceiling(agreement: float) -> float:
    """p, read back from the agreement: how often a perfect reward model is right about one labeler's label."""
    return (1 + math.sqrt(2 * agreement - 1)) / 2


def credit(one: int, other: int, ties: str) -> float | None:
    """What two verdicts on a pair are worth: 1 the first is better, -1 the second, 0 a tie. None: not counted.

    dropped: pairs on which either ties are left out; half: 1/2 if exactly one ties; category: a tie is a third answer
    """
    if ties == "dropped" and 0 in (one, other):
        return None
    if ties == "half" and (one == 0) != (other == 0):
        return 0.5
    return float(one == other)


def agreement(verdicts: np.ndarray, ties: str) -> float:
    """Mean credit over all pairs of labelers. verdicts: (labelers, items) of -1, 0, 1"""
    credits = [credit(a, b, ties) for i, j in combinations(verdicts, 2) for a, b in zip(i, j, strict=True)]
    counted = [c for c in credits if c is not None]
    if not counted:
        raise SystemExit("No pair is left once ties are dropped: there is nothing to agree on. Lower --tie.")
    return sum(counted) / len(counted)


def krippendorff_alpha(ratings: Ratings, metric: str) -> float:
    """1 - observed / expected disagreement, any number of labelers, gaps allowed; units with one rating say nothing.

    metric: nominal (flags: different or not), ordinal (Likert: how many ratings lie between), interval (squares)
    """
    units = [[v for v in unit if v is not None] for unit in ratings]
    units = [unit for unit in units if len(unit) > 1]
    given = [v for unit in units for v in unit]

    def distance(a: int, b: int) -> float:
        if metric == "nominal":
            return float(a != b)
        if metric == "interval":
            return float(a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = sum(low <= v <= high for v in given)  # the two ends count half
        return (between - (given.count(a) + given.count(b)) / 2) ** 2 if a != b else 0.0

    observed = sum(sum(distance(a, b) for a in unit for b in unit) / (len(unit) - 1) for unit in units) / len(given)
    expected = sum(distance(a, b) for a in given for b in given) / (len(given) * (len(given) - 1))
    return 1 - observed / expected


def judge(margins: np.ndarray, noise: np.ndarray, tie: float, rng: np.random.Generator) -> np.ndarray:
    """(labelers, items) verdicts: each sees the margin through logistic noise of their own and ties below `tie`."""
    seen = margins + noise[:, None] * rng.logistic(size=(len(noise), len(margins)))
    return np.where(np.abs(seen) < tie, 0, np.sign(seen)).astype(int)


def table() -> Ratings:
    rows = [[None if cell == "." else int(cell) for cell in line.split()] for line in TABLE.splitlines()]
    return [list(unit) for unit in zip(*rows, strict=True)]


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 8: labelers: agreement, noise and the ceiling")
    parser.add_argument("--agreement", type=sheet.number(0.5, 1), default=0.73, help="read a ceiling from it")
    parser.add_argument("--tie", type=sheet.number(0, 5), default=0.3, help="margins below this are ties")
    parser.add_argument("--noise", type=sheet.number(0.01, 10), default=0.55, help="of the middling labeler")
    parser.add_argument("--cutoff", type=sheet.number(0, 1), default=0.75, help="of screening (paper: 0.75, B.1)")
    parser.add_argument("--items", type=sheet.whole(20, 2000), default=300, help="pairs that all judge")
    parser.add_argument("--seed", type=sheet.whole(0, 10**6), default=0)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(args.seed)

    p = noise_ceiling(args.agreement)
    print(
        f"agreement {args.agreement:.3f}: each follows the majority with probability {p:.3f}, a reward model's ceiling"
    )
    print(f"back: {p:.3f}^2 + {1 - p:.3f}^2 = {expected_agreement(p):.3f}\n")

    # A pool of candidates, some of them careless; the researchers' own labels are the standard of screening (B.1).
    pool = args.noise * np.exp(rng.normal(0, 0.7, 24))
    margins = rng.normal(size=args.items)
    researcher = judge(margins, np.array([args.noise / 2]), args.tie, rng)[0]
    verdicts = judge(margins, pool, args.tie, rng)
    print(f"24 candidates, {args.items} pairs, {np.mean(verdicts == 0):.0%} of verdicts are ties")
    print("convention    agreement")
    for ties in TIE_CONVENTIONS:
        print(f"{ties:<12}  {agreement(verdicts, ties):9.3f}")
    alphas = (f"{metric} {krippendorff_alpha(table(), metric):.4f}" for metric in ("nominal", "ordinal", "interval"))
    print("\nKrippendorff's alpha of the table with gaps:", ", ".join(alphas))

    with_researcher = [agreement(np.stack([row, researcher]), "dropped") for row in verdicts]
    hired = np.array([a >= args.cutoff for a in with_researcher])
    print(f"\nscreening at {args.cutoff:.0%} agreement with the researchers: {hired.sum()} of 24 pass")
    print("group         labelers   agree on new pairs   ceiling   a perfect reward model is right")
    fresh = rng.normal(size=args.items)
    new = judge(fresh, pool, args.tie, rng)
    for name, members in (("all", hired | True), ("hired", hired), ("not hired", ~hired)):
        if members.sum() < 2:
            print(f"{name:<12}  {members.sum():8d}   too few to compare")
            continue
        agreed = agreement(new[members], "dropped")
        strict = new[members] != 0
        right = float((new[members] == np.sign(fresh))[strict].mean())
        ceiling = f"{noise_ceiling(agreed):.3f}" if agreed >= 0.5 else "none"
        print(f"{name:<12}  {members.sum():8d}   {agreed:18.3f}   {ceiling:>7}   {right:.3f}")
    curve = [(a / 100, noise_ceiling(a / 100)) for a in range(50, 101)]
    sheet.plot(args.plot, "How good a reward model can get", "agreement of two labelers", "ceiling", {"ceiling": curve})
    print("\nThe last two columns differ: pairs are not equally hard. On which side does the formula err, and why?")


assert round(noise_ceiling(0.73), 3) == 0.839
assert round(expected_agreement(noise_ceiling(0.73)), 6) == 0.73
assert [round(krippendorff_alpha(table(), m), 4) for m in ("nominal", "ordinal", "interval")] == [
    0.7434,
    0.8154,
    0.8491,
]

if __name__ == "__main__":
    sheet.run(main)
