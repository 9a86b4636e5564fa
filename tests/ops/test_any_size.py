# SPDX-License-Identifier: Apache-2.0
"""Every op and its gradient with free extents: evaluated at other sizes, what is placed there.

Of each case of tests/cases every extent is free in turn, wherever it stands. Sizes at which the op
cannot be placed have to be refused by a condition of the trace. The program's text makes, number by
number, the program that is compiled at the other size.
"""

from __future__ import annotations

import numpy as np
import pytest

from lamella import _core
from lamella.errors import ShapeError
from lamella.ir.types import DType, TensorType
from lamella.ops.base import Op
from lamella.ops.composites import reduce as total
from lamella.passes import finish, prepare
from lamella.passes.differentiate import differentiate
from lamella.runtime.emit import emit
from lamella.runtime.session import trace
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import current
from ops.test_forward import FAMILIES
from substitution import NOWHERE, Evaluation, listing

# Neither beside the extents of the cases nor a multiple of them.
SIZES = (2, 37, 61)


def placed(case):
    """The op, and what is passed on to each operand for ones as the gradient of its output."""

    def body(*operands):
        trace = current()
        values = [one._value(trace) for one in operands]
        outputs = trace.apply(case.op, *values)
        found = list(outputs)
        # Fused ops have no rule of their own.
        learns = case.op.differentiable and type(case.op).grad is not Op.grad
        if learns and outputs[0].dtype.is_floating and outputs[0].type.size:
            wrt = [value for value in values if value.dtype.is_floating]
            loss = total(trace.place, "sum", outputs[0])
            found += [dx for dx in differentiate(trace.place, loss, wrt) if dx is not None]
        return tuple(Tensor(value, trace) for value in found)

    return body


def renamed(types, extent, size):
    """Operands with another size wherever an extent stands."""
    return [
        TensorType(tuple(size if n == extent else n for n in one.shape), one.dtype) for one in types
    ]


def check(case, types, extent):
    """How many sizes were compared."""
    axes = [
        (number, axis)
        for number, one in enumerate(types)
        for axis, n in enumerate(one.shape)
        if n == extent
    ]
    traced, _ = trace(placed(case), types, free=[axes])
    extents = traced.extents
    simplified = prepare(traced, check=True)
    graph = finish(simplified, check=True)
    if extents.reasons:
        return 0
    extents.lowering = True
    text = emit(graph).text(symbols=[axes], conditions=extents.conditions)
    compared = 0
    for size in (extent, *SIZES):
        try:
            fixed = prepare(trace(placed(case), renamed(types, extent, size))[0], check=True)
            # With the sizes known more would be folded.
            plain = finish(fixed.like(simplified), check=True)
        except ShapeError:
            assert not extents.hold((size,)), (case.name, extent, size)
            with pytest.raises(ValueError, match=r"^text: a condition does not hold"):
                text.at((size,))
            continue
        if extents.hold((size,)):
            compared += 1
            found, wanted = listing(graph, Evaluation((size,))), listing(plain, NOWHERE)
            assert found == wanted, (case.name, extent, size)
            differing = _core.difference(text.at((size,)), emit(plain))
            assert differing is None, (case.name, extent, size, differing)
    return compared


def sampled(cases):
    """One case of each op and ranks, and every sixth."""
    seen = set()
    for number, case in enumerate(cases):
        arrays = case.inputs(np.random.default_rng(1), case.dtypes[0])
        key = (case.op, *(x.ndim for x in arrays))
        if key not in seen or number % 6 == 0:
            seen.add(key)
            yield case, [TensorType(x.shape, DType.of(x.dtype)) for x in arrays]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_op_of_any_size(family) -> None:
    compared, held = 0, 0
    for case, types in sampled(family.CASES):
        for extent in {n for one in types for n in one.shape if n >= 2}:
            compared += 1 + len(SIZES)
            held += check(case, types, extent)
    assert held > compared / 4, (held, compared)
