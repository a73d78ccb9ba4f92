"""InstructGPT from nothing to a report: figure 2 of the paper as a table of contents. `rather run RECIPE` does it.

A recipe lists stages; each is a verb of its own, and leaves a folder or a file in the folder of the story. A stage
whose settings and inputs are what they were is not run again, and one that was interrupted goes on where it was.
Stages that do not wait for each other can run side by side.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rather import files
from rather.cli import VERBS, rather
from rather.cli.ready import asked_of
from rather.errors import BadSetting, visible
from rather.evaluate.readiness import readiness, verdict
from rather.evaluate.readiness import write as write_readiness
from rather.pipeline_judged import judge
from rather.pipeline_memory import AGAIN, Memory, Why
from rather.pipeline_order import ALONE, next_of, waits
from rather.pipeline_recipe import Recipe, Step
from rather.pipeline_side_by_side import SideBySide
from rather.report import write_report
from rather.run import DONE, lock
from rather.stages.ppo_config import PPOConfig
from rather.worlds.named import world_named
from rather.worlds.writing import Sizes, write_world


@dataclass(frozen=True)
class Told:
    """Who is told what happens.   stage(step, why): None is a stage that is left as it was    words: of a stage"""

    stage: Callable[[Step, Why | None], None]
    words: Callable[[str], None]


def _say_stage(step: Step, why: Why | None) -> None:
    head = f"== {step.name}: {visible(why.words) if why else 'as it was'}"
    print(head if why is None else f"\n{head}\n{step.typed}", flush=True)


def _say(words: str) -> None:
    print(visible(words), flush=True)


ALOUD = Told(_say_stage, _say)  # on standard output


def story(recipe: Recipe, told: Told, jobs: int = 1) -> dict[str, str]:
    """Everything that the recipe lists; what is as it should be is left alone.

    jobs: how many stages run side by side at most; with 1 they run in their order, in this process
    """
    done: dict[str, str] = {}
    recipe.folder.mkdir(parents=True, exist_ok=True)
    held = lock.take(recipe.folder)
    try:
        memory = Memory.of(recipe)
        files.remove_unfinished(recipe.folder)
        steps, left, waiting = {step.name: step for step in recipe.steps}, list(recipe.steps), waits(recipe)
        with SideBySide(jobs, modules(recipe)) as beside:
            while left or beside.running:
                step = next_of(left, beside.running, waiting) if len(beside.running) < jobs else None
                if step is None:
                    name, seconds, _ = beside.ended()
                    memory.finish(steps[name], seconds)
                    continue
                left.remove(step)
                asked = memory.asked(step)
                why = memory.why(step, asked)
                told.stage(step, why)
                done[step.name] = why.words if why else "as it was"
                if why is None:
                    memory.keep(step, asked)
                    continue
                memory.begin(step, asked, again=why.option == AGAIN)
                look_before(recipe, step, told.words)
                if jobs == 1 or (not beside.running and all(step.name in waiting[other.name] for other in left)):
                    began = time.monotonic()
                    CHAPTERS[step.verb](recipe, step, why, told.words)
                    memory.finish(step, time.monotonic() - began)
                else:
                    beside.start(step.name, partial(_chapter, recipe, step, why))
    finally:
        lock.release(held)
    return {name: done[name] for name in steps}


def _chapter(recipe: Recipe, step: Step, why: Why) -> None:
    """A stage in a process of its own."""
    CHAPTERS[step.verb](recipe, step, why, ALOUD.words)


def modules(recipe: Recipe) -> list[str]:
    """What the verbs import of the stages that are not alone."""
    verbs = dict.fromkeys(step.verb for step in recipe.steps if step.verb not in ALONE)
    return [__name__, *(f"rather.cli.{VERBS[verb][0].partition(':')[0] if verb in VERBS else verb}" for verb in verbs)]


# ---- the chapters


def write_the_world(recipe: Recipe, step: Step, why: Why, say: Callable[[str], None]) -> None:
    """Where there is a world, it stands for the internet, for users and for labelers."""
    sizes: Mapping[str, Any] = step.settings.model_dump(exclude={"world", "few_demonstrations"})
    new = recipe.folder / ".world.unfinished"
    counts = write_world(world_named(step.settings.world), new, Sizes(**sizes))  # type: ignore[attr-defined]
    if few := step.settings.few_demonstrations:  # type: ignore[attr-defined]
        lines = (new / "demonstrations.jsonl").read_bytes().splitlines(keepends=True)
        files.write_bytes(recipe.folder / "demonstrations-few.jsonl", b"".join(lines[:few]))
    for name in counts:
        os.replace(new / name, recipe.folder / name)
    new.rmdir()
    say(", ".join(f"{count:,} {name.removesuffix('.jsonl')}" for name, count in counts.items() if "-test" not in name))


def train(recipe: Recipe, step: Step, why: Why, say: Callable[[str], None]) -> None:
    """A base model; step 1; the model that RL starts from; step 3."""
    _verb([*step.command, *why.option])


def learn_what_is_preferred(recipe: Recipe, step: Step, why: Why, say: Callable[[str], None]) -> None:
    """Step 2: a reward model, and how good it is."""
    if not (recipe.folder / step.name / DONE).exists() or "--again" in why.option:
        train(recipe, step, why, say)
    asked = [
        asked_of(recipe.folder, one.settings).prompts for one in recipe.steps if isinstance(one.settings, PPOConfig)
    ]
    against = next(([f"--against={path}"] for path in asked if path is not None and path.exists()), [])
    _verb(["reward", "report", str(recipe.folder), "--name", step.name, *against])


def look_before(recipe: Recipe, step: Step, say: Callable[[str], None]) -> None:
    """Before step 3, whether it is the right tool here. It goes on either way: people decide that."""
    if not isinstance(step.settings, PPOConfig):
        return
    lines = readiness(recipe.folder, asked_of(recipe.folder, step.settings))
    write_readiness(recipe.folder, lines)
    say(verdict(lines))
    for line in lines:
        if line.outcome == "look":
            say(f"  {line.question} {line.figure}. {line.do}")


def rank(recipe: Recipe, step: Step, why: Why, say: Callable[[str], None]) -> None:
    """Policies answer, labelers rank. Measuring goes the same way: what is there already is not measured again."""
    _verb(step.command)


def decide(recipe: Recipe, step: Step, why: Why, say: Callable[[str], None]) -> None:
    """Which claims of the paper this run bears out, and whose answers are preferred (figure 1)."""
    judge(recipe.folder, say)


def tell(recipe: Recipe, step: Step, why: Why, say: Callable[[str], None]) -> None:
    """One page with all of it. Last: no stage knows that it is there."""
    say(str(write_report([recipe.folder])))


CHAPTERS: Mapping[str, Callable[[Recipe, Step, Why, Callable[[str], None]], None]] = {
    "world": write_the_world,          # prompts, demonstrations, web pages: from a world, or from people
    "pretrain": train,                 # a language model that has read the web, and does not do what one asks of it
    "sft": train,                      # step 1: labelers demonstrate, the model learns to do likewise
    "init": train,                     #         ... and the model that step 3 starts from (app. C.3)
    "rank": rank,                      # step 2: the model answers several times, labelers rank the answers
    "reward": learn_what_is_preferred, #         a reward model learns what they prefer
    "ppo": train,                      # step 3: the policy learns from the reward model
    "dpo": train,                      #         ... or from the rankings themselves
    "grpo": train,                     #         ... or from what a program can check
    "best-of-n": train,                #         ... or nothing is trained, and the best of several answers is kept
    "measure": rank,                   # what became of it: preferences, benchmarks, truthfulness, toxicity, bias
    "claims": decide,
    "report": tell,
}  # fmt: skip


def _verb(words: Sequence[str]) -> None:
    """The verb that a person would have typed. Its errors are said as if they had."""
    if code := rather.main(list(words), prog_name="rather", standalone_mode=False):
        raise BadSetting(f"rather {' '.join(words)} ended with {code}.", "Expected it to finish.")
