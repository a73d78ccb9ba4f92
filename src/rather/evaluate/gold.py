"""What a policy's answers are worth in a world while it is trained. It sees none of it: only the log does."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence

from rather.batches.encoding import Encoder
from rather.errors import BadFile, visible
from rather.evaluate.asked import Asked
from rather.evaluate.judged import Judges
from rather.models.load import Policy
from rather.records import Prompt
from rather.stages.answers import Measure, answer, ask
from rather.stages.ppo import Worth
from rather.worlds.types import WorldPrompt
from rather.worlds.world import World
from rather.worlds.writing import Sizes, prompt_record, stage_prompts

N = 200  # validation prompts, the same after every epoch


def worth(
    judges: Judges, prompts: Sequence[WorldPrompt], texts: Sequence[str], finished: Sequence[bool]
) -> dict[str, float]:
    """Means over answers to different prompts, each with its standard error: U*, the training labelers' U, junk."""
    judged = [
        judges.answer(Asked(str(at), "main", prompt), text, ended)
        for at, (prompt, text, ended) in enumerate(zip(prompts, texts, finished, strict=True))
    ]
    columns = {
        "world/gold": [one.gold for one in judged],
        "world/labelers": [one.labelers for one in judged],
        "world/junk": [float(one.features.junk) for one in judged],
    }
    found = {name: statistics.fmean(values) for name, values in columns.items()}
    if len(judged) > 1:
        found |= {f"{name}_se": statistics.stdev(values) / len(judged) ** 0.5 for name, values in columns.items()}
    return found


def gold_of_answers(
    world: World, encoder: Encoder, window: int | None, max_new_tokens: int, seed: int, n: int = N
) -> tuple[Measure, int]:
    """For a stage: n validation prompts, answered at temperature 1 with the same seeds every time. -> it, and how many
    prompts do not fit the window and are never asked."""
    judges = Judges(world)
    drawn = {prompt.text: prompt for prompt in world.prompts(_rng(world, "while training"), n, "api", "validation")}
    asked, left_out = ask(encoder, list(drawn), window, max_new_tokens)
    prompts = [drawn[str(text)] for text in asked.prompts]

    def measure(policy: Policy) -> Mapping[str, float]:
        said = answer(policy, asked, seed)
        return worth(judges, prompts, said.texts, said.finished)

    return measure, left_out


def prompts_for_ppo(world: World, n: int = Sizes.ppo_prompts) -> dict[str, WorldPrompt]:
    """The training prompts that `rather world write` puts into prompts-ppo.jsonl, by their text."""
    return {prompt.text: prompt for prompt in stage_prompts(world, _rng(world, "ppo"), n, "ppo")}


def as_records(prompts: Iterable[WorldPrompt]) -> list[Prompt]:
    return [prompt_record(prompt, f"ppo-{at:06d}", "train") for at, prompt in enumerate(prompts)]


def refuse_strangers(world: World, known: Mapping[str, WorldPrompt], prompts: Iterable[Prompt], source: str) -> None:
    """A record has only the words of a prompt. What an answer is worth is known to the world that wrote it."""
    for record in prompts:
        if record.prompt not in known:
            raise BadFile(
                f"{source}: the world {world.name}:{world.seed} does not know the prompt {visible(record.id)}.",
                "Gold needs prompts of that world: the whole prompts-ppo.jsonl that `rather world write` wrote.",
                "Leave prompts out, and they are drawn; or leave world out.",
            )


def gold_of_episodes(world: World, known: Mapping[str, WorldPrompt]) -> Worth:
    """For step 3: what its own answers are worth."""
    judges = Judges(world)

    def gold(asked: Sequence[Prompt], texts: Sequence[str], finished: Sequence[bool]) -> dict[str, float]:
        return worth(judges, [known[str(record.prompt)] for record in asked], texts, finished)

    return gold


def _rng(world: World, what: str) -> random.Random:
    return random.Random(f"{world.name} {world.seed} {what}")
