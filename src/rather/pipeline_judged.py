"""What a run in a world says of the method, as a file: RUN/claims.json has every claim, and figure 1 of the paper."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rather import __version__, files
from rather.errors import BadSetting
from rather.evaluate.claims.evidence import RunEvidence
from rather.evaluate.claims.seeds import table
from rather.evaluate.naming import is_base, is_reward_model
from rather.evaluate.policies import MeasureConfig, how
from rather.evaluate.preference import preferred
from rather.evaluate.runs import Measuring, measured_with, world_of
from rather.worlds.labelers import HELD_OUT, TRAINING

SIDE_BY_SIDE = 8  # prompts whose answers are shown beside each other


def judge(folder: Path, say: Callable[[str], None]) -> None:
    """Claims from what is measured; what is missing is measured first."""
    world, config = measured_with(folder) or (world_of(folder), MeasureConfig())
    measuring = Measuring(folder, world, config, say)
    lines = table([RunEvidence(measuring, measure=True)])
    found = {
        "rather": __version__,
        "world": world,
        "claims": [line.to_dict([folder.name]) for line in lines],
        **figure_1(measuring),
        "samples": side_by_side(measuring),
    }
    files.write_json(folder / "claims.json", found)
    outcomes = [line.outcome for line in lines]
    said = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in ("pass", "fail", "not decided"))
    say(f"{said}, of {len(lines)} claims")


def figure_1(measuring: Measuring) -> dict[str, Any]:
    """How often each policy is preferred to the SFT model, by the labelers of both groups."""
    baseline, noise = measuring.seen(), measuring.noise()
    theirs = measuring.answers(baseline)[how(1)]
    wins = []
    for name, path in measuring.models.items():
        if name == baseline or is_reward_model(path) or measuring.already(name) is None:
            continue
        ours = measuring.answers(name)
        for way in [how(1)] + [how(1, prompted=True)] * is_base(name):
            if way not in ours:
                continue
            try:
                found = preferred(measuring.judges, ours[way], theirs, noise)
            except BadSetting:  # too few prompts that both could read: there is no number, and none is shown
                continue
            keys = (TRAINING, HELD_OUT, "gold", "drawn")
            wins.append({"model": name, "way": way, **{key: found[key] for key in keys}})
    return {"baseline": baseline, "wins": wins}


def side_by_side(measuring: Measuring) -> list[dict[str, Any]]:
    """What policies answer to the same prompts, drawn by the seed and not by what they say."""
    main = [one for one in measuring.asked if one.group == "main"]
    chosen = random.Random("side by side").sample(main, min(SIDE_BY_SIDE, len(main)))
    said: dict[str, dict[str, Any]] = {}
    for name, path in measuring.models.items():
        if not is_reward_model(path) and measuring.already(name) is not None:
            of = {answer.asked.id: answer for answer in measuring.answers(name)[how(1)]}
            said[name] = {id: {"text": a.text, "gold": a.gold, "finished": a.finished} for id, a in of.items()}
    return [
        {
            "prompt": one.prompt.text,
            "category": one.prompt.category,
            "answers": {name: of[one.id] for name, of in said.items() if one.id in of},
        }
        for one in chosen
    ]
