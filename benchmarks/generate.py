"""Our sampler and transformers' `generate`, step by step; a step is all prompts of the task. Only for workers."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

from benchmarks.generation import GENERATIONS, SIDE_BY_SIDE, Generation, generation_flops
from benchmarks.models import language_model, tokenizer
from benchmarks.process import Turns, Work
from benchmarks.sizes import SIZES, Size
from benchmarks.workload import PAD
from rather.batches.trees import Tokens
from rather.models.load import Policy
from rather.models.logprobs import use_trees
from rather.rollout import Sampling, sample

FIRST = 64  # prompts that are answered before the first step, to see that both systems say as much
CHECKED = 16  # of those responses, whose likelihood says that both draw from the same distribution
PAGE = 32  # tokens

Said = list[tuple[Tokens, Sequence[int]]]  # prompts and what was said to each
Say = Callable[[int], Said]  # by seed
Make = Callable[[PreTrainedModel, Generation, Size, Sequence[Tokens]], Say]


def ours(turns: Turns, *, task: str, size: str, seed: int, threads: int) -> NoReturn:
    in_steps(turns, GENERATIONS[task], SIZES[size], seed, sampler)


def peer(turns: Turns, *, task: str, size: str, seed: int, threads: int, cache: str) -> NoReturn:
    """cache: of `generate`, or "continuous": `generate_batch`, the continuous batching of transformers"""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    make = continuously if cache == "continuous" else partial(in_batches, cache=cache)
    in_steps(turns, GENERATIONS[task], SIZES[size], seed, make)


def sampler(model: PreTrainedModel, job: Generation, size: Size, prompts: Sequence[Tokens]) -> Say:
    use_trees(model)
    policy = Policy(model, tokenizer(size), job.stops(size))
    how = Sampling(max_new_tokens=job.new_tokens[size.name], samples=job.samples, slots=SIDE_BY_SIDE)

    def say(number: int) -> Said:
        rollout = sample(policy, prompts, how, torch.Generator().manual_seed(number))
        return [(p, one.tokens.tolist()) for p, row in zip(prompts, rollout.samples, strict=True) for one in row]

    return say


def in_batches(model: PreTrainedModel, job: Generation, size: Size, prompts: Sequence[Tokens], cache: str) -> Say:
    """Batches of like length, so that there is little padding."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    each = SIDE_BY_SIDE // job.samples
    groups = [[prompts[index] for index in order[at : at + each]] for at in range(0, len(order), each)]
    how: dict[str, Any] = generation(job, size)
    generate: Any = model.generate
    if cache == "static":
        how |= {"cache_implementation": "static", "disable_compile": True}

    def say(number: int) -> Said:
        torch.manual_seed(number)
        said: Said = []
        for group in groups:
            width = max(map(len, group))
            ids, mask = torch.full((len(group), width), PAD), torch.zeros(len(group), width, dtype=torch.int64)
            for row, prompt in enumerate(group):
                ids[row, width - len(prompt) :] = torch.from_numpy(prompt)
                mask[row, width - len(prompt) :] = 1
            out = generate(ids, attention_mask=mask, **how)[:, width:].tolist()
            owners = (prompt for prompt in group for _ in range(job.samples))
            said += [(p, cut(r, job.stops(size))) for p, r in zip(owners, out, strict=True)]
        return said

    return say


def continuously(model: PreTrainedModel, job: Generation, size: Size, prompts: Sequence[Tokens]) -> Say:
    """transformers' continuous batching, with room for as many sequences as the others have side by side.

    Left to itself it takes most of the machine's memory, and its attention reads all the room there is.
    """
    how = GenerationConfig(**generation(job, size))
    longest = max(map(len, prompts)) + job.new_tokens[size.name]
    room = ContinuousBatchingConfig(
        page_size=PAGE,
        num_blocks=SIDE_BY_SIDE * -(-longest // PAGE),
        max_batch_tokens=512,
        max_requests_per_batch=SIDE_BY_SIDE,
    )
    inputs = [prompt.tolist() for prompt in prompts]
    generate_batch: Any = model.generate_batch

    def say(number: int) -> Said:
        torch.manual_seed(number)
        done = generate_batch(inputs, generation_config=how, continuous_batching_config=room)
        return [(np.array(one.prompt_ids), one.generated_tokens) for one in done.values()]

    return say


def generation(job: Generation, size: Size) -> dict[str, Any]:
    """From the whole distribution, as a rollout is drawn."""
    return {
        "max_new_tokens": job.new_tokens[size.name],
        "do_sample": True,
        "top_k": 0,
        "num_return_sequences": job.samples,
        "pad_token_id": PAD,
        "eos_token_id": list(job.stops(size)) or None,
    }


def cut(tokens: Sequence[int], stops: Iterable[int]) -> Sequence[int]:
    """A batch goes on, padded, until its last response has ended."""
    ends = frozenset(stops)
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return tokens[: end + 1]


def in_steps(turns: Turns, job: Generation, size: Size, seed: int, make: Make) -> NoReturn:
    prompts = job.prompts_of(size, seed)
    read, responses = sum(map(len, prompts)), len(prompts) * job.samples
    model = bf16_model(size, seed)
    said = make(model, job, size, prompts[:FIRST])(seed)
    # By a model of its own: a system may have changed how the first one attends.
    turns.ready(surprise(bf16_model(size, seed), said[:CHECKED]), tokens=count(said))
    say = make(model, job, size, prompts)
    for number in itertools.count(seed + 1):
        said = say(number)
        assert len(said) == responses, f"{len(said)} responses where {responses} were wanted"
        turns.tick(Work(count(said), generation_flops(size, read, responses, count(said))))
    raise AssertionError("counting does not end")


def bf16_model(size: Size, seed: int) -> PreTrainedModel:
    """In which nothing but a task's own stops ends a response."""
    model = language_model(size, seed, "sdpa", torch.bfloat16).eval()
    model.generation_config.eos_token_id = None
    return model


def count(said: Said) -> int:
    return sum(len(response) for _, response in said)


def surprise(model: PreTrainedModel, said: Said) -> float:
    """Mean negative log-likelihood of these responses under the model, by a plain forward over each."""
    found = []
    with torch.no_grad():
        for prompt, response in said:
            ids = torch.tensor([*prompt.tolist(), *response])
            logits = model(ids[None]).logits[0, len(prompt) - 1 : -1].to(torch.float32)
            found.append(-logits.log_softmax(-1).gather(-1, ids[len(prompt) :, None])[:, 0])
    return torch.cat(found).mean().item()
