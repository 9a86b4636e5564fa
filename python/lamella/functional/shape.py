# SPDX-License-Identifier: Apache-2.0
"""Shapes: the same elements in another arrangement, cut up, put together, padded or repeated.

Results are new arrays, never views of the inputs; inside a network the planner shares the memory
wherever it can. `out=`, where one array comes back, is written to and returned.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamella.errors import ShapeError, message
from lamella.ir.types import normalize_axis
from lamella.runtime import tensor
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand

__all__ = [
    "broadcast_to",
    "cat",
    "chunk",
    "concat",
    "expand",
    "flatten",
    "narrow",
    "permute",
    "reshape",
    "select",
    "split",
    "squeeze",
    "stack",
    "transpose",
    "unflatten",
    "unsqueeze",
]


@function
def reshape(input: Operand, shape: int | tuple[int, ...]) -> Operand:
    """The same elements in row-major order under another shape.

    Parameters: input, any shape; shape, the extents, one of which may be -1 for what is left.
    Returns: an array of that shape. Raises: ShapeError when the sizes differ.
    Source: torch.reshape.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.reshape(np.zeros(6, np.float32), (2, -1)).shape
    (2, 3)
    """
    return input.reshape(shape)


@function
def flatten(input: Operand, start_dim: int = 0, end_dim: int = -1) -> Operand:
    """Makes the axes start_dim..end_dim one.

    Parameters: input, any shape; start_dim, end_dim, the first and the last axis of the group.
    Returns: an array of fewer axes. Raises: ShapeError. Source: torch.flatten.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.flatten(np.zeros((2, 3, 4), np.float32), 1).shape
    (2, 12)
    """
    return input.flatten(start_dim, end_dim)


@function
def unflatten(input: Operand, dim: int, sizes: tuple[int, ...]) -> Operand:
    """Makes one axis several, the inverse of flatten.

    Parameters: input, any shape; dim, the axis; sizes, its new extents, one of which may be -1.
    Returns: an array of more axes. Raises: ShapeError. Source: torch.unflatten.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.unflatten(np.zeros((2, 12), np.float32), 1, (3, 4)).shape
    (2, 3, 4)
    """
    axis = normalize_axis("unflatten", dim, input.ndim)
    rest = input.shape[axis]
    sizes = tuple(sizes)
    if sizes.count(-1) == 1:
        known = 1
        for size in sizes:
            known *= size if size != -1 else 1
        sizes = tuple(rest // known if size == -1 and known else size for size in sizes)
    return input.reshape((*input.shape[:axis], *sizes, *input.shape[axis + 1 :]))


@function
def transpose(input: Operand, dim0: int, dim1: int) -> Operand:
    """Exchanges two axes.

    Parameters: input, any shape; dim0, dim1, the axes. Returns: an array with them exchanged.
    Raises: ShapeError. Source: torch.transpose.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.transpose(np.zeros((2, 3), np.float32), 0, 1).shape
    (3, 2)
    """
    return input.transpose(dim0, dim1)


@function
def permute(input: Operand, dims: tuple[int, ...]) -> Operand:
    """Puts the axes in another order: axis i of the result is axis dims[i] of the input.

    Parameters: input, any shape; dims, every axis once. Returns: the permuted array.
    Raises: ShapeError. Source: torch.permute.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.permute(np.zeros((2, 3, 4), np.float32), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return input.permute(dims)


@function
def cat(tensors: Sequence[Operand], dim: int = 0) -> Operand:
    """Puts arrays one after the other along an existing axis.

    Parameters: tensors, one or more arrays whose shapes agree but at dim; dim, the axis.
    Returns: an array whose extent at dim is the sum of theirs. Raises: ShapeError, DTypeError.
    Source: torch.cat.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cat([np.array([1.0], np.float32), np.array([2.0], np.float32)])
    array([1., 2.], dtype=float32)
    """
    return tensor.cat(tensors, dim)


concat = cat


@function
def stack(tensors: Sequence[Operand], dim: int = 0) -> Operand:
    """Puts arrays of one shape one after the other along a new axis.

    Parameters: tensors, one or more arrays of one shape; dim, where the new axis stands.
    Returns: an array with one axis more. Raises: ShapeError, DTypeError.
    Source: torch.stack.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.stack([np.zeros(3, np.float32), np.ones(3, np.float32)]).shape
    (2, 3)
    """
    return tensor.stack(tensors, dim)


@function
def split(
    tensor: Operand, split_size_or_sections: int | tuple[int, ...], dim: int = 0
) -> tuple[Operand, ...]:
    """Cuts an axis into pieces of one size, the last perhaps smaller, or of the sizes listed.

    Parameters: tensor, any shape; split_size_or_sections, a size or sizes that add up to the
    extent; dim, the axis. Returns: a tuple of arrays. Raises: ShapeError.
    Source: torch.split.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> [piece.shape for piece in F.split(np.zeros(5, np.float32), 2)]
    [(2,), (2,), (1,)]
    """
    return tensor.split(split_size_or_sections, dim)


@function
def chunk(input: Operand, chunks: int, dim: int = 0) -> tuple[Operand, ...]:
    """Cuts an axis into at most `chunks` equal pieces, the last perhaps smaller.

    Parameters: input, any shape; chunks >= 1; dim, the axis. Returns: a tuple of arrays.
    Raises: ShapeError. Source: torch.chunk.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> [piece.shape for piece in F.chunk(np.zeros(5, np.float32), 2)]
    [(3,), (2,)]
    """
    return input.chunk(chunks, dim)


@function
def narrow(input: Operand, dim: int, start: int, length: int) -> Operand:
    """Keeps `length` entries of an axis from `start` on.

    Parameters: input, any shape; dim, the axis; start, the first entry, from the end if negative;
    length >= 0. Returns: an array with extent length at dim. Raises: ShapeError.
    Source: torch.narrow.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.narrow(np.array([1.0, 2.0, 3.0], np.float32), 0, 1, 2)
    array([2., 3.], dtype=float32)
    """
    axis = normalize_axis("narrow", dim, input.ndim)
    extent = input.shape[axis]
    first = start + extent if start < 0 else start
    if not (0 <= first <= extent and 0 <= length <= extent - first):
        raise ShapeError(
            message(
                "narrow",
                "outside the axis",
                {"input": input.shape, "dim": dim, "start": start, "length": length},
                f"0 <= start and start + length <= {extent}",
            )
        )
    return input[(*(slice(None),) * axis, slice(first, first + length))]


@function
def select(input: Operand, dim: int, index: int) -> Operand:
    """Takes one entry of an axis, which disappears.

    Parameters: input, any shape; dim, the axis; index, the entry, from the end if negative.
    Returns: an array with one axis less. Raises: ShapeError; IndexError outside the axis.
    Source: torch.select.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.select(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1, -1)
    array([2., 4.], dtype=float32)
    """
    axis = normalize_axis("select", dim, input.ndim)
    return input[(*(slice(None),) * axis, index)]


@function
def expand(input: Operand, size: tuple[int, ...]) -> Operand:
    """Repeats axes of extent 1, and new axes in front.

    Parameters: input, any shape; size, the extents, -1 keeping one. Returns: an array of that size.
    Raises: ShapeError. Source: torch.Tensor.expand.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.expand(np.array([[1.0], [2.0]], np.float32), (-1, 2))
    array([[1., 1.],
           [2., 2.]], dtype=float32)
    """
    return input.expand(size)


@function
def broadcast_to(input: Operand, size: tuple[int, ...]) -> Operand:
    """Repeats axes of extent 1, and new axes in front, as NumPy broadcasts.

    Parameters: input, any shape; size, the extents. Returns: an array of that size.
    Raises: ShapeError. Source: torch.broadcast_to.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.broadcast_to(np.array([1.0, 2.0], np.float32), (2, 2)).shape
    (2, 2)
    """
    return input.expand(size)


@function
def unsqueeze(input: Operand, dim: int) -> Operand:
    """Puts in an axis of extent 1.

    Parameters: input, any shape; dim, where the new axis stands, -(ndim + 1) <= dim <= ndim.
    Returns: an array with one axis more. Raises: ShapeError. Source: torch.unsqueeze.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.unsqueeze(np.zeros(3, np.float32), 0).shape
    (1, 3)
    """
    return input.unsqueeze(dim)


@function
def squeeze(input: Operand, dim: int | tuple[int, ...] | None = None) -> Operand:
    """Drops axes of extent 1; axes of another extent stay.

    Parameters: input, any shape; dim, an axis, several, or None for all.
    Returns: an array of fewer axes. Raises: ShapeError. Source: torch.squeeze.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.squeeze(np.zeros((1, 3, 1), np.float32)).shape
    (3,)
    """
    return input.squeeze(dim)
