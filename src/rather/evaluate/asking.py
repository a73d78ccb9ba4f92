"""What a model writes after a text. Prompts are pages to go on with: they are encoded without a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from rather.batches.encoding import Encoder
from rather.batches.trees import Tokens
from rather.models.load import Policy, window_of
from rather.rollout import Sample, Sampling, draw_seeds, samples


@dataclass(frozen=True)
class Said:
    """One answer, without the token that ended it.

    tokens: (T,) ids with the stop token, as the sampler drew them     finished: the model ended it itself
    """

    text: str
    finished: bool
    tokens: Tokens


def encoder_of(policy: Policy) -> Encoder:
    """A prompt of a world ends where the answer begins: nothing stands between the two."""
    return Encoder(policy.tokenizer, None, separator="")


def ask(
    policy: Policy, prompts: Sequence[str], sampling: Sampling, seed: int, end: str = ""
) -> list[tuple[Said, ...] | None]:
    """K answers to each prompt; None to one that does not fit the window together with an answer.

    seed: each prompt has its own, so what is said to it does not depend on the others
    end: characters with any of which an answer is over; they, and what shares a token with them, are left in the text
    """
    ids = encoder_of(policy).prompts(prompts)
    window = window_of(policy.model.config)
    fits = [at for at, tokens in enumerate(ids) if window is None or len(tokens) + sampling.max_new_tokens <= window]
    if end:
        policy = replace(policy, stops=(*policy.stops, *tokens_with(policy, end)))
    found: dict[int, list[Sample]] = {at: [] for at in fits}
    seeds = draw_seeds(torch.Generator().manual_seed(seed), len(prompts), sampling.samples)
    for sample in samples(policy, [ids[at] for at in fits], sampling, seeds[fits]):
        found[fits[sample.prompt]].append(sample)
    ordered = {at: sorted(of, key=lambda sample: sample.sample) for at, of in found.items()}
    return [tuple(_said(policy, s) for s in ordered[at]) if at in ordered else None for at in range(len(prompts))]


def _said(policy: Policy, sample: Sample) -> Said:
    return Said(
        str(policy.tokenizer.decode(sample.tokens.tolist(), skip_special_tokens=True)), sample.finished, sample.tokens
    )


def tokens_with(policy: Policy, characters: str) -> tuple[int, ...]:
    """Ids of all tokens whose text holds one of the characters."""
    size = len(policy.tokenizer)
    texts = policy.tokenizer.batch_decode([[token] for token in range(size)])
    return tuple(token for token, text in enumerate(texts) if any(c in text for c in characters))
