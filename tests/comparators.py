# SPDX-License-Identifier: Apache-2.0
"""The four ways in which tests compare arrays; each either returns None or raises Mismatch.

Every comparator first checks the form (exact np.ndarray, shape, dtype), treats NaN by class (any
NaN equals any NaN, none equals a number) and takes the sign of zero seriously. Tolerances are
bounds stated by the library: units in the last place against a more precise reference, or the
componentwise bound of a matrix product. There is no absolute floor anywhere.
test_comparators.py proves that each of them fails when it must.
"""

from __future__ import annotations

import math

import numpy as np

# Half the distance from 1 to the next number: the unit of Higham's gamma_d.
UNIT = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}

# Terms of one K-block and of one superblock of the library's sums (DESIGN.md, "Same bits").
BLOCK_K = 256
SUPERBLOCK_K = 4096


class Mismatch(AssertionError):
    """The arrays differ by more than the comparator allows."""


def _first(bad: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])


def _fail(what: str, bad: np.ndarray, got: np.ndarray, want: np.ndarray, more: str = "") -> None:
    at = _first(bad)
    raise Mismatch(
        f"{what}: {int(bad.sum())} of {bad.size} elements; first at {at}: "
        f"got {got[at]!r}, want {want[at]!r}{more}"
    )


def same_form(got: object, shape: tuple[int, ...], dtype: object) -> np.ndarray:
    """Checks that `got` is an exact, C-contiguous, native array of this shape and dtype."""
    if type(got) is not np.ndarray:
        raise Mismatch(f"form: got {type(got).__name__}, want numpy.ndarray")
    if got.shape != tuple(shape):
        raise Mismatch(f"form: got shape {got.shape}, want {tuple(shape)}")
    if got.dtype != np.dtype(dtype):
        raise Mismatch(f"form: got dtype {got.dtype}, want {np.dtype(dtype)}")
    if not (got.flags.c_contiguous and got.flags.aligned and got.dtype.isnative):
        raise Mismatch("form: the array is not C-contiguous, aligned and native")
    return got


def same_bits(got: object, want: np.ndarray) -> None:
    """Equal byte for byte, NaN payloads included."""
    got = same_form(got, want.shape, want.dtype)
    if got.tobytes() == want.tobytes():
        return
    unsigned = np.dtype(f"u{want.dtype.itemsize}")
    bad = np.ascontiguousarray(got).view(unsigned) != np.ascontiguousarray(want).view(unsigned)
    _fail("bits", bad.reshape(want.shape), got, want)


def same_values(got: object, want: np.ndarray) -> None:
    """Equal bits, except that any NaN equals any NaN: their signs differ between processors."""
    got = same_form(got, want.shape, want.dtype)
    if want.dtype.kind != "f":
        return same_bits(got, want)
    got_nan, want_nan = np.isnan(got), np.isnan(want)
    bad = (got_nan != want_nan) | (
        ~want_nan & ((got != want) | (np.signbit(got) != np.signbit(want)))
    )
    if bad.any():
        _fail("values", bad, got, want)


def ulp_size(reference: np.ndarray, dtype: object) -> np.ndarray:
    """One unit in the last place of `dtype` at each value of a more precise array, as that array.

    At a power of two it is the larger spacing, above it; below the smallest normal number it is the
    smallest subnormal number.
    """
    limits = np.finfo(np.dtype(dtype))
    magnitude = np.abs(reference)
    _, exponent = np.frexp(np.where(np.isfinite(magnitude) & (magnitude > 0), magnitude, 1))
    exponent = np.clip(exponent - 1, limits.minexp, limits.maxexp - 1)
    size = np.ldexp(np.ones_like(reference), exponent - limits.nmant)
    return np.where(
        magnitude == 0, np.ldexp(np.ones_like(reference), limits.minexp - limits.nmant), size
    )


def ulp_error(got: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Distance of each element from the unrounded reference, in units in the last place.

    Infinite results count as the first power of two that does not fit, so overflow is judged like
    any other value. NaN and the sign of zero are not judged here (0 where both are NaN).
    """
    reference = np.asarray(reference)
    ceiling = np.ldexp(reference.dtype.type(1), np.finfo(got.dtype).maxexp)
    numbers = np.clip(got.astype(reference.dtype), -ceiling, ceiling)
    bounded = np.clip(reference, -ceiling, ceiling)
    both_nan = np.isnan(got) & np.isnan(reference)
    error = np.abs(numbers - bounded) / ulp_size(bounded, got.dtype)
    with np.errstate(over="ignore"):
        return np.where(both_nan, 0, error).astype(np.float64)


def within_ulps(got: object, reference: np.ndarray, dtype: object, bound: float) -> None:
    """At most `bound` units in the last place from a reference of higher precision.

    reference: float64 or longdouble, unrounded; a zero in it (with its sign) demands exactly that
    zero. bound = 0 is not special: use same_values for exact results.
    """
    reference = np.asarray(reference)
    got = same_form(got, reference.shape, dtype)
    if np.finfo(reference.dtype).nmant <= np.finfo(got.dtype).nmant:
        raise ValueError(f"the reference must be more precise than {got.dtype}")
    bad = np.isnan(got) != np.isnan(reference)
    if bad.any():
        _fail("NaN", bad, got, reference)
    number = ~np.isnan(reference)
    bad = number & (np.signbit(got) != np.signbit(reference)) & ((reference == 0) | (got == 0))
    if bad.any():
        _fail("sign of zero", bad, got, reference)
    bad = number & (reference == 0) & (got != 0)
    if bad.any():
        _fail("zero", bad, got, reference)
    error = ulp_error(got, reference)
    bad = ~(error <= bound)
    if bad.any():
        worst = float(np.nanmax(np.where(bad, error, 0)))
        at = _first(bad)
        _fail(
            "ulp",
            bad,
            got,
            reference,
            f"; {error[at]:.3f} ulp there, {worst:.3f} at worst, bound {bound}",
        )


def product_chain(k: int, extra: int = 3) -> int:
    """Longest chain of roundings in one element of a blocked sum of k products.

    min(k, 256) inside a block, one for each block of a superblock and for each superblock, and
    `extra`: the product's own rounding where the ISA has no fused multiply-add, bias and residual.
    """
    blocks = math.ceil(min(k, SUPERBLOCK_K) / BLOCK_K)
    return min(k, BLOCK_K) + blocks + max(math.ceil(k / SUPERBLOCK_K) - 1, 0) + extra


def within_scale(
    got: object, reference: np.ndarray, scale: np.ndarray, dtype: object, units: object
) -> None:
    """Componentwise |got - reference| <= gamma * scale, gamma = d u / (1 - d u), d = units.

    scale: the sum of magnitudes that the error is proportional to; where it is zero the result
    must be the reference. Elements whose reference is not finite, or out of the dtype's range, are
    compared by class.
    """
    got = same_form(got, reference.shape, dtype)
    if np.finfo(reference.dtype).nmant <= np.finfo(got.dtype).nmant:
        raise ValueError(f"the reference must be more precise than {got.dtype}")
    chain = np.asarray(units) * UNIT[got.dtype]
    gamma = chain / (1 - chain)
    largest = np.finfo(got.dtype).max
    in_range = np.isfinite(reference) & (np.abs(reference) < largest) & (scale < largest)
    with np.errstate(all="ignore"):
        # Below the normal range a rounding errs by half of the smallest number.
        floor = units * np.finfo(got.dtype).smallest_subnormal * (scale != 0) / 2
        bad = in_range & ~(np.abs(got.astype(reference.dtype) - reference) <= gamma * scale + floor)
        bad |= np.isnan(reference) & ~np.isnan(got)
        bad |= np.isinf(reference) & (got != reference)
    if bad.any():
        _fail(f"scaled error (gamma up to {np.max(gamma):.3e})", bad, got, reference)


def within_product_bound(
    got: object,
    a: np.ndarray,
    b: np.ndarray,
    *,
    addends: tuple[np.ndarray, ...] = (),
    extra: int = 3,
) -> None:
    """Componentwise |C - AB| <= gamma_d |A||B|: Higham, Accuracy and Stability, section 3.5.

    a, b: what np.matmul takes, of the result's dtype; addends (bias, residual) join both sums.
    """
    dtype = np.result_type(a, b)
    precise = np.float64 if dtype == np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        a, b = a.astype(precise), b.astype(precise)
        reference, scale = a @ b, np.abs(a) @ np.abs(b)
        for addend in addends:
            reference = reference + addend.astype(precise)
            scale = scale + np.abs(addend.astype(precise))
    within_scale(got, reference, scale, dtype, product_chain(a.shape[-1], extra))
