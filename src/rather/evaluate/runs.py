"""A run folder measured: what labelers are like, every policy, every reward model; nothing twice.

labelers.json   the noise of labelers, fitted on the samples of the policy that they see, and their agreement
NAME.json       a policy (`policies.measure_policy`) or a reward model (`rewards`), with NAME.samples.jsonl
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rather import toml
from rather.errors import NotReady, nearest
from rather.evaluate.asked import Asked, evaluation_prompts
from rather.evaluate.asking import ask
from rather.evaluate.judged import Answer, Judges
from rather.evaluate.naming import SEEN_BY_LABELERS, is_base, is_reward_model, models_of
from rather.evaluate.policies import MeasureConfig, measure_policy
from rather.evaluate.preference import labeled
from rather.evaluate.results import Found, matches, read_result, result_path, samples_path, write_result
from rather.evaluate.rewards import best_of, reward_accuracy
from rather.evaluate.samples import read_samples, samples_of
from rather.models.fingerprint import fingerprint_folder
from rather.models.load import load_policy
from rather.records import Samples, write
from rather.stages.reward_scoring import Scorer
from rather.worlds.named import world_named
from rather.worlds.noise import Noise

LABELERS = "labelers"
RANKED = 6  # answers to a prompt that labelers rank
BEST_OF = 64
FORM = 2  # of what is measured and how it is written: files of another one are made again
Say = Callable[[str], None]


def world_of(run: Path) -> str:
    """The words that name the run's world: what its base models were pretrained on, or Marn."""
    for config in sorted(run.glob("base*/config.toml")):
        words = toml.read(config).get("texts")
        if isinstance(words, str) and words.split(":")[0] == "marn":
            return words
    return "marn"


def measured_with(run: Path) -> tuple[str, MeasureConfig] | None:
    """World and settings of what was measured last, or None."""
    files = sorted((run / "evaluate").glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in reversed(files):
        about = (read_result(path) or {}).get("about", {})
        if isinstance(about.get("world"), str) and isinstance(about.get("settings"), dict):
            try:
                return about["world"], MeasureConfig(**about["settings"])
            except ValidationError:
                continue  # of another version, which had other settings
    return None


class Measuring:
    """One run, one world, one set of settings."""

    def __init__(self, run: Path, words: str, config: MeasureConfig, say: Say = lambda part: None) -> None:
        self.run, self.words, self.config, self._say = run, words, config, say
        self.judges = Judges(world_named(words))
        self.models = models_of(run)
        self._asked: list[Asked] | None = None

    @property
    def asked(self) -> list[Asked]:
        if self._asked is None:
            self._asked = evaluation_prompts(self.judges.world, self.config.n)
        return self._asked

    def about(self, name: str) -> dict[str, Any]:
        """What a measurement depends on: the same gives the same numbers."""
        found = {"model": name, "weights": fingerprint_folder(self._folder(name)), "world": self.words}
        if is_reward_model(self._folder(name)):
            found["labelers"] = fingerprint_folder(self._folder(self.seen()))
        return found | {"settings": self.config.model_dump(exclude={"slots"}), "form": FORM}

    def measure(self, name: str, again: bool = False) -> Found:
        """Of a model of the run, or of `labelers`; from the file where nothing changed."""
        path = result_path(self.run, name)
        found = None if again else self.already(name)
        if found is not None:
            return found
        about = self.about(self.seen() if name == LABELERS else name)
        began = time.monotonic()
        if name == LABELERS:
            measured, rows = self._labelers()
        elif is_reward_model(self._folder(name)):
            measured, rows = self._reward_model(name)
        else:
            policy = load_policy(self._folder(name))
            measured, rows = measure_policy(
                policy, name, self.judges, self.config, is_base(name), partial(self._part, name)
            )
            measured["parameters"] = policy.model.num_parameters()
        path.parent.mkdir(parents=True, exist_ok=True)
        if rows:
            write(samples_path(self.run, name), rows)
        return write_result(path, about, measured, began)

    def already(self, name: str) -> Found | None:
        """What the file says, if it is about this model as it is, in this world and with these settings."""
        found = read_result(result_path(self.run, name))
        about = self.about(self.seen() if name == LABELERS else name)
        return found if found is not None and matches(found, about) else None

    def answers(self, name: str) -> dict[str, list[Answer]]:
        """way of asking -> what a measured model answered to the main prompts."""
        main = [one for one in self.asked if one.group == "main"]
        return read_samples(samples_path(self.run, name), self.judges, self.asked, {one.id for one in main})

    def noise(self) -> Noise:
        found = self.measure(LABELERS)
        return Noise(float(found["tau"]), float(found["delta"]))

    def seen(self) -> str:
        """The policy whose answers labelers see."""
        for name in SEEN_BY_LABELERS:
            if name in self.models:
                return name
        raise NotReady(
            f"{self.run} has no fine-tuned policy ({', '.join(SEEN_BY_LABELERS)}), whose answers labelers would rank.",
            do=f"rather sft {self.run} --name sft-s",
        )

    def _part(self, name: str, part: str) -> None:
        self._say(f"{self.run}/{name}: {part}")

    def _folder(self, name: str) -> Path:
        if name not in self.models:
            known = f"Models there: {', '.join(self.models) or 'none'}."
            raise NotReady(f"{self.run} has no model {name!r}.{nearest(name, self.models)}", known)
        return self.models[name]

    def _sampled(self, prompts: Sequence[Asked], samples: int) -> tuple[list[Answer], list[Samples]]:
        policy = load_policy(self._folder(self.seen()))
        texts = [one.prompt.text for one in prompts]
        said = ask(policy, texts, self.config.sampling(samples=samples), self.config.seed + 2)
        rows = samples_of(self.seen(), f"of {samples}", prompts, said)
        answers = [
            self.judges.answer(one, text.text, text.finished)
            for one, texts in zip(prompts, said, strict=True)
            for text in texts or ()
        ]
        return answers, rows

    def _labelers(self) -> tuple[dict[str, Any], list[Samples]]:
        self._part(LABELERS, "agreement")
        main = [one for one in self.asked if one.group == "main"][: max(2, self.config.n // 2)]
        answers, rows = self._sampled(main, RANKED)
        _, found = labeled(self.judges, answers, self.config.seed)
        return found, rows

    def _reward_model(self, name: str) -> tuple[dict[str, Any], list[Samples]]:
        noise = self.noise()
        self._part(name, "accuracy")
        scorer = Scorer.load(self._folder(name))
        ranked = read_samples(samples_path(self.run, LABELERS), self.judges, self.asked)[f"of {RANKED}"]
        found: dict[str, Any] = {"accuracy": reward_accuracy(scorer, self.judges, ranked, noise, self.config.seed)}
        if name != "reward":
            return found, []
        self._part(name, f"best of {BEST_OF}")
        main = [one for one in self.asked if one.group == "main"][: max(2, self.config.n // 5)]
        answers, rows = self._sampled(main, BEST_OF)
        found["best of"] = best_of(scorer, answers)
        return found, rows
