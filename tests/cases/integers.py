# SPDX-License-Identifier: Apache-2.0
"""Integers and truth values in every elementwise op and reduction, at the ends of their range.

The oracle is Python's own arithmetic of unbounded integers, element by element, whose results are
wrapped to the type's bits: nothing of NumPy's or of the library's rules is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cases.case import Arrays, Case, exactly
from lamella.ir.types import DType
from lamella.ops.elementwise import Binary, Cast, Chain, Compare, Instruction, Where, unary
from lamella.ops.logical import Bitwise
from lamella.ops.reduce import Reduce

TYPES = ("int64", "int32", "uint8", "int8")
ALL = (*TYPES, "bool")


def wrapped(value: int, dtype: np.dtype) -> int:
    """The number that has the lowest bits of `value`."""
    bits = 8 * dtype.itemsize
    value %= 1 << bits
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def power(a: int, b: int) -> int:
    """a ** b, and of a negative exponent what an integer can hold of the fraction."""
    if b >= 0:
        return pow(a, b, 1 << 64)
    return a if a == 1 else (1 if b % 2 == 0 else -1) if a == -1 else 0


def shifted(a: int, b: int, bits: int, up: bool) -> int:
    """a << b or a >> b; every bit is lost to a count outside the bits."""
    if not 0 <= b < bits:
        return -1 if a < 0 and not up else 0
    return a << b if up else a >> b


# Of Python's integers and the number of bits.
BINARY: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda a, b, n: a + b,
    "sub": lambda a, b, n: a - b,
    "mul": lambda a, b, n: a * b,
    "pow": lambda a, b, n: power(a, b),
    "floor_divide": lambda a, b, n: a // b if b else 0,
    "remainder": lambda a, b, n: a % b if b else 0,
    "maximum": lambda a, b, n: max(a, b),
    "minimum": lambda a, b, n: min(a, b),
    "clamp_min": lambda a, b, n: max(a, b),
    "clamp_max": lambda a, b, n: min(a, b),
}
BITWISE: dict[str, Callable[[int, int, int], int]] = {
    "bitwise_and": lambda a, b, n: a & b,
    "bitwise_or": lambda a, b, n: a | b,
    "bitwise_xor": lambda a, b, n: a ^ b,
    "left_shift": lambda a, b, n: shifted(a, b, n, True),
    "right_shift": lambda a, b, n: shifted(a, b, n, False),
}
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
UNARY: dict[str, Callable[[int], int]] = {
    "neg": lambda a: -a,
    "abs": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "square": lambda a: a * a,
    "relu": lambda a: max(a, 0),
}
# What arithmetic is on truth values.
TRUTH: dict[str, Callable[[bool, bool], bool]] = {
    "add": lambda a, b: a or b,
    "mul": lambda a, b: a and b,
    "maximum": lambda a, b: a or b,
    "minimum": lambda a, b: a and b,
    "bitwise_and": lambda a, b: a and b,
    "bitwise_or": lambda a, b: a or b,
    "bitwise_xor": lambda a, b: a != b,
}


def values(rng: np.random.Generator, dtype: str, count: int = 30) -> np.ndarray:
    """The ends of the range and what lies about 0, and others at random; shuffled."""
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool)
    limits = np.iinfo(dtype)
    bits = 8 * np.dtype(dtype).itemsize
    near = [limits.min, limits.min + 1, limits.max, limits.max - 1, limits.max // 2, 0, 1, 2, 3, 7]
    near += [bits - 1, bits, bits + 1] + ([-1, -2, -3, -bits] if limits.min else [])
    rest = rng.integers(limits.min, limits.max, max(count - len(near), 0), endpoint=True)
    return rng.permutation(np.array([*near, *(int(n) for n in rest)], dtype))


def each(function: Callable[..., object], *arrays: np.ndarray) -> list[object]:
    """The function of Python's numbers, at every place."""
    spread = np.broadcast_arrays(*arrays)
    return [function(*row) for row in zip(*(x.ravel().tolist() for x in spread), strict=True)]


def computed(function: Callable[..., int], dtype: str | None, *arrays: np.ndarray) -> np.ndarray:
    """The function at every place, wrapped to the type (None: the first operand's)."""
    kind = np.dtype(dtype or arrays[0].dtype)
    found = each(function, *arrays)
    if kind.kind != "b":
        found = [wrapped(int(value), kind) for value in found]
    return np.array(found, kind).reshape(np.broadcast_shapes(*(x.shape for x in arrays)))


def pairs(rng: np.random.Generator, dtype: str) -> Arrays:
    """Every value beside every other one."""
    return values(rng, dtype)[:, None], values(rng, dtype)


def _binary() -> list[Case]:
    cases = []
    for name, function in {**BINARY, **BITWISE}.items():

        def oracle(a, b, function=function):
            return computed(lambda p, q: function(p, q, 8 * a.itemsize), None, a, b)

        op = Binary(name) if name in BINARY else Bitwise(name)
        cases.append(Case(f"integer {name}", op, pairs, exactly(oracle), dtypes=TYPES))
    for name, function in TRUTH.items():

        def judge(a, b, function=function):
            return computed(function, "bool", a, b)

        op = Binary(name) if name in BINARY else Bitwise(name)
        cases.append(Case(f"truth {name}", op, pairs, exactly(judge), dtypes=("bool",)))
    return cases


def _others() -> list[Case]:
    cases = []
    for name, function in UNARY.items():

        def oracle(x, function=function):
            return computed(function, None, x)

        def inputs(rng, dtype):
            return (values(rng, dtype, 70),)

        cases.append(Case(f"integer {name}", unary(name), inputs, exactly(oracle), dtypes=TYPES))
    inverted = exactly(lambda x: computed((lambda a: not a) if x.dtype == bool else int.__invert__,
                                          None, x))  # fmt: skip
    cases.append(Case("bitwise_not", Bitwise("bitwise_not"), inputs, inverted, dtypes=ALL))
    for name, function in COMPARE.items():

        def compared(a, b, function=function):
            return computed(function, "bool", a, b)

        cases.append(Case(f"integer {name}", Compare(name), pairs, exactly(compared), dtypes=ALL))
    chosen = exactly(lambda c, a, b: computed(lambda p, q, r: q if p else r, a.dtype.name, c, a, b))
    cases.append(
        Case(
            "integer where",
            Where(),
            lambda rng, dtype: (values(rng, "bool", 30), *pairs(rng, dtype)),
            chosen,
            dtypes=ALL,
        )
    )
    return cases


def cut(value: float, dtype: np.dtype) -> int:
    """A number cut to an integer: what does not fit 64 or 32 bits is the smallest of those."""
    wide = np.dtype("int64" if dtype.itemsize == 8 else "int32")
    limits = np.iinfo(wide)
    fits = math.isfinite(value) and limits.min <= math.trunc(value) <= limits.max
    return wrapped(math.trunc(value) if fits else int(limits.min), dtype)


def _numbers(rng: np.random.Generator, dtype: str) -> Arrays:
    special = [0.0, -0.0, 0.5, -0.5, 1.99, -1.99, 126.9, 127.5, 128.0, 255.9, 256.0, -129.0]
    special += [2.0**31 - 1, 2.0**31, -(2.0**31), 2.0**40, 2.0**63, -(2.0**63), 1e30, 1e-30]
    special += [math.inf, -math.inf, math.nan]
    return (np.array([*special, *rng.normal(0, 300, 60)], dtype),)


def _casts() -> list[Case]:
    cases = []
    for target in ALL:

        def converted(x, target=target):
            if target == "bool":
                return computed(lambda a: a != 0, "bool", x)
            if x.dtype.kind == "f":
                return computed(lambda a: cut(a, np.dtype(target)), target, x)
            return computed(int, target, x)

        def inputs(rng, dtype):
            floating = dtype.startswith("float")
            return _numbers(rng, dtype) if floating else (values(rng, dtype, 70),)

        sources = tuple(name for name in (*ALL, "float32", "float64") if name != target)
        op = Cast(DType.of(target))
        cases.append(Case(f"cast to {target}", op, inputs, exactly(converted), dtypes=sources))
    for target in ("float32", "float64"):

        def rounded(x, target=target):
            # Exact in extended precision; then rounded once.
            return x.astype(np.longdouble).astype(target)

        def numbers(rng, dtype):
            return (values(rng, dtype, 70),)

        op = Cast(DType.of(target))
        cases.append(Case(f"cast to {target}", op, numbers, exactly(rounded), dtypes=ALL))
    return cases


# (shape, first axis, last axis)
ROWS = (((5,), 0, 0), ((3, 16), 1, 1), ((2, 3, 37), 2, 2), ((2, 5000), 1, 1), ((0, 7), 1, 1))
COLUMNS = (((5, 3), 0, 0), ((2, 7, 33), 1, 1), ((130, 70), 0, 0))
REDUCE: dict[str, Callable[[list[int]], int]] = {
    "sum": sum,
    "prod": math.prod,
    "max": max,
    "min": min,
    "any": any,
    "all": all,
    "argmax": lambda row: row.index(max(row)),
    "argmin": lambda row: row.index(min(row)),
}


def _reduce(kind: str, shape: tuple[int, ...], first: int, last: int) -> Case:
    function = REDUCE[kind]
    size, inner = math.prod(shape[first : last + 1]), math.prod(shape[last + 1 :])
    result = (*shape[:first], *shape[last + 1 :])

    def oracle(x):
        rows = x.reshape(math.prod(shape[:first]), size, inner).swapaxes(1, 2).reshape(-1, size)
        dtype = np.dtype("bool" if kind in ("any", "all") else "int64")
        dtype = x.dtype if kind in ("max", "min") else dtype
        found = [function(row.tolist()) for row in rows]
        if dtype.kind != "b":
            found = [wrapped(int(value), dtype) for value in found]
        return np.array(found, dtype).reshape(result)

    def inputs(rng, dtype):
        count = math.prod(shape)
        flat = values(rng, dtype, count)
        return (np.resize(flat, count).reshape(shape),)

    name = f"integer {kind} {shape} {first}..{last}"
    return Case(name, Reduce(kind, first, last), inputs, exactly(oracle), dtypes=ALL)


def _chains() -> list[Case]:
    """Several types in one pass: ids != 0 as a number, times what was shifted and masked."""
    code = (
        Instruction("ne", DType.bool, (0, 1)),
        Instruction("cast", DType.int64, (2,)),
        Instruction("bitwise_and", DType.int64, (0, 1)),
        Instruction("left_shift", DType.int64, (4, 3)),
        Instruction("mul", DType.int64, (5, 3)),
        Instruction("cast", DType.float64, (6,)),
    )

    def oracle(a, b):
        def one(p, q):
            unequal = int(p != q)
            return float(wrapped(shifted(p & q, unequal, 64, True) * unequal, np.dtype("int64")))

        return np.array(each(one, a, b)).reshape(np.broadcast_shapes(a.shape, b.shape))

    return [Case("integer chain", Chain(code), pairs, exactly(oracle), dtypes=("int64",))]


CASES = [
    *_binary(),
    *_others(),
    *_casts(),
    *_chains(),
    *(_reduce(kind, *sizes) for kind in REDUCE for sizes in ROWS),
    *(_reduce(kind, *sizes) for kind in REDUCE if "arg" not in kind for sizes in COLUMNS),
]
