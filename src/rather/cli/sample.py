"""`rather sample MODEL`: what a model says to prompts from a file, a world, the command line or standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import get_args

import click
import torch
from rich.console import Console
from rich.text import Text

from rather import machine
from rather.batches.encoding import Encoder
from rather.batches.trees import Tokens
from rather.cli import worth
from rather.errors import BadFile, BadSetting, visible
from rather.models.load import Policy, load_policy, window_of
from rather.records import Prompt, Response, Samples, read, spoken, write
from rather.records.writing import row_of
from rather.rollout import Sample, Sampling, samples
from rather.worlds import Source, Split

OF_A_WORLD = 20  # prompts
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@click.command("sample")
@click.argument("model")
@click.option("--file", help="Records with prompts: prompts, demonstrations, rankings, in any shape that can be read.")
@click.option("-p", "--prompt", "typed", multiple=True, help="A prompt; may be given several times.")
@click.option("--world", "words", help="Prompts of a world, such as marn:0; it says what the answers are worth.")
@click.option("--split", type=click.Choice(get_args(Split)), help="Of the world's prompts. Default: test.")
@click.option("--source", type=click.Choice(get_args(Source)), help="Who wrote them. Default: api, the users.")
@click.option("--category", help="One use case of the world only, such as open_qa.")
@click.option(
    "-n", "--n", "count", type=click.IntRange(min=1), help="Prompts: at most so many of a file, 20 of a world."
)
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
@click.option("--template", help="plain, page or none. Default: the model's own chat template, if it has one.")
@click.option("--separator", default="\\n", show_default=True, help="Between prompt and response without a template.")
@click.option("-o", "--out", help="A .jsonl file for the responses, instead of the screen.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(
    model: str,
    file: str | None,
    typed: tuple[str, ...],
    words: str | None,
    split: Split | None,
    source: Source | None,
    category: str | None,
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

    Prompts come from --file, from --world, from --prompt, or, with none of them, from standard input, all of it one
    prompt. Prompts that do not fit the model's window together with a response are left out and counted.
    """
    if sum(map(bool, (file, words, typed))) > 1:
        raise BadSetting("More than one of --file, --world and --prompt.", "Expected prompts from one place.")
    if not words and (split or source or category):
        raise BadSetting("--split, --source or --category without --world.", "They choose among a world's prompts.")
    world = worth.ask(words, count or OF_A_WORLD, source or "api", split or "test", category, seed) if words else None
    prompts = world.records if world else _prompts(file, typed, count)
    if out and not out.endswith((".jsonl", ".jsonl.gz")):
        raise BadFile(f"{visible(out)} cannot be written.", "Expected a name that ends in .jsonl or .jsonl.gz.")
    sampling = Sampling(
        max_new_tokens=max_new_tokens, samples=k, temperature=temperature, top_k=top_k, top_p=top_p, slots=slots
    )
    torch.set_num_threads(machine.best_threads())
    policy = load_policy(model, dtype=DTYPES[precision], template=template)
    # A world's prompt ends where the answer begins.
    separator = "" if world else separator.replace("\\n", "\n").replace("\\t", "\t")
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template, separator=separator)
    # A chat template may end turns with another token than the tokenizer's EOS.
    policy = replace(policy, stops=tuple(dict.fromkeys([encoder.eos_id, *policy.stops])))
    asked, ids, left_out = _fitting(policy, encoder, prompts, sampling)
    notes = [*policy.notes, *encoder.notes]
    if left_out:
        notes.append(f"{left_out:,} of {len(prompts):,} prompts are too long for the model's window: left out.")

    answers: list[Samples] = []
    stream = answered(policy, asked, ids, sampling, torch.Generator().manual_seed(seed))
    console = Console(highlight=False)
    if not as_object:
        for note in notes:
            click.echo(f"note: {visible(note)}", err=True)
    on_screen = not out and not as_object
    with nullcontext() if on_screen else _progress(len(ids)) as tick:
        for answer in stream:
            said = answer.record(model)
            answers.append(world.judged(said) if world else said)
            if tick:
                tick(len(answers))
            else:
                _show(console, answers[-1])
    found = worth.summary(answers) if world else None
    if out:
        write(Path(out), answers)
    if as_object:
        about = {
            "model": model,
            "notes": notes,
            "sampling": sampling.model_dump(),
            "seed": seed,
            "prompts": len(answers),
            "left_out": left_out,
            "responses": len(answers) * k,
            "tokens": sum(sum(row.lengths or ()) for row in answers),
            "finished": sum(response.finished for row in answers for response in row.responses),
        }
        if found:
            about |= {"world": words, "worth": found}
        rows = [row_of(row, "samples", Samples) for row in answers]
        click.echo(json.dumps(about | ({"out": out} if out else {"rows": rows})))
        return
    if out:
        click.echo(f"{out}: {len(answers):,} prompts with {k} response{'s' * (k > 1)} each")
    if found:
        click.echo(worth.in_words(found))


def _prompts(file: str | None, typed: Sequence[str], count: int | None) -> list[Prompt]:
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
    window = window_of(policy.model.config)
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

    def record(self, model: str) -> Samples:
        return Samples(
            **dict(self.prompt),
            responses=tuple(
                Response(text=text, finished=sample.finished, model=model)
                for text, sample in zip(self.texts, self.samples, strict=True)
            ),
            lengths=tuple(len(sample.tokens) for sample in self.samples),
            logprobs=tuple(float(sample.logprobs.sum()) for sample in self.samples),
            seeds=tuple(int(sample.seed) for sample in self.samples),
        )


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


def _show(console: Console, answer: Samples) -> None:
    console.print(_safe(console, spoken(answer.prompt).rstrip("\n"), "bold"), soft_wrap=True)
    for at, response in enumerate(answer.responses):
        if len(answer.responses) > 1:
            console.print(_safe(console, f"[{at + 1}]", "dim"), soft_wrap=True)
        console.print(_safe(console, response.text), soft_wrap=True)
        below = [] if response.finished or not answer.lengths else [f"cut off at {answer.lengths[at]} tokens"]
        if answer.utilities and answer.flags:
            below += [f"U* {answer.utilities[at]:.2f}", *(name for name, there in answer.flags[at].items() if there)]
        if below:
            console.print(_safe(console, f"({', '.join(below)})", "dim"), soft_wrap=True)
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
