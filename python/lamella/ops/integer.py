# SPDX-License-Identifier: Apache-2.0
"""Products of bytes: s = (x - x_zero) @ (w - w_zero), exact in int32, which wraps as NumPy's does.

The epilogue turns the sums into float32: y = activation(float(s) * scale + bias). Shapes are those
of a MatMul (ops/matmul.py). Source: ONNX, MatMulInteger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lamella._core import IntegerProductSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.types import Array, DType, Shape, TensorType, same_shape
from lamella.ops.base import Lowered, Op, require_count, unit
from lamella.ops.elementwise import Unary
from lamella.ops.interpret import interpret
from lamella.ops.matmul import Product, oriented, product_of
from lamella.ops.quantize import BYTES

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["IntegerMatMul"]

Extent = Literal["one", "rows", "columns"]


@dataclass(frozen=True, slots=True)
class IntegerMatMul(Op):
    """y = (x - x_zero) @ (w - w_zero), after exchanging the last two axes of x or w on request.

    Operands: x and w, uint8 or int8 each, then those of x_zero, w_zero, scale and bias that are
    used. x_zero is one number of the type of x, or one a row of x; w_zero is one of the type of w,
    or one a column. scale is one float32, one a column, (N,), or one a row, (..., M, 1). bias is
    (N,).
    """

    transpose_a: bool = False
    transpose_b: bool = False
    x_zero: bool = False
    w_zero: bool = False
    scale: bool = False
    bias: bool = False
    activation: Unary | None = None
    differentiable = False

    @property
    def label(self) -> str:
        return "matmul_integer"

    def __str__(self) -> str:
        flags = (("x.mT", self.transpose_a), ("w.mT", self.transpose_b))
        parts = [name for name, on in flags if on] + self.extras()
        if self.activation is not None:
            parts.append(str(self.activation))
        return f"matmul_integer({', '.join(parts)})" if parts else "matmul_integer"

    def extras(self) -> list[str]:
        """The names of the operands behind x and w."""
        return [name for name in ("x_zero", "w_zero", "scale", "bias") if getattr(self, name)]

    def product(self, inputs: Sequence[TensorType]) -> Product:
        """Sizes and strides for operands of these types."""
        return product_of(self.label, inputs[0], inputs[1], self.transpose_a, self.transpose_b)

    def _extent(self, name: str, shape: Shape, product: Product) -> Extent | None:
        """What an operand of that shape has one number for; None where it does not fit."""
        columns = (product.n,)
        if name == "bias":
            return "columns" if same_shape(shape, columns) else None
        if len(shape) <= 1 and all(extent == 1 for extent in shape):
            return "one"
        if name != "x_zero" and product.columns:
            if same_shape(shape, columns) or (product.rows and same_shape(shape, (1, *columns))):
                return "columns"
        if name != "w_zero" and product.rows:
            # Of a batch the rows of one matrix, in which all agree.
            lead = product.shape[: -1 if product.columns else None]
            if product.batch:
                lead = (product.m,)
            column = same_shape(shape, (*lead, 1)) and (product.columns or name == "x_zero")
            whole = same_shape(shape, lead) and (name == "x_zero" or not product.columns)
            if (column or whole) and not (product.batch and name == "scale"):
                return "rows"
        return None

    def takes(self, name: str, shape: Shape, inputs: Sequence[TensorType]) -> bool:
        """Whether an operand of that shape fits the product of x and w."""
        return self._extent(name, shape, self.product(inputs)) is not None

    def _extents(self, inputs: Sequence[TensorType], product: Product) -> dict[str, Extent]:
        found: dict[str, Extent] = {}
        for name, type in zip(self.extras(), inputs[2:], strict=True):
            extent = self._extent(name, type.shape, product)
            if extent is None:
                raise ShapeError(
                    message(
                        self.label,
                        f"{name} does not fit the product",
                        {"x": inputs[0].shape, "w": inputs[1].shape, name: type.shape},
                        {
                            "x_zero": "one number, or one a row of x",
                            "w_zero": f"one number, or one a column of w, ({product.n},)",
                            "scale": f"one number, ({product.n},), or one a row, (..., 1)",
                            "bias": f"({product.n},)",
                        }[name],
                    )
                )
            found[name] = extent
        return found

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.label, inputs, 2 + len(self.extras()))
        x, w = inputs[:2]
        if x.dtype not in BYTES or w.dtype not in BYTES:
            raise DTypeError(
                message(
                    self.label,
                    "element types do not fit",
                    {"x": x.dtype, "w": w.dtype},
                    "uint8 or int8 each",
                )
            )
        product = self.product(inputs)
        wanted = {"x_zero": x.dtype, "w_zero": w.dtype}
        for name, type in zip(self.extras(), inputs[2:], strict=True):
            expected = wanted.get(name, DType.float32)
            if type.dtype is not expected:
                raise DTypeError(
                    message(
                        self.label,
                        f"{name} has another type",
                        {"x": x.dtype, "w": w.dtype, name: type.dtype},
                        str(expected),
                    )
                )
        self._extents(inputs, product)
        return (TensorType(product.shape, DType.float32 if self.scale else DType.int32),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        total = self._scaled(arrays)
        if not self.scale or self.activation is None:
            return (total,)
        return self.activation.reference((total,))

    def _sums(self, arrays: Sequence[Array]) -> Array:
        """As int32: sums of int64 cut to it, which is what wraps."""
        given = dict(zip(self.extras(), arrays[2:], strict=True))
        x, w = (array.astype(np.int64) for array in arrays[:2])
        x, w = oriented(x, self.transpose_a), oriented(w, self.transpose_b)
        if self.x_zero:
            zero = given["x_zero"].astype(np.int64)
            if zero.size != 1:
                rows = x.shape[:-1] if zero.size != x.shape[-2] else (-1,)
                zero = zero.reshape(*rows, 1)
            x = x - (zero if zero.size != 1 else zero.reshape(()))
        if self.w_zero:
            zero = given["w_zero"].astype(np.int64)
            w = w - (zero.reshape(-1) if zero.size != 1 else zero.reshape(()))
        with np.errstate(all="ignore"):
            return np.asarray(np.matmul(x, w)).astype(np.int32)

    def _scaled(self, arrays: Sequence[Array]) -> Array:
        sums = self._sums(arrays)
        if not self.scale:
            return sums
        given = dict(zip(self.extras(), arrays[2:], strict=True))
        with np.errstate(all="ignore"):
            scale = given["scale"].astype(np.float64)
            scale = scale.reshape(()) if scale.size == 1 else scale
            total = sums * scale
            return np.asarray(total + given["bias"] if self.bias else total)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        """Three roundings of float32: the sum, its product by scale, the sum with bias."""
        total = self._scaled(arrays)
        if not self.scale:
            return (np.zeros(total.shape),)
        with np.errstate(all="ignore"):
            step = unit(DType.float32)
            size = np.abs(total)
            if self.bias:
                size = size + 2.0 * np.abs(arrays[-1].astype(np.float64))
            bound = 4.0 * step * size + np.finfo(np.float32).smallest_subnormal
            if self.activation is None:
                return (np.asarray(bound),)
            code = self.activation.code([TensorType(total.shape, DType.float32)])
            return (interpret(code, [total], [np.asarray(bound)])[1],)

    def work(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType], /) -> int:
        return self.product(inputs).work

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        types = [item.type for item in inputs]
        product = self.product(types)
        extents = self._extents(types, product)
        x, w = inputs[:2]
        slots = dict(zip(self.extras(), (item.slot for item in inputs[2:]), strict=True))
        spec = IntegerProductSpec(
            x=x.type.dtype.value,
            w=w.type.dtype.value,
            batch=product.batch,
            m=product.m,
            n=product.n,
            k=product.k,
            x_batch=product.a_batch,
            x_row=product.a_strides[0],
            x_k=product.a_strides[1],
            w_batch=product.b_batch,
            w_k=product.b_strides[0],
            w_col=product.b_strides[1],
            w_constant=w.constant and not product.batch,
            x_zero_rows=extents.get("x_zero") == "rows",
            w_zero_columns=extents.get("w_zero") == "columns",
            scale_rows=extents.get("scale") == "rows",
            scale_columns=extents.get("scale") == "columns",
            activation="" if self.activation is None else self.activation.name,
            activation_params=() if self.activation is None else self.activation.params,
        )
        program.add(
            spec,
            x=x.slot,
            w=w.slot,
            x_zero=slots.get("x_zero"),
            w_zero=slots.get("w_zero"),
            scale=slots.get("scale"),
            bias=slots.get("bias"),
            y=outputs[0].slot,
        )
