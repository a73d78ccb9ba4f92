"""All that a world can say of one policy, in one pass: numbers for a JSON file, and the samples they rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from rather.config import Config
from rather.evaluate import benchmarks as tasks
from rather.evaluate import diversity, probes
from rather.evaluate.asked import Asked, Group, evaluation_prompts
from rather.evaluate.asking import ask
from rather.evaluate.judged import Answer, Judges, rated, share, summary
from rather.evaluate.prompted import ask_prompted
from rather.evaluate.samples import samples_of
from rather.evaluate.web import web_loss
from rather.models.load import Policy
from rather.records import Samples
from rather.rollout import Sampling
from rather.worlds.labelers import TRAINING

Say = Callable[[str], None]


class MeasureConfig(Config):
    """How much is measured. None of it is in the paper, whose evaluations are by people."""

    n: int = Field(400, ge=4, description="evaluation prompts; a quarter as many again of each rare kind")
    max_new_tokens: int = Field(64, ge=8, description="of an answer, EOS included")
    cool: float = Field(0.5, ge=0, description="a second temperature beside 1; 0 is greedy")
    questions: int = Field(300, ge=2, description="of each benchmark")
    beliefs: int = Field(12, ge=1, description="samples of each question about a held-out belief")
    openings: int = Field(300, ge=2, description="openings that a toxic page might have, each under three prefixes")
    alike: int = Field(12, ge=2, description="prompts that are answered many times")
    times: int = Field(60, ge=4, description="how many times")
    pages: int = Field(600, ge=20, description="of the web, for the loss")
    seed: int = Field(0, ge=0, description="of the samples; the prompts are the world's own")
    slots: int = Field(64, ge=1, description="sequences decoded side by side; changes the speed and no number")

    def sampling(self, temperature: float = 1.0, samples: int = 1) -> Sampling:
        return Sampling(max_new_tokens=self.max_new_tokens, temperature=temperature, samples=samples, slots=self.slots)


def how(temperature: float, prompted: bool = False) -> str:
    """The name of a way of asking in files: "t1", "t0.5", "prompted t1"."""
    return f"{'prompted ' if prompted else ''}t{temperature:g}"


def measure_policy(
    policy: Policy, name: str, judges: Judges, config: MeasureConfig, prompted: bool, say: Say = lambda part: None
) -> tuple[dict[str, Any], list[Samples]]:
    """prompted: also behind examples, as a base model has to be asked; it then stands for "GPT-3 prompted" """
    world = judges.world
    asked = evaluation_prompts(world, config.n)
    of: dict[Group, list[Asked]] = {}
    for one in asked:
        of.setdefault(one.group, []).append(one)
    found: dict[str, Any] = {"answers": {}, "closed": {}, "wrong users": {}}
    rows: list[Samples] = []

    def answered(group: Group, temperature: float, shown: bool = False) -> list[Answer]:
        way = how(temperature, shown)
        say(f"{group} {way}")
        prompts = [one.prompt for one in of[group]]
        sampling = config.sampling(temperature)
        said = (
            ask_prompted(policy, world, prompts, sampling, config.seed)
            if shown
            else ask(policy, [prompt.text for prompt in prompts], sampling, config.seed)
        )
        rows.extend(samples_of(name, way, of[group], said))
        if group == "main" and way == how(1):
            say("entropy")
            found["diversity"] = {"entropy": diversity.entropy(policy, [p.text for p in prompts], said)}
        return [
            judges.answer(one, text.text, text.finished)
            for one, texts in zip(of[group], said, strict=True)
            for text in texts or ()
        ]

    ways = [(1.0, False), (config.cool, False)] + [(1.0, True)] * prompted
    for temperature, shown in dict.fromkeys(ways):
        answers = answered("main", temperature, shown)
        about = {"left out": len(of["main"]) - len(answers)}
        ratings = rated(answers, judges.panels[TRAINING], config.seed)
        found["answers"][how(temperature, shown)] = about | summary(answers) | ratings
    for shown in (False, True)[: 1 + prompted] if "closed" in of else ():
        found["closed"][how(1, shown)] = made_up(answered("closed", 1.0, shown))
    for group in ("false premise", "wrong claim"):
        if group in of:
            found["wrong users"][group] = repeated(answered(group, 1.0))
    say("many answers to one prompt")
    found["diversity"] |= _alike(policy, name, of["main"][: config.alike], config, rows)
    say("benchmarks")
    grades = tasks.benchmark_grades(policy, world, config.questions)
    found["benchmarks"] = {name: e.to_dict() for name, e in tasks.benchmark_estimates(grades).items()}
    found["grades"] = grades
    say("probes")
    found |= _probed(policy, judges, config)
    say("web")
    found["web"] = web_loss(policy, world, config.pages)
    return found, rows


def made_up(answers: Sequence[Answer]) -> dict[str, Any]:
    """Hallucination among attempts: a model that ignores the task makes nothing up, and is not honest for it."""
    tried = [answer for answer in answers if answer.features.attempt]
    ids = [answer.asked.id for answer in answers]
    found = {"attempts": share([float(answer.features.attempt) for answer in answers], ids)}
    if tried:
        found["hallucination"] = share([a.features.hall for a in tried], [a.asked.id for a in tried])
    return found


def repeated(answers: Sequence[Answer]) -> dict[str, Any]:
    """How often the user's wrong claim is repeated without the truth: a premise accepted, a belief shared."""
    ids = [answer.asked.id for answer in answers]
    return {"repeated": share([answer.features.syc for answer in answers], ids)}


def _alike(
    policy: Policy, name: str, asked: Sequence[Asked], config: MeasureConfig, rows: list[Samples]
) -> dict[str, Any]:
    said = ask(policy, [one.prompt.text for one in asked], config.sampling(samples=config.times), config.seed + 1)
    rows.extend(samples_of(name, "openings", asked, said))
    return diversity.openings([[one.text for one in texts] for texts in said if texts is not None])


def _probed(policy: Policy, judges: Judges, config: MeasureConfig) -> dict[str, Any]:
    """What the world has probes for."""
    asked = judges.world.probes(config.openings)
    found: dict[str, Any] = {}
    if asked.beliefs:
        found["truthfulness"] = probes.truthfulness(policy, asked, config.beliefs, config.seed)
    if asked.openings:
        found["toxicity"] = probes.toxicity(policy, asked, config.seed)
    if asked.pairs:
        found["bias"] = probes.bias(policy, asked)
    return found
