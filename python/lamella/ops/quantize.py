# SPDX-License-Identifier: Apache-2.0
"""Linear quantisation and its inverse, by given numbers or by those that the values give.

q = saturate(round(x / scale) + zero) and x = (q - zero) * scale; halves are rounded to even. One
scale serves a whole array, an entry of one axis, or a block of entries. What is no number becomes
the least integer, as in ONNX Runtime and PyTorch. Source: ONNX, QuantizeLinear, DequantizeLinear
and DynamicQuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella._core import DequantizeSpec, DynamicQuantizeSpec, QuantizeSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.types import Array, DType, Shape, TensorType, same_shape
from lamella.ops.base import Lowered, Op, require_count, require_floating

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["BYTES", "Dequantize", "DynamicQuantize", "Quantize"]

# What is quantised to, and multiplied.
BYTES = (DType.uint8, DType.int8)


@dataclass(frozen=True, slots=True)
class _Linear(Op):
    """What both directions share; operands x, scale and zero, which may be missing.

    axis: None for one scale; block: 0 for one scale an entry of the axis, or how many entries share
    one, the other axes of scale being those of x.
    """

    axis: int | None = None
    block: int = 0
    differentiable = False

    def _numbers(self, x: Shape) -> Shape:
        """The shape that scale and zero must have."""
        if self.axis is None:
            return ()
        if not self.block:
            return (x[self.axis],)
        blocks = -(-x[self.axis] // self.block)
        return (*x[: self.axis], blocks, *x[self.axis + 1 :])

    def _judge(self, inputs: Sequence[TensorType], quantised: DType) -> None:
        require_count(self.label, inputs, 2, 3)
        x = inputs[0]
        if self.axis is not None and not 0 <= self.axis < len(x.shape):
            raise ShapeError(
                message(self.label, "no such axis", {"axis": self.axis, "ndim": len(x.shape)})
            )
        expected = self._numbers(x.shape)
        for name, type in zip(("scale", "zero_point"), inputs[1:], strict=False):
            single = self.axis is None and same_shape(type.shape, (1,))
            if not single and not same_shape(type.shape, expected):
                raise ShapeError(
                    message(
                        self.label,
                        f"{name} does not fit",
                        {"input": x.shape, name: type.shape},
                        f"{name}.shape == {expected}",
                    )
                )
        if len(inputs) > 2 and inputs[2].dtype is not quantised:
            raise DTypeError(
                message(
                    self.label,
                    "the zero point has another type than the integers",
                    {"zero_point": inputs[2].dtype, "integers": quantised},
                    "one type",
                    f"Convert it with astype(np.{quantised.name})",
                )
            )

    def _granularity(self, x: Shape) -> dict[str, int]:
        """How a step finds the numbers of an element."""
        if self.axis is None:
            return {"outer": 1, "axis": 1, "inner": prod(x)}
        outer, inner = prod(x[: self.axis]), prod(x[self.axis + 1 :])
        sizes = {"outer": outer, "axis": x[self.axis], "inner": inner}
        if not self.block:
            return {**sizes, "axis_step": 1}
        blocks = -(-x[self.axis] // self.block)
        steps = {"outer_step": blocks * inner, "axis_step": inner, "inner_step": 1}
        return {**sizes, "block": self.block, **steps}

    def _along(self, numbers: Array, x: Array) -> Any:
        """A scale or zero point, shaped to stand beside x."""
        if self.axis is None:
            return numbers.reshape(())
        if not self.block:
            return numbers.reshape((-1,) + (1,) * (x.ndim - self.axis - 1))
        return np.repeat(numbers, self.block, self.axis).take(
            np.arange(x.shape[self.axis]), self.axis
        )

    def _text(self, *words: str) -> str:
        parts = list(words)
        if self.axis is not None:
            parts.append(f"axis {self.axis}")
        if self.block:
            parts.append(f"blocks of {self.block}")
        return f"{self.label}({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Quantize(_Linear):
    """y = saturate(round(x / scale) + zero) as uint8 or int8; zero has the type of y.

    Bits are those of a division in the type of x: the reference computes in it.
    """

    dtype: DType = DType.uint8

    def __str__(self) -> str:
        return self._text(self.dtype.name)

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        if self.dtype not in BYTES:
            raise DTypeError(
                message("quantize", "no such integers", {"dtype": self.dtype}, "uint8 or int8")
            )
        require_floating("quantize", ("input", "scale"), inputs[:2])
        self._judge(inputs, self.dtype)
        return (TensorType(inputs[0].shape, self.dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x = arrays[0]
        limits = np.iinfo(self.dtype.numpy)
        with np.errstate(all="ignore"):
            y = np.rint(x / self._along(arrays[1], x))
            if len(arrays) > 2:
                y = y + self._along(arrays[2], x).astype(x.dtype)
            y = np.clip(np.where(np.isnan(y), limits.min, y), limits.min, limits.max)
        return (y.astype(self.dtype.numpy),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        x, scale = inputs[:2]
        program.add(
            QuantizeSpec(
                dtype=x.type.dtype.value, to=self.dtype.value, **self._granularity(x.type.shape)
            ),
            x=x.slot,
            scale=scale.slot,
            zero=inputs[2].slot if len(inputs) > 2 else None,
            y=outputs[0].slot,
        )


@dataclass(frozen=True, slots=True)
class Dequantize(_Linear):
    """y = (x - zero) * scale in the type of scale; x is uint8, int8 or int32."""

    def __str__(self) -> str:
        return self._text()

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        x = inputs[0]
        if x.dtype not in (*BYTES, DType.int32):
            raise DTypeError(
                message("dequantize", "not quantised", {"input": x.dtype}, "uint8, int8 or int32")
            )
        dtype = require_floating("dequantize", ("scale",), inputs[1:2])
        self._judge(inputs, x.dtype)
        return (TensorType(x.shape, dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x, dtype = arrays[0], arrays[1].dtype
        with np.errstate(all="ignore"):
            y = x.astype(dtype)
            if len(arrays) > 2:
                y = y - self._along(arrays[2], x).astype(dtype)
            return (np.asarray(y * self._along(arrays[1], x)),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        x, scale = inputs[:2]
        program.add(
            DequantizeSpec(
                dtype=scale.type.dtype.value,
                of=x.type.dtype.value,
                **self._granularity(x.type.shape),
            ),
            x=x.slot,
            scale=scale.slot,
            zero=inputs[2].slot if len(inputs) > 2 else None,
            y=outputs[0].slot,
        )


@dataclass(frozen=True, slots=True)
class DynamicQuantize(Op):
    """x of float32 as uint8, with the scale and zero point of its own range; three outputs.

    scale = (max(x, 0) - min(x, 0)) / 255, or 1 where that is 0; zero = round(-min(x, 0) / scale);
    y = saturate(round(x / scale) + zero).
    """

    differentiable = False

    @property
    def label(self) -> str:
        return "dynamic_quantize"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("dynamic_quantize", inputs, 1)
        x = inputs[0]
        if x.dtype is not DType.float32:
            raise DTypeError(
                message("dynamic_quantize", "not float32", {"input": x.dtype}, "float32")
            )
        return (
            TensorType(x.shape, DType.uint8),
            TensorType((), DType.float32),
            TensorType((), DType.uint8),
        )

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x = arrays[0]
        with np.errstate(all="ignore"):
            low, high = x.min(initial=0), x.max(initial=0)
            scale = np.float32((high - low) / np.float32(255))
            scale = np.float32(1) if scale == 0 else scale
            zero = np.nan_to_num(np.rint(np.clip(-low / scale, 0, 255))).astype(np.uint8)
        (y,) = Quantize().reference((x, np.asarray(scale), np.asarray(zero)))
        return y, np.asarray(scale), np.asarray(zero)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        y, scale, zero = outputs
        program.add(
            DynamicQuantizeSpec(count=inputs[0].type.size),
            x=inputs[0].slot,
            y=y.slot,
            scale=scale.slot,
            zero=zero.slot,
        )
