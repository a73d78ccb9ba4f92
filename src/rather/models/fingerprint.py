"""The name of a set of weights: the same whatever the files are called, how they are split and where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rather.errors import BadModel


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every stored tensor, tied ones once.

    A model that was loaded in another dtype than it was stored in has another fingerprint: it has other numbers.
    """
    return _digest((name, tensor) for name, tensor in stored_tensors(model).items())


def fingerprint_folder(folder: str | Path) -> str:
    """The same for the safetensors files of a folder; equal to `fingerprint` of a model that was saved there."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise BadModel(f"{folder} has no safetensors files to take a fingerprint of.")
    return _digest(_tensors_of(files))


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, each shared tensor once under its first name."""
    unique: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        unique.setdefault(id(tensor), name)
    return {name: state[name].detach() for name in unique.values()}


def _tensors_of(files: list[Path]) -> Iterator[tuple[str, Tensor]]:
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a dict
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise BadModel(
                f"{path} cannot be read: {error}.", "Expected a whole safetensors file.", "Copy it again"
            ) from error


def _digest(tensors: Iterator[tuple[str, Tensor]]) -> str:
    lines = []
    for name, tensor in tensors:
        content = tensor.contiguous().cpu().reshape(-1).view(torch.uint8)
        digest = hashlib.sha256(content.numpy().data).hexdigest()
        lines.append(f"{name} {tensor.dtype} {tuple(tensor.shape)} {digest}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
