"""Where the time of an iteration goes."""

from __future__ import annotations

import time
from collections import defaultdict

import torch


class Clock:
    """Seconds by part: each lap is what went by since the one before it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._laps: defaultdict[str, float] = defaultdict(float)
        self._last = self._now()

    def lap(self, part: str) -> None:
        now = self._now()
        self._laps[part] += now - self._last
        self._last = now

    @property
    def seconds(self) -> dict[str, float]:
        """As they are logged: time/PART, and time/iteration, their sum."""
        laps = {f"time/{part}": round(value, 6) for part, value in self._laps.items()}
        return laps | {"time/iteration": round(sum(self._laps.values()), 6)}

    def _now(self) -> float:
        if self.device.type == "cuda":  # what was asked of it is done later: without waiting, another part would pay
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
