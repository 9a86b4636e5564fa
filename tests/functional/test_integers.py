# SPDX-License-Identifier: Apache-2.0
"""Functions on arrays of integers and truth values: types of results, numbers beside them, `out=`.

The oracle is NumPy, whose rules for integers are lamella's; where those of PyTorch decide (0-d
arrays, quotients) tests/parity/test_torch_promotion.py asks torch. What kernels compute at the ends
of each type's range is tested op by op (cases/integers.py).
"""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from cases.integers import ALL, TYPES, values
from comparators import same_bits
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError

PAIRS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "floor_divide": np.floor_divide,
    "remainder": np.remainder, "maximum": np.maximum, "minimum": np.minimum,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "bitwise_left_shift": np.left_shift, "bitwise_right_shift": np.right_shift,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
ONE = {"neg": np.negative, "abs": np.abs, "sign": np.sign, "square": np.square,
       "bitwise_not": np.bitwise_not}  # fmt: skip


def draw(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    flat = values(np.random.default_rng(seed), dtype, int(np.prod(shape)))
    return np.resize(flat, shape)


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_all_types(name):
    for x in TYPES:
        for y in TYPES:
            a, b = draw(x, 6, 7), draw(y, 7, seed=1)
            if {x, y} == {"uint8", "int8"} and name not in ("eq", "ne", "lt", "le", "gt", "ge"):
                with pytest.raises(DTypeError, match=r"no integer type here holds both"):
                    getattr(F, name)(a, b)
                continue
            with np.errstate(all="ignore"):
                want = PAIRS[name](a, b)
            same_bits(getattr(F, name)(a, b), want)
            out = np.empty_like(want)
            assert getattr(F, name)(a, b, out=out) is out
            same_bits(out, want)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ONE)
def test_functions_of_one_array(name, dtype):
    x = draw(dtype, 5, 9)
    same_bits(getattr(F, name)(x), ONE[name](x))
    same_bits(F.relu(x), np.maximum(x, 0))
    # Over itself, and of other forms.
    want, y = ONE[name](x), x.copy()
    assert getattr(F, name)(y, out=y) is y
    same_bits(y, want)
    same_bits(getattr(F, name)(x.astype(x.dtype.newbyteorder())[:, ::-1]),
              np.ascontiguousarray(want[:, ::-1]))  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_take_the_arrays_type(dtype):
    x = draw(dtype, 40)
    for number in (3, 0, True, np.int64(2), np.uint16(7)):
        for name in ("add", "mul", "floor_divide", "maximum", "bitwise_xor", "lt"):
            with np.errstate(all="ignore"):
                want = PAIRS[name](x, np.array(number, dtype))
            # Again and again: a number that comes back is a constant of a program of its own.
            for _ in range(6):
                same_bits(getattr(F, name)(x, number), want)
    same_bits(F.add(x, 0.5), x.astype(np.float32) + np.float32(0.5))
    same_bits(F.clamp(x, 1, 5), np.clip(x, 1, 5))
    same_bits(F.clamp(x, max=2.5), np.minimum(x.astype(np.float32), np.float32(2.5)))
    same_bits(F.where(x > 1, x, 7), np.where(x > 1, x, np.array(7, dtype)))
    same_bits(F.div(x, 4), x.astype(np.float32) / np.float32(4))


def test_large_numbers_are_not_confused():
    """Each is an int64 of its own, although as floating numbers they are equal."""
    x, first = np.zeros(3, np.int64), 2**62
    for number in [first, first + 1] * 6:
        same_bits(F.add(x, number), np.full(3, number))


@pytest.mark.parametrize(("dtype", "numbers"), [
    ("uint8", (256, -1)), ("int8", (128, -129)), ("int32", (2**31, -(2**31) - 1)),
])  # fmt: skip
def test_numbers_outside_the_type(dtype, numbers):
    x = draw(dtype, 40)
    for number in numbers:
        for name in ("add", "mul", "maximum", "bitwise_and", "pow"):
            with pytest.raises(DTypeError, match=rf"no {dtype} holds .*; got value={number}"):
                getattr(F, name)(x, number)
        for _ in range(6):
            for name in ("lt", "ge", "eq", "ne"):
                same_bits(getattr(F, name)(x, number), PAIRS[name](x.astype(np.int64), number))
    with pytest.raises(DTypeError, match="no int64 holds this number"):
        F.add(x.astype(np.int64), 2**63)
    with pytest.raises(DTypeError, match="int64 does not hold"):
        F.add(x.astype(np.int64), np.array([2**63], np.uint64))


@pytest.mark.parametrize("dtype", ALL)
def test_sums_and_extremes(dtype):
    x = draw(dtype, 4, 37)
    for dim in (None, 0, 1, (0, 1)):
        same_bits(F.sum(x, dim), np.asarray(x.sum(dim, dtype=np.int64)))
        same_bits(F.prod(x, dim), np.asarray(x.prod(dim, dtype=np.int64)))
        same_bits(F.amax(x, dim), np.asarray(x.max(dim)))
        same_bits(F.amin(x, dim, keepdim=True), np.asarray(x.min(dim, keepdims=True)))
        same_bits(F.any(x, dim), np.asarray(x.any(dim)))
        same_bits(F.all(x, dim), np.asarray(x.all(dim)))
    for dim in (None, 0, 1):
        same_bits(F.argmax(x, dim), np.asarray(x.argmax(dim)))
        same_bits(F.argmin(x, dim), np.asarray(x.argmin(dim)))
    same_bits(F.max(x, 1).values, x.max(1))
    same_bits(F.any(x[:, :0], 1), np.zeros(4, bool))
    same_bits(F.all(x[:, :0], 1), np.ones(4, bool))
    same_bits(F.sum(x[:, :0], 1), np.zeros(4, np.int64))
    for function in (F.mean, F.var, F.std, F.logsumexp):
        with pytest.raises(DTypeError, match=r"float32 or float64 everywhere.*\.float\(\)"):
            function(x)


@pytest.mark.parametrize("dtype", ALL)
def test_what_moves_elements(dtype):
    x = draw(dtype, 4, 6)
    same_bits(F.cat([x, x[:1]]), np.concatenate([x, x[:1]]))
    same_bits(F.stack([x, x], 1), np.stack([x, x], 1))
    same_bits(F.transpose(x, 0, 1), np.ascontiguousarray(x.T))
    same_bits(F.reshape(x, (3, -1)), x.reshape(3, 8))
    same_bits(F.pad(x, (1, 2), value=1), np.pad(x, ((0, 0), (1, 2)), constant_values=1))
    same_bits(F.expand(x[:, :1], (4, 3)), np.repeat(x[:, :1], 3, 1))
    same_bits(F.narrow(x, 1, 2, 3), np.ascontiguousarray(x[:, 2:5]))
    index = np.array([3, 0], np.uint8)
    same_bits(F.embedding(index, x), x[index])
    same_bits(F.index_copy(x, 0, index, x[:2]), np.stack([x[1], x[1], x[2], x[0]]))
    same_bits(F.where(x.astype(bool), x, x[::-1]), np.where(x.astype(bool), x, x[::-1]))


def test_what_a_type_does_not_hold_is_not_padded_with():
    for dtype, value in (("uint8", 256), ("uint8", -1), ("int8", 128), ("bool", 2), ("int32", 0.5)):
        with pytest.raises(DTypeError, match=rf"pad: .*x={dtype}, value="):
            F.pad(np.zeros(3, dtype), (1, 1), value=value)


@pytest.mark.parametrize("dtype", ["int16", ">i2", "uint16", "uint32", "uint64"])
def test_integers_of_other_widths_are_indices(dtype):
    """They go in as int64, and nothing is computed whose result would depend on the width."""
    ids, table = np.array([[2, 0, 3]], dtype), draw("int32", 4, 2)
    native = np.dtype(dtype).newbyteorder("=")
    same_bits(F.embedding(ids, table), table[ids.astype(int)])
    same_bits(F.reshape(ids, (3,)), np.array([2, 0, 3]))
    same_bits(F.ne(ids, 0), np.array([[True, False, True]]))
    same_bits(F.sum(ids), np.array(5))

    class Net(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, ids):
            return self.body(ids)

    same_bits(Net(lambda ids: F.embedding(ids, table))(ids), table[ids.astype(int)])
    same_bits(Net(lambda ids: ids.int() * 2)(ids), np.int32([[4, 0, 6]]))
    same_bits(Net(lambda ids: (ids != 0).sum(1))(ids), np.array([2]))
    same_bits(Net(lambda ids: ids)(ids), ids.astype(native))
    rule = rf"arithmetic: integers .*; got operand={native}.*astype\(np.int32\) or \.int\(\)"
    for body in (
        lambda x: x + 1,
        lambda x: -x,
        lambda x: x / 2,
        lambda x: x & 3,
        lambda x: 1.5 * x,
    ):
        with pytest.raises(DTypeError, match=rule):
            Net(body)(ids)
        with pytest.raises(DTypeError, match=rule):
            lm.compile(body, ids)
    for name in ("add", "mul", "maximum", "bitwise_and"):
        with pytest.raises(DTypeError, match=rule):
            getattr(F, name)(ids, ids)
    # The same call with int64 has a program of its own, and either keeps its meaning.
    for _ in range(3):
        same_bits(F.add(ids.astype(np.int64), 1), ids.astype(np.int64) + 1)
        with pytest.raises(DTypeError, match=rule):
            F.add(ids, 1)


class Tokens(nn.Module):
    """Masks, counts and arithmetic of ids, in the types that they come in."""

    def forward(self, ids):
        mask = ids != 0
        return {
            "length": mask.sum(1),
            "mask": mask & (ids < 5),
            "odd": ids % 2,
            "next": (ids + 1).clamp(max=6),
            "half": ids / 2,
            "wide": ids.long() << 40,
            "all": mask.all(1),
            "none": ~mask.any(),
            "positions": ids * 0 + F.arange(ids.shape[1], dtype="int32"),
        }


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8"])
def test_networks_take_and_give_all_types(dtype):
    ids = np.array([[1, 5, 6, 0], [2, 0, 0, 0], [7, 7, 3, 1]], dtype)
    net = Tokens()
    for _ in range(3):
        got = net(ids)
        mask = ids != 0
        same_bits(got["length"], mask.sum(1))
        same_bits(got["mask"], mask & (ids < 5))
        same_bits(got["odd"], ids % 2)
        same_bits(got["next"], np.minimum(ids + np.array(1, dtype), 6).astype(dtype))
        same_bits(got["half"], ids.astype(np.float32) / np.float32(2))
        same_bits(got["wide"], ids.astype(np.int64) << 40)
        same_bits(got["all"], mask.all(1))
        same_bits(got["none"], np.asarray(~mask.any()))
        same_bits(got["positions"], (ids * 0 + np.arange(4, dtype=np.int32)).astype(
            np.promote_types(dtype, "int32")))  # fmt: skip
