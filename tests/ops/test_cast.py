# SPDX-License-Identifier: Apache-2.0
"""Casts among all element types, bit for bit, on every instruction set.

The oracle is NumPy's astype where C defines it; beyond the range of an integer it is the text of
Cast: the least int64 or int32, from which narrower ones are cut. bfloat16 is ml_dtypes', but for
float64, which ml_dtypes rounds twice: there the oracle is rounding in exact arithmetic.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import programs
from lamella import _core
from lamella.errors import DTypeError
from lamella.ir.types import DType, TensorType
from lamella.ops.elementwise import Cast

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
COMPUTED = [dtype for dtype in DType if not dtype.is_storage]
STORED = [dtype for dtype in DType if dtype.is_storage]
PAIRS = [(a, b) for a in COMPUTED for b in COMPUTED if a is not b]
PAIRS += [(a, b) for a in COMPUTED if a.is_floating for b in STORED]
PAIRS += [(b, a) for a, b in PAIRS if b.is_storage]


def numpy_of(dtype: DType) -> np.dtype:
    return BFLOAT16 if dtype is DType.bfloat16 else dtype.numpy


def values(dtype: DType, rng: np.random.Generator) -> np.ndarray:
    """Every value of small types; of large ones limits, neighbours of limits and random bits."""
    if dtype is DType.bool:
        return np.arange(267) % 3 == 1
    if dtype.itemsize <= 2:
        return np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(
            numpy_of(dtype)
        )
    random = rng.integers(0, 256, 4096 * dtype.itemsize, np.uint8).view(dtype.numpy)
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        near = [limits.min, limits.min + 1, limits.max, limits.max - 1, 0, -1, 1, 127, 128, 255]
        near += [256, 2**24 + 1, 2**25 + 3] + [2**53 + 1, 2**31, 2**32 + 5] * (dtype.itemsize == 8)
        return np.concatenate([random, np.array(near, dtype.numpy)])
    edges = [0, 0.5, 1, 1.5, 2.5, 255.5, 2.0**-149, 2.0**-133, 2.0**-24, 65504, 65520, np.nan]
    edges += [2.0**7, 2.0**8, 2.0**15, 2.0**31, 2.0**32, 2.0**63, np.inf]
    edges = np.array(edges, dtype.numpy)
    above = np.nextafter(edges, dtype.numpy.type(np.inf))
    edges = np.concatenate([edges, np.nextafter(edges, dtype.numpy.type(0)), above])
    moderate = rng.normal(0, 300, 4096).astype(dtype.numpy)
    return np.concatenate([random, moderate, edges, -edges])


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """The nearest of ml_dtypes' result and its neighbours, which rounds doubles twice."""
    if x.itemsize == 4:
        return x.astype(BFLOAT16)
    guess = x.astype(BFLOAT16).view(np.uint16)
    sign, size = guess & 0x8000, (guess & 0x7FFF).astype(np.int64)
    sizes = np.clip(size + np.array([[-1], [0], [1]]), 0, 0x7F80)
    numbers = sizes.astype(np.uint16).view(BFLOAT16).astype(np.float64)
    numbers[np.isinf(numbers)] = 2.0**128
    # Ties to the even one.
    far = np.abs(numbers - np.abs(x))
    best = np.lexsort((sizes & 1, far), axis=0)[0]
    found = np.take_along_axis(sizes, best[None], 0)[0]
    bits = np.where(np.isnan(x), guess, sign | found.astype(np.uint16))
    return np.where(np.isinf(x), guess, bits).astype(np.uint16).view(BFLOAT16)


def expected(x: np.ndarray, target: DType) -> np.ndarray:
    """The cast by NumPy, or by the text where C leaves it open."""
    with np.errstate(all="ignore"):
        if target is DType.bfloat16:
            return to_bfloat16(x)
        if target is DType.bool:
            return x != 0
        if target.is_integer and x.dtype.kind == "f":
            wide = np.dtype(np.int64 if target is DType.int64 else np.int32)
            bound = -float(np.iinfo(wide).min)
            fits = (x >= -bound) & (x < bound)
            whole = np.where(fits, x, 0).astype(wide)
            return np.where(fits, whole, np.iinfo(wide).min).astype(wide).astype(target.numpy)
        return x.astype(target.numpy)


def same(got: np.ndarray, want: np.ndarray) -> None:
    """The same bits; of a NaN that it is one."""
    assert got.shape == want.shape
    if want.dtype.kind not in "iub":
        seen = got.view(BFLOAT16) if want.dtype == BFLOAT16 else got
        with np.errstate(invalid="ignore"):
            nan = np.isnan(want.astype(np.float64))
            assert np.isnan(seen.astype(np.float64))[nan].all()
        unsigned = f"u{want.itemsize}"
        assert np.array_equal(got.view(unsigned)[~nan], want.view(unsigned)[~nan])
    else:
        assert got.dtype == want.dtype
        assert np.array_equal(got, want)


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=str)
def test_every_pair(isa: str, rng: np.random.Generator, source: DType, target: DType) -> None:
    x = values(source, rng)
    (y,) = programs.cast(source.name, target.name, x.shape).run([x])
    same(y, expected(x, target))


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=str)
def test_every_length_and_repeated(source: DType, target: DType, rng: np.random.Generator) -> None:
    x = values(source, rng)
    for n in (0, 1, 2, 3, 5, 8, 15, 17, 31, 33, 63, 65, 127):
        (y,) = programs.cast(source.name, target.name, (n,)).run([x[:n]])
        same(y, expected(x[:n], target))
    # One value for all.
    code = [("cast", target.name, (1,), ())]
    repeated = programs.chain([("float32", (70,)), (source.name, (1,))], code, target.name)
    (y,) = repeated.run([np.zeros(70, np.float32), x[3:4]])
    same(y, np.repeat(expected(x[3:4], target), 70))


def test_payloads_of_nan(isa: str) -> None:
    """A NaN keeps its sign and the upper bits of its payload, and becomes quiet."""
    bits = np.array([0x7F800001, 0xFF812345, 0x7FC00000, 0x7FA00000, 0xFFFFFFFF], np.uint32)
    x = bits.view(np.float32)
    (half,) = programs.cast("float32", "float16", x.shape).run([x])
    (brain,) = programs.cast("float32", "bfloat16", x.shape).run([x])
    sign = (bits >> 16 & 0x8000).astype(np.uint16)
    assert (half.view(np.uint16) == (sign | 0x7E00 | (bits >> 13 & 0x3FF).astype(np.uint16))).all()
    assert (brain == (bits >> 16).astype(np.uint16) | 0x40).all()


def test_doubles_are_rounded_once(isa: str) -> None:
    """Just above the middle of two bfloat16 or float16, which float32 takes for the middle."""
    x = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-11 + 2.0**-40, 1 + 3 * 2.0**-8 - 2.0**-40])
    (brain,) = programs.cast("float64", "bfloat16", x.shape).run([x])
    (half,) = programs.cast("float64", "float16", x.shape).run([x])
    assert brain.view(BFLOAT16).astype(float)[[0, 2]].tolist() == [1 + 2.0**-7, 1 + 2.0**-7]
    assert half.astype(float)[1] == 1 + 2.0**-10


def test_the_reference_is_the_same_text(rng: np.random.Generator) -> None:
    for source, target in PAIRS:
        x = values(source, rng)
        if source.is_floating or source.is_storage:
            with np.errstate(invalid="ignore"):
                x = x[np.isfinite(x.astype(np.float64))]
        (got,) = Cast(target).reference([x])
        want = expected(x, target)
        if target.is_floating:
            # Which is not rounded: float64 itself is what tests compare with.
            with np.errstate(over="ignore"):
                got = got.astype(target.numpy)
        assert np.array_equal(got, want.astype(got.dtype), equal_nan=True), (source, target)


@pytest.mark.parametrize("other", [DType.int64, DType.bool, DType.float16])
def test_storage_meets_floats_only(other: DType) -> None:
    with pytest.raises(DTypeError, match="no conversion to bfloat16"):
        Cast(DType.bfloat16).infer([TensorType((3,), other)])
    with pytest.raises(ValueError, match="no kernel 'cast'"):
        programs.cast(other.name, "bfloat16", (3,))


def test_python_and_core_have_one_list() -> None:
    kinds = {"floating": "is_floating", "integer": "is_integer", "storage": "is_storage"}
    rows = _core.dtypes()
    assert [name for name, _, _ in rows] == [dtype.name for dtype in DType]
    for name, size, kind in rows:
        dtype = DType(name)
        assert dtype.itemsize == size == dtype.numpy.itemsize
        assert [flag for flag in kinds.values() if getattr(dtype, flag)] == (
            [kinds[kind]] if kind in kinds else []
        )
        assert (kind == "truth") == (dtype is DType.bool)
