# SPDX-License-Identifier: Apache-2.0
"""Elementwise ops: one function of the tables, or a fused chain of them, over broadcast operands.

Operands broadcast as in NumPy and keep one dtype: the tracer inserts Casts, the ops insist. All
lower to the one elementwise step, where an operand is read with stride 0 along repeated axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.types import (
    Array,
    DType,
    Shape,
    TensorType,
    broadcast_shapes,
    broadcast_strides,
)
from lamella.ops.base import Lowered, Op, require_count, require_floating, unit
from lamella.ops.tables import BINARY, COMPARE, LOGICAL, UNARY, BinaryRow, UnaryRow

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder, Slot

__all__ = [
    "BINARY",
    "COMPARE",
    "LOGICAL",
    "UNARY",
    "Binary",
    "BinaryRow",
    "Cast",
    "Chain",
    "Compare",
    "Elementwise",
    "Instruction",
    "Logical",
    "Unary",
    "UnaryRow",
    "Where",
    "interpret",
    "unary",
]

# The casts that have kernels.
_CASTS = {
    (DType.float32, DType.float64),
    (DType.float64, DType.float32),
    (DType.bool, DType.float32),
    (DType.bool, DType.float64),
    (DType.int64, DType.float32),
    (DType.int64, DType.float64),
    (DType.float32, DType.bool),
    (DType.float64, DType.bool),
}


# Bound of float64 functions that are not rounded correctly: the reference is the less accurate of
# the two there (by 700 units in the tail of gelu), so this only catches gross errors.
FLOAT64_ULP = 1000.0


class Instruction(NamedTuple):
    """One function applied to registers; `dtype` is the result's."""

    op: str
    dtype: DType
    args: tuple[int, ...]
    params: tuple[float, ...] = ()


class Elementwise(Op):
    """An op whose output element depends on the operands' elements at the same place."""

    overwrites = True

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        """The op as instructions on the registers 0..len(inputs)-1 and those they add."""
        raise NotImplementedError

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (interpret(self._code_of(arrays), arrays)[0],)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        return (interpret(self._code_of(arrays), arrays)[1],)

    def _code_of(self, arrays: Sequence[Array]) -> tuple[Instruction, ...]:
        return self.code([TensorType(x.shape, DType.of(x.dtype)) for x in arrays])

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        scratch: Slot | None,
        /,
    ) -> None:
        shape = outputs[0].type.shape
        program.elementwise(
            shape=shape,
            inputs=[
                (slot, broadcast_strides(type.shape, shape), type.dtype.value)
                for slot, type, _ in inputs
            ],
            code=[
                (op, dtype.value, args, params)
                for op, dtype, args, params in self.code([item.type for item in inputs])
            ],
            output=outputs[0].slot,
        )


@dataclass(frozen=True, slots=True)
class Unary(Elementwise):
    """y = f(x) for a row of UNARY; `params` in the row's order. Made by `unary`."""

    name: str
    params: tuple[float, ...] = ()

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        row = UNARY[self.name]
        numbers = zip(row.params, self.params, strict=True)
        return _call(self.name, ", ".join(f"{name}={value:g}" for name, value in numbers))

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.name, inputs, 1)
        require_floating(self.name, ("x",), inputs)
        return (inputs[0],)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction(self.name, inputs[0].dtype, (0,), self.params),)


def unary(name: str, *params: float, **named: float) -> Unary:
    """The unary op of a row, its numbers by position or name, the rest from the row's defaults."""
    row = UNARY.get(name)
    if row is None:
        raise UnsupportedError(message("unary", "no such function", {"name": name}))
    values = dict(zip(row.params, row.defaults, strict=True))
    values.update(zip(row.params, params, strict=False))
    values.update(named)
    if len(params) > len(row.params) or len(values) > len(row.params):
        raise TypeError(
            message(name, "wrong parameters", {"params": (*params, *named)}, f"{row.params}")
        )
    return Unary(name, tuple(float(value) for value in values.values()))


@dataclass(frozen=True, slots=True)
class Binary(Elementwise):
    """y = f(a, b) for a row of BINARY."""

    name: str
    arithmetic = True

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        return (TensorType(*_judge_pair(self.name, inputs)),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction(self.name, inputs[0].dtype, (0, 1)),)


@dataclass(frozen=True, slots=True)
class Compare(Elementwise):
    """y = a ? b as truth values, for a row of COMPARE."""

    name: str
    arithmetic = True

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        shape, _ = _judge_pair(self.name, inputs)
        return (TensorType(shape, DType.bool),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction(self.name, DType.bool, (0, 1)),)


@dataclass(frozen=True, slots=True)
class Where(Elementwise):
    """y = condition ? a : b; nothing is computed from the element that is not taken."""

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("where", inputs, 3)
        condition, a, b = inputs
        if condition.dtype is not DType.bool:
            raise DTypeError(
                message(
                    "where",
                    "the condition is no mask",
                    {"condition": condition.dtype},
                    "bool",
                    "Compare first, as in x > 0",
                )
            )
        if a.dtype is not b.dtype or a.dtype is DType.int64:
            raise DTypeError(
                message(
                    "where",
                    "element types do not fit",
                    {"x": a.dtype, "y": b.dtype},
                    "the same of float32, float64 and bool",
                )
            )
        names = ("condition", "x", "y")
        return (TensorType(_broadcast("where", names, inputs), a.dtype),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction("select", inputs[1].dtype, (0, 1, 2)),)


@dataclass(frozen=True, slots=True)
class Logical(Elementwise):
    """Truth values combined, for a row of LOGICAL."""

    name: str

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.name, inputs, 1 if self.name == "logical_not" else 2)
        names = ("x", "y")[: len(inputs)]
        if any(type.dtype is not DType.bool for type in inputs):
            raise DTypeError(
                message(
                    self.name,
                    "element types do not fit",
                    {name: type.dtype for name, type in zip(names, inputs, strict=True)},
                    "bool",
                    "Compare first, as in x != 0",
                )
            )
        return (TensorType(_broadcast(self.name, names, inputs), DType.bool),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction(self.name, DType.bool, tuple(range(len(inputs)))),)


@dataclass(frozen=True, slots=True)
class Cast(Elementwise):
    """The same numbers as another dtype, rounded to nearest; to bool: x != 0."""

    dtype: DType

    def __str__(self) -> str:
        return f"cast({self.dtype})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("cast", inputs, 1)
        source = inputs[0].dtype
        if source is not self.dtype and (source, self.dtype) not in _CASTS:
            raise DTypeError(
                message("cast", f"no conversion to {self.dtype}", {"x": source}, "float or bool")
            )
        return (TensorType(inputs[0].shape, self.dtype),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction("cast", self.dtype, (0,)),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        scratch: Slot | None,
        /,
    ) -> None:
        if inputs[0].type.dtype is not self.dtype:
            Elementwise.lower(self, program, inputs, outputs, scratch)
        else:
            size = (inputs[0].type.size,)
            program.copy(
                item_bytes=self.dtype.itemsize,
                shape=size,
                x=inputs[0].slot,
                x_strides=(1,),
                y=outputs[0].slot,
                y_strides=(1,),
            )


@dataclass(frozen=True, slots=True)
class Chain(Elementwise):
    """Several elementwise functions in one pass over memory; made by the fuse pass.

    Every instruction computes on the output's shape; the last one is the output.
    """

    instructions: tuple[Instruction, ...]

    def __str__(self) -> str:
        return _call("chain", " ".join(instruction.op for instruction in self.instructions))

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        names = [f"x{position}" for position in range(len(inputs))]
        for position, instruction in enumerate(self.instructions, len(inputs)):
            if max(instruction.args) >= position:
                require_count("chain", inputs, max(instruction.args) + 1 + len(inputs) - position)
        return (TensorType(_broadcast("chain", names, inputs), self.instructions[-1].dtype),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return self.instructions


def _call(name: str, arguments: str) -> str:
    return f"{name}({arguments})" if arguments else name


def _judge_pair(op: str, inputs: Sequence[TensorType]) -> tuple[Shape, DType]:
    """The common shape and dtype of two floating operands."""
    require_count(op, inputs, 2)
    dtype = require_floating(op, ("x", "y"), inputs)
    return _broadcast(op, ("x", "y"), inputs), dtype


def _broadcast(op: str, names: Sequence[str], inputs: Sequence[TensorType]) -> Shape:
    shape = broadcast_shapes(*(type.shape for type in inputs))
    if shape is None:
        raise ShapeError(
            message(
                op,
                "shapes do not broadcast",
                {name: type.shape for name, type in zip(names, inputs, strict=True)},
                "extents equal or one, counted from the last axis",
            )
        )
    return shape


def _function(instruction: Instruction) -> tuple[Callable[..., Any], float]:
    """The float64 meaning of an instruction and its error bound in ULP."""
    name = instruction.op
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
    if instruction.dtype is DType.bool:
        return lambda x: x != 0, 0.0
    return lambda x: x.astype(np.float64), 0.5


def interpret(
    code: Sequence[Instruction],
    arrays: Sequence[Array],
    operand_errors: Sequence[Array] | None = None,
) -> tuple[Array, Array]:
    """Runs a chain in float64; gives the result and a first-order bound of the kernels' error.

    Each instruction adds its own rounding and passes its operands' errors on, as far as its value
    moves when one operand moves by its error; a comparison that an error can turn is off by one.
    """
    values: list[Array] = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in arrays]
    errors = [np.zeros(()) for _ in arrays] if operand_errors is None else list(operand_errors)
    with np.errstate(all="ignore"):
        for instruction in code:
            function, ulp = _function(instruction)
            args = [values[arg] for arg in instruction.args]
            value = np.asarray(function(*args))
            if instruction.dtype is DType.float64 and ulp > 0.5:
                ulp = FLOAT64_ULP
            error = 2.0 * ulp * unit(instruction.dtype) * np.abs(value)
            if instruction.dtype.is_floating:
                # Below the normal range the gap between numbers is constant.
                error = np.maximum(
                    error, ulp * np.finfo(instruction.dtype.numpy).smallest_subnormal
                )
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
        else:
            moved = arg + sign * error
        shifted = np.asarray(function(*args[:position], moved, *args[position + 1 :]))
        distance = np.abs(shifted.astype(np.float64) - value.astype(np.float64))
        farthest = np.maximum(farthest, np.where(np.isnan(distance), 0.0, distance))
    return farthest
