"""The same answers from a recipe or from the settings of runs: what they set is quoted with its file and line.

A recipe states only what differs from the defaults, so what it leaves out is given as a default and not as stated.
`config.toml` of a run holds every setting, so there nothing is left to a default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rather import toml
from rather.errors import BadFile
from rather.explain.answers import NOT_STATED, Basis, Explanation, Finding, Quote, nothing
from rather.explain.methods import BY_NAME

POLICIES = {"ppo": "PPO", "dpo": "DPO", "grpo": "GRPO", "best-of-n": "best-of-N"}
# Settings by which a config.toml without a table is recognised, where its folder has a name of its own.
TELLING = {"ppo": "ptx_coef", "dpo": "reference", "grpo": "group_size", "reward": "rankings", "sft": "demonstrations"}
PLAIN_PPO = ("instructgpt", "ziegler2019", "summarize")  # presets without the pretraining mix
FORMS = {"ipo": "IPO", "hinge": "SLiC", "simpo": "SimPO", "kto": "KTO", "orpo": "ORPO"}


@dataclass(frozen=True)
class Table:
    """The settings of one stage, and where each of them stands."""

    stage: str
    file: Path
    lines: tuple[str, ...]
    values: Mapping[str, Any]
    whole: bool  # every setting is there, as in a run's config.toml

    def quote(self, key: str = "") -> Quote:
        """The line of a setting; without a key, or where it is not set, the head of the table."""
        within = ""
        first = 0
        for number, line in enumerate(self.lines, 1):
            if head := re.match(r"\s*\[+\s*\"?([\w-]+)\"?\s*\]", line):
                within = head[1].replace("_", "-")
                if within == self.stage and not first:
                    first = number
            elif (
                key
                and within == ("" if self.whole else self.stage)
                and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line)
            ):
                return Quote(line.partition(" #")[0].strip(), f"{self.file}:{number}")
        words = self.lines[first - 1].strip() if first else f"the folder {self.file.parent.name}"
        return Quote(words, f"{self.file}:{first}" if first else str(self.file))

    def number(self, *keys: str) -> tuple[str, float] | None:
        """The first of the settings that is there and a number."""
        for key in keys:
            value = self.values.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return key, float(value)
        return None

    @property
    def basis(self) -> Basis:
        return "stated" if self.whole else "default"


def explain_recipe(path: Path) -> Explanation:
    values = toml.read(path)
    lines = tuple(path.read_text(encoding="utf-8").splitlines())
    known = ("sft", "reward", *POLICIES)
    tables = {
        name.replace("_", "-"): Table(name.replace("_", "-"), path, lines, table, whole=False)
        for name, table in values.items()
        if isinstance(table, dict) and name.replace("_", "-") in known
    }
    if not tables:
        return nothing(f"{path} has no table of a stage: {', '.join(f'[{name}]' for name in known)}.")
    return _explained(tables)


def explain_run(folder: Path) -> Explanation:
    """A stage's folder, or the folder of a whole story with its stages in it."""
    configs = sorted(file for file in [folder / "config.toml", *folder.glob("*/config.toml")] if file.is_file())
    tables: dict[str, Table] = {}
    for file in configs:
        values = toml.read(file)
        stage = _stage(file.parent.name, values)
        if stage:
            lines = tuple(file.read_text(encoding="utf-8").splitlines())
            tables[stage] = Table(stage, file, lines, values, whole=True)
    if not tables:
        raise BadFile(
            f"{folder} holds no run of a stage that could be explained.",
            "Expected config.toml in it, or in a folder below it that is called sft, reward, ppo, dpo, grpo or "
            "best-of-n.",
        )
    return _explained(tables)


def _stage(name: str, values: Mapping[str, Any]) -> str:
    plain = name.replace("_", "-").lower()
    for stage in ("sft", "reward", *POLICIES):
        if plain == stage or plain.startswith(f"{stage}-"):
            return stage
    return next((stage for stage, key in TELLING.items() if key in values), "")


def _explained(tables: Mapping[str, Table]) -> Explanation:
    policies = [tables[name] for name in POLICIES if name in tables]
    first = policies[0] if policies else next(iter(tables.values()))
    losses = {"sft": Finding(), "reward": Finding(), "policy": Finding()}
    stages = dict(losses)
    if sft := tables.get("sft"):
        losses["sft"] = Finding("cross-entropy", (sft.quote(),), "follows", "of the responses' tokens")
        stages["sft"] = Finding("as in InstructGPT", (sft.quote(),), "follows")
    if reward := tables.get("reward"):
        losses["reward"], stages["reward"] = _reward(reward)
    kl = reference = Finding()
    if policies:
        losses["policy"] = _loss(policies)
        kl = _kl(first)
        reference = _reference(first, kl)
        names = losses["policy"].value
        if names in ("PPO", "PPO-ptx"):
            without = kl.value == "none"
            adaptive = "adaptive" in kl.note
            how = "no KL penalty" if without else "an adaptive KL coefficient" if adaptive else ""
            stages["policy"] = Finding(
                f"changed: {how}" if how else "as in InstructGPT", (kl if how else losses["policy"]).evidence
            )
        else:
            stages["policy"] = Finding(f"changed: {names} instead of PPO", losses["policy"].evidence)
        if not reward and all(table.stage == "dpo" for table in policies):
            losses["reward"] = Finding("none", (first.quote(),), "follows")
            stages["reward"] = Finding("left out", (first.quote(),), "follows")
    return Explanation(Finding("yes", (first.quote(),)), stages, losses, kl, reference, _preferences(tables))


def _reward(table: Table) -> tuple[Finding, Finding]:
    """(its loss, the stage): Bradley-Terry over all pairs of a ranking, unless a setting says otherwise."""
    loss = Finding("Bradley-Terry", (table.quote(),), "follows", "all pairs of each ranking")
    ties = table.values.get("ties")
    if isinstance(ties, str) and ties != "dropped":
        quote = (table.quote("ties"),)
        return Finding(ties, quote, note="Bradley-Terry with ties modelled"), Finding("changed: ties modelled", quote)
    for key, usual, words in (
        ("margin", 0, "a margin by rating"),
        ("label_smoothing", 0, "labels smoothed"),
        ("heads", 1, "several heads"),
        ("shuffled", False, "pairs shuffled, not grouped by prompt"),
        ("length_residual", False, "what is linear in length is taken off"),
    ):
        if table.values.get(key, usual) != usual:
            return loss, Finding(f"changed: {words}", (table.quote(key),))
    return loss, Finding("as in InstructGPT", (table.quote(),), "follows")


def _loss(policies: list[Table]) -> Finding:
    names, evidence, notes = [], [], []
    for table in policies:
        name, quote = POLICIES[table.stage], table.quote()
        if table.stage == "ppo":
            mix = table.number("ptx_coef")
            plain = mix[1] == 0 if mix else table.values.get("preset") in PLAIN_PPO
            name, quote = ("PPO" if plain else "PPO-ptx"), table.quote("ptx_coef" if mix else "preset")
        if table.stage == "dpo":
            for key in ("loss", "form"):
                if isinstance(table.values.get(key), str):
                    name = FORMS.get(table.values[key].lower(), "DPO")
                    quote = table.quote(key)
                    notes.append(f"{key} {table.values[key]}")
        names.append(name)
        evidence.append(quote)
        notes.append(BY_NAME[name].loss)
    return Finding(" then ".join(names), tuple(evidence), "follows", "; ".join(notes))


def _kl(table: Table) -> Finding:
    if table.stage == "best-of-n":
        return Finding("none", (table.quote(),), "follows", BY_NAME["best-of-N"].kl_note)
    found = table.number("kl_coef", "beta")
    where = {"ppo": "in the reward", "dpo": "implicit", "grpo": "in the loss"}[table.stage]
    if table.stage == "dpo":
        return Finding(where, (table.quote(found[0] if found else ""),), "follows", _amount(found))
    if found is None and table.stage == "grpo" and table.values.get("kl") in (None, "none"):
        return (
            Finding(note="the recipe says nothing of it")
            if "kl" not in table.values
            else Finding("none", (table.quote("kl"),))
        )
    if found is not None and found[1] == 0:
        return Finding("none", (table.quote(found[0]),), note=_amount(found))
    note = _amount(found) or "kl_coef is left at its default: rather ppo --help"
    if table.number("kl_target"):
        note += ", adaptive"
        return Finding(where, (table.quote(found[0] if found else ""), table.quote("kl_target")), note=note)
    if table.values.get("preset") == "ziegler2019" and not table.whole:
        return Finding(where, (table.quote("preset"),), "follows", note + ", adaptive")
    return Finding(where, (table.quote(found[0] if found else ""),), "stated" if found else table.basis, note)


def _amount(found: tuple[str, float] | None) -> str:
    return f"{found[0]} {found[1]:g}" if found else ""


def _reference(table: Table, kl: Finding) -> Finding:
    if kl.value in ("none", NOT_STATED):
        return Finding("none", kl.evidence, "follows") if kl.stated else Finding()
    given = table.values.get("reference")
    if isinstance(given, str) and given != toml.NONE:
        return Finding(given, (table.quote("reference"),))
    return Finding("initial policy", (table.quote("model"),), "default", "the model the stage starts from")


def _preferences(tables: Mapping[str, Table]) -> Finding:
    for table in tables.values():
        for key in ("rankings", "comparisons", "verifiers", "world"):
            value = table.values.get(key)
            if value not in (None, "", toml.NONE, {}, []):
                return Finding(
                    f"{key}: {value if isinstance(value, str) else ', '.join(map(str, value))}", (table.quote(key),)
                )
    return Finding()
