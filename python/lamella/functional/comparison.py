# SPDX-License-Identifier: Apache-2.0
"""Comparisons, truth values and selection. Results are bool arrays; NaN equals nothing.

Everywhere: operands broadcast as in NumPy; a Python number takes the other operand's dtype, and
integers of two types are compared as they are; `out=` is written to and returned. On truth values
tensors have the operators &, |, ^ and ~.
"""

from __future__ import annotations

from lamella.ir.types import DType
from lamella.ops.elementwise import Compare
from lamella.ops.logical import Logical
from lamella.runtime import tensor
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply

__all__ = [
    "eq",
    "ge",
    "gt",
    "le",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "ne",
    "where",
]


@function(scalars=("input", "other"))
def eq(input: Operand, other: Operand) -> Operand:
    """Equal: y = (input == other).

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.eq.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.eq(np.array([1.0, 2.0], np.float32), 2)
    array([False,  True])
    """
    return apply(Compare("eq"), input, other)


@function(scalars=("input", "other"))
def ne(input: Operand, other: Operand) -> Operand:
    """Not equal: y = (input != other); true for NaN.

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.ne.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.ne(np.array([1.0, 2.0], np.float32), 2)
    array([ True, False])
    """
    return apply(Compare("ne"), input, other)


@function(scalars=("input", "other"))
def lt(input: Operand, other: Operand) -> Operand:
    """Less: y = (input < other).

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.lt.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.lt(np.array([1.0, 2.0], np.float32), 2)
    array([ True, False])
    """
    return apply(Compare("lt"), input, other)


@function(scalars=("input", "other"))
def le(input: Operand, other: Operand) -> Operand:
    """Less or equal: y = (input <= other).

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.le.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.le(np.array([1.0, 2.0], np.float32), 2)
    array([ True,  True])
    """
    return apply(Compare("le"), input, other)


@function(scalars=("input", "other"))
def gt(input: Operand, other: Operand) -> Operand:
    """Greater: y = (input > other).

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.gt.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.gt(np.array([1.0, 3.0], np.float32), 2)
    array([False,  True])
    """
    return apply(Compare("gt"), input, other)


@function(scalars=("input", "other"))
def ge(input: Operand, other: Operand) -> Operand:
    """Greater or equal: y = (input >= other).

    Parameters: input, other, arrays or numbers whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.ge.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.ge(np.array([1.0, 2.0], np.float32), 2)
    array([False,  True])
    """
    return apply(Compare("ge"), input, other)


def _truth(x: Operand) -> Operand:
    """x itself when it is boolean, else whether it is not zero."""
    if getattr(x, "dtype", None) is DType.bool:
        return x
    return apply(Compare("ne"), x, 0)


@function
def logical_and(input: Operand, other: Operand) -> Operand:
    """Both: y = input and other; a number counts as true unless it is zero.

    Parameters: input, other, arrays of any type whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.logical_and.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.logical_and(np.array([True, True]), np.array([True, False]))
    array([ True, False])
    """
    return apply(Logical("logical_and"), _truth(input), _truth(other))


@function
def logical_or(input: Operand, other: Operand) -> Operand:
    """At least one: y = input or other; a number counts as true unless it is zero.

    Parameters: input, other, arrays of any type whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.logical_or.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.logical_or(np.array([True, False]), np.array([False, False]))
    array([ True, False])
    """
    return apply(Logical("logical_or"), _truth(input), _truth(other))


@function
def logical_xor(input: Operand, other: Operand) -> Operand:
    """Exactly one: y = input xor other; a number counts as true unless it is zero.

    Parameters: input, other, arrays of any type whose shapes broadcast.
    Returns: a bool array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.logical_xor.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.logical_xor(np.array([True, True]), np.array([True, False]))
    array([False,  True])
    """
    return apply(Logical("logical_xor"), _truth(input), _truth(other))


@function
def logical_not(input: Operand) -> Operand:
    """Neither: y = not input; a number counts as true unless it is zero.

    Parameters: input, an array of any type. Returns: a bool array of its shape.
    Raises: DTypeError. Source: torch.logical_not.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.logical_not(np.array([True, False]))
    array([False,  True])
    """
    return apply(Logical("logical_not"), _truth(input))


@function(scalars=("input", "other"))
def where(condition: Operand, input: Operand, other: Operand) -> Operand:
    """Selects: y = input where condition is true, other elsewhere.

    Parameters: condition, a bool array; input, other, arrays or numbers; the shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.where.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.where(np.array([True, False]), np.array([1.0, 2.0], np.float32), 0)
    array([1., 0.], dtype=float32)
    """
    return tensor.where(condition, input, other)
