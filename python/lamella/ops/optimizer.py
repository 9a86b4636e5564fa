# SPDX-License-Identifier: Apache-2.0
"""Optimisers' updates: (parameter, gradient, state..., scalars) -> (parameter', state'...).

The scalars are a float64 array of UpdateScalars, computed from the number of steps and the group's
hyper-parameters when the program runs: the sign of the gradient (-1 maximises), the coupled weight
decay, then the rule's own. What changes the arrays or the formula is a field of the op; numbers are
not, so that a scheduler changes them without compiling. Formulas and their order of roundings are
PyTorch's (torch/optim, single-tensor).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lamella._core import UpdateScalarsSpec, UpdateSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import Lowered, Op, require_count, require_floating, unit

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = [
    "HYPER",
    "AdagradUpdate",
    "AdamUpdate",
    "RmsPropUpdate",
    "SgdUpdate",
    "Update",
    "UpdateScalars",
]

# As many as any rule has; steps/optimizer.h has the same number.
_SCALARS = 9


def _sgd(h: Sequence[float], step: float) -> list[float]:
    first = step == 1
    return [h[0], h[1], 0.0 if first else h[3], 1.0 if first else 1 - h[4], h[3], -h[2]]


def _adam(h: Sequence[float], step: float) -> list[float]:
    sign, decay, lr, beta1, beta2, eps = h
    correction1: float = 1 - beta1**step
    correction2: float = 1 - beta2**step
    size = lr / correction1 if correction1 else math.copysign(math.inf, lr)
    return [sign, decay, 1 - beta1, beta2, 1 - beta2, correction2**0.5, eps, -size, 1.0]


def _adamw(h: Sequence[float], step: float) -> list[float]:
    scalars = _adam(h, step)
    return [h[0], 0.0, *scalars[2:8], 1 - h[2] * h[1]]


def _rmsprop(h: Sequence[float], step: float) -> list[float]:
    return [h[0], h[1], h[3], 1 - h[3], h[4], -h[2], h[5]]


def _adagrad(h: Sequence[float], step: float) -> list[float]:
    return [h[0], h[1], h[4], -(h[2] / (1 + (step - 1) * h[3]))]


_COMPUTE: dict[str, Callable[[Sequence[float], float], list[float]]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
}

# The hyper-parameters of each rule behind the sign of the gradient and weight_decay.
HYPER: dict[str, tuple[str, ...]] = {
    "sgd": ("lr", "momentum", "dampening"),
    "adam": ("lr", "beta1", "beta2", "eps"),
    "adamw": ("lr", "beta1", "beta2", "eps"),
    "rmsprop": ("lr", "alpha", "eps", "momentum"),
    "adagrad": ("lr", "lr_decay", "eps"),
}


@dataclass(frozen=True, slots=True)
class UpdateScalars(Op):
    """(step, hyper) -> (step + 1, scalars), all float64: what every parameter's update reads."""

    rule: str
    differentiable = False

    @property
    def label(self) -> str:
        return "update_scalars"

    def __str__(self) -> str:
        return f"update_scalars({self.rule})"

    def overwrites_operand(self, output: int, /) -> int:
        """The new count may lie on the old one, nothing on the hyper-parameters."""
        return 0

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.label, inputs, 2)
        step, hyper = inputs
        count = 2 + len(HYPER[self.rule])
        if step.shape or hyper.shape != (count,):
            raise ShapeError(
                message(
                    self.label,
                    "one count and all hyper-parameters",
                    {"step": step.shape, "hyper": hyper.shape},
                    f"() and ({count},)",
                )
            )
        if require_floating(self.label, ("step", "hyper"), inputs) is not DType.float64:
            raise DTypeError(
                message(self.label, "not in double", {"step": step.dtype}, "float64 everywhere")
            )
        return step, TensorType((_SCALARS,), DType.float64)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        """Exact: Python's ** is the C library's pow, as in the step."""
        step = float(arrays[0]) + 1
        scalars = _COMPUTE[self.rule](arrays[1].tolist(), step)
        return np.array(step), np.array(scalars + [0.0] * (_SCALARS - len(scalars)))

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        program.add(
            UpdateScalarsSpec(rule=self.rule, count=inputs[1].type.size),
            step=inputs[0].slot,
            hyper=inputs[1].slot,
            next=outputs[0].slot,
            scalars=outputs[1].slot,
        )


@dataclass(frozen=True, slots=True)
class _Bounded:
    """A value in float64 and how far the kernel's may be from it."""

    value: Array
    error: Array

    def scaled(self, factor: float, u: float) -> _Bounded:
        """Times a scalar that is itself rounded: two roundings."""
        size = np.abs(factor * self.value)
        return _Bounded(factor * self.value, abs(factor) * self.error * (1 + 2 * u) + 2 * u * size)

    def plus(self, other: _Bounded, u: float) -> _Bounded:
        value, error = self.value + other.value, self.error + other.error
        return _Bounded(value, error + u * (np.abs(value) + error))

    def squared(self, u: float) -> _Bounded:
        value = np.square(self.value)
        error = self.error * (2 * np.abs(self.value) + self.error)
        return _Bounded(value, error + u * (value + error))

    def root(self, u: float) -> _Bounded:
        value = np.sqrt(self.value)
        # |sqrt(a) - sqrt(b)| is at most |a - b| / sqrt(a) and at most sqrt|a - b|.
        moved = np.minimum(self.error / value, np.sqrt(self.error))
        moved = np.where(value > 0, moved, np.sqrt(self.error))
        return _Bounded(value, moved + u * (value + moved))

    def over(self, other: _Bounded, u: float) -> _Bounded:
        value = self.value / other.value
        least = np.abs(other.value) - other.error
        error = (self.error + np.abs(value) * other.error) / np.where(least > 0, least, 0.0)
        return _Bounded(value, error + u * (np.abs(value) + error))


def _lerp(start: _Bounded, end: _Bounded, weight: float, u: float) -> _Bounded:
    change = end.plus(start.scaled(-1.0, 0.0), u)
    if abs(weight) < 0.5:
        return start.plus(change.scaled(weight, u), u)
    # The kernel subtracts 1 from the rounded weight.
    return end.plus(change.scaled(weight - 1, 2 * u), u)


class Update(Op):
    """Base of the updates: `states` arrays of state stand between gradient and scalars."""

    __slots__ = ()
    differentiable: ClassVar[bool] = False
    learns: ClassVar[bool] = True

    @property
    def kernel(self) -> str:
        """The kernel's name."""
        raise NotImplementedError

    @property
    def states(self) -> tuple[str, ...]:
        """The state's names, PyTorch's, in order."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        return "update"

    def __str__(self) -> str:
        return self.kernel

    def overwrites_operand(self, output: int, /) -> int:
        """The new parameter may lie on the old one, the new state on the old state."""
        return output + 1 if output else 0

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return tuple(np.asarray(item.value) for item in self._bounded(arrays, 0.0))

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        # Every rounding is carried to the end, the kernel's and the reference's own.
        u = unit(arrays[0].dtype) + unit(DType.float64)
        with np.errstate(all="ignore"):
            errors = [item.error for item in self._bounded(arrays, u)]
            return tuple(np.where(np.isfinite(error), error, 0.0) for error in errors)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        spec = UpdateSpec(
            rule=self.kernel, dtype=inputs[0].type.dtype.value, count=inputs[0].type.size
        )
        program.add(
            spec,
            x=[item.slot for item in inputs[:-1]],
            scalars=inputs[-1].slot,
            y=[item.slot for item in outputs],
        )

    def _judge(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        names = ("parameter", "gradient", *self.states)
        require_count(self.kernel, inputs, len(names) + 1)
        arrays, scalars = inputs[:-1], inputs[-1]
        require_floating(self.kernel, names, arrays)
        for name, type in zip(names, arrays, strict=True):
            if type.shape != arrays[0].shape:
                raise ShapeError(
                    message(
                        self.kernel,
                        f"{name} and parameter differ",
                        {"parameter": arrays[0].shape, name: type.shape},
                        "equal shapes",
                    )
                )
        if scalars != TensorType((_SCALARS,), DType.float64):
            raise ShapeError(
                message(
                    self.kernel,
                    "no scalars of an update",
                    {"scalars": scalars},
                    f"float64 ({_SCALARS},)",
                )
            )
        return (arrays[0], *arrays[2:])

    def _bounded(self, arrays: Sequence[Array], u: float) -> list[_Bounded]:
        """The results with their errors for unit roundoff u."""
        scalars = arrays[-1].tolist()
        exact = [_Bounded(x.astype(np.float64), np.zeros(x.shape)) for x in arrays[:-1]]
        parameter, gradient, *state = exact
        gradient = _Bounded(scalars[0] * gradient.value, gradient.error)
        if scalars[1] != 0:
            gradient = gradient.plus(parameter.scaled(scalars[1], u), u)
        return self._apply(parameter, gradient, state, scalars[2:], u)

    def _apply(
        self,
        parameter: _Bounded,
        gradient: _Bounded,
        state: list[_Bounded],
        s: Sequence[float],
        u: float,
    ) -> list[_Bounded]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SgdUpdate(Update):
    """b' = momentum b + (1 - dampening) g; p' = p - lr d, d = b', or with nesterov g + momentum b'.

    Without momentum d = g. The first step takes b' = g. Source: torch.optim.SGD.
    """

    momentum: bool = False
    nesterov: bool = False

    @property
    def kernel(self) -> str:
        return "sgd_nesterov" if self.nesterov else "sgd_momentum" if self.momentum else "sgd"

    @property
    def states(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.momentum else ()

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        return self._judge(inputs)

    def _apply(
        self,
        parameter: _Bounded,
        gradient: _Bounded,
        state: list[_Bounded],
        s: Sequence[float],
        u: float,
    ) -> list[_Bounded]:
        decay, keep, momentum, step = s[:4]
        direction = gradient
        if self.momentum:
            state = [state[0].scaled(decay, u).plus(gradient.scaled(keep, u), u)]
            direction = state[0]
        if self.nesterov:
            direction = gradient.plus(state[0].scaled(momentum, u), u)
        return [parameter.plus(direction.scaled(step, u), u), *state]


@dataclass(frozen=True, slots=True)
class AdamUpdate(Update):
    """m' = m + (1 - b1)(g - m); v' = b2 v + (1 - b2) g^2; p' = p - size m' / (sqrt(v') / c + eps).

    size = lr / (1 - b1^step), c = sqrt(1 - b2^step). amsgrad: the largest v' so far is taken.
    decoupled (AdamW): p is first multiplied by 1 - lr weight_decay. Source: torch.optim.Adam;
    Kingma and Ba, 2015; Loshchilov and Hutter, 2019; Reddi, Kale, Kumar, 2018.
    """

    amsgrad: bool = False
    decoupled: bool = False

    @property
    def kernel(self) -> str:
        return ("adamw" if self.decoupled else "adam") + ("_amsgrad" if self.amsgrad else "")

    @property
    def states(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq") + (("max_exp_avg_sq",) if self.amsgrad else ())

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        return self._judge(inputs)

    def _apply(
        self,
        parameter: _Bounded,
        gradient: _Bounded,
        state: list[_Bounded],
        s: Sequence[float],
        u: float,
    ) -> list[_Bounded]:
        weight, beta2, rest2, correction, eps, step, shrink = s
        average, average_square, *maximum = state
        mean = _lerp(average, gradient, weight, u)
        square = average_square.scaled(beta2, u).plus(gradient.squared(u).scaled(rest2, u), u)
        state = [mean, square]
        if self.amsgrad:
            value = np.maximum(maximum[0].value, square.value)
            state = [mean, square, _Bounded(value, square.error)]
            square = state[2]
        spread = _spread(square, correction, eps, u)
        if self.decoupled:
            parameter = parameter.scaled(shrink, u)
        return [parameter.plus(mean.scaled(step, u).over(spread, u), u), *state]


@dataclass(frozen=True, slots=True)
class RmsPropUpdate(Update):
    """s' = alpha s + (1 - alpha) g^2; p' = p - lr g / (sqrt(s') + eps).

    centered: the root is of s' - a'^2 with a' = a + (1 - alpha)(g - a). momentum: b' = momentum b +
    g / (...), p' = p - lr b'. Source: torch.optim.RMSprop; Hinton's lectures; Graves, 2013.
    """

    centered: bool = False
    momentum: bool = False

    @property
    def kernel(self) -> str:
        return "rmsprop" + "_centered" * self.centered + "_momentum" * self.momentum

    @property
    def states(self) -> tuple[str, ...]:
        names = ("square_avg",) + ("grad_avg",) * self.centered
        return names + ("momentum_buffer",) * self.momentum

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        return self._judge(inputs)

    def _apply(
        self,
        parameter: _Bounded,
        gradient: _Bounded,
        state: list[_Bounded],
        s: Sequence[float],
        u: float,
    ) -> list[_Bounded]:
        alpha, rest, eps, step, momentum = s[:5]
        square = state[0].scaled(alpha, u).plus(gradient.squared(u).scaled(rest, u), u)
        new = [square]
        if self.centered:
            mean = _lerp(state[1], gradient, rest, u)
            new.append(mean)
            square = square.plus(mean.squared(u).scaled(-1.0, 0.0), u)
        spread = _spread(square, 1.0, eps, u)
        if not self.momentum:
            return [parameter.plus(gradient.scaled(step, u).over(spread, u), u), *new]
        new.append(state[-1].scaled(momentum, u).plus(gradient.over(spread, u), u))
        return [parameter.plus(new[-1].scaled(step, u), u), *new]


@dataclass(frozen=True, slots=True)
class AdagradUpdate(Update):
    """s' = s + g^2; p' = p - lr / (1 + (step - 1) lr_decay) g / (sqrt(s') + eps).

    Source: torch.optim.Adagrad; Duchi, Hazan, Singer, 2011.
    """

    @property
    def kernel(self) -> str:
        return "adagrad"

    @property
    def states(self) -> tuple[str, ...]:
        return ("sum",)

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        return self._judge(inputs)

    def _apply(
        self,
        parameter: _Bounded,
        gradient: _Bounded,
        state: list[_Bounded],
        s: Sequence[float],
        u: float,
    ) -> list[_Bounded]:
        eps, step = s[:2]
        square = state[0].plus(gradient.squared(u), u)
        spread = _spread(square, 1.0, eps, u)
        return [parameter.plus(gradient.scaled(step, u).over(spread, u), u), square]


def _spread(square: _Bounded, correction: float, eps: float, u: float) -> _Bounded:
    """sqrt(square) / correction + eps."""
    root = square.root(u)
    one = np.ones(())
    if correction != 1:
        root = root.over(_Bounded(correction * one, u * correction * one), u)
    return root.plus(_Bounded(eps * one, u * eps * one), u)
