# SPDX-License-Identifier: Apache-2.0
"""Kernels of integers and truth values against NumPy, bit for bit, on every instruction set.

NumPy wraps, floors and shifts as the kernels do; where it refuses (a negative exponent), the
oracle is the meaning that PyTorch has, written out. Every kernel runs with both operands moving,
and with one for all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import programs
from lamella import _core

INTEGERS = ("int64", "int32", "uint8", "int8")
LENGTHS = (1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 257)


def power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a**b modulo 2**bits; of a negative exponent only 1 and -1 have a power."""
    bits = 8 * a.itemsize
    found = []
    for x, n in zip(*(v.ravel().tolist() for v in np.broadcast_arrays(a, b)), strict=True):
        if n >= 0:
            found.append(pow(x, n, 1 << bits))
        else:
            found.append({1: 1, -1: -1 if n % 2 else 1}.get(x, 0))
    unsigned = np.array([x % (1 << bits) for x in found], f"u{a.itemsize}")
    return unsigned.view(a.dtype).reshape(np.broadcast_shapes(a.shape, b.shape))


BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "clamp_min": np.maximum,
    "clamp_max": np.minimum,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "pow": power,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
}
UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "bitwise_not": np.invert,
}
COMPARE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
LOGICAL: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def hard(dtype: str) -> np.ndarray:
    """Limits, their neighbours, counts of bits, small numbers of both signs."""
    limits = np.iinfo(dtype)
    numbers = [limits.min, limits.min + 1, limits.max, limits.max - 1, limits.max // 3]
    numbers += [n for n in (-64, -33, -8, -7, -3, -2, -1) if n >= limits.min]
    numbers += [0, 1, 2, 3, 5, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100]
    return np.array(numbers, dtype)


def pairs(dtype: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Every hard value beside every other, and random bits."""
    values = hard(dtype)
    a, b = np.repeat(values, len(values)), np.tile(values, len(values))
    random = rng.integers(0, 256, (2, 300 * a.itemsize), np.uint8).view(dtype)
    return np.concatenate([a, random[0]]), np.concatenate([b, random[1]])


def truths(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2, n).astype(bool)


def check_pairs(name: str, oracle, a: np.ndarray, b: np.ndarray, result: str) -> None:
    """Both operands of all lengths, and either as one value for all."""
    kind = a.dtype.name
    with np.errstate(all="ignore"):
        (y,) = programs.binary(name, kind, a.shape, b.shape, result).run([a, b])
        np.testing.assert_array_equal(y, oracle(a, b), err_msg=name)
        assert y.dtype == result
        for n in LENGTHS:
            for x, z in ((a[:n], b[-n:]), (a[:n], b[n : n + 1]), (a[n : n + 1], b[:n])):
                (y,) = programs.binary(name, kind, x.shape, z.shape, result).run([x, z])
                np.testing.assert_array_equal(y, oracle(x, z), err_msg=f"{name} {n}")
    (y,) = programs.binary(name, kind, (1,), (1,), result).run([a[:1], b[:1]])


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", BINARY)
def test_binary(isa: str, rng: np.random.Generator, name: str, dtype: str) -> None:
    check_pairs(name, BINARY[name], *pairs(dtype, rng), dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", COMPARE)
def test_compare(isa: str, rng: np.random.Generator, name: str, dtype: str) -> None:
    check_pairs(name, COMPARE[name], *pairs(dtype, rng), "bool")


@pytest.mark.parametrize("name", [*LOGICAL, *COMPARE])
def test_truth_values(isa: str, rng: np.random.Generator, name: str) -> None:
    oracle = LOGICAL.get(name) or COMPARE[name]
    check_pairs(name, oracle, truths(600, rng), truths(600, rng), "bool")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_unary(isa: str, rng: np.random.Generator, dtype: str) -> None:
    x = pairs(dtype, rng)[0]
    for name, oracle in UNARY.items():
        for n in (*LENGTHS, len(x)):
            (y,) = programs.unary(name, dtype, (n,)).run([x[-n:]])
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(y, oracle(x[-n:]), err_msg=f"{name} {n}")
            assert y.dtype == dtype


def test_not(isa: str, rng: np.random.Generator) -> None:
    for n in LENGTHS:
        x = truths(n, rng)
        (y,) = programs.unary("logical_not", "bool", (n,)).run([x])
        assert np.array_equal(y, ~x)


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_select(isa: str, rng: np.random.Generator, dtype: str) -> None:
    for n in LENGTHS:
        full = [rng.integers(0, 2, n).astype(bool)]
        full += [rng.integers(0, 256, 8 * n, np.uint8).view("int64").astype(dtype) for _ in "ab"]
        for single in range(8):
            args = [x[:1] if single >> i & 1 else x for i, x in enumerate(full)]
            inputs = [(x.dtype.name, x.shape) for x in args]
            program = programs.chain(inputs, [("select", dtype, (0, 1, 2), ())], dtype)
            (y,) = program.run(args)
            assert np.array_equal(y, np.where(*args)), (n, single)


REDUCE = {
    "sum": lambda x: x.sum(1, dtype=np.int64),
    "prod": lambda x: x.prod(1, dtype=np.int64),
    "max": lambda x: x.max(1),
    "min": lambda x: x.min(1),
    "any": lambda x: x.any(1),
    "all": lambda x: x.all(1),
}


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_reductions(isa: str, threads: int, rng: np.random.Generator, dtype: str) -> None:
    shapes = [(1, 1, 1), (3, 7, 1), (2, 1000, 1), (40, 33, 1), (2, 9, 3), (1, 65, 70)]
    for shape in [*shapes, (2, 5, 1100), (1, 70000, 1)]:
        if dtype == "bool":
            x = rng.integers(0, 8, shape) > rng.integers(0, 9)
        else:
            x = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[
                ..., 0
            ]
            x[x == np.iinfo(dtype).max // 2] = 0
            x[0] //= 64
        x = np.ascontiguousarray(x)
        for kind, oracle in REDUCE.items():
            (y,) = programs.reduce(kind, dtype, *shape).run([x])
            want = oracle(x)
            assert y.dtype == want.dtype
            assert np.array_equal(y, want), (kind, shape)
        if shape[2] == 1:
            for kind in ("argmax", "argmin"):
                (y,) = programs.reduce(kind, dtype, *shape).run([x])
                assert np.array_equal(y, getattr(x, kind)(1)), (kind, shape)


def test_reductions_of_nothing(isa: str) -> None:
    for dtype in (*INTEGERS, "bool"):
        x = np.zeros((2, 0, 3), dtype)
        for kind, value in (("sum", 0), ("prod", 1), ("any", False), ("all", True)):
            (y,) = programs.reduce(kind, dtype, 2, 0, 3).run([x])
            assert (y == value).all()
        with pytest.raises(ValueError, match="of no elements"):
            programs.reduce("max", dtype, 2, 0, 3)


def test_chains_of_all_types(isa: str, threads: int, rng: np.random.Generator) -> None:
    """One pass: bytes to integers, arithmetic, comparison, selection, and to floats and back."""
    n = 10_007
    a = rng.integers(0, 256, n, np.uint8)
    b = rng.integers(-(2**40), 2**40, n)
    code = [
        ("cast", "int64", (0,), ()),  # 2
        ("mul", "int64", (2, 1), ()),  # 3
        ("gt", "bool", (3, 1), ()),  # 4
        ("cast", "float32", (1,), ()),  # 5
        ("cast", "float32", (2,), ()),  # 6
        ("select", "float32", (4, 5, 6), ()),  # 7
        ("cast", "float64", (7,), ()),  # 8
        ("cast", "int32", (8,), ()),  # 9
        ("cast", "int8", (9,), ()),  # 10
        ("bitwise_xor", "int8", (10, 10), ()),  # 11
        ("add", "int8", (11, 10), ()),  # 12
    ]
    (y,) = programs.chain([("uint8", (n,)), ("int64", (n,))], code, "int8").run([a, b])
    wide = a.astype(np.int64)
    real = np.where(wide * b > b, b.astype(np.float32), a.astype(np.float32)).astype(np.float64)
    fits = np.abs(real) < 2.0**31
    whole = np.where(fits, real, 0).astype(np.int32)
    whole[~fits] = np.iinfo(np.int32).min
    assert np.array_equal(y, whole.astype(np.int8))


def test_in_place(isa: str, rng: np.random.Generator) -> None:
    """The result may be exactly an operand."""
    for dtype in INTEGERS:
        a, b = pairs(dtype, rng)
        builder = _core.ProgramBuilder(inputs=[(dtype, a.shape)] * 2, outputs=[(dtype, a.shape)])
        n = len(a)
        copy = _core.CopySpec(item_bytes=a.itemsize, shape=(n,), x_strides=(1,), y_strides=(1,))
        builder.add(copy, x=builder.input(0), y=builder.output(0))
        spec = _core.ElementwiseSpec(
            shape=(n,), dtypes=[dtype] * 2, strides=[(1,), (1,)], code=[("mul", dtype, (0, 1), ())]
        )
        builder.add(spec, x=[builder.output(0), builder.input(1)], y=builder.output(0))
        (y,) = builder.build().run([a, b])
        with np.errstate(all="ignore"):
            assert np.array_equal(y, a * b)


def test_names_are_told() -> None:
    names = _core.integer_names()
    assert set(names["binary"]) == set(BINARY)
    assert set(names["unary"]) == set(UNARY)
    assert set(names["compare"]) == set(COMPARE)
