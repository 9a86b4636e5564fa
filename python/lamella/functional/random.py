# SPDX-License-Identifier: Apache-2.0
"""Random numbers: new ones at every call, also of a net that draws them in forward.

They come from one counter-based generator (Philox), which lamella.manual_seed restarts, and in
training from the step's own, whose state checkpoints keep. A number depends on the seed, the call,
the place in the program and its index alone, never on the number of threads. None has a gradient.
`out=` is written to and returned.
"""

from __future__ import annotations

from typing import Any

from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.extent import index as whole
from lamella.ir.types import DType
from lamella.ops.base import require_floating
from lamella.ops.elementwise import Compare, unary
from lamella.ops.random import Draw
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply, where
from lamella.runtime.trace import current

# Every integer up to this one is a float64.
_INTEGERS = 2**53

__all__ = ["bernoulli", "rand", "rand_like", "randint", "randn", "randn_like"]


@function(draws=True)
def rand(*size: int | tuple[int, ...], dtype: Any = None) -> Operand:
    """Random numbers in [0, 1), all equally likely: multiples of 2^-24, in float64 of 2^-53.

    Parameters: size, the extents, one by one or as a tuple; dtype, float32 by default, or float64.
    Returns: an array of that shape. Raises: ShapeError, DTypeError.
    Source: torch.rand; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

    >>> import lamella as lm
    >>> from lamella import functional as F
    >>> x = F.rand(2, 3)
    >>> x.shape, bool((0 <= x).all() and (x < 1).all())
    ((2, 3), True)
    """
    return _drawn("rand", "uniform", _shape("rand", size), dtype)


@function(draws=True)
def randn(*size: int | tuple[int, ...], dtype: Any = None) -> Operand:
    """Random numbers of the normal distribution with mean 0 and variance 1.

    Parameters: size, the extents, one by one or as a tuple; dtype, float32 by default, or float64.
    Returns: an array of that shape. Raises: ShapeError, DTypeError.
    Source: torch.randn; Box and Muller 1958, "A note on the generation of random normal deviates".

    >>> from lamella import functional as F
    >>> F.randn((2, 3)).shape
    (2, 3)
    """
    return _drawn("randn", "normal", _shape("randn", size), dtype)


@function(draws=True)
def rand_like(input: Operand, *, dtype: Any = None) -> Operand:
    """Random numbers in [0, 1), in the shape of another array: see rand.

    Parameters: input, any shape; dtype, float32 or float64, input's by default.
    Returns: an array of input's shape. Raises: DTypeError, also where input has no floating type
    and no dtype is given. Source: torch.rand_like.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.rand_like(np.zeros((2, 3), np.float32)).shape
    (2, 3)
    """
    return _drawn("rand_like", "uniform", input.shape, dtype or input._type.dtype)


@function(draws=True)
def randn_like(input: Operand, *, dtype: Any = None) -> Operand:
    """Random numbers of the standard normal distribution, in the shape of another array.

    Parameters: input, any shape; dtype, float32 or float64, input's by default.
    Returns: an array of input's shape. Raises: DTypeError, also where input has no floating type
    and no dtype is given. Source: torch.randn_like.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.randn_like(np.zeros((2, 3), np.float32)).shape
    (2, 3)
    """
    return _drawn("randn_like", "normal", input.shape, dtype or input._type.dtype)


@function(draws=True)
def bernoulli(input: Operand, p: float | None = None) -> Operand:
    """Draws 1 with a probability, else 0.

    y = 1 where a number drawn from [0, 1) is below the probability, else 0

    Parameters: input, probabilities in [0, 1], of any shape; or p, one probability for all
    elements, whose shape and type alone are then input's. Returns: an array like input; NaN where
    an element of input is no probability. Raises: DTypeError; ValueError for such a p.
    Source: torch.bernoulli.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bernoulli(np.array([0.0, 1.0], np.float32))
    array([0., 1.], dtype=float32)
    """
    dtype = require_floating("bernoulli", ("input",), (input._type,))
    drawn = _drawn("bernoulli", "uniform", input.shape, dtype)
    if p is not None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(message("bernoulli", "not a probability", {"p": p}, "0 <= p <= 1"))
        return apply(Compare("lt"), drawn, float(p)).to(dtype)
    y = apply(Compare("lt"), drawn, input).to(dtype)
    # Cut off at both ends, a probability stays what it is; NaN is no end of it.
    return where(apply(unary("clamp", 0.0, 1.0), input).eq(input), y, float("nan"))


@function(draws=True)
def randint(
    low: int,
    high: int | tuple[int, ...] | None = None,
    size: tuple[int, ...] | None = None,
    *,
    dtype: Any = None,
) -> Operand:
    """Random integers, low <= y < high.

    y = low + floor((high - low) * u), u drawn from [0, 1) with 53 bits

    Parameters: low, high, integers of at most 2**53, low < high; without high, 0 and low; size, the
    extents; dtype, int64 by default, or another element type that is cast to.
    Returns: an array of that shape. Raises: ShapeError, DTypeError; ValueError for an empty range.
    Source: torch.randint.

    >>> from lamella import functional as F
    >>> F.randint(3, 4, (2,))
    array([3, 3])
    """
    if isinstance(high, tuple | list):
        # torch's randint(high, size).
        size, high = tuple(high), None
    if high is None:
        low, high = 0, low
    if size is None:
        raise TypeError(message("randint", "no size", {"size": None}, "the extents, as a tuple"))
    low, high = whole(low), whole(high)
    if not 0 < high - low <= _INTEGERS or max(-low, high) > _INTEGERS:
        raise ValueError(
            message(
                "randint",
                "no such range",
                {"low": low, "high": high},
                "low < high, within -2**53 and 2**53",
            )
        )
    drawn = _drawn("randint", "uniform", _shape("randint", (size,)), DType.float64)
    found = apply(unary("floor"), drawn * float(high - low)) + float(low)
    return found.to(DType.int64 if dtype is None else dtype)


def _drawn(name: str, kind: str, shape: tuple[int, ...], dtype: Any) -> Operand:
    wanted = DType.float32 if dtype is None else DType.of(dtype)
    if not wanted.is_floating:
        raise DTypeError(
            message(name, "only floats are drawn", {"dtype": wanted}, "dtype= float32 or float64")
        )
    return apply(Draw(kind, shape, wanted, current().stream()))


def _shape(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """Extents that were given one by one or as one tuple."""
    if len(size) == 1 and isinstance(size[0], tuple | list):
        size = tuple(size[0])
    try:
        extents = tuple(whole(extent) for extent in size)
    except TypeError:
        extents = (-1,)
    if any(extent < 0 for extent in extents):
        raise ShapeError(message(name, "no shape", {"size": size}, "integers >= 0"))
    return extents
