"""`rounds = 2`: steps 2 and 3 again, on the newest policy and with fresh rankings (sec. 3.1: they can be iterated).

What is repeated is the last `rank`, `reward` and `ppo` of the recipe. Where a `dpo` stands behind every `ppo`, it is
that `dpo` and what makes its rankings: `rank`, or a `best-of-n` whose rankings it names, which ranks by a reward model.
In round 2 their names end in -2; they have the settings of round 1, but for what they begin with, and a table [NAME-2]
says what else is to differ. Where nothing ranks, people do: round 2 waits for RUN/rankings-2.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rather import toml
from rather.errors import BadSetting

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
    main = _repeated(path, own)
    if main is None:
        raise BadSetting(
            f"{path}: rounds={rounds} and no reward and ppo to repeat.",
            "Expected both in the stages of the story, or a dpo.",
        )
    behind = max(own.index(one) for one in main.values()) + 1
    more: list[Listed] = []
    before = {verb: one.name for verb, one in main.items()}
    for number in range(2, rounds + 1):
        now = {verb: f"{main[verb].name}-{number}" for verb in main}
        for verb in main:
            more.append(Listed(verb, now[verb], main[verb].name, tuple(_begins(verb, number, before, now, folder))))
        before = now
    return [*own[:behind], *more, *own[behind:]]


def _repeated(path: Path, own: Sequence[Listed]) -> dict[str, Listed] | None:
    """The stages of a round by their verbs, in order; None where there are none."""
    last = {one.verb: one for one in own}  # of several the last
    learns = next((one for one in reversed(own) if one.verb in ("ppo", "dpo")), None)
    if learns is None or (learns.verb == "ppo" and "reward" not in last):
        return None
    if learns.verb == "ppo":
        return {verb: last[verb] for verb in REPEATED if verb in last}
    ranks = _read_by(path, own, learns.name) or last.get("rank")
    return {one.verb: one for one in (ranks, learns) if one is not None}


def _read_by(path: Path, own: Sequence[Listed], dpo: str) -> Listed | None:
    """The stage that makes the rankings which this DPO names."""
    tables = toml.read(path)
    table: Any = next((tables[name] for name in (dpo, "dpo") if isinstance(tables.get(name), dict)), {})
    leaves = {"rank": "{run}/NAME.jsonl", "best-of-n": "{run}/NAME/rankings.jsonl"}
    made = {leaves[one.verb].replace("NAME", one.name): one for one in own if one.verb in leaves}
    return made.get(str(table.get("rankings")))


def _begins(verb: str, number: int, before: Mapping[str, str], now: Mapping[str, str], folder: Path) -> Iterator[str]:
    """What a stage of a later round begins with."""
    policy = before["ppo"] if "ppo" in before else before["dpo"]
    by_hand = f"rankings-{number}"
    ranked = f"{now['best-of-n']}/rankings.jsonl" if "best-of-n" in now else f"{now.get('rank', by_hand)}.jsonl"
    match verb:
        case "rank":
            yield _set("policies", [policy])
            yield _set("seed", number - 1)  # other prompts than the rounds before
        case "best-of-n":
            yield _set("model", str(folder / policy / "checkpoint"))
            yield _set("seed", number - 1)
        case "reward":
            yield _set("model", str(folder / before["reward"] / "checkpoint"))
            yield _set("rankings", str(folder / ranked))
        case "ppo":
            yield _set("model", str(folder / policy / "checkpoint"))
            yield _set("reward", str(folder / now["reward"] / "checkpoint"))
        case "dpo":  # and its reference, unless one is named
            yield _set("model", str(folder / policy / "checkpoint"))
            yield _set("rankings", str(folder / ranked))


def _set(key: str, value: Any) -> str:
    return f"{key}={toml.written(value)}"
