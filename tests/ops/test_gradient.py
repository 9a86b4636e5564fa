# SPDX-License-Identifier: Apache-2.0
"""Every op's gradient rule against differences of its own meaning, in both precisions.

float64 programs are compared with central differences of the op's float64 reference, for every
case of tests/cases; the table's functions with mpmath's derivative at 200 bits. float32 programs
are compared with float64 ones. Corners and limits are in parity/test_torch_gradients.py.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from mpmath import mp, mpf

from cases import elementwise
from cases.case import Case
from comparators import UNIT, product_chain
from gradients import body_of, floating, gradients
from lamella.errors import UnsupportedError
from lamella.ir.types import DType, TensorType
from lamella.ops.base import Op
from lamella.ops.elementwise import Binary, Cast, Chain, unary
from lamella.ops.loss import ClampedLog, CrossEntropy
from lamella.ops.matmul import Dense
from lamella.ops.random import Dropout
from lamella.ops.reduce import REDUCE, Reduce
from lamella.ops.shape import Concat, Expand, Pad, Permute, Reshape, Slice
from lamella.ops.tables import BINARY, UNARY
from ops.test_forward import FAMILIES, op_kinds

FUSED = (Chain, Dense)
# References of these do not say what the op computes, or are not the derivative's integral.
APART = (Dropout,)
# Operands of the movers hold NaN and infinities, which differences cannot see.
MOVERS = (Reshape, Permute, Expand, Slice, Pad, Concat)
# Elements whose differences are taken one by one; larger operands move as a whole.
FEW = 60


def types_of(arrays) -> list[TensorType]:
    return [TensorType(x.shape, DType.of(x.dtype)) for x in arrays]


def differentiable(case: Case) -> bool:
    if isinstance(case.op, FUSED + APART) or not case.op.differentiable:
        return False
    if isinstance(case.op, Cast) and not case.op.dtype.is_floating:
        return False
    if isinstance(case.op, Reduce) and ends(case.op.kind):
        return False
    # Of several outputs the first is differentiated.
    return "float64" in case.dtypes and case.output == 0


def ends(kind: str) -> bool:
    """Whether a reduction gives positions or truth values."""
    return REDUCE[kind].index or REDUCE[kind].truth


def binaries() -> list[Case]:
    """The table's functions of two numbers, away from where they jump."""

    def case(name: str) -> Case:
        low, high = zip(*BINARY[name].domains, strict=True)

        def inputs(rng, dtype):
            a, b = rng.uniform(low[0], high[0], (3, 7)), rng.uniform(low[1], high[1], (7,))
            if name in ("remainder", "floor_divide"):
                # Quotients well between whole numbers.
                a = (np.floor(a / b) + rng.uniform(0.2, 0.8, a.shape)) * b
            return a.astype(dtype), b.astype(dtype)

        return Case(name, Binary(name), inputs, lambda *_: None)

    return [case(name) for name in BINARY]


CASES = [case for family in FAMILIES for case in family.CASES if differentiable(case)] + binaries()


def test_every_differentiable_op_is_compared():
    """Dropout's rule is compared by its mask; the others here."""
    compared = {type(case.op) for case in CASES}
    assert compared == {k for k in op_kinds() if k.differentiable} - {*FUSED, *APART}
    kinds = {case.op.kind for case in CASES if isinstance(case.op, Reduce)}
    assert kinds == {kind for kind in REDUCE if not ends(kind)}


def operands(case: Case, rng, dtype: str) -> list[np.ndarray]:
    arrays = [np.array(x) for x in case.inputs(rng, dtype)]
    if isinstance(case.op, MOVERS):
        arrays = [rng.normal(size=x.shape).astype(dtype) for x in arrays]
    if case.op == Binary("div"):
        # Differences want a quotient that is smooth over a step.
        arrays[1] = arrays[1] + np.copysign(0.5, arrays[1]).astype(dtype)
    if isinstance(case.op, ClampedLog):
        # At the ends its slope is cut off: parity/test_torch_loss_gradients.py.
        arrays = [np.clip(arrays[0], 0.02, 0.98)]
    return arrays


def with_gradients(case: Case, arrays, found):
    """Positions of floating operands and their gradients; weights of classes have none."""
    for index, dx in zip(floating(arrays), found, strict=True):
        if isinstance(case.op, CrossEntropy) and index == 2:
            assert dx is None
        else:
            assert dx is not None
            yield index, dx


def moved(op: Op, arrays, index: int, direction: np.ndarray, cotangent: np.ndarray):
    """sum(dy * cotangent) for a step along `direction`, and how far the difference can be off.

    The error: 1e-6 of the terms' magnitudes, for the third derivative, and what the reference's own
    rounding becomes when it is divided by the step.
    """
    # Where the function has corners but no curvature, a step that meets none of them.
    step = 2.0**-30 if op.label in ("maximum", "minimum", "max", "min") else 2.0**-17
    sides = []
    for sign in (1.0, -1.0):
        changed = list(arrays)
        changed[index] = arrays[index] + sign * step * direction
        sides.append(op.reference(changed)[0])
    # Pads with infinity do not move.
    sides = [np.where(np.isfinite(side), side, 0.0) for side in sides]
    terms = (sides[0] - sides[1]) / (2 * step) * cotangent
    rounding = 4 * np.finfo(np.float64).eps * np.abs(sides[0] * cotangent) / step
    return terms.sum(), (1e-6 * np.abs(terms) + rounding).sum()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_float64_against_differences(case):
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    arrays = operands(case, rng, "float64")
    type, *_ = case.op.infer(types_of(arrays))
    # Numbers that float32 holds: casts have cotangents of their own dtype.
    cotangent = rng.integers(-8, 9, type.shape) / 8.0
    _, found = gradients(body_of(case.op), arrays, cotangent.astype(type.dtype.numpy))
    for index, dx in with_gradients(case, arrays, found):
        assert dx.shape == arrays[index].shape
        assert dx.dtype == arrays[index].dtype
        if dx.size <= FEW:
            directions = np.eye(dx.size).reshape(dx.size, *dx.shape)
        else:
            directions = rng.normal(size=(2, *dx.shape))
        for direction in directions:
            want, slack = moved(case.op, arrays, index, direction, cotangent)
            got = (dx * direction).sum()
            spare = product_chain(dx.size) * UNIT[dx.dtype] * np.abs(dx * direction).sum()
            assert abs(got - want) <= slack + spare, (index, got, want, slack)


def in_range(case: Case) -> bool:
    """Rules square their operands: the rows of 1e30 of rms_norm overflow in float32."""
    return "float32" in case.dtypes and "factor=1e+30" not in case.name


@pytest.mark.parametrize("case", list(filter(in_range, CASES)), ids=str)
def test_float32_against_float64(case):
    """No further off than sums of that length may be, or than operands in their last bits.

    A rule is a few sums and products: each errs by at most gamma of the sum of its terms'
    magnitudes, which the largest gradient stands for, and cancellation inside is what the same rule
    shows in float64 when its operands move by a unit roundoff.
    """
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    arrays = operands(case, rng, "float32")
    type, *_ = case.op.infer(types_of(arrays))
    cotangent = np.asarray(rng.uniform(0.5, 1.5, type.shape)).astype(np.float32)
    body, u = body_of(case.op), UNIT[np.dtype(np.float32)]
    wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in arrays]
    nudged = [
        x * (1 + u * rng.choice([-1.0, 1.0], x.shape)) if x.dtype.kind == "f" else x for x in wide
    ]
    _, got = gradients(body, arrays, cotangent)
    _, want = gradients(body, wide, cotangent.astype(np.float64))
    _, near = gradients(body, nudged, cotangent.astype(np.float64))
    units = product_chain(max(type.size, *(x.size for x in arrays)), 64)
    for g, w, n in zip(got, want, near, strict=True):
        if w is not None and w.size:
            bound = units * u * max(np.abs(w).max(), 1.0) + units * np.abs(w - n).max()
            assert g.dtype == np.float32
            assert np.abs(g - w).max() <= bound


def _slope(case: elementwise.Unary, params, x: float) -> tuple[float, float]:
    """The exact slope and how it changes with x; NaN where the sides of x disagree (a corner)."""
    step = mp.mpf(2) ** -50 * max(abs(mpf(x)), mp.mpf(2) ** -60)
    numbers = [mpf(p) for p in params]
    left, middle, right = (mpf(case.exact(mpf(x) + k * step, *numbers)) for k in (-1, 0, 1))
    before, after = (middle - left) / step, (right - middle) / step
    change = (after - before) / step
    # A corner turns the slope at once; a smooth function by step times its curvature.
    corner = abs(after - before) > mp.mpf(2) ** -20 * max(1, abs(after), abs(before))
    return (float("nan") if corner else float((before + after) / 2)), float(change)


# Functions whose slope is a difference from a limit, as 1 - y^2 is: the error is one of the limit.
SATURATING = {"tanh", "sigmoid", "silu", "mish", "gelu", "gelu_tanh", "hardswish"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_slopes_against_mpmath(name, dtype):
    """Within 32 roundings of the slope, and of what the rounding of an argument does to it."""
    row, case = UNARY[name], elementwise.UNARY[name]
    kind, u = np.dtype(dtype), UNIT[np.dtype(dtype)]
    rng = np.random.default_rng(3)
    low, high = row.domain
    x = np.concatenate([rng.uniform(low, high, 40), rng.uniform(max(low, -4), min(high, 4), 40)])
    x = np.unique(x.astype(kind))
    for params in case.params:
        numbers = [float(kind.type(p)) for p in params]
        exact = np.array([_slope(case, numbers, float(v)) for v in x])
        _, (got,) = gradients(body_of(unary(name, *params)), [x], np.ones_like(x))
        floor = 1.0 if name in SATURATING else 0.0
        with np.errstate(all="ignore"):
            scale = np.abs(exact[:, 0]) + np.abs(x * exact[:, 1]) + floor
            bad = np.abs(got - exact[:, 0]) > 32 * u * scale + 32 * np.finfo(kind).tiny
        bad &= np.isfinite(exact[:, 0])
        assert not bad.any(), (x[bad], got[bad], exact[bad, 0])
        assert np.isfinite(exact[:, 0]).sum() > 40


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_draws_its_mask_again(p, dtype, threads, rng):
    x = rng.uniform(0.5, 1.0, (300, 70)).astype(dtype)
    c = rng.uniform(0.5, 1.0, x.shape).astype(dtype)
    y, (dx,) = gradients(body_of(Dropout(p, 5)), [x, c * 0 + 1][:1], c)
    np.testing.assert_array_equal(y == 0, dx == 0)
    scale = x.dtype.type(1 / (1 - p)) if p < 1 else 0
    np.testing.assert_array_equal(dx, np.where(y == 0, 0, c * scale))


def test_gaps_of_a_slice_are_zeros():
    x = np.arange(9.0)
    _, (dx,) = gradients(body_of(Slice((7,), (3,), (-3,))), [x], np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(dx, [0, 3, 0, 0, 2, 0, 0, 1, 0])


def test_every_kind_has_a_rule_or_says_that_it_has_none():
    for kind in op_kinds():
        if kind in FUSED:
            assert kind.grad is Op.grad
        elif kind.differentiable:
            assert kind.grad is not Op.grad, f"{kind.__name__} has no gradient rule"
        else:
            assert kind.grad is Op.grad


@pytest.mark.parametrize(
    "case",
    [case for family in FAMILIES for case in family.CASES if not case.op.differentiable],
    ids=str,
)
def test_masks_have_no_gradient(case, rng):
    arrays = case.inputs(rng, case.dtypes[0])
    assert case.op.grad(None, arrays, (), ()) == (None,) * len(arrays)


@pytest.mark.parametrize("kind", FUSED)
def test_fused_ops_refuse(kind):
    op = kind(()) if kind is Chain else kind()
    with pytest.raises(UnsupportedError, match="fused op has no gradient rule"):
        op.grad(None, (), (), ())


def test_positions_have_no_gradient(rng):
    x = rng.normal(size=(3, 4))
    assert Reduce("argmax", 1, 1).grad(None, (x,), (), ()) == (None,)
