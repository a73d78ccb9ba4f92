"""The world's benchmarks, run on a policy: what it can do, and what alignment may have cost it (sec. 4.2)."""

from __future__ import annotations

from rather.errors import BadModel
from rather.evaluate.asking import ask, encoder_of
from rather.evaluate.likelihood import of_choices
from rather.models.load import Policy
from rather.rollout import Sampling
from rather.statistics import Estimate, clustered_share
from rather.worlds.benchmarks import Benchmark, grade_choice, grade_text
from rather.worlds.world import World

ROOM = 8  # tokens beyond the longest answer: whoever has said more by then did not give the answer alone


def grades(policy: Policy, benchmark: Benchmark) -> list[float]:
    """One for each question, in order: written greedily, or chosen by mean log-probability per token."""
    asked = benchmark.questions
    prompts = [question.prompt for question in asked]
    if asked[0].choices:
        found = of_choices(policy, prompts, [question.choices for question in asked])
        return [grade_choice(q, [c.per_token for c in of]) for q, of in zip(asked, found, strict=True)]
    longest = max(map(len, encoder_of(policy).prompts(" " + question.answer for question in asked)))
    sampling = Sampling(max_new_tokens=longest + ROOM, temperature=0)
    end = "".join({question.end for question in asked} | {"\n"})
    answers = ask(policy, prompts, sampling, seed=0, end=end)
    if None in answers:
        window = policy.model.config.get_text_config().max_position_embeddings
        raise BadModel(
            f"The model reads {window} tokens, and question {asked[answers.index(None)].id} with an answer needs more.",
            "Expected a window that holds every question: a score on the short ones is another benchmark.",
        )
    return [grade_text(q, of[0].text) for q, of in zip(asked, answers, strict=True) if of is not None]


def benchmark_grades(policy: Policy, world: World, n: int = 300) -> dict[str, list[float]]:
    """benchmark -> (n,) grades; the questions are the same for every model, so grades of two models are paired."""
    return {name: grades(policy, benchmark) for name, benchmark in world.benchmarks(n).items()}


def benchmark_estimates(found: dict[str, list[float]]) -> dict[str, Estimate]:
    return {name: clustered_share(of, range(len(of))) for name, of in found.items()}


def benchmarks_of(policy: Policy, world: World, n: int = 100) -> dict[str, float]:
    """benchmark -> mean grade, for the curves of a training run."""
    return {name: sum(of) / len(of) for name, of in benchmark_grades(policy, world, n).items()}
