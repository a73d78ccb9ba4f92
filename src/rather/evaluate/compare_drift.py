"""How far a finished policy is from its reference, from its own answers to held-out prompts.

Both are read in float32 at temperature 1, and every policy answers the same prompts: what stages log is of their own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from rather.batches.encoding import Encoder
from rather.config import Config
from rather.errors import BadSetting, NotReady, RatherError
from rather.evaluate.compare_reading import FOLDER, Course
from rather.evaluate.results import Found, matches, read_result, write_result
from rather.models.fingerprint import fingerprint_folder
from rather.models.load import Policy, folder_of, load_policy, window_of
from rather.models.logprobs import use_trees
from rather.stages.answers import Prompt, ask
from rather.stages.drift import drift as drift_of
from rather.stages.reward_scoring import Scorer
from rather.stages.scorers import same_tokens
from rather.stages.steps import Share
from rather.statistics import clustered_mean

ROWS = 4096  # tokens in one forward


class DriftConfig(Config):
    """What `rather compare --measure` asks."""

    n: int = Field(200, ge=2, description="prompts, one answer each")
    max_new_tokens: int = Field(64, ge=1, description="of an answer, EOS included")
    separator: str = Field("\n", description="between prompt and response where there is no template")
    seed: int = Field(0, ge=0, description="of the answers")


def drift(
    policy: Policy, reference: Policy, prompts: Sequence[Prompt], config: DriftConfig, scorer: Scorer | None = None
) -> dict[str, Any]:
    """kl, reward, entropy and length of the policy's answers, with 95 % intervals over prompts."""
    if not same_tokens(policy.tokenizer, reference.tokenizer):
        raise BadSetting("The reference has another tokenizer than the policy.", "A KL compares them token by token.")
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template, separator=config.separator)
    asked, left_out = ask(encoder, prompts[: config.n], window_of(policy.model.config), config.max_new_tokens)
    use_trees(policy.model)
    use_trees(reference.model)
    share = Share(ROWS, device=next(policy.model.parameters()).device)
    of = drift_of(policy, reference.model, asked, config.seed, share, scorer.of_answers if scorer else None)
    lengths = np.array(of.said.lengths, dtype=float)
    found: dict[str, Any] = {name: _estimate(column) for name, column in (("kl", of.kl), ("length", lengths))}
    found["entropy"] = {"value": of.entropy, "interval": None, "n": int(lengths.sum())}
    if of.said.scores:
        found["reward"] = _estimate(np.array(of.said.scores))
    return found | {"left out": left_out}


def _estimate(column: np.ndarray) -> dict[str, Any]:
    """A policy that never moved has the same KL everywhere, and no spread to make an interval from."""
    if np.ptp(column) == 0:
        return {"value": float(column[0]), "interval": None, "n": len(column)}
    found = clustered_mean(column, range(len(column)))
    return {"value": found.value, "interval": list(found.interval), "n": found.n}


def measure(
    courses: Sequence[Course], prompts: Sequence[Prompt], config: DriftConfig, say: Callable[[str], None]
) -> dict[str, Found]:
    """RUN/compare/NAME.json of every policy that has a checkpoint; nothing twice while weights and prompts are same."""
    loaded: dict[str, Scorer] = {}
    found = {}
    for course in courses:
        folder = Path(course.run) / course.name / "checkpoint"
        if not (folder / "config.json").is_file():
            continue  # best-of-n trains nothing, and an unfinished run has no weights to ask
        path = Path(course.run) / FOLDER / f"{course.name}.json"
        about = about_of(course, folder, prompts, config)
        kept = read_result(path)
        if kept is not None and matches(kept, about):
            found[course.name] = kept
            continue
        say(f"{course.run}/{course.name}")
        began = time.monotonic()
        scorer = None
        if about["scorer_weights"]:
            if course.scorer not in loaded:
                loaded[course.scorer] = Scorer.load(Path(course.scorer))
            scorer = loaded[course.scorer]
        measured = drift(load_policy(folder), load_policy(course.reference), prompts, config, scorer)
        found[course.name] = write_result(path, about, measured, began)
    if not found:
        raise NotReady("None of these policies has a checkpoint.", "Expected finished runs of ppo, dpo or grpo.")
    return found


def about_of(course: Course, folder: Path, prompts: Sequence[Prompt], config: DriftConfig) -> dict[str, Any]:
    """What the numbers follow from."""
    asked = hashlib.sha256("\0".join(map(str, prompts[: config.n])).encode()).hexdigest()
    return {
        "model": course.name,
        "weights": fingerprint_folder(folder),
        "reference": course.reference,
        "reference_weights": fingerprint_folder(folder_of(course.reference)),
        "scorer_weights": _weights(course.scorer),
        "prompts": asked,
        "settings": config.model_dump(),
    }


def _weights(scorer: str) -> str | None:
    """Of a reward model; None where the rewards are a function, a verifier or several."""
    try:
        return fingerprint_folder(scorer) if (Path(scorer) / "reward.json").is_file() else None
    except (OSError, RatherError):
        return None
