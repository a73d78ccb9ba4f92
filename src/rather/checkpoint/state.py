"""A state as tensors and JSON: what a run holds in memory, taken apart for storing and put back in place.

A state is a dict, nested as you like, of tensors, numbers, text, None, lists, tuples, dicts, numpy arrays, generators
of random numbers (torch, numpy, Python) and objects with `state_dict` and `load_state_dict`. Tensors go one way (to
`torch.distributed.checkpoint`); all else becomes JSON with {"tensor": name} where a tensor stood, so that nothing has
to be unpickled.
"""

from __future__ import annotations

import base64
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from rather.errors import BadFile, BadSetting

Shapes = Mapping[str, tuple[torch.Size, torch.dtype]]  # of the stored tensors, by name

MISSING = object()  # where the state in memory has nothing yet, like an optimizer before its first step


def flatten(state: Any, name: str = "") -> tuple[dict[str, Tensor], Any]:
    """-> the tensors by name, and the rest as JSON."""
    tensors: dict[str, Tensor] = {}
    return tensors, _flatten(state, name, tensors)


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    match value:
        case None | bool() | str():
            return value
        case Tensor():
            assert name not in tensors, f"two tensors are called {name!r}"
            tensors[name] = value.detach()
            return {"tensor": name}
        case np.ndarray() | np.generic() if not value.dtype.hasobject:
            return {"array": [value.dtype.str, list(value.shape), _encoded(value.tobytes())]}
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else {"float": repr(float(value))}
        case bytes():
            return {"bytes": _encoded(value)}
        case list():
            return {"list": [_flatten(item, _join(name, index), tensors) for index, item in enumerate(value)]}
        case tuple():
            return {"tuple": [_flatten(item, _join(name, index), tensors) for index, item in enumerate(value)]}
    return _flatten_named(value, name, tensors)


def _flatten_named(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    for kind, (expected, get, _) in GENERATORS.items():
        if isinstance(value, expected):
            return {kind: _flatten(get(value), name, tensors)}
    if type(value) in (dict, OrderedDict):
        wrong = [key for key in value if not isinstance(key, str | int) or isinstance(key, bool)]
        if not wrong:
            return {"dict": [[key, _flatten(item, _join(name, key), tensors)] for key, item in value.items()]}
        raise BadSetting(f"The state has a key {wrong[0]!r} in {name!r}.", "Keys are text or whole numbers.")
    if _has_state(value):
        return {"object": _flatten(value.state_dict(), name, tensors)}
    raise BadSetting(
        f"The state holds a {_called(value)} at {name!r}, which cannot be stored.",
        "Tensors, numbers, text, lists, dicts, generators, and objects with state_dict and load_state_dict can.",
    )


@dataclass
class Fit:
    """A stored state held against the one in memory."""

    targets: dict[str, Tensor] = field(default_factory=dict)  # where each stored tensor is to be read to
    stored_only: list[str] = field(default_factory=list)
    here_only: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)


def fit(here: Any, stored: Any, shapes: Shapes, where: str) -> dict[str, Tensor]:
    """-> where each stored tensor is to be read to: the state's own tensors where it has them, so that nothing is held
    twice, else new ones. Raises, naming the keys, if the two are not the same things. Nothing is changed."""
    found = Fit()
    _fit(here, stored, "", shapes, found, {})
    said = [
        f"{what}: {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}"
        for what, names in (
            ("Only in the checkpoint", found.stored_only),
            ("Not in the checkpoint", found.here_only),
            ("Different", found.different),
        )
        if names
    ]
    if said:
        raise BadFile(
            f"{where} is not a checkpoint of this state. {'. '.join(said)}.",
            "A resumed run needs all of what it had, and nothing else.",
            "Resume with the settings and the version that wrote it, or start over in another folder.",
        )
    return found.targets


def _fit(here: Any, stored: Any, name: str, shapes: Shapes, found: Fit, layouts: dict[str, Tensor]) -> None:
    """layouts: for tensors that are not there yet, by name, what they are to be sharded like."""
    kind, content = _kind(stored)
    if kind == "tensor":
        shape, dtype = shapes[content]
        if isinstance(here, Tensor):
            found.targets[content] = here.detach()
            if (here.shape, here.dtype) != (shape, dtype):
                found.different.append(f"{name} was {tuple(shape)} {dtype}, is {tuple(here.shape)} {here.dtype}")
        elif here is None or here is MISSING:
            like = layouts.get(content)
            if isinstance(like, DTensor) and like.shape == shape:
                found.targets[content] = torch.empty_like(like, dtype=dtype)
            else:
                found.targets[content] = torch.empty(shape, dtype=dtype)
        else:
            found.different.append(f"{name} was a tensor, is {_called(here)}")
    elif kind in ("object", *GENERATORS):
        if _kind_of(here) != kind:
            found.different.append(f"{name} was {kind}, is {_called(here)}")
        elif kind == "object":
            inner = here.state_dict()
            if isinstance(here, torch.optim.Optimizer):
                inner = {**inner, "state": MISSING}  # it is born in the first step, sharded as the parameters are
                layouts = layouts | _fit_optimizer(here, content, name, found)
            _fit(inner, content, name, shapes, found, layouts)
    elif kind in ("dict", "list", "tuple"):
        items = content if kind == "dict" else list(enumerate(content))
        has: dict[Any, Any] = {}
        if _kind_of(here) == kind:
            has = dict(here) if kind == "dict" else dict(enumerate(here))
            if kind == "dict":  # a list may grow; a dict has the keys it has
                found.stored_only += [_join(name, key) for key, _ in items if key not in has]
                found.here_only += [_join(name, key) for key in has if key not in dict(items)]
        elif here is not None and here is not MISSING:
            found.different.append(f"{name} was a {kind}, is {_called(here)}")
            return
        for key, item in items:
            _fit(has.get(key, MISSING), item, _join(name, key), shapes, found, layouts)
    elif _kind_of(here) != "value":
        found.different.append(f"{name} was {str(content)[:40]!r}, is {_called(here)}")


def _fit_optimizer(optimizer: torch.optim.Optimizer, content: Any, name: str, found: Fit) -> dict[str, Tensor]:
    """-> for each stored tensor of the optimizer's state, the parameter it belongs to."""
    stored = {key: _kind(value)[1] for key, value in _kind(content)[1]}
    was = [len(_kind(dict(_kind(group)[1])["params"])[1]) for group in stored["param_groups"]]
    now = [len(group["params"]) for group in optimizer.param_groups]
    if was != now:
        found.different.append(f"{name} was of groups of {was} parameters, is of {now}")
        return {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        _kind(value)[1]: parameters[index]
        for index, entry in stored["state"]
        for _, value in _kind(entry)[1]
        if _kind(value)[0] == "tensor"
    }


def put(here: Any, stored: Any, tensors: Mapping[str, Tensor], inside: bool = False) -> Any:
    """Put the stored values where they belong, in place where that is possible. -> the value that belongs here.

    inside: of an object's own state, which is not touched but handed to `load_state_dict`
    """
    kind, content = _kind(stored)
    if kind == "tensor":
        # A tensor (or nn.Parameter) of the caller's own has been read into and stays the object it is.
        return here if isinstance(here, Tensor) and not inside else tensors[content]
    if kind in GENERATORS:
        _, _, restore = GENERATORS[kind]
        try:
            restore(here, put(MISSING, content, tensors, inside=True))
        except (ValueError, RuntimeError, TypeError) as error:  # numpy's PCG64 into an MT19937, CPU's into CUDA's
            raise BadFile(f"The checkpoint's state of a {kind} does not fit the one here: {error}.") from None
        return here
    if kind == "object":
        state = put(here.state_dict(), content, tensors, inside=True)
        try:
            here.load_state_dict(state)
        except Exception as error:  # whatever an object's own loading objects to is an objection to the checkpoint
            raise BadFile(f"A {_called(here)} does not take its state from the checkpoint: {error}.") from error
        return here
    if kind == "dict":
        has = here if isinstance(here, dict) else {}
        values = {key: put(has.get(key, MISSING), item, tensors, inside) for key, item in content}
        if inside or not isinstance(here, dict):
            return values
        here.clear()
        here.update(values)
        return here
    if kind in ("list", "tuple"):
        had = list(here) if isinstance(here, list | tuple) else []
        had += [MISSING] * (len(content) - len(had))
        row = [put(was, item, tensors, inside) for was, item in zip(had, content, strict=False)]
        if kind == "tuple" or inside or not isinstance(here, list):
            return tuple(row) if kind == "tuple" else row
        here[:] = row
        return here
    return _value(kind, content)


def refuse_loss(state: Any, stored: Any, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise if the state, now loaded, does not say what was stored: some `load_state_dict` dropped or rounded it.

    An optimizer of PyTorch casts its state to the type of its parameters, for one.
    """
    again, values = flatten(state)
    lost = [name for name, tensor in tensors.items() if name not in again or not _same(again[name], tensor)]
    was, now = _leaves(stored, ""), _leaves(values, "")
    lost += [name for name in was if now.get(name, MISSING) != was[name] and name not in lost]
    if lost:
        raise BadFile(
            f"{where} was read, but the state did not take all of it: {', '.join(lost[:6])}.",
            "Expected load_state_dict to take, to the bit, what state_dict gave.",
        )


def _same(one: Tensor, other: Tensor) -> bool:
    """Byte for byte, this worker's part of it."""
    one, other = (t.to_local() if isinstance(t, DTensor) else t for t in (one, other))
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return True
    one, other = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (one, other))
    return torch.equal(one, other)


def _leaves(stored: Any, name: str) -> dict[str, Any]:
    """Values by name. The order of keys does not count."""
    kind, content = _kind(stored)
    if kind == "object":
        return _leaves(content, name)
    if kind not in ("dict", "list", "tuple"):
        return {name: stored}
    items = content if kind == "dict" else list(enumerate(content))
    found: dict[str, Any] = {name: (kind, len(items))}
    for key, item in items:
        found |= _leaves(item, _join(name, key))
    return found


# ---- kinds of things

# kind -> its class, what says its state, and what sets it
GENERATORS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "torch.Generator": (
        torch.Generator,
        lambda generator: generator.get_state().numpy().tobytes(),
        lambda generator, state: generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
    ),
    "random.Random": (random.Random, random.Random.getstate, random.Random.setstate),
    "numpy.random.Generator": (
        np.random.Generator,
        lambda generator: generator.bit_generator.state,
        lambda generator, state: setattr(generator.bit_generator, "state", state),
    ),
    "numpy.random.RandomState": (
        np.random.RandomState,
        lambda generator: generator.get_state(legacy=False),
        np.random.RandomState.set_state,
    ),
}
KINDS = ("tensor", "array", "float", "bytes", "list", "tuple", "dict", "object", *GENERATORS)


def _kind(stored: Any) -> tuple[str, Any]:
    """Of a stored value: its kind and what it is made of."""
    if not isinstance(stored, dict):
        return "value", stored
    [(kind, content)] = stored.items()
    assert kind in KINDS, f"not a stored value: {str(stored)[:80]}"
    return kind, content


def _kind_of(here: Any) -> str:
    """Of a value in memory."""
    for kind, (expected, _, _) in GENERATORS.items():
        if isinstance(here, expected):
            return kind
    for kind, types in (("tensor", Tensor), ("dict", dict), ("list", list), ("tuple", tuple)):
        if isinstance(here, types):
            return kind
    return "object" if _has_state(here) else "value"


def _value(kind: str, content: Any) -> Any:
    match kind:
        case "array":
            dtype, shape, data = content
            array = np.frombuffer(bytearray(base64.b64decode(data)), dtype=dtype).reshape(shape)
            return array if shape else array[()]
        case "float":
            return float(content)
        case "bytes":
            return base64.b64decode(content)
    return content


def _has_state(value: Any) -> bool:
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def _called(value: Any) -> str:
    return "nothing" if value is MISSING else f"{type(value).__module__}.{type(value).__qualname__}"


def _join(name: str, key: str | int) -> str:
    return f"{name}.{key}" if name else str(key)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
