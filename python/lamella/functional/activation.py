# SPDX-License-Identifier: Apache-2.0
"""Smooth activations, elementwise.

Everywhere: any shape, float32 or float64; NaN goes through; `inplace=` is accepted so that torch
code carries over, and changes nothing (use the result); `out=` is written to and returned.
"""

from __future__ import annotations

from lamella.errors import UnsupportedError, message
from lamella.ops.elementwise import unary
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply

__all__ = [
    "celu",
    "elu",
    "gelu",
    "logsigmoid",
    "mish",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "tanh",
    "tanhshrink",
]


@function
def sigmoid(input: Operand) -> Operand:
    """Logistic function: y = 1 / (1 + exp(-input)), at most 1 unit in the last place off.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.sigmoid.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.sigmoid(np.array([0.0], np.float32))
    array([0.5], dtype=float32)
    """
    return apply(unary("sigmoid"), input)


@function
def tanh(input: Operand) -> Operand:
    """Hyperbolic tangent, at most 1 unit in the last place off.

    y = (exp(input) - exp(-input)) / (exp(input) + exp(-input))

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.tanh.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.tanh(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("tanh"), input)


@function
def logsigmoid(input: Operand) -> Operand:
    """Logarithm of the logistic function: y = -log(1 + exp(-input)), without overflow.

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.nn.functional.logsigmoid.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.logsigmoid(np.array([-100.0], np.float32))
    array([-100.], dtype=float32)
    """
    return apply(unary("logsigmoid"), input)


@function
def elu(input: Operand, alpha: float = 1.0, inplace: bool = False) -> Operand:
    """Exponential linear unit: y = input where positive, alpha * (exp(input) - 1) elsewhere.

    Parameters: input, any shape; alpha, a number. Returns: an array of its shape.
    Raises: DTypeError. Source: Clevert et al. 2015; torch.nn.functional.elu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.elu(np.array([-100.0, 2.0], np.float32))
    array([-1.,  2.], dtype=float32)
    """
    return apply(unary("elu", alpha), input)


@function
def selu(input: Operand, inplace: bool = False) -> Operand:
    """Scaled exponential linear unit: y = scale * elu(input, alpha), with the paper's two numbers.

    scale = 1.0507009873554805, alpha = 1.6732632423543772

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: Klambauer et al. 2017, "Self-normalizing neural networks"; torch.nn.functional.selu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.selu(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("selu"), input)


@function
def celu(input: Operand, alpha: float = 1.0, inplace: bool = False) -> Operand:
    """Continuously differentiable ELU.

    y = max(input, 0) + min(alpha * (exp(input / alpha) - 1), 0)

    Parameters: input, any shape; alpha, not 0. Returns: an array of its shape.
    Raises: DTypeError; ValueError when alpha is 0.
    Source: Barron 2017; torch.nn.functional.celu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.celu(np.array([-100.0, 2.0], np.float32))
    array([-1.,  2.], dtype=float32)
    """
    if alpha == 0:
        raise ValueError(message("celu", "division by alpha", {"alpha": alpha}, "alpha != 0"))
    return apply(unary("celu", alpha), input)


@function
def gelu(input: Operand, approximate: str = "none") -> Operand:
    """Gaussian error linear unit: y = input * Phi(input), Phi the normal distribution function.

    'none': Phi(x) = erfc(-x / sqrt(2)) / 2, right into the tail; 'tanh':
    Phi(x) = (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2.

    Parameters: input, any shape; approximate, 'none' or 'tanh'. Returns: an array of its shape.
    Raises: DTypeError; UnsupportedError for another approximation.
    Source: Hendrycks and Gimpel 2016; torch.nn.functional.gelu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.gelu(np.array([0.0, 100.0], np.float32))
    array([  0., 100.], dtype=float32)
    """
    if approximate == "none":
        return apply(unary("gelu"), input)
    if approximate == "tanh":
        return apply(unary("gelu_tanh"), input)
    raise UnsupportedError(
        message("gelu", "no such approximation", {"approximate": approximate}, "'none' or 'tanh'")
    )


@function
def silu(input: Operand, inplace: bool = False) -> Operand:
    """Sigmoid linear unit, or swish: y = input * sigmoid(input).

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: Elfwing et al. 2017; torch.nn.functional.silu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.silu(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("silu"), input)


@function
def mish(input: Operand, inplace: bool = False) -> Operand:
    """Mish: y = input * tanh(log(1 + exp(input))).

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: Misra 2019; torch.nn.functional.mish.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.mish(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("mish"), input)


@function
def softplus(input: Operand, beta: float = 1.0, threshold: float = 20.0) -> Operand:
    """Smooth rectifier: y = log(1 + exp(beta * input)) / beta.

    Where beta * input > threshold it is input itself.

    Parameters: input, any shape; beta, not 0; threshold. Returns: an array of its shape.
    Raises: DTypeError; ValueError when beta is 0.
    Source: Dugas et al. 2001; torch.nn.functional.softplus.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.softplus(np.array([30.0], np.float32))
    array([30.], dtype=float32)
    """
    if beta == 0:
        raise ValueError(message("softplus", "division by beta", {"beta": beta}, "beta != 0"))
    return apply(unary("softplus", beta, threshold), input)


@function
def softsign(input: Operand) -> Operand:
    """Softsign: y = input / (1 + |input|).

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: Glorot and Bengio 2010; torch.nn.functional.softsign.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.softsign(np.array([-1.0, 3.0], np.float32))
    array([-0.5 ,  0.75], dtype=float32)
    """
    return apply(unary("softsign"), input)


@function
def tanhshrink(input: Operand) -> Operand:
    """What tanh takes away: y = input - tanh(input).

    Parameters: input, any shape. Returns: an array of its shape. Raises: DTypeError.
    Source: torch.nn.functional.tanhshrink.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.tanhshrink(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return apply(unary("tanhshrink"), input)
