"""The paper's "GPT-3 prompted": a base model that is shown a page on which instructions are followed (sec. 3.5).

The page is the one that a help desk ("request: ... response: ...") or, for questions, an expert ("question: ...
answer: ...") has on the web. Two examples that labelers wrote stand before the prompt, or as many as the window holds.
The answer is over where the page would go on with the next request.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from rather.evaluate.asking import Said, ask, encoder_of
from rather.models.load import Policy, window_of
from rather.rollout import Sampling
from rather.worlds.types import WorldPrompt
from rather.worlds.world import World

LABELS = {"open_qa": ("question", "answer")}  # the others: request, response
NEXT = re.compile(r"\n\s*(request|response|question|answer)\s*:")
EXAMPLES = 2
SHORT = 24  # words of an example, prompt and answer together


def examples(world: World, questions: bool) -> list[tuple[str, str]]:
    """Short prompts of training, with the answers of labelers that are as good as answers get."""
    rng = random.Random(f"{world.name} {world.seed} examples {questions}")
    found: list[tuple[float, str, str]] = []
    for _ in range(400):
        prompt = world.prompt(rng, None, "api", "train")
        answer = world.demonstration(prompt, rng)
        text = prompt.text.strip()
        short = "\n" not in text and len(f"{text} {answer}".split()) <= SHORT
        if short and (prompt.category == "open_qa") == questions:
            found.append((world.utility(world.features(prompt, answer)), text, answer.strip()))
    best = max((utility for utility, *_ in found), default=0.0)
    return [(text, answer) for utility, text, answer in found if utility == best][:EXAMPLES]


def page(prompt: WorldPrompt, shown: Sequence[tuple[str, str]]) -> str:
    """Up to where the answer belongs; no space at the end, because it belongs to the first word of the answer."""
    request, response = LABELS.get(prompt.category, ("request", "response"))
    lines = [f"{request}: {text}\n{response}: {answer}\n" for text, answer in shown]
    return "".join(lines) + f"{request}: {prompt.text.strip()}\n{response}:"


def ask_prompted(
    policy: Policy, world: World, prompts: Sequence[WorldPrompt], sampling: Sampling, seed: int
) -> list[tuple[Said, ...] | None]:
    """As `asking.ask`, each prompt on a page of its own."""
    shown = {questions: examples(world, questions) for questions in (True, False)}
    window = window_of(policy.model.config)
    pages = [""] * len(prompts)
    unfit = list(range(len(prompts)))
    for count in range(EXAMPLES, -1, -1):  # the same page for all that it fits
        for at in unfit:
            pages[at] = page(prompts[at], shown[prompts[at].category == "open_qa"][:count])
        lengths = map(len, encoder_of(policy).prompts(pages[at] for at in unfit))
        unfit = [
            at
            for at, length in zip(unfit, lengths, strict=True)
            if window is not None and length + sampling.max_new_tokens > window
        ]
    answers = ask(policy, pages, sampling, seed)
    return [None if of is None else tuple(map(cut, of)) for of in answers]


def cut(said: Said) -> Said:
    """Without the next request, and without the space after "response:". One that began is the end of this answer."""
    text, *rest = NEXT.split("\n" + said.text, maxsplit=1)
    return Said(text[1:].strip(" "), said.finished or bool(rest), said.tokens)
