# SPDX-License-Identifier: Apache-2.0
"""Quantisation: one scale, one an entry of an axis, one a block; halves, ends, and no numbers.

Exact: the definition computed in the type of the operands, whose division and product are IEEE's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cases.case import Arrays, Case, exactly
from lamella.ir.types import DType
from lamella.ops.quantize import Dequantize, DynamicQuantize, Quantize

KINDS = ("uint8", "int8")
# Shape, axis, block.
FORMS: tuple[tuple[tuple[int, ...], int | None, int], ...] = (
    ((), None, 0), ((1,), None, 0), ((37,), None, 0), ((3, 5, 7), None, 0), ((0, 4), None, 0),
    ((37,), 0, 0), ((5, 33), 0, 0), ((5, 33), 1, 0), ((2, 3, 19), 1, 0), ((2, 0, 3), 1, 0),
    ((4, 21), 1, 5), ((9, 18), 0, 4), ((2, 7, 17), 1, 3), ((3, 32), 1, 16), ((1000, 70), None, 0),
)  # fmt: skip


def _numbers(shape: tuple[int, ...], axis: int | None, block: int) -> tuple[int, ...]:
    if axis is None:
        return ()
    if not block:
        return (shape[axis],)
    return (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :])


def _index(shape: tuple[int, ...], axis: int | None, block: int) -> Callable[..., np.ndarray]:
    """Of scales or zero points each element's own."""

    def pick(values: np.ndarray) -> np.ndarray:
        if axis is None:
            return np.broadcast_to(values, shape)
        at = list(np.indices(shape, sparse=True))
        if block:
            at[axis] = at[axis] // block
            return values[tuple(np.broadcast_arrays(*at))]
        return np.broadcast_to(values[at[axis]], shape)

    return pick


def _halves(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Whole numbers and halves, beyond the ends of the range as well, and what is no number."""
    x = rng.integers(-700, 700, shape) / 2
    special = rng.choice((np.nan, np.inf, -np.inf, -0.0, 1e30), shape)
    return np.where(rng.random(shape) < 0.1, special, x).astype(dtype)


def _quantize(shape: tuple[int, ...], axis: int | None, block: int, kind: str, zero: bool) -> Case:
    numbers, pick = _numbers(shape, axis, block), _index(shape, axis, block)
    limits = np.iinfo(kind)

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        x = _halves(rng, shape, dtype)
        # Powers of two keep the halves, the others do not.
        scale = rng.choice((0.25, 1.0, 2.0, 0.3, 1.7), numbers).astype(dtype)
        zeros = rng.integers(limits.min, limits.max, numbers, endpoint=True).astype(kind)
        return (x, np.asarray(scale), np.asarray(zeros))[: 2 + zero]

    def oracle(x: np.ndarray, scale: np.ndarray, *zeros: np.ndarray) -> np.ndarray:
        y = np.rint(x / pick(scale))
        if zeros:
            y = y + pick(zeros[0])
        y = np.where(np.isnan(y), limits.min, np.minimum(np.maximum(y, limits.min), limits.max))
        return y.astype(kind)

    op = Quantize(axis, block, DType.of(kind))
    return Case(f"{op} {shape} zero={zero}", op, inputs, exactly(oracle))


def _dequantize(
    shape: tuple[int, ...], axis: int | None, block: int, kind: str, zero: bool
) -> Case:
    numbers, pick = _numbers(shape, axis, block), _index(shape, axis, block)
    limits = np.iinfo(kind)

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        x = rng.integers(limits.min, limits.max, shape, endpoint=True).astype(kind)
        zeros = rng.integers(-1 if limits.min else 0, 120, numbers).astype(kind)
        return (np.asarray(x), np.asarray(rng.normal(size=numbers).astype(dtype)),
                np.asarray(zeros))[: 2 + zero]  # fmt: skip

    def oracle(x: np.ndarray, scale: np.ndarray, *zeros: np.ndarray) -> np.ndarray:
        y = x.astype(scale.dtype)
        return (y - pick(zeros[0]).astype(scale.dtype) if zeros else y) * pick(scale)

    op = Dequantize(axis, block)
    return Case(f"{op} {kind} {shape} zero={zero}", op, inputs, exactly(oracle))


def _range(x: np.ndarray) -> tuple[np.float32, np.uint8]:
    low, high = np.float32(min(x.min(initial=0), 0)), np.float32(max(x.max(initial=0), 0))
    scale = (high - low) / np.float32(255)
    scale = scale if scale != 0 else np.float32(1)
    return scale, np.uint8(np.rint(np.clip(-low / scale, 0, 255)))


def _dynamic(shape: tuple[int, ...], low: float, high: float, output: int) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return (rng.uniform(low, high, shape).astype(np.float32),)

    def oracle(x: np.ndarray) -> np.ndarray:
        scale, zero = _range(x)
        y = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8)
        return (y, np.asarray(scale), np.asarray(zero))[output]

    op = DynamicQuantize()
    name = f"{op} {shape} {low:g}..{high:g} output {output}"
    return Case(name, op, inputs, exactly(oracle), (), ("float32",), output)


CASES = [
    *(_quantize(*form, KINDS[i % 2], i % 3 > 0) for i, form in enumerate(FORMS)),
    *(_quantize(*form, KINDS[(i + 1) % 2], True) for i, form in enumerate(FORMS)),
    *(
        _dequantize(*form, ("uint8", "int8", "int32")[i % 3], i % 3 < 2)
        for i, form in enumerate(FORMS)
    ),
    *(_dequantize(*form, "int8", False) for form in FORMS[::3]),
    *(
        _dynamic(shape, low, high, output)
        for shape, low, high in (
            ((5, 7), -1, 3), ((1,), 2, 3), ((33,), -4, -1), ((3, 0), 0, 1), ((6,), 0, 0),
            ((70000,), -3, 1), ((), -2, 2), ((19,), -3e38, 3e38),
        )
        for output in range(3)
    ),
]  # fmt: skip
