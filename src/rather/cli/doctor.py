"""`rather doctor`: what this machine can do, and what to do about each problem."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from rather import __version__, limits

GB = 1e9
EXTRAS = {
    "lora": "train low-rank adapters instead of all weights",
    "qlora": "the same beside weights in 4 bits",
    "hub": "read data sets from the hub and from Parquet files",
    "eval": "public evaluations: BLEU, ROUGE, lm-eval tasks",
    "ray": "rollouts on many machines",
    "vllm": "rollouts by vLLM; in an environment of its own, because it pins its own torch",
    "tensorboard": "`rather track --to tensorboard`",
    "wandb": "`rather track --to wandb`",
    "mlflow": "`rather track --to mlflow`",
    "peers": "TRL, which `make bench` compares with",
    "dev": "tests, linting, type checks",
}


@dataclass(frozen=True)
class Problem:
    found: str
    do: str
    fatal: bool = False  # runs would fail


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--quick", is_flag=True, help="Measure nothing: no matrix products, no choice of threads.")
def command(as_json: bool, quick: bool) -> int:
    """Say what this machine can do, and what to do about each problem.

    Exit code 1 if runs would fail here, otherwise 0.
    """
    about, problems = examine(Path.cwd(), quick)
    usable = not any(problem.fatal for problem in problems)
    if as_json:
        said = {"usable": usable, **about, "problems": [asdict(problem) for problem in problems]}
        click.echo(json.dumps(said, allow_nan=False))
    else:
        for name, words in in_words(about):
            click.echo(f"{name:<12}{words}")
        for problem in problems:
            click.secho(
                f"\n{'broken' if problem.fatal else 'note'}: {problem.found}", fg="red" if problem.fatal else "yellow"
            )
            click.echo(problem.do)
        click.echo("\n" + ("Ready." if usable else "Not usable as it is: see what is marked broken."))
    return 0 if usable else 1


def examine(folder: Path, quick: bool) -> tuple[dict[str, Any], list[Problem]]:
    problems: list[Problem] = []
    memory = limits.memory()
    about: dict[str, Any] = {
        "rather": __version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "packages": required_packages(problems),
        "extras": extras(),
        "processor": asdict(limits.processor()),
        "cores": limits.cores(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "memory": asdict(memory),
        "hub_offline": hub_offline(),
        "colour": sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        "disk": disk(folder, problems),
    }
    if memory.available < 2 * GB:
        problems.append(
            Problem(
                f"{memory.available / GB:.1f} GB of memory are free.",
                "Training needs 16 bytes per parameter, and more for activations: "
                "end other programs, or use a smaller model.",
            )
        )
    return about | torch_can(quick, about["cores"], problems), problems


def required_packages(problems: list[Problem]) -> dict[str, str | None]:
    """Name -> installed version (None: missing) of what rather cannot do without."""
    found: dict[str, str | None] = {}
    for name, least in requirements(""):
        found[name] = version(name)
        if found[name] is None:
            problems.append(Problem(f"{name} is not installed.", f"pip install '{name}>={least}'", fatal=True))
        elif release(found[name] or "") < release(least):
            problems.append(
                Problem(f"{name} {found[name]} is older than {least}.", f"pip install '{name}>={least}'", fatal=True)
            )
    return found


def extras() -> dict[str, dict[str, Any]]:
    """Each extra: what it is for, and which of its packages are not there."""
    return {
        extra: {"for": purpose, "missing": [name for name, _ in requirements(extra) if version(name) is None]}
        for extra, purpose in EXTRAS.items()
    }


def requirements(extra: str) -> list[tuple[str, str]]:
    """(package, least version) as pyproject.toml has it for an extra; '' is what is always needed."""
    found = []
    for line in metadata.requires("rather") or []:
        spec, _, marker = line.partition(";")
        if (re.findall(r"extra == ['\"](\w+)['\"]", marker) or [""])[0] == extra:
            name, least = re.fullmatch(r"([\w.-]+)(?:>=([\d.]+))?", spec.strip()).groups()  # type: ignore[union-attr]
            found.append((name, least or "0"))
    return found


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def release(version: str) -> tuple[int, ...]:
    """2.13.0+cpu -> (2, 13, 0). By hand: `packaging` is one of the things that may be missing."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0]))


def hub_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def disk(folder: Path, problems: list[Problem]) -> dict[str, Any]:
    free = shutil.disk_usage(folder).free
    if free < GB:
        problems.append(
            Problem(
                f"{free / GB:.1f} GB are free in {folder}.",
                "A run writes checkpoints of 12 bytes per parameter: free some space, or work in another folder.",
                fatal=True,
            )
        )
    about: dict[str, Any] = {"folder": str(folder), "free": free, "locks": None, "temporary": None, "temporary_free": 0}
    try:
        about["locks"] = limits.locks_work(folder)
        if not about["locks"]:
            problems.append(
                Problem(
                    f"File locks do not work in {folder}: two processes on one run would not notice each other.",
                    "Keep runs on a local disk, or see to it yourself that one process writes a run.",
                )
            )
    except OSError as error:
        problems.append(
            Problem(
                f"{folder} cannot be written: {error.strerror}.", "Work in a folder of your own with space.", fatal=True
            )
        )
    try:
        about["temporary"] = tempfile.gettempdir()  # tries to write, so a full disk has none
        about["temporary_free"] = shutil.disk_usage(about["temporary"]).free
    except OSError:
        pass  # said with the rest, as no space
    if about["temporary_free"] < GB:
        problems.append(
            Problem(
                f"{about['temporary_free'] / GB:.1f} GB are free for temporary files.",
                "Free some space, or set TMPDIR to a folder with more.",
            )
        )
    return about


def torch_can(quick: bool, cores: int, problems: list[Problem]) -> dict[str, Any]:
    try:
        # Late: a torch that is missing or does not load is for doctor to say, not to die of.
        import torch

        from rather import machine
    except (ImportError, OSError) as error:
        if version("torch"):  # otherwise said already
            problems.append(Problem(f"torch does not load: {error}", "pip install --force-reinstall torch", fatal=True))
        return {}
    about: dict[str, Any] = {"threads": torch.get_num_threads(), "gpus": machine.gpus()}
    if about["threads"] > cores:
        problems.append(
            Problem(
                f"torch would use {about['threads']} threads on {cores} cores.",
                f"export OMP_NUM_THREADS={cores}   (threads without a core of their own make each other wait)",
            )
        )
    if not about["gpus"] and shutil.which("nvidia-smi"):
        problems.append(
            Problem(
                f"There is an NVIDIA driver here, and torch {version('torch')} does not see a GPU.",
                "Install a CUDA build of torch that fits the driver (nvidia-smi shows its version), "
                "and see that CUDA_VISIBLE_DEVICES is not empty.",
            )
        )
    if quick:
        return about
    click.echo("Measuring for a few seconds ...", err=True)
    times = machine.step_times()
    device = "cuda" if about["gpus"] else "cpu"
    about["matmul"] = [
        {"device": where, "dtype": name, "threads": threads, "flops": machine.matmul_rate(dtype, threads, where)}
        for where, threads in [
            ("cpu", 1),
            *([("cpu", cores)] if cores > 1 else []),
            *([("cuda", 1)] if about["gpus"] else []),
        ]
        for name, dtype in machine.PRECISIONS.items()
    ]
    about["step_seconds"] = {str(threads): seconds for threads, seconds in times.items()}
    about["best_threads"] = machine.fewest_near_best(times)
    about["precision"] = next(
        n for n, dtype in machine.PRECISIONS.items() if dtype == machine.precision("auto", device)
    )
    return about


def in_words(about: dict[str, Any]) -> Iterator[tuple[str, str]]:
    packages, disk = about["packages"], about["disk"]
    yield "rather", f"{about['rather']} on Python {about['python']}, {about['system']}"
    yield (
        "packages",
        ", ".join(f"{name} {packages.get(name) or 'missing'}" for name in ("torch", "transformers", "tokenizers")),
    )
    for name, extra in about["extras"].items():
        state = "installed" if not extra["missing"] else f"pip install 'rather[{name}]'"
        yield f"  [{name}]", f"{state:<29} {extra['for']}"
    yield (
        "processor",
        f"{about['processor']['model']}: {' '.join(about['processor']['features']) or 'no matrix extensions'}",
    )
    words = f"{about['cores']} cores"
    if "best_threads" in about:
        words += f", {about['best_threads']} threads are fastest here and now (training step: "
        words += ", ".join(f"{n} in {1000 * s:.0f} ms" for n, s in about["step_seconds"].items()) + ")"
    yield "threads", words + (f", OMP_NUM_THREADS={about['omp_num_threads']}" if about["omp_num_threads"] else "")
    yield "memory", f"{about['memory']['available'] / GB:.1f} GB free of {about['memory']['total'] / GB:.1f} GB"
    if "gpus" in about:
        listed = [
            f"{gpu['name']}, {gpu['free'] / GB:.0f} GB free of {gpu['total'] / GB:.0f} GB" for gpu in about["gpus"]
        ]
        yield "GPU", "; ".join(listed) or "none that torch sees"
    rates: dict[tuple[str, int], list[str]] = {}
    for rate in about.get("matmul", []):
        rates.setdefault((rate["device"], rate["threads"]), []).append(f"{rate['dtype']} {_flops(rate['flops'])}")
    for (device, threads), words_of in rates.items():
        yield (
            "matmul",
            f"{' '.join(words_of)}  {'GPU' if device == 'cuda' else f'with {threads} thread' + 's' * (threads > 1)}",
        )
    if "precision" in about:
        yield "precision", f"auto means {about['precision']} here"
    locks = {True: "file locks work", False: "no file locks", None: "locks not tried"}[disk["locks"]]
    yield (
        "disk",
        f"{disk['free'] / GB:.1f} GB free here ({locks}), {disk['temporary_free'] / GB:.1f} GB for temporary files",
    )
    yield "hub", "offline (HF_HUB_OFFLINE): only what is on disk" if about["hub_offline"] else "online"
    yield "terminal", "colours" if about["colour"] else "plain"


def _flops(rate: float) -> str:
    return f"{rate / 1e12:.2f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.0f} GFLOP/s"
