# SPDX-License-Identifier: Apache-2.0
"""The same elements at other places: turned, rolled, repeated, or those of a triangle or diagonal.

Results are new arrays, never views of the inputs; inside a network the planner shares the memory
wherever it can. `out=`, where one array comes back, is written to and returned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.errors import ShapeError, message
from lamella.functional.order import cumsum
from lamella.functional.padding import pad
from lamella.ir.extent import index as whole
from lamella.ir.types import normalize_axis
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, Tensor, cat, where
from lamella.runtime.trace import current

__all__ = [
    "diag",
    "diag_embed",
    "diagonal",
    "flip",
    "movedim",
    "repeat",
    "repeat_interleave",
    "roll",
    "rot90",
    "swapaxes",
    "tile",
    "tril",
    "triu",
    "unbind",
]


@function
def flip(input: Operand, dims: int | tuple[int, ...]) -> Operand:
    """Reverses the order along axes.

    Parameters: input, any shape; dims, an axis or several. Returns: an array of input's shape.
    Raises: ShapeError. Source: torch.flip.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.flip(np.array([1.0, 2.0, 3.0], np.float32), 0)
    array([3., 2., 1.], dtype=float32)
    """
    axes = _axes("flip", dims, input.ndim)
    key = tuple(slice(None, None, -1 if axis in axes else 1) for axis in range(input.ndim))
    return input[key] if axes else input


@function
def rot90(input: Operand, k: int = 1, dims: tuple[int, int] = (0, 1)) -> Operand:
    """Turns a plane by quarter turns, from the first of two axes towards the second.

    Parameters: input, two axes or more; k, how many quarter turns; dims, the two axes.
    Returns: the turned array. Raises: ShapeError. Source: torch.rot90.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.rot90(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    array([[2., 4.],
           [1., 3.]], dtype=float32)
    """
    first, second = _two("rot90", dims, input.ndim)
    turns = whole(k) % 4
    if turns == 2:
        y: Operand = flip(input, (first, second))
    elif turns == 1:
        y = flip(input, (second,)).transpose(first, second)
    else:
        y = flip(input.transpose(first, second), (second,)) if turns else input
    return y


@function
def roll(
    input: Operand, shifts: int | tuple[int, ...], dims: int | tuple[int, ...] | None = None
) -> Operand:
    """Moves elements along axes; what leaves an axis at its end comes back at its front.

    y[(i + shift) % extent] = input[i]

    Parameters: input, any shape; shifts, one for each of dims, negative ones to the front; dims, an
    axis or several, None for the flattened array. Returns: an array of input's shape.
    Raises: ShapeError. Source: torch.roll.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.roll(np.array([1.0, 2.0, 3.0], np.float32), 1)
    array([3., 1., 2.], dtype=float32)
    """
    amounts = tuple(shifts) if isinstance(shifts, tuple | list) else (shifts,)
    if dims is None:
        if len(amounts) != 1:
            raise _unequal(shifts, dims)
        rolled = _rolled(input.reshape((input.numel(),)), whole(amounts[0]), 0)
        return rolled.reshape(input.shape)
    axes = tuple(dims) if isinstance(dims, tuple | list) else (dims,)
    if len(axes) != len(amounts):
        raise _unequal(shifts, dims)
    # An axis may be named more than once: its shifts add up.
    for amount, dim in zip(amounts, axes, strict=True):
        input = _rolled(input, whole(amount), normalize_axis("roll", dim, input.ndim))
    return input


def _unequal(shifts: Any, dims: Any) -> ShapeError:
    text = message("roll", "shifts and axes differ in number", {"shifts": shifts, "dims": dims}, "")
    return ShapeError(text)


def _rolled(x: Operand, shift: int, axis: int) -> Operand:
    extent = x.shape[axis]
    start = -shift % extent if extent else 0
    if start == 0:
        return x
    front = (slice(None),) * axis
    return cat([x[(*front, slice(start, extent))], x[(*front, slice(0, start))]], axis)


@function
def repeat(input: Operand, *repeats: int | tuple[int, ...]) -> Operand:
    """Lays copies side by side: extent i of the result is repeats[i] times that of input.

    Parameters: input, any shape; repeats, one for each axis, in front of which there may be more
    for new axes, one by one or as a tuple. Returns: the larger array. Raises: ShapeError.
    Source: torch.Tensor.repeat; numpy.tile.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.repeat(np.array([1.0, 2.0], np.float32), 2, 2)
    array([[1., 2., 1., 2.],
           [1., 2., 1., 2.]], dtype=float32)
    """
    counts = _counts("repeat", repeats)
    if len(counts) < input.ndim:
        raise ShapeError(
            message(
                "repeat",
                "fewer numbers than axes",
                {"input": input.shape, "repeats": counts},
                f"at least {input.ndim} numbers",
            )
        )
    return _repeated(input, counts)


@function
def tile(input: Operand, *dims: int | tuple[int, ...]) -> Operand:
    """Lays copies side by side, as repeat; axes in front that have no number stay as they are.

    Parameters: input, any shape; dims, how often along each of the last axes, or along more, one
    by one or as a tuple. Returns: the larger array. Raises: ShapeError. Source: torch.tile.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.tile(np.array([[1.0], [2.0]], np.float32), 2)
    array([[1., 1.],
           [2., 2.]], dtype=float32)
    """
    counts = _counts("tile", dims)
    return _repeated(input, (1,) * (input.ndim - len(counts)) + counts)


def _counts(name: str, given: tuple[Any, ...]) -> tuple[int, ...]:
    if len(given) == 1 and isinstance(given[0], tuple | list):
        given = tuple(given[0])
    counts = tuple(whole(count) for count in given)
    if any(count < 0 for count in counts):
        raise ShapeError(message(name, "a negative number of copies", {"repeats": counts}, ">= 0"))
    return counts


def _repeated(x: Operand, counts: tuple[int, ...]) -> Operand:
    shape = (1,) * (len(counts) - x.ndim) + x.shape
    pairs = list(zip(counts, shape, strict=True))
    spread = x.reshape(tuple(n for _, extent in pairs for n in (1, extent)))
    spread = spread.expand(tuple(n for pair in pairs for n in pair))
    return spread.reshape(tuple(count * extent for count, extent in pairs))


@function
def repeat_interleave(input: Operand, repeats: int, dim: int | None = None) -> Operand:
    """Repeats each entry of an axis next to itself: y[i] = input[i // repeats].

    Parameters: input, any shape; repeats >= 0; dim, the axis, None for the flattened array.
    Returns: the larger array. Raises: ShapeError. Source: torch.repeat_interleave; numpy.repeat.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.repeat_interleave(np.array([1.0, 2.0], np.float32), 2)
    array([1., 1., 2., 2.], dtype=float32)
    """
    (count,) = _counts("repeat_interleave", (repeats,))
    if dim is None:
        input, dim = input.reshape((input.numel(),)), 0
    axis = normalize_axis("repeat_interleave", dim, input.ndim)
    front, extent, back = input.shape[:axis], input.shape[axis], input.shape[axis + 1 :]
    spread = input.reshape((*front, extent, 1, *back)).expand((*front, extent, count, *back))
    return spread.reshape((*front, extent * count, *back))


@function
def unbind(input: Operand, dim: int = 0) -> tuple[Operand, ...]:
    """Takes an axis apart: as many arrays as it has entries.

    Parameters: input, one axis or more; dim, the axis. Returns: a tuple of arrays without it.
    Raises: ShapeError. Source: torch.unbind.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.unbind(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    (array([1., 2.], dtype=float32), array([3., 4.], dtype=float32))
    """
    axis = normalize_axis("unbind", dim, input.ndim)
    return tuple(input[(*(slice(None),) * axis, i)] for i in range(input.shape[axis]))


@function
def movedim(
    input: Operand, source: int | tuple[int, ...], destination: int | tuple[int, ...]
) -> Operand:
    """Moves axes to other places; the others stay in their order.

    Parameters: input, any shape; source, an axis or several; destination, where each of them
    stands in the result. Returns: an array with the axes in another order. Raises: ShapeError.
    Source: torch.movedim.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.movedim(np.zeros((2, 3, 4), np.float32), 0, -1).shape
    (3, 4, 2)
    """
    origins = _axes("movedim", source, input.ndim)
    targets = _axes("movedim", destination, input.ndim)
    if len(origins) != len(targets):
        raise ShapeError(
            message(
                "movedim",
                "source and destination differ in number",
                {"source": source, "destination": destination},
                "one destination for each source",
            )
        )
    found = dict(zip(targets, origins, strict=True))
    rest = iter(axis for axis in range(input.ndim) if axis not in origins)
    return input.permute(tuple(found[i] if i in found else next(rest) for i in range(input.ndim)))


@function
def swapaxes(input: Operand, axis0: int, axis1: int) -> Operand:
    """Exchanges two axes; another name of transpose.

    Parameters: input, any shape; axis0, axis1, the axes. Returns: an array with them exchanged.
    Raises: ShapeError. Source: torch.swapaxes.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.swapaxes(np.zeros((2, 3), np.float32), 0, 1).shape
    (3, 2)
    """
    return input.transpose(axis0, axis1)


@function
def tril(input: Operand, diagonal: int = 0) -> Operand:
    """The lower triangle of matrices, zeros elsewhere.

    y[..., i, j] = input[..., i, j] where j <= i + diagonal, else 0

    Parameters: input, (..., M, N); diagonal, how far above the main diagonal it reaches.
    Returns: an array like input. Raises: ShapeError. Source: torch.tril.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.tril(np.ones((2, 2), np.float32))
    array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    rows, columns = _matrix("tril", input)
    return where(triangle(rows, columns, whole(diagonal)), input, _zero(input))


@function
def triu(input: Operand, diagonal: int = 0) -> Operand:
    """The upper triangle of matrices, zeros elsewhere.

    y[..., i, j] = input[..., i, j] where j >= i + diagonal, else 0

    Parameters: input, (..., M, N); diagonal, how far above the main diagonal it begins.
    Returns: an array like input. Raises: ShapeError. Source: torch.triu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.triu(np.ones((2, 2), np.float32))
    array([[1., 1.],
           [0., 1.]], dtype=float32)
    """
    rows, columns = _matrix("triu", input)
    return where(triangle(rows, columns, whole(diagonal) - 1), _zero(input), input)


def triangle(rows: int, columns: int, diagonal: int = 0) -> Operand:
    """Truth values, (rows, columns): whether column <= row + diagonal.

    Made of counted rows and columns, so that a program of any size knows them; what chooses by it
    reads no mask.
    """
    offset = max(min(diagonal, _FAR), -_FAR)
    last = _counted(rows).unsqueeze(1)
    return _counted(columns) <= (last + float(offset) if offset else last)


# Beyond every axis.
_FAR = 2**62


def _counted(extent: int) -> Operand:
    """1, 2, ... as floats, which hold all of them."""
    trace = current()
    one = trace.constant(np.float32(1) if extent <= 2**24 else np.float64(1))
    found: Operand = cumsum(Tensor(one, trace).expand((extent,)), 0)
    return found


def _zero(input: Operand) -> Operand:
    trace = current()
    return Tensor(trace.constant(np.zeros((), input._type.dtype.numpy)), trace)


@function
def diagonal(input: Operand, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Operand:
    """The diagonal of a plane, as the last axis: y[..., i] = input[..., i, i + offset].

    Parameters: input, two axes or more; offset, how far above the main diagonal, negative below;
    dim1, dim2, the plane's axes. Returns: an array without them and with the diagonal behind.
    Raises: ShapeError. Source: torch.diagonal.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.diagonal(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    array([1., 4.], dtype=float32)
    """
    first, second = _two("diagonal", (dim1, dim2), input.ndim)
    others = [axis for axis in range(input.ndim) if axis not in (first, second)]
    x = input.permute((*others, first, second))
    up, down = max(whole(offset), 0), max(-whole(offset), 0)
    rows, columns = max(x.shape[-2] - down, 0), max(x.shape[-1] - up, 0)
    size = min(rows, columns)
    x = x[..., down : down + size, up : up + size]
    # In a square every (size + 1)-th element.
    flat = x.reshape((*x.shape[:-2], size * size))
    return flat[..., :: size + 1]


@function
def diag_embed(input: Operand, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Operand:
    """Matrices with the last axis as their diagonal, zeros elsewhere; the inverse of diagonal.

    y[..., i, i + offset] = input[..., i]

    Parameters: input, one axis or more; offset, how far above the main diagonal, negative below;
    dim1, dim2, where the matrices' axes stand in the result.
    Returns: an array with one axis more. Raises: ShapeError. Source: torch.diag_embed.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.diag_embed(np.array([1.0, 2.0], np.float32))
    array([[1., 0.],
           [0., 2.]], dtype=float32)
    """
    if not input.ndim:
        raise ShapeError(message("diag_embed", "no axis", {"input": input.shape}, "(..., N)"))
    first, second = _two("diag_embed", (dim1, dim2), input.ndim + 1)
    size, lead = input.shape[-1], input.shape[:-1]
    # Each element in front of size zeros: cut into rows of size, a diagonal.
    long = pad(input.unsqueeze(-1), (0, size))
    square = long.reshape((*lead, size * (size + 1)))[..., : size * size]
    up, down = max(whole(offset), 0), max(-whole(offset), 0)
    y = pad(square.reshape((*lead, size, size)), (up, down, down, up))
    moved: Operand = movedim(y, (-2, -1), (first, second))
    return moved


@function
def diag(input: Operand, diagonal: int = 0) -> Operand:
    """The diagonal of a matrix, or the matrix with a vector as its diagonal.

    Parameters: input, (M, N) or (N,); diagonal, how far above the main diagonal, negative below.
    Returns: a vector or a matrix. Raises: ShapeError. Source: torch.diag.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.diag(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1)
    array([2.], dtype=float32)
    """
    if input.ndim not in (1, 2):
        raise ShapeError(message("diag", "wrong rank", {"input": input.shape}, "(N,) or (M, N)"))
    y: Operand = diag_embed(input, diagonal) if input.ndim == 1 else _diagonal(input, diagonal)
    return y


_diagonal = diagonal


def _matrix(name: str, x: Operand) -> tuple[int, int]:
    if x.ndim < 2:
        raise ShapeError(message(name, "no matrices", {"input": x.shape}, "(..., M, N)"))
    return x.shape[-2], x.shape[-1]


def _axes(name: str, dims: Any, rank: int) -> tuple[int, ...]:
    """Axes, each once, in the order given."""
    given = tuple(dims) if isinstance(dims, tuple | list) else (dims,)
    axes = tuple(normalize_axis(name, whole(dim), rank) for dim in given)
    if len(set(axes)) != len(axes):
        raise ShapeError(message(name, "an axis is named twice", {"dims": given}, "different axes"))
    return axes


def _two(name: str, dims: Any, rank: int) -> tuple[int, int]:
    axes = _axes(name, dims, rank)
    if len(axes) != 2:
        raise ShapeError(message(name, "not two axes", {"dims": dims}, "two different axes"))
    return axes[0], axes[1]
