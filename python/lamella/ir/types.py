# SPDX-License-Identifier: Apache-2.0
"""Element types, tensor types and the arithmetic of shapes.

A TensorType is a shape of integers and a DType: nothing about memory.
Strides count elements. Sizes are checked once, where a TensorType is made: its bytes fit in a
signed 64-bit number, so later products of its extents cannot overflow in C++.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any, TypeAlias

import numpy as np

from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.extent import plain

__all__ = [
    "Array",
    "DType",
    "Shape",
    "TensorType",
    "broadcast_shapes",
    "broadcast_strides",
    "contiguous_strides",
    "is_bfloat16",
    "normalize_axis",
    "same_shape",
]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Shape: TypeAlias = tuple[int, ...]

_LIMIT = 2**63
# Sixty-four is NumPy's own limit.
_MAX_RANK = 64


class DType(Enum):
    """An element type. `name` is the name NumPy and the C++ core use.

    Programs compute with floating types, integers and bool. Storage types only lie in memory: what
    is read of them is cast. NumPy has no bfloat16, whose bits a uint16 holds.
    """

    float32 = "float32"
    float64 = "float64"
    int64 = "int64"
    int32 = "int32"
    uint8 = "uint8"
    int8 = "int8"
    bool = "bool"
    bfloat16 = "bfloat16"
    float16 = "float16"

    numpy: np.dtype[Any]
    itemsize: int
    is_floating: builtins.bool
    is_integer: builtins.bool
    is_storage: builtins.bool

    def __init__(self, name: str) -> None:
        self.numpy = np.dtype("uint16" if name == "bfloat16" else name)
        self.itemsize = self.numpy.itemsize
        self.is_storage = name in ("bfloat16", "float16")
        self.is_floating = self.numpy.kind == "f" and not self.is_storage
        self.is_integer = self.numpy.kind in "iu" and not self.is_storage

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__
    # Members are compared by identity, so the default hash of the object is right and quick.
    __hash__ = object.__hash__

    @staticmethod
    def known(dtype: np.dtype[Any]) -> builtins.bool:
        """Whether a NumPy dtype is an element type here, and of native byte order."""
        return dtype in _BY_NUMPY or is_bfloat16(dtype)

    @staticmethod
    def of(dtype: DType | np.dtype[Any] | type | str) -> DType:
        """The DType of a NumPy dtype, a NumPy or Python type, or a name; DTypeError if none."""
        if isinstance(dtype, DType):
            return dtype
        try:
            key = np.dtype(dtype)
        except TypeError as error:
            # NumPy has it by name where a library has registered it.
            if isinstance(dtype, str) and dtype == DType.bfloat16.name:
                return DType.bfloat16
            raise DTypeError(_unknown_dtype(dtype)) from error
        found = _BY_NUMPY.get(key)
        if found is not None:
            return found
        if is_bfloat16(key):
            return DType.bfloat16
        raise DTypeError(_unknown_dtype(dtype))

    @staticmethod
    def stored(dtype: np.dtype[Any]) -> DType:
        """The DType of an array that the library keeps itself, where uint16 is bfloat16."""
        return DType.bfloat16 if dtype == DType.bfloat16.numpy else DType.of(dtype)

    @staticmethod
    def computed(op: str, dtype: DType | np.dtype[Any] | type | str) -> DType:
        """The same; DTypeError for a storage type too."""
        found = DType.of(dtype)
        if found.is_storage:
            raise DTypeError(
                message(
                    op,
                    "a type of storage, which nothing is computed in",
                    {"dtype": found},
                    "float32 or float64",
                )
            )
        return found


_BY_NUMPY: dict[np.dtype[Any], DType] = {
    member.numpy: member for member in DType if member is not DType.bfloat16
}


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype of another library (ml_dtypes has one) is bfloat16, which its name says."""
    return dtype.name == "bfloat16" and dtype.itemsize == 2 and dtype.isnative


def _unknown_dtype(dtype: object) -> str:
    return message(
        "dtype",
        "unknown element type",
        {"dtype": dtype},
        ", ".join(member.name for member in DType),
    )


@dataclass(frozen=True, slots=True)
class TensorType:
    """The shape and element type of a value.

    The extents of a trace with free ones may be Extents, which compare as ints and note it.
    """

    shape: Shape
    dtype: DType

    def __eq__(self, other: object) -> bool:
        # What differs in rank is told apart without looking at an extent, which may be free.
        if type(other) is not TensorType:
            return NotImplemented
        shape = other.shape
        return self.dtype is other.dtype and len(self.shape) == len(shape) and self.shape == shape

    def __post_init__(self) -> None:
        # Zero extents count as one, as in NumPy: strides are products too.
        elements = 1
        for extent in self.shape:
            if extent < 0:
                raise ShapeError(
                    message("tensor", "negative extent", {"shape": self.shape}, "extents >= 0")
                )
            # The limit is judged again at every size of what is free.
            elements *= (extent if type(extent) is int else plain(extent)) or 1
        if elements * self.dtype.itemsize >= _LIMIT or len(self.shape) > _MAX_RANK:
            raise ShapeError(
                message(
                    "tensor",
                    "larger than any memory",
                    {"shape": self.shape, "dtype": self.dtype},
                    f"fewer than 2**63 bytes and at most {_MAX_RANK} axes",
                )
            )

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes of the contiguous array."""
        return prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def same_shape(a: Sequence[int], b: Sequence[int]) -> bool:
    """a == b; of different ranks without looking at an extent, which may be free."""
    return len(a) == len(b) and tuple(a) == tuple(b)


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Strides, in elements, of a C-contiguous array."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def broadcast_strides(shape: Sequence[int], target: Sequence[int]) -> Shape:
    """Strides, in elements, that read a contiguous array of `shape` as one of shape `target`."""
    if same_shape(shape, target):
        return contiguous_strides(shape)
    strides = [
        0 if extent == 1 else stride
        for extent, stride in zip(shape, contiguous_strides(shape), strict=True)
    ]
    return (0,) * (len(target) - len(shape)) + tuple(strides)


def broadcast_shapes(*shapes: Shape) -> Shape | None:
    """NumPy's common shape of `shapes`, or None where there is none."""
    first = shapes[0]
    for shape in shapes:
        if shape is not first and (len(shape) != len(first) or shape != first):
            break
    else:
        return first
    rank = max(len(shape) for shape in shapes)
    result = [1] * rank
    for shape in shapes:
        offset = rank - len(shape)
        for axis, extent in enumerate(shape, offset):
            if extent != 1 and extent != result[axis]:
                if result[axis] != 1:
                    return None
                result[axis] = extent
    return tuple(result)


def normalize_axis(op: str, dim: int, rank: int, name: str = "dim") -> int:
    """The axis `dim` counted from the front; ShapeError when it is outside [-rank, rank)."""
    if -rank <= dim < rank:
        return dim + rank if dim < 0 else dim
    expected = f"{-rank} <= {name} < {rank}" if rank else "an array with at least one axis"
    raise ShapeError(message(op, "no such axis", {name: dim, "ndim": rank}, expected))
