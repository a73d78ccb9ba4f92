"""What several runs say of one claim: a claim passes when two of three pass (and with fewer runs, all)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rather.diagnose.reading import Number, Row, at, items_of, rows_of

Outcome = Literal["pass", "fail", "not decided"]


def overall(outcomes: Sequence[Outcome]) -> Outcome:
    """Two thirds of the runs have to pass; a run that cannot decide speaks for neither side."""
    needed = -(-2 * len(outcomes) // 3)
    passed, open_ones = outcomes.count("pass"), outcomes.count("not decided")
    return "pass" if passed >= needed else "not decided" if passed + open_ones >= needed else "fail"


def mean(found: Sequence[Row]) -> Number | None:
    """The mean over runs, with the outermost ends of their intervals; n of all together.

    None where they are figures of different things: one run's criterion may be decided by another of its conditions.
    """
    told = [(of.get("of"), number) for of in found if (number := Number.of(of, "figure")) is not None]
    numbers = [number for _, number in told]
    if not told or any(of != told[0][0] for of, _ in told):
        return None
    ends = [of.interval for of in numbers if of.interval is not None]
    around = (min(low for low, _ in ends), max(high for _, high in ends)) if len(ends) == len(numbers) else None
    counted = [of.n for of in numbers if of.n is not None]
    return Number(sum(of.value for of in numbers) / len(numbers), around, sum(counted) if counted else None)


def one_run(outcome: Outcome, number: Number | None, of: str, why: str) -> Row:
    """of: what the number is of"""
    return {"outcome": outcome, **plain(number), "of": of, "why": why}


def together(names: Sequence[str], found: Sequence[Row]) -> Row:
    """found: what `one_run` says of each"""
    outcomes: list[Outcome] = [of["outcome"] for of in found]
    return {
        "outcome": overall(outcomes),
        **plain(mean(found)),
        "passed": outcomes.count("pass"),
        "seeds": len(outcomes),
        "runs": dict(zip(names, found, strict=True)),
    }


def plain(number: Number | None) -> Row:
    if number is None:
        return {"figure": None, "interval": None, "n": None}
    return {"figure": number.value, "interval": number.interval and list(number.interval), "n": number.n}


def table_over(found: Mapping[str, Row]) -> list[Row]:
    """Every claim over all runs.   found: what claims.json of each run holds, by the run's name"""
    claims: dict[str, Row] = {}
    said: dict[str, dict[str, Row]] = {}
    for name, content in found.items():
        for row in rows_of(at(content, "claims")):
            number = str(row.get("claim"))
            claims.setdefault(number, row)
            said.setdefault(number, {})[name] = row
    rows = []
    for number, claim in claims.items():
        about = {key: claim.get(key) for key in ("claim", "sentence", "criterion")}
        rows.append(about | together(list(found), [_of(said[number].get(name), claim) for name in found]))
    return rows


def _of(row: Row | None, claim: Row) -> Row:
    """What one run's file says. Two versions of this program may not hold a claim against the same criterion."""
    if row is None:
        return one_run("not decided", None, "", "its claims.json does not have this claim")
    if row.get("criterion") != claim.get("criterion"):
        return one_run("not decided", None, "", f"it was held against another criterion: {row.get('criterion')}")
    outcome: Any = row.get("outcome")
    known: Outcome = outcome if outcome in get_args(Outcome) else "not decided"
    runs = [of for _, of in items_of(at(row, "runs"))]
    what, why = ("; ".join(str(at(of, key) or "") for of in runs) for key in ("of", "why"))
    return one_run(known, Number.of(row, "figure"), what, why)
