# SPDX-License-Identifier: Apache-2.0
"""What operands become in a graph: numbers, arrays and symbols as values of fitting dtypes.

Floating operands get one dtype by PyTorch's rule. Operands with axes decide it, float32 next to
float64 being float64; where none of them is floating, 0-d arrays and tensors do; where those are
not either, numbers take the trace's own dtype. Python numbers and NumPy scalars are such numbers.
Source: pytorch.org, "Tensor Attributes", type promotion.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamella.errors import DTypeError, message
from lamella.ir.extent import Extent
from lamella.ir.graph import Value
from lamella.ir.reciprocal import Reciprocal
from lamella.ir.types import Array, DType, is_bfloat16
from lamella.ops import base as ops
from lamella.ops import composites
from lamella.ops.elementwise import Cast
from lamella.runtime.signature import as_array, refuse_masked, turned_back
from lamella.runtime.trace import Symbol, Trace

__all__ = ["is_number", "place_constant", "place_keys", "place_number", "place_values"]


def is_number(operand: Any) -> bool:
    """Whether an operand is a number: Python's, or a NumPy scalar."""
    return isinstance(operand, int | float | np.integer | np.floating | np.bool_)


def place_values(trace: Trace, operands: Sequence[Any], arithmetic: bool) -> list[Value]:
    """Operands as values of `trace` with one floating dtype among them.

    arithmetic: next to a floating operand, truth values and 0-d integers become numbers of its
    dtype.
    """
    entries: list[Any] = []
    for operand in operands:
        if isinstance(operand, Symbol):
            operand = operand._value(trace)
        elif isinstance(operand, numbers.Real):
            # Of any class: a Fraction too.
            operand = operand if is_number(operand) else float(operand)
        elif not is_number(operand):
            operand = place_constant(trace, as_array(operand, "operand", "value"))
        entries.append(operand)
    floating = _floating(entries)
    whole = DType.int64 if any(map(_is_integer, entries)) else DType.bool
    if floating is None and any(_has_fraction(entry, whole) for entry in entries):
        floating = trace.numbers
    return [
        place_number(trace, entry, floating or whole)
        if is_number(entry)
        else _placed(trace, entry, floating, arithmetic)
        for entry in entries
    ]


def place_constant(trace: Trace, array: Array | np.generic) -> Value:
    """An array as a leaf; integers of every width become int64, storage types float32.

    An array of the user's is read where it lies, every other one is copied.
    """
    refuse_masked(array, "constant", "value")
    turned = turned_back(array)
    storage = trace.storage_of(array if turned is None else turned)
    if storage is not None:
        leaf = trace.read(storage)
        return leaf if turned is None else composites.transpose(trace.place, leaf, -2, -1)
    dtype = array.dtype
    if dtype.kind in "iu":
        if dtype.kind == "u" and dtype.itemsize == 8 and np.any(np.asarray(array) >> 63):
            raise DTypeError(
                message("constant", "an integer that int64 does not hold", {"dtype": dtype})
            )
        return trace.constant(array, DType.int64)
    if is_bfloat16(dtype) or (dtype.kind == "f" and dtype.itemsize == 2):
        return trace.constant(array, DType.float32)
    return trace.constant(array, DType.of(dtype.newbyteorder("=")))


def place_keys(trace: Trace, key: Any) -> tuple[Any, ...]:
    """What stands in brackets: arrays and symbols as values, known masks as arrays."""

    def placed(item: Any) -> Any:
        if isinstance(item, Symbol):
            return item._value(trace)
        if isinstance(item, list):
            # An empty list is no list of floats.
            item = np.array(item, None if item else np.int64)
        if not isinstance(item, np.ndarray) or item.dtype == bool:
            return item
        return place_constant(trace, item)

    return tuple(placed(item) for item in (key if isinstance(key, tuple) else (key,)))


def _floating(entries: Sequence[Any]) -> DType | None:
    """The dtype that operands with axes decide, or else those without; None where none does."""
    values = [entry for entry in entries if isinstance(entry, Value) and entry.dtype.is_floating]
    for group in ([value for value in values if value.shape], values):
        if group:
            wide = any(value.dtype is DType.float64 for value in group)
            return DType.float64 if wide else DType.float32
    return None


def _is_integer(entry: Any) -> bool:
    return isinstance(entry, Value) and entry.dtype is DType.int64


def _has_fraction(entry: Any, whole: DType) -> bool:
    """Whether an entry is a number that no array or tensor of dtype `whole` takes as it is."""
    kinds = bool | np.bool_ if whole is DType.bool else numbers.Integral | np.bool_
    return is_number(entry) and not isinstance(entry, kinds)


def _placed(trace: Trace, entry: Value, floating: DType | None, arithmetic: bool) -> Value:
    """A value, as the floating dtype where it is floating or counts so."""
    dtype = entry.dtype
    if floating is None or dtype is floating:
        return entry
    counts = dtype is DType.bool or (dtype is DType.int64 and not entry.shape)
    if dtype.is_floating or (arithmetic and counts):
        return trace.place(Cast(floating), entry)
    return entry


def place_number(trace: Trace, number: Any, dtype: DType) -> Value:
    """A number as a 0-d constant, which keeps the formula of an extent."""
    if type(number) is Extent or type(number) is Reciprocal:
        return ops.number(number, dtype)
    # A number beyond the partner's range becomes infinite, as NumPy's weak scalars do.
    try:
        with np.errstate(over="ignore"):
            return trace.constant(np.array(number, dtype.numpy))
    except OverflowError:
        raise DTypeError(
            message("number", f"no {dtype} holds this integer", {"value": "int"}, "a smaller one")
        ) from None
