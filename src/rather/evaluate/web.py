"""What a policy still knows of the web: the loss on pages that nothing was trained on."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import numpy as np

from rather.evaluate.asking import encoder_of
from rather.evaluate.likelihood import likelihoods
from rather.models.load import Policy, window_of
from rather.statistics import clustered_mean
from rather.worlds.world import World

PAGE = 512  # tokens read together, where the model's window has no end


def web_loss(policy: Policy, world: World, pages: int) -> dict[str, Any]:
    """Nats per token, as in pretraining: pages back to back in rows of the window. And per byte of text, which models
    with other tokenizers share. A row is a cluster."""
    rng = random.Random(f"{world.name} {world.seed} web evaluation")
    texts = [page.text for page in islice(world.web_documents(rng), pages)]
    window = window_of(policy.model.config) or PAGE
    trees = list(encoder_of(policy).windows(texts, min(window, PAGE)))
    losses = [-one.logprobs.astype(np.float64) for (one,) in likelihoods(policy, trees)]
    per_token = clustered_mean(np.concatenate(losses), [at for at, of in enumerate(losses) for _ in of])
    tokens_per_byte = sum(map(len, losses)) / sum(len(text.encode()) for text in texts)
    per_byte = per_token.mapped(lambda nats: nats * tokens_per_byte, f"times {tokens_per_byte:.4f} tokens per byte")
    return {"per token": per_token.to_dict(), "per byte": per_byte.to_dict(), "pages": pages}
