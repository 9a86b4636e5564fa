# SPDX-License-Identifier: Apache-2.0
"""Activations made of pieces, lines and squares: relu and its kin, hard forms, shrinking.

Everywhere: any shape, float32 or float64; NaN goes through; `inplace=` is accepted so that torch
code carries over, and changes nothing (use the result); `out=` is written to and returned.
"""

from __future__ import annotations

from lamella.errors import ShapeError, message
from lamella.ops.base import require_floating
from lamella.ops.elementwise import Binary, Compare, unary
from lamella.runtime import tensor
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply

__all__ = [
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "prelu",
    "relu",
    "relu6",
    "relu_squared",
    "softshrink",
    "threshold",
]


@function
def relu(input: Operand, inplace: bool = False) -> Operand:
    """Rectifier: y = max(input, 0).

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: Nair and Hinton 2010; torch.nn.functional.relu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.relu(np.array([-1.0, 2.0], np.float32))
    array([0., 2.], dtype=float32)
    """
    return apply(unary("relu"), input)


@function
def relu6(input: Operand, inplace: bool = False) -> Operand:
    """Rectifier with a ceiling: y = min(max(input, 0), 6).

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: Krizhevsky 2010; torch.nn.functional.relu6.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.relu6(np.array([-1.0, 7.0], np.float32))
    array([0., 6.], dtype=float32)
    """
    return apply(unary("relu6"), input)


@function
def relu_squared(input: Operand) -> Operand:
    """Squared rectifier: y = max(input, 0)^2.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: So et al. 2021, "Primer: searching for efficient transformers for language modeling".

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.relu_squared(np.array([-1.0, 3.0], np.float32))
    array([0., 9.], dtype=float32)
    """
    return apply(unary("relu_squared"), input)


@function
def leaky_relu(input: Operand, negative_slope: float = 0.01, inplace: bool = False) -> Operand:
    """Leaky rectifier: y = input where positive, negative_slope * input elsewhere.

    Parameters: input, any shape; negative_slope, a number. Returns: an array of its shape.
    Raises: DTypeError. Source: Maas et al. 2013; torch.nn.functional.leaky_relu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.leaky_relu(np.array([-1.0, 2.0], np.float32), 0.5)
    array([-0.5,  2. ], dtype=float32)
    """
    return apply(unary("leaky_relu", negative_slope), input)


@function
def prelu(input: Operand, weight: Operand) -> Operand:
    """Rectifier with a learnt slope: y = input where positive, weight * input elsewhere.

    Parameters: input, (N, C, ...); weight, one slope (any shape of one element), or (C,): one per
    channel, dimension 1. Returns: an array of input's shape.
    Raises: ShapeError, DTypeError. Source: He et al. 2015; torch.nn.functional.prelu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.prelu(np.array([-1.0, 2.0], np.float32), np.array([0.25], np.float32))
    array([-0.25,  2.  ], dtype=float32)
    """
    require_floating("prelu", ("input",), (input._type,))
    slopes = weight.numel()
    if slopes == 1:
        slope = weight.reshape(())
    else:
        if weight.ndim != 1 or input.ndim < 2 or input.shape[1] != slopes:
            raise ShapeError(
                message(
                    "prelu",
                    "slopes and channels differ",
                    {"input": input.shape, "weight": weight.shape},
                    "one slope or weight.shape == (input.shape[1],)",
                )
            )
        slope = weight.reshape((slopes,) + (1,) * (input.ndim - 2))
    return tensor.where(apply(Compare("gt"), input, 0), input, apply(Binary("mul"), slope, input))


@function
def hardtanh(
    input: Operand, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Operand:
    """Cuts off: y = min(max(input, min_val), max_val).

    Parameters: input, any shape; min_val <= max_val. Returns: an array of its shape.
    Raises: DTypeError; ValueError when min_val > max_val.
    Source: Collobert 2004; torch.nn.functional.hardtanh.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.hardtanh(np.array([-3.0, 0.5], np.float32))
    array([-1. ,  0.5], dtype=float32)
    """
    if min_val > max_val:
        raise ValueError(
            message(
                "hardtanh",
                "bounds are in the wrong order",
                {"min_val": min_val, "max_val": max_val},
                "min_val <= max_val",
            )
        )
    return apply(unary("hardtanh", min_val, max_val), input)


@function
def hardsigmoid(input: Operand, inplace: bool = False) -> Operand:
    """Piecewise linear sigmoid: y = min(max(input + 3, 0), 6) / 6.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: Howard et al. 2019, "Searching for MobileNetV3"; torch.nn.functional.hardsigmoid.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.hardsigmoid(np.array([-4.0, 0.0], np.float32))
    array([0. , 0.5], dtype=float32)
    """
    return apply(unary("hardsigmoid"), input)


@function
def hardswish(input: Operand, inplace: bool = False) -> Operand:
    """Piecewise swish: y = input * min(max(input + 3, 0), 6) / 6.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: Howard et al. 2019, "Searching for MobileNetV3"; torch.nn.functional.hardswish.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.hardswish(np.array([4.0], np.float32))
    array([4.], dtype=float32)
    """
    return apply(unary("hardswish"), input)


@function
def softshrink(input: Operand, lambd: float = 0.5) -> Operand:
    """Moves towards zero by lambd, and what is closer to zero than that becomes zero.

    y = input - lambd above lambd, input + lambd below -lambd, 0 between

    Parameters: input, any shape; lambd >= 0. Returns: an array of its shape.
    Raises: DTypeError; ValueError when lambd < 0. Source: torch.nn.functional.softshrink.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.softshrink(np.array([0.25, 2.0], np.float32))
    array([0. , 1.5], dtype=float32)
    """
    if lambd < 0:
        raise ValueError(message("softshrink", "negative", {"lambd": lambd}, "lambd >= 0"))
    return apply(unary("softshrink", lambd), input)


@function
def hardshrink(input: Operand, lambd: float = 0.5) -> Operand:
    """Drops what is small: y = input where |input| > lambd, 0 elsewhere.

    Parameters: input, any shape; lambd, a number. Returns: an array of its shape.
    Raises: DTypeError. Source: torch.nn.functional.hardshrink.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.hardshrink(np.array([0.25, 2.0], np.float32))
    array([0., 2.], dtype=float32)
    """
    return apply(unary("hardshrink", lambd), input)


@function
def threshold(input: Operand, threshold: float, value: float, inplace: bool = False) -> Operand:
    """Replaces what is not above a threshold: y = input where input > threshold, value elsewhere.

    Parameters: input, any shape; threshold, value, numbers. Returns: an array of its shape.
    Raises: DTypeError. Source: torch.nn.functional.threshold.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.threshold(np.array([0.5, 2.0], np.float32), 1.0, -8.0)
    array([-8.,  2.], dtype=float32)
    """
    return apply(unary("threshold", threshold, value), input)
