# SPDX-License-Identifier: Apache-2.0
"""What NumPy's own functions do when they meet an operand.

NumPy hands such calls over (NEP 13 for ufuncs, NEP 18 for the rest). Outside a trace parameters are
arrays like others. In a trace an operator between an array and a tensor becomes the tensor's own;
any other function is refused with the one of lamella.functional that does it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from lamella.errors import UnsupportedError, message
from lamella.habits import home
from lamella.runtime.trace import Symbol, current_trace, user_line

__all__ = ["NumpyOperand", "numpy_words", "translate"]

# The methods behind an operator: of its left operand, and of its right one.
_OPERATORS = {
    "add": ("__add__", "__radd__"),
    "subtract": ("__sub__", "__rsub__"),
    "multiply": ("__mul__", "__rmul__"),
    "divide": ("__truediv__", "__rtruediv__"),
    "floor_divide": ("__floordiv__", "__rfloordiv__"),
    "remainder": ("__mod__", "__rmod__"),
    "power": ("__pow__", "__rpow__"),
    "matmul": ("__matmul__", "__rmatmul__"),
    "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"),
    "greater": ("__gt__", "__lt__"),
    "greater_equal": ("__ge__", "__le__"),
    "equal": ("__eq__", "__eq__"),
    "not_equal": ("__ne__", "__ne__"),
    "bitwise_and": ("__and__", "__rand__"),
    "bitwise_or": ("__or__", "__ror__"),
    "bitwise_xor": ("__xor__", "__rxor__"),
    "left_shift": ("__lshift__", "__rlshift__"),
    "right_shift": ("__rshift__", "__rrshift__"),
}
# NumPy's names for functions that have another one here.
_NAMES = {
    "absolute": "abs",
    "clip": "clamp",
    "concatenate": "cat",
    "dot": "matmul",
    "invert": "bitwise_not",
    "max": "amax",
    "min": "amin",
    "negative": "neg",
}
_WORDS = {"axis": "dim", "keepdims": "keepdim"}


class NumpyOperand(Symbol):
    """A symbol that NumPy's functions know."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if current_trace() is None:
            return getattr(ufunc, method)(*_arrays(inputs), **_arrays(kwargs))
        # `array += tensor` says where to write; the name is then the sum's, as of any two objects.
        into = kwargs.pop("out", None)
        names = _OPERATORS.get(ufunc.__name__)
        if names is None or method != "__call__" or kwargs or (into and into[0] is not inputs[0]):
            _refuse(ufunc.__name__)
        x, y = inputs
        return getattr(x, names[0])(y) if isinstance(x, Symbol) else getattr(y, names[1])(x)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if current_trace() is None:
            return function(*_arrays(args), **_arrays(kwargs))
        if function in (np.shape, np.ndim):
            return getattr(args[0], function.__name__)
        _refuse(function.__name__)

    def __setitem__(self, key: Any, value: Any) -> None:
        advice = "Choose with F.where(condition, x, y), or join with F.cat([x, y])"
        raise TypeError(
            message("Tensor", "elements are not assigned", None, "", advice + user_line())
        )


def _arrays(given: Any) -> Any:
    """The same arguments with arrays for parameters."""
    if isinstance(given, list | tuple):
        return type(given)(map(_arrays, given))
    if isinstance(given, dict):
        return {name: _arrays(value) for name, value in given.items()}
    return np.asarray(given) if isinstance(given, Symbol) else given


def _refuse(name: str) -> NoReturn:
    name_here = _NAMES.get(name, name)
    where = home(name_here)
    advice = f"Write `lm.{where}.{name_here}`" if where else "lamella.functional has those that do"
    raise UnsupportedError(
        message(
            f"numpy.{name}",
            "NumPy's functions know no tensors, whose elements come when the program runs",
            None,
            "",
            advice + user_line(),
        )
    )


def numpy_words(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which takes `axis` for dim and `keepdims` for keepdim, as torch's do."""
    known = inspect.signature(method).parameters

    @functools.wraps(method)
    def translated(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *args, **translate(kwargs, known))

    return translated


def translate(kwargs: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments in torch's words where a function knows those; the rest is Python's."""

    def word(name: str) -> str:
        new = _WORDS.get(name, name)
        return new if name not in known and new in known and new not in kwargs else name

    return {word(name): value for name, value in kwargs.items()}
