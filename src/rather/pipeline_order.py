"""Which stage of a story waits for which: what does not wait can run side by side.

It follows from names: what a stage leaves in the story's folder, and what it looks for there, whether it exists yet or
not. If in doubt, a stage waits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from rather.pipeline_memory import READS
from rather.pipeline_recipe import TRAINED, Recipe, Step
from rather.stages.ppo_config import PPOConfig

ALONE = ("measure", "claims", "report")  # they read whatever is there
# Stages of which a verb reads something without naming it. Step 3: the readiness check, and the text of the base model.
BEFORE_STEP_3 = ("pretrain", "sft", "init", "rank")
READS_ALL: Mapping[str, Sequence[str]] = {
    "rank": ("pretrain",),  # whose world it is
    **dict.fromkeys(("ppo", "dpo", "grpo", "best-of-n"), BEFORE_STEP_3),
}
# Names that a verb looks for without a setting: tokenizers near a reward model, the pretraining mix of step 1.
LOOKS_FOR: Mapping[str, Sequence[str]] = {
    "sft": ("web.jsonl",),
    "init": ("web.jsonl",),
    "reward": ("base", "sft", "init", "ppo"),
}
EVERYTHING = "*"


def waits(recipe: Recipe) -> dict[str, frozenset[str]]:
    """Stage -> all the earlier ones that are done before it begins, those included for which these wait."""
    found: dict[str, frozenset[str]] = {}
    for at, step in enumerate(recipe.steps):
        own = {earlier.name for earlier in recipe.steps[:at] if _in_turn(recipe, earlier, step)}
        found[step.name] = frozenset(own.union(*(found[name] for name in own)))
    return found


def beside(recipe: Recipe) -> dict[str, list[str]]:
    """Stage -> the earlier ones that it does not wait for."""
    waiting = waits(recipe)
    names = [step.name for step in recipe.steps]
    return {name: [one for one in names[:at] if one not in waiting[name]] for at, name in enumerate(names)}


def next_of(left: Sequence[Step], running: Collection[str], waiting: Mapping[str, frozenset[str]]) -> Step | None:
    """The first stage that can begin now."""
    open_: set[str] = set(running)
    verbs: set[str] = set()
    for step in left:
        # Each PPO writes what speaks against it into the same file, when it begins: the last one's stays there.
        if not waiting[step.name] & open_ and not (step.verb == "ppo" and "ppo" in verbs):
            return step
        open_.add(step.name)
        verbs.add(step.verb)
    return None


def _in_turn(recipe: Recipe, earlier: Step, later: Step) -> bool:
    """Also where the earlier one reads what the later one leaves: it would find what should not be there yet."""
    if earlier.verb in ALONE or later.verb in ALONE:
        return True
    return _reads_of(recipe, later, earlier) or _reads_of(recipe, earlier, later)


def _reads_of(recipe: Recipe, step: Step, maker: Step) -> bool:
    """Whether the step reads something that the maker leaves."""
    if maker.verb in READS_ALL.get(step.verb, ()):
        return True
    return any(name == EVERYTHING or _leaves(maker, name) for name in _looked_for(recipe, step))


def _leaves(step: Step, name: str) -> bool:
    if step.verb in TRAINED:
        return name == step.name
    return name.endswith(".jsonl") if step.verb == "world" else name == f"{step.name}.jsonl"


def _looked_for(recipe: Recipe, step: Step) -> Iterator[str]:
    """Names directly below the story's folder."""
    yield from LOOKS_FOR.get(step.verb, ())
    for key, default in READS.get(step.verb, {}).items():
        if default is not None and getattr(step.settings, key, None) is None:
            yield Path(default).parts[0]
    if step.verb == "rank":
        yield from step.settings.policies  # type: ignore[attr-defined]
    texts = list(_texts(step.settings.model_dump()))
    if step.verb == "reward":  # its report holds its prompts against those of step 3
        later = [one.settings for one in recipe.steps if isinstance(one.settings, PPOConfig)]
        texts += [settings.prompts or str(recipe.folder / "prompts.jsonl") for settings in later]
    for words in texts:
        yield from _inside(recipe.folder, words)


def _texts(value: object) -> Iterator[str]:
    """Every text in settings, names of tables too: rewards have weights by folder."""
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield from _texts(key)
                yield from _texts(inner)
        case list() | tuple():
            for inner in value:
                yield from _texts(inner)


def _inside(folder: Path, words: str) -> Iterator[str]:
    """What of the story's folder a text may name, however it is written."""
    for text in {words, *re.split(r"[,;:=\s]+", words)}:
        if not text.strip() or "\0" in text:  # no path
            continue
        for plain in (os.path.abspath, os.path.realpath):  # a link may lie above the folder, or in it
            root, path = plain(folder), plain(os.path.expanduser(text))
            if path == root or root.startswith(path.rstrip(os.sep) + os.sep):
                yield EVERYTHING
            elif path.startswith(root + os.sep):
                yield path[len(root) + 1 :].split(os.sep)[0]
