"""What the tests of the labs share: the labs as modules, and what they print."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
LABS = ROOT / "labs"
NAMES = sorted(file.stem for file in LABS.glob("[0-9][0-9]_*.py"))


def load(file: Path) -> ModuleType:
    sys.path[:0] = [str(LABS)] * (str(LABS) not in sys.path)
    spec = importlib.util.spec_from_file_location("lab", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lab"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def lab(number: int) -> ModuleType:
    (name,) = [name for name in NAMES if name.startswith(f"{number:02d}_")]
    return load(LABS / f"{name}.py")


def tool() -> ModuleType:
    return load(ROOT / "tools" / "labs.py")
