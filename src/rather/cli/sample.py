"""`rather sample MODEL`: what a model says to prompts from a file, from the command line or from standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.text import Text

from rather import machine
from rather.batches.encoding import Encoder
from rather.batches.trees import Tokens
from rather.errors import BadFile, BadSetting, visible
from rather.models.load import Policy, load_policy
from rather.records import Prompt, read
from rather.records.lines import write_lines
from rather.rollout import Sample, Sampling, samples

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@click.command("sample")
@click.argument("model")
@click.option("--file", help="Records with prompts: prompts, demonstrations, rankings, in any shape that can be read.")
@click.option("-p", "--prompt", "typed", multiple=True, help="A prompt; may be given several times.")
@click.option("-n", "--n", "count", type=click.IntRange(min=1), help="At most this many prompts of the file.")
@click.option("-k", "--samples", "k", default=1, show_default=True, type=click.IntRange(min=1), help="Of each prompt.")
@click.option("--max-new-tokens", default=128, show_default=True, type=click.IntRange(min=1), help="Of a response.")
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(min=0), help="0: the likeliest.")
@click.option("--top-k", type=click.IntRange(min=1), help="Draw from the k likeliest only.")
@click.option(
    "--top-p", type=click.FloatRange(min=0, min_open=True, max=1), help="Draw from the likeliest of this sum."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of all samples.")
@click.option("--slots", default=64, show_default=True, type=click.IntRange(min=1), help="Decoded side by side.")
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(list(DTYPES)), help="Of the model.")
@click.option("--template", help="plain or none. Default: the model's own chat template, if it has one.")
@click.option("--separator", default="\\n", show_default=True, help="Between prompt and response without a template.")
@click.option("-o", "--out", help="A .jsonl file for the responses, instead of the screen.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(
    model: str,
    file: str | None,
    typed: tuple[str, ...],
    count: int | None,
    k: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    slots: int,
    precision: str,
    template: str | None,
    separator: str,
    out: str | None,
    as_object: bool,
) -> None:
    """Answer prompts with MODEL, a folder or hub id.

    Prompts come from --file, from --prompt, or, with neither, from standard input, all of it one prompt. Prompts that
    do not fit the model's window together with a response are left out and counted.
    """
    prompts = _prompts(file, typed, count)
    if out and not out.endswith((".jsonl", ".jsonl.gz")):
        raise BadFile(f"{visible(out)} cannot be written.", "Expected a name that ends in .jsonl or .jsonl.gz.")
    sampling = Sampling(
        max_new_tokens=max_new_tokens, samples=k, temperature=temperature, top_k=top_k, top_p=top_p, slots=slots
    )
    torch.set_num_threads(machine.best_threads())
    policy = load_policy(model, dtype=DTYPES[precision], template=template)
    separator = separator.replace("\\n", "\n").replace("\\t", "\t")
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template, separator=separator)
    # A chat template may end turns with another token than the tokenizer's EOS.
    policy = replace(policy, stops=tuple(dict.fromkeys([encoder.eos_id, *policy.stops])))
    asked, ids, left_out = _fitting(policy, encoder, prompts, sampling)
    notes = [*policy.notes, *encoder.notes]
    if left_out:
        notes.append(f"{left_out:,} of {len(prompts):,} prompts are too long for the model's window: left out.")

    answers: list[Answer] = []
    stream = answered(policy, asked, ids, sampling, torch.Generator().manual_seed(seed))
    console = Console(highlight=False)
    if not as_object:
        for note in notes:
            click.echo(f"note: {visible(note)}", err=True)
    on_screen = not out and not as_object
    with nullcontext() if on_screen else _progress(len(ids)) as tick:
        for answer in stream:
            answers.append(answer)
            if tick:
                tick(len(answers))
            else:
                _show(console, answer)
    rows = [answer.row(model) for answer in answers]
    if out:
        write_lines(Path(out), rows)
    if as_object:
        about = {
            "model": model,
            "notes": notes,
            "sampling": sampling.model_dump(),
            "seed": seed,
            "prompts": len(answers),
            "left_out": left_out,
            "responses": len(answers) * k,
            "tokens": sum(sum(row["lengths"]) for row in rows),
            "finished": sum(response["finished"] for row in rows for response in row["responses"]),
        }
        click.echo(json.dumps(about | ({"out": out} if out else {"rows": rows})))
    elif out:
        click.echo(f"{out}: {len(rows):,} prompts with {k} response{'s' * (k > 1)} each")


def _prompts(file: str | None, typed: Sequence[str], count: int | None) -> list[Prompt]:
    if file and typed:
        raise BadSetting("Both --file and --prompt.", "Expected prompts from one place.")
    if file:
        found = list(islice(read(file, Prompt), count))
        if not found:
            raise BadFile(f"{visible(file)} has no prompt.", "Expected at least one record.")
        return found
    if not typed:
        if sys.stdin.isatty():
            click.echo("Type a prompt, and end it with Ctrl-D:", err=True)
        typed = [sys.stdin.read().rstrip("\n")]
    for text in typed:
        if not text.strip():
            raise BadSetting("The prompt is empty.", "Expected some text.", "rather sample MODEL --prompt '...'")
    return [Prompt(id=str(index), prompt=text) for index, text in enumerate(typed)]


def _fitting(
    policy: Policy, encoder: Encoder, prompts: Sequence[Prompt], sampling: Sampling
) -> tuple[list[Prompt], list[Tokens], int]:
    """Prompts that leave room for a response, their ids, and how many others there were."""
    window = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    ids = encoder.prompts(prompt.prompt for prompt in prompts)
    fits = [window is None or len(tokens) + sampling.max_new_tokens <= window for tokens in ids]
    if not any(fits):
        raise BadSetting(
            f"No prompt fits the model's window of {window} together with {sampling.max_new_tokens} new tokens.",
            f"The shortest has {min(map(len, ids))} tokens.",
            "Lower --max-new-tokens",
        )
    kept = [(prompt, tokens) for prompt, tokens, fit in zip(prompts, ids, fits, strict=True) if fit]
    return [prompt for prompt, _ in kept], [tokens for _, tokens in kept], fits.count(False)


@dataclass(frozen=True)
class Answer:
    """A prompt with its K responses in words."""

    prompt: Prompt
    texts: tuple[str, ...]
    samples: tuple[Sample, ...]

    def row(self, model: str) -> dict[str, Any]:
        """The prompt's record with `responses` beside it, in the fields that a ranking has them in."""
        return {
            **self.prompt.model_dump(exclude_none=True),
            "responses": [
                {"text": text, "finished": sample.finished, "model": model}
                for text, sample in zip(self.texts, self.samples, strict=True)
            ],
            "lengths": [len(sample.tokens) for sample in self.samples],
            "logprobs": [float(sample.logprobs.sum()) for sample in self.samples],
            "seeds": [sample.seed for sample in self.samples],
        }


def answered(
    policy: Policy, prompts: Sequence[Prompt], ids: Sequence[Tokens], sampling: Sampling, rng: torch.Generator
) -> Iterator[Answer]:
    """Answers in the order of the prompts, each as soon as it and all before it are there."""
    done: dict[int, list[Sample]] = {}
    following = 0
    for sample in samples(policy, ids, sampling, rng):
        done.setdefault(sample.prompt, []).append(sample)
        while len(done.get(following, ())) == sampling.samples:
            whole = tuple(sorted(done.pop(following), key=lambda s: s.sample))
            yield Answer(prompts[following], tuple(_text(policy, s) for s in whole), whole)
            following += 1


def _text(policy: Policy, sample: Sample) -> str:
    tokens = sample.tokens[:-1] if sample.finished else sample.tokens
    return str(policy.tokenizer.decode(tokens.tolist(), skip_special_tokens=True))


def _show(console: Console, answer: Answer) -> None:
    asked = answer.prompt.prompt
    said = asked if isinstance(asked, str) else "\n".join(f"{turn.role}: {turn.content}" for turn in asked)
    console.print(_safe(console, said, "bold"), soft_wrap=True)
    for number, (text, sample) in enumerate(zip(answer.texts, answer.samples, strict=True), start=1):
        if len(answer.texts) > 1:
            console.print(_safe(console, f"[{number}]", "dim"), soft_wrap=True)
        console.print(_safe(console, text), soft_wrap=True)
        if not sample.finished:
            console.print(_safe(console, f"(cut off at {len(sample.tokens)} tokens)", "dim"), soft_wrap=True)
    console.print()


def _safe(console: Console, text: str, style: str = "") -> Text:
    """Nothing that a terminal would obey but line breaks, and nothing that it cannot show."""
    shown = "\n".join(visible(line) for line in text.split("\n"))
    return Text(shown.encode(console.encoding, "backslashreplace").decode(console.encoding), style=style)


@contextmanager
def _progress(prompts: int) -> Iterator[Callable[[int], None]]:
    """A count on standard error while nothing is on the screen; it goes when all is done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda answered: None
        return
    with console.status("sampling") as status:
        yield lambda answered: status.update(f"{answered:,} of {prompts:,} prompts answered")
