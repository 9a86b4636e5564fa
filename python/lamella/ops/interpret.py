# SPDX-License-Identifier: Apache-2.0
"""Instructions of elementwise steps, what they mean in float64, and how far kernels may be off.

An instruction applies one function of the tables to registers. The oracle of the elementwise ops
and of the dense layer's epilogue runs them one by one, with a first-order bound of the error.
Integers and truth values are computed in their own type, and exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lamella.ir.types import Array, DType
from lamella.ops.base import unit
from lamella.ops.tables import BINARY, BITWISE, COMPARE, INTEGER, LOGICAL, UNARY

__all__ = ["Instruction", "interpret"]

# Bound of float64 functions that are not rounded correctly: the reference is the less accurate of
# the two there (by 700 units in the tail of gelu), so this only catches gross errors.
FLOAT64_ULP = 1000.0

# The smallest subnormal numbers.
_LEAST = {
    DType.float32: 2.0**-149,
    DType.float64: 2.0**-1074,
    DType.bfloat16: 2.0**-133,
    DType.float16: 2.0**-24,
}


class Instruction(NamedTuple):
    """One function applied to registers; `dtype` is the result's."""

    op: str
    dtype: DType
    args: tuple[int, ...]
    params: tuple[float, ...] = ()


def _function(instruction: Instruction) -> tuple[Callable[..., Any], float]:
    """The meaning of an instruction, in float64 where it is floating, and its error in ULP."""
    name = instruction.op
    if name in BITWISE:
        return BITWISE[name], 0.0
    if instruction.dtype.is_integer and name in INTEGER:
        return INTEGER[name], 0.0
    if name in UNARY:
        row = UNARY[name]
        return lambda x: row.reference(x, *instruction.params), row.ulp
    if name in BINARY:
        return BINARY[name].reference, BINARY[name].ulp
    if name in COMPARE:
        return COMPARE[name], 0.0
    if name in LOGICAL:
        return LOGICAL[name], 0.0
    if name == "select":
        return np.where, 0.0
    assert name == "cast", name
    return lambda x: _cast(x, instruction.dtype), 0.0 if instruction.dtype.is_integer else 0.5


def _cast(x: Array, dtype: DType) -> Array:
    """What a cast makes of float64 numbers, integers or truth values; floating ones as float64."""
    if dtype is DType.bool:
        return np.asarray(x != 0)
    if dtype.is_integer and x.dtype.kind != "f":
        return x.astype(dtype.numpy)
    if dtype.is_integer:
        wide = np.int64 if dtype is DType.int64 else np.int32
        least = np.iinfo(wide).min
        fits = (x >= least) & (x < -float(least))
        whole = np.where(fits, x, 0).astype(wide)
        return np.where(fits, whole, wide(least)).astype(dtype.numpy)
    x = x.astype(np.float64)
    if dtype is DType.float16:
        return x.astype(np.float16).astype(np.float64)
    if dtype is DType.bfloat16:
        # Eight bits, of subnormal numbers fewer.
        _, exponent = np.frexp(x)
        last = np.maximum(exponent, -125) - 8
        rounded = np.ldexp(np.rint(np.ldexp(x, -last)), last)
        return np.where(np.abs(rounded) >= 2.0**128, np.copysign(np.inf, x), rounded)
    return x


def interpret(
    code: Sequence[Instruction],
    arrays: Sequence[Array],
    operand_errors: Sequence[Array] | None = None,
) -> tuple[Array, Array]:
    """Runs a chain in float64; gives the result and a first-order bound of the kernels' error.

    Each instruction adds its own rounding and passes its operands' errors on, as far as its value
    moves when one operand moves by its error; a comparison that an error can turn is off by one.
    """
    values = [x if x.dtype.kind in "iub" else x.astype(np.float64) for x in arrays]
    errors = [np.zeros(()) for _ in arrays] if operand_errors is None else list(operand_errors)
    with np.errstate(all="ignore"):
        for instruction in code:
            function, ulp = _function(instruction)
            args = [values[arg] for arg in instruction.args]
            value = np.asarray(function(*args))
            if instruction.dtype is DType.float64 and ulp > 0.5:
                ulp = FLOAT64_ULP
            error = 2.0 * ulp * unit(instruction.dtype) * np.abs(value)
            if instruction.dtype in _LEAST:
                # Below the normal range the gap between numbers is constant.
                error = np.maximum(error, ulp * _LEAST[instruction.dtype])
            error = np.where(np.isfinite(error), error, 0.0)
            for position, arg in enumerate(instruction.args):
                if np.any(errors[arg]):
                    error = error + _moved(function, args, position, errors[arg], value)
            values.append(value)
            errors.append(error)
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    return np.broadcast_to(values[-1], shape), np.broadcast_to(errors[-1], shape)


def _moved(
    function: Callable[..., Any], args: list[Array], position: int, error: Array, value: Array
) -> Array:
    """How far the value moves when one operand moves by its error, either way."""
    farthest = np.zeros(value.shape)
    for sign in (-1.0, 1.0):
        arg = args[position]
        if arg.dtype.kind == "b":
            moved = np.where(error > 0, ~arg, arg)
        elif arg.dtype.kind == "f":
            moved = arg + sign * error
        else:
            moved = arg + (sign * np.ceil(error)).astype(arg.dtype)
        shifted = np.asarray(function(*args[:position], moved, *args[position + 1 :]))
        distance = np.abs(shifted.astype(np.float64) - value.astype(np.float64))
        farthest = np.maximum(farthest, np.where(np.isnan(distance), 0.0, distance))
    return farthest
