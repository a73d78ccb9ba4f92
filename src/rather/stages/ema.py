"""A moving average of the policy's weights (app. C.4: decay 0.992), in float32, shipped beside the weights.

With LoRA it is the adapters that move, and so their average.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rather.stages.optim import Adam


class EMA:
    """The average of an optimiser's masters. Call `update` after each of its steps."""

    def __init__(self, optimizer: Adam, decay: float) -> None:
        assert 0 <= decay < 1, f"decay {decay}"
        self.optimizer, self.decay = optimizer, decay
        # Begun at the weights themselves, so that there is no bias to correct.
        self.averages = [master.clone() for master in optimizer.masters]

    @torch.no_grad()
    def update(self) -> None:
        for average, master in zip(self.averages, self.optimizer.masters, strict=True):
            average.lerp_(master, 1 - self.decay)

    @contextmanager
    def shipped(self) -> Iterator[None]:
        """Within this context the model holds the average, for saving and measuring."""
        with self.optimizer.exact():  # frozen weights too are saved as they came
            for p, average in zip(self.optimizer.working, self.averages, strict=True):
                p.data = average
            yield

    def state_dict(self) -> dict[str, Any]:
        return dict(zip(self.optimizer.names, self.averages, strict=True))

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, average in zip(self.optimizer.names, self.averages, strict=True):
                average.copy_(saved[name])
