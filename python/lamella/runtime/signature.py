# SPDX-License-Identifier: Apache-2.0
"""What goes in and comes out of a call: nested containers, and arrays made fit for a program.

A program wants exact dtypes, C order, native byte order and aligned memory; `normalize` copies
what is not so, and refuses what lamella does not compute with. Containers are tuples, lists and
dicts of any depth, and None; everything else is a leaf.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from lamella.errors import DTypeError, UnsupportedError, message
from lamella.ir.types import Array, DType, TensorType, is_bfloat16

__all__ = [
    "LEAF",
    "Branch",
    "Leaf",
    "Structure",
    "Widened",
    "as_array",
    "dtypes_of",
    "flatten",
    "handed_back",
    "is_ready",
    "normalize",
    "refuse_huge",
    "refuse_masked",
    "source_of",
    "turned_back",
    "unflatten",
]


@dataclass(frozen=True, slots=True)
class Leaf:
    """The place of one array in a structure; dtype: as what it is handed back, None for its own."""

    dtype: np.dtype[Any] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Branch:
    """A container: its type, its keys (of a dict) and its children."""

    type: type
    keys: tuple[Any, ...] | None
    children: tuple[Structure, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Widened(TensorType):
    """The type of an array that goes in as int64; source: its own, which programs do not have."""

    source: np.dtype[Any]


Structure: TypeAlias = Leaf | Branch
LEAF = Leaf()

_CURES = {
    "f": "Convert with astype(np.float64)",
    "c": "Pass the real and the imaginary part, x.real and x.imag",
    "O": "Convert with astype(np.float32)",
}


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of nested tuples, lists and dicts, in order, and the structure they had."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    if isinstance(tree, tuple | list):
        return Branch(type(tree), None, tuple(_flatten(item, leaves) for item in tree))
    if tree is None:
        return Branch(type(None), None, ())
    if isinstance(tree, dict):
        children = tuple(_flatten(item, leaves) for item in tree.values())
        return Branch(dict, tuple(tree), children)
    leaves.append(tree)
    return LEAF


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The containers that `flatten` took apart, around other leaves."""
    return _unflatten(structure, iter(leaves))


def _unflatten(structure: Structure, leaves: Any) -> Any:
    if isinstance(structure, Leaf):
        leaf = next(leaves)
        return leaf if structure.dtype is None else leaf.astype(structure.dtype)
    children = [_unflatten(child, leaves) for child in structure.children]
    if structure.keys is not None:
        return dict(zip(structure.keys, children, strict=True))
    if structure.type is type(None):
        return None
    if issubclass(structure.type, list):
        return children
    if hasattr(structure.type, "_fields"):
        return structure.type(*children)
    return tuple(children)


def handed_back(structure: Structure, dtypes: Iterator[np.dtype[Any] | None]) -> Structure:
    """The structure with the dtypes as which its arrays are handed back."""
    if isinstance(structure, Leaf):
        return Leaf(next(dtypes))
    children = tuple(handed_back(child, dtypes) for child in structure.children)
    return Branch(structure.type, structure.keys, children)


def dtypes_of(structure: Structure) -> list[np.dtype[Any] | None]:
    """The same dtypes, in order."""
    if isinstance(structure, Leaf):
        return [structure.dtype]
    return [dtype for child in structure.children for dtype in dtypes_of(child)]


def is_ready(array: Any) -> bool:
    """True for exact NumPy arrays that a program can read in place."""
    if type(array) is not np.ndarray or not DType.known(array.dtype):
        return False
    flags = array.flags
    return bool(flags.c_contiguous and flags.aligned and array.dtype.isnative)


def turned_back(value: Any) -> Array | None:
    """The array of which `value` is `x.T` or `x.mT`, where a program can read that in place."""
    if type(value) is not np.ndarray or value.ndim < 2 or value.flags.c_contiguous:
        return None
    array = value.swapaxes(-1, -2)
    return array if is_ready(array) else None


def source_of(array: Array) -> np.dtype[Any] | None:
    """The native dtype of an array of integers that programs do not have; None for others."""
    dtype = array.dtype.newbyteorder("=")
    return None if dtype.kind not in "iu" or DType.known(dtype) else dtype


def refuse_masked(value: Any, op: str, name: str) -> None:
    """Raises for an array with masked elements: what lies under a mask means nothing."""
    # There is none before NumPy has imported their module, which takes milliseconds.
    masked = sys.modules.get("numpy.ma")
    if type(value) is not np.ndarray and masked is not None and masked.is_masked(value):
        raise UnsupportedError(
            message(
                op,
                "masked elements have no value",
                {name: f"{masked.count_masked(value)} masked of {value.size}"},
                "an array",
                "Its .filled(0) puts a value in their place.",
            )
        )


def refuse_huge(array: Array | np.generic, op: str, name: str) -> None:
    """Raises for integers that int64, as which they would be taken, does not hold."""
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and np.any(np.asarray(array) >> 63):
        raise DTypeError(
            message(op, "an integer that int64 does not hold", {name: array.dtype}, "below 2**63")
        )


def as_array(value: Any, op: str, name: str) -> Array:
    """np.asarray, which for a masked array would forget the mask."""
    refuse_masked(value, op, name)
    return np.asarray(value)


def normalize(
    value: Any,
    *,
    op: str,
    name: str,
    floating: DType | None = None,
) -> Array:
    """`value` as an array that a program can read in place; copied only where it has to be.

    floating: where given, floating arrays of every width are cast to it; else those of float32,
    float64 and the storage types stay, and wider ones raise DTypeError. Integers of a type that
    programs do not have become int64.
    """
    if is_ready(value) and (floating is None or value.dtype.kind in "ib"):
        ready: Array = value
        return ready
    array = as_array(value, op, name)
    kind, native = array.dtype.kind, array.dtype.newbyteorder("=")
    if floating is not None and (kind == "f" or is_bfloat16(native)):
        wanted: np.dtype[Any] = floating.numpy
    elif DType.known(native):
        wanted = native
    elif kind in "iu":
        wanted = DType.int64.numpy
    else:
        raise DTypeError(
            message(
                op,
                "element type is not computed with",
                {name: array.dtype},
                "floating of at most 64 bits, integer or bool",
                _CURES.get(kind, "") if hasattr(value, "astype") else "",
            )
        )
    with np.errstate(over="ignore"):
        # A finite float64 beyond float32's range becomes infinite, as in astype.
        return np.require(array, wanted, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])
