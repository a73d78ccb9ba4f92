"""`seeds = 3`: one story told three times, each with other chance, in RUN/seed-0, RUN/seed-1 and RUN/seed-2.

In seed K the setting `seed` of every stage is K more, and the verb that is printed makes the same alone. That of
`measure` too: its questions are the world's own whatever its seed, and with one seed for all a base model, which is
common, would give the same answers three times and be counted as three. Base models are made once, in seed-0, and are
links in the others; records that people have put into RUN are links in all. The world is written again, and the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from rather import __version__, files
from rather.diagnose.over_runs import table_over
from rather.diagnose.reading import Row, read_object
from rather.errors import BadFile, BadSetting
from rather.pipeline import ALOUD, Told, modules, story
from rather.pipeline_memory import FILE
from rather.pipeline_order import waits
from rather.pipeline_recipe import Recipe
from rather.pipeline_side_by_side import SideBySide
from rather.report import write_report
from rather.run import CONFIG, lock
from rather.run.seeds import seed_folder, seeds_in, write_seeds

CLAIMS = "claims.json"
Done = dict[str, dict[str, str]]  # seed -> stage -> why it ran


def stories(recipe: Recipe, told: Told, jobs: int = 1) -> Done:
    """All seeds of the recipe, and what they say together.

    jobs: how many seeds, or stages that are common to them, run side by side at most; with 1 all in this process
    """
    refuse_mixing(recipe)
    seeds = [of_seed(recipe, number) for number in range(recipe.seeds)]
    recipe.folder.mkdir(parents=True, exist_ok=True)
    held = lock.take(recipe.folder)
    try:
        files.remove_unfinished(recipe.folder)
        write_seeds(recipe.folder, recipe.seeds)
        for words in left_over(recipe):
            told.words(words)
        for one in seeds:
            _link_records(recipe.folder, one.folder)
        shared = common(seeds[0])
        made = story(shared, told, jobs) if shared.steps else {}
        for one in seeds[1:]:
            for name in bases(recipe):
                _link(one.folder / name, Path("..", seeds[0].folder.name, name))
        done = _one_by_one(seeds, told) if jobs == 1 else _side_by_side(seeds, jobs)
        done[seeds[0].folder.name] |= made
        tell_together(recipe, told)
    finally:
        lock.release(held)
    return done


def _one_by_one(seeds: list[Recipe], told: Told) -> Done:
    done: Done = {}
    for one in seeds:
        told.words(f"==== {one.folder.name}")
        done[one.folder.name] = story(one, told)
    return done


def _side_by_side(seeds: list[Recipe], jobs: int) -> Done:
    done: Done = {}
    left = list(seeds)
    with SideBySide(min(jobs, len(seeds)), [__name__, *modules(seeds[0])]) as beside:
        while left or beside.running:
            if left and len(beside.running) < beside.jobs:
                one = left.pop(0)
                beside.start(one.folder.name, partial(story, one, ALOUD))
                continue
            name, _, done[name] = beside.ended()
    return {one.folder.name: done[one.folder.name] for one in seeds}


# ---- what a seed is


def of_seed(recipe: Recipe, number: int) -> Recipe:
    """The recipe as this seed follows it, in a folder of its own."""
    folder = seed_folder(recipe.folder, number)
    found = Recipe.read(recipe.path, folder, recipe.overrides)
    if number:
        more = [
            f"{step.name}.seed={seed + number}"
            for step in found.steps
            if step.verb != "pretrain" and (seed := getattr(step.settings, "seed", None)) is not None
        ]
        found = Recipe.read(recipe.path, folder, [*recipe.overrides, *more])
        found = replace(found, steps=tuple(step for step in found.steps if step.verb != "pretrain"))
    return found


def bases(recipe: Recipe) -> list[str]:
    """Stages that are made once for all seeds."""
    return [step.name for step in recipe.steps if step.verb == "pretrain"]


def common(first: Recipe) -> Recipe:
    """Of the first seed's stages those that come before all seeds: base models, and what these wait for."""
    waiting = waits(first)
    wanted = {name for base in bases(first) for name in (base, *waiting[base])}
    return replace(first, steps=tuple(step for step in first.steps if step.name in wanted))


# ---- the folders


def refuse_mixing(recipe: Recipe) -> None:
    """A folder holds one story, or several seeds of one, and what is there is not taken for the other."""
    run, count = recipe.folder, recipe.seeds
    if count == 1:
        before = seeds_in(run) or sorted(path.parent for path in run.glob(f"seed-*/{FILE}"))
        if before:
            raise BadSetting(
                f"{run} has seeds of a story: {', '.join(path.name for path in before)}.",
                "Expected seeds in [story], or --seeds.",
                f"All of them:  rather run {recipe.path} {run} --seeds {max(2, len(before))}\n"
                f"The first alone:  rather run {recipe.path} {before[0]} --seeds 1",
            )
        _refuse_other_chance(recipe)
        return
    if (run / FILE).exists() or next(run.glob(f"*/{CONFIG}"), None) is not None:
        raise BadSetting(
            f"{run} has a story of one seed.",
            "Several seeds want a folder of their own.",
            f"rather run {recipe.path} {run.with_name(run.name + '-seeds')} --seeds {count}",
        )
    for number in range(1, count):
        for name in bases(recipe):
            place = seed_folder(run, number) / name
            if place.exists() and not place.is_symlink():
                raise BadSetting(
                    f"{place} is there, and is no link.",
                    f"Base models are common to all seeds: expected a link to that of {seed_folder(run, 0).name}.",
                    f"Name another folder, or move it away:  mv {place.parent} ELSEWHERE",
                )


def _refuse_other_chance(recipe: Recipe) -> None:
    """Alone a story has the recipe's own chance, which is that of seed 0: the same numbers would be counted twice."""
    seed = recipe.folder.absolute()
    if not seed.name.startswith("seed-"):
        return
    others = seeds_in(seed.parent)
    if seed in others[1:]:
        all_ = f"rather run {recipe.path} {recipe.folder.parent} --seeds {len(others)}"
        raise BadSetting(
            f"{recipe.folder} is one of {len(others)} seeds of a story, with chance of its own.",
            f"Run alone it would become a second {others[0].name}.",
            f"All of them:  {all_}\nThe verb of each of its stages:  {all_} --plan",
        )


def left_over(recipe: Recipe) -> Iterator[str]:
    """Of a time when there were more."""
    known = {seed_folder(recipe.folder, number) for number in range(recipe.seeds)}
    for folder in sorted(set(recipe.folder.glob("seed-*")) - known):
        if folder.is_dir():
            yield f"{folder} stays there, and is not counted: there are {recipe.seeds} seeds now"


def _link_records(run: Path, seed: Path) -> None:
    """Records that people have put into RUN are read by all seeds; a file of a seed's own counts for that seed."""
    seed.mkdir(parents=True, exist_ok=True)
    for path in seed.glob("*.jsonl"):
        if path.is_symlink() and not path.exists():
            path.unlink()
    for path in run.glob("*.jsonl"):
        if not os.path.lexists(seed / path.name):
            _link(seed / path.name, Path("..", path.name))


def _link(place: Path, target: Path) -> None:
    """A relative one, so that the whole may be moved."""
    if place.is_symlink() and place.readlink() == target:
        return
    new = place.with_name(f".{place.name}{files.UNFINISHED}")
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(place)
    except OSError as error:
        raise files.cannot_write(place, error) from None


# ---- what they say together


def tell_together(recipe: Recipe, told: Told) -> None:
    """Read from what the seeds said of themselves: nothing is measured again."""
    verbs = {step.verb for step in recipe.steps}
    if "claims" in verbs:
        found = {one.name: _claims(one) for one in seeds_in(recipe.folder)}
        rows = table_over(found)
        world = next(iter(found.values())).get("world")
        files.write_json(recipe.folder / CLAIMS, {"rather": __version__, "world": world, "claims": rows})
    if "report" in verbs:
        told.words(str(write_report([recipe.folder])))


def _claims(seed: Path) -> Row:
    found = read_object(seed / CLAIMS)
    if not isinstance(found.get("claims"), list):
        raise BadFile(
            f"{seed / CLAIMS} has no claims.",
            "Expected what `rather run` wrote.",
            f"rm {seed / CLAIMS}   and the same `rather run` makes it again",
        )
    return found
