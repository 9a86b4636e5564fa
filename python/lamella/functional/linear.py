# SPDX-License-Identifier: Apache-2.0
"""Products: linear maps, bilinear forms, matrix products, and rows looked up in a table.

An element of a product is a sum over fixed blocks of 256 terms and superblocks of 4096, in order: a
row of the input gives the same bits whatever rows stand around it. `out=` is written to and
returned.
"""

from __future__ import annotations

from lamella.errors import ShapeError, UnsupportedError, message
from lamella.ops import entries
from lamella.ops.base import require_floating
from lamella.ops.elementwise import UNARY, unary
from lamella.ops.matmul import MatMul
from lamella.runtime import tensor
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, Tensor, apply
from lamella.runtime.trace import current

__all__ = ["bilinear", "embedding", "linear", "matmul"]


@function
def linear(
    input: Operand,
    weight: Operand,
    bias: Operand | None = None,
    activation: str | tuple[str | float, ...] | None = None,
    residual: Operand | None = None,
) -> Operand:
    """Linear map with everything that usually follows it, in one pass.

    y = activation(input @ weight.T + bias + residual)

    Parameters: input, (..., D); weight, (K, D), or (D,) for one output without axis; bias, (K,);
    activation, the name of an elementwise function such as "relu" or "gelu", or a tuple of the name
    and its numbers ("leaky_relu", 0.2); residual, (..., K), added before the activation.
    Returns: (..., K). Raises: ShapeError, DTypeError; UnsupportedError for an unknown activation.
    Source: torch.nn.functional.linear; activation and residual are lamella's.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x, w = np.array([[1.0, 2.0]], np.float32), np.array([[3.0, 4.0], [-1.0, 0.0]], np.float32)
    >>> F.linear(x, w, activation="relu")
    array([[11.,  0.]], dtype=float32)
    """
    y: Operand = apply(MatMul(transpose_b=True), input, weight)
    if bias is not None:
        y = y + bias
    if residual is not None:
        y = y + residual
    return y if activation is None else _activate(y, activation)


def _activate(y: Operand, activation: str | tuple[str | float, ...]) -> Operand:
    name, *numbers = (activation,) if isinstance(activation, str) else activation
    if name not in UNARY:
        raise UnsupportedError(
            message(
                "linear",
                "no such activation",
                {"activation": repr(activation)},
                "the name of an elementwise function: " + ", ".join(UNARY),
            )
        )
    return apply(unary(str(name), *(float(number) for number in numbers)), y)


@function
def bilinear(
    input1: Operand, input2: Operand, weight: Operand, bias: Operand | None = None
) -> Operand:
    """Bilinear map: y[k] = input1 @ weight[k] @ input2 + bias[k].

    Parameters: input1, (..., D1); input2, (..., D2), same leading axes; weight, (K, D1, D2);
    bias, (K,). Returns: (..., K). Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.bilinear.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> a, b = np.array([[1.0, 2.0]], np.float32), np.array([[3.0]], np.float32)
    >>> F.bilinear(a, b, np.ones((1, 2, 1), np.float32))
    array([[9.]], dtype=float32)
    """
    if (
        weight.ndim != 3
        or input1.ndim == 0
        or input1.shape[:-1] != input2.shape[:-1]
        or weight.shape[1:] != (*input1.shape[-1:], *input2.shape[-1:])
    ):
        raise ShapeError(
            message(
                "bilinear",
                "shapes do not fit",
                {"input1": input1.shape, "input2": input2.shape, "weight": weight.shape},
                "input1 (..., D1), input2 (..., D2), weight (K, D1, D2)",
            )
        )
    require_floating("bilinear", ("input1", "input2"), (input1._type, input2._type))
    outputs, width1, width2 = weight.shape
    # One product for all k: (..., D1) @ (D1, K * D2), then the inner product with input2.
    flat = weight.permute(1, 0, 2).reshape(width1, outputs * width2)
    partial = tensor.matmul(input1, flat).reshape(*input1.shape[:-1], outputs, width2)
    y: Operand = (partial * input2.unsqueeze(-2)).sum(-1)
    return y if bias is None else y + bias


@function
def matmul(input: Operand, other: Operand) -> Operand:
    """Matrix product, as NumPy's: the last two axes are matrices, leading axes broadcast.

    y[..., i, j] = sum over k of input[..., i, k] * other[..., k, j]

    Parameters: input, (..., M, K) or (K,), counted as one row; other, (..., K, N) or (K,), counted
    as one column. Returns: (..., M, N) without the axis of a vector.
    Raises: ShapeError, DTypeError. Source: torch.matmul.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.matmul(np.array([[1.0, 2.0]], np.float32), np.array([3.0, 4.0], np.float32))
    array([11.], dtype=float32)
    """
    return tensor.matmul(input, other)


@function
def embedding(input: Operand, weight: Operand, padding_idx: int | None = None) -> Operand:
    """Rows of a table: y[...] = weight[input[...]].

    Parameters: input, integers of any shape, 0 <= index < rows; weight, (rows, D); padding_idx, a
    row (from the end if negative) that training leaves alone, without influence on the result.
    Returns: input's shape with D behind. Raises: ShapeError, DTypeError; IndexError, when it runs,
    for an index outside the table. Source: torch.nn.functional.embedding.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.embedding(np.array([1, 0]), np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    array([[3., 4.],
           [1., 2.]], dtype=float32)
    """
    rows = weight.shape[0] if weight.ndim else 0
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ShapeError(
            message(
                "embedding",
                "no such row",
                {"padding_idx": padding_idx, "weight": weight.shape},
                f"{-rows} <= padding_idx < {rows}",
            )
        )
    pad = None if padding_idx is None else padding_idx % rows
    trace = current()
    index, table = input._value(trace), weight._value(trace)
    return Tensor(entries.rows(trace.place, table, index, pad), trace)
