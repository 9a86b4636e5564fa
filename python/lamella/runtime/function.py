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
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, overload

from lamella import _core
from lamella.errors import UnsupportedError, message
from lamella.runtime.arguments import Call, Role, role_of
from lamella.runtime.families import Families, Found
from lamella.runtime.overrides import translate
from lamella.runtime.promotion import is_number, place_constant
from lamella.runtime.session import Compiled, Free, compile_call
from lamella.runtime.signature import normalize
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Symbol, Trace, current_trace
from lamella.runtime.variants import Recompilations

__all__ = ["Function", "add_methods", "function", "with_out"]

# Numbers whose calls are counted at a time.
_COUNTED = 256
# Calls with the same number after which the number is worth a program of its own (compiling takes
# as long as some ten calls that are answered in Python).
_REPEATS = 4
_EMPTY = inspect.Parameter.empty


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
        # Programs, which keep what the key knows by its identity.
        self._families = Families(self.__name__, weakref.ref(self))
        self._recompilations = Recompilations(self.__name__)
        self._repeats: OrderedDict[Hashable, int] = OrderedDict()

    # Of some hundred functions a process calls a few: what only calls need is found at the first.
    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self._body)

    @property
    def __signature__(self) -> inspect.Signature:
        """What help() and inspect show: the body's parameters and `out`."""
        return with_out(self._signature)

    @functools.cached_property
    def _roles(self) -> dict[str, Role]:
        return {name: role_of(one) for name, one in self._signature.parameters.items()}

    @functools.cached_property
    def _defaults(self) -> dict[str, Any]:
        return {name: one.default for name, one in self._signature.parameters.items()}

    @functools.cached_property
    def _positional(self) -> list[str]:
        parameters = self._signature.parameters.items()
        return [name for name, one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]

    @functools.cached_property
    def _plain(self) -> bool:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return all(one.kind in kinds for one in self._signature.parameters.values())

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
        call = Call(self.__name__, arguments, self._roles, self._scalars)
        key = _core.isa(), *call.key
        found = self._find(key, call, False)
        if call.direct:
            self._learn(key, call, found, args, kwargs)
        return found.compiled.run(call.arrays, op=self.__name__, out=out)

    def _learn(
        self,
        key: Hashable,
        call: Call,
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
            numbers = tuple([call.arrays[n].tobytes() for n in call.numbers.values()])
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

    def _find(self, key: Hashable, call: Call, fixed: bool) -> Found:
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


def with_out(signature: inspect.Signature) -> inspect.Signature:
    """A signature with `out` behind its last parameter."""
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
