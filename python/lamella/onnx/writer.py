# SPDX-License-Identifier: Apache-2.0
"""save and encode: a network, as it computes in inference, written as an ONNX model.

The network is traced for the examples, and once more with a free first axis. Where nothing in that
trace, nor in what is written of it, holds for one size only, the axis is free in the model too
("batch"); otherwise the model is one for the examples' shapes.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamella.errors import UnsupportedError, message
from lamella.ir.digest import digest
from lamella.ir.extent import Extent, Extents
from lamella.ir.graph import Constant, Graph, Parameter, Value
from lamella.ir.types import Array, DType, TensorType
from lamella.nn.inline import trace_module
from lamella.nn.module import Module
from lamella.nn.parameter import Stored
from lamella.nn.structure import dtype_of
from lamella.onnx import encoding
from lamella.onnx.exporting import EXPORT, Out
from lamella.onnx.network import Model
from lamella.runtime.session import Free
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
    free = _freed(net, arrays, graph)
    body = None if free is None else _written(net, free)
    if body is None:
        body = _written(net, graph)
    assert body is not None
    if len(body) > _MAX_BYTES - 1024:
        raise UnsupportedError(
            message("onnx.save", "larger than protobuf allows", {"bytes": len(body)}, "2 GiB")
        )
    return encoding.model(body, _OPSET, _IR_VERSION, "lamella", _metadata(net))


def _written(net: Module, graph: Graph) -> bytes | None:
    """The graph as ONNX has it; None where it would hold for one size of a free axis only."""
    names = {id(one): name for name, one in (*net.named_parameters(), *net.named_buffers())}
    out = Out(set(), {*graph.outputs, *(value for node in graph.nodes for value in node.inputs)})
    inputs = [out.name(name) for name in _input_names(net, len(graph.inputs))]
    known: dict[Value, str] = dict(zip(graph.inputs, inputs, strict=True))
    _write_nodes(graph, out, known, names)
    outputs = []
    out.path = ""
    stems = getattr(net, "output_names", None) or (
        ["output"] if len(graph.outputs) == 1 else [f"output_{i}" for i in range(99)]
    )
    for stem, value in zip(stems, graph.outputs, strict=False):
        name = out.name(stem)
        source = _operand(out, known, names, value)
        out.node("Identity", [source], [name])
        outputs.append(encoding.value_info(name, value.dtype, _shape(value)))
    declared = [
        encoding.value_info(name, value.dtype, _shape(value))
        for name, value in zip(inputs, graph.inputs, strict=True)
    ]
    if graph.extents is not None and not _holds(graph.extents):
        return None
    return encoding.graph("lamella", out.nodes, out.initializers, declared, outputs)


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


def _trace(net: Module, arrays: Sequence[Array | TensorType], free: Free = ()) -> Graph:
    """The graph in inference mode; every module's own mode is put back."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        if any(training for _, training in modes):
            net.eval()
        return trace_module(net, arrays, {}, [], free)
    finally:
        for module, training in modes:
            if module.training != training:
                module.training = training


def _freed(net: Module, arrays: Sequence[Array], graph: Graph) -> Graph | None:
    """The graph with a free first axis; None where it would not be the examples' `graph`."""
    sizes = {array.shape[0] if array.ndim else 0 for array in arrays}
    if len(sizes) != 1 or 0 in sizes or not all(value.shape for value in graph.outputs):
        return None
    (batch,) = sizes
    kinds = [TensorType((max(batch, 2), *a.shape[1:]), DType.of(a.dtype)) for a in arrays]
    try:
        free = _trace(net, kinds, [[(number, 0) for number in range(len(arrays))]])
    except Exception:
        # What does not take a free size, as `graph` is sound.
        return None
    if free.extents is None or not _holds(free.extents) or not all(map(_is_batched, free.outputs)):
        return None
    return free if digest(free, symbols=[batch]) == digest(graph) else None


def _is_batched(value: Value) -> bool:
    """Whether the first axis is the batch and all others are fixed."""
    n, *others = value.shape
    is_batch = type(n) is Extent and n.extents.formulas[n.number][0] == "symbol"
    return is_batch and not any(type(extent) is Extent for extent in others)


def _holds(extents: Extents) -> bool:
    """Whether all that a trace took for granted holds at every size."""
    return not extents.reasons and not extents.conditions


def _shape(value: Value) -> list[int | str]:
    return ["batch" if type(extent) is Extent else extent for extent in value.shape]


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


def _write_nodes(graph: Graph, out: Out, known: dict[Value, str], names: dict[int, str]) -> None:
    faults: list[str] = []
    for node in graph.nodes:
        rule = EXPORT.get(type(node.op))
        if rule is None:
            faults.append(f"{node.op}" + (f" at {node.path}" if node.path else ""))
            continue
        if faults:
            continue
        out.path = node.path
        operands = [_operand(out, known, names, value) for value in node.inputs]
        results = rule(out, node.op, operands, node)
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
        stored = value.source.bits if isinstance(value.source, Stored) else value.source.array
        out.initializers.append(encoding.tensor(name, stored))
    else:
        assert isinstance(value, Constant)
        size = None if value.extent is None else value.extent[1]
        if type(size) is Extent:
            size.extents.reason("a number made of an extent")
        name = out.constant(value.array)
    known[value] = name
    return name
