# SPDX-License-Identifier: Apache-2.0
"""How what is picked, put and ordered by index is written to files: exporting.py's rules of it.

The runtime that reads the file judges indices where they are used. A reduction that leaves out what
is there has no operator, and neither have running extremes: they are refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import UnsupportedError, message
from lamella.ir.graph import Node
from lamella.ops.gather import Gather, Scatter
from lamella.ops.indices import Index, layout
from lamella.ops.scan import Scan
from lamella.ops.sort import Sort

if TYPE_CHECKING:
    from lamella.onnx.exporting import Out

__all__ = ["ENTRIES"]


def _gather(out: Out, op: Gather, inputs: list[str], node: Node) -> str:
    x, index = inputs
    shape, own = node.inputs[0].shape, node.inputs[1].shape
    if not any(layout("gather", op.axis, shape, own)):
        flat = out.add("Reshape", index, out.integers([-1]))
        return out.add("Gather", x, flat, axis=op.axis)
    full = node.outputs[0].shape
    index = _repeated(out, index, own, full)
    return out.add("GatherElements", x, index, axis=op.axis)


def _repeated(out: Out, index: str, own: Sequence[int], full: Sequence[int]) -> str:
    """An index operand with its ones repeated."""
    wanted = [1 if have == extent else extent for have, extent in zip(own, full, strict=True)]
    repeats = any(extent != 1 for extent in wanted)
    return out.add("Expand", index, out.integers(wanted)) if repeats else index


def _index(out: Out, op: Index, inputs: list[str], node: Node) -> str:
    return out.add("Identity", *inputs)


_REDUCTIONS = {"replace": "none", "sum": "add", "prod": "mul", "amax": "max", "amin": "min"}


def _scatter(out: Out, op: Scatter, inputs: list[str], node: Node) -> str:
    if op.skipped is not None or not (op.include_self or op.reduce == "replace"):
        raise _no_operator(op.label)
    *x, index, source = inputs
    own, full = node.inputs[-2].shape, node.inputs[-1].shape
    if not x:
        zero = np.zeros((), node.outputs[0].dtype.numpy)
        shape = out.integers(node.outputs[0].shape)
        x = [out.add("Expand", out.constant(zero), shape)]
    if op.reduce == "replace" and not any(layout(op.label, op.axis, full, own)):
        return _rows_replaced(out, op.axis, len(full), [*x, index, source])
    index = _repeated(out, index, own, full)
    kind = _REDUCTIONS[op.reduce]
    return out.add("ScatterElements", *x, index, source, axis=op.axis, reduction=kind)


def _rows_replaced(out: Out, axis: int, rank: int, inputs: Sequence[str]) -> str:
    """Whole entries, as runtimes copy them at once."""
    x, index, source = inputs
    order = list(range(rank))
    order[0], order[axis] = axis, 0
    index = out.add("Reshape", index, out.integers([-1, 1]))
    if axis == 0:
        return out.add("ScatterND", x, index, source)
    x, source = (out.add("Transpose", name, perm=order) for name in (x, source))
    return out.add("Transpose", out.add("ScatterND", x, index, source), perm=order)


def _scan(out: Out, op: Scan, inputs: list[str], node: Node) -> str:
    if op.kind != "sum":
        raise _no_operator(op.label)
    axis = out.constant(np.array(op.axis, np.int64))
    return out.add("CumSum", *inputs, axis, reverse=int(op.reverse))


def _sort(out: Out, op: Sort, inputs: list[str], node: Node) -> list[str]:
    names = [out.name("TopK"), out.name("TopK")]
    out.node("TopK", [*inputs, out.integers([op.wanted])], names, axis=-1,
             largest=int(op.descending), sorted=1)  # fmt: skip
    return names


def _no_operator(name: str) -> UnsupportedError:
    return UnsupportedError(message("export", "ONNX has no operator for it", {"op": name}))


ENTRIES: dict[Any, Any] = {
    Gather: _gather,
    Index: _index,
    Scatter: _scatter,
    Scan: _scan,
    Sort: _sort,
}
