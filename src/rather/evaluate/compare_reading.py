"""A run folder as courses: how far each policy went from its reference, and what it had by then.

PPO and GRPO log a point at each iteration, DPO wherever it is measured; best-of-n has one for each n. One that answered
nothing has the point at its end, once `rather compare --measure` has sampled it. What is not there is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rather import toml
from rather.diagnose.reading import Number, Row, Stage, Story, at, is_number, rows_of
from rather.errors import BadFile, NotReady
from rather.evaluate.results import read_result
from rather.models.fingerprint import fingerprint_folder
from rather.report.tax import taxes
from rather.run import CONFIG
from rather.statistics import best_of_n_kl

# What is compared: its name here -> the metric, and the metric that is its standard error.
LOGGED: Mapping[str, tuple[str, str]] = {
    "kl": ("objective/kl", "objective/kl_se"),
    "reward": ("objective/scores", ""),
    "gold": ("world/gold", "world/gold_se"),
    "entropy": ("policy/entropy_avg", ""),
    "length": ("response/length", ""),
}
Z = 1.96  # of a 95 % interval
FOLDER = "compare"  # in the story: what `--measure` found


@dataclass(frozen=True)
class Point:
    """Where a policy was. place: "step 40", "n = 8"     share: of the whole run, None where that means nothing"""

    place: str
    values: Mapping[str, Number]
    share: float | None = None
    tokens: float | None = None  # so far


@dataclass(frozen=True)
class Course:
    """One policy.

    method: PPO, PPO-ptx, DPO, GRPO, best-of-n     reference: what its KL is from
    scorer: whose rewards they are; equal rewards mean something under one scorer only
    points: along the way     ended: at its end, on held-out prompts where it was measured on some
    tax: grade lost on benchmarks since the base, their mean     seconds: None where it was interrupted
    """

    run: str
    name: str
    method: str
    reference: str
    scorer: str
    points: tuple[Point, ...]
    ended: Mapping[str, Number]
    tax: Number | None
    seconds: float | None
    tokens: float | None
    tokens_are: str
    done: bool
    notes: tuple[str, ...] = field(default=())


def courses_of(path: Path) -> list[Course]:
    """Of a story's folder every policy that was optimised; of a stage's folder that one."""
    one = path.name if (path / CONFIG).is_file() else None
    story = Story.read(path.parent if one else path)
    found = [stage for stage in story.stages.values() if one in (None, stage.name) and method_of(stage)]
    if not found:
        raise NotReady(
            f"{path} has no policy to compare.",
            "Expected folders that rather ppo, dpo, grpo or best-of-n made.",
            f"rather ppo {path.parent if one else path}",
        )
    return [_course(story, stage) for stage in found]


def method_of(stage: Stage) -> str | None:
    """By its settings, not by its name: a folder may be called anything."""
    keys = stage.settings
    if "gae_lambda" in keys:
        return "PPO-ptx" if _known(keys.get("ptx_coef")) else "PPO"
    if "clip_low" in keys and "samples" in keys:
        return "GRPO"
    if "flip_rate" in keys and "form" in keys:
        return "DPO" if keys["form"] == "sigmoid" else f"DPO, {keys['form']}"
    if "ranked" in keys and "samples" in keys:
        return "best-of-n"
    return None


def reference_of(story: Path, stage: Stage) -> str:
    """What the KL is from: DPO's reference, else the model that the stage began from."""
    settings, method = stage.settings, method_of(stage) or ""
    default = "init" if method.startswith(("PPO", "GRPO")) else "sft"
    named = [settings.get(key) for key in ("reference", "model")]
    given = next((name for name in named if isinstance(name, str) and name != toml.NONE), None)
    return _placed(given or str(story / default / "checkpoint"))


def scorer_of(story: Path, stage: Stage) -> str:
    """The reward model, or the weighted rewards, in words that are equal where the scorer is."""
    settings = stage.settings
    given = settings.get("rewards" if "rewards" in settings else "reward")
    own = _placed(str(story / "reward" / "checkpoint"))
    if isinstance(given, dict):
        parts = [_placed(name) + ("" if weight == 1 else f" x {weight}") for name, weight in sorted(given.items())]
        return " + ".join(parts)
    if isinstance(given, list):
        named = sorted(_placed(str(name)) for name in given)
        return named[0] if len(named) == 1 else f"{settings.get('ensemble')} of {', '.join(named)}"
    if isinstance(given, str) and given != toml.NONE:
        return _placed(given)
    # DPO learns from none: what scores its answers is the story's own, unless it names another.
    return str(settings["prompts"]) if str(settings.get("prompts", "")).partition(":")[0] == "sums" else own


def _placed(name: str) -> str:
    """A folder by its whole path, so that two ways of naming it are one; anything else as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _course(story: Story, stage: Stage) -> Course:
    measured, notes = _measured(story.path, stage.name)
    method = method_of(stage) or ""
    points = _of_curve(story.curves[stage.name], stage) if stage.name in story.curves else _of_metrics(stage)
    if not points and measured:
        points = [Point("end", measured)]
    ended = dict(points[-1].values) if points else {}
    ended |= measured
    for key, path in (("gold", ("answers", "t1", "gold")), ("entropy", ("diversity", "entropy"))):
        found = Number.of(at(story.measured.get(stage.name), *path))
        if found is not None:
            ended[key] = found
    if not points:
        notes.append("it logged no KL:  rather compare RUN --measure  samples it")
    if stage.done is None:
        notes.append("it is unfinished")
    tokens, are = _tokens(stage, points)
    return Course(
        str(story.path), stage.name, method, reference_of(story.path, stage), scorer_of(story.path, stage),
        tuple(points), ended, _tax(story, stage.name), _seconds(stage), tokens, are, stage.done is not None,
        tuple(notes),
    )  # fmt: skip


def _of_metrics(stage: Stage) -> list[Point]:
    points, before, tokens = [], 0.0, 0.0
    last = stage.metrics[-1].get("step") if stage.metrics else None
    for row in stage.metrics:
        if not is_number(row.get("objective/kl")) and not is_number(row.get("objective/scores")):
            continue
        episode = _known(row.get("episode"))
        batch = 0.0 if episode is None else episode - before
        before = before if episode is None else episode
        values = {name: number for name in LOGGED if (number := _logged(row, name, batch)) is not None}
        if batch > 0 and "length" in values:
            tokens += batch * values["length"].value
        share = row["step"] / last if isinstance(last, int) and last > 0 else None
        points.append(Point(f"step {row['step']}", values, share, tokens or None))
    return points


def _logged(row: Row, name: str, batch: float) -> Number | None:
    """With the interval that its own standard error gives; of scores, the spread over the batch does."""
    key, of_error = LOGGED[name]
    value, error = _known(row.get(key)), _known(row.get(of_error))
    if value is None:
        return None
    if name == "reward" and batch > 1 and (spread := _known(row.get("objective/scores_std"))) is not None:
        error = spread / math.sqrt(batch)
    interval = None if error is None else (value - Z * error, value + Z * error)
    return Number(value, interval, round(batch) if batch >= 1 else None)


def _of_curve(curve: Row, stage: Stage) -> list[Point]:
    """Best-of-n: the KL is exact where no two responses score the same, and follows from n alone."""
    points = []
    for row in rows_of(curve.get("curve")):
        n = row.get("n")
        if not isinstance(n, int) or n < 1:
            raise BadFile(f"{stage.path}/curve.json has a point with n = {n!r:.40}.", "Expected a number of samples.")
        values = {"kl": Number(best_of_n_kl(n), None, None)}
        for name, key in (("reward", "score"), ("gold", "gold")):
            found = Number.of(row.get(key))
            if found is not None:
                prompts = at(row, key, "prompts")
                values[name] = Number(found.value, found.interval, int(prompts) if is_number(prompts) else found.n)
        points.append(Point(f"n = {n}", values))
    return points


def _measured(story: Path, name: str) -> tuple[dict[str, Number], list[str]]:
    """What `--measure` found of the checkpoint as it is, and what to say of it."""
    found = read_result(story / FOLDER / f"{name}.json")
    if found is None:
        return {}, []
    weights = story / name / "checkpoint"
    if not weights.is_dir() or found["about"].get("weights") != fingerprint_folder(weights):
        return {}, ["its weights have changed since --measure, which is left out"]
    numbers = {key: Number.of(at(found, key)) for key in LOGGED}
    return {key: number for key, number in numbers.items() if number is not None}, []


def _tokens(stage: Stage, points: list[Point]) -> tuple[float | None, str]:
    logged = [tokens for row in stage.metrics if (tokens := _known(row.get("num_tokens"))) is not None]
    if logged:
        return logged[-1], "read"
    return (points[-1].tokens, "sampled") if points else (None, "")


def _seconds(stage: Stage) -> float | None:
    """From its start to its end, where that was one go."""
    names = [row.get("event") for row in stage.events]
    times = {row.get("event"): row.get("time") for row in stage.events}
    if "resumed" in names or not {"started", "finished"} <= set(names):
        return None
    try:
        start, end = (datetime.fromisoformat(str(times[name])) for name in ("started", "finished"))
        return (end - start).total_seconds()
    except (ValueError, TypeError):
        raise BadFile(f"{stage.path} has times that are none.", "Expected what a run writes to events.jsonl.") from None


def _tax(story: Story, name: str) -> Number | None:
    """Mean over benchmarks of what was lost since the base; their errors are independent."""
    found = [tax for tax in taxes(story) if tax.model == name]
    if not found:
        return None
    lost = [number.turned() for number in found[0].differences.values()]
    value = sum(number.value for number in lost) / len(lost)
    halves = [(number.interval[1] - number.interval[0]) / 2 for number in lost if number.interval]
    half = math.sqrt(sum(one**2 for one in halves)) / len(lost) if len(halves) == len(lost) else None
    return Number(value, None if half is None else (value - half, value + half), sum(n.n or 0 for n in lost) or None)


def _known(value: Any) -> float | None:
    return float(value) if is_number(value) else None
