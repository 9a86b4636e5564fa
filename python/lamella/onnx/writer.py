# SPDX-License-Identifier: Apache-2.0
"""save and encode: a network, as it computes in inference, written as an ONNX model.

The network is traced for the examples. Where a second trace with one more row differs from it in
nothing but extents that ONNX can leave open, the first axis is written as free ("batch"); otherwise
the model is one for the examples' shapes.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.graph import Constant, Graph, Node, Parameter, Value
from lamella.ir.types import Array, DType, TensorType
from lamella.nn.inline import trace_module
from lamella.nn.module import Module
from lamella.nn.structure import dtype_of
from lamella.onnx import encoding
from lamella.onnx.exporting import EXPORT, Out
from lamella.onnx.network import Model
from lamella.ops.shape import Expand, Reshape, Slice
from lamella.runtime.signature import normalize

__all__ = ["encode", "save"]

_OPSET, _IR_VERSION = 20, 10
# Protobuf readers refuse more.
_MAX_BYTES = 2**31 - 1


def save(net: Module, path: str | os.PathLike[str], *examples: Any) -> None:
    """Writes a network as an ONNX model, as it computes in inference.

    Parameters: net, a module; path, of the file, which is replaced only once all is written;
    examples, one array for each argument of forward.
    Raises: UnsupportedError, once, naming everything that has no ONNX form; what the network raises
    for such inputs; OSError.
    Source: github.com/onnx/onnx, docs/IR.md; operators of opset 20.

    >>> import os, tempfile, numpy as np, lamella as lm
    >>> net = lm.nn.Sequential(lm.nn.Linear(4, 2), lm.nn.ReLU())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.onnx")
    ...     lm.onnx.save(net, path, np.zeros((1, 4), np.float32))
    ...     lm.onnx.load(path)(np.zeros((3, 4), np.float32)).shape
    (3, 2)
    """
    data = encode(net, *examples)
    target = os.path.abspath(os.fspath(path))
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), suffix=".onnx.part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def encode(net: Module, *examples: Any) -> bytes:
    """The bytes that `save` writes.

    Parameters and errors: as `save`.

    >>> import numpy as np, lamella as lm
    >>> data = lm.onnx.encode(lm.nn.GELU(), np.zeros((1, 4), np.float32))
    >>> lm.onnx.load(data).output_names
    ('output',)
    """
    arrays = [_example(net, example, number) for number, example in enumerate(examples)]
    graph = _trace(net, arrays)
    free, ops = _free_batch(net, arrays, graph)
    names = {id(one): name for name, one in (*net.named_parameters(), *net.named_buffers())}
    out = Out(set(), {*graph.outputs, *(value for node in graph.nodes for value in node.inputs)})
    inputs = [out.name(name) for name in _input_names(net, len(arrays))]
    known: dict[Value, str] = dict(zip(graph.inputs, inputs, strict=True))
    _write_nodes(graph, ops, out, known, names)
    outputs = []
    out.path = ""
    stems = getattr(net, "output_names", None) or (
        ["output"] if len(graph.outputs) == 1 else [f"output_{i}" for i in range(99)]
    )
    for stem, value in zip(stems, graph.outputs, strict=False):
        name = out.name(stem)
        source = _operand(out, known, names, value)
        out.node("Identity", [source], [name])
        outputs.append(encoding.value_info(name, value.dtype, _shape(value, free)))
    declared = [
        encoding.value_info(name, value.dtype, _shape(value, free))
        for name, value in zip(inputs, graph.inputs, strict=True)
    ]
    body = encoding.graph("lamella", out.nodes, out.initializers, declared, outputs)
    if len(body) > _MAX_BYTES - 1024:
        raise UnsupportedError(
            message("onnx.save", "larger than protobuf allows", {"bytes": len(body)}, "2 GiB")
        )
    return encoding.model(body, _OPSET, _IR_VERSION, "lamella", _metadata(net))


def _metadata(net: Module) -> dict[str, str]:
    """What a loaded model knows beside its graph."""
    found: dict[Any, Any] = dict(net.metadata) if isinstance(net, Model) else {}
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(
                message("onnx.save", "metadata are texts", {str(key): type(value)}, "str")
            )
    return found


def _example(net: Module, example: Any, number: int) -> Array:
    array = np.asarray(example)
    floating = (dtype_of(net) or None) if array.dtype.kind == "f" else None
    if array.dtype.kind == "f" and floating is None and array.dtype.itemsize not in (4, 8):
        floating = DType.float32
    return normalize(array, op="onnx.save", name=f"example {number}", floating=floating)


def _trace(net: Module, arrays: Sequence[Array | TensorType]) -> Graph:
    """The graph in inference mode; every module's own mode is put back."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        if any(training for _, training in modes):
            net.eval()
        return trace_module(net, arrays, {}, [])
    finally:
        for module, training in modes:
            if module.training != training:
                module.training = training


def _free_batch(net: Module, arrays: Sequence[Array], graph: Graph) -> tuple[bool, list[Any]]:
    """Whether the first axis is free, and the ops as they are then written."""
    ops = [node.op for node in graph.nodes]
    sizes = {array.shape[0] if array.ndim else -1 for array in arrays}
    if len(sizes) != 1 or sizes <= {-1, 0} or not all(value.shape for value in graph.outputs):
        return False, ops
    (batch,) = sizes
    more = [TensorType((batch + 1, *a.shape[1:]), DType.of(a.dtype)) for a in arrays]
    try:
        other = _trace(net, more)
    except (ShapeError, DTypeError, UnsupportedError, IndexError):
        return False, ops
    same = len(other.nodes) == len(graph.nodes)
    pairs = list(zip(graph.nodes, other.nodes, strict=False))
    freed = [_free_op(one, two) for one, two in pairs]
    same = same and None not in freed
    same = same and all(_same_constants(one.inputs, two.inputs) for one, two in pairs)
    same = same and _same_constants(graph.outputs, other.outputs)
    for before, after in zip(graph.outputs, other.outputs, strict=True):
        same = same and before.shape[0] == batch and after.shape == (batch + 1, *before.shape[1:])
    return (True, freed) if same else (False, ops)


def _free_op(one: Node, two: Node) -> Any:
    """The op of both nodes, the extent in which they differ left open; None where it cannot be."""
    op, other = one.op, two.op
    if op == other:
        return op
    if type(op) is not type(other):
        return None
    x, y = one.inputs[0].shape, two.inputs[0].shape
    if isinstance(op, Reshape):
        if len(op.shape) != len(other.shape) or 0 in op.shape:
            return None
        open_axes = [
            i for i, (a, b) in enumerate(zip(op.shape, other.shape, strict=True)) if a != b
        ]
        shape = tuple(-1 if i in open_axes else n for i, n in enumerate(op.shape))
        return replace(op, shape=shape) if len(open_axes) == 1 else None
    if isinstance(op, Expand) and len(op.shape) == len(other.shape):
        # ONNX's Expand keeps an extent of x where 1 is asked for.
        offset = len(op.shape) - len(x)
        shape = tuple(
            1 if i >= offset and x[i - offset] == n and y[i - offset] == m else n
            for i, (n, m) in enumerate(zip(op.shape, other.shape, strict=True))
        )
        kept = [
            i for i, (n, m) in enumerate(zip(shape, other.shape, strict=True)) if n not in (1, m)
        ]
        return None if kept else replace(op, shape=shape)
    if isinstance(op, Slice) and (op.starts, op.steps) == (other.starts, other.steps):
        whole = [n == m or (n, m) == (a, b) for n, m, a, b in zip(op.sizes, other.sizes, x, y,
                                                                  strict=True)]  # fmt: skip
        return op if all(whole) else None
    return None


def _same_constants(ones: Sequence[Value], twos: Sequence[Value]) -> bool:
    for one, two in zip(ones, twos, strict=True):
        if isinstance(one, Constant) != isinstance(two, Constant):
            return False
        if isinstance(one, Constant) and isinstance(two, Constant):
            if not np.array_equal(one.array, two.array, equal_nan=one.dtype.is_floating):
                return False
    return True


def _shape(value: Value, free: bool) -> list[int | str]:
    return ["batch", *value.shape[1:]] if free else list(value.shape)


def _input_names(net: Module, count: int) -> list[str]:
    declared = getattr(net, "input_names", None)
    if declared is not None:
        return list(declared)[:count]
    names = [
        parameter.name
        for parameter in inspect.signature(net.forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return [names[i] if i < len(names) else f"input_{i}" for i in range(count)]


def _write_nodes(
    graph: Graph, ops: Sequence[Any], out: Out, known: dict[Value, str], names: dict[int, str]
) -> None:
    faults: list[str] = []
    for node, op in zip(graph.nodes, ops, strict=True):
        rule = EXPORT.get(type(op))
        if rule is None:
            faults.append(f"{node.op}" + (f" at {node.path}" if node.path else ""))
            continue
        if faults:
            continue
        out.path = node.path
        operands = [_operand(out, known, names, value) for value in node.inputs]
        results = rule(out, op, operands, node)
        results = [results] if isinstance(results, str) else results
        known.update(zip(node.outputs, results, strict=True))
    if faults:
        listed = " | ".join(dict.fromkeys(faults))
        raise UnsupportedError(
            message("onnx.save", f"the network has what is no ONNX operator: {listed}")
        )


def _operand(out: Out, known: dict[Value, str], names: dict[int, str], value: Value) -> str:
    found = known.get(value)
    if found is not None:
        return found
    if isinstance(value, Parameter):
        name = out.name(names.get(id(value.source)) or value.source.name or "parameter")
        out.initializers.append(encoding.tensor(name, value.source.array))
    else:
        assert isinstance(value, Constant)
        name = out.constant(value.array)
    known[value] = name
    return name
