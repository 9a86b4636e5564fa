# SPDX-License-Identifier: Apache-2.0
"""Entries picked and put by index, in one order: of several that meet in one place too.

Indices are integers of any width. torch's functions count from the front alone; an index outside
the axis raises IndexError, when the function is called or, in a network, when it runs.
"""

from __future__ import annotations

from typing import Any

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.graph import Constant, Value
from lamella.ir.types import DType
from lamella.ops import entries
from lamella.ops.base import number
from lamella.ops.composites import reshape
from lamella.ops.elementwise import Binary, Cast, Where
from lamella.ops.gather import Scatter
from lamella.ops.scan import Scan
from lamella.ops.shape import Concat, Expand
from lamella.runtime.function import Function, function
from lamella.runtime.promotion import place_number
from lamella.runtime.signature import as_array
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Symbol, Trace, current

__all__ = [
    "gather",
    "index_add",
    "index_copy",
    "index_fill",
    "index_reduce",
    "index_select",
    "masked_fill",
    "masked_scatter",
    "one_hot",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "take_along_dim",
]

# torch's names of reductions, and the op's.
_REDUCES = {"sum": "sum", "prod": "prod", "mean": "mean", "amax": "amax", "amin": "amin"}


@function
def gather(input: Operand, dim: int, index: Operand) -> Operand:
    """Picks one element for each index: y[i, j] = input[index[i, j], j] for dim = 0.

    Parameters: input, any shape; dim, the axis; index, integers with as many axes, none longer than
    input's but dim, 0 <= index < extent. Returns: an array of index's shape.
    Raises: ShapeError, DTypeError; IndexError for an index outside the axis.
    Source: torch.gather.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    >>> F.gather(x, 1, np.array([[0], [1]]))
    array([[1.],
           [4.]], dtype=float32)
    """
    trace = current()
    x, at = input._value(trace), index._value(trace)
    return Tensor(entries.gather(trace.place, x, dim, at), trace)


@function
def take_along_dim(input: Operand, indices: Operand, dim: int | None = None) -> Operand:
    """Picks one element for each index; axes other than dim broadcast, -1 is the last entry.

    Parameters: input, any shape; indices, integers, -extent <= index < extent, with as many axes;
    dim, the axis, None for the flattened arrays. Returns: an array of the common shape.
    Raises: ShapeError, DTypeError; IndexError for an index outside the axis.
    Source: torch.take_along_dim, NumPy's take_along_axis.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([[3.0, 1.0, 2.0]], np.float32)
    >>> F.take_along_dim(x, np.argsort(x), dim=1)
    array([[1., 2., 3.]], dtype=float32)
    """
    trace = current()
    x, at = input._value(trace), indices._value(trace)
    return Tensor(entries.take_along_dim(trace.place, x, at, dim), trace)


@function
def index_select(input: Operand, dim: int, index: Operand) -> Operand:
    """Takes whole entries of an axis: y[i] = input[index[i]] for dim = 0.

    Parameters: input, any shape; dim, the axis; index, integers (N,) or (), 0 <= index < extent.
    Returns: an array with extent N along dim. Raises: ShapeError, DTypeError; IndexError for an
    index outside the axis. Source: torch.index_select.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.index_select(np.array([1.0, 2.0, 3.0], np.float32), 0, np.array([2, 0]))
    array([3., 1.], dtype=float32)
    """
    trace = current()
    x, at = input._value(trace), index._value(trace)
    return Tensor(entries.index_select(trace.place, x, dim, at), trace)


def _like(trace: Trace, value: Any, like: Value) -> Value:
    """A number in the dtype of an array."""
    return place_number(trace, value, like.dtype)


def _put(
    op: str,
    input: Operand,
    dim: int,
    index: Operand,
    source: Operand | float,
    reduce: str,
    include_self: bool = True,
) -> Operand:
    trace = current()
    x, at = input._value(trace), index._value(trace)
    value = source._value(trace) if isinstance(source, Operand) else _like(trace, source, x)
    _one_dtype(op, x, value)
    y = entries.scatter(op, trace.place, x, dim, at, value, reduce, include_self)
    return Tensor(y, trace)


def _one_dtype(op: str, x: Value, source: Value) -> None:
    if x.dtype is not source.dtype:
        raise DTypeError(
            message(
                op,
                "element types differ",
                {"input": x.dtype, "source": source.dtype},
                "one dtype",
                "Convert the source with .to()",
            )
        )


@function(scalars=("src",))
def scatter(
    input: Operand, dim: int, index: Operand, src: Operand, reduce: str | None = None
) -> Operand:
    """The input with elements put where an index says: y[index[i, j], j] = src[i, j] for dim = 0.

    Of several that meet in one place the last one along dim stays (torch leaves it open).

    Parameters: input, any shape; dim, the axis; index, integers with as many axes, none longer than
    src's, nor input's but dim, 0 <= index < extent; src, an array of input's dtype, or a number;
    reduce, None, 'add' or 'multiply'. Returns: an array like input. Raises: ShapeError, DTypeError;
    IndexError for an index outside the axis. Source: torch.scatter.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.scatter(np.zeros(3, np.float32), 0, np.array([2, 0]), np.array([5.0, 6.0], np.float32))
    array([6., 0., 5.], dtype=float32)
    """
    kinds = {None: "replace", "add": "sum", "multiply": "prod"}
    if reduce not in kinds:
        raise UnsupportedError(
            message("scatter", "no such reduction", {"reduce": reduce}, "None, 'add', 'multiply'")
        )
    return _put("scatter", input, dim, index, src, kinds[reduce])


@function
def scatter_add(input: Operand, dim: int, index: Operand, src: Operand) -> Operand:
    """Adds elements where an index says: y[index[i, j], j] += src[i, j] for dim = 0.

    The terms of a place are added in order along dim: the same bits at any number of threads. An
    index that is expanded along the other axes moves whole rows, as messages of a graph network do.

    Parameters: input, any shape; dim, the axis; index, integers with as many axes, none longer than
    src's, nor input's but dim, 0 <= index < extent; src, of input's dtype.
    Returns: an array like input. Raises: ShapeError, DTypeError; IndexError for an index outside
    the axis. Source: torch.scatter_add.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.scatter_add(np.ones(3, np.float32), 0, np.array([2, 2]), np.array([5.0, 6.0], np.float32))
    array([ 1.,  1., 12.], dtype=float32)
    """
    return _put("scatter_add", input, dim, index, src, "sum")


def _reduction(op: str, reduce: str, kinds: tuple[str, ...]) -> str:
    if reduce not in kinds:
        raise UnsupportedError(
            message(op, "no such reduction", {"reduce": reduce}, ", ".join(map(repr, kinds)))
        )
    return reduce


@function
def scatter_reduce(
    input: Operand,
    dim: int,
    index: Operand,
    src: Operand,
    reduce: str,
    include_self: bool = True,
) -> Operand:
    """Reduces what an index puts in one place: y[index[i, j], j] = kind of all such src[i, j].

    Parameters: input, any shape; dim, the axis; index, integers with as many axes, none longer than
    src's, nor input's but dim, 0 <= index < extent; src, of input's dtype; reduce, 'sum', 'prod',
    'mean', 'amax' or 'amin'; include_self, whether input's own element counts where something is
    put. Returns: an array like input. Raises: ShapeError, DTypeError, UnsupportedError; IndexError
    for an index outside the axis. Source: torch.scatter_reduce.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x, src = np.ones(2, np.float32), np.array([5.0, 7.0], np.float32)
    >>> F.scatter_reduce(x, 0, np.array([1, 1]), src, "mean", include_self=False)
    array([1., 6.], dtype=float32)
    """
    kind = _reduction("scatter_reduce", reduce, ("sum", "prod", "mean", "amax", "amin"))
    return _put("scatter_reduce", input, dim, index, src, kind, include_self)


def _put_entries(
    op: str,
    input: Operand,
    dim: int,
    index: Operand,
    source: Value,
    reduce: str,
    include_self: bool = True,
) -> Operand:
    trace = current()
    x, at = input._value(trace), index._value(trace)
    _one_dtype(op, x, source)
    y = entries.index_scatter(op, trace.place, x, dim, at, source, reduce, include_self)
    return Tensor(y, trace)


@function
def index_copy(input: Operand, dim: int, index: Operand, source: Operand) -> Operand:
    """The input with entries of an axis replaced: y[index[i]] = source[i] for dim = 0.

    A buffer of a module that forward replaces so is written in place: what is new costs, not the
    capacity. Of several equal indices the last one counts.

    Parameters: input, any shape; dim, the axis; index, integers (N,) or (), 0 <= index < extent;
    source, of input's shape but for N along dim. Returns: an array like input. Raises: ShapeError,
    DTypeError; IndexError, when it runs, for an index outside the axis.
    Source: torch.index_copy.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.index_copy(np.zeros(3, np.float32), 0, np.array([2, 0]), np.array([5.0, 6.0], np.float32))
    array([6., 0., 5.], dtype=float32)
    """
    return _put_entries("index_copy", input, dim, index, source._value(current()), "replace")


@function
def index_add(
    input: Operand, dim: int, index: Operand, source: Operand, alpha: float = 1
) -> Operand:
    """Adds whole entries where an index says: y[index[i]] += alpha source[i] for dim = 0.

    Parameters: input, any shape; dim, the axis; index, integers (N,) or (), 0 <= index < extent;
    source, of input's shape but for N along dim; alpha, a number.
    Returns: an array like input. Raises: ShapeError, DTypeError; IndexError for an index outside
    the axis. Source: torch.index_add.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.index_add(np.ones(2, np.float32), 0, np.array([1, 1]), np.array([2.0, 3.0], np.float32))
    array([1., 6.], dtype=float32)
    """
    trace = current()
    value = source._value(trace)
    if alpha != 1:
        value = trace.place(Binary("mul"), value, _like(trace, alpha, value))
    return _put_entries("index_add", input, dim, index, value, "sum")


@function
def index_reduce(
    input: Operand,
    dim: int,
    index: Operand,
    source: Operand,
    reduce: str,
    include_self: bool = True,
) -> Operand:
    """Reduces whole entries that an index puts in one place: y[index[i]] = kind of all source[i].

    Parameters: input, any shape; dim, the axis; index, integers (N,) or (), 0 <= index < extent;
    source, of input's shape but for N along dim; reduce, 'prod', 'mean', 'amax' or 'amin';
    include_self, whether input's own entry counts where something is put.
    Returns: an array like input. Raises: ShapeError, DTypeError, UnsupportedError; IndexError for
    an index outside the axis. Source: torch.index_reduce.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x, source = np.ones(2, np.float32), np.array([5.0, 7.0], np.float32)
    >>> F.index_reduce(x, 0, np.array([0, 0]), source, "amax")
    array([7., 1.], dtype=float32)
    """
    kind = _reduction("index_reduce", reduce, ("prod", "mean", "amax", "amin"))
    value = source._value(current())
    return _put_entries("index_reduce", input, dim, index, value, kind, include_self)


@function(scalars=("value",))
def index_fill(input: Operand, dim: int, index: Operand, value: Operand) -> Operand:
    """The input with entries of an axis set to one number: y[index[i]] = value for dim = 0.

    Parameters: input, any shape; dim, the axis; index, integers (N,) or (), 0 <= index < extent;
    value, a number or a 0-d array. Returns: an array like input. Raises: ShapeError, DTypeError;
    IndexError for an index outside the axis. Source: torch.index_fill.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.index_fill(np.zeros(3, np.float32), 0, np.array([0, 2]), 7.0)
    array([7., 0., 7.], dtype=float32)
    """
    trace = current()
    number_of = _number("index_fill", trace, value, input._value(trace))
    return _put_entries("index_fill", input, dim, index, number_of, "replace")


def _number(op: str, trace: Trace, value: Any, like: Value) -> Value:
    """A number, or an array without axes, in the dtype of another operand."""
    if not isinstance(value, Operand):
        return _like(trace, value, like)
    found = value._value(trace)
    if found.shape:
        raise ShapeError(
            message(op, "value has axes", {"value": found.shape}, "a number or a 0-d array")
        )
    return found if found.dtype is like.dtype else trace.place(Cast(like.dtype), found)


@function(scalars=("value",))
def masked_fill(input: Operand, mask: Operand, value: Operand) -> Operand:
    """The input with one number wherever the mask is true: y = mask ? value : input.

    Parameters: input, any shape; mask, truth values that broadcast against it; value, a number or a
    0-d array. Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.masked_fill.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.masked_fill(np.array([1.0, 2.0], np.float32), np.array([True, False]), -np.inf)
    array([-inf,   2.], dtype=float32)
    """
    trace = current()
    x = input._value(trace)
    filled = _number("masked_fill", trace, value, x)
    return Tensor(trace.place(Where(), mask._value(trace), filled, x), trace)


@function
def masked_scatter(input: Operand, mask: Operand, source: Operand) -> Operand:
    """The input with the source's elements, one after another, wherever the mask is true.

    Parameters: input, any shape; mask, truth values that broadcast to it; source, of input's dtype,
    with at least as many elements as the mask has truths. Returns: an array like input.
    Raises: ShapeError, DTypeError; IndexError for a source that is too short.
    Source: torch.masked_scatter.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x, mask = np.zeros(3, np.float32), np.array([True, False, True])
    >>> F.masked_scatter(x, mask, np.array([5.0, 6.0], np.float32))
    array([5., 0., 6.], dtype=float32)
    """
    trace = current()
    place, x, source_of = trace.place, input._value(trace), source._value(trace)
    _one_dtype("masked_scatter", x, source_of)
    chosen = mask._value(trace)
    if chosen.shape != x.shape:
        chosen = place(Expand(x.shape), chosen)
    # How many truths there are so far; where there is one, that is its number behind a filler.
    flat = reshape(place, place(Cast(DType.int64), chosen), (x.type.size,))
    count = place(Scan("sum", 0), flat)
    filler = place(Expand((1,)), number(0.0, x.dtype))
    listed = place(Concat(0), filler, reshape(place, source_of, (source_of.type.size,)))
    picked = entries.rows(place, listed, count)
    return Tensor(place(Where(), chosen, reshape(place, picked, x.shape), x), trace)


class _Classes(Function):
    """A function of classes that counts them where they are given as an array."""

    def _dispatch(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        arguments = self._bind(args, kwargs)
        tensor = arguments["tensor"]
        if arguments["num_classes"] == -1 and not isinstance(tensor, Symbol):
            classes = as_array(tensor, self.__name__, "tensor")
            if classes.size and classes.dtype.kind in "iu":
                arguments["num_classes"] = max(int(classes.max()) + 1, 1)
        return super()._dispatch(out=out, **arguments)


@_Classes
def one_hot(tensor: Operand, num_classes: int = -1) -> Operand:
    """A one for each class and zeros beside it: y[..., c] = (tensor[...] == c), as int64.

    Parameters: tensor, integers of any shape, 0 <= class < num_classes; num_classes, or -1 for one
    more than the largest, where the classes are known: of a network's inputs they are not.
    Returns: tensor's shape with num_classes behind. Raises: DTypeError, UnsupportedError;
    IndexError for a class that there is not. Source: torch.nn.functional.one_hot.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.one_hot(np.array([2, 0]), 3)
    array([[0, 0, 1],
           [1, 0, 0]])
    """
    trace = current()
    classes = entries.as_indices("one_hot", trace.place, tensor._value(trace))
    if num_classes == -1:
        if not isinstance(classes, Constant) or not classes.array.size:
            raise UnsupportedError(
                message(
                    "one_hot",
                    "the number of classes would follow from the elements",
                    {"num_classes": num_classes},
                    "num_classes >= 1",
                    "Say how many classes there are",
                )
            )
        num_classes = int(classes.array.max()) + 1
    if num_classes < 1:
        raise ShapeError(
            message("one_hot", "no classes", {"num_classes": num_classes}, "num_classes >= 1")
        )
    place, axis = trace.place, len(classes.shape)
    column = reshape(place, classes, (*classes.shape, 1))
    column = entries.judged("one_hot", place, column, num_classes)
    ones = place(Expand(column.shape), number(1.0, DType.int64))
    return Tensor(place(Scatter(axis, "replace", rows=num_classes), column, ones), trace)
