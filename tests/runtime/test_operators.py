# SPDX-License-Identifier: Apache-2.0
"""Operators of tensors on integers and truth values, and the methods that change element types."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella.errors import DTypeError, UnsupportedError
from lamella.ir.types import DType

OPERATORS = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod,
             operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift,
             operator.eq, operator.lt, operator.ge]  # fmt: skip
IDS = np.random.default_rng(4).integers(0, 9, (3, 5)).astype(np.int32)
ROW = np.array([1, 2, 3, 4, 5], np.int32)
CASTS = {
    "long": "int64", "int": "int32", "char": "int8", "byte": "uint8", "bool": "bool",
    "float": "float32", "double": "float64",
}  # fmt: skip


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
def test_integer_operators_on_either_side(op):
    """Beside a tensor, an array, a NumPy scalar and a number."""
    same_bits(lm.compile(op, IDS, ROW)(IDS, ROW), op(IDS, ROW))
    same_bits(lm.compile(lambda x: op(x, ROW), IDS)(IDS), op(IDS, ROW))
    same_bits(lm.compile(lambda x: op(ROW, x + 1), IDS)(IDS), op(ROW, IDS + 1))
    for number in (3, np.int64(3), np.uint8(3)):
        same_bits(lm.compile(lambda x, n=number: op(x, n), IDS)(IDS), op(IDS, np.int32(3)))
        same_bits(lm.compile(lambda x, n=number: op(n, x + 1), IDS)(IDS), op(np.int32(3), IDS + 1))


def test_one_operand():
    same_bits(lm.compile(lambda x: (-x, +x, ~x, abs(-x)), IDS)(IDS)[0], -IDS)
    for got, want in zip(
        lm.compile(lambda x: (-x, +x, ~x, abs(-x), x.square(), x**2, x**3), IDS)(IDS),
        (-IDS, IDS, ~IDS, IDS, IDS * IDS, IDS**2, IDS**3),
        strict=True,
    ):
        same_bits(got, want)
    same_bits(lm.compile(lambda x: ~(x > 3), IDS)(IDS), ~(IDS > 3))


def test_a_name_may_be_added_to():
    def body(x):
        x += 1
        x <<= 2
        x &= 12
        x |= 1
        return x

    same_bits(lm.compile(body, IDS)(IDS), ((IDS + 1) << 2) & 12 | 1)


@pytest.mark.parametrize("name", CASTS)
@pytest.mark.parametrize("source", ["int64", "uint8", "float32", "bool"])
def test_element_types(name, source):
    x = np.array([[0, 1, 2.75], [3, 250, 7]]).astype(source)
    wanted = np.dtype(CASTS[name])
    want = x.astype(np.int32).astype(wanted) if wanted.name in ("int8", "uint8") else (
        x != 0 if name == "bool" else x.astype(wanted))  # fmt: skip
    bodies = [
        lambda x: getattr(x, name)(), lambda x: x.to(wanted), lambda x: x.to(wanted.name),
        lambda x: x.type(wanted.type), lambda x: x.to("cpu", wanted), lambda x: x.to(dtype=wanted),
        lambda x: x.to(wanted, copy=True), lambda x: x.to(getattr(x, name)()),
        lambda x: x.type_as(getattr(x, name)()),
    ]  # fmt: skip
    for body in bodies:
        same_bits(lm.compile(body, x)(x), want)


def test_what_to_does_not_change():
    for body in (lambda x: x.to("cpu"), lambda x: x.to(device="cpu"), lambda x: x.to("cpu", None)):
        same_bits(lm.compile(body, IDS)(IDS), IDS)
    with pytest.raises(UnsupportedError, match="only CPUs"):
        lm.compile(lambda x: x.to("cuda"), IDS)
    with pytest.raises(UnsupportedError, match="only CPUs"):
        lm.compile(lambda x: x.to(np.float32, device="cuda"), IDS)
    for unknown in ("int16", "complex64", "nothing", object):
        with pytest.raises(DTypeError, match="unknown element type"):
            lm.compile(lambda x, d=unknown: x.to(d), IDS)
    for stored in ("float16", DType.bfloat16):
        with pytest.raises(DTypeError, match="storage"):
            lm.compile(lambda x, d=stored: x.to(d), IDS)


def test_bounds_that_are_tensors():
    low, x = np.float32([0.5, 0.25, 0.75, 0.0, 1.0]), IDS / np.float32(5)
    got = lm.compile(lambda x, low: x.clamp(low, 1.5), x, low)(x, low)
    same_bits(got, np.minimum(np.maximum(x, low), np.float32(1.5)))
    same_bits(lm.compile(lambda x: x.clip(max=4), IDS)(IDS), np.minimum(IDS, 4))
    same_bits(lm.compile(lambda x: x.clamp(2, ROW), IDS)(IDS),
              np.minimum(np.maximum(IDS, 2), ROW))  # fmt: skip
