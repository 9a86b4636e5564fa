# SPDX-License-Identifier: Apache-2.0
"""Elementwise ops: one function of the tables, or a fused chain of them, over broadcast operands.

Operands broadcast as in NumPy and keep one dtype: the tracer inserts Casts, the ops insist. All
lower to the one elementwise step, where an operand is read with stride 0 along repeated axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella._core import CopySpec, ElementwiseSpec
from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.graph import Constant, Place, Value
from lamella.ir.types import (
    Array,
    DType,
    Shape,
    TensorType,
    broadcast_shapes,
    broadcast_strides,
)
from lamella.ops.base import (
    TO_FLOAT,
    Lowered,
    Meeting,
    Op,
    no_such_types,
    number,
    only,
    require_count,
)
from lamella.ops.interpret import Instruction, interpret
from lamella.ops.shape import Expand
from lamella.ops.tables import (
    BINARY,
    COMPARE,
    INTEGER,
    TRUTH,
    UNARY,
    BinaryRow,
    UnaryRow,
)

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = [
    "BINARY",
    "COMPARE",
    "UNARY",
    "Binary",
    "BinaryRow",
    "Cast",
    "Chain",
    "Compare",
    "Elementwise",
    "Instruction",
    "Term",
    "Unary",
    "UnaryRow",
    "Where",
    "broadcast",
    "interpret",
    "unary",
]


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
        /,
    ) -> None:
        shape = outputs[0].type.shape
        spec = ElementwiseSpec(
            shape=shape,
            dtypes=[item.type.dtype.value for item in inputs],
            strides=[broadcast_strides(item.type.shape, shape) for item in inputs],
            code=[
                (op, dtype.value, args, params)
                for op, dtype, args, params in self.code([item.type for item in inputs])
            ],
        )
        program.add(spec, x=[item.slot for item in inputs], y=outputs[0].slot)


@dataclass(frozen=True, slots=True)
class Unary(Elementwise):
    """y = f(x) for a row of UNARY; `params` in the row's order. Made by `unary`."""

    name: str
    params: tuple[float, ...] = ()
    meeting = Meeting.COMMON

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        row = UNARY[self.name]
        numbers = zip(row.params, self.params, strict=True)
        return _call(self.name, ", ".join(f"{name}={value:g}" for name, value in numbers))

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.name, inputs, 1)
        _judge_types(self.name, ("x",), inputs)
        return (inputs[0],)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        dtype = inputs[0].dtype
        if dtype.is_integer and self.name == "relu":
            return (Instruction("sub", dtype, (0, 0)), Instruction("maximum", dtype, (0, 1)))
        return (Instruction(self.name, dtype, (0,), self.params),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        if not outputs[0].dtype.is_floating:
            return (None,)
        x, y, dy = (Term(place, value) for value in (inputs[0], outputs[0], only(dys)))
        return (UNARY[self.name].slope(x, y, dy, *self.params).value,)


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
    """y = f(a, b) for a row of BINARY, on integers for one of INTEGER, and of TRUTH."""

    name: str

    @property
    def meeting(self) -> Meeting:  # type: ignore[override]
        return Meeting.QUOTIENT if self.name == "div" else Meeting.COMMON

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.name, inputs, 2)
        dtype = _judge_types(self.name, ("x", "y"), inputs)
        return (TensorType(broadcast(self.name, ("x", "y"), inputs), dtype),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        dtype = inputs[0].dtype
        if dtype is DType.bool:
            return (Instruction(TRUTH[self.name], dtype, (0, 1)),)
        return (Instruction(self.name, dtype, (0, 1)),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        if not outputs[0].dtype.is_floating:
            return None, None
        a, b, y, dy = (Term(place, value) for value in (*inputs, outputs[0], only(dys)))
        da, db = BINARY[self.name].slopes(a, b, y, dy)
        return da.value, db.value


@dataclass(frozen=True, slots=True)
class Compare(Elementwise):
    """y = a ? b as truth values, for a row of COMPARE."""

    name: str
    meeting = Meeting.COMPARISON
    differentiable = False

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.name, inputs, 2)
        if inputs[0].dtype is not inputs[1].dtype:
            raise no_such_types(self.name, ("x", "y"), inputs, "one type")
        return (TensorType(broadcast(self.name, ("x", "y"), inputs), DType.bool),)

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
        if a.dtype is not b.dtype or a.dtype.is_storage:
            raise no_such_types("where", ("x", "y"), (a, b), "one type, and not one of storage")
        names = ("condition", "x", "y")
        return (TensorType(broadcast("where", names, inputs), a.dtype),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction("select", inputs[1].dtype, (0, 1, 2)),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        dy = only(dys)
        taken, zero = Term(place, inputs[0]), number(0.0, dy.dtype)
        return None, taken.choose(dy, zero).value, taken.choose(zero, dy).value


@dataclass(frozen=True, slots=True)
class Cast(Elementwise):
    """The same numbers as another dtype.

    To floating and storage types rounded to nearest; to bool x != 0; between integers modulo
    2**bits. Floating to int64 and int32 truncates, where NaN and what does not fit become the least
    integer; to narrower ones it goes by way of int32. Storage types meet floating ones only.
    """

    dtype: DType

    def __str__(self) -> str:
        return f"cast({self.dtype})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("cast", inputs, 1)
        source = inputs[0].dtype
        stored = source.is_storage or self.dtype.is_storage
        if source is not self.dtype and stored and not source.is_floating | self.dtype.is_floating:
            raise DTypeError(
                message(
                    "cast",
                    f"no conversion to {self.dtype}",
                    {"x": source},
                    "float32 or float64 between the two",
                )
            )
        return (TensorType(inputs[0].shape, self.dtype),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction("cast", self.dtype, (0,)),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        source = inputs[0].dtype
        return (place(Cast(source), only(dys)) if source.is_floating else None,)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        if inputs[0].type.dtype is not self.dtype:
            Elementwise.lower(self, program, inputs, outputs)
        else:
            size = (inputs[0].type.size,)
            spec = CopySpec(
                item_bytes=self.dtype.itemsize, shape=size, x_strides=(1,), y_strides=(1,)
            )
            program.add(spec, x=inputs[0].slot, y=outputs[0].slot)


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
        return (TensorType(broadcast("chain", names, inputs), self.instructions[-1].dtype),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return self.instructions


class Term:
    """A value with operators, so that gradient rules read like formulas.

    Numbers among the operands take the value's dtype; comparisons give truth values.
    """

    __slots__ = ("place", "value")

    def __init__(self, place: Place, value: Value) -> None:
        self.place = place
        self.value = value

    @property
    def number(self) -> float | None:
        """The number that this value is known to be."""
        value = self.value
        return float(value.array[()]) if isinstance(value, Constant) and not value.shape else None

    def zeros(self) -> Term:
        """0 in this value's shape."""
        return Term(self.place, self._operand(0.0)).apply(Expand(self.value.shape))

    def apply(self, op: Op, *others: Value | Term) -> Term:
        """An op on this value and others."""
        rest = (other.value if isinstance(other, Term) else other for other in others)
        return Term(self.place, self.place(op, self.value, *rest))

    def unary(self, name: str, *params: float) -> Term:
        """A function of the tables."""
        return self.apply(unary(name, *params))

    def binary(self, name: str, other: Term | float) -> Term:
        """A function of two numbers of the tables."""
        return self.apply(Binary(name), self._operand(other))

    def choose(self, a: Term | Value, b: Term | Value) -> Term:
        """a where this truth value holds, else b, which is not even looked at there."""
        return self.apply(Where(), a, b)

    def keep(self, condition: Term) -> Term:
        """This value where the condition holds, else 0."""
        return condition.choose(self, self._operand(0.0))

    def drop(self, condition: Term) -> Term:
        """0 where the condition holds, else this value."""
        return condition.choose(self._operand(0.0), self)

    def _operand(self, other: Term | float) -> Value:
        return other.value if isinstance(other, Term) else number(other, self.value.dtype)

    def _compare(self, name: str, other: Term | float) -> Term:
        return self.apply(Compare(name), self._operand(other))

    def equals(self, other: Term | float) -> Term:
        """Equality element by element."""
        return self._compare("eq", other)

    def __lt__(self, other: Term | float) -> Term:
        return self._compare("lt", other)

    def __le__(self, other: Term | float) -> Term:
        return self._compare("le", other)

    def __gt__(self, other: Term | float) -> Term:
        return self._compare("gt", other)

    def __ge__(self, other: Term | float) -> Term:
        return self._compare("ge", other)

    def __neg__(self) -> Term:
        return self.unary("neg")

    def __add__(self, other: Term | float) -> Term:
        return self.binary("add", other)

    def __sub__(self, other: Term | float) -> Term:
        return self.binary("sub", other)

    def __rsub__(self, other: float) -> Term:
        return Term(self.place, self._operand(other)) - self

    def __mul__(self, other: Term | float) -> Term:
        return self.binary("mul", other)

    def __truediv__(self, other: Term | float) -> Term:
        return self.binary("div", other)


def _call(name: str, arguments: str) -> str:
    return f"{name}({arguments})" if arguments else name


def _judge_types(op: str, names: Sequence[str], inputs: Sequence[TensorType]) -> DType:
    """The one dtype of operands that a function of numbers is defined on."""
    dtype = inputs[0].dtype
    whole = op in INTEGER if dtype.is_integer else dtype is DType.bool and op in TRUTH
    if (dtype.is_floating or whole) and all(type.dtype is dtype for type in inputs):
        return dtype
    expected, cure = "float32 or float64 everywhere", TO_FLOAT
    if op in INTEGER:
        expected, cure = "numbers of one type", ""
        if dtype is DType.bool:
            cure = "Convert truth values with .long() or .float(); & | ^ ~ combine them"
    raise no_such_types(op, names, inputs, expected, cure)


def broadcast(op: str, names: Sequence[str], inputs: Sequence[TensorType]) -> Shape:
    """The common shape of operands; ShapeError where there is none."""
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
