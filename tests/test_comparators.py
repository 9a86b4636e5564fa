# SPDX-License-Identifier: Apache-2.0
"""The comparators come first: each must accept the truth and refuse every corruption of it."""

from __future__ import annotations

import numpy as np
import pytest

from comparators import (
    UNIT,
    Mismatch,
    product_chain,
    same_bits,
    same_values,
    ulp_error,
    ulp_size,
    within_product_bound,
    within_ulps,
)

DTYPES = ("float32", "float64")
PRECISE = {"float32": np.float64, "float64": np.longdouble}


def sample(dtype: str) -> np.ndarray:
    return np.linspace(-3, 3, 35).astype(dtype).reshape(7, 5)


def corruptions(good: np.ndarray) -> dict[str, np.ndarray]:
    """Every way in which a right answer is spoiled; one element or one property at a time."""
    bad = {}
    for name in ("nan", "inf", "swapped rows", "changed value", "zero instead"):
        bad[name] = good.copy()
    bad["nan"][3, 2] = np.nan
    bad["inf"][6, 4] = np.inf
    bad["swapped rows"][[1, 4]] = bad["swapped rows"][[4, 1]]
    bad["changed value"][0, 0] *= 1 + 2.0**-10
    bad["zero instead"][5, 1] = 0
    bad["shape"] = good.reshape(5, 7)
    bad["rank"] = good[None]
    bad["missing row"] = good[:-1].copy()
    bad["dtype"] = good.astype("float64" if good.dtype == np.float32 else "float32")
    bad["byte order"] = good.astype(good.dtype.newbyteorder())
    bad["strides"] = np.asfortranarray(good)
    return bad


CORRUPTIONS = sorted(corruptions(sample("float32")))


def comparators_for(good: np.ndarray, dtype: str) -> dict[str, object]:
    precise = good.astype(PRECISE[dtype])
    eye = np.eye(5, dtype=dtype)
    return {
        "bits": lambda got: same_bits(got, good),
        "values": lambda got: same_values(got, good),
        "ulps": lambda got: within_ulps(got, precise, dtype, 1.0),
        "product": lambda got: within_product_bound(got, good, eye),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("comparator", ["bits", "values", "ulps", "product"])
def test_truth_passes(comparator, dtype):
    good = sample(dtype)
    comparators_for(good, dtype)[comparator](good.copy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("comparator", ["bits", "values", "ulps", "product"])
def test_corruption_is_caught(comparator, corruption, dtype):
    good = sample(dtype)
    with pytest.raises(Mismatch):
        comparators_for(good, dtype)[comparator](corruptions(good)[corruption])


@pytest.mark.parametrize("comparator", ["bits", "values", "ulps", "product"])
def test_other_things_than_arrays_are_caught(comparator):
    good = sample("float32")
    for other in (good.tolist(), None, good.view(np.matrix), np.ma.masked_array(good)):
        with pytest.raises(Mismatch):
            comparators_for(good, "float32")[comparator](other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_of_zero(dtype):
    good = np.array([1, 0.0, -0.0, 2], dtype)
    for wrong in ([1, -0.0, -0.0, 2], [1, 0.0, 0.0, 2]):
        for check in (
            lambda got: same_bits(got, good),
            lambda got: same_values(got, good),
            lambda got: within_ulps(got, good.astype(PRECISE[dtype]), dtype, 1.0),
        ):
            check(good.copy())
            with pytest.raises(Mismatch):
                check(np.array(wrong, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_underflow_keeps_the_sign(dtype):
    tiny = np.array([-(2.0**-60)], PRECISE[dtype]) ** 19
    within_ulps(np.array([-0.0], dtype), tiny, dtype, 1.0)
    with pytest.raises(Mismatch, match="sign of zero"):
        within_ulps(np.array([0.0], dtype), tiny, dtype, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bound", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("value", [1.5, 1e-30, 3e30, -7.25])
def test_one_ulp_over_the_bound(value, bound, dtype):
    exact = np.array([value], dtype)
    precise = exact.astype(PRECISE[dtype])
    size = ulp_size(precise, dtype)
    inside, outside = exact.copy(), exact.copy()
    for _ in range(int(bound)):
        inside = np.nextafter(inside, np.array([np.inf], dtype))
        outside = np.nextafter(outside, np.array([np.inf], dtype))
    outside = np.nextafter(outside, np.array([np.inf], dtype))
    within_ulps(inside, precise, dtype, bound)
    with pytest.raises(Mismatch, match="ulp"):
        within_ulps(outside, precise, dtype, bound)
    # The reference is not rounded first: a quarter of an ulp counts.
    with pytest.raises(Mismatch, match="ulp"):
        within_ulps(exact, precise + size * (bound + 0.25), dtype, bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_both_ways_and_by_class(dtype):
    positive, number = np.array([np.nan, 1], dtype), np.array([1, 1], dtype)
    negative = np.copysign(positive, np.array([-1, 1], dtype))
    same_values(negative, positive)
    within_ulps(negative, positive.astype(PRECISE[dtype]), dtype, 1.0)
    with pytest.raises(Mismatch):
        same_bits(negative, positive)
    for got, want in ((number, positive), (positive, number)):
        with pytest.raises(Mismatch):
            same_values(got, want)
        with pytest.raises(Mismatch, match="NaN"):
            within_ulps(got, want.astype(PRECISE[dtype]), dtype, 1e9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinity_is_the_next_power_of_two(dtype):
    largest = np.array([np.finfo(dtype).max], dtype)
    infinite = np.array([np.inf], dtype)
    precise = PRECISE[dtype]
    assert ulp_error(infinite, largest.astype(precise))[0] == 1
    within_ulps(infinite, infinite.astype(precise), dtype, 0.5)
    with pytest.raises(Mismatch, match="ulp"):
        within_ulps(-infinite, infinite.astype(precise), dtype, 2.0)
    with pytest.raises(Mismatch, match="ulp"):
        within_ulps(infinite, largest.astype(precise) / 2, dtype, 2.0)


def test_small_values_have_no_floor():
    reference = np.array([1e-42, 1e-37, 2.0**-149])
    within_ulps(reference.astype("float32"), reference, "float32", 0.5)
    with pytest.raises(Mismatch, match="ulp"):
        within_ulps(np.array([1.01e-42, 1e-37, 2.0**-149], "float32"), reference, "float32", 1.0)
    with pytest.raises(Mismatch, match="ulp"):
        within_ulps(np.zeros(3, "float32"), reference, "float32", 1.0)


def test_reference_must_be_more_precise():
    x = np.ones(3, "float64")
    with pytest.raises(ValueError, match="precise"):
        within_ulps(x, x, "float64", 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 7, 256, 257, 700])
def test_product_bound_is_sharp(k, dtype):
    rng = np.random.default_rng(k)
    a = rng.uniform(0.5, 1, (3, k)).astype(dtype)
    b = rng.uniform(0.5, 1, (k, 4)).astype(dtype)
    precise = PRECISE[dtype]
    truth = a.astype(precise) @ b.astype(precise)
    within_product_bound(truth.astype(dtype), a, b)
    step = product_chain(k) * UNIT[np.dtype(dtype)] * truth[1, 2]
    for sign in (-1, 1):
        wrong = truth.astype(dtype)
        wrong[1, 2] = truth[1, 2] + sign * 0.8 * step
        within_product_bound(wrong, a, b)
        wrong[1, 2] = truth[1, 2] + sign * (1.3 * step + ulp_size(truth[1:2, 2], dtype)[0])
        with pytest.raises(Mismatch, match="scaled error"):
            within_product_bound(wrong, a, b)


@pytest.mark.parametrize("wrong", [0.0, 1.0, np.inf])
def test_product_classes(wrong):
    a = np.array([[np.inf, 1.0], [1.0, 1.0], [np.nan, 1.0]], "float32")
    b = np.array([[0.0, 1.0], [1.0, 2.0]], "float32")
    good = np.array([[np.nan, np.inf], [1, 3], [np.nan, np.nan]], "float32")
    within_product_bound(good, a, b)
    for at in ((0, 0), (0, 1), (2, 0)):
        bad = good.copy()
        bad[at] = -wrong if at == (0, 1) else wrong
        with pytest.raises(Mismatch):
            within_product_bound(bad, a, b)


def test_product_of_nothing_is_exactly_zero():
    a, b = np.zeros((2, 3), "float32"), np.ones((3, 2), "float32")
    within_product_bound(np.zeros((2, 2), "float32"), a, b)
    with pytest.raises(Mismatch):
        within_product_bound(np.full((2, 2), 1e-45, "float32"), a, b)
