"""`rather look RUN/ppo`: what a policy said while it learned, each token coloured by what was known of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from rather.errors import BadFile, BadSetting, visible
from rather.run import EVENTS, SAMPLES, read_log

# What a token can be coloured by, and what the two ends of the scale mean.
BY = {
    "kl": "log policy - log reference, nats: red is likelier than before, blue is less likely",
    "values": "what the critic expected before the token: red is more than on average here, blue is less",
    "advantages": "how much better the token was than expected: red is better, blue is worse",
}
LAST = 10  # iterations whose time is looked at
STRONG = {"kl": 3.0, "values": 2.0, "advantages": 2.0}  # at this distance from the middle the colour is full


@click.command("look")
@click.argument("run", type=click.Path())
@click.option("--step", type=click.IntRange(min=1), help="Of this iteration. Default: the last one that was written.")
@click.option("-n", "--n", "count", default=4, show_default=True, type=click.IntRange(min=1), help="At most so many.")
@click.option("--by", default="kl", show_default=True, type=click.Choice(list(BY)), help="What colours a token.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(run: str, step: int | None, count: int, by: str, as_object: bool) -> None:
    """Show samples of RUN, the folder of a PPO run, with their scores and their tokens coloured.

    The last line says where the time of an iteration goes.
    """
    file = Path(run) / SAMPLES
    if not file.is_file():
        raise BadFile(f"There is no {file}.", "Expected the folder of a run, such as run/ppo.", "ls run")
    rows = [row for row in read_log(file) if _is_sample(row, by)]
    if not rows:
        raise BadFile(f"{file} has no sample with {by}.", "Expected those of `rather ppo`, which have tokens.")
    steps = sorted({row["step"] for row in rows})
    chosen = steps[-1] if step is None else step
    if chosen not in steps:
        raise BadSetting(
            f"{file} has no sample of step {chosen}.", f"It has {len(steps):,} steps, {steps[0]} to {steps[-1]}."
        )
    shown = [row for row in rows if row["step"] == chosen][:count]
    timings = _timings(Path(run))
    if as_object:
        click.echo(json.dumps({"run": run, "step": chosen, "samples": shown, "timings": timings}))
        return
    console = Console(highlight=False)
    console.print(Text(f"step {chosen}, coloured by {BY[by]}", style="dim"), soft_wrap=True)
    for row in shown:
        console.print()
        console.print(_text(console, row["prompt"], "bold"), soft_wrap=True)
        console.print(_coloured(console, row["tokens"], row[by], by), soft_wrap=True)
        end = "" if row["finished"] else ", cut off"
        said = f"score {row['score']:.3g}, KL {row['kl_sum']:.3g} nats over {len(row['tokens'])} tokens{end}"
        console.print(Text(said, style="dim"), soft_wrap=True)
    if timings:
        console.print()
        console.print(Text(_parts(timings), style="dim"), soft_wrap=True)


def _timings(run: Path) -> dict[str, float]:
    """Mean seconds of each part of the last ten iterations; nothing where a stage does not tell."""
    file = run / EVENTS
    events = list(read_log(file)) if file.is_file() else []
    rows = [_times(row) for row in events if row.get("event") == "timings"][-LAST:]
    rows = [row for row in rows if row.get("time/iteration")]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in names}


def _times(row: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in row.items() if k.startswith("time/") and isinstance(v, int | float) and v >= 0}


def _parts(timings: dict[str, float]) -> str:
    """The share of each part, the largest first."""
    whole = timings["time/iteration"]
    parts = sorted(((v, name) for name, v in timings.items() if name != "time/iteration"), reverse=True)
    shares = ", ".join(f"{name.removeprefix('time/')} {seconds / whole:.0%}" for seconds, name in parts)
    return f"{whole:.3g} s an iteration: {shares}"


def _is_sample(row: dict[str, Any], by: str) -> bool:
    """As `rather ppo` writes them. Another stage's samples have no tokens, and a file that was edited may have less."""
    numbers, tokens = row.get(by), row.get("tokens")
    if not isinstance(numbers, list) or not isinstance(tokens, list) or len(numbers) != len(tokens):
        return False
    plain = all(isinstance(x, int | float) for x in (*numbers, row.get("score"), row.get("kl_sum")))
    return plain and all(isinstance(x, str) for x in (*tokens, row.get("prompt"))) and {"step", "finished"} <= set(row)


def _coloured(console: Console, tokens: Sequence[str], numbers: Sequence[float], by: str) -> Text:
    middle = sum(numbers) / len(numbers) if by == "values" else 0.0
    text = Text()
    for token, number in zip(tokens, numbers, strict=True):
        strength = max(-1.0, min(1.0, (number - middle) / STRONG[by]))
        faded = round(255 * (1 - abs(strength)))
        colour = f"rgb(255,{faded},{faded})" if strength > 0 else f"rgb({faded},{faded},255)"
        text.append_text(_text(console, token, f"black on {colour}"))
    return text


def _text(console: Console, words: str, style: str) -> Text:
    """Nothing that a terminal would obey but line breaks, and nothing that it cannot show."""
    shown = "\n".join(visible(line) for line in words.split("\n"))
    return Text(shown.encode(console.encoding, "backslashreplace").decode(console.encoding), style=style)
