# SPDX-License-Identifier: Apache-2.0
"""Elementary functions of one floating array: roots, exponentials, logarithms, angles, rounding.

Bounds in units in the last place hold for every finite input of float32. Special values are
IEEE 754's and ISO C's: functions outside their domain give NaN, poles give infinities, NaN goes
through. `out=`, on every function, is written to and returned.
"""

from __future__ import annotations

from lamella.errors import UnsupportedError, message
from lamella.ops.elementwise import unary
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "floor",
    "log",
    "log1p",
    "reciprocal",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "tan",
]


@function
def acos(input: Operand) -> Operand:
    """Arc cosine, in [0, pi]; NaN beyond 1.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.acos.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.acos(np.array([1.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("acos"), input)


@function
def acosh(input: Operand) -> Operand:
    """Inverse hyperbolic cosine: y = log(input + sqrt(input**2 - 1)); NaN below 1.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.acosh.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.acosh(np.array([1.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("acosh"), input)


@function
def asin(input: Operand) -> Operand:
    """Arc sine, in [-pi/2, pi/2]; NaN beyond 1.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.asin.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.asin(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("asin"), input)


@function
def asinh(input: Operand) -> Operand:
    """Inverse hyperbolic sine: y = log(input + sqrt(input**2 + 1)), for every input.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.asinh.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.asinh(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("asinh"), input)


@function
def atan(input: Operand) -> Operand:
    """Arc tangent, in [-pi/2, pi/2].

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.atan.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.atan(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("atan"), input)


@function
def atanh(input: Operand) -> Operand:
    """Inverse hyperbolic tangent: y = log((1 + input) / (1 - input)) / 2; NaN beyond 1.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.atanh.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.atanh(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("atanh"), input)


@function
def ceil(input: Operand) -> Operand:
    """Rounds up to a whole number.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.ceil.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.ceil(np.array([1.5, -1.5], np.float32))
    array([ 2., -1.], dtype=float32)
    """
    return apply(unary("ceil"), input)


@function
def cos(input: Operand) -> Operand:
    """Cosine, input in radians; NaN at infinities.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.cos.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cos(np.array([0.0], np.float32))
    array([1.], dtype=float32)
    """
    return apply(unary("cos"), input)


@function
def cosh(input: Operand) -> Operand:
    """Hyperbolic cosine: y = (exp(input) + exp(-input)) / 2.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.cosh.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cosh(np.array([0.0], np.float32))
    array([1.], dtype=float32)
    """
    return apply(unary("cosh"), input)


@function
def erf(input: Operand) -> Operand:
    """Error function: y = 2 / sqrt(pi) * integral of exp(-t**2) from 0 to input.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.erf.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.erf(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("erf"), input)


@function
def erfc(input: Operand) -> Operand:
    """Complementary error function: y = 1 - erf(input), without cancellation in the tail.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.erfc.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.erfc(np.array([0.0], np.float32))
    array([1.], dtype=float32)
    """
    return apply(unary("erfc"), input)


@function
def exp(input: Operand) -> Operand:
    """Exponential: y = e ** input, at most 1 unit in the last place off.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.exp.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.exp(np.array([0.0], np.float32))
    array([1.], dtype=float32)
    """
    return apply(unary("exp"), input)


@function
def expm1(input: Operand) -> Operand:
    """Exponential less one: y = exp(input) - 1, without cancellation near zero.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.expm1.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.expm1(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("expm1"), input)


@function
def floor(input: Operand) -> Operand:
    """Rounds down to a whole number.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.floor.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.floor(np.array([1.5, -1.5], np.float32))
    array([ 1., -2.], dtype=float32)
    """
    return apply(unary("floor"), input)


@function
def log(input: Operand) -> Operand:
    """Natural logarithm; -infinity at zero, NaN below.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.log.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.log(np.array([1.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("log"), input)


@function
def log1p(input: Operand) -> Operand:
    """Logarithm of one more: y = log(1 + input), without cancellation near zero.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.log1p.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.log1p(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("log1p"), input)


@function
def reciprocal(input: Operand) -> Operand:
    """Reciprocal: y = 1 / input, correctly rounded.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.reciprocal.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.reciprocal(np.array([1.0, 4.0], np.float32))
    array([1.  , 0.25], dtype=float32)
    """
    return apply(unary("reciprocal"), input)


@function
def round(input: Operand, *, decimals: int = 0) -> Operand:
    """Rounds to the nearest whole number, halves to the even one.

    Parameters: input, any shape; decimals, 0. Returns: an array of its shape.
    Raises: DTypeError; UnsupportedError for other decimals. Source: torch.round.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.round(np.array([1.5, 2.5], np.float32))
    array([2., 2.], dtype=float32)
    """
    if decimals != 0:
        raise UnsupportedError(
            message("round", "whole numbers only", {"decimals": decimals}, "decimals == 0")
        )
    return apply(unary("round"), input)


@function
def rsqrt(input: Operand) -> Operand:
    """Reciprocal square root: y = 1 / sqrt(input); NaN below zero.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.rsqrt.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.rsqrt(np.array([1.0, 4.0], np.float32))
    array([1. , 0.5], dtype=float32)
    """
    return apply(unary("rsqrt"), input)


@function
def sign(input: Operand) -> Operand:
    """Sign: y = -1, 0 or 1; NaN for NaN.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.sign.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.sign(np.array([1.5, -1.5], np.float32))
    array([ 1., -1.], dtype=float32)
    """
    return apply(unary("sign"), input)


@function
def sin(input: Operand) -> Operand:
    """Sine, input in radians; NaN at infinities.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.sin.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.sin(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("sin"), input)


@function
def sinh(input: Operand) -> Operand:
    """Hyperbolic sine: y = (exp(input) - exp(-input)) / 2, without cancellation near zero.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.sinh.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.sinh(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("sinh"), input)


@function
def sqrt(input: Operand) -> Operand:
    """Square root: y = input ** 0.5, correctly rounded; NaN below zero.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.sqrt.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.sqrt(np.array([1.0, 4.0], np.float32))
    array([1., 2.], dtype=float32)
    """
    return apply(unary("sqrt"), input)


@function
def tan(input: Operand) -> Operand:
    """Tangent, input in radians; NaN at infinities.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.tan.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.tan(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("tan"), input)
