# SPDX-License-Identifier: Apache-2.0
"""Losses that are more than a composite: against class indices, and the logarithm of BCE.

CrossEntropy gives its slopes together with the losses, from the same exponentials: the gradient is
one product. Outputs that are not wanted are not computed. All other losses are composites
(functional/regression.py and its neighbours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import ClassLossSpec
from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.graph import Place, Value
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import Lowered, Op, number, only, require_count, require_floating, unit
from lamella.ops.elementwise import Binary, Elementwise, Instruction, unary
from lamella.ops.shape import Reshape

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["ClampedLog", "CrossEntropy"]


@dataclass(frozen=True, slots=True)
class CrossEntropy(Op):
    """Losses of rows against classes given by index; operands x, target (int64), maybe weight.

    losses = -(1 - s) weight[target] log p[target] - s / C sum(weight log p), s = label_smoothing,
    p = softmax(x), or exp(x) with `log_probabilities`, which takes no smoothing

    Outputs: losses (rows), slopes d losses / d x (rows, C), weight[target] (rows); zeros where
    target is ignore_index. Another target outside [0, C) raises IndexError when the program runs.
    """

    ignore_index: int = -100
    label_smoothing: float = 0.0
    log_probabilities: bool = False
    optional_outputs = True
    raises = True
    positions = (1,)

    @property
    def label(self) -> str:
        return "nll_loss" if self.log_probabilities else "cross_entropy"

    def __str__(self) -> str:
        return self.label

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.label, inputs, 2, 3)
        x, target, *weight = inputs
        dtype = require_floating(self.label, ("input", "weight"), [x, *weight])
        if target.dtype is not DType.int64:
            raise DTypeError(
                message(self.label, "classes are not integers", {"target": target.dtype}, "int64")
            )
        if (
            len(x.shape) != 2
            or target.shape != x.shape[:1]
            or any(one.shape != x.shape[1:] for one in weight)
        ):
            raise ShapeError(
                message(
                    self.label,
                    "shapes do not fit",
                    dict(
                        zip(("input", "target", "weight"), [i.shape for i in inputs], strict=False)
                    ),
                    "(rows, C), (rows,) and (C,)",
                )
            )
        rows = TensorType(target.shape, dtype)
        return rows, TensorType(x.shape, dtype), rows

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        nothing = (None,) * (len(inputs) - 1)
        if dys[1] is not None:
            raise UnsupportedError(
                message(
                    self.label,
                    "its slopes have no gradient",
                    None,
                    "a loss that is differentiated once",
                    "Written with log_softmax and products it has second derivatives",
                )
            )
        if dys[0] is None:
            return (None, *nothing)
        column = place(Reshape((*outputs[0].shape, 1)), dys[0])
        return (place(Binary("mul"), outputs[1], column), *nothing)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x, target = arrays[0].astype(np.float64), arrays[1]
        rows, cols = x.shape
        kept = target != self.ignore_index
        if not ((target[kept] >= 0) & (target[kept] < cols)).all():
            raise IndexError(
                message(
                    self.label,
                    "index out of range",
                    {"target": f"{target[kept].min()}..{target[kept].max()}"},
                    f"0 <= target < {cols}, or {self.ignore_index}",
                )
            )
        if x.size == 0:
            return np.zeros(rows), x, np.zeros(rows)
        at = np.where(kept, target, 0)[:, None]
        weight = _weights(arrays)
        own = np.where(kept, weight[at[:, 0]], 0.0)
        hit, spread = self._shares(cols)
        with np.errstate(all="ignore"):
            log_p = x if self.log_probabilities else _log_softmax(x)
            losses = -hit * own * np.take_along_axis(log_p, at, 1)[:, 0]
            slopes = np.zeros_like(x)
            if not self.log_probabilities:
                slopes = np.exp(log_p) * (hit * own + spread * weight.sum())[:, None]
            if spread:
                losses = losses - spread * (weight * log_p).sum(1)
                slopes = slopes - spread * weight
        hits = np.take_along_axis(slopes, at, 1) - hit * own[:, None]
        np.put_along_axis(slopes, at, hits, 1)
        return np.where(kept, losses, 0.0), np.where(kept[:, None], slopes, 0.0), own

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        losses, slopes, own = results
        if slopes.size == 0:
            return np.zeros(losses.shape), np.zeros(slopes.shape), np.zeros(own.shape)
        u = unit(arrays[0].dtype)
        if self.log_probabilities:
            return u * np.abs(losses), np.zeros(slopes.shape), np.zeros(own.shape)
        x, weight = arrays[0].astype(np.float64), np.abs(_weights(arrays))
        cols = x.shape[1]
        hit, spread = self._shares(cols)
        least = np.finfo(arrays[0].dtype).smallest_subnormal
        with np.errstate(all="ignore"):
            log_p = _log_softmax(x)
            distance = x.max(1, keepdims=True) - x
            distance = np.where(np.isfinite(distance), distance, 0.0)
            # As in Softmax: the sum of C positive terms adds C + 2 roundings, an exponential its
            # distance's; a smoothed loss adds C terms, every one weight * (distance + log(sum)).
            size = 1.0 + np.abs(log_p) + distance
            target = np.where(arrays[1] == self.ignore_index, 0, arrays[1])[:, None]
            share = hit * np.abs(own)
            bound = share * np.take_along_axis(size, target, 1)[:, 0]
            if spread:
                bound = bound + spread * (weight * size).sum(1)
            mass = (share + spread * weight.sum())[:, None]
            steep = (cols + 12 + 2 * distance) * np.exp(log_p) * mass
            steep = steep + 3 * (spread * weight + share[:, None])
        bounds = (cols + 12) * u * bound, u * steep + 4 * least
        first, second = (np.where(np.isfinite(one), one, 0.0) for one in bounds)
        return first, second, np.zeros(own.shape)

    def _shares(self, cols: int) -> tuple[float, float]:
        """What the target itself and each of the classes count."""
        return 1.0 - self.label_smoothing, self.label_smoothing / cols

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        x, target, *weight = inputs
        losses, slopes, weights = outputs
        rows, cols = x.type.shape
        spec = ClassLossSpec(
            dtype=x.type.dtype.value,
            rows=rows,
            cols=cols,
            log_probabilities=self.log_probabilities,
            ignored=self.ignore_index,
            smoothing=self.label_smoothing,
        )
        program.add(
            spec,
            x=x.slot,
            target=target.slot,
            weight=weight[0].slot if weight else None,
            losses=losses.slot if losses.wanted else None,
            slopes=slopes.slot if slopes.wanted else None,
            weights=weights.slot if weights.wanted else None,
        )


def _weights(arrays: Sequence[Array]) -> Array:
    """The weights of the classes; ones where none are given."""
    return arrays[2].astype(np.float64) if len(arrays) > 2 else np.ones(arrays[0].shape[1])


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result


@dataclass(frozen=True, slots=True)
class ClampedLog(Elementwise):
    """y = max(log(x), -100), or with `complement` max(log(1 - x), -100); NaN outside [0, 1].

    The slope is 1 / max(x, 1e-12), so that a probability of zero keeps a finite gradient. Both
    numbers are those of torch.nn.functional.binary_cross_entropy.
    """

    complement: bool = False

    @property
    def label(self) -> str:
        return "clamped_log"

    def __str__(self) -> str:
        return "clamped_log(1 - x)" if self.complement else "clamped_log"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.label, inputs, 1)
        require_floating(self.label, ("x",), inputs)
        return (inputs[0],)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        dtype = inputs[0].dtype
        names = ("neg", "log1p") if self.complement else ("log",)
        code = [Instruction(name, dtype, (place,)) for place, name in enumerate(names)]
        return (*code, Instruction("hardtanh", dtype, (len(code),), (-100.0, np.inf)))

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        x, dy = inputs[0], only(dys)
        if self.complement:
            x = place(Binary("sub"), number(1.0, x.dtype), x)
            dy = place(unary("neg"), dy)
        return (place(Binary("div"), dy, place(unary("hardtanh", 1e-12, np.inf), x)),)
