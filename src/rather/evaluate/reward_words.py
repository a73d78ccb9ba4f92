"""A reward model's report in words: tables of plain text, the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rather.errors import visible

WIDTH = 100  # of the texts that are shown


def words(report: Mapping[str, Any]) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"Reward model {visible(str(report['model']))}"
    scoring = report["scoring"]
    shown = f"{scoring['normalised_n']:,} {scoring['normalised_on']}"
    yield f"  {shown} average 0; their standard deviation is {scoring['spread']:.2f}"
    if scoring["slope"] is not None:
        yield f"  {scoring['slope']:+.4f} per token was taken off for length"
    yield from _doctor(report["doctor"])
    yield from _groups(report)
    for by, rows in report["by"].items():
        if rows:
            yield ""
            yield f"Right by {by}"
            yield from _table([[row["name"], number(row["accuracy"]), f"{row['pairs']:,} pairs",
                                f"{row['prompts']:,} prompts"] for row in rows])  # fmt: skip
    yield from _calibration(report["calibration"])
    yield from _length(report["length"])
    yield from _demonstrations(report["demonstrations"])
    yield from _outputs("Validation outputs", report["outputs"])
    yield from _coverage(report.get("coverage"))
    yield from _curve(report.get("learning curve"))
    yield from _folds(report.get("cross-validation"))


def number(found: Mapping[str, Any], digits: int = 3) -> str:
    """Value and interval, or why there is none."""
    if "reason" in found:
        return f"- ({found['reason'][:90]})"
    low, high = found["interval"]
    return f"{found['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _doctor(findings: Sequence[Mapping[str, str]]) -> Iterator[str]:
    yield ""
    yield "Doctor" + ("" if findings else ": nothing found")
    for finding in findings:
        yield f"  {finding['name']}: {visible(finding['evidence'])}"
        yield f"    {visible(finding['do'])}"


def _groups(report: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "Right about pairs that are no ties"
    yield from _table(
        [
            [name, number(group["accuracy"]), f"loss {number(group['loss'])}", f"{group['pairs']:,} pairs",
             f"{group['prompts']:,} prompts", f"{group['labelers']} labelers", f"{group['ties']:,} ties"]
            for name, group in report["groups"].items()
        ]
    )  # fmt: skip
    for name, said in report["agreement"].items():
        if "reason" in said["agreement"]["dropped"]:
            if name == "training labelers":
                yield f"  how often {name} agree is not known: {said['agreement']['dropped']['reason'][:110]}"
            continue
        each = ", ".join(f"{number(found)} (ties {ties})" for ties, found in said["agreement"].items())
        yield f"  two {name} agree: {each}"
        ceiling = said["ceiling"]
        if "reason" not in ceiling:
            yield f"  so nothing can be right about their labels more often than {number(ceiling)}"
    for name, count in report["left out"].items():
        if count:
            yield f"  {count:,} {name} prompts are too long and left out"


def _calibration(found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    if "reason" in found:
        yield f"Calibration: {number(found)}"
        return
    yield f"Calibration error {number(found)}; by chance alone {found['if_calibrated']:.3f}"
    bins = found["bins"]
    yield from _table(
        [
            [f"says {b['predicted']:.2f}", f"right {number(b['observed'])}", f"{b['n']:,} pairs",
             f"{b['clusters']:,} prompts"]
            for b in bins
        ]
    )  # fmt: skip


def _length(found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"Length: the rule that {found['rule']} is right on {number(found['baseline'])}"
    gap = found["model - baseline"]
    verdict = {True: "beats it", False: "does not beat it", None: "cannot be compared with it"}[found["beaten"]]
    yield f"  the model {verdict}: {number(gap)}" + ("" if "reason" in gap else f", {gap['clusters']:,} prompts")
    for kind in ("pearson", "spearman"):
        yield f"  correlation of score and tokens within prompts, {kind}: {number(found[kind])}"
    if found["score per token"] is not None:
        yield f"  score per token: {found['score per token']:+.4f}"


def _demonstrations(found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    if "reason" in found:
        yield f"Demonstrations: {found['reason']}"
        return
    yield f"Demonstrations score {number(found['mean'], 2)}, standard deviation {found['sd']:.2f}"
    yield from _outputs("  of them", found)


def _outputs(what: str, found: Mapping[str, Any]) -> Iterator[str]:
    for side in ("best", "worst"):
        if found.get(side):
            yield f"{what}, {side}"
            for row in found[side][:3]:
                yield f"  {row['score']:+.2f}  {_short(row['prompt'], 40)}  ->  {_short(row['response'], WIDTH - 40)}"


def _coverage(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    yield ""
    share = number(found["outside"])
    yield f"Coverage: {share} of {found['asked']:,} prompts lie outside of the {found['trained']:,} trained on"
    yield from _table([[f"by {reason}", number(share)] for reason, share in found["by"].items()])
    trained, asked = found["tokens"]["trained"], found["tokens"]["asked"]
    yield f"  tokens: median {trained['50%']:.0f} trained, {asked['50%']:.0f} asked; usual {found['tokens']['usual']}"
    new = [name for name in found["categories"]["asked"] if name not in found["categories"]["trained"]]
    if found["categories"]["trained"] and new:
        yield f"  categories never trained on: {', '.join(map(visible, new[:8]))}"
    if found["words"]["unknown"]:
        yield f"  most frequent unknown words: {', '.join(map(visible, found['words']['unknown'][:12]))}"


def _curve(points: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    if points:
        yield ""
        yield "Right on the validation pairs, by prompts trained on"
        yield from _table([[f"{point['prompts']:,}", number(point["accuracy"])] for point in points])


def _folds(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found:
        yield ""
        yield f"Cross-validation over {found['groups']} groups of {found['labelers']} labelers (app. E.2)"
        yield from _table(
            [[name, number(found[name])] for name in ("training labelers", "held-out group", "difference")]
        )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))] if rows else []
    for row in rows:
        yield "  " + "  ".join(visible(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _short(text: str, width: int) -> str:
    flat = visible(" ".join(text.split()))
    return flat if len(flat) <= width else flat[: width - 1] + "…"
