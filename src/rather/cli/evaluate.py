"""`rather evaluate MODEL...`: the paper's public tasks.  `rather evaluate tax OURS BASE`: what alignment cost on them.
`rather evaluate preference OURS THEIRS`: whose answers are preferred (evaluate_preference.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from rather import machine
from rather.cli.evaluate_preference import preference
from rather.cli.measure import saying
from rather.cli.stage import keys_of
from rather.errors import BadSetting, CheckFailed, visible
from rather.evaluate.endpoint_judges import Endpoint
from rather.evaluate.tasked import EvaluateConfig, Model, Questions, known_task, measure_task, sources_in
from rather.evaluate.tasks import TASKS, Tools
from rather.evaluate.tasks.toxicity import Classifier, WordList
from rather.evaluate.tax import Toll, mean, tolls, why_not


def _tasks() -> str:
    rows = []
    for task in TASKS.values():
        rows += [f"  {task.name}: {task.about}; {task.shots} examples", f"      {task.hub or 'from a file'}"]
    return "\b\nTasks, with appendix D's examples before each question:\n" + "\n".join(rows) + "\n\n"


@click.command("evaluate", epilog=_tasks() + keys_of(EvaluateConfig), context_settings={"max_content_width": 120})
@click.argument("words", nargs=-1, metavar="MODEL... [TASK=FILE]... [KEY=VALUE]...")
@click.option("--tasks", "chosen", help="Names with commas. Default: those whose data are named.")
@click.option("--data", type=click.Path(path_type=Path), help="A folder of TASK.jsonl and TASK.shots.jsonl.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Of results. Default: RUN/evaluate/tasks.")
@click.option("--again", is_flag=True, help="Measure again what did not change.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def measure(
    words: tuple[str, ...], chosen: str | None, data: Path | None, out: Path | None, again: bool, as_object: bool
) -> None:
    """Run the paper's public tasks (appendix D) on models: RUN/NAME, a model folder, or a hub id.

    TASK=FILE names questions, TASK.shots=FILE examples: .jsonl, .jsonl.gz, .parquet, a folder of Parquet, or
    org/name[:config][@split] on the hub. A task without a file is taken from its own place on the hub.

    What alignment cost:  rather evaluate tax OURS BASE     Whose answers are better:  rather evaluate preference
    """
    models, sources, overrides = sorted_out(words)
    config = EvaluateConfig.load(None, overrides)
    if data is not None:
        sources = sources_in(data) | sources
    names = [name.strip() for name in chosen.split(",")] if chosen else [name for name in TASKS if name in sources]
    if not models or not names:
        missing = "model" if not models else "task"
        raise BadSetting(
            f"No {missing} is named.",
            "Expected models, and tasks by --tasks, TASK=FILE or --data.",
            "For example:  rather evaluate run/ppo --tasks hellaswag hellaswag=FILE.jsonl",
        )
    if len({model.name for model in models}) < len(models):
        raise BadSetting("Two models have the same name, and would write the same files.", do="Use -o, one at a time.")
    torch.set_num_threads(machine.best_threads())
    tools = tools_of(config, names)
    asked = [Questions.of(known_task(name), sources.get(name), sources.get(f"{name}.shots"), config) for name in names]
    found: dict[str, dict[str, Any]] = {}
    with saying() as say:
        for model in models:
            for questions in asked:
                task = questions.task.name
                said = measure_task(
                    model, questions, config, tools, out or model.out, again,
                    lambda part, name=model.name, task=task: say(f"{name}, {task} {part}"),  # type: ignore[misc]
                )  # fmt: skip
                found.setdefault(model.name, {})[task] = said
    if as_object:
        click.echo(json.dumps({"models": found}))
        return
    for name, results in found.items():
        click.echo(visible(name))
        for task, result in results.items():
            click.echo("\n".join(f"  {line}" for line in lines_of(task, result)))
    click.echo("All of it, with every answer: " + visible(str(out or models[0].out)) + "/NAME/TASK.json and .jsonl")


def sorted_out(words: Sequence[str]) -> tuple[list[Model], dict[str, str], list[str]]:
    """Models, TASK=FILE and KEY=VALUE, told apart by how they look."""
    sources, overrides = {}, []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.removesuffix(".shots") in TASKS:
            sources[name] = value
        elif equals:
            overrides.append(word)
    return [Model.named(word) for word in words if "=" not in word], sources, overrides


def tools_of(config: EvaluateConfig, names: Sequence[str]) -> Tools:
    """Only what the tasks need: a classifier may be large, and a judge may cost money."""
    scorer: WordList | Classifier | None = None
    if any(TASKS[name].needs == "toxicity" for name in names if name in TASKS):
        scorer = WordList() if config.toxicity == "words" else Classifier(config.toxicity, config.toxic_label)
    if config.judge is None:
        return Tools(scorer)
    if config.judge_model is None:
        raise BadSetting("A judge without its model.", "Expected the model at the endpoint.", "judge_model=NAME")
    return Tools(scorer, Endpoint("judge", config.judge, config.judge_model))


def lines_of(task: str, result: Mapping[str, Any]) -> list[str]:
    """Every metric of a task, the one that stands for it first."""
    metrics = dict(result["metrics"])
    shown = {result["main"]: metrics.pop(result["main"]), **metrics}
    left = sum(result["left out"].values())
    head = f"{task}   {result['questions']:,} questions, {result['about']['shots']} examples before each"
    scorer = result["about"]["toxicity scorer"]
    head += f"; {left:,} prompts too long, left out" * bool(left) + f"; scored by: {visible(str(scorer))}" * bool(
        scorer
    )
    return [head, *(f"  {name:34} {_percent(estimate)}" for name, estimate in shown.items())]


def _percent(estimate: Mapping[str, Any]) -> str:
    low, high = estimate["interval"]
    return f"{100 * estimate['value']:5.1f}  ({100 * low:.1f} to {100 * high:.1f})  n={estimate['n']:,}"


@click.command("tax", context_settings={"max_content_width": 120})
@click.argument("ours")
@click.argument("base")
@click.option("--fail-below", type=click.FloatRange(max=0), help="Points of a hundred: exit status 1 beyond.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Where the results of both are.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def tax(ours: str, base: str, fail_below: float | None, out: Path | None, as_object: bool) -> None:
    """What OURS lost to BASE on the tasks that both were measured on, question by question (the alignment tax).

    Differences are paired, in points of a hundred. A task fails --fail-below -2 where it lost more than two points and
    its whole interval is a loss; where a loss may be chance, the line says so.
    """
    mine, theirs = Model.named(ours), Model.named(base)
    found = tolls((out or mine.out, mine.name), (out or theirs.out, theirs.name))
    value, interval = mean(found)
    why = "" if fail_below is None else why_not(found, fail_below)
    if as_object:
        said: dict[str, Any] = {"ours": mine.name, "base": theirs.name, "tasks": [toll.to_dict() for toll in found]}
        said["mean"] = {"difference": value, "interval": list(interval), "tasks": len(found)}
        if fail_below is not None:
            said |= {"fail below": fail_below, "failed": why}
        click.echo(json.dumps(said))
        if why:
            click.echo(f"rather: {why}", err=True)
            raise click.exceptions.Exit(CheckFailed.exit_code)
        return
    for toll in found:
        click.echo(toll_line(toll, fail_below))
    click.echo(
        f"{'mean of the tasks':32} {value:+6.1f}  ({interval[0]:+.1f} to {interval[1]:+.1f})  {len(found)} tasks"
    )
    if why:
        raise CheckFailed(why, f"Expected no loss of more than {abs(fail_below or 0):g} points that is not chance.")


def toll_line(toll: Toll, fail_below: float | None) -> str:
    low, high = toll.interval
    line = f"{toll.task:18} {toll.metric:14} {toll.difference:+6.1f}  ({low:+.1f} to {high:+.1f})  n={toll.n:,}"
    line += f"   {toll.theirs:.1f} -> {toll.ours:.1f}"
    if fail_below is not None and toll.lost(fail_below):
        return f"{line}   lost"
    if fail_below is not None and low < fail_below:
        return f"{line}   a loss of {abs(fail_below):g} points is not ruled out"
    return line


class TasksOrMore(click.Command):
    """`rather evaluate ...` runs tasks; `tax` and `preference` have their own options and help."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        for verb in (tax, preference):
            if args[:1] == [verb.name]:
                return verb.make_context(f"{info_name} {verb.name}", args[1:], parent, **extra)
        return measure.make_context(info_name, args, parent, **extra)


command = TasksOrMore("evaluate")
