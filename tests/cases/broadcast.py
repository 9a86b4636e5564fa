# SPDX-License-Identifier: Apache-2.0
"""Elementwise ops as nodes of a graph: broadcasting, sharing among threads, chains.

What each function computes is tested kernel by kernel (cases/elementwise.py); here a few functions
stand for all, in every way in which operands can meet.
"""

from __future__ import annotations

import numpy as np

from cases import elementwise
from cases.case import Arrays, Case, exactly, masks, normal, rounded
from lamella.ir.types import DType
from lamella.ops.elementwise import (
    Binary,
    Cast,
    Chain,
    Compare,
    Instruction,
    Where,
    unary,
)
from lamella.ops.logical import Logical

PAIRS = (
    ((), ()),
    ((5,), ()),
    ((), (5,)),
    ((1,), (1,)),
    ((3, 5), (5,)),
    ((3, 1), (1, 5)),
    ((2, 3, 4), (3, 1)),
    ((2, 1, 4), (1, 3, 1)),
    ((4, 1, 1, 2), (3, 5, 1)),
    ((0, 3), (1, 3)),
    ((0, 1), (1, 5)),
    ((300, 700), (300, 700)),
    ((300, 1), (1, 700)),
    ((7, 1, 9), (7, 130, 9)),
)


def _mixed(*shapes: tuple[int, ...]):
    """A mask and two floating operands."""

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        condition = rng.integers(0, 2, shapes[0]).astype(bool)
        return condition, *(rng.normal(size=shape).astype(dtype) for shape in shapes[1:])

    return inputs


def _cast(source: str, target: DType) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        x = rng.normal(size=(5, 37)) * 3
        return ((x > 0) if source == "bool" else x.round() if source == "int64" else x,)

    def typed(rng: np.random.Generator, dtype: str) -> Arrays:
        return (inputs(rng, dtype)[0].astype(source),)

    judge = exactly(lambda x: x != 0 if target is DType.bool else x.astype(target.numpy))
    return Case(f"cast {source} {target.value}", Cast(target), typed, judge, dtypes=(source,))


def _chain(dtype: DType) -> Chain:
    """a * b + |a| where that is more than a, else b: a mask in a register, a select."""
    return Chain(
        (
            Instruction("mul", dtype, (0, 1)),
            Instruction("abs", dtype, (0,)),
            Instruction("add", dtype, (2, 3)),
            Instruction("gt", DType.bool, (4, 0)),
            Instruction("select", dtype, (5, 4, 1)),
        )
    )


def _chain_oracle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = a * b + np.abs(a)
    return np.where(total > a, total, b)


def _chain_case(a: tuple[int, ...], b: tuple[int, ...], dtype: DType) -> Case:
    name, judge = f"chain {a} {b} {dtype.value}", exactly(_chain_oracle)
    return Case(name, _chain(dtype), normal(a, b), judge, dtypes=(dtype.value,))


def _logical_not() -> Case:
    judge = exactly(np.logical_not)
    return Case("not", Logical("logical_not"), masks((3, 37)), judge, dtypes=("bool",))


CASES = [
    *(
        Case(f"{name} {a} {b}", Binary(name), normal(a, b), exactly(elementwise.BINARY_EXACT[name]))
        for name in ("add", "sub", "div")
        for a, b in PAIRS
    ),
    *(
        Case(f"maximum {a} {b}", Binary("maximum"), normal(a, b), exactly(elementwise.maximum))
        for a, b in PAIRS
    ),
    *(Case(f"lt {a} {b}", Compare("lt"), normal(a, b), exactly(np.less)) for a, b in PAIRS),
    *(
        Case(f"{name} {a} {b}", Logical(name), masks(a, b), exactly(oracle), dtypes=("bool",))
        for name, oracle in elementwise.LOGICAL.items()
        for a, b in PAIRS
    ),
    *(Case(f"where {a} {b}", Where(), _mixed(a, b, (1,)), exactly(np.where)) for a, b in PAIRS),
    _logical_not(),
    *(
        Case(f"square {shape}", unary("square"), normal(shape), exactly(np.square))
        for shape in ((), (1,), (0,), (3, 0), (2, 3, 5), (300, 700))
    ),
    Case(
        "tanh shared", unary("tanh"), normal((300, 700)), rounded(np.tanh, 1), dtypes=("float32",)
    ),
    Case("exp shared", unary("exp"), normal((300, 700)), rounded(np.exp, 1)),
    *(_cast(source, DType.bool) for source in ("float32", "float64")),
    *(_cast(source, DType.float32) for source in ("float64", "bool", "int64", "float32")),
    *(_cast(source, DType.float64) for source in ("float32", "bool", "int64", "float64")),
    *(_chain_case(a, b, dtype) for a, b in PAIRS for dtype in (DType.float32, DType.float64)),
]
