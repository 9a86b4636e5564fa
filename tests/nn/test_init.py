# SPDX-License-Identifier: Apache-2.0
"""Initialisers: their distributions, judged by bounds and moments, and where the numbers come from.

Moments of n draws are compared within five standard errors; the generator is seeded, so that a
test either always passes or always fails.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn
from lamella.errors import DTypeError, ShapeError, UnsupportedError
from lamella.nn.init import _normal_quantile


@pytest.fixture(autouse=True)
def _seed():
    lm.manual_seed(123)


def judge_uniform(x: np.ndarray, low: float, high: float) -> None:
    x = np.asarray(x, np.float64)
    width = high - low
    assert low <= x.min()
    assert x.max() <= high
    assert abs(x.mean() - (low + high) / 2) < 5 * width / math.sqrt(12 * x.size)
    # The variance of a uniform variable's square is width**4 / 180.
    assert abs(x.var() - width**2 / 12) < 5 * width**2 / math.sqrt(180 * x.size)
    assert x.max() - x.min() > width * (1 - 20 / x.size)


def judge_normal(x: np.ndarray, mean: float, std: float) -> None:
    x = np.asarray(x, np.float64)
    assert abs(x.mean() - mean) < 5 * std / math.sqrt(x.size)
    assert abs(x.var() - std**2) < 5 * std**2 * math.sqrt(2 / x.size)
    # Fourth moment: tells a normal from a uniform distribution.
    kurtosis = ((x - x.mean()) ** 4).mean() / x.var() ** 2
    assert abs(kurtosis - 3) < 5 * math.sqrt(24 / x.size)


SHAPE = (120, 80)


def empty() -> np.ndarray:
    return np.empty(SHAPE)


def test_distributions():
    judge_uniform(nn.init.uniform_(empty()), 0, 1)
    judge_uniform(nn.init.uniform_(empty(), -3, 5), -3, 5)
    judge_normal(nn.init.normal_(empty(), 2, 3), 2, 3)
    bound = 2 * math.sqrt(6 / 200)
    judge_uniform(nn.init.xavier_uniform_(empty(), gain=2), -bound, bound)
    judge_normal(nn.init.xavier_normal_(empty(), gain=2), 0, 2 * math.sqrt(2 / 200))
    bound = math.sqrt(6 / (1 + 0.25)) / math.sqrt(80)
    judge_uniform(nn.init.kaiming_uniform_(empty(), a=0.5), -bound, bound)
    std = math.sqrt(2 / 120)
    judge_normal(nn.init.kaiming_normal_(empty(), mode="fan_out", nonlinearity="relu"), 0, std)


def test_fans_of_windows():
    weight = nn.init.xavier_normal_(np.empty((64, 32, 3, 3)))
    judge_normal(weight, 0, math.sqrt(2 / (9 * (64 + 32))))


@pytest.mark.parametrize(("a", "b"), [(-2, 2), (0.5, 1), (-6, -4), (-1, 8)])
def test_truncated_normal(a, b):
    x = nn.init.trunc_normal_(empty(), 0.25, 1.5, a, b)
    law = NormalDist(0.25, 1.5)
    assert a <= x.min() <= x.max() <= b
    # The distribution function of the draws is uniform.
    low, high = law.cdf(a), law.cdf(b)
    cdf = np.vectorize(law.cdf)(x[:50])
    judge_uniform((cdf - low) / (high - low), 0, 1)


def test_the_quantile_is_the_standard_librarys():
    p = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 2001), 10.0 ** -np.arange(3, 300, 7)])
    want = np.array([NormalDist().inv_cdf(value) for value in p])
    np.testing.assert_allclose(_normal_quantile(p), want, rtol=4e-15, atol=1e-16)
    assert list(_normal_quantile(np.array([0.0, 0.5, 1.0]))) == [-np.inf, 0, np.inf]


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5), (4, 2, 3)])
def test_orthogonal(shape):
    q = nn.init.orthogonal_(np.empty(shape), gain=2).reshape(shape[0], -1) / 2
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-14)


def test_constants():
    assert (nn.init.constant_(empty(), -0.5) == -0.5).all()
    assert (nn.init.ones_(empty()) == 1).all()
    assert not nn.init.zeros_(empty()).any()
    same_bits(nn.init.eye_(np.empty((2, 3))), np.eye(2, 3))


def test_parameters_are_filled_through_assignment():
    parameter = nn.Parameter(np.zeros(SHAPE, np.float32))
    version = int(parameter.version[0])
    assert nn.init.uniform_(parameter) is parameter
    assert parameter.version[0] == version + 1
    judge_uniform(parameter.data, 0, 1)


def test_seeds():
    lm.manual_seed(9)
    first = nn.Linear(4, 4).state_dict()
    lm.manual_seed(9)
    again = nn.Linear(4, 4).state_dict()
    for name, value in first.items():
        same_bits(value, again[name])
    lm.manual_seed(10)
    assert not np.array_equal(nn.Linear(4, 4).state_dict()["weight"], first["weight"])
    generators = [np.random.Generator(np.random.Philox(3)) for _ in range(2)]
    draws = [nn.init.normal_(empty(), generator=one) for one in generators]
    same_bits(*draws)
    # The stream is NumPy's Philox: what a seed gives is known without this library.
    lm.manual_seed(4)
    want = np.random.Generator(np.random.Philox(4)).uniform(0, 1, (2, 2))
    same_bits(nn.init.uniform_(np.empty((2, 2))), want)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", True, None])
def test_bad_seeds(seed):
    with pytest.raises((TypeError, ValueError), match="manual_seed: "):
        lm.manual_seed(seed)


def test_what_cannot_be_filled():
    frozen = empty()
    frozen.flags.writeable = False
    for target in (frozen, np.empty(3, int), [1.0], 3.0, None):
        with pytest.raises(DTypeError, match="cannot be initialised in place"):
            nn.init.ones_(target)
    for fill in (nn.init.xavier_uniform_, nn.init.kaiming_normal_, nn.init.orthogonal_):
        with pytest.raises(ShapeError, match="two dimensions"):
            fill(np.empty(3))
    with pytest.raises(ShapeError, match="only matrices"):
        nn.init.eye_(np.empty(3))
    with pytest.raises(ValueError, match="unknown mode"):
        nn.init.kaiming_uniform_(empty(), mode="fan")
    with pytest.raises(UnsupportedError, match="no gain"):
        nn.init.calculate_gain("gelu")


def test_layers_start_as_torchs_do():
    """The distributions that torch's documentation states for each layer."""
    linear = nn.Linear(100, 90)
    judge_uniform(linear.weight.data, -0.1, 0.1)
    judge_uniform(linear.bias.data, -0.1, 0.1)
    bilinear = nn.Bilinear(25, 30, 20)
    judge_uniform(bilinear.weight.data, -0.2, 0.2)
    judge_uniform(bilinear.bias.data, -0.2, 0.2)
    judge_normal(nn.Embedding(100, 90).weight.data, 0, 1)
    assert (nn.PReLU(3).weight.data == 0.25).all()
    for layer in (nn.LayerNorm(4), nn.BatchNorm1d(4)):
        assert (layer.weight.data == 1).all()
        assert not layer.bias.data.any()
    assert (nn.RMSNorm(4).weight.data == 1).all()
