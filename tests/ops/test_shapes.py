# SPDX-License-Identifier: Apache-2.0
"""infer is the only judge of shapes and dtypes: what it accepts, refuses, and how it says so.

That accepted shapes are the results' shapes is tested with every case of test_forward.py. Here are
the refusals: each must be the right exception, name the operands and show what it was given.
"""

from __future__ import annotations

import numpy as np
import pytest

from cases import broadcast, matmul, norm, reduce, shape, softmax
from lamella.errors import DTypeError, ShapeError
from lamella.ir.types import DType, TensorType
from lamella.ops.elementwise import Binary, Cast, Chain, Compare, Where, unary
from lamella.ops.gather import Gather, Scatter
from lamella.ops.indices import Index
from lamella.ops.logical import Bitwise, Logical
from lamella.ops.loss import ClampedLog, CrossEntropy
from lamella.ops.matmul import Dense, MatMul
from lamella.ops.norm import LayerNorm, RmsNorm
from lamella.ops.optimizer import AdamUpdate, SgdUpdate, UpdateScalars
from lamella.ops.random import Draw, Dropout
from lamella.ops.reduce import Reduce
from lamella.ops.scan import Scan
from lamella.ops.shape import Concat, Expand, Pad, Permute, Reshape, Slice
from lamella.ops.softmax import Softmax
from lamella.ops.sort import Search, Sort


def f32(*extents: int) -> TensorType:
    return TensorType(extents, DType.float32)


def f64(*extents: int) -> TensorType:
    return TensorType(extents, DType.float64)


def i64(*extents: int) -> TensorType:
    return TensorType(extents, DType.int64)


def mask(*extents: int) -> TensorType:
    return TensorType(extents, DType.bool)


RELU = unary("relu")

# Op, operand types, what the text must contain.
SHAPE_ERRORS = [
    (SgdUpdate(), (f32(3), f32(4), f64(9)), ("sgd", "(3,)", "(4,)", "gradient")),
    (AdamUpdate(), (f32(3), f32(3), f32(3), f32(2), f64(9)), ("exp_avg_sq", "(2,)")),
    (AdamUpdate(True), (f32(3), f32(3), f32(3), f32(3), f64(9)), ("adam_amsgrad", "operands")),
    (SgdUpdate(), (f32(3), f32(3), f64(8)), ("scalars", "(8,)")),
    (UpdateScalars("adam"), (f64(), f64(5)), ("update_scalars", "(5,)", "(6,)")),
    (Binary("add"), (f32(3), f32(4)), ("(3,)", "(4,)", "add")),
    (Binary("mul"), (f32(2, 3), f32(2, 4)), ("(2, 3)", "(2, 4)", "mul")),
    (Binary("add"), (f32(0), f32(3)), ("(0,)", "(3,)")),
    (Compare("lt"), (f32(2, 3), f32(4, 3)), ("(2, 3)", "(4, 3)", "lt")),
    (Where(), (mask(3), f32(4), f32(4)), ("(3,)", "(4,)", "where")),
    (Logical("logical_and"), (mask(3), mask(2)), ("(3,)", "(2,)", "logical_and")),
    (Bitwise("bitwise_and"), (i64(3), i64(2)), ("(3,)", "(2,)", "bitwise_and")),
    (MatMul(), (f32(32, 100), f32(64, 128)), ("matmul: ", "(32, 100)", "(64, 128)", "expected")),
    (MatMul(), (f32(), f32(3)), ("()", "(3,)")),
    (MatMul(), (f32(3), f32()), ("(3,)", "()")),
    (MatMul(), (f32(3), f32(4)), ("(3,)", "(4,)")),
    (MatMul(), (f32(2, 3, 4), f32(3, 4, 5)), ("(2, 3, 4)", "(3, 4, 5)")),
    (MatMul(True), (f32(3, 4), f32(4, 5)), ("(3, 4)", "(4, 5)")),
    (MatMul(False, True), (f32(3, 4), f32(4, 5)), ("(3, 4)", "(4, 5)")),
    (Dense(), (f32(3, 4), f32(2, 4, 5)), ("(2, 4, 5)", "dense")),
    (Dense(), (f32(3, 4), f32(5, 4)), ("(3, 4)", "(5, 4)")),
    (Dense(bias=True), (f32(3, 4), f32(4, 5), f32(4)), ("(4,)", "(4, 5)", "bias")),
    (Dense(bias=True), (f32(3, 4), f32(4, 5), f32(1, 5)), ("(1, 5)", "bias")),
    (Dense(residual=True), (f32(3, 4), f32(4, 5), f32(5)), ("(5,)", "residual")),
    (Reduce("sum", 0, 0), (f32(),), ("sum", "()")),
    (Reduce("sum", 2, 2), (f32(3, 4),), ("sum", "(3, 4)", "2")),
    (Reduce("sum", 1, 0), (f32(3, 4),), ("sum",)),
    (Reduce("max", 1, 1), (f32(3, 0),), ("max", "(3, 0)")),
    (Reduce("argmax", 0, 0), (f32(0),), ("argmax", "(0,)")),
    (Softmax(), (f32(),), ("softmax", "()")),
    (Softmax(log=True), (f32(),), ("log_softmax",)),
    (CrossEntropy(), (f32(3, 4), i64(4)), ("cross_entropy", "(3, 4)", "(4,)")),
    (CrossEntropy(), (f32(3, 4),), ("wrong number", "operands=1")),
    (CrossEntropy(), (f32(3, 4), i64(3), f32(4), f32(4)), ("operands=4", "2 to 3")),
    (ClampedLog(), (f32(3), f32(3)), ("operands=2",)),
    (CrossEntropy(), (f32(4), i64(4)), ("(4,)", "(rows, C)")),
    (CrossEntropy(), (f32(3, 4), i64(3), f32(3)), ("(3, 4)", "weight=(3,)")),
    (CrossEntropy(log_probabilities=True), (f32(3, 4), i64(3, 1)), ("nll_loss", "(3, 1)")),
    (LayerNorm(1), (f32(),), ("layer_norm", "()")),
    (LayerNorm(3), (f32(2, 3),), ("(2, 3)", "3")),
    (LayerNorm(1, weight=True), (f32(2, 3), f32(2)), ("(2, 3)", "(2,)", "weight")),
    (RmsNorm(3), (f32(2, 3),), ("rms_norm", "(2, 3)", "3")),
    (RmsNorm(1, weight=True), (f32(2, 3), f32(2)), ("(2, 3)", "(2,)", "weight")),
    (LayerNorm(2, bias=True), (f32(2, 3), f32(3)), ("(2, 3)", "(3,)", "bias")),
    (Reshape((5,)), (f32(2, 3),), ("(2, 3)", "(5,)")),
    (Reshape((-1, 2)), (f32(2, 3),), ("(-1, 2)",)),
    (Permute((0, 0)), (f32(2, 3),), ("(2, 3)", "(0, 0)")),
    (Permute((0,)), (f32(2, 3),), ("(2, 3)", "(0,)")),
    (Permute((0, 2)), (f32(2, 3),), ("(2, 3)", "(0, 2)")),
    (Expand((3, 4)), (f32(2, 4),), ("(2, 4)", "(3, 4)")),
    (Expand((4,)), (f32(1, 4),), ("(1, 4)", "(4,)")),
    (Slice((0,), (4,), (1,)), (f32(3),), ("(3,)",)),
    (Slice((2,), (2,), (1,)), (f32(3),), ("(3,)",)),
    (Slice((0,), (2,), (-1,)), (f32(3),), ("(3,)",)),
    (Slice((-1,), (1,), (1,)), (f32(3),), ("(3,)",)),
    (Slice((0,), (-1,), (1,)), (f32(3),), ("(3,)",)),
    (Slice((0, 0), (1, 1), (1, 1)), (f32(3),), ("(3,)",)),
    (Pad((1,), (1,)), (f32(2, 3),), ("(2, 3)",)),
    (Pad((-1,), (1,)), (f32(3),), ("(3,)",)),
    (Concat(0), (), ()),
    (Concat(1), (f32(3), f32(3)), ("(3,)",)),
    (Concat(0), (f32(2, 3), f32(2, 4)), ("(2, 3)", "(2, 4)")),
    (Concat(0), (f32(2, 3), f32(3)), ("(2, 3)", "(3,)")),
    (Gather(0), (f32(), i64(3)), ("()", "(3,)")),
    (Gather(0), (f32(4, 5), i64(3)), ("(4, 5)", "(3,)")),
    (Gather(2), (f32(4, 5), i64(3, 5)), ("(3, 5)", "2")),
    (Gather(0), (f32(4, 5), i64(3, 4)), ("gather", "(4, 5)", "(3, 4)")),
    (Gather(1), (f32(2, 4, 5, 6), i64(2, 3, 1, 6)), ("(2, 3, 1, 6)",)),
    (Index(4), (), ()),
    (Scatter(0, "sum"), (f32(4, 5), i64(2, 1), f32(3, 5)), ("(4, 5)", "(2, 1)", "(3, 5)")),
    (Scatter(0, "replace"), (f32(4, 5), i64(2), f32(2, 5)), ("(2,)", "(2, 5)")),
    (Scatter(2, "sum"), (f32(4, 5), i64(4, 2), f32(4, 2)), ("(4, 2)",)),
    (Scatter(0, "sum"), (f32(4, 5), i64(2, 1), f32(2, 6)), ("(4, 5)", "(2, 6)")),
    (Scatter(0, "sum"), (f32(), i64(), f32()), ("()",)),
    (Scatter(0, "sum", rows=3), (f32(4), i64(2), f32(2)), ("operands=3", "2")),
    (Scan("sum", 1), (f32(3),), ("cumsum", "(3,)", "1")),
    (Scan("max", 0), (f32(),), ("cummax", "()")),
    (Sort(4), (f32(2, 3),), ("sort", "(2, 3)", "4")),
    (Sort(-1), (f32(2, 3),), ("(2, 3)", "-1")),
    (Sort(0), (f32(),), ("()",)),
    (Search(), (f32(2, 3), f32(3, 4)), ("searchsorted", "(2, 3)", "(3, 4)")),
    (Search(), (f32(2, 3), f32()), ("(2, 3)", "()")),
]

DTYPE_ERRORS = [
    (unary("exp"), (i64(3),), ("int64", "float32")),
    (RELU, (mask(3),), ("bool", "numbers")),
    (Binary("add"), (f32(3), f64(3)), ("float32", "float64")),
    (Binary("add"), (i64(3), f32(3)), ("int64", "float32")),
    (Binary("div"), (i64(3), i64(3)), ("int64", "float32 or float64")),
    (Binary("sub"), (mask(3), mask(3)), ("bool", "& | ^ ~")),
    (Binary("pow"), (mask(3), mask(3)), ("bool", "numbers")),
    (Bitwise("bitwise_and"), (i64(3), mask(3)), ("int64", "bool")),
    (Bitwise("bitwise_or"), (f32(3), f32(3)), ("float32", "(x > 0) & (x < 1)")),
    (Bitwise("left_shift"), (mask(3), mask(3)), ("bool", "integers")),
    (Compare("lt"), (f32(3), i64(3)), ("float32", "int64")),
    (Where(), (f32(3), f32(3), f32(3)), ("float32", "bool")),
    (Where(), (mask(3), f32(3), f64(3)), ("float32", "float64")),
    (Logical("logical_and"), (mask(3), f32(3)), ("float32", "bool")),
    (Logical("logical_not"), (f32(3),), ("float32", "bool")),
    (Cast(DType.bfloat16), (i64(3),), ("int64", "bfloat16")),
    (MatMul(), (f32(3, 4), f64(4, 5)), ("float32", "float64")),
    (MatMul(), (i64(3, 4), i64(4, 5)), ("int64",)),
    (Dense(bias=True), (f32(3, 4), f32(4, 5), f64(5)), ("float64",)),
    (Reduce("mean", 0, 0), (i64(3),), ("int64", ".float()")),
    (Reduce("any", 0, 0), (f32(3),), ("float32", "bool")),
    (Softmax(), (mask(3),), ("bool",)),
    (CrossEntropy(), (f32(3, 4), f32(3)), ("cross_entropy", "float32", "int64")),
    (CrossEntropy(), (i64(3, 4), i64(3)), ("input=int64",)),
    (CrossEntropy(), (f32(3, 4), i64(3), f64(4)), ("float32", "weight=float64")),
    (ClampedLog(), (i64(3),), ("clamped_log", "int64")),
    (LayerNorm(1), (i64(3),), ("int64",)),
    (RmsNorm(1), (i64(3),), ("int64",)),
    (Concat(0), (f32(3), f64(3)), ("float32", "float64")),
    (Gather(0), (f32(4, 5), f32(3, 1)), ("float32", "int64")),
    (Index(4), (f32(3),), ("float32", "int64")),
    (Scatter(0, "sum"), (f32(4, 5), f32(2, 1), f32(2, 5)), ("float32", "int64")),
    (Scatter(0, "amax"), (f32(4, 5), i64(2, 1), f64(2, 5)), ("float32", "float64")),
    (Scatter(0, "prod"), (mask(4), i64(2), mask(2)), ("scatter_prod", "bool", "numbers")),
    (Scan("sum", 0), (mask(3),), ("cumsum", "bool", "int64")),
    (Search(), (f32(3), f64(3)), ("float32", "float64")),
    (Dropout(0.5, 0), (i64(3),), ("int64",)),
    (Draw("uniform", (3,), DType.int64, 0), (), ("int64", "floats")),
]


@pytest.mark.parametrize(("op", "types", "parts"), SHAPE_ERRORS, ids=lambda value: str(value)[:60])
def test_shape_errors(op, types, parts):
    with pytest.raises(ShapeError) as caught:
        op.infer(types)
    for part in parts:
        assert part in str(caught.value)
    assert ": " in str(caught.value)


@pytest.mark.parametrize(("op", "types", "parts"), DTYPE_ERRORS, ids=lambda value: str(value)[:60])
def test_dtype_errors(op, types, parts):
    with pytest.raises(DTypeError) as caught:
        op.infer(types)
    for part in parts:
        assert part in str(caught.value)


EVERY_OP = {
    str(case.op): case
    for family in (broadcast, matmul, norm, reduce, shape, softmax)
    for case in family.CASES
    if not isinstance(case.op, Chain)
}


@pytest.mark.parametrize("name", EVERY_OP)
def test_wrong_number_of_operands(name, rng):
    case = EVERY_OP[name]
    arrays = case.inputs(rng, case.dtypes[0])
    types = [TensorType(x.shape, DType.of(x.dtype)) for x in arrays]
    assert len(case.op.infer(types)) == 1
    with pytest.raises(ShapeError):
        case.op.infer([])
    if type(case.op) is not Concat:
        with pytest.raises(ShapeError):
            case.op.infer([*types, *types, *types, *types])


@pytest.mark.parametrize(
    "first", [(), (1,), (3,), (2, 3), (2, 1), (1, 3), (0, 3), (2, 0), (4, 2, 3)]
)
@pytest.mark.parametrize("second", [(), (1,), (3,), (2, 3), (2, 1), (0,), (4, 1, 1), (0, 1)])
def test_broadcasting_is_numpys(first, second):
    op = Binary("add")
    try:
        want = np.broadcast_shapes(first, second)
    except ValueError:
        with pytest.raises(ShapeError):
            op.infer((f32(*first), f32(*second)))
    else:
        assert op.infer((f32(*first), f32(*second))) == (f32(*want),)


@pytest.mark.parametrize("first", [(), (3,), (2, 3), (5, 2, 3), (1, 2, 3), (0, 3), (4, 1, 2, 3)])
@pytest.mark.parametrize("second", [(), (3,), (3, 4), (5, 3, 4), (7, 1, 3, 4), (3, 0), (2, 4)])
def test_matmul_shapes_are_numpys(first, second):
    op = MatMul()
    try:
        want = np.matmul(np.zeros(first, np.float32), np.zeros(second, np.float32)).shape
    except ValueError:
        with pytest.raises(ShapeError):
            op.infer((f32(*first), f32(*second)))
    else:
        assert op.infer((f32(*first), f32(*second))) == (f32(*want),)
