# SPDX-License-Identifier: Apache-2.0
"""Matrix products: MatMul as NumPy defines it, and Dense, a product with its epilogue.

The last two axes are the matrices, leading axes are a batch and broadcast. When w is one matrix,
all leading axes of x are rows of one product, so that weights are packed once and a row's bits do
not depend on how rows are grouped. An element of y is a sum over K in fixed blocks of 256 terms and
superblocks of 4096. Beside a float32 x, w may be of bfloat16 and is widened on the
way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import MatMulSpec
from lamella.errors import ShapeError, message
from lamella.ir.graph import Place, Value
from lamella.ir.types import (
    Array,
    DType,
    Shape,
    TensorType,
    broadcast_shapes,
    broadcast_strides,
)
from lamella.ops.base import Lowered, Op, only, require_count, require_floating, unit, widened
from lamella.ops.elementwise import Unary
from lamella.ops.interpret import interpret
from lamella.ops.shape import Reshape

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder, Slot

__all__ = ["Dense", "MatMul", "Product", "oriented", "product_of"]


@dataclass(frozen=True, slots=True)
class Product:
    """The sizes and strides (in elements) of one product: y[batch, m, n] over k terms."""

    batch: Shape
    m: int
    n: int
    k: int
    a_batch: Shape
    a_strides: tuple[int, int]
    b_batch: Shape
    b_strides: tuple[int, int]
    shape: Shape
    # Whether the result has an axis of rows, and one of columns: vectors have none.
    rows: bool
    columns: bool

    @property
    def work(self) -> int:
        """Multiply-adds."""
        return prod(self.batch) * self.m * self.n * self.k


def _matrix(shape: Shape, transpose: bool) -> tuple[int, int, tuple[int, int]]:
    """Rows, columns and their strides of the last two axes, exchanged on request."""
    rows, columns = shape[-2:]
    if transpose:
        return columns, rows, (1, columns)
    return rows, columns, (columns, 1)


def product_of(
    op: str, x: TensorType, w: TensorType, transpose_a: bool, transpose_b: bool
) -> Product:
    """Judges the shapes; vectors count as one row on the left and one column on the right."""
    if not x.shape or not w.shape:
        raise ShapeError(
            message(
                op,
                "numbers are no matrices",
                {"x": x.shape, "w": w.shape},
                "at least one axis each",
                "Use * instead",
            )
        )
    a_shape = x.shape if len(x.shape) > 1 else (1, *x.shape)
    b_shape = w.shape if len(w.shape) > 1 else (*w.shape, 1)
    if len(w.shape) == 1:
        transpose_b = False
    m, k, a_strides = _matrix(a_shape, transpose_a and len(x.shape) > 1)
    k_of_b, n, b_strides = _matrix(b_shape, transpose_b)
    if k != k_of_b:
        axis_x = -2 if transpose_a and len(x.shape) > 1 else -1
        axis_w = 0 if len(w.shape) == 1 else (-1 if transpose_b else -2)
        axis_w += len(w.shape) if len(w.shape) == 2 and axis_w < 0 else 0
        raise ShapeError(
            message(
                op,
                "inner sizes differ",
                {"x": x.shape, "w": w.shape},
                f"x.shape[{axis_x}] == w.shape[{axis_w}]",
            )
        )
    leading = broadcast_shapes(a_shape[:-2], b_shape[:-2])
    if leading is None:
        raise ShapeError(
            message(
                op,
                "batches do not broadcast",
                {"x": x.shape, "w": w.shape},
                "leading extents equal or one",
            )
        )
    rows = () if len(x.shape) == 1 else (m,)
    columns = () if len(w.shape) == 1 else (n,)
    shape = (*leading, *rows, *columns)
    axes = (len(x.shape) > 1, len(w.shape) > 1)
    if len(b_shape) == 2 and not (transpose_a and len(x.shape) > 1):
        # One matrix w: every leading axis of x is rows.
        folded = prod(a_shape[:-1])
        return Product((), folded, n, k, (), a_strides, (), b_strides, shape, *axes)
    a_batch = _batch_strides(a_shape, leading)
    b_batch = _batch_strides(b_shape, leading)
    return Product(leading, m, n, k, a_batch, a_strides, b_batch, b_strides, shape, *axes)


def _batch_strides(shape: Shape, leading: Shape) -> Shape:
    """Strides of the leading axes, zero where they are repeated."""
    matrix = prod(shape[-2:])
    return tuple(matrix * stride for stride in broadcast_strides(shape[:-2], leading))


def _element_type(op: str, names: Sequence[str], inputs: Sequence[TensorType]) -> DType:
    """The one floating dtype; w, the second, may be bfloat16 among float32 and is widened."""
    x, w = inputs[:2]
    if x.dtype is DType.float32 and w.dtype is DType.bfloat16:
        inputs = (x, TensorType(w.shape, x.dtype), *inputs[2:])
    return require_floating(op, names, inputs)


def _spec(
    product: Product, x: TensorType, w: Lowered, activation: Unary | None = None
) -> MatMulSpec:
    return MatMulSpec(
        dtype=x.dtype.value,
        b_dtype=w.type.dtype.value,
        batch=product.batch,
        m=product.m,
        n=product.n,
        k=product.k,
        a_batch=product.a_batch,
        a_row=product.a_strides[0],
        a_k=product.a_strides[1],
        b_batch=product.b_batch,
        b_k=product.b_strides[0],
        b_col=product.b_strides[1],
        b_constant=w.constant and not product.batch,
        activation="" if activation is None else activation.name,
        activation_params=() if activation is None else activation.params,
    )


def oriented(array: Array, transpose: bool) -> Array:
    """The last two axes exchanged on request; those of a vector never."""
    return array.swapaxes(-1, -2) if transpose and array.ndim > 1 else array


def _magnitude_bound(x: Array, w: Array) -> Array:
    """gamma_K |x||w|, which holds for sums in any order.

    Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.5.
    """
    terms = x.shape[-1] + 2
    step = terms * unit(x.dtype)
    bound = (
        step / (1.0 - step) * np.matmul(np.abs(x, dtype=np.float64), np.abs(w, dtype=np.float64))
    )
    finite = np.where(np.isfinite(bound), bound, 0.0)
    return np.asarray(finite + np.finfo(x.dtype).smallest_subnormal)


def _shaped(place: Place, gradient: Value, shape: Shape) -> Value:
    """An operand's gradient in its own shape, behind a batch where that was broadcast."""
    if len(shape) == 1:
        extra = gradient.shape[: len(gradient.shape) - 2]
        return place(Reshape((*extra, *shape)), gradient)
    return place(Reshape(shape), gradient) if gradient.type.size == prod(shape) else gradient


@dataclass(frozen=True, slots=True)
class MatMul(Op):
    """y = x @ w, after exchanging the last two axes of x or w on request."""

    transpose_a: bool = False
    transpose_b: bool = False

    def __str__(self) -> str:
        flags = ", ".join(
            name for name, on in (("x.mT", self.transpose_a), ("w.mT", self.transpose_b)) if on
        )
        return f"matmul({flags})" if flags else "matmul"

    def product(self, inputs: Sequence[TensorType]) -> Product:
        """Sizes and strides for operands of these types."""
        return product_of("matmul", inputs[0], inputs[1], self.transpose_a, self.transpose_b)

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("matmul", inputs, 2)
        dtype = _element_type("matmul", ("x", "w"), inputs)
        return (TensorType(self.product(inputs).shape, dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x, w = map(widened, arrays)
        with np.errstate(all="ignore"):
            return (
                np.asarray(np.matmul(oriented(x, self.transpose_a), oriented(w, self.transpose_b))),
            )

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        x = oriented(arrays[0], self.transpose_a)
        w = oriented(widened(arrays[1]), self.transpose_b)
        with np.errstate(all="ignore"):
            return (_magnitude_bound(x, w),)

    def work(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType], /) -> int:
        return self.product(inputs).work

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """dx = dy w^T and dw = x^T dy, as products that read their operands as they lie.

        One matrix w gathers the leading axes of x as rows, so that dw is one product; batches that
        were broadcast are left for the pass to sum.
        """
        x, w, dy = *inputs, only(dys)
        leading = dy.shape[: len(dy.shape) - (len(x.shape) > 1) - (len(w.shape) > 1)]
        rows = x.shape[-1 if self.transpose_a else -2] if len(x.shape) > 1 else 1
        columns = w.shape[-2 if self.transpose_b else -1] if len(w.shape) > 1 else 1
        turn_a = self.transpose_a and len(x.shape) > 1
        turn_b = self.transpose_b and len(w.shape) > 1
        a = x if len(x.shape) > 1 else place(Reshape((1, *x.shape)), x)
        b = w if len(w.shape) > 1 else place(Reshape((*w.shape, 1)), w)
        if len(b.shape) == 2 and not turn_a:
            a = place(Reshape((prod(a.shape[:-1]), a.shape[-1])), a)
            leading, rows = (), a.shape[0]
        dy = place(Reshape((*leading, rows, columns)), dy)
        da = (
            place(MatMul(turn_b, True), b, dy)
            if turn_a
            else place(MatMul(False, not turn_b), dy, b)
        )
        db = place(MatMul(True, turn_a), dy, a) if turn_b else place(MatMul(not turn_a), a, dy)
        return _shaped(place, da, x.shape), _shaped(place, db, w.shape)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        _lower(program, self.product([item.type for item in inputs]), inputs, outputs)


def _lower(
    program: ProgramBuilder,
    product: Product,
    inputs: Sequence[Lowered],
    outputs: Sequence[Lowered],
    bias: Slot | None = None,
    residual: Slot | None = None,
    activation: Unary | None = None,
) -> None:
    x, w = inputs[:2]
    program.add(
        _spec(product, x.type, w, activation),
        a=x.slot,
        b=w.slot,
        bias=bias,
        residual=residual,
        y=outputs[0].slot,
    )


@dataclass(frozen=True, slots=True)
class Dense(Op):
    """y = activation(x @ w + bias + residual) with one matrix w; made by the fuse pass.

    Operands: x (..., K), w (K, N) or with transpose_b (N, K), then bias (N,) and residual (..., N)
    where they are used. The epilogue works on the product while it is in registers.
    """

    transpose_b: bool = False
    bias: bool = False
    residual: bool = False
    activation: Unary | None = None

    def __str__(self) -> str:
        parts = ["w.mT"] if self.transpose_b else []
        parts += [name for name in ("bias", "residual") if getattr(self, name)]
        if self.activation is not None:
            parts.append(str(self.activation))
        return f"dense({', '.join(parts)})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("dense", inputs, 2 + self.bias + self.residual)
        x, w = inputs[:2]
        names = ("x", "w", *self._extras())
        dtype = _element_type("dense", names, inputs)
        if len(w.shape) != 2:
            raise ShapeError(
                message("dense", "w is not one matrix", {"w": w.shape}, "w of two axes")
            )
        shape = product_of("dense", x, w, False, self.transpose_b).shape
        for name, type in zip(names[2:], inputs[2:], strict=True):
            expected = shape[-1:] if name == "bias" else shape
            if type.shape != expected:
                raise ShapeError(
                    message(
                        "dense",
                        f"{name} does not fit the product",
                        {"x": x.shape, "w": w.shape, name: type.shape},
                        f"{name}.shape == {expected}",
                    )
                )
        return (TensorType(shape, dtype),)

    def _extras(self) -> list[str]:
        return [name for name in ("bias", "residual") if getattr(self, name)]

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        total = self._sum(arrays)
        if self.activation is None:
            return (total,)
        return self.activation.reference((total,))

    def _sum(self, arrays: Sequence[Array]) -> Array:
        (total,) = MatMul(False, self.transpose_b).reference(arrays[:2])
        with np.errstate(all="ignore"):
            for extra in arrays[2:]:
                total = total + extra.astype(np.float64)
        return np.asarray(total)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        (bound,) = MatMul(False, self.transpose_b).tolerance(arrays[:2], results)
        with np.errstate(all="ignore"):
            total = self._sum(arrays)
            for extra in arrays[2:]:
                bound = bound + 2.0 * unit(arrays[0].dtype) * (np.abs(extra) + np.abs(total))
            if self.activation is None:
                return (np.asarray(bound),)
            code = self.activation.code([TensorType(total.shape, DType.of(arrays[0].dtype))])
            return (interpret(code, [total], [np.asarray(bound)])[1],)

    def work(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType], /) -> int:
        return product_of("dense", inputs[0], inputs[1], False, self.transpose_b).work

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        product = product_of("dense", inputs[0].type, inputs[1].type, False, self.transpose_b)
        extras = dict(zip(self._extras(), (item.slot for item in inputs[2:]), strict=True))
        _lower(
            program,
            product,
            inputs,
            outputs,
            extras.get("bias"),
            extras.get("residual"),
            self.activation,
        )
