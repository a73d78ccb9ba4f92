"""`rather preview FILE --model M`: what the model will see, token by token, and what of it is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rather.batches.encoding import Encoder, EncodingReport
from rather.batches.trees import Tokens, Tree
from rather.errors import BadFile, visible
from rather.models.load import folder_of, read_config, window_of
from rather.models.tokenizers import load_tokenizer
from rather.records.reading import PLURAL, read
from rather.records.shapes import KNOWN
from rather.records.types import Prompt, Rating, Samples

# Two shades each, in turn, so that a border between tokens is seen. Without colours: asked| [trained]
PROMPT_STYLES = ("dim", "")
TRAINED_STYLES = ("black on green", "black on bright_green")
BEGIN, END = 120, 60  # tokens shown of a long text, from either side

# What happened to rows, as said in the table; the first group is dropped, the second kept.
DROPPED = {
    "long_prompt": "prompt longer than --max-prompt",
    "long_total": "longer than --max-length",
    "untrained": "0 % trained: a response without a single token",
    "untold": "100 % trained: a prompt without a single token",
}
NOTICED = {
    "unfinished": "rows with a response that was cut off: it has no EOS",
    "spelt": "rows that spell a control token: encoded as text",
    "shortened": "rows of whose response the template left out words",
}


@click.command("preview")
@click.argument("file")
@click.option("--model", required=True, help="A model's folder or hub id; only its tokenizer is loaded.")
@click.option("-n", "--n", "count", default=3, show_default=True, type=click.IntRange(min=0), help="Examples shown.")
@click.option("--template", help="A chat template: a name, a .jinja file, or none. Default: the model's own, if any.")
@click.option(
    "--eos-token", metavar="TOKEN", help="A token of the vocabulary that ends answers. Default: the model's own."
)
@click.option("--separator", default="\\n", show_default=True, help="Between prompt and response without a template.")
@click.option("--max-prompt", type=click.IntRange(min=1), help="Tokens of a prompt; longer rows are dropped.")
@click.option("--max-length", type=click.IntRange(min=2), help="Tokens of a row. Default: the model's context window.")
@click.option("--shape", help=f"How the rows are written, where the fields do not tell: {', '.join(KNOWN)}.")
@click.option("--width", type=click.IntRange(min=20), help="Columns. Default: the terminal's.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(
    file: str,
    model: str,
    count: int,
    template: str | None,
    eos_token: str | None,
    separator: str,
    max_prompt: int | None,
    max_length: int | None,
    shape: str | None,
    width: int | None,
    as_object: bool,
) -> int:
    """Show examples of FILE as the model will see them, trained tokens coloured, and count what happens to all rows.

    Ends with 1 when a row has 0 % or 100 % trained tokens, or when no row is left.
    """
    reader = read(file, shape=shape)
    if reader.kind in (Prompt, Rating, Samples):
        raise BadFile(
            f"{visible(file)} holds {PLURAL[reader.kind.__name__]} (read as {reader.shape.words}): "
            "there is nothing to train on.",
            "Expected demonstrations, rankings, comparisons or texts.",
        )
    folder = folder_of(model)
    # GPT-2 says n_positions; its configuration answers to the common name too.
    window = window_of(read_config(folder))
    own = template is not None and template.endswith(".jinja")
    vocabulary = load_tokenizer(folder, eos_token=eos_token, template="none" if own else template)
    source = _jinja(template) if own and template else vocabulary.tokenizer.chat_template
    name = f"The template {template!r}" if template else "The model's chat template"
    separator = separator.replace("\\n", "\n").replace("\\t", "\t")
    encoder = Encoder(vocabulary.tokenizer, source, max_prompt, max_length or window, separator, name)
    notes = [*vocabulary.notes, *encoder.notes]
    with _progress() as tick:
        trees, report = encoder.encode_all(reader, tick, strict=False)

    examples = list(islice(trees, count))
    names = Names(vocabulary.tokenizer)
    if as_object:
        about = {
            "file": file,
            "kind": reader.kind.__name__.lower(),
            "shape": reader.shape.name,
            "model": model,
            "notes": notes,
        }
        click.echo(json.dumps(about | _object(encoder, report, examples, names)))
    else:
        # Text is never read as rich markup, and highlight would colour numbers as if they were trained.
        console = Console(width=width, highlight=False)
        _say(console, f"{file}: read as {reader.shape.words}", "bold")
        _say(console, f"{model}, {encoder.template_name}")
        for note in notes:
            _say(console, f"note: {note}", "yellow")
        for number, tree in enumerate(examples, start=1):
            _print_example(console, number, tree, names)
        console.print()
        console.print(_table(console, encoder, report))
    verdict = _verdict(report)
    if verdict:
        click.echo(f"rather: {verdict}", err=True)
    return 1 if verdict else 0


def _jinja(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"The template {visible(file)} cannot be read: {visible(str(error))}") from None


class Names:
    """What a token is called on screen: the text it stands for; special tokens and parts of characters, their name."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        # Some tokenizers drop the space at the very start of a text, so each token is looked at behind another one.
        self._anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._known: dict[int, str] = {}

    def __call__(self, token: int) -> str:
        if token not in self._known:
            self._known[token] = self._name(token)
        return self._known[token]

    def _name(self, token: int) -> str:
        name = str(self._tokenizer.convert_ids_to_tokens(token))
        if token in self._special:
            return name
        alone, behind = (self._tokenizer.decode(ids) for ids in (self._anchor, [*self._anchor, token]))
        text = behind.removeprefix(alone)
        if text and "\N{REPLACEMENT CHARACTER}" not in text:
            return text
        # Part of a character. Byte-level vocabularies write bytes as letters: ðŁ is <F0><9F>.
        return "".join(f"<{BYTES[c]:02X}>" for c in name) if set(name) <= BYTES.keys() else name


# GPT-2's alphabet: printable bytes stand for themselves, the others are counted up from 256.
PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
BYTES = {chr(byte): byte for byte in PRINTABLE}
BYTES |= {chr(256 + place): byte for place, byte in enumerate(b for b in range(256) if b not in PRINTABLE)}


def _print_example(console: Console, number: int, tree: Tree, names: Names) -> None:
    trained = tree.size - len(tree.prompt)
    console.print()
    _say(console, f"{number}. {tree.key}: {tree.size:,} tokens, {trained:,} of them trained", "bold")
    console.print(_painted(console, tree.prompt, names, trained=False))
    for k, response in enumerate(tree.responses, start=1):
        if len(tree.responses) > 1:
            _say(console, f"response {k} of {len(tree.responses)}", "bold")
        console.print(_painted(console, response, names, trained=True))


def _painted(console: Console, ids: Tokens, names: Names, trained: bool) -> Text:
    coloured = console.color_system is not None and not console.no_color
    styles = TRAINED_STYLES if trained else PROMPT_STYLES
    left_out = range(BEGIN, len(ids) - END)
    text = Text(overflow="fold")
    for place, token in enumerate(ids):
        if place in left_out:
            if place == BEGIN:
                text.append(f"\n... {len(left_out):,} tokens ...\n", style="italic")
            continue
        name = names(int(token))
        shown = _safe(console, name)
        if not coloured:
            shown = f"[{shown}]" if trained else f"{shown}|"
        text.append(shown, style=styles[place % 2] if coloured else "")
        if name.endswith("\n") and place < len(ids) - 1:
            text.append("\n")
    return text


def _safe(console: Console, text: str) -> str:
    """Nothing that a terminal would obey, and nothing that it cannot show."""
    return visible(text).encode(console.encoding, "backslashreplace").decode(console.encoding)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(_safe(console, text), style=style), soft_wrap=True)  # whole lines can be searched


def _table(console: Console, encoder: Encoder, report: EncodingReport) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")

    def add(number: str, what: str, style: str = "") -> None:
        table.add_row(Text(number, style=style), Text(what, style=style))

    add(f"{report.rows:,}", "rows")
    add(
        f"{len(report.kept):,}",
        f"rows encoded, {report.responses:,} responses, the longest of {report.longest:,} tokens",
    )
    if report.tokens:
        add(f"{report.trained_share:.1%}", f"of {report.tokens:,} tokens are trained")
    limits = {"long_prompt": encoder.max_prompt, "long_total": encoder.max_length}
    for field, what in (DROPPED | NOTICED).items():
        keys = getattr(report, field)
        if keys:
            limit = f" {limits[field]:,}" if field in limits else ""
            style = "red" if field in ("untrained", "untold") else "yellow"
            dropped = "dropped: " if field in DROPPED else ""
            add(f"{len(keys):,}", _safe(console, f"{dropped}{what}{limit} ({_some(keys)})"), style)
    return table


def _some(keys: Sequence[str]) -> str:
    return ", ".join(map(visible, keys[:3])) + (", ..." if len(keys) > 3 else "")


def _object(encoder: Encoder, report: EncodingReport, examples: Sequence[Tree], names: Names) -> dict[str, Any]:
    def tokens(ids: Tokens, trained: bool) -> list[dict[str, Any]]:
        return [{"id": int(i), "text": names(int(i)), "trained": trained} for i in ids]

    def named(keys: Sequence[str]) -> dict[str, Any]:
        return {"count": len(keys), "ids": keys[:10]}

    return {
        "template": encoder.template_name,
        "bos": None if encoder.bos_id is None else names(encoder.bos_id),
        "eos": names(encoder.eos_id),
        "max_prompt": encoder.max_prompt,
        "max_length": encoder.max_length,
        "rows": report.rows,
        "encoded": len(report.kept),
        "responses": report.responses,
        "tokens": report.tokens,
        "trained_tokens": report.trained_tokens,
        "trained_share": report.trained_share if report.tokens else None,
        "longest": report.longest,
        "dropped": {field: named(getattr(report, field)) for field in DROPPED},
        "noticed": {field: named(getattr(report, field)) for field in NOTICED},
        "examples": [
            {
                "id": tree.key,
                "prompt": tokens(tree.prompt, trained=False),
                "responses": [tokens(response, trained=True) for response in tree.responses],
            }
            for tree in examples
        ],
    }


def _verdict(report: EncodingReport) -> str:
    if report.untrained or report.untold:
        keys = report.untrained + report.untold
        return (
            f"{len(keys):,} of {report.rows:,} rows have nothing or everything to train ({_some(keys)}).\n"
            "Expected words in prompt and response; the template or the tokenizer may have taken them away.\n"
            "Take the rows out of the file, or try another --template"
        )
    if not report.kept:
        return (
            f"None of the {report.rows:,} rows is left: all are too long.\n"
            "Expected some within the limits.\n"
            "Raise --max-length and --max-prompt, as far as the model's context window allows"
        )
    return ""


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A count on standard error for files that take a while; it goes when the file is done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda rows: None
        return
    with console.status("encoding") as status:
        yield lambda rows: status.update(f"{rows:,} rows encoded")
