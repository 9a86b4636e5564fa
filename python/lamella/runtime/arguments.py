# SPDX-License-Identifier: Apache-2.0
"""The arguments of one call of a function: which are inputs, as what type, and the call's key.

Arrays are made fit for a program (signature.py). A number where arrays are taken is an input of the
type that the arrays beside it decide, so that other numbers need no other program; a parameter is
read where it lies; everything else is static, and part of the key by its value.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Hashable, Mapping
from enum import Enum
from numbers import Integral
from typing import Any

import numpy as np

from lamella.errors import DTypeError, UnsupportedError, message
from lamella.ir.graph import Value
from lamella.ir.types import Array, DType
from lamella.runtime.families import Shapes
from lamella.runtime.key import static_key
from lamella.runtime.promotion import common, fits, is_number, is_whole
from lamella.runtime.signature import (
    Widened,
    as_array,
    is_ready,
    normalize,
    refuse_huge,
    source_of,
    turned_back,
)
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Symbol, Trace

__all__ = ["Call", "Role", "role_of"]


class Role(Enum):
    """What a parameter of the body takes."""

    ARRAY = "array"
    OPTIONAL = "array or None"
    SEQUENCE = "sequence"
    STATIC = "static"


class Call:
    """The arguments of one call: its key, its arrays, and whether they go in as they are.

    names: what messages call the inputs; numbers: inputs made from Python numbers, by name;
    keep: what the key knows by its identity; kept_bytes: of parameters among that; turned:
    arguments that are read as what they are the transposed of; sources: dtypes of integers that go
    in as int64, by input; direct: every other input is an
    argument itself, ready as it is.
    """

    __slots__ = (
        "_arguments",
        "_key",
        "_op",
        "arrays",
        "direct",
        "keep",
        "kept_bytes",
        "key",
        "names",
        "numbers",
        "sources",
        "turned",
    )

    def __init__(
        self,
        op: str,
        arguments: Mapping[str, Any],
        roles: Mapping[str, Role],
        scalars: frozenset[str],
    ) -> None:
        self._op = op
        self._collect(arguments, roles, scalars)
        unfit = self._settle_numbers()
        if unfit:
            # Integers that their partners' type does not hold: what they mean the op knows.
            self._collect(arguments, {**roles, **dict.fromkeys(unfit, Role.STATIC)}, scalars)
            self._settle_numbers()
        key = self._key
        key += [self.arrays[position].dtype.num for position in self.numbers.values()]
        self.key = tuple(key)

    def _collect(
        self,
        arguments: Mapping[str, Any],
        roles: Mapping[str, Role],
        scalars: frozenset[str],
    ) -> None:
        """Sorts the arguments into inputs, numbers among them, and the rest."""
        self._arguments: dict[str, Any] = {}
        self.arrays: list[Any] = []
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}
        self.keep: list[Any] = []
        self.kept_bytes = 0
        self.turned: list[str] = []
        self.sources: dict[int, np.dtype[Any]] = {}
        self.direct = True
        key = self._key = list[Hashable]()
        for name, value in arguments.items():
            role = roles[name]
            if value is None and role is not Role.ARRAY:
                key.append(None)
                self._arguments[name] = None
            elif role is Role.STATIC:
                _refuse_changing(self._op, name, value)
                key.append(static_key(value, self.keep))
                self._arguments[name] = value
            elif role is not Role.SEQUENCE:
                array = turned_back(value)
                if array is not None:
                    value = array
                    self.turned.append(name)
                key.append(array is not None)
                self._arguments[name] = self._take(name, value, name in scalars, key)
            else:
                self.direct = False
                key.append(len(value))
                self._arguments[name] = tuple(
                    [
                        self._take(f"{name}[{number}]", item, False, key)
                        for number, item in enumerate(value)
                    ]
                )

    def _take(self, name: str, value: Any, weak: bool, key: list[Hashable]) -> Any:
        """A place among the inputs, or a stored parameter as it is."""
        if isinstance(value, Symbol):
            if isinstance(value, Tensor):
                raise UnsupportedError(
                    message(
                        self._op,
                        "a symbolic tensor was kept from another trace",
                        {name: value},
                        "an array",
                    )
                )
            array = value.memory  # type: ignore[attr-defined]
            # The array too: a cast parameter has another one.
            self.keep += [value, array]
            self.kept_bytes += array.nbytes
            key.append((id(value), id(array)))
            return value
        if weak and is_number(value):
            self.numbers[name] = len(self.arrays)
            # Its dtype follows from those of the arrays.
            key.append(float)
            array = value
            if isinstance(value, np.generic):
                self.direct = False
        else:
            given = value if is_ready(value) else as_array(value, self._op, name)
            array = normalize(given, op=self._op, name=name)
            key.append((array.dtype.num, array.ndim))
            if array is not value:
                self.direct = False
                source = source_of(given)
                if source is not None:
                    refuse_huge(given, self._op, name)
                    self.sources[len(self.arrays)] = source
                    key.append(source.num)
        self.arrays.append(array)
        self.names.append(name)
        return _Position(len(self.arrays) - 1)

    def _settle_numbers(self) -> list[str]:
        """Gives numbers the dtype that the arrays beside them decide, as in a trace.

        Returns the names of integers that their partners' dtype does not hold.
        """
        unfit = []
        for name, position in self.numbers.items():
            number = self.arrays[position]
            partner = self._partner(number)
            if partner.is_integer and is_whole(number) and not fits(number, partner):
                unfit.append(name)
                continue
            try:
                with np.errstate(over="ignore"):
                    self.arrays[position] = np.array(number, partner.numpy)
            except OverflowError:
                raise DTypeError(
                    message(
                        self._op, "no float holds this integer", {name: "int"}, "|int| < 2**1024"
                    )
                ) from None
        return unfit

    def _partner(self, number: Any) -> DType:
        """The dtype of a number: see promotion.py; NumPy scalars alone have their own."""
        numbers = set(self.numbers.values())
        given = [x for i, x in enumerate(self.arrays) if i not in numbers]
        beside = [getattr(entry, "array", entry) for entry in self._arguments.values()]
        arrays = [x for x in (*given, *beside) if isinstance(x, np.ndarray)]
        alone = [self.arrays[i] for i in numbers] if not arrays else []
        scalars = [x for x in alone if isinstance(x, np.floating)]
        for group in ([x for x in arrays if x.ndim], arrays, scalars):
            sizes = [x.dtype.itemsize for x in group if x.dtype.kind not in "iub"]
            if sizes:
                return DType.float64 if max(sizes) >= 8 else DType.float32
        if not arrays:
            return DType.float64
        if not isinstance(number, Integral | np.bool_):
            return DType.float32
        for group in ([x for x in arrays if x.ndim], arrays):
            found = {DType.of(x.dtype) for x in group if x.dtype.kind in "iu"}
            if found:
                return common(found, exact=True)
        return DType.int64 if is_whole(number) else DType.bool

    def shapes(self, fixed: bool) -> Shapes:
        """Of the inputs; fixed: numbers are none."""
        numbers = set(self.numbers.values()) if fixed else ()
        return tuple([one.shape for i, one in enumerate(self.arrays) if i not in numbers])

    def examples(self, fixed: bool) -> dict[str, Any]:
        """The arguments for `compile_call`: arrays in their places; fixed: numbers as constants."""
        constants = set(self.numbers.values()) if fixed else set()

        def example(entry: Any) -> Any:
            if not isinstance(entry, _Position):
                return entry
            array = self.arrays[entry.number]
            if entry.number in self.sources:
                return Widened(array.shape, DType.int64, self.sources[entry.number])
            return _Fixed(array) if entry.number in constants else array

        return {
            name: tuple(map(example, entry)) if type(entry) is tuple else example(entry)
            for name, entry in self._arguments.items()
        }


class _Position:
    """Stands for input number `number`."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class _Fixed(Operand):
    """A number as a constant of the graph."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    def _value(self, trace: Trace) -> Value:
        return trace.constant(self.array)


def role_of(parameter: inspect.Parameter) -> Role:
    """A parameter's role, read from its annotation (a string: see the head of this module)."""
    annotation = parameter.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"[\w.]+\.|\s", "", text)
    if text in ("Sequence[Operand]", "Sequence[Operand]|None") or (
        parameter.kind is parameter.VAR_POSITIONAL and text == "Operand"
    ):
        return Role.SEQUENCE
    roles = {"Operand": Role.ARRAY, "Operand|None": Role.OPTIONAL}
    return roles.get(text, Role.STATIC)


def _refuse_changing(op: str, name: str, value: Any) -> None:
    """Raises for a static argument that may change in place, other than a list of plain ones."""
    if isinstance(value, list | tuple):
        for item in value:
            _refuse_changing(op, name, item)
        return
    try:
        if not isinstance(value, slice):
            hash(value)
    except TypeError:
        kind = type(value).__name__
        raise DTypeError(
            message(op, "takes a plain value here", {name: kind}, "a number, text or tuple")
        ) from None
