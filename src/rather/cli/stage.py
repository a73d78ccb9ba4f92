"""A stage as a verb: `rather sft [RUN] [RECIPE.toml] [key=value ...]`. Every stage's door is made here.

RUN is the folder of the whole story; a stage writes RUN/NAME, and finds what earlier stages left in RUN.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import torch
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from rather import machine, parallel, toml
from rather.config import Config, describe
from rather.errors import BadSetting, NotReady, visible
from rather.run import Run
from rather.run.seeds import seeds_in

C = TypeVar("C", bound=Config)
EVERY = 15.0  # seconds between plain lines, where there is no terminal


@dataclass(frozen=True)
class Story:
    """The folder of the whole story, and this stage's place in it.

    name: of the stage's folder
    shows: the metrics that matter while it runs
    """

    folder: Path
    verb: str
    name: str
    shows: tuple[str, ...]
    resume: bool = False
    again: bool = False
    as_object: bool = False

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def say(self, words: str) -> None:
        """To whoever watches; standard output belongs to the result. Of several workers one speaks."""
        if parallel.is_first():
            click.echo(visible(words), err=True)

    def found(self, given: str | None, default: str, made_by: str) -> str:
        """What was given, else the story's own file or folder `default`, which `made_by` makes."""
        if given is not None:
            return given
        if not (self.folder / default).exists():
            key = f"\nOr name another:  rather {self.verb} {self.folder} KEY=..."
            raise NotReady(f"There is no {self.folder / default}.", do=made_by.format(run=self.folder) + key)
        return str(self.folder / default)

    @contextmanager
    def open(self, config: Config) -> Iterator[Run]:
        """The run of this stage, with its progress on the screen. What is missing should be found out before."""
        writes = parallel.is_first()
        if self.path.is_symlink() and seeds_in(self.folder.resolve().parent):
            common = self.path.resolve()
            raise BadSetting(
                f"{self.path} is a link to {common}: it is common to several seeds.",
                "Expected a folder of this seed's own: what is changed there is changed for all.",
                f"rather {self.verb} {common.parent} ... --name {common.name}",
            )
        opened = Run.open(self.path, config, resume=self.resume, again=self.again, writes=writes)
        with opened as run, _progress(run, self) if writes else nullcontext() as watch:
            run.watch = watch
            try:
                yield run
            except KeyboardInterrupt:
                self.say(f"To go on:  rather {self.verb} {self.folder} ... --resume   (with the same settings)")
                raise


def stage(
    verb: str, name: str, config: type[C], shows: Sequence[str] = (), options: Sequence[Callable[..., Any]] = ()
) -> Callable[[Callable[..., Mapping[str, Any]]], click.Command]:
    """Make a function of (story, config) a verb. What it returns is printed, or is the object of --json.

    options: click options of this verb alone, handed to the function by name
    """

    def door(work: Callable[..., Mapping[str, Any]]) -> click.Command:
        @click.command(verb, help=work.__doc__, epilog=keys_of(config), context_settings={"max_content_width": 120})
        @click.argument("words", nargs=-1, metavar="[RUN] [RECIPE.toml] [KEY=VALUE]...")
        @click.option("--name", default=name, show_default=True, help="The stage's folder below RUN.")
        @click.option("--resume", is_flag=True, help="Go on with what was begun there.")
        @click.option("--again", is_flag=True, help="Throw away what is there and start over.")
        @click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
        def command(
            words: tuple[str, ...], name: str, resume: bool, again: bool, as_object: bool, **chosen: Any
        ) -> None:
            if resume and again:
                raise BadSetting("Both --resume and --again.", "Go on, or start over.")
            folder, recipe, overrides = sorted_out(words)
            settings = settings_of(config, folder, recipe, overrides, name, verb)
            torch.set_num_threads(machine.best_threads())
            story = Story(folder, verb, name, tuple(shows), resume, again, as_object)
            with parallel.workers():
                result = work(story, settings, **chosen)
                first = parallel.is_first()
            if not first:
                return
            if as_object:
                click.echo(json.dumps({"run": str(story.path)} | dict(result)))
            else:
                said = "  ".join(f"{key} {_short(value)}" for key, value in result.items() if _is_plain(value))
                click.echo(f"{story.path}: {visible(said)}")

        for option in reversed(options):
            command = option(command)
        return command

    return door


def sorted_out(words: Sequence[str]) -> tuple[Path, Path | None, list[str]]:
    """RUN, RECIPE.toml and key=value, told apart by how they look."""
    overrides = [word for word in words if "=" in word]
    rest = [word for word in words if "=" not in word]
    recipes = [Path(word) for word in rest if word.endswith(".toml")]
    folders = [Path(word) for word in rest if not word.endswith(".toml")]
    if len(recipes) > 1 or len(folders) > 1:
        more = recipes if len(recipes) > 1 else folders
        raise BadSetting(
            f"{' and '.join(map(repr, map(str, more[:3])))}: one is enough.",
            "Expected at most one folder, at most one recipe (.toml), and settings as key=value.",
        )
    return folders[0] if folders else Path("run"), recipes[0] if recipes else None, overrides


def settings_of(
    config: type[C], folder: Path, recipe: Path | None, overrides: Sequence[str], name: str, verb: str
) -> C:
    """The recipe's table [NAME], else [VERB], else all of it; in text `{run}` stands for the story's folder.

    A recipe of a whole story has a table for each stage: one without a table has the defaults there.
    """
    tables = toml.read(recipe) if recipe else {}
    table = next((word for word in (name, verb) if isinstance(tables.get(word), dict)), None)
    if table is None and isinstance(tables.get("story"), dict):
        recipe = None
    settings = config.load(recipe, overrides, table=table)
    placed = {key: _placed(getattr(settings, key), folder) for key in config.model_fields}
    return settings.model_copy(update={key: value for key, value in placed.items() if value != getattr(settings, key)})


def _placed(value: object, folder: Path) -> object:
    match value:
        case str():
            return value.replace("{run}", str(folder))
        case list() | tuple():
            return type(value)(_placed(item, folder) for item in value)
        case dict():  # rewards have weights by folder
            return {_placed(key, folder): _placed(item, folder) for key, item in value.items()}
    return value


def keys_of(config: type[Config]) -> str:
    """The settings, for --help. \\b keeps click from filling the lines into a paragraph."""
    rows = []
    for key, kind, default, comment in describe(config):
        value = "has to be given" if default is ... else toml.NONE if default is None else toml.written(default)
        rows += [f"  {key} = {value}", f"      {kind}{': ' + comment if comment else ''}"]
    return "\b\nSettings:\n" + "\n".join(rows)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


# ---- progress


@contextmanager
def _progress(run: Run, story: Story) -> Iterator[Callable[[int, Mapping[str, Any]], None]]:
    console = Console(stderr=True, highlight=False)
    pace = _Pace(run, story.shows)
    if console.is_terminal:
        with Progress(TextColumn(story.name), _Line(pace), console=console, transient=True) as bar:
            bar.add_task(story.name, total=None)
            yield pace.saw
        return
    spoken = [time.monotonic()]

    def watch(step: int, values: Mapping[str, Any]) -> None:
        pace.saw(step, values)
        if time.monotonic() - spoken[0] >= EVERY or step == run.steps:
            spoken[0] = time.monotonic()
            print(f"{story.name}: {pace}", file=sys.stderr, flush=True)

    yield watch


class _Pace:
    """Where a run is, how fast it goes, and the last values of the metrics that matter."""

    def __init__(self, run: Run, shows: Sequence[str]) -> None:
        self.run, self.shows = run, shows
        self.first: tuple[int, float] | None = None
        self.step, self.time = 0, 0.0
        self.values: dict[str, Any] = {}

    def saw(self, step: int, values: Mapping[str, Any]) -> None:
        self.step, self.time = step, time.monotonic()
        self.first = self.first or (step, self.time)
        self.values |= {key: values[key] for key in self.shows if values.get(key) is not None}

    def __str__(self) -> str:
        if self.first is None:
            return "starting"
        words = [f"step {self.step:,}" + (f" of {self.run.steps:,}" if self.run.steps else "")]
        words += [f"{key} {_short(self.values[key])}" for key in self.shows if key in self.values]
        steps, seconds = self.step - self.first[0], self.time - self.first[1]
        if steps and seconds:
            words.append(f"{steps / seconds:.3g} steps/s" if steps > seconds else f"{seconds / steps:.3g} s a step")
            if self.run.steps:
                words.append(f"{_clock((self.run.steps - self.step) * seconds / steps)} to go")
        return "   ".join(words)


class _Line(ProgressColumn):
    def __init__(self, pace: _Pace) -> None:
        super().__init__()
        self.pace = pace

    def render(self, task: Task) -> Text:
        return Text(str(self.pace))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
