"""`rather run RECIPE --plan`: which stages would run, why, and the verb of each."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import click

from rather.errors import visible
from rather.pipeline_memory import Memory
from rather.pipeline_order import beside
from rather.pipeline_recipe import Recipe
from rather.pipeline_seeds import bases, common, left_over, of_seed

Row = dict[str, Any]


def show_plan(recipe: Recipe, jobs: int, as_object: bool) -> None:
    if recipe.seeds == 1:
        rows = _rows(recipe, jobs)
        if as_object:
            click.echo(json.dumps({"run": str(recipe.folder), "stages": rows}))
        else:
            _print(recipe, rows)
        return
    seeds = [of_seed(recipe, number) for number in range(recipe.seeds)]
    shared = common(seeds[0])
    before = {row["stage"]: row for row in _rows(shared, jobs)}
    remade = any(before[name]["why"] != AS_IT_WAS for name in bases(recipe))
    plans = []
    for number, one in enumerate(seeds):
        rows = _rows(one, 1, remade)
        plans.append([row | {"common": False} if number else before.get(row["stage"], row) | {
            "common": row["stage"] in before} for row in rows])  # fmt: skip
    if as_object:
        told = [{"run": str(one.folder), "stages": rows} for one, rows in zip(seeds, plans, strict=True)]
        click.echo(json.dumps({"run": str(recipe.folder), "seeds": told}))
        return
    for number, (one, rows) in enumerate(zip(seeds, plans, strict=True)):
        click.echo(f"{chr(10) if number else ''}==== {one.folder}")
        if number and before:
            click.echo(f"{', '.join(bases(recipe))}: those of {seeds[0].folder.name}, by a link")
        _print(one, rows)
    for words in left_over(recipe):
        click.echo(visible(f"\n{words}"))


AS_IT_WAS = "as it was"


def _rows(recipe: Recipe, jobs: int, runs: bool = False) -> list[Row]:
    """runs: something that the stages may depend on will have run before them"""
    memory = Memory.of(recipe)
    free = beside(recipe) if jobs > 1 else {}
    rows = []
    for step in recipe.steps:
        why = memory.why(step, memory.asked(step))
        words = why.words if why else "after what runs before it" if runs else AS_IT_WAS
        runs = runs or why is not None
        rows.append(
            {"stage": step.name, "why": words, "beside": free.get(step.name, []), "command": ["rather", *step.command]}
        )
    return rows


def _print(recipe: Recipe, rows: Collection[Row]) -> None:
    for step, row in zip(recipe.steps, rows, strict=True):
        near = row["beside"]
        also = f"   (may run beside {', '.join(near[:3])}{', ...' if len(near) > 3 else ''})" if near else ""
        all_ = "   (common to all seeds)" if row.get("common") else ""
        click.echo(f"{step.name:16} {visible(row['why'])}{all_}{also}\n  {step.typed}")
