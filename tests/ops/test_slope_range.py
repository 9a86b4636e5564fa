# SPDX-License-Identifier: Apache-2.0
"""Slopes of all functions over all magnitudes, against differences of 500 bits.

In float32, whose range is the smaller one; the formulas are those of both precisions. A slope has
some roundings of its own size; where it is a sum that cancels, or is computed from y (tanh,
sigmoid), of its terms'. At corners the difference means nothing: PyTorch decides there
(tests/parity/test_torch_gradients.py).
"""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp

from cases import elementwise as cases
from comparators import ulp_size
from gradients import body_of, gradients
from lamella.ops.elementwise import unary
from lamella.ops.tables import UNARY

UNITS = 8
# Sums of terms of size 1, wherever x is: silu, mish and hardswish have a minimum.
ABSOLUTE = ("tanh", "sigmoid", "silu", "mish", "hardswish")
# exp(-x^2) multiplies the rounding of its argument.
BELLS = ("erf", "erfc", "gelu", "gelu_tanh")
# Beyond this the oracles stand still, or turn faster than a difference shows.
FAR = dict.fromkeys(("sin", "cos", "tan", "exp", "expm1", "sinh", "cosh"), 2.0**12)
CASES = [(name, params) for name in UNARY for params in cases.UNARY[name].params]


def points(name: str, params: tuple[float, ...]) -> np.ndarray:
    rng = np.random.default_rng(40)
    x = np.concatenate([np.ldexp(rng.uniform(0.5, 1, 40), rng.integers(-126, 127, 40)),
                        np.ldexp(rng.uniform(0.5, 1, 20), rng.integers(-12, 6, 20)),
                        rng.uniform(0, 12, 20)])  # fmt: skip
    x = np.concatenate([x, -x]).astype(np.float32)
    low, high = cases.UNARY[name].domain
    return x[(x > low) & (x < high) & (np.abs(x) < FAR.get(name, np.inf))]


def difference(name: str, params: tuple[float, ...], x: float) -> np.longdouble:
    numbers = [mp.mpf(float(np.float32(p))) for p in params]
    with mp.workprec(500):
        at, step = mp.mpf(x), abs(mp.mpf(x)) * mp.mpf(2) ** -60
        above, below = (cases.UNARY[name].exact(at + s, *numbers) for s in (step, -step))
        return cases.longdouble((mp.mpf(above) - mp.mpf(below)) / (2 * step))


@pytest.mark.parametrize(("name", "params"), CASES)
def test_slopes(name, params):
    x = points(name, params)
    with np.errstate(all="ignore"):
        _, (got,) = gradients(body_of(unary(name, *params)), [x], np.ones(len(x), np.float32))
    want = np.array([difference(name, params, float(v)) for v in x], np.longdouble)
    size = np.abs(want)
    if name in ABSOLUTE:
        size = np.maximum(size, 1)
    if name in BELLS:
        # A subnormal exponential has lost its digits before it is multiplied.
        x, got, want = (v[size > 1e-36] for v in (x, got, want))
        size = np.abs(want) * (1 + np.square(x.astype(np.longdouble))) + 0.25 * (np.abs(x) < 2)
    ceiling = np.ldexp(np.longdouble(1), 128)
    numbers = np.clip(got.astype(np.longdouble), -ceiling, ceiling)
    error = np.abs(numbers - np.clip(want, -ceiling, ceiling))
    error = error / ulp_size(np.minimum(size, ceiling), np.float32)
    bad = ~(error <= UNITS)
    assert not bad.any(), f"at {x[bad][:3]}: got {got[bad][:3]}, want {want[bad][:3]}"
