# SPDX-License-Identifier: Apache-2.0
"""The error gauge of products: max and RMS of |C - AB| / (u |A||B|) against an exact reference.

Two limits hold at every instruction set and thread count. The proven one is gamma_d |A||B| with d
the roundings that the library's order of summation can pile up on one term (Higham, "Accuracy and
Stability of Numerical Algorithms", 2nd ed., lemma 3.1 and section 4.2). The other is what OpenBLAS,
NumPy's product, errs on the same data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

import programs
from comparators import BLOCK_K, SUPERBLOCK_K, UNIT

DTYPES = ("float32", "float64")
SIZES = (1, 7, 64, 1000, 4096, 16384, 65536)
# Enough elements for an RMS that is good to a few percent. Fewer columns than a panel of 16 are
# dot products.
ROWS = COLUMNS = 48
NARROW = 7

# OpenBLAS sums blocks one after another (of 256 to 512 terms, SGEMM_DEFAULT_Q and DGEMM_DEFAULT_Q
# in its param.h), so that superblocks err less than it whatever its blocks. Below, two orders can
# be equally good, and RMS errors of some hundred random elements differ by some percent then;
# Haswell's float kernel errs up to 1.16 times less at 256 to 1000 terms, and without fused
# multiply-add (`baseline`) each product is rounded too, which at most doubles the mean square. The
# largest error says less: it varies by tens of percent between two equal orders.
FACTOR = 1.25
BASELINE_FACTOR = 2**0.5


def factor(k: int, isa: str) -> float:
    """How far the RMS error may lie above OpenBLAS's."""
    if k > SUPERBLOCK_K:
        return 1.0
    return BASELINE_FACTOR if isa == "baseline" else FACTOR


def slices(x: np.ndarray, axis: int, bits: int) -> list[np.ndarray]:
    """Four float64 arrays of that many leading bits each, which add up to x (but for 2^-68 of it).

    Ozaki, Ogita, Oishi and Rump 2012, "Error-free transformations of matrix multiplication by
    using fast routines of matrix multiplication and its applications", algorithm 3.
    """
    parts, rest = [], x.astype(np.float64)
    for _ in range(4):
        _, exponent = np.frexp(np.abs(rest).max(axis=axis, keepdims=True))
        sigma = np.ldexp(1.0, exponent + 53 - bits)
        parts.append((rest + sigma) - sigma)
        rest = rest - parts[-1]
    return parts


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product in longdouble, right to about 2^-60 of |A||B|.

    Slices are so short that each of their float64 products is exact in any order of summation.
    """
    bits = (53 - math.ceil(math.log2(max(a.shape[1], 2)))) // 2
    left, right = slices(a, 1, bits), slices(b, 0, bits)
    pairs = sorted(((i, j) for i in range(4) for j in range(4)), key=sum, reverse=True)
    total = np.zeros((len(a), b.shape[1]), np.longdouble)
    for i, j in pairs:
        total += (left[i] @ right[j]).astype(np.longdouble)
    return total


def chain(k: int, columns: int) -> int:
    """Roundings that one term of an element meets at most; the product's counts as the first.

    Blocks of 256: the first term of a block passes through its whole chain (with or without fused
    multiply-add min(k, 256) roundings, because adding to zero is exact), then through the sums of
    blocks and of superblocks. Narrow: 16 chains and a tree of four levels a superblock.
    """
    one = min(k, SUPERBLOCK_K)
    superblocks = math.ceil(k / SUPERBLOCK_K) - 1
    if columns < 16:
        return math.ceil(one / 16) + 4 + superblocks
    return min(k, BLOCK_K) + math.ceil(one / BLOCK_K) - 1 + superblocks


@dataclass(frozen=True)
class Gauge:
    """A product of which everything is known; an error is in units of u |A||B|."""

    a: np.ndarray
    b: np.ndarray
    exact: np.ndarray
    scale: np.ndarray

    def errors(self, product: np.ndarray) -> np.ndarray:
        assert product.dtype == self.a.dtype
        assert product.shape == self.exact.shape
        distance = np.abs(product.astype(np.longdouble) - self.exact)
        return (distance / (UNIT[self.a.dtype] * self.scale)).astype(np.float64)

    def within_bound(self, product: np.ndarray, roundings: int) -> None:
        bound = roundings / (1 - roundings * UNIT[self.a.dtype])
        assert self.errors(product).max() <= bound

    def near_openblas(self, product: np.ndarray, factor: float) -> None:
        assert rms(self.errors(product)) <= factor * rms(self.errors(self.a @ self.b))

    def narrowed(self, columns: int) -> Gauge:
        """The same with the first columns of b only."""
        b = np.ascontiguousarray(self.b[:, :columns])
        return Gauge(self.a, b, self.exact[:, :columns], self.scale[:, :columns])


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


@cache
def gauge(k: int, positive: bool, dtype: str) -> Gauge:
    """Normal data, or their magnitudes: sums that only grow, whose rounding errors are largest."""
    rng = np.random.default_rng([k, positive, np.dtype(dtype).itemsize])
    a = rng.normal(size=(ROWS, k)).astype(dtype)
    b = rng.normal(size=(k, COLUMNS)).astype(dtype)
    if positive:
        a, b = np.abs(a), np.abs(b)
    return Gauge(a, b, exact_product(a, b), exact_product(np.abs(a), np.abs(b)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("k", SIZES)
def test_error_below_the_proven_bound_and_near_openblas(k, positive, dtype, isa, threads):
    full = gauge(k, positive, dtype)
    got = programs.matmul(dtype, ROWS, COLUMNS, k).run([full.a, full.b])[0].copy()
    full.within_bound(got, chain(k, COLUMNS))
    full.near_openblas(got, factor(k, isa))
    narrow = full.narrowed(NARROW)
    got = programs.matmul(dtype, ROWS, NARROW, k).run([narrow.a, narrow.b])[0].copy()
    narrow.within_bound(got, chain(k, NARROW))
    narrow.near_openblas(got, factor(k, isa))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 7, 300])
def test_the_reference_is_exact(k, dtype):
    full = gauge(k, False, dtype)
    for i, j in ((0, 0), (5, 47), (47, 13)):
        pairs = zip(full.a[i].tolist(), full.b[:, j].tolist(), strict=True)
        terms = [Fraction(x) * Fraction(y) for x, y in pairs]
        for value, exact in (
            (full.exact[i, j], sum(terms)),
            (full.scale[i, j], sum(map(abs, terms))),
        ):
            # A longdouble is the sum of two doubles.
            high = float(value)
            got = Fraction(high) + Fraction(float(value - np.longdouble(high)))
            assert abs(got - exact) <= sum(map(abs, terms)) / 2**60


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", SIZES)
def test_a_corrupted_value_is_found(k, dtype):
    full = gauge(k, False, dtype)
    good, roundings = full.a @ full.b, chain(k, COLUMNS)
    full.near_openblas(good, 1.0)
    for sign in (-1, 1):
        wrong = good.copy()
        step = 2 * (roundings + 1) * UNIT[np.dtype(dtype)] * full.scale[3, 5]
        wrong[3, 5] = full.exact[3, 5] + sign * step
        with pytest.raises(AssertionError):
            full.within_bound(wrong, roundings)
    wrong[3, 5] = np.nan
    with pytest.raises(AssertionError):
        full.within_bound(wrong, roundings)
    with pytest.raises(AssertionError):
        full.near_openblas(wrong, BASELINE_FACTOR)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", SIZES)
def test_factors_of_half_the_precision_are_found(k, dtype):
    full = gauge(k, False, dtype)
    half = {"float32": np.float16, "float64": np.float32}[dtype]
    with pytest.raises(AssertionError):
        full.near_openblas(full.a.astype(half).astype(dtype) @ full.b, BASELINE_FACTOR)


@pytest.mark.parametrize("block", [1, BLOCK_K])
def test_a_sum_without_superblocks_is_found(block):
    full = gauge(65536, True, "float32")
    one_chain = np.zeros((ROWS, COLUMNS), np.float32)
    for k in range(0, 65536, block):
        one_chain += full.a[:, k : k + block] @ full.b[k : k + block]
    with pytest.raises(AssertionError):
        full.near_openblas(one_chain, factor(65536, "avx2"))
