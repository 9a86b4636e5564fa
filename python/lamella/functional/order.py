# SPDX-License-Identifier: Apache-2.0
"""Running sums and extremes, sorting, and places in what is sorted.

Orders are stable: equal elements keep theirs. NaN stand above all numbers, first where the order
descends, and -0 equals 0.
"""

from __future__ import annotations

from typing import Any

from lamella.errors import ShapeError, UnsupportedError, message
from lamella.ir.graph import Value
from lamella.ir.types import DType, normalize_axis
from lamella.ops.composites import flatten, reshape, transpose
from lamella.ops.elementwise import Cast
from lamella.ops.scan import Scan
from lamella.ops.sort import Search, Sort
from lamella.runtime.function import function
from lamella.runtime.tensor import Extremes, Operand, Tensor
from lamella.runtime.trace import Trace, current

__all__ = [
    "argsort",
    "bucketize",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "searchsorted",
    "sort",
    "topk",
]


def _scan(kind: str, input: Operand, dim: int, dtype: Any) -> tuple[Value, ...]:
    """The outputs of a scan; integers and truth values are added up as int64."""
    trace = current()
    x = input._value(trace)
    if dtype is not None and DType.of(dtype) is not x.dtype:
        x = trace.place(Cast(DType.of(dtype)), x)
    axis = normalize_axis(f"cum{kind}", dim, max(len(x.shape), 1))
    wanted = x.dtype
    if kind in ("sum", "prod") and not x.dtype.is_floating:
        x = x if x.dtype is DType.int64 else trace.place(Cast(DType.int64), x)
        wanted = DType.int64 if dtype is None else wanted
    shape = x.shape
    found = trace.apply(Scan(kind, axis), reshape(trace.place, x, shape or (1,)))
    y, *others = (reshape(trace.place, one, shape) for one in found)
    return (y if y.dtype is wanted else trace.place(Cast(wanted), y), *others)


@function
def cumsum(input: Operand, dim: int, dtype: Any = None) -> Operand:
    """Sums of an axis so far: y[j] = x[0] + ... + x[j].

    Sums of float32 are carried in float64 and rounded where they are stored; of integers and truth
    values they are int64 and wrap.

    Parameters: input, any shape; dim, the axis; dtype, that of the result, None for input's.
    Returns: an array like input. Raises: ShapeError, DTypeError. Source: torch.cumsum.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cumsum(np.array([1.0, 2.0, 3.0], np.float32), 0)
    array([1., 3., 6.], dtype=float32)
    """
    return Tensor(_scan("sum", input, dim, dtype)[0], current())


@function
def cumprod(input: Operand, dim: int, dtype: Any = None) -> Operand:
    """Products of an axis so far: y[j] = x[0] ... x[j].

    Products of float32 are carried in float64 and rounded where they are stored; of integers and
    truth values they are int64 and wrap.

    Parameters: input, any shape; dim, the axis; dtype, that of the result, None for input's.
    Returns: an array like input. Raises: ShapeError, DTypeError. Source: torch.cumprod.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cumprod(np.array([1.0, 2.0, 3.0], np.float32), 0)
    array([1., 2., 6.], dtype=float32)
    """
    return Tensor(_scan("prod", input, dim, dtype)[0], current())


def _extremes(trace: Trace, values: Value, indices: Value) -> Extremes:
    return Extremes(Tensor(values, trace), Tensor(indices, trace))


@function
def cummax(input: Operand, dim: int) -> tuple[Operand, Operand]:
    """The largest element of an axis so far, and where it stands; of equal ones the last.

    Parameters: input, any shape; dim, the axis. Returns: (values, indices), like input and int64;
    NaN counts as largest. Raises: ShapeError. Source: torch.cummax.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cummax(np.array([1.0, 3.0, 2.0], np.float32), 0)
    Extremes(values=array([1., 3., 3.], dtype=float32), indices=array([0, 1, 1]))
    """
    return _extremes(current(), *_scan("max", input, dim, None))


@function
def cummin(input: Operand, dim: int) -> tuple[Operand, Operand]:
    """The smallest element of an axis so far, and where it stands; of equal ones the last.

    Parameters: input, any shape; dim, the axis. Returns: (values, indices), like input and int64;
    NaN counts as smallest. Raises: ShapeError. Source: torch.cummin.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cummin(np.array([3.0, 1.0, 2.0], np.float32), 0)
    Extremes(values=array([3., 1., 1.], dtype=float32), indices=array([0, 1, 1]))
    """
    return _extremes(current(), *_scan("min", input, dim, None))


def _sorted(
    op: str, input: Operand, dim: int, descending: bool, wanted: int | None = None
) -> Extremes:
    """Elements of an axis in order, as many as are wanted, and where they stood."""
    trace = current()
    place, x = trace.place, input._value(trace)
    axis = normalize_axis(op, dim, max(len(x.shape), 1))
    shape = x.shape
    if not shape:
        x = reshape(place, x, (1,))
    extent = x.shape[axis]
    if wanted is None:
        wanted = extent
    elif not 0 <= wanted <= extent:
        raise ShapeError(
            message(
                op,
                "more elements are wanted than there are",
                {"input": shape, "k": wanted, "dim": dim},
                f"0 <= k <= {extent}",
            )
        )
    swapped = transpose(place, x, axis, -1)
    found = trace.apply(Sort(wanted, bool(descending)), swapped)
    values, indices = (transpose(place, one, axis, -1) for one in found)
    if not shape and wanted == 1:
        values, indices = reshape(place, values, ()), reshape(place, indices, ())
    return _extremes(trace, values, indices)


@function
def sort(
    input: Operand, dim: int = -1, descending: bool = False, stable: bool = True
) -> tuple[Operand, Operand]:
    """The elements of an axis in order, and where they stood.

    Parameters: input, any shape; dim, the axis; descending, the largest first; stable, which it is
    anyway. Returns: (values, indices), like input and int64. Raises: ShapeError.
    Source: torch.sort.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.sort(np.array([3.0, 1.0, 2.0], np.float32))
    Extremes(values=array([1., 2., 3.], dtype=float32), indices=array([1, 2, 0]))
    """
    return _sorted("sort", input, dim, descending)


@function
def argsort(
    input: Operand, dim: int = -1, descending: bool = False, stable: bool = True
) -> Operand:
    """Where the elements of an axis stand that come in order: sort(input).indices.

    Parameters: input, any shape; dim, the axis; descending, the largest first; stable, which it is
    anyway. Returns: int64, of input's shape. Raises: ShapeError. Source: torch.argsort.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.argsort(np.array([3.0, 1.0, 2.0], np.float32))
    array([1, 2, 0])
    """
    return _sorted("argsort", input, dim, descending).indices


@function
def topk(
    input: Operand, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Operand, Operand]:
    """The k largest elements of an axis in order, and where they stand; of equal ones the first.

    Parameters: input, any shape; k, 0 <= k <= extent; dim, the axis; largest, False for the
    smallest; sorted, which they are anyway. Returns: (values, indices), with extent k along dim.
    Raises: ShapeError. Source: torch.topk.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.topk(np.array([3.0, 1.0, 2.0], np.float32), 2)
    Extremes(values=array([3., 2.], dtype=float32), indices=array([0, 2]))
    """
    return _sorted("topk", input, dim, largest, k)


def _searched(op: str, row: Operand, input: Operand, right: bool) -> Operand:
    trace = current()
    place, values, x = trace.place, row._value(trace), input._value(trace)
    if len(values.shape) > 1 and not x.shape:
        raise ShapeError(
            message(op, "rows do not fit", {"sorted_sequence": values.shape, "input": ()}, "(C,)")
        )
    y = place(Search(bool(right)), values, x if x.shape else flatten(place, x))
    return Tensor(reshape(place, y, x.shape), trace)


@function
def searchsorted(
    sorted_sequence: Operand, input: Operand, right: bool = False, side: str | None = None
) -> Operand:
    """Where elements belong in a row that is in order: how many of it come before each.

    y = #{c: row[c] < x}, or with right #{c: row[c] <= x}; NaN come after all numbers.

    Parameters: sorted_sequence, (C,) or with input's axes but for the last, ascending; input, any
    shape; right, behind equal elements; side, 'left' or 'right' in its place.
    Returns: int64, of input's shape. Raises: ShapeError, DTypeError, UnsupportedError.
    Source: torch.searchsorted.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.searchsorted(np.array([1.0, 2.0, 3.0], np.float32), np.array([2.0, 2.5], np.float32))
    array([1, 2])
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise UnsupportedError(
            message("searchsorted", "no such side", {"side": side, "right": right}, "one of them")
        )
    return _searched("searchsorted", sorted_sequence, input, right or side == "right")


@function
def bucketize(input: Operand, boundaries: Operand, right: bool = False) -> Operand:
    """The number of the bucket between boundaries that each element falls into.

    y = #{c: boundaries[c] < x}, or with right #{c: boundaries[c] <= x}.

    Parameters: input, any shape; boundaries, (C,), ascending; right, whether an element on a
    boundary is above it. Returns: int64, of input's shape. Raises: ShapeError, DTypeError.
    Source: torch.bucketize.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bucketize(np.array([0.5, 1.0, 9.0], np.float32), np.array([1.0, 2.0], np.float32))
    array([0, 0, 2])
    """
    if boundaries.ndim != 1:
        raise ShapeError(
            message("bucketize", "no row", {"boundaries": boundaries.shape}, "boundaries (C,)")
        )
    return _searched("bucketize", boundaries, input, right)
