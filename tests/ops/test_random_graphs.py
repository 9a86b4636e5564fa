# SPDX-License-Identifier: Apache-2.0
"""Random graphs: compiled as one program they give the bits of their ops called one by one.

Simplifying, fusing, planning memory and sharing it among values must not be visible. Each example
draws a graph of up to twenty ops with skips, repeats, views and several outputs; the oracle is the
same Python function run eagerly, where every op is a program of its own.
"""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lamella as lm
import lamella.functional as F
from comparators import same_bits
from lamella import _core, nn

UNARY = ("relu", "tanh", "sigmoid", "gelu", "silu", "neg", "abs", "square", "hardswish", "elu")
BINARY = ("add", "sub", "mul", "maximum", "minimum")
ROWWISE = ("softmax", "log_softmax")
ELEMENTWISE = ("unary", "unary", "binary", "binary", "where", "scalar")
PRODUCTS = ("linear", "linear", "matmul")
MOVES = ("transpose", "reshape", "slice", "cat", "pad")
KINDS = (*ELEMENTWISE, *PRODUCTS, *MOVES, "rowwise", "reduce", "norm")
REDUCTIONS = ("sum", "mean", "amax", "logsumexp", "var")


@st.composite
def steps(draw) -> list[tuple]:
    """A recipe: names of ops and which earlier values they take, all choices drawn here."""
    recipe = []
    for _ in range(draw(st.integers(1, 20))):
        kind = draw(st.sampled_from(KINDS))
        recipe.append((kind, draw(st.integers(0, 99)), draw(st.integers(0, 99))))
    return recipe


def weight(rows: int, cols: int) -> np.ndarray:
    return np.random.default_rng([121, rows, cols]).normal(size=(rows, cols)).astype(np.float32) / 4


def build(recipe, results, dtype, f=F):
    """A function of x and y that follows the recipe; every value is a matrix."""

    def body(x, y):
        values = [x, y]
        for kind, p, q in recipe:
            a, b = values[p % len(values)], values[q % len(values)]
            rows, cols = a.shape
            if kind == "unary":
                value = getattr(f, UNARY[q % len(UNARY)])(a)
            elif kind == "binary":
                if not compatible(a.shape, b.shape):
                    b = a
                value = getattr(f, BINARY[(p + q) % len(BINARY)])(a, b)
            elif kind == "linear":
                out = (1, 5, 16, 33)[q % 4]
                bias = weight(1, out)[0].astype(dtype) if p % 2 else None
                value = f.linear(a, weight(out, cols).astype(dtype), bias)
            elif kind == "matmul":
                value = f.matmul(a, weight(cols, (2, 7, 18)[q % 3]).astype(dtype))
            elif kind == "rowwise":
                value = getattr(f, ROWWISE[q % 2])(a, 1)
            elif kind == "reduce":
                value = getattr(f, REDUCTIONS[q % len(REDUCTIONS)])(a, dim=p % 2, keepdim=True)
            elif kind == "transpose":
                value = f.transpose(a, 0, 1)
            elif kind == "reshape":
                value = f.reshape(a, (cols, rows) if q % 2 else (1, rows * cols))
            elif kind == "slice":
                start = q % cols
                value = f.narrow(a, 1, start, max(1, (cols - start) // 2))
            elif kind == "cat":
                value = f.cat([a, a], 1) if a.shape[0] != b.shape[0] else f.cat([a, b, a], 1)
            elif kind == "where":
                b = b if b.shape == a.shape else a
                value = f.where(f.gt(a, b), b, f.relu(a))
            elif kind == "norm":
                value = f.layer_norm(a, (cols,), weight(1, cols)[0].astype(dtype))
            elif kind == "pad":
                value = f.pad(a, (q % 3, p % 2), value=0.5)
            else:
                value = f.add(f.mul(a, 0.5), 1)
            # Keeps sizes bounded: a matrix that grew too large starts again from x.
            size = value.shape[0] * value.shape[1]
            values.append(value if size <= 4000 else f.neg(x))
        return tuple(values[index % len(values)] for index in results)

    return body


def compatible(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=True))


RESULTS = st.lists(st.integers(0, 99), min_size=1, max_size=4)


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps(), RESULTS, st.integers(1, 9), st.sampled_from([1, 3, 16, 18]), st.booleans())
def test_compiled_equals_eager(recipe, results, rows, cols, double):
    dtype = "float64" if double else "float32"
    rng = np.random.default_rng([122, rows, cols])
    x, y = (rng.normal(size=(rows, cols)).astype(dtype) for _ in "xy")
    results = [*results, -1]
    body = build(recipe, results, dtype)
    kept = x.copy(), y.copy()
    want = [np.array(value) for value in body(x, y)]
    session = lm.compile(body, x, y)
    for _ in range(2):
        got = session(x, y)
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            same_bits(np.array(a), b)
            assert not np.shares_memory(a, x)
            assert not np.shares_memory(a, y)
        got[0].fill(np.nan)
        same_bits(np.array(got[-1]), want[-1])
    same_bits(x, kept[0])
    same_bits(y, kept[1])


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps(), RESULTS, st.integers(2, 7))
def test_threads_change_nothing(recipe, results, count):
    """The same on matrices that are large enough to be shared among threads."""
    rng = np.random.default_rng(123)
    x, y = (rng.normal(size=(400, 9)).astype(np.float32) for _ in "xy")
    body = build(recipe, [*results, -1], "float32")
    before = _core.num_threads()
    try:
        _core.set_num_threads(1)
        session = lm.compile(body, x, y)
        want = [np.array(value) for value in session(x, y)]
        _core.set_num_threads(count)
        for one in (session, lm.compile(body, x, y)):
            for a, b in zip(one(x, y), want, strict=True):
                same_bits(np.array(a), b)
    finally:
        _core.set_num_threads(before)


class Recipe(nn.Module):
    """A module that follows a recipe with its own parameters between the steps."""

    def __init__(self, recipe, results, cols):
        super().__init__()
        self.first = nn.Linear(cols, 16)
        self.second = nn.Linear(cols, 16)
        self._body = build(recipe, results, "float32")

    def forward(self, x):
        return self._body(F.relu(self.first(x)), self.second(x) + 1)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(steps(), RESULTS, st.integers(1, 9))
def test_modules_follow_their_parameters(recipe, results, rows):
    """After every change of a parameter the compiled module agrees with the eager calls."""
    net = Recipe(recipe, [*results, -1], 7)
    rng = np.random.default_rng([124, rows])
    for step in range(3):
        x = rng.normal(size=(rows, 7)).astype(np.float32)
        want = net._body(F.relu(net.first(x)), F.add(net.second(x), 1))
        for a, b in zip(net(x), want, strict=True):
            same_bits(np.array(a), np.array(b))
        layer = (net.first, net.second)[step % 2]
        layer.weight.data = rng.normal(size=(16, 7)).astype(np.float32)
        layer.bias.data = rng.normal(size=16).astype(np.float32)
