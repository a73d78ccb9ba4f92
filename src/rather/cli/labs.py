"""`rather labs`: the labs, how long they take, and a checker for the parts a learner writes.

The labs are a folder of the source, not of the installed package: a learner edits them. The folder is ./labs, or the
one of the checkout this package runs from, or what --labs names.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from rather.cli.labs_answers import Lab, Verdict, check
from rather.errors import BadFile, BadSetting, NotReady, nearest, visible


@click.group("labs", invoke_without_command=True)
@click.option("--labs", "folder", metavar="FOLDER", help="Where they lie. Default: ./labs, or the checkout's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.pass_context
def command(context: click.Context, folder: str | None, as_json: bool) -> int:
    """List the labs, or check what you wrote into one: `rather labs check 03`.

    A lab is one page of Python: `python labs/03_one_token_at_a_time.py`. Its twin in labs/gaps has parts to write.
    """
    context.obj = folder
    if context.invoked_subcommand:
        return 0
    where = labs_folder(folder)
    labs = read_labs(where)
    if as_json:
        listed = [
            {"number": x.number, "title": x.title, "minutes": x.minutes, "needs": x.needs, "file": str(x.file),
             "gaps": [gap["name"] for gap in x.gaps]} for x in labs
        ]  # fmt: skip
        click.echo(json.dumps({"folder": str(where), "labs": listed}))
        return 0
    for lab in labs:
        click.echo(f"{lab.number}  {lab.minutes:3d} min  {lab.title}  ({lab.needs})")
        click.echo(f"             python {shown(lab.file)}")
        if lab.gaps:
            click.echo(
                f"             {len(lab.gaps)} parts to write in {shown(lab.twin)}; rather labs check {lab.number}"
            )
    click.echo(f"\n{sum(lab.minutes for lab in labs)} minutes in all; the course is docs/learn.md")
    return 0


@command.command("check")
@click.argument("number")
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.pass_context
def check_command(context: click.Context, number: str, file: str | None, as_json: bool) -> int:
    """Check the parts you wrote in lab NUMBER, in FILE or in labs/gaps. It runs the file.

    Says of each part whether it is right, and shows the computation by hand where it is not. Exit code 1 if any is not.
    """
    labs = read_labs(labs_folder(context.obj))
    lab = named(number, labs)
    if not lab.gaps:
        raise BadSetting(f"Lab {lab.number} has no parts to write.", f"It is run: python {shown(lab.file)}")
    answers = Path(file) if file else lab.twin
    verdicts = check(lab, answers)
    if as_json:
        said = {"lab": lab.number, "file": str(answers), "right": all(v.state == "right" for v in verdicts)}
        click.echo(json.dumps(said | {"gaps": [vars(verdict) for verdict in verdicts]}))
    else:
        report(lab, answers, verdicts)
    return 0 if all(verdict.state == "right" for verdict in verdicts) else 1


def report(lab: Lab, answers: Path, verdicts: list[Verdict]) -> None:
    click.echo(f"lab {lab.number}, {lab.title}: {visible(shown(answers))}\n")
    colours = {"right": "green", "wrong": "red", "to write": "yellow"}
    for verdict in verdicts:
        click.secho(f"{verdict.state:<9} {verdict.name}", fg=colours[verdict.state])
        for line in verdict.words:
            click.echo("          " + visible(line))
    right = sum(verdict.state == "right" for verdict in verdicts)
    click.echo(
        f"\n{right} of {len(verdicts)} parts are right."
        + (f" Now run it: {_typed(lab, answers)}" if right == len(verdicts) else "")
    )


def _typed(lab: Lab, answers: Path) -> str:
    """How a file is run; sheet.py lies beside the labs, and only their twins know where."""
    beside = answers.resolve().parent in (lab.file.resolve().parent, lab.twin.resolve().parent)
    return f"python {shown(answers)}" if beside else f"PYTHONPATH={shown(lab.file.parent)} python {shown(answers)}"


def labs_folder(named: str | None) -> Path:
    """The folder of the labs: where a person says, here, or beside the source this package runs from."""
    places = [Path(named)] if named else [Path("labs"), Path(__file__).resolve().parents[3] / "labs"]
    for place in places:
        if (place / "gaps").is_dir() and (place / "sheet.py").is_file():
            return place
    looked = " nor ".join(visible(str(place)) for place in places)
    raise NotReady(
        f"The labs are not here: neither {looked} holds them."
        if len(places) > 1
        else f"{looked} does not hold the labs.",
        "They come with the source of rather, not with the installed package, because a learner edits them.",
        "Fetch the source (README.md, Install) and type `rather labs` in its folder, or: rather labs --labs FOLDER",
    )


def read_labs(folder: Path) -> list[Lab]:
    labs = []
    for about in sorted((folder / "gaps").glob("[0-9][0-9]_*.toml")):
        try:
            told: dict[str, Any] = tomllib.loads(about.read_text(encoding="utf-8"))
            labs.append(
                Lab(about.name[:2], told["title"], told["minutes"], told["needs"], folder / f"{about.stem}.py",
                    about.with_suffix(".py"), tuple(told.get("gap", ())))
            )  # fmt: skip
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
            raise BadFile(f"{about} does not say what a lab's page says: {error}.", do="git checkout labs") from None
    if not labs:
        raise BadFile(f"{folder / 'gaps'} has no lab.", "Expected files such as 03_one_token_at_a_time.toml.")
    return labs


def named(number: str, labs: list[Lab]) -> Lab:
    wanted = number.zfill(2)
    for lab in labs:
        if wanted in (lab.number, lab.file.stem):
            return lab
    numbers = [lab.number for lab in labs]
    raise BadSetting(
        f"There is no lab {visible(number)!r}.{nearest(number, [lab.file.stem for lab in labs])}",
        f"Labs: {', '.join(numbers)}.",
        "rather labs",
    )


def shown(path: Path) -> str:
    """As short as one can type it from here."""
    full, here = path.resolve(), Path.cwd()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(path)
