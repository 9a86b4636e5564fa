# SPDX-License-Identifier: Apache-2.0
"""Layer and root-mean-square normalisation over the last axes.

Batch normalisation at inference is a composite, which fuses to one pass over the statistics and one
over x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import LayerNormSpec, RmsNormSpec
from lamella.errors import ShapeError, message
from lamella.ir.graph import Place, Value
from lamella.ir.types import Array, TensorType
from lamella.ops.base import Lowered, Op, only, require_count, require_floating, unit
from lamella.ops.elementwise import Term
from lamella.ops.reduce import Reduce
from lamella.ops.shape import Reshape

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["LayerNorm", "RmsNorm"]


def _judge(
    label: str, axes: int, names: Sequence[str], inputs: Sequence[TensorType]
) -> tuple[TensorType, ...]:
    """The result's type; names: x, then the operands of the normalised axes' shape."""
    require_count(label, inputs, len(names))
    require_floating(label, names, inputs)
    shape = inputs[0].shape
    if not 1 <= axes <= len(shape):
        raise ShapeError(
            message(label, "no such axes", {"x": shape, "axes": axes}, f"1 <= axes <= {len(shape)}")
        )
    expected = shape[len(shape) - axes :]
    for name, type in zip(names[1:], inputs[1:], strict=True):
        if type.shape != expected:
            raise ShapeError(
                message(
                    label,
                    f"{name} does not fit the normalised axes",
                    {"x": shape, name: type.shape},
                    f"{name}.shape == {expected}",
                )
            )
    return (inputs[0],)


# Of (rows, columns): each row's mean, deviation and length, the sum over rows.
_MEAN = Reduce("mean", 1, 1, keepdim=True)
_SPREAD = Reduce("std", 1, 1, keepdim=True, correction=0.0)
_LENGTH = Reduce("norm", 1, 1, keepdim=True)
_TOTAL = Reduce("sum", 0, 0)


def _inverse_root(spread: Term, epsilon: float) -> Term:
    """1 / sqrt(spread^2 + epsilon), the squares taken of ratios to the larger of the two."""
    if epsilon == 0.0:
        return spread.unary("reciprocal")
    root = sqrt(epsilon)
    share = spread.unary("clamp", root, inf).unary("reciprocal")
    squares = (spread * share).unary("square") + (share * root).unary("square")
    return share * squares.unary("rsqrt")


def _rows(place: Place, x: Value, axes: int) -> Term:
    """x as rows of the normalised axes."""
    split = len(x.shape) - axes
    return Term(place, place(Reshape((prod(x.shape[:split]), prod(x.shape[split:]))), x))


def _flat(place: Place, weight: Value) -> Term:
    return Term(place, place(Reshape((weight.type.size,)), weight))


@dataclass(frozen=True, slots=True)
class LayerNorm(Op):
    """y = (x - mean) / sqrt(var + epsilon) * weight + bias over the last `axes` axes.

    var is the mean squared deviation. Operands: x, then weight and bias where they are used, both
    of the shape of the normalised axes. Source: Ba, Kiros, Hinton, "Layer Normalization", 2016.
    """

    axes: int
    epsilon: float = 1e-5
    weight: bool = False
    bias: bool = False

    @property
    def label(self) -> str:
        return "layer_norm"

    def __str__(self) -> str:
        return f"layer_norm({self.axes}, epsilon={self.epsilon:g})"

    def _extras(self) -> list[str]:
        return [name for name in ("weight", "bias") if getattr(self, name)]

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        return _judge(self.label, self.axes, ("x", *self._extras()), inputs)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x = arrays[0].astype(np.float64)
        axes = tuple(range(-self.axes, 0))
        extras = dict(zip(self._extras(), arrays[1:], strict=True))
        with np.errstate(all="ignore"):
            deviation = x - x.mean(axis=axes, keepdims=True)
            variance = np.square(deviation).mean(axis=axes, keepdims=True)
            y = deviation / np.sqrt(variance + self.epsilon)
            if "weight" in extras:
                y = y * extras["weight"]
            if "bias" in extras:
                y = y + extras["bias"]
        return (y,)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        x = arrays[0].astype(np.float64)
        u = unit(arrays[0].dtype)
        axes = tuple(range(-self.axes, 0))
        size = prod(x.shape[x.ndim - self.axes :])
        extras = dict(zip(self._extras(), arrays[1:], strict=True))
        with np.errstate(all="ignore"):
            # The mean is off by up to size * u * mean|x|, which the division by the deviation
            # scales; everything after that is relative.
            mean = np.abs(x).mean(axis=axes, keepdims=True)
            deviation = x - x.mean(axis=axes, keepdims=True)
            scale = np.sqrt(np.square(deviation).mean(axis=axes, keepdims=True) + self.epsilon)
            shift = (size + 4) * u * mean / scale + u * np.abs(x) / scale
            relative = (2 * size + 16) * u * np.abs(deviation / scale)
            # A shifted mean also enlarges the variance, in second order.
            bound = shift + relative + np.abs(deviation / scale) * np.square(shift)
            bound = bound * np.abs(extras.get("weight", np.ones(())))
            bound = bound + 4 * u * (np.abs(results[0]) + np.abs(extras.get("bias", np.zeros(()))))
            return (np.where(np.isfinite(bound), bound, 0.0),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """With h the normalised x, dh = dy weight, r the inverse deviation and means over a row:

        dx = r (dh - mean(dh) - h mean(dh h)), dweight = sum(dy h), dbias = sum(dy).
        """
        x, dy = _rows(place, inputs[0], self.axes), _rows(place, only(dys), self.axes)
        inverse = _inverse_root(x.apply(_SPREAD), self.epsilon)
        h = (x - x.apply(_MEAN)) * inverse
        dh = dy * _flat(place, inputs[1]) if self.weight else dy
        dx = (dh - dh.apply(_MEAN) - h * (dh * h).apply(_MEAN)) * inverse
        gradients = [dx.apply(Reshape(inputs[0].shape))]
        gradients += [(dy * h).apply(_TOTAL)] * self.weight + [dy.apply(_TOTAL)] * self.bias
        return (
            gradients[0].value,
            *(g.apply(Reshape(inputs[1].shape)).value for g in gradients[1:]),
        )

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        shape = inputs[0].type.shape
        split = len(shape) - self.axes
        extras = dict(zip(self._extras(), (item.slot for item in inputs[1:]), strict=True))
        spec = LayerNormSpec(
            dtype=inputs[0].type.dtype.value,
            rows=prod(shape[:split]),
            cols=prod(shape[split:]),
            epsilon=self.epsilon,
        )
        program.add(spec, x=inputs[0].slot, y=outputs[0].slot, **extras)


@dataclass(frozen=True, slots=True)
class RmsNorm(Op):
    """y = x / sqrt(mean(x^2) + epsilon) * weight over the last `axes` axes.

    Operands: x, then weight where it is used, of the shape of the normalised axes.
    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """

    axes: int
    epsilon: float = 1e-5
    weight: bool = False

    @property
    def label(self) -> str:
        return "rms_norm"

    def __str__(self) -> str:
        return f"rms_norm({self.axes}, epsilon={self.epsilon:g})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        return _judge(self.label, self.axes, ("x", "weight") if self.weight else ("x",), inputs)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x = arrays[0].astype(np.float64)
        axes = tuple(range(-self.axes, 0))
        with np.errstate(all="ignore"):
            y = x / np.sqrt(np.square(x).mean(axis=axes, keepdims=True) + self.epsilon)
            return (y * arrays[1] if self.weight else y,)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        # All terms of the sum are positive: every error is relative.
        size = prod(arrays[0].shape[arrays[0].ndim - self.axes :])
        y = np.abs(results[0].astype(np.float64))
        bound = (size / 2 + 8) * unit(arrays[0].dtype) * y
        bound = bound + 4 * np.finfo(arrays[0].dtype).smallest_subnormal
        return (np.where(np.isfinite(bound), bound, 0.0),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """With h = r x, r the inverse root mean square and dh = dy weight:

        dx = r (dh - h mean(dh h)), dweight = sum(dy h).
        """
        x, dy = _rows(place, inputs[0], self.axes), _rows(place, only(dys), self.axes)
        length = x.apply(_LENGTH) * (1.0 / sqrt(max(x.value.shape[1], 1)))
        inverse = _inverse_root(length, self.epsilon)
        h = x * inverse
        dh = dy * _flat(place, inputs[1]) if self.weight else dy
        dx = ((dh - h * (dh * h).apply(_MEAN)) * inverse).apply(Reshape(inputs[0].shape)).value
        if not self.weight:
            return (dx,)
        return dx, (dy * h).apply(_TOTAL).apply(Reshape(inputs[1].shape)).value

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        shape = inputs[0].type.shape
        split = len(shape) - self.axes
        spec = RmsNormSpec(
            dtype=inputs[0].type.dtype.value,
            rows=prod(shape[:split]),
            cols=prod(shape[split:]),
            epsilon=self.epsilon,
        )
        weight = inputs[1].slot if self.weight else None
        program.add(spec, x=inputs[0].slot, weight=weight, y=outputs[0].slot)
