# SPDX-License-Identifier: Apache-2.0
"""What operands become in a graph: numbers, arrays and symbols as values of fitting dtypes.

Operands get one dtype by PyTorch's rule. The highest category counts: floating, integer, truth
value; in it operands with axes decide, the wider one of them; where none of them is of it, 0-d
arrays and tensors do; where those are not either, numbers take the trace's own floating dtype, or
int64. Python numbers and NumPy scalars are such numbers; an integer beyond its partner's range is
refused. How far an op wants its operands to be of one type it says itself (ops/base.py: Meeting).
Source: pytorch.org, "Tensor Attributes", type promotion; NumPy's NEP 50.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

import numpy as np

from lamella.errors import DTypeError, message
from lamella.ir.extent import Extent, plain
from lamella.ir.graph import Value
from lamella.ir.reciprocal import Reciprocal
from lamella.ir.types import Array, DType, is_bfloat16
from lamella.ops import base as ops
from lamella.ops import composites
from lamella.ops.base import Meeting, Op
from lamella.ops.elementwise import Cast
from lamella.runtime.signature import as_array, refuse_huge, refuse_masked, turned_back
from lamella.runtime.trace import Symbol, Trace

__all__ = [
    "common",
    "fits",
    "is_number",
    "is_whole",
    "judge_number",
    "operands_of",
    "place_constant",
    "place_keys",
    "place_number",
    "place_values",
]


def is_number(operand: Any) -> bool:
    """Whether an operand is a number: Python's, or a NumPy scalar."""
    return isinstance(operand, int | float | np.integer | np.floating | np.bool_)


def is_whole(number: Any) -> bool:
    """Whether a number is an integer; truth values are none."""
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def fits(number: Any, dtype: DType) -> bool:
    """Whether an integer dtype holds a whole number; int64 holds every extent."""
    limits = np.iinfo(dtype.numpy)
    if type(number) is Extent and dtype is DType.int64:
        return True
    return bool(limits.min <= number <= limits.max)


def operands_of(trace: Trace, op: Op, operands: Sequence[Any]) -> list[Value]:
    """The operands of `op` as it takes them: of one dtype as it wants it, positions as int64."""
    values = place_values(trace, operands, op.meeting)
    for number in op.positions:
        if values[number].dtype.is_integer:
            values[number] = _as(trace, values[number], DType.int64)
    return values


def place_values(trace: Trace, operands: Sequence[Any], meeting: Meeting) -> list[Value]:
    """Operands as values of `trace`, with one dtype among those that shall meet."""
    entries: list[Any] = []
    for operand in operands:
        if isinstance(operand, Symbol):
            if meeting in (Meeting.COMMON, Meeting.QUOTIENT):
                _refuse_narrow(operand)
            operand = operand._value(trace)
        elif isinstance(operand, numbers.Real):
            # Of any class: a Fraction too.
            operand = operand if is_number(operand) else float(operand)
        elif not is_number(operand):
            operand = place_constant(trace, as_array(operand, "operand", "value"))
        entries.append(operand)
    floating = _floating(trace, entries)
    if meeting in (Meeting.FLOATING, Meeting.PRODUCT):
        return _apart(trace, entries, floating, meeting)
    if floating is None and meeting is Meeting.QUOTIENT:
        floating = trace.numbers
    found = floating or _whole(entries, exact=meeting is Meeting.COMPARISON)
    return [
        place_number(trace, entry, found) if is_number(entry) else _as(trace, entry, found)
        for entry in entries
    ]


def _refuse_narrow(operand: Symbol) -> None:
    """Raises for integers that are int64 on their way only (narrow.py): their width would count."""
    element = getattr(operand, "element", None)
    if element is not None:
        raise DTypeError(
            message(
                "arithmetic",
                "integers that no program computes with in their own type",
                {"operand": element},
                "int64, int32, uint8 or int8",
                f"As {element} they are indices; convert with astype(np.int32) or .int()",
            )
        )


def place_constant(trace: Trace, array: Array | np.generic) -> Value:
    """An array as a leaf; integers that no program has become int64, storage types float32.

    An array of the user's is read where it lies, every other one is copied.
    """
    refuse_masked(array, "constant", "value")
    turned = turned_back(array)
    storage = trace.storage_of(array if turned is None else turned)
    if storage is not None:
        leaf = trace.read(storage)
        return leaf if turned is None else composites.transpose(trace.place, leaf, -2, -1)
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind in "iu" and not DType.known(dtype):
        refuse_huge(array, "constant", "value")
        return trace.constant(array, DType.int64)
    if is_bfloat16(dtype) or (dtype.kind == "f" and dtype.itemsize == 2):
        return trace.constant(array, DType.float32)
    return trace.constant(array, DType.of(dtype))


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


def common(dtypes: Iterable[DType], exact: bool = False) -> DType:
    """NumPy's promotion of integer types; DTypeError where that is no type here.

    exact: then a type that holds the values of all.
    """
    found = set(dtypes)
    widest = max(found, key=lambda dtype: dtype.itemsize)
    if widest.itemsize > 1 or len(found) == 1:
        return widest
    if exact:
        return DType.int32
    raise DTypeError(
        message(
            "promotion",
            "no integer type here holds both",
            dict(zip("xy", sorted(map(str, found)), strict=False)),
            "one of int8 and uint8, or a wider type",
            "Convert one of them, with astype(np.int32) or .int()",
        )
    )


def _floating(trace: Trace, entries: Sequence[Any]) -> DType | None:
    """The floating dtype among operands: see the head of this module; None where there is none."""
    values = [entry for entry in entries if isinstance(entry, Value) and entry.dtype.is_floating]
    for group in ([value for value in values if value.shape], values):
        if group:
            wide = any(value.dtype is DType.float64 for value in group)
            return DType.float64 if wide else DType.float32
    fraction = any(is_number(one) and not isinstance(one, numbers.Integral | np.bool_)
                   for one in entries)  # fmt: skip
    return trace.numbers if fraction else None


def _whole(entries: Sequence[Any], exact: bool) -> DType:
    """The dtype where none is floating. exact: it holds every number, which else is refused."""
    values = [entry for entry in entries if isinstance(entry, Value) and entry.dtype.is_integer]
    given = [entry for entry in entries if is_number(entry) and is_whole(entry)]
    if exact:
        # 0-d ones yield to others, but may hold what those do not.
        if not values:
            return DType.int64 if given else DType.bool
        found = common({value.dtype for value in values}, exact=True)
        return found if all(fits(one, found) for one in given) else DType.int64
    for group in ([value for value in values if value.shape], values):
        if group:
            return common({value.dtype for value in group})
    return DType.int64 if given else DType.bool


def _apart(
    trace: Trace, entries: Sequence[Any], floating: DType | None, meeting: Meeting
) -> list[Value]:
    """Floating operands as one dtype; integers and truth values stay, but for those that count."""
    whole = DType.bool
    if any(isinstance(entry, Value) and entry.dtype.is_integer for entry in entries):
        whole = DType.int64
    if any(is_number(entry) and is_whole(entry) for entry in entries):
        whole = DType.int64
    counts = (DType.bool,) if meeting is Meeting.PRODUCT else ()
    values = []
    for entry in entries:
        if is_number(entry):
            values.append(place_number(trace, entry, floating or whole))
        elif floating is not None and (entry.dtype.is_floating or entry.dtype in counts):
            values.append(_as(trace, entry, floating))
        else:
            values.append(entry)
    return values


def _as(trace: Trace, value: Value, dtype: DType) -> Value:
    return value if value.dtype is dtype else trace.place(Cast(dtype), value)


def place_number(trace: Trace, number: Any, dtype: DType) -> Value:
    """A number as a 0-d constant, which keeps the formula of an extent."""
    judge_number(number, dtype)
    if type(number) is Extent or type(number) is Reciprocal:
        return ops.number(number, dtype)
    # A number beyond the partner's range becomes infinite, as NumPy's weak scalars do.
    with np.errstate(over="ignore"):
        return trace.constant(np.array(number, dtype.numpy))


def judge_number(number: Any, dtype: DType) -> None:
    """Raises DTypeError for a number that a dtype does not hold; to an integer one it is cut."""
    expected = "a number below 2**1024"
    if is_whole(number):
        if not dtype.is_integer:
            try:
                float(plain(number))
            except OverflowError:
                raise _not_held("int", dtype, expected) from None
        elif not fits(number, dtype):
            limits = np.iinfo(dtype.numpy)
            raise _not_held(plain(number), dtype, f"{limits.min} <= value <= {limits.max}")
    elif dtype.is_integer and not (isfinite(number) and fits(int(number), dtype)):
        raise _not_held(float(number), dtype, "a number of its range")


def _not_held(value: Any, dtype: DType, expected: str) -> DTypeError:
    return DTypeError(
        message(
            "number",
            f"no {dtype} holds this number",
            {"value": value},
            expected,
            "Convert the tensor first, as in .long()" if dtype.is_integer else "",
        )
    )
