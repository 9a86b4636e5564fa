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
from cases import (
    broadcast,
    bytes,
    gather,
    integers,
    loss,
    matmul,
    norm,
    optimizer,
    order,
    quantize,
    random,
    reduce,
    shape,
    softmax,
)
from comparators import same_bits
from lamella import _core
from lamella.ir.types import DType, TensorType
from lamella.ops.base import Op
from lamella.ops.elementwise import Chain
from lamella.ops.optimizer import Update, UpdateScalars
from lamella.runtime.tensor import Tensor, apply_all
from lamella.runtime.trace import current

FAMILIES = (
    broadcast, integers, matmul, reduce, softmax, norm, shape, gather, order, random, loss,
    optimizer, bytes, quantize,
)  # fmt: skip
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
        return placed(
            case,
            *(x if index in case.constant else given.pop(0) for index, x in enumerate(arrays)),
        )

    return lm.compile(body, *inputs), inputs


def placed(case, *operands):
    """The output that a case judges, or the tuple of all of them of an update."""
    if not isinstance(case.op, Update | UpdateScalars):
        return apply_all(case.op, *operands)[case.output]
    trace = current()
    # Scalars are float64 beside parameters of any dtype: no operand is promoted.
    values = [one._value(trace) for one in operands]
    return tuple(Tensor(value, trace) for value in trace.apply(case.op, *values))


def judged(case, outputs):
    """Of all outputs those that `placed` gives."""
    if isinstance(case.op, Update | UpdateScalars):
        return tuple(outputs)
    return (outputs[case.output],)


def several(result):
    return result if isinstance(result, tuple) else (result,)


def test_every_op_kind_has_a_case():
    covered = {type(case.op) for family in FAMILIES for case in family.CASES}
    missing = {kind.__name__ for kind in op_kinds() - covered}
    assert not missing, f"add a case to tests/cases for {sorted(missing)}"


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_forward(case, dtype, isa, rng):
    arrays = case.inputs(rng, dtype)
    kept = [x.copy() for x in arrays]
    session, inputs = run(case, arrays)
    types = [TensorType(x.shape, DType.of(x.dtype)) for x in arrays]
    found = []
    count = _core.num_threads()
    try:
        for threads in (1, 2):
            _core.set_num_threads(threads)
            got = session(*inputs)
            found.append(tuple(x.copy() for x in several(got)))
    finally:
        _core.set_num_threads(count)
    for one, expected in zip(found[0], judged(case, case.op.infer(types)), strict=True):
        assert one.shape == expected.shape
        assert one.dtype == expected.dtype.numpy
    # The same bits with two threads need no second judge; what draws does so anew in every call.
    for results in found if case.op.effects else found[:1]:
        case.judge(results if isinstance(got, tuple) else results[0], *arrays)
    if not case.op.effects:
        for one, two in zip(*found, strict=True):
            same_bits(two, one)
    for before, after in zip(kept, arrays, strict=True):
        assert before.tobytes() == after.tobytes(), "an input was written"


@pytest.mark.skipif("avx512_vnni" not in _core.isas(), reason="a processor without VNNI")
@pytest.mark.parametrize("case", bytes.CASES, ids=str)
def test_products_of_bytes_without_vnni(case, rng):
    before = _core.isa()
    arrays = case.inputs(rng, "float32")
    try:
        _core.select_isa("avx512")
        session, inputs = run(case, arrays)
        case.judge(session(*inputs), *arrays)
    finally:
        _core.select_isa(before)


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_reference_and_tolerance(case, dtype, rng):
    arrays = case.inputs(rng, dtype)
    session, inputs = run(case, arrays)
    result = session(*inputs)
    references = case.op.reference(arrays)
    tolerances = judged(case, case.op.tolerance(arrays, references))
    references = judged(case, references)
    for got, reference, tolerance in zip(several(result), references, tolerances, strict=True):
        assert reference.shape == got.shape
        assert tolerance.shape == got.shape
        if got.dtype.kind != "f":
            assert np.array_equal(got, reference)
            continue
        assert reference.dtype in (np.float64, got.dtype, *(x.dtype for x in arrays[:1]))
        assert (tolerance >= 0).all()
        with np.errstate(all="ignore"):
            near = np.abs(got - reference) <= tolerance
        assert (near | (got == reference) | (np.isnan(got) & np.isnan(reference))).all()
    # A chain's reference rounds once where its kernel rounds after each function.
    exact = isinstance(case.op, Chain) or case.op.effects
    if not exact and several(result)[0].dtype == np.float32:
        rounded = tuple(np.asarray(reference, np.float32) for reference in references)
        case.judge(rounded if isinstance(result, tuple) else rounded[0], *arrays)


@pytest.mark.parametrize(("case", "dtype"), CASES[:: max(1, len(CASES) // 60)])
def test_debug_mode_agrees(case, dtype, rng):
    arrays = case.inputs(rng, dtype)
    arrays = tuple(np.asarray(np.nan_to_num(x)) if x.dtype.kind == "f" else x for x in arrays)
    session = lm.compile(lambda *given: placed(case, *given), *arrays, debug=True)
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
