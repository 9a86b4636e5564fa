# SPDX-License-Identifier: Apache-2.0
"""Products of vectors, matrices and stacks of matrices, by their names in linear algebra.

Each is a product of functional/linear.py or a sum along an axis, whose fixed order it has. `out=`
is written to and returned.
"""

from __future__ import annotations

from lamella.errors import ShapeError, message
from lamella.ir.types import normalize_axis
from lamella.ops.base import require_floating
from lamella.runtime import tensor
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand

__all__ = ["addmm", "baddbmm", "bmm", "cross", "dot", "inner", "mm", "mv", "outer"]


@function
def dot(input: Operand, tensor: Operand) -> Operand:
    """Inner product of two vectors: y = sum of input * tensor.

    Parameters: input, tensor, (N,). Returns: a 0-d array. Raises: ShapeError, DTypeError.
    Source: torch.dot.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.dot(np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32))
    array(11., dtype=float32)
    """
    fits = input.ndim == 1 and input.shape == tensor.shape
    _require("dot", fits, {"input": input, "tensor": tensor}, "(N,) and (N,)")
    return _product(input, tensor)


@function
def inner(input: Operand, other: Operand) -> Operand:
    """Inner products along the last axes; an array without axes multiplies.

    y[i..., j...] = sum over k of input[i..., k] * other[j..., k]

    Parameters: input, (..., K); other, (..., K). Returns: input's and other's other axes.
    Raises: ShapeError, DTypeError. Source: torch.inner.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.inner(np.array([[1.0, 2.0]], np.float32), np.array([3.0, 4.0], np.float32))
    array([11.], dtype=float32)
    """
    if not input.ndim or not other.ndim:
        return input * other
    fits = input.shape[-1] == other.shape[-1]
    _require("inner", fits, {"input": input, "other": other}, "(..., K) and (..., K)")
    terms = input.shape[-1]
    rows, columns = input.shape[:-1], other.shape[:-1]
    flat = _product(_flat(input, terms), _flat(other, terms).mT)
    return flat.reshape((*rows, *columns))


def _flat(x: Operand, terms: int) -> Operand:
    """x as a matrix of rows of so many terms."""
    count = 1
    for extent in x.shape[:-1]:
        count = count * extent
    return x.reshape((count, terms))


@function
def outer(input: Operand, vec2: Operand) -> Operand:
    """Outer product of two vectors: y[i, j] = input[i] * vec2[j].

    Parameters: input, (N,); vec2, (M,). Returns: (N, M). Raises: ShapeError, DTypeError.
    Source: torch.outer.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.outer(np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32))
    array([[3., 4.],
           [6., 8.]], dtype=float32)
    """
    fits = input.ndim == 1 and vec2.ndim == 1
    _require("outer", fits, {"input": input, "vec2": vec2}, "(N,) and (M,)")
    return input.unsqueeze(1) * vec2


@function
def mv(input: Operand, vec: Operand) -> Operand:
    """Product of a matrix and a vector: y = input @ vec.

    Parameters: input, (N, M); vec, (M,). Returns: (N,). Raises: ShapeError, DTypeError.
    Source: torch.mv.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.mv(np.array([[1.0, 2.0]], np.float32), np.array([3.0, 4.0], np.float32))
    array([11.], dtype=float32)
    """
    fits = input.ndim == 2 and vec.shape == input.shape[1:]
    _require("mv", fits, {"input": input, "vec": vec}, "(N, M) and (M,)")
    return _product(input, vec)


@function
def mm(input: Operand, mat2: Operand) -> Operand:
    """Product of two matrices: y = input @ mat2.

    Parameters: input, (N, K); mat2, (K, M). Returns: (N, M). Raises: ShapeError, DTypeError.
    Source: torch.mm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.mm(np.array([[1.0, 2.0]], np.float32), np.array([[3.0], [4.0]], np.float32))
    array([[11.]], dtype=float32)
    """
    fits = input.ndim == mat2.ndim == 2
    _require("mm", fits, {"input": input, "mat2": mat2}, "(N, K) and (K, M)")
    return _product(input, mat2)


@function
def bmm(input: Operand, mat2: Operand) -> Operand:
    """Products of matrices, one by one: y[b] = input[b] @ mat2[b].

    Parameters: input, (B, N, K); mat2, (B, K, M). Returns: (B, N, M).
    Raises: ShapeError, DTypeError. Source: torch.bmm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.bmm(np.ones((2, 1, 3), np.float32), np.ones((2, 3, 1), np.float32))
    array([[[3.]],
    <BLANKLINE>
           [[3.]]], dtype=float32)
    """
    _judge_stacks("bmm", input, mat2)
    return _product(input, mat2)


@function
def addmm(
    input: Operand, mat1: Operand, mat2: Operand, *, beta: float = 1.0, alpha: float = 1.0
) -> Operand:
    """Product of two matrices, added to something: y = beta * input + alpha * (mat1 @ mat2).

    Parameters: input, which broadcasts to (N, M), not looked at where beta is 0; mat1, (N, K);
    mat2, (K, M); beta, alpha, numbers. Returns: (N, M). Raises: ShapeError, DTypeError.
    Source: torch.addmm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.eye(2, dtype=np.float32)
    >>> F.addmm(np.array([1.0, 2.0], np.float32), x, x, alpha=3.0)
    array([[4., 2.],
           [1., 5.]], dtype=float32)
    """
    fits = mat1.ndim == mat2.ndim == 2
    _require("addmm", fits, {"mat1": mat1, "mat2": mat2}, "(N, K) and (K, M)")
    return _added("addmm", input, _product(mat1, mat2), beta, alpha)


@function
def baddbmm(
    input: Operand, batch1: Operand, batch2: Operand, *, beta: float = 1.0, alpha: float = 1.0
) -> Operand:
    """Products of matrices, added to something: y = beta * input + alpha * (batch1 @ batch2).

    Parameters: input, which broadcasts to (B, N, M), not looked at where beta is 0; batch1,
    (B, N, K); batch2, (B, K, M); beta, alpha, numbers. Returns: (B, N, M).
    Raises: ShapeError, DTypeError. Source: torch.baddbmm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.ones((1, 1, 1), np.float32)
    >>> F.baddbmm(x, x, x, beta=2.0)
    array([[[3.]]], dtype=float32)
    """
    _judge_stacks("baddbmm", batch1, batch2)
    return _added("baddbmm", input, _product(batch1, batch2), beta, alpha)


def _product(a: Operand, b: Operand) -> Operand:
    return tensor.matmul(a, b)


def _added(name: str, input: Operand, product: Operand, beta: float, alpha: float) -> Operand:
    y = product if alpha == 1 else product * float(alpha)
    if beta != 0:
        y = y + (input if beta == 1 else input * float(beta))
    fits = y.shape == product.shape and input.ndim <= product.ndim
    _require(name, fits, {"input": input, "product": product}, f"broadcasts to {product.shape}")
    return y


@function
def cross(input: Operand, other: Operand, dim: int | None = None) -> Operand:
    """Cross product of vectors of three elements.

    y[0] = input[1] other[2] - input[2] other[1], and so on in a circle

    Parameters: input, other, whose shapes broadcast; dim, the axis of extent 3 along which the
    vectors lie, None for the first one that there is. Returns: an array of the broadcast shape.
    Raises: ShapeError, DTypeError. Source: torch.cross.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cross(np.array([1.0, 0.0, 0.0], np.float32), np.array([0.0, 1.0, 0.0], np.float32))
    array([0., 0., 1.], dtype=float32)
    """
    require_floating("cross", ("input", "other"), (input._type, other._type))
    operands = {"input": input, "other": other}
    _require("cross", input.ndim == other.ndim, operands, "the same number of axes")
    both = tuple(zip(input.shape, other.shape, strict=True))
    if dim is None:
        found = [axis for axis, (a, b) in enumerate(both) if a == b == 3]
        _require("cross", bool(found), operands, "an axis of extent 3")
        axis = found[0]
    else:
        axis = normalize_axis("cross", dim, input.ndim)
    _require("cross", both[axis] == (3, 3), operands, f"extent 3 along axis {axis}")

    def turned(x: Operand, by: int) -> Operand:
        lead = (slice(None),) * axis
        return tensor.cat([x[(*lead, slice(by, None))], x[(*lead, slice(0, by))]], axis)

    return turned(input, 1) * turned(other, 2) - turned(input, 2) * turned(other, 1)


def _judge_stacks(name: str, a: Operand, b: Operand) -> None:
    fits = a.ndim == b.ndim == 3 and a.shape[0] == b.shape[0]
    _require(name, fits, {"first": a, "second": b}, "(B, N, K) and (B, K, M)")


def _require(name: str, fits: bool, operands: dict[str, Operand], expected: str) -> None:
    if not fits:
        shapes = {own: one.shape for own, one in operands.items()}
        raise ShapeError(message(name, "shapes do not fit", shapes, expected))
