# SPDX-License-Identifier: Apache-2.0
"""summary: what a model consists of and costs, layer by layer, without running it.

The model's forward runs once on symbolic tensors; shapes come from there, multiply-accumulates
from the matrix products in the graph, each counted for the module that placed it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import ShapeError, message
from lamella.ir.graph import Graph
from lamella.ir.types import DType, TensorType
from lamella.nn import inline
from lamella.nn.parameter import Parameter
from lamella.nn.saved import saved_bytes
from lamella.nn.structure import dtype_of
from lamella.ops.base import Op

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["Row", "Summary", "summary"]


@dataclass
class Row:
    """One module, or node of an ONNX model: where it is, what it gives, holds and costs.

    path, its dotted name ('' for the model); kind, its class or operator; output, the shapes of its
    first call's outputs; calls; parameters and trainable, numbers of elements, shared ones counted
    where they first occur, children's not; macs, multiply-accumulates of its products; bytes, of
    its parameters, buffers not included; parent, of a node, the path of its model, else None.
    """

    path: str
    kind: str
    output: list[tuple[int, ...]] = field(default_factory=list)
    calls: int = 0
    parameters: int = 0
    trainable: int = 0
    macs: int = 0
    bytes: int = 0
    parent: str | None = None

    @property
    def label(self) -> str:
        """What a table shows of it: its own name, as far to the right as it is deep."""
        above = self.path.rpartition(".")[0] if self.parent is None else self.parent
        name = self.path[len(above) :].removeprefix(".") if above else self.path
        name = name.removesuffix(f"/{self.kind}")
        depth = above.count(".") + 1 + bool(above) if self.path else 0
        return "  " * depth + (f"{name}: {self.kind}" if name else self.kind)


@dataclass
class Summary:
    """A model's rows in the order of its tree, and the totals; print it for a table.

    input_bytes, output_bytes: of the model; activation_bytes: of all outputs of layers without
    children, and of all operators of an ONNX model. With training=True also gradient_bytes, of the
    trainable parameters; state_bytes, of the optimiser; saved_bytes, of the activations that
    backward reads; flow_bytes, of what passes through: the largest activation's gradient, with one
    that leaves or the input packed for the product that makes the first layer's gradient.
    """

    rows: list[Row]
    input_bytes: int
    output_bytes: int
    activation_bytes: int
    buffer_bytes: int
    gradient_bytes: int = 0
    state_bytes: int = 0
    saved_bytes: int = 0
    flow_bytes: int = 0
    training: bool = False

    @property
    def total_params(self) -> int:
        """Number of parameters, shared ones once."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable_params(self) -> int:
        """Number of parameters with requires_grad."""
        return sum(row.trainable for row in self.rows)

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of one call."""
        return sum(row.macs for row in self.rows)

    @property
    def param_bytes(self) -> int:
        """Bytes of the parameters."""
        return sum(row.bytes for row in self.rows)

    @property
    def training_bytes(self) -> int:
        """Estimate of what training holds at its peak; 0 without training=True.

        parameters + buffers + gradients + state + input + saved + what passes through
        """
        if not self.training:
            return 0
        stays = self.param_bytes + self.buffer_bytes + self.state_bytes + self.input_bytes
        return stays + self.gradient_bytes + self.saved_bytes + self.flow_bytes

    def as_dict(self) -> dict[str, Any]:
        """Rows and totals as plain numbers, strings, lists and dictionaries.

        >>> from lamella import nn
        >>> nn.Linear(3, 4).summary((2, 3)).as_dict()["total_macs"]
        24
        """
        totals = ["total_params", "trainable_params", "total_macs", "param_bytes", "training_bytes"]
        return {**asdict(self), **{name: getattr(self, name) for name in totals}}

    def __str__(self) -> str:
        cells: list[tuple[str, ...]] = [("layer", "output", "parameters", "MACs", "bytes")]
        for row in self.rows:
            times = f" x{row.calls}" if row.calls > 1 else ""
            shapes = ", ".join(str(shape) for shape in row.output) or "-"
            numbers = (row.parameters, row.macs, row.bytes)
            cells.append((row.label, shapes + times, *(f"{n:,}" if n else "-" for n in numbers)))
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        rule = "-" * max(map(len, lines))
        frozen = self.total_params - self.trainable_params
        return "\n".join(
            [
                lines[0],
                rule,
                *lines[1:],
                rule,
                f"parameters  {self.total_params:,}: {self.trainable_params:,} trainable,"
                f" {frozen:,} not",
                f"MACs        {self.total_macs:,}",
                f"memory      parameters {_size(self.param_bytes)}, buffers"
                f" {_size(self.buffer_bytes)}, input {_size(self.input_bytes)}, activations"
                f" {_size(self.activation_bytes)}",
                *self._training_lines(),
            ]
        )

    __repr__ = __str__

    def _training_lines(self) -> list[str]:
        if not self.training:
            return []
        return [
            f"training    {_size(self.training_bytes)}: gradients {_size(self.gradient_bytes)},"
            f" state {_size(self.state_bytes)}, saved activations {_size(self.saved_bytes)},"
            f" passing through {_size(self.flow_bytes)}, and parameters, buffers, input"
        ]


def summary(module: Module, *inputs: Any, training: bool = False, optimizer: Any = None) -> Summary:
    """Shapes, parameters, multiply-accumulates and bytes of a model for inputs of given shapes.

    Parameters: module, an nn.Module; inputs, one for each argument of its forward: a shape (a
    tuple of ints, then of the model's dtype), or an array; training, whether to estimate what
    training it needs, in the mode that it has; optimizer, of `lamella.optim`, whose state counts.
    Returns: a Summary: print it, read its attributes, or take as_dict().
    Raises: what the model's forward raises for such inputs; ShapeError for another kind of input.

    >>> import lamella as lm
    >>> net = lm.nn.Sequential(lm.nn.Linear(4, 8), lm.nn.ReLU(), lm.nn.Linear(8, 2))
    >>> print(lm.summary(net, (1, 4)))
    layer        output  parameters  MACs  bytes
    --------------------------------------------
    Sequential   (1, 2)           -     -      -
      0: Linear  (1, 8)          40    32    160
      1: ReLU    (1, 8)           -     -      -
      2: Linear  (1, 2)          18    16     72
    --------------------------------------------
    parameters  58: 58 trainable, 0 not
    MACs        48
    memory      parameters 232 B, buffers 0 B, input 16 B, activations 72 B
    """
    dtype = dtype_of(module) or DType.float32
    args = [_example(one, dtype) for one in inputs]
    calls: list[inline.Call] = []
    graph = inline.trace_module(module, args, {}, calls)
    counted: set[int] = set()
    operators = _operators(calls, counted)
    rows: dict[int, Row] = {}
    for path, child in module.named_modules():
        row = rows[id(child)] = Row(path, type(child).__name__)
        for parameter in child._parameters.values():
            if parameter is not None:
                _count(row, parameter, counted)
    activations = 0
    for call in calls:
        if call.operator:
            activations += sum(type.nbytes for type in call.outputs)
            continue
        row = rows.setdefault(id(call.module), Row(call.path, type(call.module).__name__))
        if not row.calls:
            row.output = [type.shape for type in call.outputs]
        row.calls += 1
        if id(call.module) not in operators and not any(True for _ in call.module.children()):
            activations += sum(type.nbytes for type in call.outputs)
    _charge(graph, calls, rows, operators)
    for owner, below in operators.items():
        _set_in(rows, next(call.module for call in calls if id(call.module) == owner), below)
    costs: dict[str, Any] = {}
    if training:
        saved, largest = saved_bytes(module, args)
        given = sum(value.type.nbytes for value in graph.inputs)
        costs = {
            "gradient_bytes": sum(p.memory.nbytes for p in module.parameters() if p.requires_grad),
            "state_bytes": 0 if optimizer is None else optimizer.state_bytes,
            "saved_bytes": saved,
            "flow_bytes": largest + max(largest, given) if largest else 0,
            "training": True,
        }
    return Summary(
        list(rows.values()),
        sum(value.type.nbytes for value in graph.inputs),
        sum(value.type.nbytes for value in graph.outputs),
        activations,
        sum(buffer.memory.nbytes for buffer in module.buffers()),
        **costs,
    )


def _operators(calls: list[inline.Call], counted: set[int]) -> dict[int, list[Row]]:
    """The rows of the operators by the module that consists of them, in the order of their run."""
    found: dict[int, dict[str, Row]] = {}
    above = {id(call.module): call.path for call in calls if not call.operator}
    for call in calls:
        if not call.operator:
            continue
        rows = found.setdefault(id(call.module), {})
        row = rows.get(call.path)
        if row is None:
            row = rows[call.path] = Row(call.path, call.operator, parent=above[id(call.module)])
            row.output = list(call.shapes)
        row.calls += 1
        for parameter in call.parameters:
            _count(row, parameter, counted)
    return {owner: list(rows.values()) for owner, rows in found.items()}


def _set_in(rows: dict[int, Row], owner: Module, below: list[Row]) -> None:
    """Puts the operators behind their module, in the place of levels that only held parameters."""
    levels = [id(child) for child in owner.modules() if child is not owner]
    for level in levels:
        if level in rows and not rows[level].calls and not rows[level].parameters:
            del rows[level]
    kept = list(rows.items())
    rows.clear()
    for key, row in kept:
        rows[key] = row
        if key == id(owner):
            rows.update((id(one), one) for one in below)


def _example(given: Any, dtype: DType) -> Any:
    if isinstance(given, np.ndarray):
        native = given.dtype.newbyteorder("=")
        if native.kind in "iub":
            dtype = DType.of(native) if DType.known(native) else DType.int64
        return TensorType(given.shape, dtype)
    if isinstance(given, tuple | list) and all(isinstance(extent, int) for extent in given):
        return TensorType(tuple(given), dtype)
    raise ShapeError(
        message("summary", "not a shape", {"input": repr(given)}, "a tuple of ints, or an array")
    )


def _count(row: Row, parameter: Parameter, counted: set[int]) -> None:
    """Adds a parameter that no row has yet."""
    if id(parameter) in counted:
        return
    counted.add(id(parameter))
    size = math.prod(parameter.shape)
    row.parameters += size
    row.trainable += size if parameter.requires_grad else 0
    row.bytes += parameter.memory.nbytes


def _charge(
    graph: Graph,
    calls: list[inline.Call],
    rows: dict[int, Row],
    operators: dict[int, list[Row]],
) -> None:
    """Adds each product's multiply-accumulates to the row of what placed it."""
    places = {call.path: rows[id(call.module)] for call in calls if not call.operator}
    named = {(owner, row.path): row for owner, below in operators.items() for row in below}
    owners = {
        node: named[id(call.module), call.path]
        for call in reversed(calls)
        if call.operator
        for node in call.nodes
    }
    for node in graph.nodes:
        op: Op = node.op
        work = op.work([v.type for v in node.inputs], [v.type for v in node.outputs])
        if work:
            row = owners.get(node) or places[node.path]
            row.macs += work


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024 or unit == "MiB":
            break
        size /= 1024
    return f"{size:.4g} {unit}"
