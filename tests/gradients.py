# SPDX-License-Identifier: Apache-2.0
"""Gradients for tests: of sum(y * cotangent) with respect to operands, as a program computes them.

One op or a function of values is placed in a fresh trace, differentiated, optimised with every
check, and run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lamella.ir.graph import Graph, Place, Value
from lamella.ir.types import DType, TensorType
from lamella.ops.base import Op
from lamella.ops.composites import reduce
from lamella.ops.elementwise import Binary
from lamella.passes import optimize
from lamella.passes.differentiate import differentiate
from lamella.runtime.emit import emit
from lamella.runtime.trace import begin

Body = Callable[..., Value]


def body_of(op: Op) -> Body:
    """The function that places `op` and nothing else."""
    return lambda place, *values: place(op, *values)


def weighted(place: Place, y: Value, cotangent: Value) -> Value:
    """sum(y * cotangent)."""
    return reduce(place, "sum", place(Binary("mul"), y, cotangent))


def floating(arrays: Sequence[np.ndarray]) -> list[int]:
    """The positions of the operands that may have a gradient."""
    return [index for index, x in enumerate(arrays) if x.dtype.kind == "f"]


def backward_graph(
    body: Body, arrays: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[Graph, list[bool]]:
    """Inputs: the operands, then the cotangent. Outputs: y, then the gradients there are.

    The list says of each floating operand whether it has one.
    """
    with begin() as trace:
        values = [
            trace.builder.input(TensorType(x.shape, DType.of(x.dtype)), f"x{index}")
            for index, x in enumerate(arrays)
        ]
        c = trace.builder.input(TensorType(cotangent.shape, DType.of(cotangent.dtype)), "c")
        y = body(trace.place, *values)
        loss = weighted(trace.place, y, c)
        found = differentiate(trace.place, loss, [values[index] for index in floating(arrays)])
        graph = trace.build([y, *(value for value in found if value is not None)])
    return graph, [value is not None for value in found]


def gradients(
    body: Body, arrays: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """y and the gradients of the floating operands."""
    graph, present = backward_graph(body, arrays, cotangent)
    operands = [np.asarray(x) for x in (*arrays, cotangent)]
    y, *found = emit(optimize(graph, check=True)).run(operands)
    return y, [found.pop(0) if there else None for there in present]
