# SPDX-License-Identifier: Apache-2.0
"""Forwards that compute with their sizes in Python, in every way that a user might.

Each runs on NumPy arrays too, which is what it means: on whole numbers its results are exact, and
where NumPy raises, or the function itself, a net has to.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

TABLE = {0: 8.0, 1: 0.5, 2: 4.0, 7: 2.0, 17: -1.0}
SCALES = [1.0, 2.0, 4.0, 8.0]
POSITIONS = np.arange(60, dtype=np.float32).reshape(20, 3)
ONE_POSITION = np.full((1, 3), 5, np.float32)


@functools.lru_cache(3)
def remembered(n: int) -> float:
    return float(n % 5)


def decided(x: Any) -> Any:
    return x * 2 if x.shape[0] > 20 else x + 1


def parity(x: Any) -> Any:
    n = len(x)
    if n % 2:
        x = x - n
    if n == 17 or n in (3, 33):
        x = x * 4
    return x


def steps(x: Any) -> Any:
    """A loop as long as the logarithm of the size."""
    n = x.shape[0]
    while n > 3:
        n //= 2
        x = x + n
    return x


def columns(x: Any) -> Any:
    """A loop over an axis of fixed extent, and one over as many rows as there are, up to four."""
    total = 0.0
    for j in range(x.shape[1]):
        total = total + x[:, j] * (j + 1)
    for i in range(min(x.shape[0], 4)):
        total = total + x[i, 0]
    return total


def unrolled(x: Any) -> Any:
    y = x * 0
    for i in range(x.shape[0]):
        y = y + x[i] * (i % 3)
    return y


def measured(x: Any) -> Any:
    """The distinct numbers that arithmetic makes of a size."""
    n = x.shape[0]
    numbers = (
        n + 1, 3 - n, 2 * n, n * n, n // 3, n % 4, -n, abs(n - 9), divmod(n, 5)[1], n & 5, n >> 1,
        n ^ 3, n | 8, n << 1, n**2, +n, n.bit_length(), round(n / 4), math.floor(n / 2),
        math.isqrt(n), math.gcd(n, 6), int(n), int(str(n)), operator.index(n), bool(n), hash(n),
        max(n, 7), min(n, 10), sum(range(n)) if n < 9 else 0, n.__index__(), complex(n).real,
        float(n), 1 << (max(n, 1) - 1).bit_length(), -(-n // 8) * 8, n // 2 * 2 == n, len(f"{n}"),
        5 // max(n, 1), n - 0.5,
        int(n > 5) + int(n <= 12) + int(5 <= n != 8) + int(not n), sorted((n, 7, 12))[1],
        int(isinstance(n, int)), [0, 1, 2][n % 3], "abcdef".find("abcdefg"[n % 7]),
    )  # fmt: skip
    for number in numbers:
        x = x * 0.5 + number
    return x


def exactly_int(x: Any) -> Any:
    """What no other type can pretend to be."""
    n = x.shape[0]
    return x + (1 if type(n) is int else 2)


def roots(x: Any) -> Any:
    n = max(1, len(x))
    return x * n**0.5, x / math.sqrt(n), x * (1.0 / n), x * (1 / n), x / n, x * float(n), x * n**-1


def by_numpy(x: Any) -> Any:
    n = x.shape[0]
    first = x[: int(np.minimum(n, 8))]
    more = np.int64(n) * 2 + np.array(x.shape).sum()
    return first, x + float(more), x * np.float32(np.prod(x.shape)), x[: np.clip(n, 2, 5)]


def made(x: Any) -> Any:
    """Arrays that NumPy makes as long as the size."""
    n, m = x.shape
    return (
        x + np.arange(n, dtype=np.float32)[:, None],
        x * np.ones(x.shape, np.float32) - np.full((n, m), 2, np.float32),
        x * np.eye(max(n, 1), m, dtype=np.float32)[:n],
    )


def triangle(x: Any) -> Any:
    n = x.shape[0]
    return x[:, None] * np.tril(np.ones((n, n), np.float32))[:, :, None]


def averaged(x: Any) -> Any:
    n = x.shape[0] or 1
    return x.sum(0) / n, x.sum() / n, x - x.sum(0) * (1.0 / n), x.sum() / (x.shape[0] * 3 or 1)


def unbiased(x: Any) -> Any:
    return (x * x).sum(0) / (len(x) - 1)


def clamped(x: Any) -> Any:
    return x[:10], x[5:], x[-3:], x[::2], x[10:5], x[-20:-1], x[1:-1], x[::-3], x[2:9:2]


def ranged(x: Any) -> Any:
    n = x.shape[0]
    return x[n // 2 :], x[: n // 2], x[n // 4 : n - n // 4], x[min(n, 10) :], x[: -(n // 3) or None]


def picked(x: Any) -> Any:
    return x[x.shape[0] // 2], x[-1], x[len(x) - 1], x[0]


def placed(x: Any) -> Any:
    return x + POSITIONS[: x.shape[0]]


def placed_at_one(x: Any) -> Any:
    """A table of one row, which fits every size."""
    return x + ONE_POSITION[: x.shape[0]]


def in_pairs(x: Any) -> Any:
    return x.reshape(x.shape[0] // 2, 2, -1)


def folded(x: Any) -> Any:
    n, m = x.shape
    return x.reshape(-1), x.reshape(m, n), x.reshape(n, 1, m), x.reshape(1, -1, m), x.T.reshape(-1)


def judged(x: Any) -> Any:
    n = x.shape[0]
    assert n % 3 != 2, f"{n} rows"
    if n > 30:
        raise ValueError(f"{n} rows are too many")
    return x - n


def looked_up(x: Any) -> Any:
    n = x.shape[0]
    return x * TABLE.get(n, 1.0), x * SCALES[n % 4], x * {(n, 3): 3.0}[x.shape], x + remembered(n)


def compared(x: Any) -> Any:
    if x.shape == (7, 3) or x.shape[:1] == (9,):
        return x * 2
    return x + (x.shape > (12, 0)) + (x.shape[0] == x.shape[1]) * 4


def squared(x: Any) -> Any:
    return x @ x.T, x.T @ x, (x @ x.T).sum(0), (x @ x.T)[:, : x.shape[1]]


def turned(x: Any) -> Any:
    """The axis follows the size."""
    return x.sum(len(x) % 2), x[:, :: len(x) % 3 + 1], x if len(x) % 3 else x.T


def repeated(x: Any) -> Any:
    return [x[i : i + 1] * 2 for i in range(0, x.shape[0], 8)]


def nested(x: Any) -> Any:
    sizes = {"rows": x.shape[0], "both": [*x.shape]}
    return x * sizes["rows"] + sum(sizes["both"])


def shifted(x: Any) -> Any:
    n = x.shape[0]
    return (x[1:] - x[:-1]) / (n - 1 or 1), (x[:, None] - x[None])[: n - 1]


FORWARDS: dict[str, Callable[[Any], Any]] = {
    f.__name__: f
    for f in (
        *(decided, parity, steps, columns, unrolled, measured, exactly_int, roots, by_numpy, made),
        *(triangle, averaged, unbiased, clamped, ranged, picked, placed, placed_at_one, in_pairs),
        *(folded, judged, looked_up, compared, squared, turned, repeated, nested, shifted),
    )
}
