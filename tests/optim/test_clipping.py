# SPDX-License-Identifier: Apache-2.0
"""Clipping as graph, beside its formula in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lamella as lm
from comparators import same_values, within_scale
from lamella import optim
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import begin, current


def clip(function, arrays, *arguments):
    """The clipped arrays, and the norm where there is one."""

    def body(*given):
        trace = current()
        result = function(trace, [one.value for one in given], *arguments)
        values = [*result[0], result[1]] if isinstance(result, tuple) else result
        return tuple(Tensor(value, trace) for value in values)

    return lm.compile(body, *arrays)(*arrays)


@pytest.mark.parametrize("norm_type", [1, 2, 3, 0.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f8", "f8"), ("f4", "f8")])
def test_norm(norm_type, max_norm, dtypes, isa):
    rng = np.random.default_rng(6)
    shapes = ((7, 33), ())
    arrays = [np.asarray(rng.normal(size=s), d) for s, d in zip(shapes, dtypes, strict=True)]
    *scaled, total = clip(optim.clip_norm, arrays, max_norm, norm_type)
    flat = np.concatenate([x.ravel() for x in arrays]).astype(np.longdouble)
    want = np.abs(flat).max() if norm_type == math.inf else None
    if want is None:
        want = (np.abs(flat) ** norm_type).sum() ** (1 / norm_type)
    assert total.dtype == max(np.dtype(d) for d in dtypes)
    # Sums of positive terms: 232 additions and the powers, through the root 1 / norm_type.
    units = 250 * max(1, 1 / norm_type)
    float32 = np.dtype(np.float32)
    coarse = any(x.dtype == float32 for x in arrays)
    judged = total.astype(float32) if coarse else total
    within_scale(np.asarray(judged), np.asarray(want), np.asarray(want), judged.dtype, units)
    factor = min(1, max_norm / (want + 1e-6))
    for got, x in zip(scaled, arrays, strict=True):
        y = x.astype(np.longdouble) * factor
        judged = got.astype(float32) if coarse else got
        within_scale(np.asarray(judged), y, np.abs(y), judged.dtype, units + 6)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_gradients_of_any_size(scale, isa):
    """Exploded gradients keep their direction: the squares of their length would be infinite."""
    arrays = [np.float32([3, -4]) * np.float32(scale), np.float32([[12]]) * np.float32(scale)]
    first, second, total = clip(optim.clip_norm, arrays, 1.0)
    want = 13 * scale
    np.testing.assert_allclose(total, want, rtol=1e-6)
    factor = min(1.0, 1 / (want + 1e-6))
    np.testing.assert_allclose(first, np.float64([3, -4]) * scale * factor, rtol=1e-6)
    np.testing.assert_allclose(second, [[12 * scale * factor]], rtol=1e-6)


def test_nan_spreads_as_in_torch():
    scaled, other, total = clip(optim.clip_norm, [np.ones(3), np.array([np.nan])], 1.0)
    assert np.isnan(total)
    assert np.isnan(scaled).all()
    assert np.isnan(other).all()


def test_value():
    x = np.array([-3.0, -0.5, -0.0, 0.25, 7.0, np.nan, np.inf], np.float32)
    (got,) = clip(optim.clip_value, [x], 0.5)
    same_values(got.copy(), np.clip(x, -0.5, 0.5))


def test_gradients_that_are_none_stay_none():
    with begin() as trace:
        assert optim.clip_value(trace, [None], 1.0) == [None]
        scaled, total = optim.clip_norm(trace, [None, None], 1.0)
        assert scaled == [None, None]
        assert total.array == 0


@pytest.mark.parametrize("arguments", [(-1.0, 2.0), (math.nan, 2.0), (1.0, 0), (1.0, -1)])
def test_refusals(arguments):
    with begin() as trace:
        with pytest.raises(ValueError, match="out of range"):
            optim.clip_norm(trace, [], *arguments)
        with pytest.raises(ValueError, match="out of range"):
            optim.clip_value(trace, [], -1.0)
