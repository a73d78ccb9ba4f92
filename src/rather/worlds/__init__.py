"""Worlds in which the truth is known: their web, prompts, demonstrations, and a gold utility. Starts without torch."""

from rather.worlds.marn import Marn
from rather.worlds.types import (
    SAFETY,
    SHARES,
    Document,
    Features,
    Source,
    Spec,
    Split,
    WorldPrompt,
)
from rather.worlds.world import World

__all__ = [
    "SAFETY",
    "SHARES",
    "Document",
    "Features",
    "Marn",
    "Source",
    "Spec",
    "Split",
    "World",
    "WorldPrompt",
]
