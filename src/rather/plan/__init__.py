"""What a recipe will cost before anything starts: parameters, memory, tokens and time, stage by stage.

    plan = plan_of(stages, machine)          # stages: (verb, name, settings)     machine: this one, or a named GPU
    plan.to_dict()

Memory is the worst that settings allow; time is what is to be expected. What was assumed is said in the notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rather.config import Config
from rather.plan.advice import advice
from rather.plan.machines import Machine
from rather.plan.memory import Need, need_of
from rather.plan.models import Models, cast_of
from rather.plan.work import Work, work_of

__all__ = ["Plan", "Planned", "plan_of"]


@dataclass(frozen=True)
class Planned:
    """One stage. seconds: None where nothing is estimated of it"""

    name: str
    verb: str
    models: dict[str, int]  # role -> parameters
    need: Need | None
    work: tuple[Work, ...]
    seconds: float | None
    parts: dict[str, float]
    notes: tuple[str, ...]
    advice: tuple[str, ...]

    def to_dict(self, memory: int) -> dict[str, Any]:
        need = self.need
        return {
            "stage": self.name,
            "verb": self.verb,
            "parameters": self.models,
            "memory": need and {
                "peak": need.peak,
                "phase": need.phase,
                "fits": need.peak <= memory,
                "items": [asdict(item) for item in need.items],
            },
            "work": [one.to_dict() for one in self.work],
            "seconds": self.seconds,
            "parts": self.parts,
            "notes": list(self.notes),
            "advice": list(self.advice),
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    machine: Machine
    stages: tuple[Planned, ...]

    @property
    def fits(self) -> bool:
        return all(stage.need is None or stage.need.peak <= self.machine.memory for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """Of the stages whose time is known."""
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "machine": self.machine.to_dict(),
            "fits": self.fits,
            "seconds": self.seconds,
            "stages": [stage.to_dict(self.machine.memory) for stage in self.stages],
        }


def plan_of(stages: Sequence[tuple[str, str, Config]], folder: Path, machine: Machine) -> Plan:
    """stages: (verb, name, settings) in their order     folder: of the story, where finished stages lie"""
    models = Models(folder, stages)
    return Plan(machine, tuple(_planned(verb, name, settings, models, machine) for verb, name, settings in stages))


def _planned(verb: str, name: str, settings: Config, models: Models, machine: Machine) -> Planned:
    cast = cast_of(verb, settings, models)
    if cast is None:
        return Planned(name, verb, {}, None, (), None, {}, ("nothing is estimated of this stage",), ())
    compute = torch.float32 if verb == "rank" else machine.compute(getattr(settings, "precision", "auto"))
    need = need_of(verb, settings, cast, compute, machine)
    work = work_of(verb, settings, cast, compute == torch.float32)
    parts: dict[str, float] = {}
    for one in work if machine.rates else ():
        seconds = machine.seconds(one, compute, settings)
        parts[one.what] = parts.get(one.what, 0.0) + seconds
    whole = sum(parts.values()) if parts else None
    said = advice(verb, settings, cast, compute, machine, need)
    roles = {role: shape.parameters for role, shape in cast.shapes.items()}
    return Planned(name, verb, roles, need, tuple(work), whole, parts, cast.notes, said)
