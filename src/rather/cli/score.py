"""`rather score MODEL... FILE`: what one or several reward models say of anything that has responses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from rather import machine
from rather.errors import BadFile, BadSetting, visible
from rather.records import Prompt, Ranking, Rating, Record, Response, Text, read
from rather.records.demonstrations import prompt_row
from rather.records.fields import the_prompt_field
from rather.records.lines import json_rows, write_lines
from rather.stages.reward_scoring import Scored, Scorer, responses_of
from rather.statistics import clustered_mean

SHOWN = 20


@click.command("score")
@click.argument("names", nargs=-1, required=True, metavar="MODEL... FILE")
@click.option("-o", "--out", help="A .jsonl file for the scores, instead of the screen.")
@click.option("--shape", help="How the rows are written, where the fields do not tell.")
@click.option("-n", "--n", "count", type=click.IntRange(min=1), help="At most this many records.")
@click.option("--budget", default=4096, show_default=True, type=click.IntRange(min=1), help="Tokens in one forward.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on standard output.")
def command(
    names: tuple[str, ...], out: str | None, shape: str | None, count: int | None, budget: int, as_object: bool
) -> None:
    """Score the responses in FILE - demonstrations, rankings, comparisons, samples - with a reward model.

    MODEL is a folder that rather reward made (RUN/reward, or its checkpoint). Several are an ensemble: the mean, and by
    how much they disagree. 0 is what a demonstration scores on average.
    """
    *models, file = names
    if not models:
        raise BadSetting(f"Only {visible(file)}.", "Expected a reward model and a file.", "rather score MODEL FILE")
    if out and not out.endswith((".jsonl", ".jsonl.gz")):
        raise BadFile(f"{visible(out)} cannot be written.", "Expected a name that ends in .jsonl or .jsonl.gz.")
    records = _records(file, shape, count)
    torch.set_num_threads(machine.best_threads())
    rows = list(scored([Scorer.load(_checkpoint(model)) for model in models], records, budget))
    if not rows:
        raise BadFile(f"{visible(file)}: none of its {len(records):,} records is short enough.", "Expected some.")
    about = _about(file, models, len(records), rows)
    if out:
        write_lines(Path(out), rows)
    if as_object:
        click.echo(json.dumps(about | ({"out": out} if out else {"rows": rows})))
        return
    if not out:
        _show(rows)
    click.echo(_said(about) + (f"\n{visible(out)}: {len(rows):,} rows" if out else ""))


def scored(scorers: Sequence[Scorer], records: Sequence[Record], budget: int = 4096) -> Iterator[dict[str, Any]]:
    """One row per record that is short enough for all models: its responses, each with its score and disagreement."""
    by_id: dict[str, list[Scored]] = {}
    for scorer in scorers:
        for one in scorer.score(records, budget):
            by_id.setdefault(one.record.id, []).append(one)
    for record in records:
        found = by_id.get(record.id, [])  # type: ignore[attr-defined]  # every record that has responses has one
        if len(found) == len(scorers):
            yield _row(record, found)


def _row(record: Any, found: Sequence[Scored]) -> dict[str, Any]:
    table = np.stack([one.values for one in found])  # (models, K)
    spread = _spread(found, table)
    responses = []
    for k, text in enumerate(responses_of(record)):
        said = {"text": text, "score": float(table[:, k].mean()), "tokens": int(found[0].tokens[k])}
        if spread is not None:
            said["disagreement"] = float(spread[k])
        responses.append(said)
    asked = record.prompt
    prompt = asked if isinstance(asked, str) else [turn.model_dump() for turn in asked]
    return {"id": record.id, "prompt": prompt, "responses": responses}


def _spread(found: Sequence[Scored], table: np.ndarray) -> np.ndarray | None:
    """(K,) standard deviation over all heads of all models: between models, and within each between its heads."""
    if len(found) == 1:
        return found[0].spread
    within = [np.zeros(table.shape[1]) if one.spread is None else one.spread**2 for one in found]
    return np.sqrt(table.var(0) + np.mean(within, 0))


def _records(file: str, shape: str | None, count: int | None) -> list[Record]:
    if shape is None and (sampled := list(islice(_samples(file), count))):
        return sampled
    reader = read(file, shape=shape)
    if reader.kind in (Prompt, Text, Rating):
        kind = reader.kind.__name__.lower()
        raise BadFile(
            f"{visible(file)} holds {kind}s (read as {reader.shape.words}): there is no response to score.",
            "Expected demonstrations, rankings, comparisons or samples.",
        )
    return [record for n, record in enumerate(reader) if count is None or n < count]


def _samples(file: str) -> Iterator[Record]:
    """What `rather sample` writes: a prompt with responses that nobody has put in an order, perhaps a single one."""
    if not file.endswith((".jsonl", ".jsonl.gz")):
        return
    for row in json_rows(Path(file)):
        responses = row.fields.get("responses")
        if not (row.has("prompt") and isinstance(responses, list) and row.has("lengths") and row.has("seeds")):
            return  # something else, or nothing of ours
        if not all(isinstance(r, Mapping) and isinstance(r.get("text"), str) for r in responses) or not responses:
            raise row.bad("responses are not a list of objects with text.", "Expected what rather sample writes.")
        (asked,) = list(prompt_row(row, the_prompt_field(row)))
        # Made without validation: a model may say nothing, which no record that people hand in does.
        said = tuple(
            Response.model_construct(text=r["text"], finished=bool(r.get("finished", True))) for r in responses
        )
        yield Ranking.model_construct(id=asked.id, prompt=asked.prompt, responses=said, ranks=(1,) * len(said))


def _checkpoint(name: str) -> str:
    """The folder of a run stands for the model in it."""
    inner = Path(name) / "checkpoint"
    return str(inner) if inner.is_dir() else name


def _about(file: str, models: Sequence[str], records: int, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    values = [response["score"] for row in rows for response in row["responses"]]
    prompts = [n for n, row in enumerate(rows) for _ in row["responses"]]
    found: dict[str, Any] = {
        "file": file,
        "models": list(models),
        "records": len(rows),
        "left out": records - len(rows),
    }
    found |= {"responses": len(values), "sd": float(np.std(values))}
    try:
        found["mean"] = clustered_mean(values, prompts).to_dict()
    except ValueError:  # a single record: its scores are shown, and there is no interval
        found["mean"] = None
    if "disagreement" in rows[0]["responses"][0]:
        found["disagreement"] = float(np.mean([r["disagreement"] for row in rows for r in row["responses"]]))
    return found


def _said(about: dict[str, Any]) -> str:
    mean = about["mean"]
    words = f"{about['responses']:,} responses to {about['records']:,} prompts"
    if mean:
        low, high = mean["interval"]
        words += f": mean {mean['value']:.3f} [{low:.3f}, {high:.3f}], standard deviation {about['sd']:.3f}"
    if "disagreement" in about:
        words += f", mean disagreement {about['disagreement']:.3f}"
    return words + (f"; {about['left out']:,} are too long or empty, and left out" if about["left out"] else "")


def _show(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows[:SHOWN]:
        prompt = row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]
        click.echo(visible(" ".join(prompt.split()))[:100])
        for response in sorted(row["responses"], key=lambda r: -r["score"]):
            doubt = f" ±{response['disagreement']:.2f}" if "disagreement" in response else ""
            click.echo(f"  {response['score']:+7.2f}{doubt}  {visible(' '.join(response['text'].split()))[:90]}")
    if len(rows) > SHOWN:
        click.echo(f"... and {len(rows) - SHOWN:,} more (-o FILE writes all)")
