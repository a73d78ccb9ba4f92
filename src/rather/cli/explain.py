"""`rather explain TEXT|FILE|RECIPE|RUN`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from rather import explain as explaining
from rather.errors import BadFile, BadSetting, visible
from rather.explain import Explanation, endpoint, explain_recipe, explain_run, in_words

LONGEST = 100_000  # characters of a text: a paper is read, a book is not


@click.command()
@click.argument("what", metavar="TEXT|FILE|RECIPE|RUN")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option(
    "--endpoint", "url", metavar="URL", help="Ask a model as well: an OpenAI-compatible endpoint, http://.../v1."
)
@click.option("--model", metavar="NAME", help="The model's name at that endpoint.")
def command(what: str, as_json: bool, url: str | None, model: str | None) -> None:
    """Say which stages of RLHF a description modifies, with which losses, and where its KL penalty is.

    A description in English, a file with one, a recipe (.toml), or the folder of a run; `-` reads standard input.
    Every answer quotes what it rests on; what is not said is "not stated". Rules answer, without a model. With
    --endpoint a model answers too; it is held against the text and the rules, and where they differ both are shown.
    Its key, if it needs one, is read from OPENAI_API_KEY.
    """
    if (url is None) != (model is None):
        raise BadSetting("Of --endpoint and --model one was given.", "Expected both, or neither.")
    explanation, text = read(what)
    opinions = endpoint.ask(text, explanation, url, model) if url and model else []
    if as_json:
        said = explanation.to_dict()
        if url:
            said["model"] = [
                {"what": o.what, "rules": o.rules, "model": o.model, "quote": o.quote, "made_up": o.made_up}
                for o in opinions
            ]
        click.echo(json.dumps(said, allow_nan=False))
        return
    for line in in_words(explanation):
        click.echo(line)
    if url:
        differ = [o for o in opinions if not o.agrees]
        click.echo(f"\nThe model {visible(model or '')} agrees in {len(opinions) - len(differ)} of {len(opinions)}.")
        for o in differ:
            quoted = f'"{visible(o.quote)}"' if o.quote else "no quotation"
            made_up = ", which does not stand in the text" if o.made_up and o.quote else ""
            click.echo(f"  {o.what}: the rules say {o.rules}, the model says {visible(o.model)} ({quoted}{made_up})")


def read(what: str) -> tuple[Explanation, str]:
    """The explanation, and the text a model would be asked about."""
    if what == "-":
        return _decoded(sys.stdin.buffer.read(4 * LONGEST), "standard input")
    path = Path(what)
    try:
        there = path.is_dir() or path.is_file()
    except (OSError, ValueError):  # a description is longer than a file's name may be
        there = False
    if not there:
        if " " not in what.strip() or path.suffix in (".toml", ".txt", ".md"):
            raise BadFile(
                f"There is no file or folder {visible(what)!r}.",
                "Expected a description in a few words, a file with one, a recipe, a run's folder, or - .",
                'For example:  rather explain "We train with PPO and no KL penalty."',
            )
        return _text(what, "the text")
    if path.is_dir():
        configs = sorted([path / "config.toml", *path.glob("*/config.toml")])
        return explain_run(path), "\n".join(f.read_text(errors="replace") for f in configs if f.is_file())
    if path.suffix == ".toml":
        return explain_recipe(path), path.read_text(errors="replace")
    return _decoded(path.read_bytes()[: 4 * LONGEST], what)


def _decoded(content: bytes, where: str) -> tuple[Explanation, str]:
    try:
        return _text(content.decode("utf-8"), where)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadFile(
            f"{where}:{line}: byte {content[error.start]:#04x} is not UTF-8.",
            "Expected a text; of a PDF, the text of it.",
        ) from None


def _text(text: str, where: str) -> tuple[Explanation, str]:
    if len(text) > LONGEST:
        raise BadFile(f"{where} has more than {LONGEST:,} characters.", "Expected a description or an abstract.")
    if not text.strip():
        raise BadFile(f"{where} is empty.", "Expected a description in a few words, or a file with one.")
    return explaining.explain(text), text
