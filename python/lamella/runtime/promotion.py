# SPDX-License-Identifier: Apache-2.0
"""What operands become in a graph: numbers, arrays and symbols as values of fitting dtypes.

Floating operands get one dtype by NumPy's rule: float32 next to float64 becomes float64. Python
numbers are weak: they take the other operands' dtype. NumPy scalars and arrays are not weak.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamella.errors import DTypeError, message
from lamella.ir.graph import Value
from lamella.ir.types import Array, DType
from lamella.ops import composites
from lamella.ops.elementwise import Cast
from lamella.runtime.signature import as_array, refuse_masked, turned_back
from lamella.runtime.trace import Symbol, Trace

__all__ = ["place_constant", "place_values"]


def place_values(trace: Trace, operands: Sequence[Any], arithmetic: bool) -> list[Value]:
    """Operands as values of `trace` with one floating dtype among them.

    arithmetic: truth values next to a floating operand become 0 and 1 of its dtype.
    """
    values: list[Value | None] = []
    weak: list[int] = []
    floating: DType | None = None
    for position, operand in enumerate(operands):
        if isinstance(operand, Symbol):
            value = operand._value(trace)
        elif isinstance(operand, np.ndarray | np.generic):
            value = place_constant(trace, operand)
        elif isinstance(operand, numbers.Real):
            weak.append(position)
            values.append(None)
            continue
        else:
            value = place_constant(trace, as_array(operand, "operand", "value"))
        values.append(value)
        dtype = value.type.dtype
        if dtype.is_floating and dtype is not floating:
            floating = dtype if floating is None else DType.float64
    if weak:
        partner = floating or _integer_partner(values)
        for position in weak:
            number = values[position] = _place_number(trace, operands[position], partner)
            if floating is None and number.dtype.is_floating:
                floating = number.dtype
    result: list[Value] = []
    for placed in values:
        assert placed is not None
        dtype = placed.type.dtype
        if (
            floating is not None
            and dtype is not floating
            and (dtype.is_floating or (arithmetic and dtype is DType.bool))
        ):
            placed = trace.place(Cast(floating), placed)
        result.append(placed)
    return result


def place_constant(trace: Trace, array: Array | np.generic) -> Value:
    """An array as a leaf; integers of every width become int64, float16 becomes float32.

    An array of the user's is read where it lies, every other one is copied.
    """
    refuse_masked(array, "constant", "value")
    turned = turned_back(array)
    storage = trace.storage_of(array if turned is None else turned)
    if storage is not None:
        leaf = trace.parameter(storage)
        return leaf if turned is None else composites.transpose(trace.place, leaf, -2, -1)
    dtype = array.dtype
    if dtype.kind in "iu":
        return trace.constant(array, DType.int64)
    if dtype.kind == "f" and dtype.itemsize == 2:
        return trace.constant(array, DType.float32)
    return trace.constant(array, DType.of(dtype.newbyteorder("=")))


def _integer_partner(values: Sequence[Value | None]) -> DType | None:
    for value in values:
        if value is not None and value.type.dtype is DType.int64:
            return DType.int64
    return None


def _place_number(trace: Trace, number: Any, partner: DType | None) -> Value:
    """A Python number as a 0-d constant of its partner's dtype; float64 without a partner."""
    if isinstance(number, bool) and partner is None:
        return trace.constant(np.asarray(number))
    if partner is DType.int64 and not isinstance(number, int):
        partner = DType.float64
    # A number beyond the partner's range becomes infinite, as NumPy's weak scalars do.
    dtype = partner or DType.float64
    try:
        with np.errstate(over="ignore"):
            return trace.constant(np.array(number, dtype.numpy))
    except OverflowError:
        raise DTypeError(
            message("number", f"no {dtype} holds this integer", {"value": "int"}, "a smaller one")
        ) from None
