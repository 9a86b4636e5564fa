# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of two operands, and its one-operand relatives.

Everywhere: operands broadcast as in NumPy; float32 next to float64 gives float64, an integer next
to a floating number that number's type; a Python number takes the other operand's dtype; NaN goes
through, integers wrap around. `out=`, on every function, is written to and returned.
"""

from __future__ import annotations

from lamella.errors import UnsupportedError, message
from lamella.ops.elementwise import Binary, unary
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply

__all__ = [
    "abs",
    "add",
    "clamp",
    "div",
    "floor_divide",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "remainder",
    "square",
    "sub",
]


@function(scalars=("input", "other"))
def add(input: Operand, other: Operand, *, alpha: float = 1) -> Operand:
    """Adds: y = input + alpha * other.

    Parameters: input, other, arrays or numbers whose shapes broadcast; alpha, a number.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.add.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.add(np.array([1.0, 2.0], np.float32), 3)
    array([4., 5.], dtype=float32)
    """
    return apply(Binary("add"), input, _scaled(other, alpha))


@function(scalars=("input", "other"))
def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Operand:
    """Subtracts: y = input - alpha * other.

    Parameters: input, other, arrays or numbers whose shapes broadcast; alpha, a number.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.sub.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.sub(np.array([1.0, 2.0], np.float32), 3)
    array([-2., -1.], dtype=float32)
    """
    return apply(Binary("sub"), input, _scaled(other, alpha))


def _scaled(other: Operand, alpha: float) -> Operand:
    return other if alpha == 1 else apply(Binary("mul"), other, alpha)


@function(scalars=("input", "other"))
def mul(input: Operand, other: Operand) -> Operand:
    """Multiplies: y = input * other.

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.mul.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.mul(np.array([1.0, 2.0], np.float32), 3)
    array([3., 6.], dtype=float32)
    """
    return apply(Binary("mul"), input, other)


@function(scalars=("input", "other"))
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Operand:
    """Divides: y = input / other, as IEEE: x / 0 is an infinity, 0 / 0 is NaN.

    Parameters: input, other, arrays or numbers whose shapes broadcast; rounding_mode, None, or
    'floor' for floor_divide. Returns: an array of the broadcast shape; float32 for integers.
    Raises: ShapeError, DTypeError; UnsupportedError for another rounding_mode.
    Source: torch.div.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.div(np.array([1.0, -2.0], np.float32), 4)
    array([ 0.25, -0.5 ], dtype=float32)
    """
    if rounding_mode is None:
        return apply(Binary("div"), input, other)
    if rounding_mode == "floor":
        return apply(Binary("floor_divide"), input, other)
    raise UnsupportedError(
        message("div", "no such rounding", {"rounding_mode": rounding_mode}, "None or 'floor'")
    )


@function(scalars=("input", "other"))
def floor_divide(input: Operand, other: Operand) -> Operand:
    """Divides and rounds down: y = floor(input / other), Python's `//`; 0 for an integer by 0.

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.floor_divide.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.floor_divide(np.array([7.0, -7.0], np.float32), 2)
    array([ 3., -4.], dtype=float32)
    """
    return apply(Binary("floor_divide"), input, other)


@function(scalars=("input", "other"))
def remainder(input: Operand, other: Operand) -> Operand:
    """What floor_divide leaves over, with the divisor's sign: Python's `%`.

    y = input - other * floor(input / other), computed exactly; 0 for an integer by 0.

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.remainder.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.remainder(np.array([7.0, -7.0], np.float32), 4)
    array([3., 1.], dtype=float32)
    """
    return apply(Binary("remainder"), input, other)


@function(scalars=("input", "exponent"))
def pow(input: Operand, exponent: Operand) -> Operand:
    """Raises to a power: y = input ** exponent, with C's pow at the special values.

    Of integers it is an integer, which with a negative exponent has no fraction: 0, 1 or -1.

    Parameters: input, exponent, arrays or numbers whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.pow; ISO C annex F for special values.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.pow(np.array([1.0, 3.0], np.float32), 2)
    array([1., 9.], dtype=float32)
    """
    return apply(Binary("pow"), input, exponent)


@function(scalars=("input", "other"))
def maximum(input: Operand, other: Operand) -> Operand:
    """The larger of two: y = max(input, other); NaN when either is, and +0 is above -0.

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.maximum; IEEE 754-2019, maximum.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.maximum(np.array([1.0, 3.0], np.float32), 2)
    array([2., 3.], dtype=float32)
    """
    return apply(Binary("maximum"), input, other)


@function(scalars=("input", "other"))
def minimum(input: Operand, other: Operand) -> Operand:
    """The smaller of two: y = min(input, other); NaN when either is, and -0 is below +0.

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.minimum; IEEE 754-2019, minimum.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.minimum(np.array([1.0, 3.0], np.float32), 2)
    array([1., 2.], dtype=float32)
    """
    return apply(Binary("minimum"), input, other)


@function(scalars=("min", "max"))
def clamp(input: Operand, min: Operand | None = None, max: Operand | None = None) -> Operand:
    """Cuts off at two bounds: y = min(max(input, min), max).

    Parameters: input, any shape; min, max, numbers or arrays that broadcast with input, or None
    for no bound; where min > max the result is max.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError; TypeError without a
    bound. Source: torch.clamp.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.clamp(np.array([-2.0, 0.5, 2.0], np.float32), -1, 1)
    array([-1. ,  0.5,  1. ], dtype=float32)
    """
    if min is None and max is None:
        raise TypeError(message("clamp", "no bound", {"min": min, "max": max}, "at least one"))
    lowest = input if min is None else apply(Binary("clamp_min"), input, min)
    return lowest if max is None else apply(Binary("clamp_max"), lowest, max)


@function
def neg(input: Operand) -> Operand:
    """Changes the sign: y = -input, of zeros and NaN too.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.neg.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.neg(np.array([1.0, -2.0], np.float32))
    array([-1.,  2.], dtype=float32)
    """
    return apply(unary("neg"), input)


@function
def abs(input: Operand) -> Operand:
    """Drops the sign: y = |input|.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.abs.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.abs(np.array([1.0, -2.0], np.float32))
    array([1., 2.], dtype=float32)
    """
    return apply(unary("abs"), input)


@function
def square(input: Operand) -> Operand:
    """Squares: y = input * input.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.square.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.square(np.array([1.0, -3.0], np.float32))
    array([1., 9.], dtype=float32)
    """
    return apply(unary("square"), input)
