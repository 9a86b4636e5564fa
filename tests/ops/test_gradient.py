# SPDX-License-Identifier: Apache-2.0
"""Every op either has a gradient rule or says clearly that it has none.

Rules themselves are compared with differences of the references in the training tests; an op must
never answer None by silence, nor fail with anything but UnsupportedError.
"""

from __future__ import annotations

import pytest

from lamella.errors import UnsupportedError
from lamella.ir.types import DType, TensorType
from lamella.ops.base import Op
from ops.test_forward import FAMILIES

# The first case of every op kind.
KINDS = {type(case.op): case for family in FAMILIES for case in reversed(family.CASES)}


@pytest.mark.parametrize("case", KINDS.values(), ids=lambda case: type(case.op).__name__)
def test_rule_or_refusal(case, rng):
    if type(case.op).grad is not Op.grad:
        pytest.skip("has a rule: see the training tests")
    types = [TensorType(x.shape, DType.of(x.dtype)) for x in case.inputs(rng, case.dtypes[0])]
    assert case.op.infer(types)
    with pytest.raises(UnsupportedError, match="no gradient rule") as caught:
        case.op.grad(None, (), (), ())
    assert str(caught.value).startswith(f"{case.op.label}: ")
