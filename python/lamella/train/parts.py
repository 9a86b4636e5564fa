# SPDX-License-Identifier: Apache-2.0
"""The programs of a step: each way to use one is a module of its own.

Its forward runs the net and the loss, differentiates, and places what happens to the gradients. So
compiling, caching by signature and structure, threads and the quick call are those of every module.
What programs share (net, loss, optimiser, sums, random state) is the step's.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella import _core
from lamella.errors import UnsupportedError, message
from lamella.ir.graph import Value
from lamella.ir.types import Array
from lamella.nn import compiled
from lamella.nn.module import Module
from lamella.nn.parameter import Parameter
from lamella.optim.clipping import clip_norm, clip_value
from lamella.optim.state import judge
from lamella.passes.differentiate import differentiate, ends
from lamella.runtime.families import Sizes
from lamella.runtime.session import Compiled
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Trace, current, current_trace
from lamella.train.arguments import gathered
from lamella.train.objective import Objective, gather, objective
from lamella.train.profile import UPDATE

if TYPE_CHECKING:
    from lamella.train.step import TrainStep

__all__ = ["Close", "Flush", "Gradients", "Hold", "Idle", "Options", "Part", "Update"]

Pairs = Sequence[tuple[Parameter, Value | None]]


@dataclass(frozen=True)
class Options:
    """What is done to the gradients between backward and update, and what comes back."""

    clip_norm: float | None
    clip_value: float | None
    outputs: bool
    mass: bool


class Part(Module):
    """One program of a step. rows: whether it gathers its batch from whole data sets."""

    def __init__(self, step: TrainStep, rows: bool) -> None:
        super().__init__()
        self.net = step.net
        self.loss = step.loss
        self.step = step
        self.rows = rows

    def _dispatch(self, *inputs: Any, **named: Any) -> Any:
        if current_trace() is not None:
            if self is not self.step._compiling:
                raise UnsupportedError(
                    message("TrainStep", "called within a traced function", None, "arrays")
                )
            return compiled.dispatch(self, inputs, named)
        with self._compiling():
            return compiled.dispatch(self, inputs, named)

    def _beside(self) -> Sequence[_core.Structure]:
        return self.step.followed()

    def _outside(self) -> Hashable:
        return self.step.structure()

    def find(self, *arguments: Any) -> tuple[Compiled, list[Array]]:
        """The program of a call with these arguments, and the arrays that it takes."""
        with self._compiling():
            return self._compiled.find(self, *arguments)

    def exact(self, *arguments: Any) -> tuple[Compiled, list[Array]]:
        """As `find`; the graph is of the sizes of these arguments."""
        with self._compiling():
            return self._compiled.exact(self, *arguments)

    def sizes(self, *arguments: Any) -> Sizes | None:
        """What is known of the sizes of such calls."""
        with self._compiling():
            return self._compiled.sizes(self, *arguments)

    @contextmanager
    def _compiling(self) -> Iterator[None]:
        """Makes this the one part that may be traced."""
        with self.step._lock:
            self.step._compiling = self
            try:
                yield
            finally:
                self.step._compiling = None

    def forward(self, *arguments: Any) -> Any:
        """arguments: as `spread` gives them, then rows' index if there is one, and weights."""
        x, y, *rest = gathered(arguments)
        trace = current()
        trace.builder.random = self.step._random
        weight = rest[-1]
        if self.rows:
            x, y, weight = (gather(trace, tree, rest[0]) for tree in (x, y, weight))
        output = self._output(x)
        _require_classes(self.step.classes, output)
        found = objective(self.loss, x, output, y, weight)
        self._finish(trace, found)
        return self._answer(trace, found, output)

    def _output(self, x: Any) -> Any:
        if isinstance(x, Mapping):
            return self.net(**x)
        return self.net(*x) if isinstance(x, tuple | list) else self.net(x)

    def _finish(self, trace: Trace, found: Objective) -> None:
        """Places what follows the loss."""
        raise NotImplementedError

    def _answer(self, trace: Trace, found: Objective, output: Any) -> Any:
        """What a call returns."""
        options = self.step.options
        parts = [found.loss, output] if options.outputs else [found.loss]
        if options.mass:
            parts.append(found.measure(trace))
        return tuple(parts) if len(parts) > 1 else found.loss

    def gradients(self, trace: Trace, loss: Value, wrt: Sequence[Parameter]) -> list[Value | None]:
        """The gradients that there are."""
        for parameter in wrt:
            judge("TrainStep", parameter)
        leaves = [trace.parameter(parameter) for parameter in wrt]
        return differentiate(trace.place, loss, leaves)


class Gradients(Part):
    """Loss and gradients; changes nothing."""

    def _finish(self, trace: Trace, found: Objective) -> None:
        trace.updates = []

    def _answer(self, trace: Trace, found: Objective, output: Any) -> Any:
        named = {name: p for name, p in self.net.named_parameters() if p.requires_grad}
        gradients = self.gradients(trace, found.loss._value(trace), list(named.values()))
        return found.loss, {
            name: Tensor(
                trace.constant(np.zeros_like(parameter.memory)) if gradient is None else gradient,
                trace,
            )
            for (name, parameter), gradient in zip(named.items(), gradients, strict=True)
        }


class Idle(Part):
    """The answer to a batch in which no sample counts; changes nothing."""

    def _finish(self, trace: Trace, found: Objective) -> None:
        trace.updates = []


class Update(Part):
    """Updates the parameters with this call's gradients."""

    def _finish(self, trace: Trace, found: Objective) -> None:
        self.update(trace, self.pairs(trace, found.loss._value(trace)))

    def pairs(self, trace: Trace, loss: Value) -> Pairs:
        """The optimiser's parameters that are trained, and their gradients."""
        wrt = self._wrt()
        gradients = self.gradients(trace, loss, wrt)
        if all(gradient is None for gradient in gradients):
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
        return list(zip(wrt, gradients, strict=True))

    def _wrt(self) -> list[Parameter]:
        return [one for one in self.step.optimizer.parameters if one.requires_grad]

    def update(self, trace: Trace, pairs: Pairs, mass: Value | None = None) -> None:
        """Places the update; mass: of all held calls and this one, which divides their sums."""
        # The name by which a profile knows the update's nodes; a trace ends with what fails in it.
        trace.enter(UPDATE)
        if mass is not None:
            held = self.step.sums
            pairs = [(one, held.mean(trace, one, gradient, mass)) for one, gradient in pairs]
            for one in self.step.optimizer.parameters:
                if not one.requires_grad:
                    held.drop(trace, one)
            trace.update(held.mass, trace.constant(np.float64(0)))
        parameters = [parameter for parameter, _ in pairs]
        gradients: Sequence[Value | None] = [gradient for _, gradient in pairs]
        options = self.step.options
        if options.clip_value is not None:
            gradients = clip_value(trace, gradients, options.clip_value)
        if options.clip_norm is not None:
            gradients, _ = clip_norm(trace, gradients, options.clip_norm)
        self.step.optimizer.place(trace, parameters, gradients)
        trace.leave()


class Hold(Update):
    """Adds the gradients to the sums and leaves the parameters alone."""

    def _finish(self, trace: Trace, found: Objective) -> None:
        held = self.step.sums
        mass = held.weigh(trace, found)
        for parameter, gradient in self.pairs(trace, found.total._value(trace)):
            if gradient is not None:
                held.add(trace, parameter, gradient)
        trace.update(held.mass, mass)


class Close(Update):
    """Updates the parameters with this call's gradients and those held before."""

    def _finish(self, trace: Trace, found: Objective) -> None:
        mass = self.step.sums.weigh(trace, found)
        self.update(trace, self.pairs(trace, found.total._value(trace)), mass)


class Flush(Update):
    """Updates the parameters with the gradients held before; called with nothing."""

    def forward(self, *arguments: Any) -> Any:
        """The mass of what was held."""
        trace = current()
        mass = trace.parameter(self.step.sums.mass)
        self.update(trace, [(one, None) for one in self._wrt()], mass)
        return Tensor(mass, trace)


def _require_classes(classes: Sequence[int], output: Any) -> None:
    """Raises ValueError for a class that the net has no output for; one column tells two apart."""
    if not classes or not isinstance(output, Operand):
        return
    count = output.shape[1] if output.ndim > 1 and output.shape[1] > 1 else 2
    none = [number for number in classes if not 0 <= number < count]
    if none:
        got = {"class_weight": none, "output": output.shape}
        raise ValueError(
            message("fit", "a weight for a class that does not exist", got, f"0 <= class < {count}")
        )
