# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions that consist of others, fused to one pass over memory.

Everywhere: operands broadcast as in NumPy; float32 next to float64 gives float64; a Python number
takes the other operand's dtype. `out=`, on every function, is written to and returned.
"""

from __future__ import annotations

import math

import numpy as np

from lamella.functional.arithmetic import clamp
from lamella.functional.comparison import logical_or
from lamella.ops.base import require_floating
from lamella.ops.elementwise import Binary, Compare, unary
from lamella.runtime.function import function
from lamella.runtime.promotion import is_number
from lamella.runtime.tensor import Operand, apply, where

__all__ = ["addcdiv", "addcmul", "clip", "hypot", "lerp", "logaddexp", "nan_to_num"]


@function(scalars=("min", "max"))
def clip(input: Operand, min: Operand | None = None, max: Operand | None = None) -> Operand:
    """Cuts off at two bounds: y = min(max(input, min), max); another name of clamp.

    Parameters: input, any shape; min, max, numbers or arrays that broadcast with input, or None
    for no bound; where min > max the result is max.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError; TypeError without a
    bound. Source: torch.clip.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.clip(np.array([-2.0, 0.5, 2.0], np.float32), -1, 1)
    array([-1. ,  0.5,  1. ], dtype=float32)
    """
    y: Operand = clamp(input, min, max)
    return y


@function(scalars=("end", "weight"))
def lerp(input: Operand, end: Operand, weight: Operand) -> Operand:
    """Goes a share of the way from one to another: y = input + weight * (end - input).

    From the nearer end, so that weight 1 gives end itself.

    Parameters: input, end, weight, arrays or numbers whose shapes broadcast.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError. Source: torch.lerp.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.lerp(np.array([1.0, 2.0], np.float32), np.array([3.0, 6.0], np.float32), 0.25)
    array([1.5, 3. ], dtype=float32)
    """
    way = apply(Binary("sub"), end, input)
    far = apply(Binary("sub"), end, way * apply(Binary("sub"), 1.0, weight))
    near = input + way * weight
    if is_number(weight):
        return near if abs(weight) < 0.5 else far
    return where(apply(unary("abs"), weight) < 0.5, near, far)


@function
def addcmul(input: Operand, tensor1: Operand, tensor2: Operand, *, value: float = 1.0) -> Operand:
    """Adds a product: y = input + value * tensor1 * tensor2.

    Parameters: input, tensor1, tensor2, arrays whose shapes broadcast; value, a number.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError. Source: torch.addcmul.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([2.0, 3.0], np.float32)
    >>> F.addcmul(np.array([1.0, 1.0], np.float32), x, x, value=0.5)
    array([3. , 5.5], dtype=float32)
    """
    product = tensor1 * tensor2
    y: Operand = input + (product if value == 1 else product * value)
    return y


@function
def addcdiv(input: Operand, tensor1: Operand, tensor2: Operand, *, value: float = 1.0) -> Operand:
    """Adds a quotient: y = input + value * tensor1 / tensor2.

    Parameters: input, tensor1, tensor2, arrays whose shapes broadcast; value, a number.
    Returns: an array of the broadcast shape. Raises: ShapeError, DTypeError. Source: torch.addcdiv.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([2.0, 4.0], np.float32)
    >>> F.addcdiv(np.array([1.0, 1.0], np.float32), x, np.array([4.0, 1.0], np.float32))
    array([1.5, 5. ], dtype=float32)
    """
    quotient = tensor1 / tensor2
    y: Operand = input + (quotient if value == 1 else quotient * value)
    return y


@function
def logaddexp(input: Operand, other: Operand) -> Operand:
    """Logarithm of a sum of two exponentials, without overflow.

    y = log(exp(input) + exp(other)) = m + log(1 + exp(-|input - other|)), m the larger of the two

    Parameters: input, other, arrays whose shapes broadcast. Returns: an array of the broadcast
    shape. Raises: ShapeError, DTypeError. Source: torch.logaddexp.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.logaddexp(np.array([1000.0], np.float32), np.array([0.0], np.float32))
    array([1000.], dtype=float32)
    """
    # Two infinities of one sign differ by nothing.
    away = where(input.eq(other), 0.0, input - other)
    y: Operand = input.maximum(other) + apply(unary("log1p"), (-away.abs()).exp())
    return y


@function
def hypot(input: Operand, other: Operand) -> Operand:
    """Length of the hypotenuse: y = sqrt(input**2 + other**2), without overflow.

    Infinite where one of them is, whatever the other. Both 0, it has a slope of 0.

    Parameters: input, other, arrays whose shapes broadcast. Returns: an array of the broadcast
    shape. Raises: ShapeError, DTypeError. Source: torch.hypot; ISO C annex F for special values.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.hypot(np.array([3.0], np.float32), np.array([4.0], np.float32))
    array([5.], dtype=float32)
    """
    a, b = input.abs(), other.abs()
    longer, shorter = a.maximum(b), a.minimum(b)
    infinite = logical_or(a.eq(math.inf), b.eq(math.inf))
    # Of these there is no ratio.
    alone = logical_or(infinite, longer.eq(0.0))
    ratio = where(alone, 0.0, shorter) / where(alone, 1.0, longer)
    y = longer * (ratio.square() + 1.0).sqrt()
    return where(infinite, math.inf, y)


@function
def nan_to_num(
    input: Operand,
    nan: float | None = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Operand:
    """Puts numbers in the place of NaN and infinities.

    y = nan where input is NaN, posinf and neginf where it is infinite, else input

    Parameters: input, any shape; nan, a number, None for 0; posinf, neginf, numbers, None for the
    largest and the smallest of input's type. Returns: an array like input. Raises: DTypeError.
    Source: torch.nan_to_num.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.nan_to_num(np.array([np.nan, -np.inf, 2.0], np.float32), neginf=-1.0)
    array([ 0., -1.,  2.], dtype=float32)
    """
    dtype = require_floating("nan_to_num", ("input",), (input._type,))
    largest = float(np.finfo(dtype.numpy).max)
    high = largest if posinf is None else posinf
    low = -largest if neginf is None else neginf
    y: Operand = where(input.eq(math.inf), high, where(input.eq(-math.inf), low, input))
    return where(apply(Compare("eq"), input, input), y, 0.0 if nan is None else nan)
