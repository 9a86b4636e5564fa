# SPDX-License-Identifier: Apache-2.0
"""Operands: what the body of a traced function computes with.

Operand carries torch's method names, beside the operators (operators.py); Tensor is the symbolic
operand, known by shape and dtype only; parameters are operands too. `apply` places one op in the
current trace. It converts what it is given: numbers take the other operands' dtype, arrays become
constants, and dtypes are made one by torch's rule (promotion.py). Shapes are judged by the ops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from lamella.errors import UnsupportedError, message
from lamella.habits import unknown
from lamella.ir.extent import Extent
from lamella.ir.graph import Value
from lamella.ir.types import Array, DType, Shape, TensorType
from lamella.ops import composites
from lamella.ops.base import Meeting, Op
from lamella.ops.elementwise import Where
from lamella.ops.indexing import index
from lamella.runtime.operators import ElementTypes, Operators
from lamella.runtime.overrides import numpy_words
from lamella.runtime.promotion import operands_of, place_keys, place_values
from lamella.runtime.trace import Trace, current, user_line

__all__ = [
    "Extremes",
    "Operand",
    "OperandLike",
    "Tensor",
    "apply",
    "apply_all",
    "cat",
    "matmul",
    "stack",
    "where",
]


class Operand(Operators, ElementTypes):
    """Operators and torch-named methods; each adds nodes to the trace of this thread.

    functional/ adds the methods that torch's tensors have beside these.
    """

    __slots__ = ()

    # What is known while tracing.

    @property
    def shape(self) -> Shape:
        return self._type.shape

    @property
    def ndim(self) -> int:
        return len(self._type.shape)

    def dim(self) -> int:
        return len(self._type.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one extent of it."""
        return self._type.shape if dim is None else self._type.shape[dim]

    def numel(self) -> int:
        return self._type.size

    def __len__(self) -> int:
        if not self._type.shape:
            raise TypeError("len() of a 0-d tensor")
        return self._type.shape[0]

    # Products.

    def __matmul__(self, other: OperandLike) -> Tensor:
        return matmul(self, other)

    def __rmatmul__(self, other: OperandLike) -> Tensor:
        return matmul(other, self)

    def where(self, condition: OperandLike, other: OperandLike) -> Tensor:
        """self where `condition` is true, else `other`."""
        return where(condition, self, other)

    @staticmethod
    def _placed(op: Op, *operands: OperandLike) -> Tensor:
        return apply(op, *operands)

    # Shapes.

    def __getitem__(self, key: Any) -> Tensor:
        """NumPy's indexing: integers, slices, None, the ellipsis, arrays of integers or masks."""
        return _compose(index, self, place_keys(current(), key))

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order under another shape; one extent may be -1."""
        return _compose(composites.reshape, self, _extents(shape))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Axes start_dim..end_dim become one."""
        return _compose(composites.flatten, self, start_dim, end_dim)

    def permute(self, *dims: Any) -> Tensor:
        return _compose(composites.permute, self, _extents(dims))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        return _compose(composites.transpose, self, dim0, dim1)

    @property
    def T(self) -> Tensor:
        """All axes in reverse order."""
        return _compose(composites.permute, self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return _compose(composites.transpose, self, -2, -1)

    def expand(self, *shape: Any) -> Tensor:
        """Extents of one repeated up to `shape`; -1 keeps an extent."""
        return _compose(composites.expand, self, _extents(shape))

    def unsqueeze(self, dim: int) -> Tensor:
        return _compose(composites.unsqueeze, self, dim)

    def squeeze(self, dim: int | tuple[int, ...] | None = None) -> Tensor:
        return _compose(composites.squeeze, self, dim)

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Pieces of `split_size` (the last may be smaller), or of the sizes listed."""
        trace = current()
        return _wrap_all(composites.split(trace.place, self._value(trace), split_size, dim), trace)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` equal pieces."""
        trace = current()
        return _wrap_all(composites.chunk(trace.place, self._value(trace), chunks, dim), trace)

    # Reductions. dim: None for all axes, an axis, or a tuple of axes.

    def sum(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        return self._reduce("sum", dim, keepdim)

    def mean(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        return self._reduce("mean", dim, keepdim)

    def prod(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        return self._reduce("prod", dim, keepdim)

    def amax(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        return self._reduce("max", dim, keepdim)

    def amin(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        return self._reduce("min", dim, keepdim)

    def max(self, dim: int | None = None, keepdim: bool = False) -> Tensor | Extremes:
        """As torch's: the largest value of all, or with dim (values, indices) along one axis."""
        if dim is None:
            return self.amax(None, keepdim)
        return Extremes(self._reduce("max", dim, keepdim, pick=True), self.argmax(dim, keepdim))

    def min(self, dim: int | None = None, keepdim: bool = False) -> Tensor | Extremes:
        """As torch's: the smallest value of all, or with dim (values, indices) along one axis."""
        if dim is None:
            return self.amin(None, keepdim)
        return Extremes(self._reduce("min", dim, keepdim, pick=True), self.argmin(dim, keepdim))

    def any(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Whether any element is not zero."""
        return _compose(composites.truth, self, "any", dim, keepdim)

    def all(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Whether no element is zero."""
        return _compose(composites.truth, self, "all", dim, keepdim)

    def logsumexp(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        return self._reduce("logsumexp", dim, keepdim)

    def var(self, dim: Dims = None, correction: float = 1.0, keepdim: bool = False) -> Tensor:
        return self._reduce("var", dim, keepdim, correction)

    def std(self, dim: Dims = None, correction: float = 1.0, keepdim: bool = False) -> Tensor:
        return self._reduce("std", dim, keepdim, correction)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return self._reduce("argmax", dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return self._reduce("argmin", dim, keepdim)

    def softmax(self, dim: int = -1) -> Tensor:
        return _compose(composites.softmax, self, dim, False)

    def log_softmax(self, dim: int = -1) -> Tensor:
        return _compose(composites.softmax, self, dim, True)

    def _reduce(
        self,
        kind: str,
        dim: Dims,
        keepdim: bool,
        correction: float = 1.0,
        pick: bool = False,
    ) -> Tensor:
        trace = current()
        value = self._value(trace)
        y = composites.reduce(trace.place, kind, value, dim, keepdim, correction, pick)
        return Tensor(y, trace)


for _name in ("sum", "mean", "prod", "amax", "amin", "max", "min", "var", "std", "logsumexp",
              "argmax", "argmin", "any", "all"):  # fmt: skip
    setattr(Operand, _name, numpy_words(getattr(Operand, _name)))


class Tensor(Operand):
    """A symbolic tensor: shape and dtype are known, elements are not."""

    __slots__ = ("_trace", "value")

    def __init__(self, value: Value, trace: Trace) -> None:
        self.value = value
        self._trace = trace

    def _value(self, trace: Trace) -> Value:
        if self._trace is not trace:
            raise UnsupportedError(
                message(
                    "trace",
                    "a symbolic tensor was kept from another trace",
                    {"tensor": self.value.type},
                    "tensors made by the function that is running" + user_line(),
                )
            )
        return self.value

    @property
    def _type(self) -> TensorType:
        return self.value.type

    @property
    def dtype(self) -> DType:
        return self.value.type.dtype

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise unknown("Tensor", "tensor", name)

    def clone(self) -> Tensor:
        """The tensor itself, which nothing changes in place; so is `contiguous()`."""
        return self

    contiguous = clone

    def __repr__(self) -> str:
        return f"Tensor({self.value.type.dtype}, {self.value.type.shape})"

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return self.eq(other)  # type: ignore[arg-type]

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return self.ne(other)  # type: ignore[arg-type]

    # Hash by identity, as a symbol.
    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return (self[position] for position in range(self.shape[0]))

    def __bool__(self) -> NoReturn:
        self._unknown("its truth value", "Use where(), or decide on shapes")

    def __float__(self) -> NoReturn:
        self._unknown("a number", "Keep computing with the tensor itself")

    def __int__(self) -> NoReturn:
        self._unknown("a number", "Keep computing with the tensor itself")

    def __index__(self) -> NoReturn:
        self._unknown("an index", "Use embedding() to look rows up")

    def __array__(self, *_args: object, **_kwargs: object) -> NoReturn:
        self._unknown("an array", "Use lamella.functional instead of NumPy functions")

    def item(self) -> NoReturn:
        self._unknown("a number", "Keep computing with the tensor itself")

    def numpy(self) -> NoReturn:
        self._unknown("an array", "Return the tensor from forward instead")

    def _unknown(self, wanted: str, advice: str) -> NoReturn:
        path = current().path
        where_text = f" (at {path})" if path else ""
        raise UnsupportedError(
            message(
                "trace",
                f"the elements of a tensor are not known while tracing; {wanted} was asked for",
                {"tensor": self.value.type},
                "",
                advice + user_line() + where_text,
            )
        )


OperandLike: TypeAlias = Operand | Array | np.generic | float | int | bool
Dims: TypeAlias = int | Sequence[int] | None


class Extremes(NamedTuple):
    """What max and min along an axis give: the values and where they stand."""

    values: Operand
    indices: Operand


def apply(op: Op, *operands: OperandLike) -> Tensor:
    """Places an op with one output on `operands`, converted to values as the module's head says."""
    trace = current()
    return Tensor(trace.place(op, *operands_of(trace, op, operands)), trace)


def apply_all(op: Op, *operands: OperandLike) -> tuple[Tensor, ...]:
    """The same for an op with several outputs."""
    trace = current()
    return _wrap_all(trace.apply(op, *operands_of(trace, op, operands)), trace)


def matmul(x: OperandLike, w: OperandLike) -> Tensor:
    """NumPy's matmul."""
    trace = current()
    values = place_values(trace, (x, w), Meeting.PRODUCT)
    return Tensor(composites.matmul(trace.place, *values), trace)


def where(condition: OperandLike, x: OperandLike, y: OperandLike) -> Tensor:
    """x where `condition` is true, else y."""
    trace = current()
    (chosen,) = place_values(trace, (condition,), Meeting.FLOATING)
    return Tensor(trace.place(Where(), chosen, *place_values(trace, (x, y), Meeting.MOVED)), trace)


def cat(tensors: Sequence[OperandLike], dim: int = 0) -> Tensor:
    """The tensors one after the other along an existing axis."""
    trace = current()
    values = place_values(trace, tensors, Meeting.MOVED)
    return Tensor(composites.concatenate(trace.place, values, dim), trace)


def stack(tensors: Sequence[OperandLike], dim: int = 0) -> Tensor:
    """The tensors one after the other along a new axis."""
    trace = current()
    values = place_values(trace, tensors, Meeting.MOVED)
    return Tensor(composites.stack(trace.place, values, dim), trace)


def _compose(function: Any, operand: Operand, *args: Any) -> Tensor:
    """A composite on one operand, as a tensor of the current trace."""
    trace = current()
    return Tensor(function(trace.place, operand._value(trace), *args), trace)


def _wrap_all(values: Sequence[Value], trace: Trace) -> tuple[Tensor, ...]:
    return tuple(Tensor(value, trace) for value in values)


def _extents(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """Extents given one by one or as one sequence."""
    if len(arguments) == 1 and isinstance(arguments[0], Sequence):
        arguments = tuple(arguments[0])
    return tuple(n if type(n) is Extent else int(n) for n in arguments)
