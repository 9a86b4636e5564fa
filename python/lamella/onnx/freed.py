# SPDX-License-Identifier: Apache-2.0
"""Extents that a file fixes, freed: `load(path, free=...)`.

A call of other extents is traced twice: first as the file means it, then as it is. Nodes whose
constants stem from a freed extent show in the difference. Where it is plain what they mean (a
Reshape that keeps the axis, a Slice of all of it) they follow; where it is not, the node is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from lamella.errors import ShapeError, message
from lamella.foreign.call import is_sizes, sizes
from lamella.foreign.plan import Entry, Plan, TensorInfo
from lamella.foreign.walk import Watch
from lamella.ir.types import Array, Shape

__all__ = ["Following", "Free", "Noting", "Snapshot", "free_extents", "realigned"]

# An input's axes: one, several, or each with the name that its extent gets.
Axes: TypeAlias = int | Sequence[int] | Mapping[int, str]
Free: TypeAlias = str | Mapping[str, Axes]

_PICKS = frozenset(("Compress", "Gather", "GatherElements", "GatherND", "Slice", "TopK"))
_MOST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a node met when the model ran as its file means it: shapes, and known integers."""

    shapes: tuple[Shape | None, ...]
    known: tuple[Array | None, ...]
    results: tuple[Shape | None, ...]

    def changed(self, operands: Sequence[Any]) -> bool:
        """Whether an operand has another shape now."""
        return any(_shape(x) != shape for x, shape in zip(operands, self.shapes, strict=False))


class Noting(Watch):
    """Takes what each node meets with the extents of the file."""

    silent = True

    def __init__(self) -> None:
        self.met: list[Snapshot] = []

    def results(
        self, number: int, entry: Entry, operands: Sequence[Any], results: Sequence[Any]
    ) -> None:
        """Notes shapes and known integers."""
        self.met.append(_snapshot(operands, results))


class Following(Watch):
    """Lets constants of nodes follow freed extents; met: what they were with the file's."""

    def __init__(self, met: Sequence[Snapshot]) -> None:
        self.met = met

    def operands(self, number: int, entry: Entry, operands: list[Any]) -> list[Any]:
        """The operands, those that hold a freed extent following it."""
        return _adapted(entry, operands, self.met[number])

    def results(
        self, number: int, entry: Entry, operands: Sequence[Any], results: Sequence[Any]
    ) -> None:
        """Raises where a node does not mean what it meant."""
        _judge(entry, operands, results, self.met[number])

    def fault(
        self, number: int, entry: Entry, operands: Sequence[Any], error: Exception
    ) -> Exception:
        """A node whose extents have changed is at fault by that."""
        was = self.met[number]
        return _misfit(entry, operands, was, str(error)) if was.changed(operands) else error


def free_extents(plan: Plan, free: Free) -> None:
    """Frees extents of the plan's inputs; outputs no longer promise the extents that are freed."""
    first = free if isinstance(free, str) else None
    if isinstance(free, str):
        wanted: Mapping[str, Axes] = {info.name: {0: free} for info in plan.inputs if info.shape}
    else:
        wanted = free
    infos = {info.name: info for info in (*plan.inputs, *plan.outputs)}
    unknown = sorted(set(wanted) - set(infos))
    if unknown:
        raise ValueError(
            message("onnx.load", "free= names what is no input", {"names": unknown[:8]},
                    f"names among {[info.name for info in plan.inputs]}")
        )  # fmt: skip
    gone: set[Any] = set()
    names = {info.name for info in plan.inputs}
    for name, axes in wanted.items():
        info = infos[name]
        infos[name] = replace(info, shape=_opened(info, axes))
        if name in names:
            plan.fixed[name] = info.shape or ()
            before, after = info.shape or (), infos[name].shape or ()
            gone.update(a for a, b in zip(before, after, strict=True) if a != b)
    plan.inputs = tuple(infos[info.name] for info in plan.inputs)

    def promised(info: TensorInfo) -> TensorInfo:
        if info.name in wanted or info.shape is None:
            return infos[info.name]
        return replace(info, shape=tuple(
            (first if axis == 0 else None) if extent in gone and isinstance(extent, int) else extent
            for axis, extent in enumerate(info.shape)
        ))  # fmt: skip

    plan.outputs = tuple(map(promised, plan.outputs))


def _opened(info: TensorInfo, axes: Axes) -> tuple[int | str | None, ...]:
    shape = list(info.shape or ())
    chosen: Any = axes if isinstance(axes, Mapping | Sequence) else [axes]
    for axis in chosen:
        if not isinstance(axis, int | np.integer) or not -len(shape) <= axis < len(shape):
            raise ShapeError(
                message("onnx.load", "free= names no axis of this input",
                        {"axis": axis, info.name: info.shape})
            )  # fmt: skip
        shape[axis] = str(chosen[axis]) if isinstance(chosen, Mapping) else None
    return tuple(shape)


def _snapshot(operands: Sequence[Any], results: Sequence[Any]) -> Snapshot:
    """What a node meets."""
    known = tuple(
        x if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and x.size <= 4096 else None
        for x in operands
    )
    return Snapshot(tuple(map(_shape, operands)), known, tuple(map(_shape, results)))


def _shape(x: Any) -> Shape | None:
    return None if x is None else tuple(x.shape)


def _adapted(entry: Entry, operands: list[Any], was: Snapshot) -> list[Any]:
    """The operands, those that hold a freed extent following it."""
    if not was.changed(operands[:1]):
        return operands
    # Those that are computed from shapes have followed by themselves.
    fixed = [
        isinstance(x, np.ndarray)
        and not is_sizes(x)
        and known is not None
        and np.array_equal(x, known)
        for x, known in zip(operands, was.known, strict=False)
    ]
    before, result = was.shapes[0], was.results[0]
    assert before is not None
    assert result is not None
    shape = tuple(operands[0].shape)
    if entry.op == "Reshape" and len(operands) > 1 and fixed[1]:
        target = realigned(before, shape, result)
        if target is None:
            raise _misfit(entry, operands, was, "reshapes to a constant shape")
        return [operands[0], sizes(target), *operands[2:]]
    if entry.op == "Expand" and len(operands) > 1 and fixed[1]:
        lead = len(result) - len(shape)
        kept = [
            shape[axis - lead] if axis >= lead and before[axis - lead] == extent else extent
            for axis, extent in enumerate(result)
        ]
        return [operands[0], sizes(kept)]
    if entry.op == "Slice" and len(operands) > 2 and fixed[1] and fixed[2]:
        return _whole(operands, before, shape, result)
    return operands


def realigned(before: Shape, after: Shape, target: Shape) -> Shape | None:
    """`target`, a shape of what had shape `before`, for what has `after`; None where unclear.

    Both shapes are cut into the smallest pieces of equal size, in row-major order. A piece may hold
    a changed extent if it is one axis of the target, and an extent of 1, which fits everywhere,
    must be a piece by itself.
    """
    if 0 in before or 0 in target:
        return None
    found: list[int] = []
    i = j = 0
    while i < len(before) and j < len(target):
        start, p, q = i, before[i], target[j]
        i, first, j = i + 1, j, j + 1
        while p != q and (i < len(before) if p < q else j < len(target)):
            if p < q:
                p, i = p * before[i], i + 1
            else:
                q, j = q * target[j], j + 1
        if p != q:
            return None
        changed = [axis for axis in range(start, i) if before[axis] != after[axis]]
        alone = i - start == 1
        if changed and (j - first > 1 or (not alone and any(before[a] == 1 for a in changed))):
            return None
        found.extend([prod(after[start:i])] if changed else target[first:j])
    if any(before[axis] != after[axis] for axis in range(i, len(before))):
        return None
    return (*found, *target[j:])


def _whole(operands: list[Any], before: Shape, shape: Shape, result: Shape) -> list[Any]:
    """A Slice that took all of a changed axis takes all of it again."""
    starts, ends = operands[1].astype(np.int64), operands[2].astype(np.int64)
    given = [x if isinstance(x, np.ndarray) else None for x in operands[3:5]]
    given += [None] * (2 - len(given))
    axes = np.arange(starts.size) if given[0] is None else given[0]
    steps = np.ones(starts.size, np.int64) if given[1] is None else given[1]
    if not starts.size == ends.size == axes.size == steps.size:
        return operands
    for place, axis in enumerate(axes.reshape(-1).tolist()):
        if -len(shape) <= axis < len(shape) and before[axis] == result[axis] != shape[axis]:
            forward = int(steps.reshape(-1)[place]) > 0
            starts.reshape(-1)[place] = 0 if forward else _MOST
            ends.reshape(-1)[place] = _MOST if forward else -_MOST
    return [operands[0], starts, ends, *operands[3:]]


def _judge(entry: Entry, operands: Sequence[Any], results: Sequence[Any], was: Snapshot) -> None:
    """Raises where a node took all of a freed axis, and now takes a part or loses the axis."""
    if not was.changed(operands[:1]):
        return
    now = tuple(map(_shape, results))
    ranks = [(len(a), len(b)) for a, b in zip(now, was.results, strict=False) if a and b]
    if any(a != b for a, b in ranks):
        raise _misfit(entry, operands, was, "drops axes of extent 1")
    before, after = was.shapes[0], _shape(operands[0])
    if entry.op not in _PICKS or now != was.results or before is None or after is None:
        return
    taken = operands[1].size if entry.op == "Gather" and operands[1] is not None else 0
    for old, new in zip(before, after, strict=True):
        if old != new and old in (1, taken):
            raise _misfit(entry, operands, was, "picks elements of a freed axis")


def _misfit(entry: Entry, operands: Sequence[Any], was: Snapshot, rule: str) -> ShapeError:
    """The error of a node that holds to an extent which was freed."""
    shapes = {f"operand {i}": _shape(x) for i, x in enumerate(operands) if x is not None}
    expected = ", ".join(str(shape) for shape in was.shapes if shape is not None)
    return ShapeError(
        message(entry.label, f"{rule}, made for the extents of the file", shapes, expected,
                "Export the model with a dynamic axis, or do not free this extent")
    )  # fmt: skip
