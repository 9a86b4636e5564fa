# SPDX-License-Identifier: Apache-2.0
"""What goes in and out of functions: promotion, weak numbers, lists, out=, pickling, naming."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError, ShapeError

X = np.random.default_rng(4).uniform(0.5, 2, (3, 4)).astype(np.float32)


@pytest.mark.parametrize("a", [np.float32, np.float64])
@pytest.mark.parametrize("b", [np.float32, np.float64])
def test_floating_types_mix_as_in_numpy(a, b):
    x, y = X.astype(a), (X + 1).astype(b)
    for function, reference in ((F.add, np.add), (F.sub, np.subtract), (F.mul, np.multiply)):
        same_bits(function(x, y), reference(x, y))
    assert F.linear(x, y).dtype == np.result_type(a, b)
    assert F.where(x > 1, x, y).dtype == np.result_type(a, b)
    assert F.cat([x, y]).dtype == np.result_type(a, b)


@pytest.mark.parametrize("number", [2, 0.1, True, -0.0, float("inf"), 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_take_the_arrays_type(number, dtype):
    x = X.astype(dtype)
    with np.errstate(over="ignore"):
        as_array = np.asarray(number).astype(dtype)
    for _ in range(6):
        same_bits(F.mul(x, number), x * as_array)
        same_bits(F.sub(number, x), as_array - x)
        same_bits(F.maximum(x, number), np.maximum(x, as_array))
    same_bits(F.where(x > 1, x, number), np.where(x > 1, x, as_array))
    same_bits(F.clamp(x, max=number), np.minimum(x, as_array))


def test_numbers_that_change_from_call_to_call():
    for i in range(40):
        same_bits(F.mul(X, i / 7), X * np.float32(i / 7))
        same_bits(F.add(X, X, alpha=i), X + X * np.float32(i))


def test_halves_count_as_float32():
    """As in networks; what comes out is float32."""
    half = X.astype(np.float16)
    same_bits(F.mul(half, X), half.astype(np.float32) * X)
    same_bits(F.add(half, 0.1), half.astype(np.float32) + np.float32(0.1))
    same_bits(F.add(half, X.astype(np.float64)), half + X.astype(np.float64))
    same_bits(F.mul(X, np.float16(0.1)), X * np.float32(np.float16(0.1)))
    same_bits(nn.ReLU()(half).copy(), F.relu(half))
    inside = lm.compile(lambda x: x * half + np.float16(0.1), X)
    same_bits(inside(X), X * half.astype(np.float32) + np.float32(np.float16(0.1)))


def test_lists_are_arrays():
    same_bits(F.add([1.0, 2.0], [3.0, 4.0]), np.array([4.0, 6.0]))
    same_bits(F.cat([[1.0], [2.0]]), np.array([1.0, 2.0]))


def test_other_types_say_what_to_do():
    for bad in (X.astype(np.longdouble), X.astype(complex), X.astype(int), X > 1):
        with pytest.raises(DTypeError, match=r"float"):
            F.exp(bad)
    for bad in (X.astype(int), X > 1):
        with pytest.raises(DTypeError, match=r"astype\(np\.float32\) or \.float\(\)"):
            F.mean(bad)


def test_zero_sizes_and_zero_axes():
    same_bits(F.relu(np.zeros((0, 3), np.float32)), np.zeros((0, 3), np.float32))
    same_bits(F.exp(np.float32(0)), np.array(1, np.float32))
    same_bits(F.sum(np.zeros((0, 3), np.float32), 0), np.zeros(3, np.float32))
    same_bits(F.logsumexp(np.zeros((0, 3), np.float32), 0), np.full(3, -np.inf, np.float32))
    assert np.isnan(F.mean(np.zeros((0, 3), np.float32), 0)).all()
    for reduce in (F.amax, F.amin, F.argmax):
        with pytest.raises(ShapeError, match=r"empty|nothing|axis"):
            reduce(np.zeros((0, 3), np.float32), 0)
    same_bits(F.linear(np.zeros((2, 0), np.float32), np.zeros((3, 0), np.float32)),
              np.zeros((2, 3), np.float32))  # fmt: skip


def test_out_takes_any_layout():
    want = F.exp(X)
    for out in (
        np.empty((3, 4), np.float32),
        np.empty((4, 3), np.float32).T,
        np.empty((3, 8), np.float32)[:, ::2],
    ):
        assert F.exp(X, out=out) is out
        same_bits(np.ascontiguousarray(out), want)
    x = X.copy()
    assert F.softmax(x, 0, out=x) is x
    same_bits(x, F.softmax(X, 0))


def test_parameters_are_arrays_too():
    layer = nn.Linear(4, 5)
    same_bits(F.linear(X, layer.weight, layer.bias), layer(X).copy())
    layer.weight.data = np.zeros((5, 4))
    same_bits(F.linear(X, layer.weight), np.zeros((3, 5), np.float32))


def test_functions_look_like_functions():
    assert pickle.loads(pickle.dumps(F.relu)) is F.relu
    assert F.relu.__name__ == "relu"
    assert "Rectifier" in inspect.getdoc(F.relu)
    assert list(inspect.signature(F.elu).parameters) == ["input", "alpha", "inplace", "out"]
    assert "relu" in repr(F.relu)


@pytest.mark.parametrize("name", F.__all__)
def test_docstrings_follow_the_house(name):
    """One sentence first, then at least parameters, returns, errors, a source, an example."""
    text = inspect.getdoc(getattr(F, name))
    first = text.split("\n\n")[0]
    assert first.endswith("."), first
    for part in ("Parameters: ", "Returns: ", "Raises: ", "Source: ", ">>> "):
        assert part in text, (name, part)
