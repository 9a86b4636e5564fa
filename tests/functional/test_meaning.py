# SPDX-License-Identifier: Apache-2.0
"""What functions decide for themselves, against NumPy in float64: where torch has no such thing,
leaves it open, or where lamella differs on purpose."""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits, same_values, within_product_bound, within_scale
from lamella import functional as F
from lamella.errors import DTypeError, ShapeError, UnsupportedError
from lamella.ops.tables import UNARY


def draw(*shape: int, seed: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X, W, B, R = draw(5, 9), draw(20, 9, seed=1), draw(20, seed=2), draw(5, 20, seed=3)


def test_linear_with_everything(isa):
    within_product_bound(F.linear(X, W, B, residual=R), X, W.T, addends=(B, R))
    for name in UNARY:
        if name in ("log", "log1p", "sqrt", "rsqrt", "reciprocal"):
            continue
        row = UNARY[name]
        activation = (name, *row.defaults) if row.params else name
        if len(row.params) != len(row.defaults):
            activation = (name, *(0.5 + i for i in range(len(row.params))))
        plain = F.linear(X, W, B, residual=R)
        got = F.linear(X, W, B, activation, R)
        numbers = activation[1:] if isinstance(activation, tuple) else ()
        if hasattr(F, name):
            same_values(got, getattr(F, name)(plain, *numbers))


@pytest.mark.parametrize("bad", ["swish", "", "leaky-relu", ("nothing", 1.0)])
def test_unknown_activations(bad):
    with pytest.raises(UnsupportedError, match="linear: no such activation"):
        F.linear(X, W, activation=bad)


def test_max_with_an_axis_gives_values_and_positions():
    result = F.max(X, 1)
    same_bits(result.values, X.max(1))
    same_bits(result.indices, X.argmax(1))
    values, indices = F.min(X, 0, keepdim=True)
    same_bits(values, X.min(0, keepdims=True))
    same_bits(indices, X.argmin(0)[None])
    same_bits(F.max(X), X.max().reshape(()))


def test_equal_elements_and_nan():
    x = np.float32([[1, 3, 3], [np.nan, 9, np.nan]])
    same_bits(F.argmax(x, 1), np.array([1, 0]))
    same_values(F.amax(x, 1), np.float32([3, np.nan]))
    same_values(F.maximum(x, np.float32(2)), np.float32([[2, 3, 3], [np.nan, 9, np.nan]]))
    same_values(F.relu(x), x)
    same_bits(F.eq(x, x), x == x)


def test_signed_zeros():
    zeros = np.float32([-0.0, 0.0])
    same_bits(F.maximum(zeros, zeros[::-1]), np.float32([0.0, 0.0]))
    same_bits(F.minimum(zeros, zeros[::-1]), np.float32([-0.0, -0.0]))
    same_bits(F.neg(zeros), zeros[::-1].copy())
    same_bits(F.abs(zeros), np.float32([0.0, 0.0]))


def test_remainder_has_the_divisors_sign():
    a, b = np.float32([7, -7, 7, -7, 0.5]), np.float32([3, 3, -3, -3, np.inf])
    same_values(F.remainder(a, b), np.remainder(a, b))
    same_values(F.floor_divide(a, b), np.floor_divide(a, b))
    same_values(F.div(a, b, rounding_mode="floor"), np.floor_divide(a, b))
    with pytest.raises(UnsupportedError, match="rounding"):
        F.div(a, b, rounding_mode="trunc")


def test_batch_norm_never_writes_its_statistics():
    mean, var = np.zeros(9, np.float32), np.ones(9, np.float32)
    F.batch_norm(X, mean, var, training=True)
    same_bits(mean, np.zeros(9, np.float32))
    same_bits(var, np.ones(9, np.float32))
    wide = X.astype(np.float64)
    want = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
    within_scale(F.batch_norm(X, None, None, training=True), want, np.abs(want) + 4, np.float32, 40)
    with pytest.raises(ShapeError, match="no statistics"):
        F.batch_norm(X, None, None)
    with pytest.raises(ShapeError, match="channels differ"):
        F.batch_norm(X, mean[:3], var)


def test_layer_norm_judges_the_axes():
    for shape in ((5,), (9, 5), (), (1, 9)):
        with pytest.raises(ShapeError, match="layer_norm"):
            F.layer_norm(X, shape)
    with pytest.raises(ShapeError, match="weight"):
        F.layer_norm(X, 9, weight=B)


def test_rms_norm_judges_the_axes():
    for shape in ((5,), (9, 5), (), (1, 9)):
        with pytest.raises(ShapeError, match="rms_norm"):
            F.rms_norm(X, shape)
    with pytest.raises(ShapeError, match="weight"):
        F.rms_norm(X, 9, B)
    with pytest.raises(DTypeError, match="rms_norm"):
        F.rms_norm(np.arange(9), 9)


def test_maxout():
    same_bits(F.maxout(X, 3), X.reshape(5, 3, 3).max(-1))
    same_bits(F.maxout(X, 5, 0), X.max(0, keepdims=True))
    for pieces in (0, 2, -3):
        with pytest.raises(ShapeError, match="pieces"):
            F.maxout(X, pieces)


def test_prelu_judges_its_channels():
    same_bits(F.prelu(X, np.float32([[0.5]])), np.where(X > 0, X, X * np.float32(0.5)))
    for weight in (B, X[:, :1]):
        with pytest.raises(ShapeError, match="slopes and channels"):
            F.prelu(X, weight)
    with pytest.raises(ShapeError, match="slopes and channels"):
        F.prelu(B, B)


def test_embedding_wants_integers_within_the_table():
    table = draw(4, 3)
    same_bits(F.embedding(np.array(2), table), table[2])
    for index in (-1, 4):
        with pytest.raises(IndexError, match=str(index)):
            F.embedding(np.array([0, index]), table)
    with pytest.raises(DTypeError):
        F.embedding(np.array([0.0]), table)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (F.hardtanh, (1.0, -1.0)),
        (F.softshrink, (-0.5,)),
        (F.celu, (0.0,)),
        (F.softplus, (0.0,)),
        (F.gelu, ("exact",)),
    ],
)
def test_numbers_outside_a_functions_domain(function, arguments):
    with pytest.raises((ValueError, UnsupportedError), match=f"{function.__name__}: "):
        function(X, *arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.reshape(X, (4, 9)),
        lambda: F.narrow(X, 1, 5, 5),
        lambda: F.narrow(X, 1, 0, -1),
        lambda: F.permute(X, (0, 0)),
        lambda: F.cat([X, X.T]),
        lambda: F.cat([]),
        lambda: F.stack([X, B]),
        lambda: F.split(X, (1, 2), 1),
        lambda: F.chunk(X, 0),
        lambda: F.expand(X, (5, 10)),
        lambda: F.index_copy(X, 2, np.array([0]), X),
        lambda: F.index_copy(X, 0, np.array([0, 1]), X[:1]),
        lambda: F.index_copy(X, 0, np.array([[0]]), X[:1]),
        lambda: F.pad(X, (1,)),
        lambda: F.unflatten(X, 1, (2, 4)),
        lambda: F.squeeze(X, 7),
        lambda: F.softmax(X, 2),
        lambda: F.sum(X, (0, 0)),
        lambda: F.glu(X),
        lambda: F.add(X, B),
        lambda: F.matmul(X, X),
        lambda: F.bilinear(X, X, W),
        lambda: F.linear(X, X.T),
        lambda: F.flatten(X, 1, 0),
    ],
)
def test_shapes_that_do_not_fit(call):
    with pytest.raises(ShapeError, match=r"^\w+: .*(got|expected)"):
        call()


def test_select_outside_the_axis():
    with pytest.raises(IndexError, match="outside the axis"):
        F.select(X, 1, 9)
    with pytest.raises(UnsupportedError, match="no such mode"):
        F.pad(X, (1, 1), mode="mirror")
    with pytest.raises(UnsupportedError, match="whole numbers"):
        F.round(X, decimals=2)


def test_dropout_at_inference_is_a_copy():
    y = F.dropout(X, 0.5, training=False)
    same_bits(y, X)
    assert not np.shares_memory(y, X)
    lost = (F.dropout(np.ones(10000, np.float32), 0.5) == 0).mean()
    assert abs(lost - 0.5) < 0.02


@pytest.mark.parametrize("name", ["nonzero", "unique_consecutive", "bincount", "masked_select"])
def test_shapes_that_follow_from_elements_are_refused_in_networks(name):
    def body(x, mask):
        return getattr(F, name)(*(x, mask) if name == "masked_select" else (x,))

    with pytest.raises(UnsupportedError, match=r"Keep the shape|one_hot.*\(test_meaning.py"):
        lm.compile(body, X, X > 0)
