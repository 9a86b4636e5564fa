# SPDX-License-Identifier: Apache-2.0
"""Functions of the bits of integers; of truth values, the logical ones of the same name.

Everywhere: operands broadcast as in NumPy and become one integer type (a Python number takes the
other operand's); floating operands raise DTypeError; `out=` is written to and returned. Tensors
have the operators &, |, ^, ~, << and >>.
"""

from __future__ import annotations

from lamella.ops.logical import Bitwise
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply

__all__ = [
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
]


@function(scalars=("input", "other"))
def bitwise_and(input: Operand, other: Operand) -> Operand:
    """The bits that both have: y = input & other.

    Parameters: input, other, integers or truth values whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.bitwise_and.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bitwise_and(np.array([12, 10]), 6)
    array([4, 2])
    """
    return apply(Bitwise("bitwise_and"), input, other)


@function(scalars=("input", "other"))
def bitwise_or(input: Operand, other: Operand) -> Operand:
    """The bits that either has: y = input | other.

    Parameters: input, other, integers or truth values whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.bitwise_or.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bitwise_or(np.array([12, 10]), 6)
    array([14, 14])
    """
    return apply(Bitwise("bitwise_or"), input, other)


@function(scalars=("input", "other"))
def bitwise_xor(input: Operand, other: Operand) -> Operand:
    """The bits that exactly one has: y = input ^ other.

    Parameters: input, other, integers or truth values whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.bitwise_xor.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bitwise_xor(np.array([12, 10]), 6)
    array([10, 12])
    """
    return apply(Bitwise("bitwise_xor"), input, other)


@function
def bitwise_not(input: Operand) -> Operand:
    """All bits turned: y = ~input, which is -input - 1 of a signed integer.

    Parameters: input, integers or truth values. Returns: an array of its shape.
    Raises: DTypeError. Source: torch.bitwise_not.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bitwise_not(np.array([0, 5, -1]))
    array([-1, -6,  0])
    """
    return apply(Bitwise("bitwise_not"), input)


@function(scalars=("input", "other"))
def bitwise_left_shift(input: Operand, other: Operand) -> Operand:
    """Bits moved up: y = input << other; bits that leave are lost, and so are all in the end.

    Parameters: input, integers; other, by how many bits, of a shape that broadcasts with input;
    by as many as there are, or by a negative number, gives 0.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.bitwise_left_shift; numpy.left_shift for counts outside the bits.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bitwise_left_shift(np.array([1, 3]), np.array([4, 64]))
    array([16,  0])
    """
    return apply(Bitwise("left_shift"), input, other)


@function(scalars=("input", "other"))
def bitwise_right_shift(input: Operand, other: Operand) -> Operand:
    """Bits moved down, the sign kept: y = input >> other = floor(input / 2**other).

    Parameters: input, integers; other, by how many bits, of a shape that broadcasts with input;
    by as many as there are, or by a negative number, gives 0, or -1 of a negative integer.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError.
    Source: torch.bitwise_right_shift; numpy.right_shift for counts outside the bits.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bitwise_right_shift(np.array([16, -5]), np.array([3, 64]))
    array([ 2, -1])
    """
    return apply(Bitwise("right_shift"), input, other)
