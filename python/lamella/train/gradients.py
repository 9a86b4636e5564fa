# SPDX-License-Identifier: Apache-2.0
"""Gradients by the inputs of a net and by its parameters, without a step.

Each choice of what to differentiate by is a program of its own, a module as the parts of a step
are: signatures, structures, free sizes and threads are those of every module. In a trace the same
nodes are placed there, so that a loss may itself contain gradients.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.graph import Value
from lamella.ir.types import same_shape
from lamella.nn.explain import Explanation, describe
from lamella.nn.module import Module
from lamella.nn.parameter import Parameter
from lamella.ops.base import Meeting, number
from lamella.ops.composites import expand
from lamella.ops.elementwise import Cast
from lamella.passes.differentiate import pull_back
from lamella.runtime.profile import Profile, measure
from lamella.runtime.promotion import place_constant, place_values
from lamella.runtime.signature import flatten, unflatten
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Trace, current, current_trace
from lamella.train.arguments import gathered, spread

__all__ = ["GradientFunction", "gradients"]

# An argument of the net, by name or position, or this word.
Name: TypeAlias = str | int
PARAMETERS = "parameters"


def gradients(net: Module, loss: Callable[..., Any] | None = None) -> GradientFunction:
    """Makes the function that gives a loss, or a net's output, and gradients of it.

        v = loss(net(x), y), or net(x) without a loss;   d[a] = sum of dy * dv/da for each a of wrt

    Saliency maps, adversarial inputs, Jacobian-vector products and losses that contain slopes need
    gradients by inputs. Nothing is changed: no parameter, no running statistic.

    Parameters: net, a module; loss, a module or function (output, target) -> a value; without it
    the net's output is differentiated. Returns: a GradientFunction, which says how it is called.
    Raises: TypeError for a net or loss that is none.
    Source: torch.autograd.grad; jax.value_and_grad, jax.vjp.

    >>> import numpy as np, lamella as lm
    >>> from lamella import nn
    >>> net = nn.Linear(2, 1)
    >>> net.weight.data, net.bias.data = np.array([[3.0, -2.0]]), np.array([1.0])
    >>> x, y = np.array([[1.0, 1.0]], np.float32), np.array([[0.0]], np.float32)
    >>> loss, d = lm.gradients(net, nn.MSELoss())(x, y, wrt="x")
    >>> d["x"]
    array([[12., -8.]], dtype=float32)
    """
    if not isinstance(net, Module):
        raise TypeError(message("gradients", "net is no module", {"net": type(net)}))
    if loss is not None and not callable(loss):
        raise TypeError(message("gradients", "loss is no function", {"loss": type(loss)}))
    return GradientFunction(net, loss)


class GradientFunction:
    """What `lamella.gradients` makes: `value, d = function(x, y, wrt="x")`.

    Parameters of a call: x, the net's input, a tuple of inputs or a dict of named inputs; y, what
    the loss compares with; wrt, what to differentiate by: arguments of the net's forward, by name
    or position, or "parameters", or a tuple of these; dy, the gradient of what the value is an
    intermediate result of, in its shape, or its structure: 1 where the value is one number.
    Returns: (value, d), d a dict with an entry for each of wrt. An argument's gradient has the
    argument's shape (of a tuple, list or dict of arrays: its structure) and the net's dtype. d[
    "parameters"] has the gradients by name of all parameters with requires_grad. What does not
    matter has zeros.
    Raises: DTypeError for integers among what is differentiated by; ShapeError where dy, net, loss
    and arrays do not fit; ValueError for an argument that the net does not have; TypeError for a
    target without a loss and for a value of more than one number without dy.

    >>> import numpy as np, lamella as lm
    >>> from lamella import nn
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    >>> x = np.zeros((4, 2), np.float32)
    >>> value, d = lm.gradients(net)(x, wrt=("x", "parameters"), dy=np.ones((4, 3), np.float32))
    >>> d["x"].shape, sorted(d["parameters"])
    ((4, 2), ['0.bias', '0.weight'])
    """

    def __init__(self, net: Module, loss: Callable[..., Any] | None) -> None:
        self.net = net
        self.loss = loss
        self._programs: dict[tuple[Name, ...], _Program] = {}

    def __call__(
        self,
        x: Any,
        y: Any = None,
        *,
        wrt: Name | Sequence[Name] = PARAMETERS,
        dy: Any = None,
    ) -> tuple[Any, dict[Name, Any]]:
        """Value and gradients; see the class."""
        names = self._judged(y, wrt)
        if current_trace() is not None:
            return _place(self.net, self.loss, names, x, y, dy)
        found: tuple[Any, dict[Name, Any]] = self._program(names)(*spread(x, y), dy)
        return found

    def _judged(self, y: Any, wrt: Any) -> tuple[Name, ...]:
        if self.loss is None and y is not None:
            raise TypeError(
                message(
                    "gradients", "a target without a loss", {"y": type(y)}, "gradients(net, loss)"
                )
            )
        return _names(wrt)

    def _program(self, names: tuple[Name, ...]) -> _Program:
        program = self._programs.get(names)
        if program is None:
            program = self._programs[names] = _Program(self.net, self.loss, names)
        return program

    def __explain__(
        self, x: Any, y: Any = None, *, wrt: Name | Sequence[Name] = PARAMETERS, dy: Any = None
    ) -> Explanation:
        """What `lamella.explain(function, x, y, wrt="x")` answers."""
        program, arguments = self._program(self._judged(y, wrt)), (*spread(x, y), dy)
        sizes = program._compiled.sizes(program, *arguments)
        return describe("gradients", program._compiled.find(program, *arguments)[0], sizes)

    def __profile__(
        self,
        seconds: float,
        x: Any,
        y: Any = None,
        *,
        wrt: Name | Sequence[Name] = PARAMETERS,
        dy: Any = None,
    ) -> Profile:
        """What `lamella.profile(function, x, y, wrt="x")` answers."""
        program, arguments = self._program(self._judged(y, wrt)), (*spread(x, y), dy)
        found = program._compiled.exact(program, *arguments)
        return measure(*found, partial(program, *arguments), seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        return gradients, (self.net, self.loss)

    def __repr__(self) -> str:
        return f"gradients({type(self.net).__name__}, {self.loss!r})"


class _Program(Module):
    """Value and gradients by one choice of arguments."""

    def __init__(
        self, net: Module, loss: Callable[..., Any] | None, names: tuple[Name, ...]
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.names = names

    def forward(self, *arguments: Any) -> Any:
        """arguments: as `spread` gives them, then dy."""
        x, y, dy = gathered(arguments)
        found = _place(self.net, self.loss, self.names, x, y, dy)
        # The net's statistics, and whatever else its call would change.
        current().updates = []
        return found


def _place(
    net: Module, loss: Callable[..., Any] | None, names: tuple[Name, ...], x: Any, y: Any, dy: Any
) -> tuple[Any, dict[Name, Any]]:
    """Value and gradients as values of the current trace."""
    trace = current()
    arguments = _arguments(trace, net, x)
    given = [leaf._value(trace) for leaf in flatten(arguments)[0] if isinstance(leaf, Operand)]
    chosen = {name: _chosen(net, arguments, name) for name in names if name != PARAMETERS}
    leaves = [leaf for name, tree in chosen.items() for leaf in _leaves(trace, name, tree, given)]
    trained: dict[str, Parameter] = {}
    if PARAMETERS in names:
        trained = {name: one for name, one in net.named_parameters() if one.requires_grad}
        leaves += [trace.parameter(one) for one in trained.values()]
    positional = [value for name, value in arguments.items() if isinstance(name, int)]
    named = {name: value for name, value in arguments.items() if isinstance(name, str)}
    output = net(*positional, **named)
    value = output if loss is None else loss(output, y)
    pairs = list(_pairs(trace, value, dy))
    pulled = pull_back(
        trace.place, [one for one, _ in pairs], [one for _, one in pairs], leaves, given
    )
    found = iter(
        [
            Tensor(_zeros(trace, leaf) if one is None else one, trace)
            for leaf, one in zip(leaves, pulled, strict=True)
        ]
    )
    result: dict[Name, Any] = {}
    for name, tree in chosen.items():
        parts, structure = flatten(tree)
        result[name] = unflatten(structure, [next(found) for _ in parts])
    if PARAMETERS in names:
        result[PARAMETERS] = dict(zip(trained, found, strict=True))
    return value, {name: result[name] for name in names}


def _names(wrt: Any) -> tuple[Name, ...]:
    names = tuple(wrt) if isinstance(wrt, tuple | list) else (wrt,)
    good = all(type(name) in (str, int) for name in names)
    if not names or not good or len(set(names)) != len(names):
        raise ValueError(
            message(
                "gradients",
                "nothing to differentiate by" if good else "no names of arguments",
                {"wrt": wrt},
                "different names or positions of the net's arguments, or 'parameters'",
            )
        )
    return names


def _arguments(trace: Trace, net: Module, x: Any) -> dict[Name, Any]:
    """The net's arguments by position, or by name where x is a dict; arrays as tensors."""
    if isinstance(x, Mapping):
        named: dict[Name, Any] = dict(x)
    else:
        named = dict(enumerate(x if isinstance(x, tuple | list) else (x,)))
    leaves, structure = flatten(named)
    symbols = [
        Tensor(place_constant(trace, leaf), trace) if isinstance(leaf, np.ndarray) else leaf
        for leaf in leaves
    ]
    arguments: dict[Name, Any] = unflatten(structure, symbols)
    return arguments


def _chosen(net: Module, arguments: Mapping[Name, Any], name: Name) -> Any:
    """The argument of that name or position."""
    if name in arguments:
        return arguments[name]
    kinds = inspect.signature(net.forward).parameters.values()
    order = [one.name for one in kinds if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    other: Name | None = None
    if isinstance(name, str):
        other = order.index(name) if name in order else None
    elif -len(arguments) <= name < 0 and all(isinstance(one, int) for one in arguments):
        other = name + len(arguments)
    elif 0 <= name < len(order):
        other = order[name]
    if other is None or other not in arguments:
        raise ValueError(
            message(
                "gradients",
                "the net was not given such an argument",
                {"wrt": name},
                f"one of {order[: len(arguments)] or [*arguments]}, their positions, 'parameters'",
            )
        )
    return arguments[other]


def _leaves(trace: Trace, name: Name, tree: Any, given: Sequence[Value]) -> Iterator[Value]:
    """What an argument consists of, which has to be floating tensors."""
    for leaf in flatten(tree)[0]:
        if not isinstance(leaf, Operand) or not leaf._type.dtype.is_floating:
            kind = leaf._type if isinstance(leaf, Operand) else type(leaf).__name__
            raise DTypeError(
                message(
                    "gradients",
                    "only floating arrays have gradients",
                    {str(name): kind},
                    "an array of float32 or float64",
                    "Of indices, differentiate by what they look up: wrt='parameters', or a net"
                    " that takes the looked-up rows",
                )
            )
        value = leaf._value(trace)
        if sum(1 for one in given if one is value) > 1:
            raise UnsupportedError(
                message(
                    "gradients",
                    "one tensor stands for two arguments, whose gradients are not its own",
                    {"wrt": name},
                    "another tensor for each argument",
                )
            )
        yield value


def _pairs(trace: Trace, value: Any, dy: Any) -> Iterator[tuple[Value, Value]]:
    """Each result and its gradient; results whose gradient is None do not matter."""
    results, structure = flatten(value)
    if dy is None:
        if len(results) != 1 or not isinstance(results[0], Operand) or results[0].ndim:
            shapes = [getattr(one, "shape", type(one).__name__) for one in results]
            raise ShapeError(
                message(
                    "gradients",
                    "only one number has gradients by itself",
                    {"value": shapes[0] if len(shapes) == 1 else shapes},
                    "a loss of shape (), or dy=, an array like the value",
                    "Of a sum over all elements: dy=np.ones(shape)",
                )
            )
        result = _floating("value", results[0])._value(trace)
        yield result, number(1.0, result.dtype)
        return
    given, _ = flatten(dy)
    if flatten(dy)[1] != structure:
        given = _aligned(value, dy)
    for result, one in zip(results, given, strict=True):
        if one is None:
            continue
        y = _floating("value", result)._value(trace)
        (d,) = place_values(trace, [one], Meeting.FLOATING)
        if not d.dtype.is_floating or not same_shape(d.shape, y.shape):
            raise (ShapeError if d.dtype.is_floating else DTypeError)(
                message(
                    "gradients",
                    "dy is not like the value",
                    {"dy": d.type, "value": y.type},
                    f"{y.type}",
                )
            )
        yield y, d if d.dtype is y.dtype else trace.place(Cast(y.dtype), d)


def _aligned(value: Any, dy: Any) -> list[Any]:
    """The leaves of dy beside those of value, None for all below a None."""
    if dy is None:
        return [None] * len(flatten(value)[0])
    if isinstance(value, Mapping) and isinstance(dy, Mapping) and value.keys() == dy.keys():
        return [one for name in value for one in _aligned(value[name], dy[name])]
    both = isinstance(value, tuple | list) and isinstance(dy, tuple | list)
    if both and len(value) == len(dy):
        return [one for a, b in zip(value, dy, strict=True) for one in _aligned(a, b)]
    if isinstance(value, Mapping | tuple | list) or isinstance(dy, Mapping | tuple | list):
        raise TypeError(
            message(
                "gradients",
                "dy has another structure than the value",
                {"dy": type(dy), "value": type(value)},
                "the value's structure, None for what does not matter",
            )
        )
    return [dy]


def _floating(name: str, leaf: Any) -> Operand:
    if isinstance(leaf, Operand) and leaf._type.dtype.is_floating:
        return leaf
    raise DTypeError(
        message(
            "gradients",
            "only floating results have gradients",
            {name: leaf._type if isinstance(leaf, Operand) else type(leaf).__name__},
            "float32 or float64; dy=None for results that do not matter",
        )
    )


def _zeros(trace: Trace, leaf: Value) -> Value:
    return expand(trace.place, number(0.0, leaf.dtype), leaf.shape)
