# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training: everything that its rest depends on, in one file.

The net's state, the optimiser's, the step's random state and held gradients, the state of the
callbacks (schedulers among them), metrics and losses of the running epoch, the position and the
history. Arrays are stored as tensors; the rest is JSON beside them, in which {"$tensor": name}
stands for an array. How the file is written and verified is `lamella.storage`'s affair.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.errors import FormatError, message
from lamella.ir.types import Array
from lamella.storage import checkpoint

if TYPE_CHECKING:
    from lamella.train.loop import Fit

__all__ = ["Saved", "load", "pack", "read", "save", "unpack"]

_KIND = "lamella.fit"
_VERSION = 1


def pack(value: Any, name: str, tensors: dict[str, Array]) -> Any:
    """A nest of dicts, lists, tuples, arrays and plain values as JSON, its arrays in `tensors`.

    Parameters: value; name, under which its arrays are stored; tensors, added to.
    Raises: TypeError for anything else.

    >>> import numpy as np
    >>> from lamella.train.checkpoint import pack, unpack
    >>> tensors = {}
    >>> packed = pack({"state": {0: np.zeros(2)}, "lr": 0.1}, "optimizer", tensors)
    >>> list(tensors)
    ['optimizer.state.0']
    >>> unpack(packed, tensors)
    {'state': {0: array([0., 0.])}, 'lr': 0.1}
    """
    if isinstance(value, np.ndarray | np.generic):
        tensors[name] = np.ascontiguousarray(value).reshape(np.shape(value))
        return {"$tensor": name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        items = [(key, pack(item, f"{name}.{key}", tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$items": [[pack(key, name, tensors), item] for key, item in items]}
    if isinstance(value, list | tuple):
        packed = [pack(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return packed if isinstance(value, list) else {"$tuple": packed}
    raise TypeError(
        message(
            "checkpoint",
            "cannot be stored",
            {name: type(value).__name__},
            "numbers, texts, None and arrays in dicts, lists and tuples",
        )
    )


def unpack(packed: Any, tensors: Mapping[str, Array]) -> Any:
    """What pack was given."""
    if isinstance(packed, list):
        return [unpack(item, tensors) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if "$tensor" in packed:
        return tensors[packed["$tensor"]]
    if "$float" in packed:
        return float(packed["$float"])
    if "$tuple" in packed:
        return tuple(unpack(item, tensors) for item in packed["$tuple"])
    if "$items" in packed:
        return {unpack(key, tensors): unpack(item, tensors) for key, item in packed["$items"]}
    return {key: unpack(item, tensors) for key, item in packed.items()}


def _kinds(fit: Fit) -> dict[str, Any]:
    """What is trained: kinds of layers, loss and optimiser; numbers in them may change."""
    stored = [*fit.net.parameters(), *fit.net.buffers()]
    parts = [(name, type(module).__name__) for name, module in fit.net.named_modules()]
    layers = hashlib.sha256(repr([parts, [str(one.memory.dtype) for one in stored]]).encode())
    loss = fit.loss if hasattr(fit.loss, "__name__") else type(fit.loss)
    return {
        "net": f"{type(fit.net).__name__} {layers.hexdigest()[:16]}",
        "loss": loss.__name__,
        "optimizer": type(fit.optimizer).__name__,
    }


def _plan(fit: Fit) -> dict[str, Any]:
    """What has to be the same when training continues, or its batches would be others."""
    source = fit.source
    return {
        "samples": source.samples,
        "batches": source.batches,
        "batch_size": getattr(source, "batch_size", None),
        "shuffle": getattr(source, "shuffle", None),
        "accumulate": fit.step.accumulate,
        "data": source.digest(),
    }


def save(fit: Fit, path: str | os.PathLike[str]) -> None:
    """Writes a checkpoint of a run. Raises: OSError, TypeError; the old file then stays."""
    tensors: dict[str, Array] = {f"net.{n}": a for n, a in fit.net.state_dict().items()}
    rest = {
        "epoch": fit.epoch,
        "batch": fit.batch,
        "seed": fit.seed,
        "elapsed": perf_counter() - fit.started if fit.batch and fit.started else 0.0,
        # As tensors: the JSON beside them is short, and a training may be long.
        "history": {n: np.array(c[: fit.epoch]) for n, c in fit.history.to_dict().items()},
        "step": fit.step.state_dict(),
        "optimizer": fit.optimizer.state_dict(),
        "callbacks": [[type(c).__name__, c.state_dict()] for c in fit.callbacks],
        # Between epochs there is nothing to finish.
        "losses": np.array(fit.losses if fit.batch else [], np.float64),
        "masses": np.array(fit.masses if fit.batch else [], np.float64),
        "lost": fit.lost if fit.batch else [],
        "metrics": [m.state for m in fit.metrics] if fit.batch else [],
    }
    info = {
        "kind": _KIND,
        "version": _VERSION,
        "plan": _plan(fit) | _kinds(fit),
        "state": {name: pack(value, name, tensors) for name, value in rest.items()},
    }
    checkpoint.write(path, tensors, info)


class Saved(NamedTuple):
    """A checkpoint that was read and verified."""

    path: str
    tensors: dict[str, Array]
    plan: dict[str, Any]
    state: dict[str, Any]


def read(path: str | os.PathLike[str]) -> Saved:
    """Reads a checkpoint of a training. Raises: OSError; FormatError for any other file."""
    tensors, info = checkpoint.read(path)
    place = os.fspath(path)
    known = info if isinstance(info, dict) else {}
    kind, version = known.get("kind"), known.get("version")
    if kind != _KIND or version != _VERSION:
        got = {"resume": place, "kind": kind, "version": version}
        expected = f"kind {_KIND}, version {_VERSION}"
        raise FormatError(message("fit", "not a checkpoint of a training", got, expected))
    try:
        state = {name: unpack(value, tensors) for name, value in info["state"].items()}
        if not all(type(state[n]) is int and state[n] >= 0 for n in ("epoch", "batch", "seed")):
            raise TypeError("position")
        return Saved(place, dict(tensors), dict(info["plan"]), state)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _lacking(place, error) from error


def _lacking(path: str, error: Exception) -> FormatError:
    got = {"resume": path, "fault": f"{type(error).__name__}: {error}"}
    return FormatError(message("fit", "the checkpoint lacks something", got))


def load(fit: Fit, saved: Saved) -> None:
    """Puts a run where the checkpoint was written.

    Raises: FormatError for a checkpoint that does not fit this net, loss and optimiser; ValueError
    when the data or the batches are not those of the checkpoint. Net and optimiser are then as
    before.
    """
    for here, kind in ((_kinds(fit), FormatError), (_plan(fit), ValueError)):
        changed = [name for name in here if saved.plan.get(name) != here[name]]
        if len(changed) > 1 and changed[-1] == "data":
            changed.pop()  # other numbers of samples say more
        if changed:
            rule = f"training cannot continue with another {', '.join(changed)}"
            expected = ", ".join(f"{name}={saved.plan.get(name)}" for name in changed)
            raise kind(message("fit", rule, {name: here[name] for name in changed}, expected))
    net, optimizer, step = fit.net.state_dict(), fit.optimizer.state_dict(), fit.step.state_dict()
    try:
        named = saved.tensors.items()
        fit.net.load_state_dict({n[4:]: array for n, array in named if n.startswith("net.")})
        fit.optimizer.load_state_dict(saved.state["optimizer"])
        fit.step.load_state_dict(saved.state["step"])
        _place(fit, saved.state)
    except BaseException as error:
        fit.net.load_state_dict(net)
        fit.optimizer.load_state_dict(optimizer)
        fit.step.load_state_dict(step)
        if isinstance(error, KeyError | IndexError | AttributeError | TypeError):
            raise _lacking(saved.path, error) from error
        raise


def _place(fit: Fit, state: dict[str, Any]) -> None:
    fit.history.load_dict(state["history"])
    fit.epoch, fit.batch = state["epoch"], state["batch"]
    fit.started = perf_counter() - float(state["elapsed"])
    fit.losses, fit.lost = state["losses"].tolist(), state["lost"]
    fit.masses = state["masses"].tolist() if fit.batch else []
    for metric, saved in zip(fit.metrics, state["metrics"], strict=False):
        metric.state = saved
    # Callbacks are told apart by their class and, of one class, their order.
    entries: dict[str, list[Any]] = {}
    for kind, entry in state["callbacks"]:
        entries.setdefault(kind, []).append(entry)
    for callback in fit.callbacks:
        if waiting := entries.get(type(callback).__name__):
            callback.load_state_dict(waiting.pop(0))
