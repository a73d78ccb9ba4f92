"""Before step 3: is RLHF the right tool here, and is what it needs good enough? Seven questions, each with its figure.

    lines = readiness(Path("run"), Asked(prompts=Path("run/prompts.jsonl")))

It reads what the stages and `rather reward report` wrote. What nobody measured is said to be not measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from rather import files, toml
from rather.worlds.named import named

FILE = "readiness.json"
PAIRS = 10_000  # below it DPO is as good and far cheaper: what people who run both say; not in the paper
AGREE = 0.65  # below it labelers agree hardly more than coins; the paper's agree on 72.6 % (3.4)
NEAR = 0.03  # of accuracy over the length baseline that counts as none
OUTSIDE = 0.05  # of the prompts; of prompts from the same source 1 to 3 % are outside (reward_coverage)
CHECKED = 0.5  # of the prompts come with what a program needs to check an answer
LOOKED_AT = 2000  # prompts
# What `rather.verifiers` takes from a prompt's record.
CHECKABLE = ("answer", "pattern", "schema", "tests", "instruction_id_list")

Outcome = Literal["fine", "look", "not measured"]


@dataclass(frozen=True)
class Asked:
    """What step 3 is going to be given. reward: the name of the reward model's folder     start: of the policy's"""

    prompts: Path | None = None
    reward: str = "reward"
    start: str = "init"
    ptx: bool = True
    texts: str | None = None


@dataclass(frozen=True)
class Line:
    """One question. figure: the number that decides it, with n and interval     do: what to change, if anything"""

    name: str
    question: str
    outcome: Outcome
    figure: str
    do: str = ""


def readiness(folder: Path, asked: Asked) -> list[Line]:
    report = _json(folder / asked.reward / "report.json")
    return [
        checkable(asked),
        pairs(report, folder, asked),
        agreement(report, folder),
        length_baseline(report, folder, asked),
        still_climbing(folder, asked),
        covered(report, folder, asked),
        pretraining(folder, asked),
    ]


def write(folder: Path, lines: list[Line]) -> None:
    files.write_json(folder / FILE, {"verdict": verdict(lines), "lines": [asdict(line) for line in lines]})


def verdict(lines: list[Line]) -> str:
    """In a sentence."""
    look = [line.name for line in lines if line.outcome == "look"]
    open_ = [line.name for line in lines if line.outcome == "not measured"]
    unknown = f"; not measured: {', '.join(open_)}" if open_ else ""
    if look:
        return f"Not ready: {', '.join(look)}{unknown}"
    return f"{'Nothing speaks against step 3' if open_ else 'Ready for step 3'}{unknown}"


# ---- the questions


def checkable(asked: Asked) -> Line:
    of = _line("checkable", "Can a program check the answers?")
    rows = _rows(asked.prompts) if asked.prompts else []
    if not rows:
        return of("not measured", "there is no file of prompts", "Put prompts there:  rather ready RUN prompts=FILE")
    having = sum(any(row.get(key) is not None for key in CHECKABLE) for row in rows)
    figure = f"{having:,} of {len(rows):,} prompts come with an answer, a pattern, a schema, tests or instructions"
    if having >= CHECKED * len(rows):
        return of("look", figure, "A verifier is no model that can be fooled:  rather grpo RUN rewards={number=1.0}")
    return of("fine", figure)


def pairs(report: Mapping[str, Any], folder: Path, asked: Asked) -> Line:
    of = _line("pairs", f"Are there some {PAIRS:,} comparisons?")
    count = _at(report, "groups", "train", "pairs")
    if not isinstance(count, int):
        return of("not measured", _no_report(folder, asked), _report(folder, asked))
    prompts = _at(report, "groups", "train", "prompts")
    figure = f"{count:,} pairs without ties, of {prompts:,} prompts"
    if count < PAIRS:
        return of("look", figure, f"DPO learns from few as well, without a reward model:  rather dpo {folder}")
    return of("fine", figure)


def agreement(report: Mapping[str, Any], folder: Path) -> Line:
    of = _line("agreement", "Do labelers agree?")
    found = _at(report, "agreement", "training labelers", "agreement", "dropped")
    if not _is_share(found):  # what `rather world rank` wrote of its labelers
        abouts = [_json(path) for path in sorted(folder.glob("*.about.json"))]
        found = next((x for about in abouts if _is_share(x := _at(about, "agreement", "training"))), None)
    if found is None:
        why = _at(report, "agreement", "training labelers", "agreement", "dropped", "reason")
        do = "Let some prompts be ranked by several labelers"
        return of("not measured", str(why or "no prompt is known to be ranked by two labelers"), do)
    figure = f"two of them agree on {_share(found)} of the pairs neither ties; the paper's on 72.6 %"
    if found["interval"][1] < AGREE or found["interval"][0] <= 0.5:
        return of("look", figure, "A policy learns what they share. Mend the task and its instructions first")
    return of("fine", figure)


def length_baseline(report: Mapping[str, Any], folder: Path, asked: Asked) -> Line:
    of = _line("length baseline", "Does the reward model know more than length?")
    lead, baseline = _at(report, "length", "model - baseline"), _at(report, "length", "baseline")
    if not (_is_share(lead) and _is_share(baseline)):
        return of("not measured", _no_report(folder, asked), _report(folder, asked))
    rule = _at(report, "length", "rule")
    figure = f'{_share(lead)} more right than "{rule}", which is right on {baseline["value"]:.1%}'
    if lead["interval"][0] <= 0 or lead["value"] < NEAR:
        return of("look", figure, "A policy would learn the length alone. More prompts, or:  length_residual=true")
    return of("fine", figure)


def still_climbing(folder: Path, asked: Asked) -> Line:
    of = _line("sft", "Has step 1 given what it can?")
    chosen = {path.parent.name: _json(path) for path in sorted(folder.glob("*/selection.json"))}
    # The model that RL starts from is trained for two epochs on purpose (C.3): it is asked only if it is all there is.
    others = {name: found for name, found in chosen.items() if name != asked.start} or chosen
    without = ""
    for name, found in others.items():
        rows = [row for row in found.get("epochs") or () if isinstance(row, dict)]
        rewards = [row.get("val/reward") for row in rows]
        known = [float(value) for value in rewards if isinstance(value, int | float)]
        if len(known) < 2 or len(known) < len(rows):
            without = without or name
            continue
        figure = f"{name}: reward {known[-2]:.3g}, then {known[-1]:.3g} in the last of {len(known)} epochs"
        if known[-1] > known[-2] and known[-1] == max(known):
            more = f"rather sft {folder} --name {name} --again epochs={2 * len(known)}"
            return of("look", figure, f"More epochs or demonstrations cost less than RL:  {more}")
        return of("fine", figure)
    if without:
        return of(
            "not measured",
            f"{without}: its epochs have no reward",
            f"rather sft {folder} --name {without} --select-by reward",
        )
    return of("not measured", f"no epochs of an SFT model are in {folder}", f"rather sft {folder}")


def covered(report: Mapping[str, Any], folder: Path, asked: Asked) -> Line:
    of = _line("coverage", "Has the reward model seen prompts like these?")
    found = _at(report, "coverage", "outside")
    if not _is_share(found):
        against = f" --against {asked.prompts}" if asked.prompts else " --against PROMPTS"
        return of("not measured", "nobody has compared the prompts", _report(folder, asked) + against)
    by = {reason: _at(report, "coverage", "by", reason, "value") for reason in ("category", "length", "vocabulary")}
    most = max(by, key=lambda reason: by[reason] or 0.0)
    mostly = f", most by their {most}" if by[most] else ""
    figure = f"{_share(found)} of {found['n']:,} prompts are outside of those it learned from{mostly}"
    if found["interval"][0] > OUTSIDE:
        return of("look", figure, "There its score is a guess. Rank answers to such prompts, or leave these out")
    return of("fine", figure)


def pretraining(folder: Path, asked: Asked) -> Line:
    of = _line("pretraining", "Is there text against the alignment tax?")
    source = asked.texts or _texts_of_base(folder)
    there = source is not None and (named(source) is not None or Path(source).exists())
    there = there or (folder / "pretraining.jsonl").exists()
    benchmarks = len(list((folder / "evaluate").glob("*.json")))
    if not asked.ptx:
        figure = f"step 3 has no pretraining mix; benchmarks are measured of {benchmarks} models"
        do = "PPO alone lost on benchmarks (4.2, E.8):  preset=instructgpt-ptx texts=FILE"
        return of("look" if benchmarks else "not measured", figure, do)
    if there:
        return of("fine", f"the mix has text: {source or folder / 'pretraining.jsonl'}")
    return of("look", f"the mix has no text: there is no {source or folder / 'pretraining.jsonl'}",
              "Name a file of texts like those of pretraining:  texts=FILE")  # fmt: skip


# ---- what is in the files


def _line(name: str, question: str) -> Callable[..., Line]:
    def of(outcome: Outcome, figure: str, do: str = "") -> Line:
        return Line(name, question, outcome, figure, do)

    return of


def _json(path: Path) -> dict[str, Any]:
    """What a file says; nothing where it is not there or cannot be read: then it is not measured."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _rows(path: Path) -> list[dict[str, Any]]:
    """The first records as they stand: our own records have no field for what a verifier reads."""
    rows = []
    try:
        with path.open(encoding="utf-8") as lines:
            for line in islice(lines, LOOKED_AT):
                row = json.loads(line) if line.strip() else None
                rows += [row] if isinstance(row, dict) else []
    except (OSError, ValueError, RecursionError):
        return []
    return rows


def _texts_of_base(folder: Path) -> str | None:
    """What the story's base model was trained on, whatever its folder is called."""
    for settings in sorted(folder.glob("base*/config.toml")):
        found = toml.read(settings).get("texts")
        if isinstance(found, str):
            return found
    return None


def _at(found: Any, *keys: str) -> Any:
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _is_share(found: Any) -> bool:
    """A number with its interval, as `rather.statistics` writes one."""
    value, interval = _at(found, "value"), _at(found, "interval")
    pair = isinstance(interval, list) and len(interval) == 2
    return pair and all(isinstance(x, int | float) and not isinstance(x, bool) for x in (value, *interval))


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    n = found.get("clusters") or found.get("n")
    of = f", n = {n:,}" if isinstance(n, int) else ""
    return f"{found['value']:.1%} ({low:.1%} to {high:.1%}{of})"


def _no_report(folder: Path, asked: Asked) -> str:
    return f"there is no {folder / asked.reward / 'report.json'} that says it"


def _report(folder: Path, asked: Asked) -> str:
    return f"rather reward report {folder} --name {asked.reward}"
