"""What questions are answered from: windows of metrics, the changes between them, measurements before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field

from rather.config import Config
from rather.diagnose.reading import Number, Row, Stage, Story, at, is_number
from rather.statistics.intervals import t_quantile

LEAST = 10  # iterations: with fewer there is no beginning and end to compare
WIDEST = 50  # iterations of a window
Outcome = Literal["ill", "watch", "well", "not decided"]
Mechanism = Literal["controller", "classifier", "distribution"]


class Thresholds(Config):
    """From where on something is an illness. None of them is in the paper, which measures none of this."""

    sure: float = Field(3.0, gt=0, description="standard errors between two windows, so that noise is no illness")
    kl_budget: float = Field(30.0, gt=0, description="nats of a response, where the run itself names no kl_budget")
    overshoot: float = Field(2.0, gt=1, description="times kl_target: the controller lost hold of the policy")
    fell: float = Field(0.25, gt=0, description="of what the second opinion rose: so much lost is over-optimised")
    explained: float = Field(
        0.33, gt=0, description="of what the score rose: so much by length, or a word, is its cause"
    )
    longer: float = Field(0.1, gt=0, description="growth of responses from which length is asked about (claim 26)")
    much_longer: float = Field(0.3, gt=0, description="growth that is exploited even where answers got better")
    entropy: float = Field(0.3, gt=0, lt=1, description="of the entropy it began with: below this it has collapsed")
    opening: float = Field(0.4, gt=0, lt=1, description="share of responses with one opening, over all prompts")
    habit: float = Field(3.0, gt=1, description="times as many hedges or lists as at the beginning (claim 27)")
    agreed: float = Field(2.0, gt=1, description="times as many wrong claims repeated as before (claim 28)")
    common: float = Field(0.1, gt=0, lt=1, description="share of answers below which a habit is no illness")
    constraints: float = Field(0.1, gt=0, lt=1, description="of the answers: so many more that break a constraint")


@dataclass(frozen=True)
class Finding:
    """The answer to one question.   words, do: the sentence, and what to change ("" where nothing is to be done)

    figure: the number that decides it     cause: of several illnesses the one with the smallest number is the cause
    mechanism: whose failure it is: the controller's, the classifier's (the reward model, or whom it learned from), or
    that of the distribution of answers
    """

    question: str
    outcome: Outcome
    words: str
    do: str = ""
    figure: Number | None = None
    mechanism: Mechanism | None = None
    cause: int = 9
    name: str = ""  # of the illness

    @property
    def sentence(self) -> str:
        return f"{self.words}{': ' if self.do else ''}{self.do}."

    def to_dict(self) -> dict[str, Any]:
        found = {key: getattr(self, key) for key in ("question", "outcome", "name", "mechanism", "sentence")}
        number = self.figure
        said = number and {"value": number.value, "interval": number.interval, "n": number.n}
        return found | {"figure": said}


def undecided(question: str, why: str, do: str = "") -> Finding:
    return Finding(question, "not decided", f"Cannot be decided: {why}", do)


@dataclass(frozen=True)
class Change:
    """Of a metric, from one window to a later one.   se: of the difference, at `degrees` of freedom"""

    before: float
    after: float
    se: float
    degrees: int
    n: int  # responses, or iterations where it is not known how many these are, of both windows

    @property
    def by(self) -> float:
        return self.after - self.before

    def up(self, sure: float) -> bool:
        return self.by > sure * self.se and self.by > 1e-9

    def down(self, sure: float) -> bool:
        return -self.by > sure * self.se and -self.by > 1e-9

    def number(self) -> Number:
        half = t_quantile(0.95, self.degrees + 1) * self.se
        return Number(self.by, (self.by - half, self.by + half), self.n)

    def __str__(self) -> str:
        return f"{self.before:.3g} to {self.after:.3g}"


@dataclass(frozen=True)
class Evidence:
    """One policy of a story, asked by the names of metrics.   limits: where illness begins"""

    story: Story
    name: str
    limits: Thresholds = field(default_factory=Thresholds)

    @property
    def stage(self) -> Stage:
        return self.story.stages[self.name]

    @property
    def sure(self) -> float:
        return self.limits.sure

    def setting(self, key: str) -> float | None:
        value = self.stage.settings.get(key)
        return float(value) if is_number(value) else None

    @cached_property
    def rows(self) -> list[Row]:
        """Iterations with a score and a KL: windows of different metrics are of the same iterations."""
        return [row for row in self.stage.metrics if is_number(row.get("objective/scores"))]

    @property
    def long_enough(self) -> bool:
        return len(self.rows) >= LEAST

    @property
    def width(self) -> int:
        """A fifth of the run."""
        return max(3, min(WIDEST, len(self.rows) // 5))

    @property
    def last(self) -> int:
        """Where the last window begins."""
        return len(self.rows) - self.width

    def has(self, key: str) -> bool:
        return self.long_enough and all(is_number(row.get(key)) for row in self.rows)

    def values(self, key: str) -> np.ndarray:
        return np.array([row[key] for row in self.rows], dtype=float)

    def responses(self, iterations: int) -> int:
        """In so many iterations; iterations themselves where the log does not say."""
        episodes = [row["episode"] for row in self.rows if is_number(row.get("episode"))]
        batch = (episodes[-1] - episodes[0]) / (len(episodes) - 1) if len(episodes) > 1 else 1
        return round(iterations * max(1, batch))

    def window(self, key: str, start: int) -> tuple[float, float]:
        """Mean and its standard error: by how iterations scatter around their trend, or by what the log says."""
        row = self.values(key)[start : start + self.width]
        x = np.arange(len(row)) - (len(row) - 1) / 2
        scatter = row - row.mean() - x * (x @ row) / (x @ x)
        variance = float(scatter @ scatter) / max(1, len(row) - 2) / len(row)
        given = [of.get(f"{key}_se") for of in self.rows[start : start + self.width]]
        if all(is_number(se) for se in given):
            variance = max(variance, sum(float(se) ** 2 for se in given if se is not None) / len(given) ** 2)
        return float(row.mean()), math.sqrt(variance)

    def change(self, key: str, start: int = 0, end: int | None = None) -> Change:
        """From the window that begins at `start` to the one that begins at `end`, the last."""
        end = self.last if end is None else end
        (before, one), (after, other) = self.window(key, start), self.window(key, end)
        return Change(before, after, math.hypot(one, other), 2 * (self.width - 2), self.responses(2 * self.width))

    def level(self, key: str, start: int | None = None) -> Number:
        """Of one window, the last."""
        mean, se = self.window(key, self.last if start is None else start)
        half = t_quantile(0.95, self.width - 1) * se
        return Number(mean, (mean - half, mean + half), self.responses(self.width))

    def smooth(self, key: str) -> np.ndarray:
        """(windows,) the mean of each window."""
        return np.convolve(self.values(key), np.ones(self.width) / self.width, "valid")

    @property
    def judge(self) -> str | None:
        """Who says what answers are really worth: the truth, where it is known, else a second opinion."""
        return next((key for key in ("world/gold", "second_opinion/scores") if self.has(key)), None)

    # ---- what was measured after it had learned

    def measured(self, *keys: str) -> Number | None:
        return Number.of(at(self.story.measured.get(self.name), *keys))

    @cached_property
    def before(self) -> str | None:
        """The measured model to compare with: what it began from, or the nearest before that."""
        names = [self.story.began_from(self.name), "init-s", "init", "sft-s", "sft"]
        return next((name for name in names if name and name != self.name and name in self.story.measured), None)

    def measured_before(self, *keys: str) -> Number | None:
        return Number.of(at(self.story.measured.get(self.before or ""), *keys))


def words_of(number: Number, digits: int = 2, share: bool = False) -> str:
    """0.42 (0.31 to 0.53), or 42 % (31 to 53)"""
    by, unit = (100, " %") if share else (1, "")
    digits = 0 if share else digits
    said = f"{by * number.value:.{digits}f}{unit}"
    if number.interval is not None:
        said += f" ({by * number.interval[0]:.{digits}f} to {by * number.interval[1]:.{digits}f}{of(number)})"
    return said if number.interval is not None else said + (f" ({of(number)[2:]})" if number.n else "")


def of(number: Number) -> str:
    return "" if number.n is None else f", n = {number.n:,}"


def thirds(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The samples of the first third of the iterations that have any, and of the last."""
    steps = sorted({row["step"] for row in rows if is_number(row.get("step"))})
    if len(steps) < 3:
        return [], []
    early, late = steps[len(steps) // 3], steps[-(len(steps) // 3)]
    with_step = [row for row in rows if is_number(row.get("step")) and isinstance(row.get("response"), str)]
    return [row for row in with_step if row["step"] < early], [row for row in with_step if row["step"] >= late]
