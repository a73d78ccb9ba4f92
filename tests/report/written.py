"""A story as stages leave it, small and made up: for tests of who reads it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from pydantic import Field

from rather.config import Config
from rather.run import Run

GROUPS = ("training", "held-out")


class Settings(Config):
    model: str = Field("none", description="made up")
    seed: int = Field(0, description="made up")
    ptx_coef: float = Field(0.0, description="made up")


def estimate(value: float, half: float = 0.04, n: int = 200) -> dict[str, object]:
    return {"value": value, "interval": [value - half, value + half], "n": n, "clusters": n}


def stage(folder: Path, name: str, model: str = "none", rows: dict[str, list[float]] | None = None) -> Path:
    """A finished run whose metrics are the columns of `rows`."""
    with Run.open(folder / name, Settings(model=model)) as run:
        columns = rows or {"loss": [2.0, 1.0]}
        steps = len(next(iter(columns.values())))
        for at in range(steps):
            run.metrics(at + 1, {key: column[at] for key, column in columns.items()})
        run.checkpoint.mkdir()
        (run.checkpoint / "model.safetensors").write_bytes(name.encode())
        run.finish(steps, {"loss": 1.0})
    return folder / name


def policy(grades: list[float], gold: float) -> dict[str, object]:
    answers = {key: estimate(gold) for key in ("gold", "labelers", "likert", "task", "junk", "length")}
    return {"about": {"model": "made up"}, "answers": {"t1": answers},
            "grades": {"reading": grades, "sums": grades[::-1]}}  # fmt: skip


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def story(folder: Path, win: float = 0.7, said: str = "A warm stone in the hand.") -> Path:
    """base-s, sft-s, reward, ppo and ppo-ptx, measured; PPO lost what it knew, and the pretraining mix kept it."""
    steps = range(40)
    ppo = {
        "episode": [128.0 * (at + 1) for at in steps],
        "objective/scores": [1.5 - 1.4 * math.exp(-at / 12) for at in steps],
        "objective/kl": [0.1 * at**0.9 for at in steps],
        "policy/entropy_avg": [0.9 - 0.01 * at for at in steps],
        "response/length": [18 + 0.1 * at for at in steps],
    }
    stage(
        folder, "base-s", rows={"loss": [3 - 0.05 * at for at in steps], "val/loss": [3.1 - 0.05 * at for at in steps]}
    )
    stage(folder, "sft-s", f"{folder}/base-s/checkpoint", {"epoch": [1.0, 2.0, 3.0], "val/loss": [0.8, 0.6, 0.7]})
    stage(folder, "reward", f"{folder}/sft-s/checkpoint", {"val/accuracy": [0.5, 0.6, 0.66]})
    stage(folder, "ppo", f"{folder}/sft-s/checkpoint", ppo)
    stage(folder, "ppo-ptx", f"{folder}/sft-s/checkpoint", {key: [0.95 * v for v in of] for key, of in ppo.items()})
    right, wrong = [1.0] * 90 + [0.0] * 10, [1.0] * 30 + [0.0] * 70
    for name, grades, gold in (
        ("base-s", right, -1.2), ("sft-s", right, 1.8), ("ppo", wrong, 2.2), ("ppo-ptx", right, 2.3),
    ):  # fmt: skip
        write(folder / "evaluate" / f"{name}.json", policy(grades, gold))
    wins = [
        {"model": name, "way": way, **{group: estimate(value) for group in GROUPS}}
        for name, way, value in (
            ("base-s", "t1", 0.08), ("base-s", "prompted t1", 0.31), ("ppo", "t1", win - 0.05), ("ppo-ptx", "t1", win)
        )
    ]  # fmt: skip
    claim = {"claim": 5, "sentence": "PPO is better than SFT", "criterion": "win >= .55", "outcome": "pass",
             "figure": win, "interval": [win - 0.04, win + 0.04], "n": 200,
             "runs": {"made up": {"outcome": "pass", "why": f"win {win} (>= 0.55)"}}}  # fmt: skip
    lost = claim | {"claim": 18, "sentence": "alignment is taxed", "outcome": "fail", "figure": 0.02, "interval": None}
    answers = {name: {"text": said, "gold": 1.5, "finished": True} for name in ("base-s", "sft-s", "ppo", "ppo-ptx")}
    sample = {"prompt": "What does the potter sell?\n", "category": "open_qa", "answers": answers}
    write(folder / "claims.json", {"claims": [claim, lost], "baseline": "sft-s", "wins": wins, "samples": [sample]})
    return folder
