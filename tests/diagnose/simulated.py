"""Optimisation without a network: every sentence of a small language, and the policy's exact probabilities of them.

One iteration is one step of the natural policy gradient on score less beta KL,

    log pi  <-  log pi + rate (score - beta log(pi / ref)) + constant,

whose fixed point is the optimum ref exp(score / beta). Batches are drawn from it, and the metrics that PPO logs are
computed from them. What a sentence is worth is known, and so is what was planted in the score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from rather.advantages import AdaptiveKL, FixedKL
from rather.run import Run
from rather.stages.ppo_config import PPOConfig

HOW, WHO = ("old", "red", "shy"), ("cat", "dog", "bird", "fish", "goat", "mouse", "crow", "frog")
WHAT = ("fox", "hen", "bee")
SENTENCES = [
    f"the {how} {who} sees a {what}{''.join(f' and a {one}' for one in more)} ."
    for how, who, what in product(HOW, WHO, WHAT)
    for count in range(5)
    for more in product(WHAT, repeat=count)
]
REFERENCE = np.array([0.5 ** sentence.count(" and ") / 3 ** sentence.count(" and ") for sentence in SENTENCES])
REFERENCE /= REFERENCE.sum()
BATCH = 64


def truth(sentence: str) -> float:
    return 1.0 * ("shy" in sentence) + 0.4 * ("hen" in sentence) - 0.2 * sentence.count(" and ")


def count_of(word: str) -> Callable[[str], float]:
    return lambda sentence: 0.5 * sentence.split().count(word)


def length(sentence: str) -> float:
    return 0.2 * len(sentence.split())


def nothing(sentence: str) -> float:
    return 0.0


def optimised(folder: Path, flaw: Callable[[str], float] = nothing, seed: int = 0, **settings: Any) -> Path:
    """A story with one stage, ppo.   settings: PPO's own, and rate, noise, listens (False: no second opinion)"""
    rate, noise, listens = settings.pop("rate", 0.4), settings.pop("noise", 0.3), settings.pop("listens", True)
    iterations = settings.pop("iterations", 40)
    config = PPOConfig(
        preset="instructgpt", **{"episodes": iterations * BATCH, "batch_size": BATCH, "minibatch_size": 8} | settings
    )
    rng = np.random.default_rng(seed)
    worth = np.array([truth(sentence) for sentence in SENTENCES])
    score = worth + np.array([flaw(sentence) for sentence in SENTENCES])
    words = [sentence.split() for sentence in SENTENCES]
    lengths, openings = np.array([len(of) for of in words]), [" ".join(of[:4]) for of in words]
    reference, logits = np.log(REFERENCE), np.log(REFERENCE)
    controller: FixedKL | AdaptiveKL = config.controller()
    with Run.open(folder / "ppo", config) as run:
        for step in range(1, iterations + 1):
            policy = np.exp(logits - logits.max())
            policy /= policy.sum()
            picked = rng.choice(len(policy), BATCH, p=policy)
            kl = np.log(policy[picked]) - reference[picked]
            scores = score[picked]
            beta = controller.kl_coef
            pairs = Counter(pair for at in picked for pair in zip(words[at], words[at][1:], strict=False))
            row = {
                "episode": step * BATCH,
                "objective/scores": scores.mean(),
                "objective/scores_std": scores.std(),
                "objective/kl": kl.mean(),
                "objective/kl_se": kl.std() / BATCH**0.5,
                "objective/kl_coef": beta,
                "objective/rlhf_reward": scores.mean() - beta * kl.mean(),
                "policy/entropy_avg": -np.log(policy[picked]).sum() / lengths[picked].sum(),
                "response/length": lengths[picked].mean(),
                "response/top_opening": max(Counter(openings[at] for at in picked).values()) / BATCH,
                "response/distinct_2": len(pairs) / pairs.total(),
            }
            if lengths[picked].std() > 0:
                row["response/length_slope"] = np.polyfit(lengths[picked], scores, 1)[0]
            else:
                row["response/length_slope"] = 0.0
            if listens:
                row["second_opinion/scores"] = (worth[picked] + rng.normal(0, noise, BATCH)).mean()
            run.metrics(step, row)
            for at in picked[:8]:
                about = {"id": str(at), "prompt": "what do you see ?", "response": SENTENCES[at], "finished": True}
                run.sample(step, about | {"score": score[at], "kl_sum": np.log(policy[at]) - reference[at]})
            logits = logits + rate * (score - beta * (np.log(policy + 1e-300) - reference))
            controller = controller.update(float(kl.mean()), BATCH)
        run.finish(iterations, {})
    return folder
