# SPDX-License-Identifier: Apache-2.0
"""Every op's result, on every instruction set, with one thread and two, against its oracle.

Cases come from tests/cases; an op kind without a case fails. The op's own reference and tolerance
(which debug mode relies on) are judged by the same results.
"""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from importlib import import_module

import numpy as np
import pytest

import lamella as lm
import lamella.ops
from cases import broadcast, gather, loss, matmul, norm, random, reduce, shape, softmax
from lamella.ir.types import DType, TensorType
from lamella.ops.base import Op
from lamella.ops.elementwise import Chain
from lamella.ops.random import Dropout
from lamella.runtime.tensor import apply_all

FAMILIES = (broadcast, matmul, reduce, softmax, norm, shape, gather, random, loss)
CASES = [
    pytest.param(case, dtype, id=f"{case.name} {dtype}")
    for family in FAMILIES
    for case in family.CASES
    for dtype in case.dtypes
]


def op_kinds() -> set[type[Op]]:
    """Every concrete op class of lamella.ops."""
    kinds = set()
    for info in pkgutil.iter_modules(lamella.ops.__path__):
        module = import_module(f"lamella.ops.{info.name}")
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, Op) and "infer" in vars(value):
                kinds.add(value)
    return kinds - {Op}


def run(case, arrays):
    """The op as a one-node program: operands named constant are captured, the rest are inputs."""
    inputs = [x for index, x in enumerate(arrays) if index not in case.constant]

    def body(*given):
        given = list(given)
        return apply_all(
            case.op,
            *(x if index in case.constant else given.pop(0) for index, x in enumerate(arrays)),
        )[case.output]

    return lm.compile(body, *inputs), inputs


def test_every_op_kind_has_a_case():
    covered = {type(case.op) for family in FAMILIES for case in family.CASES}
    missing = {kind.__name__ for kind in op_kinds() - covered}
    assert not missing, f"add a case to tests/cases for {sorted(missing)}"


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_forward(case, dtype, isa, threads, rng):
    arrays = case.inputs(rng, dtype)
    kept = [x.copy() for x in arrays]
    session, inputs = run(case, arrays)
    got = session(*inputs)
    types = [TensorType(x.shape, DType.of(x.dtype)) for x in arrays]
    expected = case.op.infer(types)[case.output]
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype.numpy
    case.judge(got.copy(), *arrays)
    for before, after in zip(kept, arrays, strict=True):
        assert before.tobytes() == after.tobytes(), "an input was written"


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_reference_and_tolerance(case, dtype, rng):
    arrays = case.inputs(rng, dtype)
    session, inputs = run(case, arrays)
    got = session(*inputs).copy()
    references = case.op.reference(arrays)
    reference = references[case.output]
    tolerance = case.op.tolerance(arrays, references)[case.output]
    assert reference.shape == got.shape
    assert tolerance.shape == got.shape
    if got.dtype.kind != "f":
        assert np.array_equal(got, reference)
        return
    assert reference.dtype in (np.float64, got.dtype, arrays[0].dtype)
    assert (tolerance >= 0).all()
    # A chain's reference rounds once where its kernel rounds after each function.
    if not isinstance(case.op, Chain | Dropout) and got.dtype == np.float32:
        case.judge(reference.astype(np.float32), *arrays)
    with np.errstate(all="ignore"):
        near = np.abs(got - reference) <= tolerance
    assert (near | (got == reference) | (np.isnan(got) & np.isnan(reference))).all()


@pytest.mark.parametrize(("case", "dtype"), CASES[:: max(1, len(CASES) // 60)])
def test_debug_mode_agrees(case, dtype, rng):
    arrays = case.inputs(rng, dtype)
    arrays = tuple(np.nan_to_num(x) if x.dtype.kind == "f" else x for x in arrays)
    session = lm.compile(lambda *given: apply_all(case.op, *given), *arrays, debug=True)
    session(*arrays)


def test_ops_are_plain_values():
    """Equal ops compare and hash equal: common subexpressions are found by a dictionary."""
    for family in FAMILIES:
        for case in family.CASES:
            twin = dataclasses.replace(case.op)
            assert twin == case.op
            assert hash(twin) == hash(case.op)
            assert isinstance(str(case.op), str)
            with pytest.raises((AttributeError, TypeError)):
                case.op.anything = 1
