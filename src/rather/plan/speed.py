"""How fast this machine computes a model: the stages' own code on drawn weights, for a few seconds.

A large model is measured with one layer and with two; what more layers cost follows, because layers cost alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from rather.batches.packing import ROW_STEP
from rather.batches.trees import Tree
from rather.models.dropout import set_dropout
from rather.models.logprobs import use_trees
from rather.models.tokenizers import quiet
from rather.plan.shapes import Shape
from rather.plan.work import Work
from rather.rollout.batching import Batch, Request
from rather.rollout.types import Sampling
from rather.stages.optim import Adam, computing_in
from rather.stages.steps import Share, sft_gradients, sft_loss

WHOLE = 20_000_000  # parameters up to which a model is measured whole
FEW = 4_000_000  # parameters that an optimiser step is measured on; larger ones cost in proportion
PROMPT, RESPONSE, STEPS = 24, 24, 8  # tokens of a measured sequence, and steps of sampling


@dataclass(frozen=True)
class Rates:
    """Seconds of a token trained on, of one scored, of one sampled beside `slots` others, of a parameter's update."""

    parameters: int
    precision: str
    layers: tuple[int, ...]  # that were measured
    repeats: int  # of each, at least; medians count
    train: float
    score: float
    decode: float
    update: float

    def seconds(self, work: Work) -> float:
        match work.kind:
            case "train":
                return work.count * self.train
            case "score":
                return work.count * self.score
            case "decode":
                return work.count * self.decode
            case "update":
                return work.count * self.update * work.shape.parameters

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measured(shape: Shape, compute: torch.dtype, budget: int, slots: int, seconds: float) -> Rates:
    """budget: tokens of a row, as the stage has it     seconds: how long, roughly"""
    whole = shape.parameters <= WHOLE
    layers = (shape.layers,) if whole or shape.layers < 3 else (1, 2)
    found = [_timed(shape.with_layers(count), compute, budget, slots, seconds / len(layers)) for count in layers]
    train, score, decode = (_extended([one[i] for one in found], layers, shape.layers) for i in range(3))
    update = _update(compute)
    repeats = min(one[3] for one in found)
    return Rates(shape.parameters, str(compute).removeprefix("torch."), layers, repeats, train, score, decode, update)


def _extended(seconds: list[float], measured: tuple[int, ...], layers: int) -> float:
    if len(measured) == 1:
        return seconds[0]
    each = max(0.0, seconds[1] - seconds[0])
    return max(seconds[0] - each, 0.0) + layers * each


def _timed(
    config: PretrainedConfig, compute: torch.dtype, budget: int, slots: int, seconds: float
) -> tuple[float, float, float, int]:
    """Seconds of a token: trained on, scored, sampled; and how often each was measured."""
    model = _drawn(config)
    use_trees(model)
    computing_in(model, compute)
    trees = _row(config, min(budget, 1024))
    tokens = sum(tree.size for tree in trees)
    share = Share(max(tokens, ROW_STEP))

    def learn() -> None:
        sft_gradients(model, trees, share)
        model.zero_grad(set_to_none=True)

    def read() -> None:
        sft_loss(model, trees, share)

    train, score = _repeated(learn, seconds * 0.4), _repeated(read, seconds * 0.2)
    decode = _repeated(_decoding(model, config, slots), seconds * 0.4)
    least = min(map(len, (train, score, decode)))
    middle = [statistics.median(times) for times in (train, score, decode)]
    return middle[0] / tokens, middle[1] / tokens, middle[2] / (slots * STEPS), least


def _drawn(config: PretrainedConfig) -> Any:
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    set_dropout(model, 0.0)
    return model.eval()


def _row(config: PretrainedConfig, tokens: int) -> list[Tree]:
    rng = np.random.default_rng(0)
    some = lambda count: rng.integers(3, config.get_text_config().vocab_size, count).astype(np.int32)  # noqa: E731
    return [Tree(some(PROMPT), (some(RESPONSE),)) for _ in range(max(1, tokens // (PROMPT + RESPONSE)))]


def _decoding(model: Any, config: PretrainedConfig, slots: int) -> Callable[[], float]:
    """A few steps of the sampler with every slot busy; what it took to read the prompts is not in the answer."""
    prompts = [tree.prompt for tree in _row(config, slots * (PROMPT + RESPONSE))][:slots]
    prompts += [prompts[0]] * (slots - len(prompts))

    def steps() -> float:
        requests = [Request(at, 0, prompt, at) for at, prompt in enumerate(prompts)]
        run = Batch(model, requests, Sampling(max_new_tokens=STEPS + 1, slots=slots), (), ()).run()
        next(run)
        began = time.perf_counter()
        for _ in range(STEPS):
            next(run)
        return time.perf_counter() - began

    return steps


def _update(compute: torch.dtype) -> float:
    """Seconds a parameter of one optimiser step."""
    side = 1 << 10
    layers = nn.ModuleList(nn.Linear(side, side, bias=False) for _ in range(FEW // side**2))
    optimizer = Adam(layers, compute=compute)

    def step() -> float:
        for sums in optimizer.gradients():
            sums.fill_(1e-3)
        began = time.perf_counter()
        optimizer.step(1e-6)
        return time.perf_counter() - began

    return statistics.median(_repeated(step, 0.2)) / FEW


def _repeated(work: Callable[[], Any], seconds: float) -> list[float]:
    """How long it took, each time; the first time builds kernels and does not count. Work may time itself."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        began = time.perf_counter()
        own = work()
        times.append(own if isinstance(own, float) else time.perf_counter() - began)
    return times
