# SPDX-License-Identifier: Apache-2.0
"""layer_norm: the mean's error enters divided by the deviation, everything else relatively.

rms_norm: all terms are positive, every error is relative.
"""

from __future__ import annotations

import numpy as np

from cases.case import Case, scaled
from cases.reduce import row_chain
from lamella.ops.norm import LayerNorm, RmsNorm

SHAPES = (((3, 5), 1), ((1, 1), 1), ((2, 3, 16), 1), ((2, 4, 9), 2), ((4, 300), 1), ((700, 130), 1))


def _parts(x: np.ndarray, axes: int, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    last = tuple(range(-axes, 0))
    deviation = x - x.mean(last, keepdims=True)
    return deviation, np.sqrt(np.square(deviation).mean(last, keepdims=True) + epsilon)


def _case(shape: tuple[int, ...], axes: int, weight: bool, bias: bool, offset: float) -> Case:
    epsilon, tail = 1e-5, shape[len(shape) - axes :]
    size = int(np.prod(tail))
    op = LayerNorm(axes, epsilon, weight, bias)

    def inputs(rng: np.random.Generator, dtype: str) -> tuple[np.ndarray, ...]:
        arrays = [rng.normal(size=shape) + offset]
        arrays += [rng.normal(size=tail)] * weight + [rng.normal(size=tail)] * bias
        return tuple(array.astype(dtype) for array in arrays)

    def oracle(x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        deviation, spread = _parts(x, axes, epsilon)
        y = deviation / spread
        if weight:
            y = y * rest[0]
        return y + rest[-1] if bias else y

    def scale(x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        deviation, spread = _parts(x, axes, epsilon)
        last = tuple(range(-axes, 0))
        moved = (np.abs(deviation) + np.abs(x) + np.abs(x).mean(last, keepdims=True)) / spread
        if weight:
            moved = moved * np.abs(rest[0])
        return moved + np.abs(rest[-1]) if bias else moved

    name = f"layer_norm {shape} {axes} weight={weight} bias={bias} offset={offset:g}"
    return Case(name, op, inputs, scaled(oracle, scale, lambda *_: row_chain(size) + 8))


def _rms_case(shape: tuple[int, ...], axes: int, weight: bool, factor: float) -> Case:
    epsilon, tail = 1e-5, shape[len(shape) - axes :]
    last = tuple(range(-axes, 0))

    def inputs(rng: np.random.Generator, dtype: str) -> tuple[np.ndarray, ...]:
        arrays = [rng.normal(size=shape) * factor] + [rng.normal(size=tail)] * weight
        return tuple(array.astype(dtype) for array in arrays)

    def oracle(x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        y = x / np.sqrt(np.square(x).mean(last, keepdims=True) + epsilon)
        return y * rest[0] if weight else y

    # Half of the squares' and the sum's roundings, through the root; then mean, epsilon, root,
    # inverse and two products.
    chain = (row_chain(int(np.prod(tail))) + 1) / 2 + 6
    name = f"rms_norm {shape} {axes} weight={weight} factor={factor:g}"
    op = RmsNorm(axes, epsilon, weight)
    return Case(name, op, inputs, scaled(oracle, lambda *a: np.abs(oracle(*a)), lambda *_: chain))


CASES = [
    _case(shape, axes, weight, bias, offset)
    for shape, axes in SHAPES
    for weight, bias in ((False, False), (True, False), (False, True), (True, True))
    for offset in (0.0, 100.0)
]
CASES += [
    _rms_case(shape, axes, weight, factor)
    for shape, axes in (*SHAPES, ((3, 5000), 1))
    for weight in (False, True)
    for factor in (1.0, 1e30)
]
