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
from lamella.ir.types import Array, DType, is_bfloat16

__all__ = [
    "LEAF",
    "Branch",
    "Leaf",
    "Structure",
    "as_array",
    "dtypes_of",
    "flatten",
    "handed_back",
    "is_ready",
    "normalize",
    "refuse_masked",
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


Structure: TypeAlias = Leaf | Branch
LEAF = Leaf()

_CURES = {
    "f": "Convert with astype(np.float64)",
    "c": "Pass the real and the imaginary part, x.real and x.imag",
    "O": "Convert with astype(np.float32)",
}
# Narrower integers become int64 on the way in.
_READY = frozenset(
    member.numpy
    for member in DType
    if member is not DType.bfloat16 and (member is DType.int64 or not member.is_integer)
)


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
    if type(array) is not np.ndarray:
        return False
    if array.dtype not in _READY and not is_bfloat16(array.dtype):
        return False
    flags = array.flags
    return bool(flags.c_contiguous and flags.aligned and array.dtype.isnative)


def turned_back(value: Any) -> Array | None:
    """The array of which `value` is `x.T` or `x.mT`, where a program can read that in place."""
    if type(value) is not np.ndarray or value.ndim < 2 or value.flags.c_contiguous:
        return None
    array = value.swapaxes(-1, -2)
    return array if is_ready(array) else None


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
    float64 and the storage types stay, and wider ones raise DTypeError. Integers of every width
    become int64.
    """
    if is_ready(value) and (floating is None or value.dtype.kind in "ib"):
        ready: Array = value
        return ready
    array = as_array(value, op, name)
    native = array.dtype.newbyteorder("=")
    kind = "f" if is_bfloat16(array.dtype) else array.dtype.kind
    if kind in "iu":
        wanted: np.dtype[Any] = DType.int64.numpy
    elif kind == "b":
        wanted = DType.bool.numpy
    elif kind == "f" and floating is not None:
        wanted = floating.numpy
    elif kind == "f" and (native in _READY or kind != array.dtype.kind):
        wanted = native
    else:
        raise DTypeError(
            message(
                op,
                "element type is not computed with",
                {name: array.dtype},
                "float16, bfloat16, float32 or float64 (integers and bool for indices and masks)",
                _CURES.get(kind, "") if hasattr(value, "astype") else "",
            )
        )
    with np.errstate(over="ignore"):
        # A finite float64 beyond float32's range becomes infinite, as in astype.
        return np.require(array, wanted, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])
