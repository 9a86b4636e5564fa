# SPDX-License-Identifier: Apache-2.0
"""TrainStep: forward, loss, backward and update of one batch as one program.

Each way to use a step is a module of its own (`_Update`, `_Hold`, `_Gradients`), whose forward runs
the net and the loss, differentiates, and places what happens to the gradients. So compiling,
caching by signature and structure, threads and the quick call are those of every module. TrainStep
holds what they share: the net, the loss, the optimiser, and the random state.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lamella.errors import ShapeError, UnsupportedError, message
from lamella.ir.graph import Value
from lamella.ir.types import Array
from lamella.nn import compiled
from lamella.nn.module import Module
from lamella.nn.parameter import Buffer, Parameter
from lamella.ops.elementwise import Binary
from lamella.optim.clipping import clip_norm, clip_value
from lamella.optim.group import number
from lamella.optim.optimizer import Optimizer
from lamella.passes.differentiate import differentiate, ends
from lamella.runtime.session import Compiled
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Trace, current, current_trace
from lamella.train.memory import Memory
from lamella.train.objective import batch_loss, gather
from lamella.train.profile import UPDATE, StepProfile, profile

__all__ = ["TrainStep"]


_steps: weakref.WeakSet[TrainStep] = weakref.WeakSet()
_forks = threading.RLock()
_waited: list[TrainStep] = []


@dataclass(frozen=True)
class _Options:
    """What is done to the gradients between backward and update, and what comes back."""

    clip_norm: float | None
    clip_value: float | None
    outputs: bool


class TrainStep:
    """One step of training as one native call: `step(x, y)` returns the loss.

    The program runs the net in its present mode (`net.train()`, `net.eval()`) on the batch, then
    the loss, the gradients of the optimiser's parameters, and the optimiser's update. Parameters
    with requires_grad False, and those that the loss does not depend on, keep value and state.
    Nothing is changed unless all of it succeeded: an error leaves the last finished step's numbers.

        loss = L(net(x), y);   parameters <- optimiser(parameters, dL/dparameters)

    Parameters: net, a module; loss, a module or function (output, target) -> a number (shape ());
    optimizer, of `lamella.optim`, over parameters of the net; clip_norm, the largest Euclidean norm
    of all gradients together, > 0; clip_value, the largest magnitude of one element, > 0;
    accumulate, how many calls make one update, >= 1, their gradients averaged; outputs, whether a
    call returns (loss, net's output); seed, for dropout, drawn from the process's generator when
    None. Called with: x, the net's input, a tuple of inputs or a dict of named inputs; y, what the
    loss compares with; sample_weight, shape (N,), weights of the samples.
    Returns: the loss, an array of shape () and the net's dtype; the result of an update that
    others are making to the same parameters at that time is a RuntimeError.
    Raises: ShapeError, DTypeError where net, loss and arrays do not fit; IndexError for a class
    that does not exist.

    >>> import numpy as np, lamella as lm
    >>> from lamella import nn, optim
    >>> net = nn.Linear(2, 1)
    >>> step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    >>> x, y = np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32)
    >>> losses = [float(step(x, y)) for _ in range(200)]
    >>> losses[-1] < 1e-3
    True
    """

    def __init__(
        self,
        net: Module,
        loss: Callable[..., Any],
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        outputs: bool = False,
        seed: int | None = None,
    ) -> None:
        _require("net", net, Module, "a lamella.nn.Module")
        _require("optimizer", optimizer, Optimizer, "an optimiser of lamella.optim")
        if not callable(loss):
            raise TypeError(message("TrainStep", "loss is no function", {"loss": type(loss)}))
        for name, bound in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if bound is not None and not number("TrainStep", name, bound) > 0:
                raise ValueError(message("TrainStep", "no bound", {name: bound}, f"{name} > 0"))
        if isinstance(accumulate, bool) or int(accumulate) != accumulate or accumulate < 1:
            raise ValueError(
                message("TrainStep", "no number of calls", {"accumulate": accumulate}, "an int > 0")
            )
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.accumulate = int(accumulate)
        self.options = _Options(clip_norm, clip_value, bool(outputs))
        self._random = Buffer(np.array([_new_key(seed), 0], np.int64))
        self._sums: dict[int, Buffer] = {}
        self._reached: dict[int, bool] = {}
        self.held = 0
        self._parts: dict[tuple[type[_Part], bool], _Part] = {}
        self._lock = threading.RLock()
        self._compiling: _Part | None = None
        self._quick = self._part(_Update, False) if self.accumulate == 1 else None
        _steps.add(self)

    def __call__(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """One step; see the class."""
        if self._quick is None:
            return self._accumulated(False, *_spread(x, y), sample_weight)
        if type(x) is tuple or type(y) is tuple:
            return self._quick(*_spread(x, y), sample_weight)
        return self._quick(x, y, sample_weight)

    def rows(self, x: Any, y: Any, index: Array, sample_weight: Any = None) -> Any:
        """A step on the rows `index` of whole data sets, which the program itself gathers.

            step.rows(x, y, index) = step(x[index], y[index])

        Parameters: x, y and sample_weight as in a call, with all samples along their first axes;
        index, int64 of shape (N,), 0 <= index < number of samples.
        Returns: what a call returns. Raises: as a call does; IndexError for an index outside.

        >>> import numpy as np, lamella as lm
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
        >>> x, y = np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32)
        >>> step.rows(x, y, np.array([1, 0, 1])).shape
        ()
        """
        if self.accumulate == 1:
            return self._part(_Update, True)(*_spread(x, y), index, sample_weight)
        return self._accumulated(True, *_spread(x, y), index, sample_weight)

    def gradients(
        self, x: Any, y: Any, sample_weight: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        """The loss and the gradient of every parameter of the net that requires one.

        Changes nothing: no parameter, no running statistic. Parameters that the loss does not
        depend on have gradients of zero.

        Parameters: as in a call. Returns: (loss, {name: gradient}). Raises: as a call does.

        >>> import numpy as np, lamella as lm
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
        >>> loss, d = step.gradients(np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32))
        >>> sorted(d), d["weight"].shape
        (['bias', 'weight'], (1, 2))
        """
        result: tuple[Array, dict[str, Array]] = self._part(_Gradients, False)(x, y, sample_weight)
        return result

    def memory(self, x: Any, y: Any, sample_weight: Any = None) -> Memory:
        """What a call with such arguments holds in memory; compiles it, runs nothing.

        Parameters: as in a call. Returns: a Memory: bytes of parameters, state, batch and arena,
        and their sum, `peak`. `lamella.summary(net, shape, training=True)` estimates the same
        before. Raises: as a call does, but for the values in the arrays.

        >>> import numpy as np, lamella as lm
        >>> from lamella import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> step = lm.TrainStep(net, nn.MSELoss(), optim.Adam(net.parameters()))
        >>> found = step.memory(np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32))
        >>> found.parameters, found.state, found.batch
        (12, 24, 24)
        """
        compiled, given = self._part(_Update, False).find(*_spread(x, y), sample_weight)
        stored = [*self.net.parameters(), *self.net.buffers()]
        return Memory(
            parameters=sum(one.array.nbytes for one in stored),
            state=self.optimizer.state_bytes + sum(b.array.nbytes for b in self._sums.values()),
            batch=sum(one.nbytes for one in given),
            arena=compiled.program.arena_bytes,
        )

    def __profile__(self, seconds: float, x: Any, y: Any, sample_weight: Any = None) -> StepProfile:
        """What `lamella.profile(step, x, y)` answers; the step is afterwards as it was before."""
        arguments = *_spread(x, y), sample_weight
        part = self._part(_Update, False)
        with self._lock:
            state = self.random_state
            try:
                return profile(*part.find(*arguments), partial(part, *arguments), seconds)
            finally:
                self.random_state = state

    @property
    def random_state(self) -> tuple[int, int]:
        """(key, calls) of the generator that dropout draws from: set it to repeat or to resume."""
        key, calls = self._random.array
        return int(key), int(calls)

    @random_state.setter
    def random_state(self, state: tuple[int, int]) -> None:
        self._random.data = np.array(state, np.int64)

    def _part(self, kind: type[_Part], rows: bool) -> _Part:
        part = self._parts.get((kind, rows))
        if part is None:
            part = self._parts[kind, rows] = kind(self, rows)
        return part

    def _accumulated(self, rows: bool, *arguments: Any) -> Any:
        with self._lock:
            last = self.held + 1 == self.accumulate
            after = 0 if last else self.held + 1
            before = self._versions()
            try:
                result = self._part(_Update if last else _Hold, rows)(*arguments)
            except BaseException:
                # Python raises KeyboardInterrupt when the native call is already over.
                if self._versions() != before:
                    self.held = after
                raise
            self.held = after
            return result

    def _versions(self) -> dict[int, int]:
        """Of the sums that were ever written: a call that fails may have made some."""
        found = {key: int(held.version[0]) for key, held in self._sums.items()}
        return {key: version for key, version in found.items() if version}

    def holds(self, parameter: Parameter) -> bool:
        """Whether a held call may have had a gradient of the parameter."""
        return id(parameter) in self._reached

    def reach(self, parameter: Parameter) -> None:
        """From now on an update looks for held gradients of the parameter."""
        self._reached[id(parameter)] = True

    def structure(self) -> tuple[Any, ...]:
        """What the programs depend on beside net and loss."""
        return self.optimizer.structure(), tuple(self._reached)

    def held_sum(self, parameter: Parameter) -> Buffer:
        """What the gradients of the held calls add up to, for one parameter."""
        found = self._sums.get(id(parameter))
        if found is None or found.array.dtype != parameter.array.dtype:
            found = self._sums[id(parameter)] = Buffer(np.zeros_like(parameter.array))
        return found

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_parts", "_lock", "_compiling", "_quick", "_sums", "_reached"):
            del state[name]
        state["held"] = 0
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _parts={}, _sums={}, _reached={}, _compiling=None)
        self._lock = threading.RLock()
        self._quick = self._part(_Update, False) if self.accumulate == 1 else None
        _steps.add(self)

    def __repr__(self) -> str:
        return f"TrainStep({type(self.net).__name__}, {self.loss!r}, {self.optimizer!r})"


def _before_fork() -> None:
    # A fork waits for calls in other threads, or the child would have their locks and half of what
    # they hold. The locks come before those of running programs, which the core takes later.
    _forks.acquire()
    for step in list(_steps):
        step._lock.acquire()
        _waited.append(step)


def _after_fork() -> None:
    while _waited:
        _waited.pop()._lock.release()
    _forks.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class _Part(Module):
    """One program of a step. rows: whether it gathers its batch from whole data sets."""

    def __init__(self, step: TrainStep, rows: bool) -> None:
        super().__init__()
        self.net = step.net
        self.loss = step.loss
        self.step = step
        self.rows = rows
        self.structure = step.structure()

    def _dispatch(self, *inputs: Any, **named: Any) -> Any:
        if current_trace() is not None:
            if self is not self.step._compiling:
                raise UnsupportedError(
                    message("TrainStep", "called within a traced function", None, "arrays")
                )
            return compiled.dispatch(self, inputs, named)
        with self._compiling():
            return compiled.dispatch(self, inputs, named)

    def find(self, *arguments: Any) -> tuple[Compiled, list[Array]]:
        """The program of a call with these arguments, and the arrays that it takes."""
        with self._compiling():
            return self._compiled.find(self, *arguments)

    @contextmanager
    def _compiling(self) -> Iterator[None]:
        """Makes this the one part that may be traced, in the structure that the step has now."""
        with self.step._lock:
            self.__dict__["structure"] = self.step.structure()
            self.step._compiling = self
            try:
                yield
            finally:
                self.step._compiling = None

    def forward(self, *arguments: Any) -> Any:
        """arguments: as `_spread` gives them, then rows' index if there is one, and weights."""
        x, y, *rest = _gathered(arguments)
        trace = current()
        trace.builder.random = self.step._random
        weight = rest[-1]
        if self.rows:
            x, y, weight = (gather(trace, tree, rest[0]) for tree in (x, y, weight))
        output = self._output(x)
        loss = batch_loss(self.loss, output, y, weight)
        if not isinstance(loss, Operand):
            raise TypeError(
                message(
                    "TrainStep",
                    "the loss does not depend on the net",
                    {"loss": type(loss)},
                    "what functions of the net's output give",
                )
            )
        value = loss._value(trace)
        if value.shape != () or not value.dtype.is_floating:
            raise ShapeError(
                message(
                    "TrainStep",
                    "the loss is no number",
                    {"loss": value.type},
                    "a float, shape ()",
                )
            )
        result = self.finish(trace, value)
        outputs = self.step.options.outputs and not isinstance(self, _Gradients)
        return (loss, output) if outputs else (loss if result is None else (loss, result))

    def _output(self, x: Any) -> Any:
        if isinstance(x, Mapping):
            return self.net(**x)
        return self.net(*x) if isinstance(x, tuple | list) else self.net(x)

    def finish(self, trace: Trace, loss: Value) -> Any:
        """Places what follows the loss; returns what the program returns beside it."""
        raise NotImplementedError

    def _gradients(self, trace: Trace, loss: Value, wrt: Sequence[Parameter]) -> list[Value | None]:
        leaves = [trace.parameter(parameter) for parameter in wrt]
        return differentiate(trace.place, loss, leaves)


class _Gradients(_Part):
    """Loss and gradients; changes nothing."""

    def finish(self, trace: Trace, loss: Value) -> dict[str, Tensor]:
        trace.updates = []
        named = {name: p for name, p in self.net.named_parameters() if p.requires_grad}
        found = self._gradients(trace, loss, list(named.values()))
        return {
            name: Tensor(
                trace.constant(np.zeros_like(parameter.array)) if gradient is None else gradient,
                trace,
            )
            for (name, parameter), gradient in zip(named.items(), found, strict=True)
        }


class _Hold(_Part):
    """Adds the gradients to the sums and leaves the parameters alone."""

    def finish(self, trace: Trace, loss: Value) -> None:
        for parameter, gradient in self._found(trace, loss):
            if gradient is not None:
                self.step.reach(parameter)
                held = self.step.held_sum(parameter)
                total = trace.place(Binary("add"), trace.parameter(held), gradient)
                trace.update(held, total)

    def _found(self, trace: Trace, loss: Value) -> list[tuple[Parameter, Value | None]]:
        wrt = [one for one in self.step.optimizer.parameters if one.requires_grad]
        found = self._gradients(trace, loss, wrt)
        if all(gradient is None for gradient in found):
            rule = "the loss depends on none of the optimiser's parameters that require gradients"
            stops = ends(loss, [trace.parameter(parameter) for parameter in wrt])
            raise ValueError(
                message(
                    "TrainStep",
                    rule + "".join(f", but by way of {op}, which has no slope" for op in stops[:1]),
                    {"parameters": len(wrt)},
                    "an optimiser over net.parameters()",
                )
            )
        return list(zip(wrt, found, strict=True))


class _Update(_Hold):
    """Updates the parameters with this call's gradients and those held before."""

    def finish(self, trace: Trace, loss: Value) -> None:
        pairs = self._found(trace, loss)
        # The name by which a profile knows the update's nodes; a trace ends with what fails in it.
        trace.enter(UPDATE)
        if self.step.accumulate > 1:
            pairs = [(one, self._mean(trace, one, gradient)) for one, gradient in pairs]
        parameters = [parameter for parameter, _ in pairs]
        gradients: Sequence[Value | None] = [gradient for _, gradient in pairs]
        options = self.step.options
        if options.clip_value is not None:
            gradients = clip_value(trace, gradients, options.clip_value)
        if options.clip_norm is not None:
            gradients, _ = clip_norm(trace, gradients, options.clip_norm)
        self.step.optimizer.place(trace, parameters, gradients)
        trace.leave()

    def _mean(self, trace: Trace, parameter: Parameter, gradient: Value | None) -> Value | None:
        if gradient is None and not self.step.holds(parameter):
            return None
        held = self.step.held_sum(parameter)
        total: Value = trace.parameter(held)
        if gradient is not None:
            total = trace.place(Binary("add"), total, gradient)
        trace.update(held, trace.constant(np.zeros_like(held.array)))
        count = trace.constant(np.asarray(self.step.accumulate, held.array.dtype))
        return trace.place(Binary("div"), total, count)


def _spread(x: Any, y: Any) -> tuple[Any, ...]:
    """x and y as arguments; tuples array by array behind their lengths, -1 for what is none.

    The quick call of a module knows arrays and numbers, and would leave tuples to Python.
    """
    if type(x) is tuple:
        return (len(x), len(y), *x, *y) if type(y) is tuple else (len(x), -1, *x, y)
    return (-1, len(y), x, *y) if type(y) is tuple else (x, y)


def _gathered(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tuples that `_spread` took apart, and what follows them."""
    if type(arguments[0]) is not int:
        return arguments
    (in_x, in_y), rest = arguments[:2], list(arguments[2:])
    taken = []
    for length in (in_x, in_y):
        items = [rest.pop(0) for _ in range(max(length, 1))] if length else []
        taken.append(tuple(items) if length >= 0 else items[0])
    return (*taken, *rest)


def _require(name: str, value: Any, kind: type[Any], expected: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(
            message("TrainStep", f"{name} is another kind of object", {name: type(value)}, expected)
        )


def _new_key(seed: int | None) -> int:
    """A generator's key: the seed, or entropy."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
