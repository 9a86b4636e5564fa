# SPDX-License-Identifier: Apache-2.0
"""Arrays made of a shape alone: constants inside a network, NumPy arrays outside.

In forward their sizes may come from shapes: at every other size the same program makes them anew.
dtype: NumPy's types or names; by default what a number of that kind is, int64, bool or the
network's own floating type (float32 outside). `out=` is written to and returned.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from lamella.errors import UnsupportedError, message
from lamella.ir.extent import index as whole
from lamella.ir.types import DType, Shape, TensorType
from lamella.ops.elementwise import Binary
from lamella.ops.scan import Scan
from lamella.ops.shape import Expand
from lamella.runtime.function import function, with_out
from lamella.runtime.out import check_out
from lamella.runtime.promotion import is_number, judge_number, place_number
from lamella.runtime.tensor import Operand, Tensor, apply
from lamella.runtime.trace import current, current_trace

__all__ = ["arange", "eye", "full", "full_like", "ones", "ones_like", "zeros", "zeros_like"]

Number: TypeAlias = float | int | bool


def _written(body: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which also writes where `out` says."""

    @functools.wraps(body)
    def made(*args: Any, out: Any = None, **named: Any) -> Any:
        array = body(*args, **named)
        if out is None:
            return array
        name = body.__name__
        if isinstance(array, Tensor):
            raise UnsupportedError(
                message(name, "nothing to write to while tracing", {"out": type(out)})
            )
        check_out(name, out, array.shape, array.dtype)
        np.copyto(out, array)
        return out

    made.__signature__ = with_out(inspect.signature(body))  # type: ignore[attr-defined]
    return made


@_written
def zeros(*size: Any, dtype: Any = None) -> Any:
    """All elements 0.

    Parameters: size, the extents, one by one or as a tuple; dtype, float32 by default.
    Returns: an array of that shape, in forward a tensor. Raises: ShapeError, DTypeError.
    Source: torch.zeros.

    >>> from lamella import functional as F
    >>> F.zeros(2, 3, dtype="int32")
    array([[0, 0, 0],
           [0, 0, 0]], dtype=int32)
    """
    return _filled(_shape(size), 0, _dtype(dtype, _numbers()))


@_written
def ones(*size: Any, dtype: Any = None) -> Any:
    """All elements 1.

    Parameters: size, the extents, one by one or as a tuple; dtype, float32 by default.
    Returns: an array of that shape, in forward a tensor. Raises: ShapeError, DTypeError.
    Source: torch.ones.

    >>> from lamella import functional as F
    >>> F.ones((2, 2))
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    return _filled(_shape(size), 1, _dtype(dtype, _numbers()))


@_written
def full(size: Sequence[int], fill_value: Number, *, dtype: Any = None) -> Any:
    """All elements one number.

    Parameters: size, the extents; fill_value, a number; dtype, by default the number's kind.
    Returns: an array of that shape, in forward a tensor. Raises: ShapeError, DTypeError.
    Source: torch.full.

    >>> from lamella import functional as F
    >>> F.full((3,), 7)
    array([7, 7, 7])
    """
    return _filled(_shape((size,)), fill_value, _dtype(dtype, _kind(fill_value)))


@function
def zeros_like(input: Operand, *, dtype: Any = None) -> Operand:
    """All elements 0, in the shape of another array.

    Parameters: input, any shape; dtype, its own by default. Returns: an array of its shape.
    Raises: DTypeError. Source: torch.zeros_like.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.zeros_like(np.array([1, 2]))
    array([0, 0])
    """
    return _like(input, 0, dtype)


@function
def ones_like(input: Operand, *, dtype: Any = None) -> Operand:
    """All elements 1, in the shape of another array.

    Parameters: input, any shape; dtype, its own by default. Returns: an array of its shape.
    Raises: DTypeError. Source: torch.ones_like.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.ones_like(np.array([1, 2]), dtype="bool")
    array([ True,  True])
    """
    return _like(input, 1, dtype)


@function
def full_like(input: Operand, fill_value: float, *, dtype: Any = None) -> Operand:
    """All elements one number, in the shape of another array.

    Parameters: input, any shape; fill_value, a number; dtype, input's own by default.
    Returns: an array of its shape. Raises: DTypeError. Source: torch.full_like.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.full_like(np.array([1.0, 2.0], np.float32), -1)
    array([-1., -1.], dtype=float32)
    """
    return _like(input, fill_value, dtype)


@_written
def arange(start: Number, end: Number | None = None, step: Number = 1, *, dtype: Any = None) -> Any:
    """Numbers in equal steps: y[i] = start + step * i, below end.

    Parameters: start, end, the first number and the one that is not reached, or the latter alone,
    from 0 on; step, not 0; dtype, int64 by default where all three are integers.
    Returns: an array (N,) with N = ceil((end - start) / step), in forward a tensor.
    Raises: ValueError for a step of 0, or away from end; DTypeError. Source: torch.arange.

    >>> from lamella import functional as F
    >>> F.arange(1, 10, 3)
    array([1, 4, 7])
    """
    first, last = (0, start) if end is None else (start, end)
    are_whole = all(isinstance(number, Integral) for number in (first, last, step))
    if step == 0 or (last < first if step > 0 else first < last):
        raise ValueError(
            message(
                "arange",
                "no way from start to end",
                {"start": first, "end": last, "step": step},
                "a step towards end",
            )
        )
    found = _dtype(dtype, DType.int64 if are_whole else _numbers())
    count = _count(first, last, step, are_whole)
    TensorType((count,), found)
    if are_whole and count:
        judge_number(step, DType.int64)
        for number in (first, first + step * (count - 1)):
            judge_number(number, found if found.is_integer else DType.int64)
    if current_trace() is None:
        return (first + step * np.arange(count)).astype(found.numpy)
    steps = _positions(count)
    values = steps if are_whole else steps.double()
    values = values if step == 1 else values * step
    return (values if first == 0 else values + first).to(found)


@_written
def eye(n: int, m: int | None = None, *, dtype: Any = None) -> Any:
    """1 on the diagonal, 0 elsewhere.

    Parameters: n, m, the numbers of rows and of columns, as many by default; dtype, float32 by
    default. Returns: an array (n, m), in forward a tensor. Raises: ShapeError, DTypeError.
    Source: torch.eye.

    >>> from lamella import functional as F
    >>> F.eye(2)
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    found = _dtype(dtype, _numbers())
    rows, columns = _shape((n, n if m is None else m))
    if current_trace() is None:
        return np.eye(rows, columns, dtype=found.numpy)
    return _positions(rows).unsqueeze(1).eq(_positions(columns)).to(found)


def _count(first: Any, last: Any, step: Any, are_whole: bool) -> int:
    """How many steps there are from one to the other; of extents with their formula."""
    return whole(-((first - last) // step) if are_whole else math.ceil((last - first) / step))


def _positions(count: int) -> Tensor:
    """0, 1, ... as int64, in the trace: counted by the program, at every size."""
    trace = current()
    one = trace.constant(np.array(1))
    counted = trace.place(Scan("sum", 0), trace.place(Expand((count,)), one))
    return Tensor(trace.place(Binary("sub"), counted, one), trace)


def _dtype(dtype: Any, default: DType) -> DType:
    """The dtype that was asked for."""
    return default if dtype is None else DType.computed("dtype", dtype)


def _numbers() -> DType:
    """The floating dtype of what meets none."""
    trace = current_trace()
    return DType.float32 if trace is None else trace.numbers


def _kind(number: Any) -> DType:
    """The dtype of a number by its kind."""
    if isinstance(number, bool | np.bool_):
        return DType.bool
    return DType.int64 if isinstance(number, Integral) else _numbers()


def _shape(size: Sequence[Any]) -> Shape:
    """Extents given one by one or as one sequence."""
    if not size:
        raise TypeError(message("shape", "no extents", {"size": size}, "at least one, or ()"))
    if len(size) == 1 and isinstance(size[0], Sequence):
        size = size[0]
    return tuple(map(whole, size))


def _filled(shape: Shape, number: Any, dtype: DType) -> Any:
    # Judged here where NumPy would in its own words.
    TensorType(shape, dtype)
    if not is_number(number):
        kind = type(number).__name__
        raise TypeError(message("full", "not a number", {"fill_value": kind}, "a number"))
    judge_number(number, dtype)
    trace = current_trace()
    if trace is None:
        return np.full(shape, number, dtype.numpy)
    value = place_number(trace, number, dtype)
    return apply(Expand(shape), Tensor(value, trace))


def _like(input: Operand, number: Any, dtype: Any) -> Operand:
    filled: Operand = _filled(input.shape, number, _dtype(dtype, input._type.dtype))
    return filled
