"""`python -m benchmarks`: our steps beside the peer's, as ratios of one run on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from benchmarks.compare import QUICK, Plan, Say, compare
from benchmarks.measure import flops_per_second
from benchmarks.process import Process, System
from benchmarks.sizes import SIZES, Size
from benchmarks.tasks import TASKS
from rather import files, limits
from rather.errors import BadSetting, CheckFailed, MissingExtra, RatherError, nearest

RESULTS = Path(__file__).parent / "results.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--tasks", default=",".join(TASKS), show_default=True, help="What to compare, with commas.")
@click.option("--sizes", default=None, help="Models, with commas. [default: mini,gpt2; with --quick mini]")
@click.option("--threads", default=None, help="Thread counts, with commas. [default: 1,2; with --quick 1]")
@click.option("--rounds", type=click.IntRange(min=1), default=None, help="[default: 5; with --quick 2]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and workload.")
@click.option(
    "--quick", is_flag=True, help="A smoke run of some minutes: short turns, the peer's likely best settings only."
)
@click.option("--self-test", is_flag=True, help="The peer against itself: every ratio should be 1.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="[default: benchmarks/results.json; none with --quick or --self-test]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    tasks: str,
    sizes: str | None,
    threads: str | None,
    rounds: int | None,
    seed: int,
    quick: bool,
    self_test: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare our steps with those of TRL and transformers, alternated on this machine. See docs/benchmarks.md."""
    chosen_tasks = [TASKS[name] for name in _chosen("tasks", tasks, TASKS)]
    chosen_sizes = [SIZES[name] for name in _chosen("sizes", sizes or ("mini" if quick else "mini,gpt2"), SIZES)]
    thread_counts = _counts(threads or ("1" if quick else "1,2"))
    for package in sorted({task.peer for task in chosen_tasks}):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra("The benchmark", package, "peers")
    if out is None and not (quick or self_test):
        out = RESULTS
    plan = replace(QUICK if quick else Plan(), seed=seed)
    plan = replace(plan, rounds=rounds or plan.rounds)

    say = _say("")
    machine = machine_of_this_run(say)
    peaks = {count: peak_flops(count, chosen_sizes) for count in thread_counts}
    rows = []
    for count in thread_counts:
        say(f"bf16 matmul peak at {count} threads: {peaks[count] / 1e12:.3f} TFLOP/s")
        for size in chosen_sizes:
            for task in chosen_tasks:
                told = _say(f"{task.name} {size.name} {count}t: ")
                rows.append(compare(task, size, count, plan, peaks[count], told, self_test) | {"machine": machine})
                if out:  # after every row: a run of hours may be stopped
                    write_results(out, rows)
    if as_json:
        click.echo(json.dumps({"results": rows, "machine": machine, "written": str(out) if out else None}))
    else:
        click.echo(table(rows))
        if out:
            click.echo(f"written: {out}")
    different = [f"{row['name']} {row['size']}" for row in rows if not row["same_work"]]
    if different:
        raise CheckFailed(
            f"The two systems do not do the same work on the first batch: {', '.join(different)}.",
            "Expected the same loss and gradient norm; the ratios above say nothing.",
        )


def peak_flops(threads: int, sizes: Sequence[Size], repeats: int = 5) -> float:
    """FLOP/s of the fastest of the shapes that training makes."""
    shapes = [(2048, 2048, 2048)]
    for size in sizes:
        shapes += [(rows, size.hidden, size.mlp) for rows in (1024, 4096)]
        shapes += [(rows, size.mlp, size.hidden) for rows in (1024, 4096)]
        shapes += [(512, size.hidden, size.vocab)]
    with Process(System("matmul peak", "benchmarks.peak:run", {"shapes": shapes}), threads) as process:
        process.run(len(shapes))  # kernels are built
        return max(flops_per_second([step]) for step in process.run(repeats * len(shapes)))


def machine_of_this_run(say: Say) -> dict[str, Any]:
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"other processes keep {load:.1f} cores busy: an idle machine gives ratios that can be told to others")
    return {
        "processor": limits.processor().model,
        "cores": limits.cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "load_at_start": load,
    }


def write_results(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows measured now replace theirs; every row says which machine it is of."""
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    before = json.loads(path.read_text()) if path.exists() else []
    for row in (*before, *rows):
        kept[row["name"], row["size"], row["threads"]] = row
    files.write_json(path, list(kept.values()))


HEAD = (
    *("task", "size", "thr", "ours", "peer", "unit", "ratio", "lowest-highest", "n", "per CPU s", "all steps", "n"),
    *("clean steps", "of peak", "peer's", "MB", "peer's", "settings of the peer"),
)


def table(rows: Iterable[dict[str, Any]]) -> str:
    lines = [HEAD, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    steps, memory = row["steps"], row["memory"]
    return (
        row["name"],
        row["size"],
        str(row["threads"]),
        _rate(row, "ours"),
        _rate(row, "peer"),
        row["unit"],
        _number(row["ratio"], ".2f"),
        "-" if row["spread"] is None else "{:.2f}-{:.2f}".format(*row["spread"]),
        str(row["n"]),
        _number(row["ratio_cpu"], ".2f"),
        _number(row["ratio_all"], ".2f"),
        str(row["n_all"]),
        " : ".join(f"{steps[who]['clean']}/{steps[who]['all']}" for who in ("ours", "peer")),
        _number(row["peak_share"], ".1%"),
        _number(row["peer_peak_share"], ".1%"),
        f"{memory['ours']['peak'] / 1e6:.0f}",
        f"{memory['peer']['peak'] / 1e6:.0f}",
        row["peer_settings"] + ("" if row["same_work"] else "  NOT THE SAME WORK"),
    )


def _rate(row: dict[str, Any], who: str) -> str:
    """In brackets where no round was undisturbed: then it is of all steps."""
    return f"({_number(row[f'{who}_all'])})" if row[who] is None else _number(row[who])


def _number(value: float | None, form: str = ".4g") -> str:
    return "-" if value is None else format(value, form)


def _chosen(option: str, text: str, known: Iterable[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise BadSetting(
                f"--{option}: there is no {name!r}.{nearest(name, known)}", f"Expected some of: {', '.join(known)}."
            )
    return names


def _counts(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.strip().isdecimal() and int(count) for count in counts):
        raise BadSetting(f"--threads: {text!r} is not a list of thread counts.", do="--threads 1,2")
    return [int(count) for count in counts]


def _say(prefix: str) -> Say:
    return lambda line: click.echo(prefix + line, err=True)


def main(args: Sequence[str] | None = None) -> None:
    try:
        command.main(args, prog_name="python -m benchmarks", standalone_mode=False)
    except RatherError as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
