# SPDX-License-Identifier: Apache-2.0
"""The arguments of a module's call: arrays made fit for a program, and the key of a signature.

Lists of numbers become arrays, floating types that programs do not compute with are converted, and
what is no array is part of the key by its value.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.errors import DTypeError, message
from lamella.ir.types import Array, DType
from lamella.runtime.families import Shapes
from lamella.runtime.key import static_key
from lamella.runtime.signature import (
    Structure,
    Widened,
    as_array,
    flatten,
    is_ready,
    normalize,
    refuse_huge,
    source_of,
    unflatten,
)

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["Signature", "signature"]


def _prepare(tree: Any) -> Any:
    """Nested lists of numbers as arrays, float32 where they are floating; all else as it is."""
    if isinstance(tree, list):
        array = np.asarray(tree) if tree and not _holds_arrays(tree) else None
        if array is not None and array.dtype.kind in "fiub":
            return array.astype(np.float32) if array.dtype.kind == "f" else array
        return [_prepare(item) for item in tree]
    if type(tree) is tuple:
        return tuple(_prepare(item) for item in tree)
    if isinstance(tree, dict):
        return {name: _prepare(item) for name, item in tree.items()}
    return tree


def _holds_arrays(tree: Any) -> bool:
    if isinstance(tree, list | tuple):
        return any(_holds_arrays(item) for item in tree)
    return not isinstance(tree, int | float)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | np.generic) or hasattr(leaf, "__array__")


def _array(module: Module, array: Array, number: int, dtype: DType | None) -> Array:
    """An input array as programs take it: float32 and float64 as they are, the rest converted.

    Storage types are read as they lie by programs of float32, which cast them.
    """
    return normalize(
        array,
        op=type(module).__name__,
        name=f"input {number}",
        floating=(dtype or DType.float32) if _is_odd(array, dtype) else None,
    )


def _is_odd(array: Array, dtype: DType | None) -> bool:
    """Whether an array is floating of a type that programs of `dtype` do not read."""
    if array.dtype.kind not in "iub" and array.dtype.itemsize == 2:
        return dtype is DType.float64
    return array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8)


def _scalar(leaf: np.floating[Any], leaves: Sequence[Any], dtype: DType | None) -> Array:
    """A NumPy scalar among the inputs, which is a number: it takes the dtype of the arrays."""
    widths = [one.itemsize for one in leaves if isinstance(one, np.ndarray)
              and one.dtype.kind == "f"]  # fmt: skip
    beside = None if not widths else DType.float64 if min(widths) >= 8 else DType.float32
    found = dtype or beside
    with np.errstate(over="ignore"):
        return np.asarray(leaf, found and found.numpy)


class Signature(NamedTuple):
    """A call's arguments: the arrays for the program, and the key of all but their shapes.

    leaves: the arguments one by one, around which `form` puts the containers back; keep: the
    objects whose identity the key contains; direct: the C++ base class can answer such calls.
    """

    arrays: list[Array]
    leaves: list[Any]
    form: Structure | tuple[int, tuple[str, ...]]
    key: Hashable
    keep: list[Any]
    direct: bool

    @property
    def shapes(self) -> Shapes:
        """Of the arrays."""
        return tuple([array.shape for array in self.arrays])

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named arguments, arrays made fit for the program."""
        if isinstance(self.form, tuple):
            count, names = self.form
            return tuple(self.leaves[:count]), dict(zip(names, self.leaves[count:], strict=True))
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = unflatten(self.form, self.leaves)
        return arguments


def signature(
    module: Module, inputs: tuple[Any, ...], named: dict[str, Any], dtype: DType | None
) -> Signature:
    """The signature of a call. dtype: what floating inputs of odd types are cast to."""
    leaves: list[Any] = [*inputs, *named.values()]
    form: Structure | tuple[int, tuple[str, ...]] = (len(inputs), tuple(named))
    direct = all(
        (is_ready(leaf) and not _is_odd(leaf, dtype)) or _is_static(leaf) for leaf in leaves
    )
    if not direct and any(isinstance(leaf, list | tuple | dict) for leaf in leaves):
        leaves, form = flatten(_prepare((inputs, named)))
    arrays: list[Array] = []
    parts: list[Hashable] = [form]
    keep: list[Any] = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, np.ndarray) or _is_array(leaf):
            if isinstance(leaf, np.floating):
                leaf = _scalar(leaf, leaves, dtype)
            given = leaf if direct else as_array(leaf, type(module).__name__, f"input {i}")
            array = leaves[i] = leaf if direct else _array(module, given, i, dtype)
            arrays.append(array)
            parts.append((array.dtype.char, array.ndim))
            source = None if direct else source_of(given)
            if source is not None:
                refuse_huge(given, type(module).__name__, f"input {i}")
                leaves[i] = Widened(array.shape, DType.int64, source)
                parts.append(source.char)
        else:
            _judge_static(module, leaf, i)
            parts.append(static_key(leaf, keep))
    return Signature(arrays, leaves, form, tuple(parts), keep, direct)


def _is_static(leaf: Any) -> bool:
    return leaf is None or type(leaf) in (int, float, bool, str)


def _judge_static(module: Module, leaf: Any, number: int) -> None:
    if isinstance(leaf, int) and not -(2**63) <= leaf < 2**63:
        raise DTypeError(
            message(
                type(module).__name__,
                "an integer that no array holds",
                {f"input {number}": leaf},
                "-2**63 <= integer < 2**63",
            )
        )
