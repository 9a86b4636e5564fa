# SPDX-License-Identifier: Apache-2.0
"""Operators and methods of tensors give what NumPy gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphs import kind, traced
from lamella.errors import ShapeError
from lamella.runtime.session import compile
from lamella.runtime.tensor import cat, matmul, stack, where

X = np.linspace(-2, 3, 24, dtype=np.float32).reshape(2, 3, 4)
Y = np.linspace(3, 1, 12, dtype=np.float32).reshape(3, 4)


def log_softmax(x, axis):
    x = x.astype(np.float64) - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


CASES = {
    "add": (lambda x, y: x + y, lambda x, y: x + y),
    "radd": (lambda x, y: 1 + x, lambda x, y: 1 + x),
    "array left": (lambda x, y: Y - x, lambda x, y: Y - x),
    "sub": (lambda x, y: x - y, lambda x, y: x - y),
    "rsub": (lambda x, y: 1 - x, lambda x, y: 1 - x),
    "mul": (lambda x, y: x * y * 2, lambda x, y: x * y * 2),
    "div": (lambda x, y: x / y + 2 / y, lambda x, y: x / y + 2 / y),
    "floordiv": (lambda x, y: x // y + 7 // y, lambda x, y: x // y + 7 // y),
    "mod": (lambda x, y: x % y + 7 % y, lambda x, y: x % y + 7 % y),
    "pow": (lambda x, y: abs(x) ** y + 2**x + x**2, lambda x, y: abs(x) ** y + 2**x + x**2),
    "neg pos abs": (lambda x, y: -x + +y + abs(x), lambda x, y: -x + y + abs(x)),
    "moved": (
        lambda x, y: x.roll(1, 2) - x.flip(0) + x.rot90(2, (1, 2)).swapaxes(0, 1).movedim(0, 1),
        lambda x, y: np.roll(x, 1, 2) - x[::-1] + x[:, ::-1, ::-1],
    ),
    "repeated": (
        lambda x, y: x.repeat(1, 2, 3) * y.tile(2, 3) + y.repeat_interleave(2, 0).tile(3),
        lambda x, y: np.tile(x, (1, 2, 3)) * np.tile(y, (2, 3)) + np.tile(np.repeat(y, 2, 0), 3),
    ),
    "triangles": (
        lambda x, y: x.tril() + x.triu(1) + y.diagonal(1).diag(1)[:3],
        lambda x, y: x + np.diag(np.diagonal(y, 1), 1)[:3],
    ),
    "named products": (
        lambda x, y: y.mm(x[0].T) + x[1].inner(y) + y[:, 0].outer(y[:, 1]),
        lambda x, y: y @ x[0].T + x[1] @ y.T + np.outer(y[:, 0], y[:, 1]),
    ),
    "made of others": (
        lambda x, y: x.lerp(y, 0.25) + x.hypot(y) + y.norm(dim=1, keepdim=True),
        lambda x, y: x + (y - x) / 4 + np.hypot(x, y) + np.sqrt((y * y).sum(1, keepdims=True)),
    ),
    "the same": (
        lambda x, y: x.detach().contiguous().clip(-1, 1).nan_to_num(),
        lambda x, y: x.clip(-1, 1),
    ),
    "taken apart": (
        lambda x, y: x.unbind(1)[2] + x.unbind(-1)[0][:, :1],
        lambda x, y: x[:, 2] + x[:, :1, 0],
    ),
    "matmul": (lambda x, y: x @ y.T, lambda x, y: x @ y.T),
    "rmatmul": (lambda x, y: Y @ x.mT, lambda x, y: Y @ x.swapaxes(1, 2)),
    "vectors": (lambda x, y: matmul(x[0, 0], y[0]), lambda x, y: x[0, 0] @ y[0]),
    "matrix vector": (lambda x, y: x @ y[0], lambda x, y: x @ y[0]),
    "vector matrix": (lambda x, y: y[0] @ x.mT, lambda x, y: y[0] @ x.swapaxes(1, 2)),
    "compare": (
        lambda x, y: where((x < y), 1.0, 0.0) + (x <= y).float() + (x > y).float() * 2,
        lambda x, y: (x < y) + np.float32(1) * (x <= y) + (x > y) * 2,
    ),
    "equal": (lambda x, y: (x == x[:, :1]) * 1.0, lambda x, y: (x == x[:, :1]) * 1.0),
    "not equal": (lambda x, y: (x != x[:, :1]) * 1.0, lambda x, y: (x != x[:, :1]) * 1.0),
    "maximum": (lambda x, y: x.maximum(y).minimum(2), lambda x, y: np.minimum(np.maximum(x, y), 2)),
    "clamp": (lambda x, y: x.clamp(-1, 1), lambda x, y: x.clip(-1, 1)),
    "clamp below": (lambda x, y: x.clamp(min=0.5), lambda x, y: x.clip(0.5, None)),
    "clamp above": (lambda x, y: x.clamp(max=0.5), lambda x, y: x.clip(None, 0.5)),
    "exp log": (lambda x, y: x.exp() + y.log(), lambda x, y: np.exp(x) + np.log(y)),
    "roots": (lambda x, y: y.sqrt() + y.rsqrt(), lambda x, y: np.sqrt(y) + 1 / np.sqrt(y)),
    "square": (lambda x, y: x.square().tanh(), lambda x, y: np.tanh(x * x)),
    "sigmoid": (lambda x, y: x.sigmoid().relu(), lambda x, y: 1 / (1 + np.exp(-x))),
    "where": (lambda x, y: x.where(x > 0, y), lambda x, y: np.where(x > 0, x, y)),
    "reshape": (lambda x, y: x.reshape(4, -1), lambda x, y: x.reshape(4, -1)),
    "view": (lambda x, y: x.view((6, 4)), lambda x, y: x.reshape(6, 4)),
    "flatten": (lambda x, y: x.flatten(1), lambda x, y: x.reshape(2, 12)),
    "flatten all": (lambda x, y: x.flatten(), lambda x, y: x.reshape(24)),
    "permute": (lambda x, y: x.permute(2, 0, -2), lambda x, y: x.transpose(2, 0, 1)),
    "transpose": (lambda x, y: x.transpose(0, -1), lambda x, y: x.swapaxes(0, 2)),
    "T": (lambda x, y: x.T, lambda x, y: x.T),
    "expand": (lambda x, y: y.expand(5, -1, -1), lambda x, y: np.broadcast_to(y, (5, 3, 4))),
    "unsqueeze": (lambda x, y: x.unsqueeze(-1).unsqueeze(0), lambda x, y: x[None, ..., None]),
    "squeeze": (lambda x, y: x[:, :1].squeeze(), lambda x, y: x[:, :1].squeeze()),
    "squeeze one": (lambda x, y: x[:1, :1].squeeze(1), lambda x, y: x[:1, :1].squeeze(1)),
    "squeeze none": (lambda x, y: x.squeeze(1), lambda x, y: x),
    "split": (lambda x, y: x.split(2, 1)[1], lambda x, y: x[:, 2:]),
    "split sizes": (lambda x, y: x.split([1, 3], -1)[1], lambda x, y: x[..., 1:]),
    "chunk": (lambda x, y: x.chunk(3, -1)[1], lambda x, y: x[..., 2:4]),
    "sum": (lambda x, y: x.sum(), lambda x, y: x.sum()),
    "sum axis": (lambda x, y: x.sum(1), lambda x, y: x.sum(1)),
    "sum axes": (lambda x, y: x.sum((0, -1)), lambda x, y: x.sum((0, 2))),
    "sum keep": (lambda x, y: x.sum((0, -1), True), lambda x, y: x.sum((0, 2), keepdims=True)),
    "mean": (lambda x, y: x.mean(0), lambda x, y: x.mean(0)),
    "prod": (lambda x, y: x.prod(-1), lambda x, y: x.prod(-1)),
    "max": (lambda x, y: x.amax(1) + x.max(), lambda x, y: x.max(1) + x.max()),
    "max axis": (lambda x, y: x.max(1).values, lambda x, y: x.max(1)),
    "min where": (lambda x, y: x.min(1, True)[1], lambda x, y: x.argmin(1, keepdims=True)),
    "min": (lambda x, y: x.amin(1) + x.min(), lambda x, y: x.min(1) + x.min()),
    "var": (lambda x, y: x.var(1), lambda x, y: x.var(1, ddof=1)),
    "var 0": (lambda x, y: x.var((0, 2), 0), lambda x, y: x.var((0, 2))),
    "std": (lambda x, y: x.std(keepdim=True), lambda x, y: x.std(ddof=1, keepdims=True)),
    "logsumexp": (lambda x, y: x.logsumexp(1), lambda x, y: np.log(np.exp(x).sum(1))),
    "softmax": (lambda x, y: x.softmax(1), lambda x, y: np.exp(log_softmax(x, 1))),
    "log_softmax": (lambda x, y: x.log_softmax(), lambda x, y: log_softmax(x, 2)),
    "argmax": (lambda x, y: x.argmax(), lambda x, y: x.argmax()),
    "argmax axis": (lambda x, y: (-x).argmax(1, True), lambda x, y: (-x).argmax(1, keepdims=True)),
    "argmin": (lambda x, y: x.argmin(0), lambda x, y: x.argmin(0)),
    "cat": (lambda x, y: cat([x, x], -1), lambda x, y: np.concatenate([x, x], -1)),
    "stack": (lambda x, y: stack([y, y], -1), lambda x, y: np.stack([y, y], -1)),
    "double": (lambda x, y: x.double() / 3, lambda x, y: x.astype(np.float64) / 3),
    "iterate": (lambda x, y: sum(x), lambda x, y: x[0] + x[1]),
    "unpack": (lambda x, y: [*x][1], lambda x, y: x[1]),
}


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(name):
    body, expected = CASES[name]
    got = compile(body, X, Y)(X, Y)
    want = np.asarray(expected(X, Y))
    assert got.shape == want.shape
    assert got.dtype == want.dtype or got.dtype == np.float32
    assert np.allclose(got, want, rtol=2e-6, atol=2e-6)


def test_what_is_known():
    def body(x):
        assert x.shape == x.size() == (2, 3)
        assert (x.ndim, x.dim(), x.size(1), x.numel(), len(x)) == (2, 2, 3, 6, 2)
        assert repr(x) == "Tensor(float32, (2, 3))"
        assert len({x, x.relu()}) == 2
        return x

    traced(body, kind(2, 3))


def test_zero_d_tensors_have_no_length():
    with pytest.raises(TypeError, match="0-d"):
        traced(lambda x: len(x), kind())
    with pytest.raises(TypeError, match="0-d"):
        traced(lambda x: [*x], kind())


@st.composite
def keys(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    key = draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    return shape, key


@given(keys())
def test_basic_indexing_is_numpys(case):
    shape, key = case
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    graph_result = compile(lambda t: t[key], x)(x)
    expected = x[key]
    assert graph_result.shape == np.shape(expected)
    assert np.array_equal(graph_result, expected)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (lambda x: x.reshape(5, -1), r"reshape: no such shape; got x=\(2, 3\), shape=\(5, -1\)"),
        (lambda x: x.reshape(-1, -1), "at most one of them -1"),
        (lambda x: x.reshape(7), r"reshape: sizes differ; got x=\(2, 3\), shape=\(7,\)"),
        (lambda x: x.permute(0), r"permute: not an order of the axes; got x=\(2, 3\), dims=\(0,"),
        (lambda x: x.permute(0, 2), "permute: no such axis; got dims=2"),
        (lambda x: x.transpose(0, 5), "transpose: no such axis; got dim1=5"),
        (lambda x: x.sum(2), "sum: no such axis; got dim=2, ndim=2"),
        (lambda x: x.sum((0, 0)), "sum: an axis is named twice"),
        (lambda x: x.softmax(3), "softmax: no such axis"),
        (lambda x: x.argmax((0, 1)), "argmax: one axis at a time"),
        (lambda x: x[:0].amax(0), r"max: nothing to choose from; got x=\(0, 3\)"),
        (lambda x: x.split(0), "split: sizes do not fit the axis"),
        (lambda x: x.split([1, 2]), "sizes whose sum is 2"),
        (lambda x: x.chunk(0), "chunk: no such number of pieces"),
        (lambda x: x.flatten(1, 0), "flatten: axes in the wrong order"),
        (lambda x: x.expand(2, 4), r"expand: shapes do not broadcast; got x=\(2, 3\), shape="),
        (lambda x: cat([]), "cat: nothing to join"),
        (lambda x: cat([x, x[:, :1]]), r"cat: shapes differ outside the joined axis; got tens"),
        (
            lambda x: stack([x, x[:1]]),
            r"stack: shapes differ; got tensors\[0\]=\(2, 3\), tensors\[",
        ),
        (lambda x: x @ 2.0, "matmul: numbers are no matrices"),
    ],
)
def test_shape_errors_name_both(body, text):
    with pytest.raises(ShapeError, match=text):
        traced(body, kind(2, 3))
