"""Alarms while step 3 runs: what the numbers mean, with the evidence and the next thing to do.

An alarm is a function of the metrics that were logged so far, so a resumed run raises the ones it would have raised. It
is raised when it begins, and again only when it has been gone for a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from rather.stages.ppo_config import PPOConfig

WINDOW = 10  # iterations whose mean is compared
SURE = 3.0  # standard errors
EARLY = 5  # iterations in a row, all bad: too few for a mean, and enough to have moved the policy


@dataclass(frozen=True)
class Alarm:
    name: str
    evidence: str
    do: str


@dataclass
class Alarms:
    """All alarms of a run. history: the rows that metrics.jsonl has already."""

    config: PPOConfig
    history: Sequence[Mapping[str, Any]] = ()
    seen: list[Mapping[str, Any]] = field(init=False)
    last: dict[str, int] = field(default_factory=dict, init=False)  # name -> iterations seen when it was last found

    def __post_init__(self) -> None:
        rows, self.seen = self.history, []
        for row in rows:
            self.check(row)

    def check(self, row: Mapping[str, Any]) -> list[Alarm]:
        """The alarms that begin with this iteration's metrics."""
        self.seen.append(row)
        found = [alarm for rule in RULES for alarm in rule(Story(self.seen), self.config)]
        # One that comes and goes with the noise of single iterations is one alarm.
        begun = [a for a in found if a.name not in self.last or len(self.seen) - self.last[a.name] > WINDOW]
        self.last |= {alarm.name: len(self.seen) for alarm in found}
        return begun


@dataclass(frozen=True)
class Change:
    """From one window of iterations to a later one."""

    before: float
    after: float
    error: float  # standard error of the difference

    @property
    def up(self) -> bool:
        return self.after - self.before > SURE * self.error

    @property
    def down(self) -> bool:
        return self.before - self.after > SURE * self.error

    def __str__(self) -> str:
        return f"{self.before:.3g} -> {self.after:.3g} (se {self.error:.2g})"


@dataclass(frozen=True)
class Story:
    """The metrics so far, asked by name."""

    rows: Sequence[Mapping[str, Any]]

    def series(self, name: str) -> np.ndarray:
        return np.array([row[name] for row in self.rows if row.get(name) is not None], dtype=float)

    def recent(self, name: str, least: int = WINDOW) -> float | None:
        """Mean of the last window; None while there is none."""
        values = self.series(name)
        return float(values[-WINDOW:].mean()) if len(values) >= least else None

    def since_start(self, name: str) -> Change | None:
        """From the first window to the last."""
        values = self.series(name)
        return change(values[:WINDOW], values[-WINDOW:]) if len(values) >= 2 * WINDOW else None

    def lately(self, name: str) -> Change | None:
        """From the window before to the last."""
        values = self.series(name)
        return change(values[-2 * WINDOW : -WINDOW], values[-WINDOW:]) if len(values) >= 2 * WINDOW else None

    def since(self, start: int, name: str) -> Change | None:
        """From the window that begins at row `start` to the last."""
        values = self.series(name)
        whole = len(values) == len(self.rows) and start + 2 * WINDOW <= len(values)
        return change(values[start : start + WINDOW], values[-WINDOW:]) if whole else None


def change(before: np.ndarray, after: np.ndarray) -> Change:
    error = np.sqrt(before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after))
    return Change(float(before.mean()), float(after.mean()), float(error))


def negative_kl(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    """Item 39. Two in a row, and not by rounding: at a true KL of 0 one batch in 700 is 3 standard errors below it."""
    last = story.rows[-2:]
    low = [row["objective/kl"] < -max(SURE * row["objective/kl_se"], 0.01) for row in last]
    if len(low) == 2 and all(low):
        yield Alarm(
            "negative_kl",
            f"The KL is {last[-1]['objective/kl']:.3g} nats (se {last[-1]['objective/kl_se']:.2g}), twice in a row. "
            "The mean of a KL cannot be negative: these are not samples of this policy.",
            "Likely causes, in order: 1. padding in the log-probs. 2. The temperature on one side only. "
            "3. Dropout in one model. 4. A reference with another tokenizer.",
        )


def kl_budget(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    kl = story.rows[-1]["objective/kl"]
    if config.kl_budget is not None and kl > config.kl_budget:
        yield Alarm(
            "kl_budget",
            f"The KL is {kl:.3g} nats a response; the budget is {config.kl_budget:g}.",
            "Stop here, raise kl_coef, or lower learning_rate.",
        )


def kl_drift(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    """The policy goes away and gets nothing for it: that is drift, not hacking."""
    kl, score = story.lately("objective/kl"), story.lately("objective/scores")
    if kl and score and kl.up and kl.after > 1.2 * kl.before and not score.up:
        beta = story.lately("objective/kl_coef")
        fell = f" beta {beta}." if beta and beta.after < beta.before else ""
        yield Alarm(
            "kl_drift",
            f"In {WINDOW} iterations the KL went {kl} while the score stayed: {score}.{fell}",
            "The controller lets the policy go: raise kl_coef or kl_floor." if fell else "Raise kl_coef.",
        )


def no_penalty(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    """beta is 0. The first nat may be what anybody would want; after it nothing says where to stop."""
    last = story.rows[-1]
    if config.kl_coef == 0 and last["objective/kl"] > 1 + SURE * last["objective/kl_se"]:
        yield Alarm(
            "no_penalty",
            f"beta is 0 and the KL is {last['objective/kl']:.3g} nats a response (se {last['objective/kl_se']:.2g}): "
            "the score alone says where the policy goes.",
            "What the reward model does not know will be lost. Set kl_coef (the paper: 0.02), or choose a checkpoint "
            "by a second opinion.",
        )


def reward_hacking(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    """The reward model is ever happier, and somebody else is not."""
    other = story.series("second_opinion/scores")
    if len(other) >= 2 * WINDOW and len(other) == len(story.rows):
        means = np.convolve(other, np.ones(WINDOW) / WINDOW, "valid")
        peak = int(means[: len(other) - 2 * WINDOW + 1].argmax())
        proxy, second = story.since(peak, "objective/scores"), story.since(peak, "second_opinion/scores")
        if proxy and second and proxy.up and second.down:
            yield Alarm(
                "reward_hacking",
                f"Since iteration {story.rows[peak]['step']} the score went {proxy} and the second opinion {second}.",
                "The reward model is being exploited: go back to a checkpoint of that time, raise kl_coef, or collect "
                "comparisons of the new policy's samples.",
            )
            return
    spread, score = story.since_start("objective/score_spread"), story.since_start("objective/scores")
    if spread and score and spread.up and spread.after > 1.5 * spread.before and score.up:
        yield Alarm(
            "reward_hacking",
            f"The score went {score}, and the reward models agree on it less and less: spread {spread}.",
            "ensemble=worst or mean-spread, raise kl_coef, or collect comparisons of the new policy's samples.",
        )


def mode_collapse(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    entropy, runs = story.since_start("policy/entropy_avg"), story.since_start("response/distinct_2")
    top = story.since_start("response/top_opening")
    one_opening = top and top.up and top.after > 0.4
    if one_opening or (entropy and runs and entropy.after < 0.7 * entropy.before and runs.after < 0.7 * runs.before):
        found = {"entropy": entropy, "distinct pairs of tokens": runs, "commonest opening": top}
        yield Alarm(
            "mode_collapse",
            "The answers become one answer: " + ", ".join(f"{k} {v}" for k, v in found.items() if v) + ".",
            "Look at them (rather look RUN/ppo). Raise kl_coef, mix in more pretraining text, or stop earlier.",
        )


def length(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    """Longer, and no better than the length alone explains."""
    tokens, score = story.since_start("response/length"), story.since_start("objective/scores")
    slope = story.recent("response/length_slope")
    if tokens and score and slope is not None and tokens.up and tokens.after > 1.1 * tokens.before and score.up:
        explained = slope * (tokens.after - tokens.before)
        rest = score.after - score.before - explained
        if slope > 0 and rest < SURE * score.error:
            yield Alarm(
                "length",
                f"Responses went from {tokens} tokens, the score {score}; at {slope:.3g} a token the length explains "
                f"{explained:.3g} of it, which leaves {rest:.2g}.",
                "The reward model likes length: compare at equal length, add comparisons in which the shorter wins, "
                "or lower max_new_tokens.",
            )


def truncation(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    finished = story.recent("response/finished", least=3)
    if finished is not None and finished < 0.8 and config.missing_eos != "keep":
        yield Alarm(
            "truncation",
            f"{1 - finished:.0%} of the responses are cut off at {config.max_new_tokens} tokens.",
            "Raise max_new_tokens; if they ramble, lower missing_eos_score and look for EOS in the demonstrations.",
        )


def clipping(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    clipped, kl = story.recent("policy/clipfrac_avg", least=3), story.recent("policy/approxkl_avg", least=3)
    if clipped is not None and kl is not None and (clipped > 0.3 or kl > 0.1):
        yield Alarm(
            "clipping",
            f"An iteration moves the policy too far: {clipped:.0%} of the tokens are clipped, approximate KL {kl:.3g}.",
            "Lower learning_rate, or inner_epochs.",
        )


def critic(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    explained, loss = story.recent("val/explained_variance"), story.series("loss/value_avg")
    alone, faster = 2 * config.value_iterations or 10, 4 * config.critic_learning_rate
    early = story.series("val/explained_variance")[config.value_iterations :][-EARLY:]
    if len(early) == EARLY and early.max() < 0:
        yield Alarm(
            "critic",
            f"In the last {EARLY} iterations the critic explained less than a constant would "
            f"({early.min():.2f} to {early.max():.2f}): the policy followed its noise.",
            "Let it learn alone for longer, or faster:  rather ppo ... --again "
            f"value_iterations={alone} critic_learning_rate={faster:g}",
        )
    elif explained is not None and len(story.rows) >= 3 * WINDOW and explained < 0:
        yield Alarm(
            "critic",
            f"After {len(story.rows)} iterations the critic explains less than a constant would ({explained:.2f}).",
            "Raise critic_learning_rate, or let it learn alone first:  value_iterations=10",
        )
    elif len(loss) >= 2 * WINDOW:
        means = np.convolve(loss, np.ones(WINDOW) / WINDOW, "valid")
        if means[-1] > 5 * means.min():
            yield Alarm(
                "critic",
                f"The value loss was {means.min():.3g} and is {means[-1]:.3g}.",
                "Lower critic_learning_rate, or set value_clip=none if scores move by more than 0.2.",
            )


def gradients(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    norms = story.series("grad_norm")
    if len(norms) > WINDOW and norms[-1] > 10 * float(np.median(norms[:-1][-5 * WINDOW :])):
        usual = float(np.median(norms[:-1][-5 * WINDOW :]))
        yield Alarm(
            "gradients",
            f"The gradient norm is {norms[-1]:.3g}, and was {usual:.3g} until now.",
            "Look at this iteration's samples. max_norm=1 clips it; a lower learning_rate may be what is needed.",
        )


def controller(story: Story, config: PPOConfig) -> Iterable[Alarm]:
    """The adaptive one can go wrong in three ways: it follows another number than the KL of a response, it leaves no
    leash, or the policy got away while the leash was long."""
    if config.kl_target is None or len(story.rows) < 3:
        return
    kl, floor = story.recent("objective/kl", least=3), getattr(config.controller(), "floor", 0.0)
    beta, target = story.series("objective/kl_coef"), config.kl_target
    token = story.recent("objective/kl_per_token", least=3)
    said = "" if token is None else f" The KL of a token is {token:.3g}."
    assert kl is not None
    if len(beta) > 3 and all(wrong_way(story.rows[-4:], target)):
        seen = [row["objective/kl"] for row in story.rows[-4:-1]]
        yield Alarm(
            "controller",
            f"beta went {beta[-4]:.4g} -> {beta[-1]:.4g} in three iterations, though the KL of a response was "
            f"{', '.join(f'{one:.3g}' for one in seen)} nats, on the other side of its target of {target:g}.{said}",
            "The controller follows a number of another unit: give it the mean over responses of the sum over tokens, "
            "in nats, not a mean over tokens.",
        )
    elif beta[-1] <= max(floor, config.kl_coef / 20):
        yield Alarm(
            "controller",
            f"beta is {beta[-1]:.3g}, and began at {config.kl_coef:g}: the KL ({kl:.3g}) stays below its target of "
            f"{target:g} nats a response.",
            "Once the policy finds something, nothing will hold it: lower kl_target, raise kl_floor, or fix beta "
            "(kl_target=none).",
        )
    elif kl > 2 * target:
        unit = "" if token is None or token > 2 * target else f"{said} Was kl_target meant for a token?"
        yield Alarm(
            "controller",
            f"The KL is {kl:.3g}, more than twice its target of {target:g}; beta is {beta[-1]:.3g} and follows at "
            f"{0.2 * config.batch_size / config.kl_horizon:.1%} an iteration at most.{unit}",
            "kl_target is in nats of a whole response. If that is what it is: lower kl_horizon or learning_rate, or "
            "fix beta (kl_target=none).",
        )


def wrong_way(rows: Sequence[Mapping[str, Any]], target: float) -> Iterable[bool]:
    """Whether each beta but the first moved against the KL before it."""
    for row, after in pairwise(rows):
        yield (after["objective/kl_coef"] - row["objective/kl_coef"]) * (row["objective/kl"] - target) < 0


RULES: tuple[Callable[[Story, PPOConfig], Iterable[Alarm]], ...] = (
    negative_kl,
    kl_budget,
    kl_drift,
    no_penalty,
    reward_hacking,
    mode_collapse,
    length,
    truncation,
    clipping,
    critic,
    gradients,
    controller,
)
