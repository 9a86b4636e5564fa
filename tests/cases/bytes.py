# SPDX-License-Identifier: Apache-2.0
"""Products of bytes: every pair of types, zero points and strides, around every tile edge.

Sums of int64 are the oracle; a third of the bytes are the extremes of their types, whose pairs are
what instructions that saturate would lose.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from cases.case import Arrays, Case, Judge, exactly, scaled
from lamella.ops.elementwise import unary
from lamella.ops.integer import IntegerMatMul

PAIRS = tuple(itertools.product(("uint8", "int8"), repeat=2))
# Around the panels (16), strips (8, 16, 32, 64), row tiles (3, 6, 12) and groups (2, 4).
SIZES = ((1, 1, 1), (1, 17, 4), (2, 64, 5), (3, 65, 64), (4, 33, 130), (6, 15, 3), (7, 32, 31),
         (12, 16, 67), (13, 48, 2), (25, 40, 257), (40, 100, 66), (5, 1, 70),
         (130, 37, 33))  # fmt: skip
EMPTY = ((0, 5, 3), (3, 0, 4), (4, 5, 0))


def numbers(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Of the whole range of a type of bytes, a third of them its ends."""
    limits = np.iinfo(kind)
    ends = rng.choice((limits.min, limits.max), shape)
    inside = rng.integers(limits.min, limits.max, shape, endpoint=True)
    return np.asarray(np.where(rng.random(shape) < 1 / 3, ends, inside)).astype(kind)


def _sums(op: IntegerMatMul, *arrays: np.ndarray) -> np.ndarray:
    """By definition, in int64, cut to int32."""
    given = dict(zip(op.extras(), arrays[2:], strict=True))
    x, w = (array.astype(np.int64) for array in arrays[:2])
    x = x.swapaxes(-1, -2) if op.transpose_a else x
    w = w.swapaxes(-1, -2) if op.transpose_b else w
    if "x_zero" in given:
        zero = given["x_zero"].astype(np.int64)
        x = x - (zero[..., None] if zero.size != 1 and zero.shape[-1] == x.shape[-2] else zero)
    if "w_zero" in given:
        w = w - given["w_zero"].astype(np.int64)
    return np.einsum("...mk,...kn->...mn", x, w).astype(np.int32)


def _inputs(
    pair: tuple[str, str],
    x: tuple[int, ...],
    w: tuple[int, ...],
    extras: dict[str, tuple[int, ...]],
) -> Callable[[np.random.Generator, str], Arrays]:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        made = [numbers(rng, x, pair[0]), numbers(rng, w, pair[1])]
        for name, shape in extras.items():
            if name.endswith("zero"):
                made.append(numbers(rng, shape, pair[name == "w_zero"]))
            else:
                made.append((rng.normal(size=shape) / 64).astype(np.float32))
        return tuple(made)

    return inputs


def _case(
    op: IntegerMatMul,
    pair: tuple[str, str],
    x: tuple[int, ...],
    w: tuple[int, ...],
    judge: Judge | None = None,
    constant: bool = False,
    **extras: tuple[int, ...],
) -> Case:
    def oracle(*arrays: np.ndarray) -> np.ndarray:
        return _sums(op, *arrays)

    name = f"{op} {pair} {x} {w} {extras}{' constant' if constant else ''}"
    inputs = _inputs(pair, x, w, extras)
    return Case(name, op, inputs, judge or exactly(oracle), (1,) * constant, ("float32",))


def _floats(op: IntegerMatMul) -> Judge:
    """Four roundings of the sum's product by the scale, and of the bias."""

    def total(*arrays: np.ndarray) -> np.ndarray:
        given = dict(zip(op.extras(), arrays[2:], strict=True))
        y = _sums(op, *arrays) * given["scale"]
        y = y + given["bias"] if op.bias else y
        return np.maximum(y, 0) if op.activation else y

    def scale(*arrays: np.ndarray) -> np.ndarray:
        given = dict(zip(op.extras(), arrays[2:], strict=True))
        return np.abs(_sums(op, *arrays) * given["scale"]) + np.abs(given.get("bias", 0.0))

    return scaled(total, scale, lambda *_: 4)


def _plain() -> list[Case]:
    found = []
    for number, ((m, n, k), pair) in enumerate(itertools.product((*SIZES, *EMPTY), PAIRS)):
        ta, tb, constant = bool(number % 5 == 1), bool(number % 2), number % 3 == 0
        x, w = ((k, m) if ta else (m, k)), ((n, k) if tb else (k, n))
        zeros: dict[str, tuple[int, ...]] = {}
        if number % 4 in (0, 1):
            zeros["x_zero"] = () if number % 8 < 4 or ta else (m,)
        if number % 7 in (0, 3, 5):
            zeros["w_zero"] = (1,) if number % 2 else (n,)
        op = IntegerMatMul(ta, tb, "x_zero" in zeros, "w_zero" in zeros)
        found.append(_case(op, pair, x, w, constant=constant, **zeros))
    return found


def _epilogues() -> list[Case]:
    found = []
    relu = unary("relu")
    for number, (pair, (m, n, k)) in enumerate(
        itertools.product(PAIRS, ((1, 33, 8), (5, 16, 31), (13, 70, 64)))
    ):
        shapes = ((), (1,), (n,), (1, n), (m, 1))
        for bias, activation in ((False, None), (True, None), (True, relu), (False, relu)):
            op = IntegerMatMul(
                x_zero=True, w_zero=number % 2 == 1, scale=True, bias=bias, activation=activation
            )
            extras: dict[str, tuple[int, ...]] = {"x_zero": ()}
            if op.w_zero:
                extras["w_zero"] = (n,)
            extras["scale"] = shapes[number % len(shapes)]
            if bias:
                extras["bias"] = (n,)
            found.append(_case(op, pair, (m, k), (k, n), _floats(op), number % 2 == 0, **extras))
            number += 1
    return found


def _batches() -> list[Case]:
    plain, zeros = IntegerMatMul(), IntegerMatMul(x_zero=True, w_zero=True)
    pair = ("uint8", "int8")
    return [
        _case(plain, pair, (3, 4, 9), (9, 5)),
        _case(plain, pair, (3, 4, 9), (9, 5), constant=True),
        _case(zeros, pair, (3, 4, 9), (9, 5), x_zero=(3, 4), w_zero=(5,)),
        _case(zeros, ("int8", "uint8"), (3, 4, 9), (9, 5), x_zero=(3, 4, 1), w_zero=()),
        _case(plain, ("int8", "int8"), (3, 4, 9), (3, 9, 5)),
        _case(zeros, ("uint8", "uint8"), (3, 4, 9), (3, 9, 5), x_zero=(4, 1), w_zero=(5,)),
        _case(zeros, ("int8", "uint8"), (2, 1, 4, 9), (3, 9, 20), x_zero=(), w_zero=(1,)),
        _case(IntegerMatMul(True, True), pair, (2, 9, 30), (2, 40, 9)),
    ]


# Sums that leave int32 (255 * 127 * 70001 is above 2^31), and rows packed a part at a time.
def _long() -> list[Case]:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return np.full((2, 70001), 255, np.uint8), np.full((70001, 3), 127, np.int8)

    op = IntegerMatMul()
    oracle = exactly(lambda *arrays: _sums(op, *arrays))
    return [
        Case("matmul_integer that wraps", op, inputs, oracle, (), ("float32",)),
        _case(op, ("int8", "uint8"), (60, 90001), (90001, 2)),
        _case(op, ("uint8", "int8"), (13, 4096), (4096, 33)),
    ]


CASES = _plain() + _epilogues() + _batches() + _long()
