"""Tensors on disk through `torch.distributed.checkpoint` (DCP), read without unpickling what is not DCP's own.

DCP stores each tensor with `torch.save` and reads it with `weights_only=True`. Its index, `.metadata`, is a pickle that
it reads without any restriction; here it is read by an unpickler that knows the classes of the index and no others.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from rather.errors import BadFile

INDEX = ".metadata"

_KNOWN = {
    (Metadata.__module__, "Metadata"),
    (Metadata.__module__, "MetadataIndex"),
    (Metadata.__module__, "TensorStorageMetadata"),
    (Metadata.__module__, "TensorProperties"),
    (Metadata.__module__, "ChunkStorageMetadata"),
    (Metadata.__module__, "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no checkpoint of tensors needs")


class _Writer(dcp.FileSystemWriter):
    def storage_meta(self) -> None:
        """Not the path it is first written to, which is a class more to trust and says nothing to a reader."""


class _Reader(dcp.FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        index = read_index(Path(self.path))
        index.storage_meta = StorageMeta(load_id=self.load_id)
        return index


def read_index(folder: Path) -> Metadata:
    try:
        with (folder / INDEX).open("rb") as file:
            index = _Unpickler(file).load()
    except Exception as error:  # a damaged pickle raises whatever comes to its mind
        raise BadFile(f"{folder / INDEX} is not the index of a checkpoint: {error}.") from None
    if not isinstance(index, Metadata):
        raise BadFile(f"{folder / INDEX} is not the index of a checkpoint: it is a {type(index).__name__}.")
    return index


def shapes(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    entries = read_index(folder).state_dict_metadata.items()
    return {name: (e.size, e.properties.dtype) for name, e in entries if isinstance(e, TensorStorageMetadata)}


def write(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """All workers together; what is the same on all is written once."""
    with _in_words(f"{folder} could not be written"):
        dcp.save(dict(tensors), storage_writer=_Writer(folder), no_dist=not dist.is_initialized())


def read(folder: Path, targets: Mapping[str, Tensor]) -> None:
    """Into the targets, in place; of a sharded one each worker reads its part."""
    with _in_words(f"{folder} could not be read"):
        dcp.load(dict(targets), storage_reader=_Reader(folder), no_dist=not dist.is_initialized())


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is no mistake
            yield
    except CheckpointException as error:  # DCP's own, of all workers
        rank, (cause, _) = next(iter(error.failures.items()))
        if isinstance(cause, KeyboardInterrupt):  # DCP catches that too
            raise KeyboardInterrupt from None
        said = str(cause).partition("\n")[0]
        raise BadFile(f"{what}: worker {rank}: {type(cause).__name__}: {said}.") from cause
