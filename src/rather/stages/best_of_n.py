"""Best-of-N: sample N responses to each prompt, keep the one that scores best. No training.

    best_of_n(policy, Rewards({"reward": 1.0}, models={"reward": reward}), prompts, run, BestOfNConfig(samples=16))

It is the baseline that costs only samples (WebGPT, Gao et al. 2022), and a way to make data: the best responses are
demonstrations (rejection sampling), and best to worst they are rankings for another round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field

from rather import checkpoint, files, machine
from rather.config import Config
from rather.errors import BadFile
from rather.models.load import Policy
from rather.parallel import barrier, world
from rather.records import Demonstration, Prompt, Ranking, Response, ranks_from_scores, spoken, write
from rather.rollout import Sampling, draw_seeds
from rather.run import Run, read_log
from rather.stages.episodes import episodes_of, sample_shared
from rather.stages.grpo_rewards import Rewards, save_failed
from rather.stages.optim import computing_in
from rather.stages.ppo_start import fitting_prompts
from rather.stages.steps import Share
from rather.statistics import best_of_n as expected_best
from rather.statistics import best_of_n_kl
from rather.verifiers import VerifierFailed

# What a prompt's responses are worth where that is known: a prompt, N texts, N times whether it ended -> N numbers.
Gold: TypeAlias = Callable[[Prompt, Sequence[str], Sequence[bool]], Sequence[float]]
CURVE, DEMONSTRATIONS, RANKINGS = "curve.json", "demonstrations.jsonl", "rankings.jsonl"


class BestOfNConfig(Config):
    """Selection without training. Not in the paper; Stiennon et al. 2020 and WebGPT have it."""

    model: str | None = Field(None, description="that answers, folder or hub id; none: RUN/sft/checkpoint")
    rewards: dict[str, float] | None = Field(
        None, description="weights by name: a reward model's folder, module:function, a URL, or verifiers; "
        "none: RUN/reward/checkpoint"
    )  # fmt: skip
    prompts: str | None = Field(
        None,
        description="a file of records, a world such as marn:0, or sums, the verifiable one; none: RUN/prompts.jsonl",
    )
    split: str | None = Field(None, description="of the prompts; not said: all of a file's, test of a world's")
    count: int | None = Field(None, ge=2, description="prompts at most; none: all of a file, 100 of a world")
    template: str | None = Field(None, description="plain, page or none; not said: the model's own, if it has one")
    separator: str = Field("\n", description="between prompt and response where there is no template")

    samples: int = Field(16, ge=2, description="N, responses to a prompt; WebGPT: 4 to 64")
    max_prompt: int = Field(1024, ge=1, description="tokens; longer prompts are dropped and counted, never cut")
    max_new_tokens: int = Field(256, ge=1, description="tokens of a response, EOS included")
    temperature: float = Field(1.0, gt=0, description="of the sampling")
    missing_eos: Literal["replace", "keep"] = Field("replace", description="score of a response that does not end")
    missing_eos_score: float = Field(-1.0, description="it is replaced by this, as in PPO")
    ranked: int = Field(4, ge=2, description="responses of a prompt in its ranking, best to worst; 3.3: 4 to 9")
    least_score: float | None = Field(None, description="a demonstration scores at least this; none: the best does")

    batch_size: int = Field(16, ge=1, description="prompts sampled and written at a time")
    checkpoint_every: int = Field(1, ge=1, description="batches between checkpoints")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the large products")
    row_budget: int = Field(4096, ge=1, description="tokens in one forward of a reward model; changes speed only")
    slots: int = Field(64, ge=1, description="sequences sampled side by side; changes speed, not the result")
    seed: int = Field(0, ge=0, description="of the samples")


def best_of_n(
    policy: Policy,
    rewards: Rewards,
    prompts: Sequence[Prompt],
    run: Run,
    config: BestOfNConfig,
    *,
    gold: Gold | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Every sample with its score goes to samples.jsonl; from that follow the curve, demonstrations and rankings."""
    device = next(policy.model.parameters()).device
    compute = machine.precision(config.precision, device.type)
    share = Share(config.row_budget, *world(), device)
    given = len(prompts)
    policy, prompts, asked = fitting_prompts(policy, prompts, config)
    if len(prompts) < 2:
        raise BadFile(f"{len(prompts)} prompt.", "Expected two or more: an interval rests on different prompts.")
    judge = rewards.judging(policy, compute, config.separator)
    computing_in(policy.model.requires_grad_(False), compute)
    sampling = Sampling(
        max_new_tokens=config.max_new_tokens,
        samples=config.samples,
        temperature=config.temperature,
        slots=config.slots,
    )
    drawing = torch.Generator().manual_seed(config.seed)
    state: dict[str, Any] = {"drawing": drawing}
    done = checkpoint.load_latest(run.state, state) or 0
    run.rewind(done)
    steps = run.steps = -(-len(prompts) // config.batch_size)
    for step in range(done + 1, steps + 1):
        few = slice((step - 1) * config.batch_size, step * config.batch_size)
        mine = prompts[few]
        rollout = sample_shared(policy, asked[few], sampling, draw_seeds(drawing, len(mine), config.samples))
        episodes = episodes_of(policy, mine, rollout, device)
        try:
            scores = judge(episodes, share).total
        except VerifierFailed as failed:
            save_failed(run, step, failed)
            raise
        if config.missing_eos == "replace":
            scores = torch.where(episodes.finished, scores, torch.full_like(scores, config.missing_eos_score))
        table = scores.view(len(mine), config.samples).tolist()  # (P, N)
        for at, prompt in enumerate(mine):
            of = slice(at * config.samples, (at + 1) * config.samples)
            texts, ended = episodes.texts[of], episodes.finished[of].tolist()
            row = {"id": prompt.id, "prompt": spoken(prompt.prompt), "responses": list(texts), "finished": ended}
            row |= {"lengths": episodes.lengths[of].tolist(), "scores": table[at]}
            run.sample(step, row | ({"gold": list(map(float, gold(prompt, texts, ended)))} if gold else {}))
        values = {"objective/scores": float(scores.mean()), "objective/best": float(np.mean([max(r) for r in table]))}
        values["response/length"] = float(episodes.lengths.double().mean())
        values["response/finished"] = float(episodes.finished.double().mean())
        run.metrics(step, values)
        if step % config.checkpoint_every == 0 or step == steps:
            run.sync()
            checkpoint.save(run.state, state, step)

    barrier()  # every worker reads what the first one has written
    rows = list(read_log(run.path / "samples.jsonl"))
    curve = curve_of(rows, config.samples)
    result: dict[str, Any] = {"prompts": len(rows), "samples": config.samples, "too long": given - len(prompts)}
    if run.writes:
        files.write_json(run.path / CURVE, {"samples": config.samples, "prompts": len(rows), "curve": curve})
        demonstrations = selected(prompts, rows, config)
        rankings = ranked(prompts, rows, config)
        write(run.path / DEMONSTRATIONS, demonstrations)
        write(run.path / RANKINGS, rankings)
        result |= {"demonstrations": len(demonstrations), "rankings": len(rankings)}
    first, last = curve[0], curve[-1]
    result |= {"score of one": first["score"]["value"], "score of the best": last["score"]["value"], "kl": last["kl"]}
    if gold:
        best = max(curve, key=lambda point: point["gold"]["value"])
        result |= {"gold of one": first["gold"]["value"], "gold of the best": last["gold"]["value"],
                   "gold is highest at": best["n"]}  # fmt: skip
    run.finish(steps, result | dict(about or {}))
    return result | dict(about or {})


def curve_of(rows: Sequence[Mapping[str, Any]], most: int) -> list[dict[str, Any]]:
    """The expected score, and gold, of the best of 1, 2, 4, ... `most`: unbiased, from all samples at once.

    kl: in nats, log n - (n - 1) / n, exact where no two responses score the same
    """
    scores = [row["scores"] for row in rows]
    found = []
    for n in sorted({2**k for k in range(int(math.log2(most)) + 1)} | {most}):
        point: dict[str, Any] = {"n": n, "kl": best_of_n_kl(n), "score": _said(expected_best(scores, n))}
        if "gold" in rows[0]:
            point["gold"] = _said(expected_best(scores, n, gold=[row["gold"] for row in rows]))
        found.append(point)
    return found


def _said(estimate: Any) -> dict[str, Any]:
    return {"value": estimate.value, "interval": list(estimate.interval), "prompts": estimate.clusters}


def selected(
    prompts: Sequence[Prompt], rows: Sequence[Mapping[str, Any]], config: BestOfNConfig
) -> list[Demonstration]:
    """The best response to each prompt that ended and says something; of equals the first. (Rejection sampling.)"""
    found = []
    for prompt, row in zip(prompts, rows, strict=True):
        fit = [k for k, text in enumerate(row["responses"]) if row["finished"][k] and text.strip()]
        best = max(fit, key=lambda k: row["scores"][k], default=None)
        if best is None or (config.least_score is not None and row["scores"][best] < config.least_score):
            continue
        labeler = f"best of {config.samples}"
        found.append(Demonstration(**_about(prompt), response=row["responses"][best], labeler=labeler))
    return found


def ranked(prompts: Sequence[Prompt], rows: Sequence[Mapping[str, Any]], config: BestOfNConfig) -> list[Ranking]:
    """Some responses to each prompt in the order of their scores, from the best to the worst at even distances.

    A text that came twice is one response; a prompt whose responses all score the same has no ranking.
    """
    found = []
    for prompt, row in zip(prompts, rows, strict=True):
        different = list({text: k for k, text in reversed(list(enumerate(row["responses"])))}.values())
        order = sorted(different, key=lambda k: (-row["scores"][k], k))
        picked = np.unique(np.linspace(0, len(order) - 1, min(config.ranked, len(order))).round().astype(int))
        chosen = [order[place] for place in picked]
        scores = [row["scores"][k] for k in chosen]
        if len(set(scores)) < 2:
            continue
        responses = tuple(
            Response(text=row["responses"][k], finished=row["finished"][k], model=f"best of {config.samples}",
                     score=row["scores"][k])
            for k in chosen
        )  # fmt: skip
        found.append(Ranking(**_about(prompt), responses=responses, ranks=ranks_from_scores(scores), labeler="scores"))
    return found


def _about(prompt: Prompt) -> dict[str, Any]:
    return {name: getattr(prompt, name) for name in ("id", "prompt", "category", "source", "split")}
