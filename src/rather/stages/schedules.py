"""How the learning rate moves. Every schedule is a function of the step, so that a resumed run needs no state of it."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, peak: float, floor: float = 0.1) -> float:
    """From the peak at step 1 down to `floor` of it at the last step (app. C.1, C.2: 10 %, no warm-up)."""
    done = (step - 1) / max(steps - 1, 1)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def warm_then_linear(
    step: int, steps: int, peak: float, warmup: int = 0, decay: float = 0.0, floor: float = 0.03
) -> float:
    """Up over `warmup` steps, level, then in a line down to `floor` of the peak over the last share `decay`."""
    if step <= warmup:
        return peak * step / warmup
    falling = decay * steps
    left = (steps - step) / falling if falling else 1.0
    return peak * (floor + (1 - floor) * min(left, 1.0))
