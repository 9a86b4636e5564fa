# SPDX-License-Identifier: Apache-2.0
"""Ops that move elements and compute nothing; they take every dtype.

Reshape is a view: it costs nothing and the plan lets both values share memory. The others are
copies with strides, which may be zero (Expand) or negative (Slice backwards).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from operator import mul
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import CopySpec, FillSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.graph import Place, Value
from lamella.ir.types import (
    Array,
    DType,
    Shape,
    TensorType,
    broadcast_shapes,
    broadcast_strides,
    contiguous_strides,
)
from lamella.ops.base import Lowered, Op, number, only, require_count, widened

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Concat", "Expand", "Pad", "Permute", "Reshape", "Slice"]


def _holds(dtype: DType, value: float) -> bool:
    """Whether a number is one of an integer type, or of bool, and exact as the step takes it."""
    limits = np.iinfo(dtype.numpy) if dtype.is_integer else None
    low, high = (limits.min, limits.max) if limits else (0, 1)
    return abs(value) < 2.0**53 and value == int(value) and low <= value <= high


def _copy(
    program: ProgramBuilder, source: Lowered, shape: Shape, strides: Shape, target: Lowered
) -> None:
    """A copy of a strided view of `source`, as `shape`, onto the whole of `target`."""
    spec = CopySpec(
        item_bytes=source.type.dtype.itemsize,
        shape=shape,
        x_strides=strides,
        y_strides=contiguous_strides(shape),
    )
    program.add(spec, x=source.slot, y=target.slot)


@dataclass(frozen=True, slots=True)
class Reshape(Op):
    """The same elements in row-major order under another shape."""

    shape: Shape
    view = True

    def __str__(self) -> str:
        return f"reshape{self.shape}"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("reshape", inputs, 1)
        if prod(self.shape) != inputs[0].size or any(n < 0 for n in self.shape):
            raise ShapeError(
                message(
                    "reshape",
                    "sizes differ",
                    {"x": inputs[0].shape, "shape": self.shape},
                    f"a shape of {inputs[0].size} elements",
                )
            )
        return (TensorType(self.shape, inputs[0].dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (widened(arrays[0]).reshape(self.shape),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        return (place(Reshape(inputs[0].shape), only(dys)),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        """Nothing: the plan has put y where x is."""


@dataclass(frozen=True, slots=True)
class Permute(Op):
    """Axis i of y is axis order[i] of x."""

    order: Shape

    def __str__(self) -> str:
        return f"permute{self.order}"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("permute", inputs, 1)
        shape = inputs[0].shape
        if sorted(self.order) != list(range(len(shape))):
            raise ShapeError(
                message(
                    "permute",
                    "not an order of the axes",
                    {"x": shape, "dims": self.order},
                    f"each of 0..{len(shape) - 1} once" if shape else "()",
                )
            )
        return (TensorType(tuple(shape[axis] for axis in self.order), inputs[0].dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (np.array(widened(arrays[0]).transpose(self.order), order="C"),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        back = tuple(self.order.index(axis) for axis in range(len(self.order)))
        return (place(Permute(back), only(dys)),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        strides = contiguous_strides(inputs[0].type.shape)
        permuted = tuple(strides[axis] for axis in self.order)
        _copy(program, inputs[0], outputs[0].type.shape, permuted, outputs[0])


@dataclass(frozen=True, slots=True)
class Expand(Op):
    """x repeated along axes of extent one, and along new leading axes, up to `shape`."""

    shape: Shape

    def __str__(self) -> str:
        return f"expand{self.shape}"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("expand", inputs, 1)
        if broadcast_shapes(inputs[0].shape, self.shape) != self.shape:
            raise ShapeError(
                message(
                    "expand",
                    "shapes do not broadcast",
                    {"x": inputs[0].shape, "shape": self.shape},
                    "extents of x equal to the shape's or one, counted from the last axis",
                )
            )
        return (TensorType(self.shape, inputs[0].dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (np.broadcast_to(widened(arrays[0]), self.shape).copy(),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """dy as it is: the pass sums over what was repeated."""
        return (only(dys),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        strides = broadcast_strides(inputs[0].type.shape, self.shape)
        _copy(program, inputs[0], self.shape, strides, outputs[0])


@dataclass(frozen=True, slots=True)
class Slice(Op):
    """Along each axis the elements start, start + step, ...: `sizes` of them."""

    starts: Shape
    sizes: Shape
    steps: Shape

    def __str__(self) -> str:
        axes = [
            f"{start}:+{size}" + (f":{step}" if step != 1 else "")
            for start, size, step in zip(self.starts, self.sizes, self.steps, strict=True)
        ]
        return f"slice[{', '.join(axes)}]"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("slice", inputs, 1)
        shape = inputs[0].shape
        fits = len(shape) == len(self.starts) == len(self.sizes) == len(self.steps)
        if fits:
            for extent, start, size, step in zip(
                shape, self.starts, self.sizes, self.steps, strict=True
            ):
                last = start + (size - 1) * step
                fits &= size == 0 or (0 <= start < extent and 0 <= last < extent and step != 0)
                fits &= size >= 0
        if not fits:
            raise ShapeError(
                message(
                    "slice",
                    "reaches outside",
                    {"x": shape, "starts": self.starts, "sizes": self.sizes, "steps": self.steps},
                    "one start, size and step per axis, all elements inside",
                )
            )
        return (TensorType(self.sizes, inputs[0].dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        y = widened(arrays[0])
        for axis, (start, size, step) in enumerate(
            zip(self.starts, self.sizes, self.steps, strict=True)
        ):
            y = y.take(range(start, start + size * step, step or 1), axis=axis)
        return (y,)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """dy put back among zeros; steps beyond one are gaps of step - 1 zeros."""
        dy, shape = only(dys), inputs[0].shape
        if 0 in self.sizes:
            return (place(Expand(shape), number(0.0, dy.dtype)),)
        pairs = zip(self.steps, self.sizes, strict=True)
        steps = [step if step == 1 or size > 1 else 1 for step, size in pairs]
        if min(steps, default=1) < 0:
            starts = [
                size - 1 if step < 0 else 0 for step, size in zip(steps, self.sizes, strict=True)
            ]
            turns = tuple(-1 if step < 0 else 1 for step in steps)
            dy = place(Slice(tuple(starts), self.sizes, turns), dy)
        gaps = [abs(step) for step in steps]
        if max(gaps, default=1) > 1:
            # Each element gets an axis of its own, in which zeros follow it; the last ones go.
            apart = tuple(extent for size in self.sizes for extent in (size, 1))
            after = tuple(extent for gap in gaps for extent in (0, gap - 1))
            dy = place(Pad((0,) * len(after), after), place(Reshape(apart), dy))
            dy = place(Reshape(tuple(map(mul, self.sizes, gaps))), dy)
            spans = tuple((size - 1) * gap + 1 for size, gap in zip(self.sizes, gaps, strict=True))
            dy = place(Slice((0,) * len(spans), spans, (1,) * len(spans)), dy)
        before = tuple(
            start + (size - 1) * step if step < 0 else start
            for start, size, step in zip(self.starts, self.sizes, steps, strict=True)
        )
        rest = tuple(
            extent - start - span
            for extent, start, span in zip(shape, before, dy.shape, strict=True)
        )
        return (place(Pad(before, rest), dy) if any(before + rest) else dy,)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        source = inputs[0]
        if 0 in self.sizes:
            return
        strides = contiguous_strides(source.type.shape)
        first = sum(start * stride for start, stride in zip(self.starts, strides, strict=True))
        moved = Lowered(source.slot.shifted(first * source.type.dtype.itemsize), source.type)
        steps = tuple(stride * step for stride, step in zip(strides, self.steps, strict=True))
        _copy(program, moved, self.sizes, steps, outputs[0])


@dataclass(frozen=True, slots=True)
class Pad(Op):
    """x with `before` and `after` elements of one value added around each axis."""

    before: Shape
    after: Shape
    value: float = 0.0

    def __str__(self) -> str:
        return f"pad(before={self.before}, after={self.after}, value={self.value:g})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("pad", inputs, 1)
        shape = inputs[0].shape
        amounts = (*self.before, *self.after)
        if (
            len(self.before) != len(shape)
            or len(self.after) != len(shape)
            or any(amount < 0 for amount in amounts)
        ):
            raise ShapeError(
                message(
                    "pad",
                    "amounts do not fit",
                    {"x": shape, "before": self.before, "after": self.after},
                    "an amount >= 0 before and after each axis",
                )
            )
        if not inputs[0].dtype.is_floating and not _holds(inputs[0].dtype, self.value):
            raise DTypeError(
                message(
                    "pad",
                    "no element of this type",
                    {"x": inputs[0].dtype, "value": self.value},
                    "a whole number that it holds, below 2**53",
                )
            )
        padded = zip(self.before, shape, self.after, strict=True)
        return (TensorType(tuple(sum(extents) for extents in padded), inputs[0].dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        widths = list(zip(self.before, self.after, strict=True))
        return (np.pad(widened(arrays[0]), widths, constant_values=self.value),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        shape = inputs[0].shape
        return (place(Slice(self.before, shape, (1,) * len(shape)), only(dys)),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        source, target = inputs[0], outputs[0]
        fill = FillSpec(
            dtype=target.type.dtype.value, count=target.type.size, value=float(self.value)
        )
        program.add(fill, y=target.slot)
        strides = contiguous_strides(target.type.shape)
        if source.type.size == 0:
            return
        first = sum(start * stride for start, stride in zip(self.before, strides, strict=True))
        copy = CopySpec(
            item_bytes=source.type.dtype.itemsize,
            shape=source.type.shape,
            x_strides=contiguous_strides(source.type.shape),
            y_strides=strides,
        )
        offset = first * source.type.dtype.itemsize
        program.add(copy, x=source.slot, y=target.slot.shifted(offset))


@dataclass(frozen=True, slots=True)
class Concat(Op):
    """The operands one after the other along an axis; other extents are equal."""

    axis: int

    def __str__(self) -> str:
        return f"concat({self.axis})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        if not inputs:
            raise ShapeError(message("cat", "nothing to join", None, "at least one tensor"))
        first = inputs[0]
        if not 0 <= self.axis < len(first.shape):
            raise ShapeError(
                message(
                    "cat",
                    "no such axis",
                    {"tensors[0]": first.shape, "dim": self.axis},
                    f"0 <= dim < {len(first.shape)}" if first.shape else "tensors with an axis",
                )
            )
        for position, other in enumerate(inputs):
            if other.dtype is not first.dtype:
                raise DTypeError(
                    message(
                        "cat",
                        "element types differ",
                        {"tensors[0]": first.dtype, f"tensors[{position}]": other.dtype},
                        "one dtype",
                    )
                )
            if len(other.shape) != len(first.shape) or self._other(other.shape) != self._other(
                first.shape
            ):
                raise ShapeError(
                    message(
                        "cat",
                        "shapes differ outside the joined axis",
                        {"tensors[0]": first.shape, f"tensors[{position}]": other.shape},
                        f"equal extents but for axis {self.axis}",
                    )
                )
        total = sum(type.shape[self.axis] for type in inputs)
        shape = (*first.shape[: self.axis], total, *first.shape[self.axis + 1 :])
        return (TensorType(shape, first.dtype),)

    def _other(self, shape: Shape) -> tuple[Shape, Shape]:
        return shape[: self.axis], shape[self.axis + 1 :]

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (np.concatenate([widened(x) for x in arrays], axis=self.axis),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        dy, pieces, start = only(dys), [], 0
        for value in inputs:
            starts = [0] * len(value.shape)
            starts[self.axis] = start
            start += value.shape[self.axis]
            pieces.append(place(Slice(tuple(starts), value.shape, (1,) * len(starts)), dy))
        return tuple(pieces)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        target = outputs[0]
        inner = prod(target.type.shape[self.axis + 1 :])
        row = target.type.shape[self.axis] * inner
        outer = prod(target.type.shape[: self.axis])
        itemsize = target.type.dtype.itemsize
        column = 0
        for item in inputs:
            width = item.type.shape[self.axis] * inner
            if outer and width:
                spec = CopySpec(
                    item_bytes=itemsize,
                    shape=(outer, width),
                    x_strides=(width, 1),
                    y_strides=(row, 1),
                )
                program.add(spec, x=item.slot, y=target.slot.shifted(column * itemsize))
            column += width
