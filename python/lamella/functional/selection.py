# SPDX-License-Identifier: Apache-2.0
"""Functions whose results have as many elements as the operands' elements say.

They are computed by NumPy, on arrays. In a network, whose shapes do not depend on elements, they
are refused with the function that keeps the shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.functional.shape import reshape
from lamella.ir.types import Array, broadcast_shapes, normalize_axis
from lamella.runtime.function import Function
from lamella.runtime.signature import normalize
from lamella.runtime.tensor import Operand
from lamella.runtime.trace import Symbol, current_trace, user_line

__all__ = ["bincount", "masked_select", "nonzero", "unique_consecutive"]


class Selection(Function):
    """A function of arrays whose body is written in NumPy; cure: what keeps the shape."""

    def __init__(self, body: Callable[..., Any], cure: str) -> None:
        super().__init__(body)
        self._cure = cure

    def _dispatch(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        arguments = self._bind(args, kwargs)
        for name, value in arguments.items():
            if not self._takes_array(name) or (value is None and self._defaults[name] is None):
                continue
            if isinstance(value, Symbol) and current_trace() is not None:
                raise UnsupportedError(
                    message(
                        self.__name__,
                        "the elements would decide the shape of the result",
                        {name: value},
                        "an array",
                        self._cure + user_line(),
                    )
                )
            array = np.asarray(value) if isinstance(value, Symbol) else value
            array = normalize(array, op=self.__name__, name=name)
            # What is only stored, half and bfloat16, counts as float32, as functions answer it.
            stored = array.dtype.itemsize == 2
            arguments[name] = reshape(array, array.shape) if stored else array
        result = self._body(**arguments)
        return result if out is None else reshape(result, result.shape, out=out)


def selection(cure: str) -> Callable[[Callable[..., Any]], Selection]:
    """Makes a Selection of a body."""
    return lambda body: Selection(body, cure)


@selection("Keep the shape: compare neighbours, as in x[1:] != x[:-1]")
def unique_consecutive(
    input: Operand,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The elements, or the entries of an axis, without those that equal the one before.

    Parameters: input, any shape; return_inverse, whether to say which element of the result each
    belongs to; return_counts, whether to count them; dim, the axis, None for the flattened array.
    Returns: an array, and int64 arrays for what is asked for. NaN equals nothing.
    Raises: ShapeError, DTypeError; UnsupportedError in a network. Source: torch.unique_consecutive.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.unique_consecutive(np.array([1, 1, 2, 2, 1]), return_counts=True)
    (array([1, 2, 1]), array([2, 2, 1]))
    """
    x: Array = np.asarray(input)
    axis = 0 if dim is None else normalize_axis("unique_consecutive", dim, x.ndim)
    rows = np.moveaxis(x.reshape(-1) if dim is None else x, axis, 0)
    new = np.ones(len(rows), bool)
    if len(rows) > 1:
        new[1:] = (rows[1:] != rows[:-1]).reshape(len(rows) - 1, -1).any(1)
    first = np.flatnonzero(new)
    found: list[Array] = [np.ascontiguousarray(np.moveaxis(rows[first], 0, axis))]
    if return_inverse:
        inverse = np.cumsum(new, dtype=np.int64) - 1
        found.append(inverse.reshape(x.shape) if dim is None else inverse)
    if return_counts:
        found.append(np.diff(np.append(first, len(rows))).astype(np.int64))
    return tuple(found) if len(found) > 1 else found[0]


@selection("Say how many there are: one_hot(input, n).sum(0), or scatter_add into zeros")
def bincount(input: Operand, weights: Operand | None = None, minlength: int = 0) -> Any:
    """How often each number occurs, or the sum of its weights: y[n] = #{i: input[i] = n}.

    Parameters: input, integers (N,), none negative; weights, (N,); minlength, the least extent of
    the result. Returns: int64, or float64 of weights, one element more than the largest number.
    Raises: ShapeError, DTypeError; UnsupportedError in a network. Source: torch.bincount.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bincount(np.array([0, 2, 2]), minlength=4)
    array([1, 0, 2, 0])
    """
    x: Array = np.asarray(input)
    weighted = None if weights is None else np.asarray(weights)
    if x.dtype.kind not in "iu":
        raise DTypeError(message("bincount", "no integers", {"input": x.dtype}, "integers"))
    one = x.ndim == 1 and (weighted is None or weighted.shape == x.shape)
    if not one or minlength < 0 or (x.size and x.min() < 0):
        raise ShapeError(
            message(
                "bincount",
                "numbers do not fit",
                {"input": x.shape, "minlength": minlength},
                "input (N,) without negative numbers, weights (N,), minlength >= 0",
            )
        )
    return np.bincount(x, weighted, minlength)


@selection("Keep the shape: where(condition, x, y), or multiply by the condition")
def nonzero(input: Operand, as_tuple: bool = False) -> Any:
    """Where elements are not zero, in row-major order.

    Parameters: input, any shape; as_tuple, whether to give an array for each axis, which together
    are a key of input. Returns: int64 (N, ndim), or ndim arrays (N,).
    Raises: UnsupportedError in a network. Source: torch.nonzero.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.nonzero(np.array([[1.0, 0.0], [0.0, 4.0]], np.float32))
    array([[0, 0],
           [1, 1]])
    """
    x: Array = np.asarray(input)
    found = np.ascontiguousarray(np.argwhere(x), np.int64)
    return tuple(np.ascontiguousarray(column) for column in found.T) if as_tuple else found


@selection("Keep the shape: where(mask, x, y), or masked_fill(x, ~mask, 0)")
def masked_select(input: Operand, mask: Operand) -> Any:
    """The elements where a mask is true, in row-major order.

    Parameters: input, mask, arrays that broadcast, the mask of truth values. Returns: (N,).
    Raises: ShapeError, DTypeError; UnsupportedError in a network. Source: torch.masked_select.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.masked_select(np.array([1.0, 2.0, 3.0], np.float32), np.array([True, False, True]))
    array([1., 3.], dtype=float32)
    """
    x, chosen = np.asarray(input), np.asarray(mask)
    if chosen.dtype != bool:
        raise DTypeError(message("masked_select", "no mask", {"mask": chosen.dtype}, "bool"))
    shape = broadcast_shapes(x.shape, chosen.shape)
    if shape is None:
        raise ShapeError(
            message(
                "masked_select", "shapes do not broadcast", {"input": x.shape, "mask": chosen.shape}
            )
        )
    found: Array = np.broadcast_to(x, shape)[np.broadcast_to(chosen, shape)]
    return found
