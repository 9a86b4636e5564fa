# SPDX-License-Identifier: Apache-2.0
"""Every elementwise kernel within its stated error, against values exact to 200 bits.

The bound is the one the row of the library states; a second test holds the rows to what DESIGN.md
promises. No absolute floor: the smallest subnormal result counts like any other.
"""

from __future__ import annotations

import numpy as np
import pytest

import programs
from cases import elementwise as cases
from comparators import ulp_error, within_ulps
from lamella import _core
from lamella.ops.elementwise import BINARY, UNARY

DTYPES = ("float32", "float64")
UNARY_CASES = [(name, params) for name, case in cases.UNARY.items() for params in case.params]


def test_every_kernel_has_a_case():
    assert {name for name, _ in _core.unary_names()} == set(cases.UNARY)
    assert set(UNARY) <= set(cases.UNARY)
    named = {*cases.BINARY_EXACT, *cases.BINARY_LIMIT, *cases.CHOICES}
    assert {name for name, *_ in map(np.atleast_1d, _core.binary_names())} == named
    assert set(BINARY) <= named


@pytest.mark.parametrize("name", sorted(UNARY))
def test_row_promises_what_the_design_promises(name):
    assert UNARY[name].ulp <= cases.UNARY[name].limit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "params"), UNARY_CASES)
def test_unary_error(name, params, dtype, isa):
    x, truth = cases.unary_truth(name, dtype, params)
    got = programs.unary(name, dtype, x.shape, params).run([x])[0]
    free = cases.UNARY[name].zero is cases.ANY_ZERO
    if free:
        got = np.where((got == 0) & (truth == 0), got.dtype.type(0), got)
    bound = max(UNARY[name].ulp if name in UNARY else 0.5, 0.5)
    within_ulps(got, truth, dtype, bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow_error(dtype, isa):
    a, b, truth = cases.pow_truth(dtype)
    got = programs.binary("pow", dtype, a.shape, b.shape).run([a, b])[0]
    assert BINARY["pow"].ulp <= cases.BINARY_LIMIT["pow"]
    within_ulps(got, truth, dtype, BINARY["pow"].ulp)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(cases.BINARY_EXACT))
def test_binary_is_exact(name, dtype, isa, rng):
    a, b = (rng.normal(0, 10, 1003).astype(dtype) for _ in "ab")
    got = programs.binary(name, dtype, a.shape, b.shape).run([a, b])[0]
    assert ulp_error(got, cases.BINARY_EXACT[name](a, b).astype(np.longdouble)).max() == 0
