"""`rather diagnose RUN`: what went wrong with a policy while it was optimised, from the files of its run alone.

    found = diagnose(Story.read(Path("run")), "ppo")      # an answer to each question
    illness(found)                                         # the one that the others follow from, or None

Three failures are told apart by mechanism. The controller: the policy leaves where it began (drift). The classifier:
the score rises and what it stands for does not (over-optimisation; length, hedging, lists, sycophancy name what is
exploited). The distribution: all answers become one (collapse). One question a file; what was not measured is not
guessed.

    reading   a story as plain values       evidence   windows, changes with intervals, thresholds
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rather.diagnose.collapse import collapse
from rather.diagnose.constraints import constraints
from rather.diagnose.drift import drift
from rather.diagnose.evidence import Evidence, Finding, Thresholds
from rather.diagnose.hedging import hedging, lists
from rather.diagnose.length import length
from rather.diagnose.overoptimisation import overoptimisation
from rather.diagnose.premises import premises
from rather.diagnose.reading import Story
from rather.diagnose.sycophancy import sycophancy
from rather.errors import BadSetting, NotReady, nearest

QUESTIONS: tuple[Callable[[Evidence], Finding], ...] = (
    overoptimisation,
    drift,
    collapse,
    length,
    hedging,
    lists,
    sycophancy,
    premises,
    constraints,
)

__all__ = ["QUESTIONS", "Evidence", "Finding", "Story", "Thresholds", "diagnose", "illness", "patient"]


def diagnose(story: Story, name: str, limits: Thresholds | None = None) -> list[Finding]:
    evidence = Evidence(story, name, limits or Thresholds())
    return [question(evidence) for question in QUESTIONS]


def illness(findings: Sequence[Finding]) -> Finding | None:
    """A policy that nothing holds exploits its reward model too, and one that stuffs a word becomes one answer: of
    several illnesses the one is named that the others follow from."""
    return min((one for one in findings if one.outcome == "ill"), key=lambda one: one.cause, default=None)


def patient(story: Story, name: str | None = None) -> str:
    """The policy to ask about: the one that is named, the story's last, or one that is still learning."""
    known = story.optimised()
    if name is not None:
        if name not in story.stages:
            raise BadSetting(
                f"{story.path} has no {name!r}.{nearest(name, story.stages)}", f"{', '.join(story.stages)}."
            )
        return name
    aligned = story.aligned()
    if aligned in known:
        return aligned
    if not known:
        raise NotReady(
            f"{story.path} has no policy that was optimised: no stage logged objective/scores.",
            "Expected a story in which PPO or GRPO ran.",
            f"rather ppo {story.path}",
        )
    return known[-1]
