"""`rounds = 2`: steps 2 and 3 again, on the newest policy and with fresh rankings (sec. 3.1: they can be iterated).

What is repeated is the last `rank`, `reward` and `ppo` of the recipe. In round 2 their names end in -2;
they have the settings of round 1, but for what they begin with, and a table [NAME-2] says what else is to differ.
Without a `rank` stage people rank: the reward model of round 2 waits for RUN/rankings-2.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rather.errors import BadSetting
from rather.toml import written

REPEATED = ("rank", "reward", "ppo")  # steps 2 and 3, in their order


@dataclass(frozen=True)
class Listed:
    """A stage of the story. again: the stage of the round before whose settings it has, "" for one of the recipe's own

    settings: key=value, what differs from that stage because it is another round
    """

    verb: str
    name: str
    again: str = ""
    settings: tuple[str, ...] = ()


def with_rounds(path: Path, listed: Sequence[tuple[str, str]], rounds: int, folder: Path) -> list[Listed]:
    """The recipe's stages, and behind the last one of steps 2 and 3 those of the later rounds."""
    own = [Listed(verb, name) for verb, name in listed]
    if rounds == 1:
        return own
    main = {one.verb: one for one in own if one.verb in REPEATED}  # of several the last
    if not {"reward", "ppo"} <= main.keys():
        raise BadSetting(
            f"{path}: rounds={rounds} and no reward and ppo to repeat.", "Expected both in the stages of the story."
        )
    behind = max(own.index(one) for one in main.values()) + 1
    more: list[Listed] = []
    before = {verb: one.name for verb, one in main.items()}
    for number in range(2, rounds + 1):
        now = {verb: f"{main[verb].name}-{number}" for verb in main}
        for verb in (verb for verb in REPEATED if verb in main):
            more.append(Listed(verb, now[verb], main[verb].name, tuple(_begins(verb, number, before, now, folder))))
        before = now
    return [*own[:behind], *more, *own[behind:]]


def _begins(verb: str, number: int, before: Mapping[str, str], now: Mapping[str, str], folder: Path) -> Iterator[str]:
    """What a stage of a later round begins with."""
    match verb:
        case "rank":
            yield _set("policies", [before["ppo"]])
            yield _set("seed", number - 1)  # other prompts than the rounds before
        case "reward":
            yield _set("model", str(folder / before["reward"] / "checkpoint"))
            yield _set("rankings", str(folder / f"{now.get('rank', f'rankings-{number}')}.jsonl"))
        case "ppo":
            yield _set("model", str(folder / before["ppo"] / "checkpoint"))
            yield _set("reward", str(folder / now["reward"] / "checkpoint"))


def _set(key: str, value: Any) -> str:
    return f"{key}={written(value)}"
