# SPDX-License-Identifier: Apache-2.0
"""Functions written on operands and called on arrays: compiled once per signature, then native.

    @function(scalars=("other",))
    def add(input: Operand, other: Operand) -> Operand:
        return input + other

Parameters annotated `Operand` (or `Operand | None`) take arrays, those annotated
`Sequence[Operand]` lists or tuples of arrays; all others are static: their values are part of the
signature. Called with a symbolic tensor inside a trace, the body is inlined. Called with arrays,
it is compiled and cached; the C++ base class answers repeated calls without coming here.
"""

from __future__ import annotations

import functools
import inspect
import re
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum
from typing import Any, overload

import numpy as np

from lamella import _core
from lamella.errors import DTypeError, UnsupportedError, message
from lamella.ir.graph import Value
from lamella.ir.types import Array
from lamella.runtime.families import Families, Found, Shapes
from lamella.runtime.key import static_key
from lamella.runtime.overrides import translate
from lamella.runtime.promotion import is_number, place_constant
from lamella.runtime.session import Compiled, Free, compile_call
from lamella.runtime.signature import normalize, turned_back
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Symbol, Trace, current_trace
from lamella.runtime.variants import Recompilations

__all__ = ["Function", "add_methods", "function"]

# Numbers whose calls are counted at a time.
_COUNTED = 256
# Calls with the same number after which the number is worth a program of its own (compiling takes
# as long as some ten calls that are answered in Python).
_REPEATS = 4
_EMPTY = inspect.Parameter.empty


class Role(Enum):
    """What a parameter of the body takes."""

    ARRAY = "array"
    OPTIONAL = "array or None"
    SEQUENCE = "sequence"
    STATIC = "static"


class Function(_core.Callable):
    """A function on arrays, with `out=`; made by the decorator `function`."""

    __name__: str
    __qualname__: str

    def __init__(
        self, body: Callable[..., Any], scalars: Sequence[str] = (), draws: bool = False
    ) -> None:
        super().__init__()
        functools.update_wrapper(self, body)
        self._body = body
        self._draws = draws
        self._scalars = frozenset(scalars)
        self._signature = inspect.signature(body)
        parameters = self._signature.parameters
        self._roles = {name: _role(parameter) for name, parameter in parameters.items()}
        self._defaults = {name: parameter.default for name, parameter in parameters.items()}
        self._positional = [
            name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD
        ]
        self._plain = all(
            one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) for one in parameters.values()
        )
        # Programs, which keep what the key knows by its identity.
        self._families = Families(self.__name__, weakref.ref(self))
        self._recompilations = Recompilations(self.__name__)
        self._repeats: OrderedDict[Hashable, int] = OrderedDict()
        # What help() and inspect show: the body's parameters and `out`.
        self.__signature__ = _with_out(self._signature)

    def __reduce__(self) -> str:
        # Pickled as the module-level name it is.
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<function {self.__module__}.{self.__qualname__}>"

    def _dispatch(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Answers the calls that the C++ base class does not know yet."""
        arguments = self._bind(args, kwargs)
        trace = current_trace()
        if trace is not None and (self._draws or any(map(_is_symbolic, arguments.values()))):
            return self._inline(arguments, trace, out)
        call = _Call(self.__name__, arguments, self._roles, self._scalars)
        key = _core.isa(), *call.key
        found = self._find(key, call, False)
        if call.direct:
            self._learn(key, call, found, args, kwargs)
        return found.compiled.run(call.arrays, op=self.__name__, out=out)

    def _learn(
        self,
        key: Hashable,
        call: _Call,
        found: Found,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Lets the C++ base class answer such calls, if it can.

        It hands over arrays only, in the order of the call. A number is an input of the compiled
        program; one that is used again and again gets a program in which it is a constant.
        """
        arrays = [name for name in call.names if name not in call.numbers]
        given = [*self._positional[: len(args)], *kwargs]
        if [name for name in given if name in arrays] != arrays:
            return
        if call.numbers:
            numbers = tuple([float(call.arrays[n]).hex() for n in call.numbers.values()])
            key = key, numbers
            count = self._repeats.pop(key, 0) + 1
            self._repeats[key] = count
            if len(self._repeats) > _COUNTED:
                self._repeats.popitem(last=False)
            if count < _REPEATS:
                return
            found = self._find(key, call, True)
        values = (*args, *kwargs.values())
        turned = tuple([name in call.turned for name in given]) if call.turned else ()
        self._remember(
            values,
            tuple(kwargs),
            found.compiled.program,
            found.compiled.returns,
            turned=turned,
            watch=found.compiled.watched.native,
            text=found.compiled.text,
        )
        if not found.entry.kept:
            self._forget()

    def clear(self) -> None:
        """Forgets every program; later calls compile anew."""
        self._families.clear()
        self._repeats.clear()
        self._forget()

    def _takes_array(self, name: str) -> bool:
        return self._roles[name] in (Role.ARRAY, Role.OPTIONAL)

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter's value, in their order; Python's own TypeError where they do not fit."""
        if self._plain and len(args) <= len(self._positional):
            arguments = dict(self._defaults)
            arguments.update(zip(self._positional, args, strict=False))
            arguments.update(kwargs)
            taken = self._positional[: len(args)]
            if (
                len(arguments) == len(self._defaults)
                and not any(value is _EMPTY for value in arguments.values())
                and not any(name in kwargs for name in taken)
            ):
                return arguments
        try:
            bound = self._signature.bind(*args, **translate(kwargs, self._roles))
        except TypeError as error:
            raise TypeError(f"{self.__name__}: {error}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def _find(self, key: Hashable, call: _Call, fixed: bool) -> Found:
        shapes = call.shapes(fixed)
        found = self._families.find(key, shapes, self._recompilations)
        if found is not None:
            return found
        bound = inspect.BoundArguments(self._signature, OrderedDict(call.examples(fixed)))
        body = self._turning(call.turned) if call.turned else self._body
        earlier = self._families.earlier(key, shapes)

        def compile(free: Free) -> Compiled:
            return compile_call(
                body, bound.args, bound.kwargs, call.names, self._body, earlier=earlier, free=free
            )

        made = self._families.compile(key, shapes, compile)
        count = self._recompilations
        return self._families.add(key, shapes, made, count, call.keep, call.kept_bytes)

    def _turning(self, names: Sequence[str]) -> Callable[..., Any]:
        """The body, for the transposed of some of its arguments."""

        def body(*args: Any, **kwargs: Any) -> Any:
            bound = self._signature.bind(*args, **kwargs)
            for name in names:
                bound.arguments[name] = bound.arguments[name].mT
            return self._body(*bound.args, **bound.kwargs)

        return body

    def _inline(self, arguments: dict[str, Any], trace: Trace, out: Any) -> Any:
        """Runs the body in the trace that is under way."""
        if out is not None:
            raise UnsupportedError(
                message(self.__name__, "nothing to write to while tracing", {"out": type(out)})
            )
        for name, value in arguments.items():
            role = self._roles[name]
            if role is Role.STATIC or (value is None and role is not Role.ARRAY):
                continue
            if role is Role.SEQUENCE:
                arguments[name] = tuple(
                    _symbol(self.__name__, f"{name}[{number}]", item, trace, False)
                    for number, item in enumerate(value)
                )
            else:
                weak = name in self._scalars
                arguments[name] = _symbol(self.__name__, name, value, trace, weak)
        bound = inspect.BoundArguments(self._signature, OrderedDict(arguments))
        return self._body(*bound.args, **bound.kwargs)


class _Call:
    """The arguments of one call: its key, its arrays, and whether they go in as they are.

    names: what messages call the inputs; numbers: inputs made from Python numbers, by name;
    keep: what the key knows by its identity; kept_bytes: of parameters among that; turned:
    arguments that are read as what they are the transposed of; direct: every other input is an
    argument itself, ready as it is.
    """

    __slots__ = (
        "_arguments",
        "_op",
        "arrays",
        "direct",
        "keep",
        "kept_bytes",
        "key",
        "names",
        "numbers",
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
        self._arguments: dict[str, Any] = {}
        self.arrays: list[Any] = []
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}
        self.keep: list[Any] = []
        self.kept_bytes = 0
        self.turned: list[str] = []
        self.direct = True
        key: list[Hashable] = []
        for name, value in arguments.items():
            role = roles[name]
            if value is None and role is not Role.ARRAY:
                key.append(None)
                self._arguments[name] = None
            elif role is Role.STATIC:
                _refuse_changing(op, name, value)
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
        if self.numbers:
            key.append(self._settle_numbers().num)
        self.key = tuple(key)

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
            array = normalize(value, op=self._op, name=name)
            key.append((array.dtype.num, array.ndim))
            if array is not value:
                self.direct = False
        self.arrays.append(array)
        self.names.append(name)
        return _Position(len(self.arrays) - 1)

    def _settle_numbers(self) -> np.dtype[Any]:
        """Gives numbers the dtype that the arrays beside them decide, as in a trace."""
        partner = self._partner()
        for name, position in self.numbers.items():
            try:
                with np.errstate(over="ignore"):
                    self.arrays[position] = np.array(self.arrays[position], partner)
            except OverflowError:
                raise DTypeError(
                    message(
                        self._op, "no float holds this integer", {name: "int"}, "|int| < 2**1024"
                    )
                ) from None
        return partner

    def _partner(self) -> np.dtype[Any]:
        """The dtype of numbers: see promotion.py; NumPy scalars alone have their own."""
        beside = (*self.arrays, *self._arguments.values())
        found: list[Any] = [getattr(entry, "array", entry) for entry in beside]
        arrays = [x for x in found if isinstance(x, np.ndarray)]
        scalars = [x for x in found if isinstance(x, np.floating)]
        for group in ([x for x in arrays if x.ndim], arrays, [] if arrays else scalars):
            sizes = [x.dtype.itemsize for x in group if x.dtype.kind not in "iub"]
            if sizes:
                return np.dtype(np.float64 if max(sizes) >= 8 else np.float32)
        return np.dtype(np.float32 if arrays else np.float64)

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


def _role(parameter: inspect.Parameter) -> Role:
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


def _with_out(signature: inspect.Signature) -> inspect.Signature:
    parameters = list(signature.parameters.values())
    out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
    position = len(parameters)
    if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
        position -= 1
    parameters.insert(position, out)
    return signature.replace(parameters=parameters)


def _is_symbolic(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_symbolic, value))
    return isinstance(value, Symbol)


def _symbol(op: str, name: str, value: Any, trace: Trace, weak: bool) -> Any:
    """Arrays and what turns into them as tensors of the trace; weak numbers and symbols stay."""
    if isinstance(value, Symbol) or (weak and is_number(value)):
        return value
    if trace.storage_of(value) is not None:
        return Tensor(place_constant(trace, value), trace)
    return Tensor(place_constant(trace, normalize(value, op=op, name=name)), trace)


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


@overload
def function(body: Callable[..., Any]) -> Function: ...
@overload
def function(
    *, scalars: Sequence[str] = (), draws: bool = False
) -> Callable[[Callable[..., Any]], Function]: ...
def function(
    body: Callable[..., Any] | None = None, *, scalars: Sequence[str] = (), draws: bool = False
) -> Function | Callable[[Callable[..., Any]], Function]:
    """Makes a Function of a body written on operands.

    Parameters: body, annotated as the head of this module says; scalars, names of array parameters
    that also take Python numbers, which become 0-d arrays of the other arrays' dtype; draws,
    whether a trace takes it in whatever it is called with, as its result is no constant.
    Returns: a Function, or with `scalars` alone a decorator.
    """
    if body is not None:
        return Function(body, scalars, draws)
    return lambda decorated: Function(decorated, scalars, draws)


def add_methods(functions: Sequence[Function]) -> None:
    """Makes functions methods of operands too: x.erf() is erf(x). Those that are there stay."""

    def method(called: Function) -> Callable[..., Any]:
        @functools.wraps(called)
        def bound(self: Operand, *args: Any, **kwargs: Any) -> Any:
            return called(self, *args, **kwargs)

        return bound

    for each in functions:
        if not hasattr(Operand, each.__name__):
            setattr(Operand, each.__name__, method(each))
