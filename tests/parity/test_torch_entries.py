# SPDX-License-Identifier: Apache-2.0
"""Picking, putting, running values and orders against PyTorch, values and gradients alike.

In float64: what is compared is meaning. Sums may be added in another order there, orders of equal
elements are compared where PyTorch states them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradients import gradients
from lamella import functional as F
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import current

torch = pytest.importorskip("torch")

X, SRC = np.random.default_rng(3).normal(size=(2, 4, 5, 6))
SMALL = SRC[:3, :4]
AT = np.random.default_rng(4).integers(0, 4, (4, 5, 6))
FEW = AT[:3, :4]
LINE = np.array([3, 0, 3, 2])
ROWS = np.broadcast_to(LINE[:, None, None], (4, 5, 6))
ZEROS = np.where(np.random.default_rng(5).random(X.shape) < 0.3, 0.0, X)
ONE_ZERO = np.where(np.arange(5)[None, :, None] == 2, 0.0, X)
MASK = X > 0
REDUCES = [(kind, own) for kind in ("sum", "prod", "mean", "amax", "amin") for own in (True, False)]

Call = tuple[str, tuple, dict]


def calls() -> list[Call]:
    """Name, arguments and options of functions that both libraries have."""
    found: list[Call] = [
        ("gather", (X, 0, AT), {}),
        ("gather", (X, 2, FEW), {}),
        ("gather", (X, 0, ROWS), {}),
        ("take_along_dim", (X, AT[:1], 1), {}),
        ("take_along_dim", (X, LINE), {}),
        ("index_select", (X, 1, LINE), {}),
        ("scatter", (X, 0, np.argsort(AT, 0), SRC), {}),
        ("scatter", (X, 1, AT[:, :1], 2.5), {}),
        ("scatter_add", (X, 0, AT, SRC), {}),
        ("scatter_add", (X, 1, FEW, SMALL), {}),
        ("scatter_add", (X, 2, FEW, SMALL), {}),
        ("scatter_add", (X, 0, ROWS, SRC), {}),
        ("index_add", (X, 2, LINE, SRC[..., :4]), {"alpha": 0.5}),
        ("index_copy", (X, 1, np.array([4, 0]), SRC[:, :2]), {}),
        ("index_fill", (X, 1, LINE, 2.5), {}),
        ("masked_fill", (X, MASK[:1], -2.0), {}),
        ("masked_scatter", (X, MASK, SRC), {}),
        ("cumsum", (X, 1), {}),
        ("cumprod", (X, 2), {}),
        ("cumprod", (ZEROS, 1), {}),
        ("cumprod", (ONE_ZERO, 1), {}),
        ("cummax", (X, 0), {}),
        ("cummin", (X, 2), {}),
        ("sort", (X, 1), {}),
        ("sort", (X,), {"descending": True}),
        ("topk", (X, 3), {}),
        ("topk", (X, 2, 1), {"largest": False}),
    ]
    for kind, own in REDUCES:
        found.append(("scatter_reduce", (X, 0, AT, SRC, kind), {"include_self": own}))
        found.append(("scatter_reduce", (X, 1, FEW, SMALL, kind), {"include_self": own}))
        if kind != "sum":
            found.append(("index_reduce", (X, 2, LINE, SRC[..., :4], kind), {"include_self": own}))
    for x, src in ((ZEROS, SRC), (X, ZEROS), (ZEROS, ZEROS[::-1].copy())):
        found += [
            ("scatter_reduce", (x, 0, AT, src, "prod"), {"include_self": own})
            for own in (True, False)
        ]
    # Equal extremes share.
    found.append(("scatter_reduce", (np.round(X), 0, AT, np.round(SRC), "amax"), {}))
    found.append(("scatter_reduce", (np.round(X), 1, AT, np.round(SRC), "amin"), {}))
    return found


def first(result: object) -> object:
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")
@pytest.mark.parametrize(
    ("name", "args", "named"), [pytest.param(*c, id=f"{c[0]}-{i}") for i, c in enumerate(calls())]
)
def test_values_and_gradients(name: str, args: tuple, named: dict) -> None:
    arrays = [x for x in args if isinstance(x, np.ndarray)]

    def filled(values: list) -> list:
        rest = iter(values)
        return [next(rest) if isinstance(x, np.ndarray) else x for x in args]

    tensors = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    theirs = first(getattr(torch, name)(*filled(tensors), **named))
    got = getattr(F, name)(*args, **named)
    np.testing.assert_allclose(first(got), theirs.detach().numpy(), rtol=1e-13, atol=1e-13)
    if isinstance(got, tuple):
        other = getattr(torch, name)(*filled(tensors), **named)[1]
        np.testing.assert_array_equal(got[1], other.numpy())

    c = np.random.default_rng(6).normal(size=theirs.shape)

    def body(place: Callable, *values: object) -> object:
        trace = current()
        operands = [Tensor(value, trace) for value in values]
        return first(getattr(F, name)(*filled(operands), **named))._value(trace)

    floating = [x for x in tensors if x.requires_grad]
    want = torch.autograd.grad((theirs * torch.tensor(c)).sum(), floating, allow_unused=True)
    _, found = gradients(body, [np.ascontiguousarray(x) for x in arrays], c)
    for mine, dx, tensor in zip(found, want, floating, strict=True):
        exact = torch.zeros_like(tensor) if dx is None else dx
        np.testing.assert_allclose(mine, exact.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8", "bool"])
def test_integers(dtype: str) -> None:
    x, src = (np.random.default_rng(i).integers(0, 100, (4, 5)).astype(dtype) for i in (7, 8))
    at = np.random.default_rng(9).integers(0, 4, (4, 5))
    t, s, i = torch.tensor(x), torch.tensor(src), torch.tensor(at)
    pairs = [
        (F.gather(x, 0, at), torch.gather(t, 0, i)),
        (F.index_select(x, 1, at[0]), torch.index_select(t, 1, i[0])),
        (F.sort(x, 0).values, torch.sort(t, 0).values),
        (F.argsort(x, 1, True), torch.argsort(t, dim=1, descending=True, stable=True)),
        (F.topk(x, 2).values, torch.topk(t, 2).values) if dtype != "bool" else (x, t),
        (F.cummax(x, 1).indices, torch.cummax(t, 1).indices),
        (F.cumsum(x, 1), torch.cumsum(t, 1)),
        (F.scatter_reduce(x, 0, at, src, "amax"), torch.scatter_reduce(t, 0, i, s, "amax")),
    ]
    if dtype != "bool":
        pairs += [
            (F.cumprod(x, 1), torch.cumprod(t, 1)),
            (F.scatter_add(x, 0, at, src), torch.scatter_add(t, 0, i, s)),
            (F.scatter_reduce(x, 0, at, src, "prod"), torch.scatter_reduce(t, 0, i, s, "prod")),
            (F.index_add(x, 0, at[:, 0], src), torch.index_add(t, 0, i[:, 0], s)),
        ]
    for mine, theirs in pairs:
        assert mine.dtype == theirs.numpy().dtype
        np.testing.assert_array_equal(mine, theirs.numpy())


def test_means_of_integers() -> None:
    x, src = np.array([7, -7, 0]), np.array([1, -2, 4, 5])
    at = np.array([0, 1, 2, 2])
    for own in (True, False):
        want = torch.tensor(x).scatter_reduce(
            0, torch.tensor(at), torch.tensor(src), "mean", include_self=own
        )
        got = F.scatter_reduce(x, 0, at, src, "mean", include_self=own)
        np.testing.assert_array_equal(got, want.numpy())


def test_a_source_larger_than_its_index() -> None:
    want = torch.scatter_add(torch.tensor(X), 2, torch.tensor(FEW), torch.tensor(SRC))
    np.testing.assert_allclose(F.scatter_add(X, 2, FEW, SRC), want.numpy(), rtol=1e-14)


def test_places_in_order() -> None:
    row, x = np.sort(np.round(SRC[0, 0])), np.round(X)
    for right in (False, True):
        want = torch.searchsorted(torch.tensor(row), torch.tensor(x), right=right)
        np.testing.assert_array_equal(F.searchsorted(row, x, right=right), want.numpy())
        want = torch.bucketize(torch.tensor(x), torch.tensor(row), right=right)
        np.testing.assert_array_equal(F.bucketize(x, row, right=right), want.numpy())
    want = torch.searchsorted(torch.tensor(np.sort(X, -1)), torch.tensor(SRC))
    np.testing.assert_array_equal(F.searchsorted(np.sort(X, -1), SRC), want.numpy())


def test_one_hot() -> None:
    want = torch.nn.functional.one_hot(torch.tensor(AT))
    np.testing.assert_array_equal(F.one_hot(AT), want.numpy())
    assert F.one_hot(AT, 9).shape == (*AT.shape, 9)
    for bad in (-1, 4):
        with pytest.raises(IndexError):
            F.one_hot(np.array([0, bad]), 4)


def test_0d() -> None:
    x, zero = np.float64(3.0), np.array(0)
    t, i = torch.tensor(3.0, dtype=torch.float64), torch.tensor(0)
    x = np.array(x)
    for name, args, theirs in (
        ("gather", (0, zero), (0, i)),
        ("scatter", (0, zero, 2.0), (0, i, 2.0)),
        ("index_select", (0, zero), (0, i)),
        ("cumsum", (0,), (0,)),
        ("sort", (0,), (0,)),
        ("cummax", (0,), (0,)),
        ("topk", (1,), (1,)),
        ("index_fill", (0, zero, 2.0), (0, i, 2.0)),
    ):
        got, want = first(getattr(F, name)(x, *args)), first(getattr(torch, name)(t, *theirs))
        assert got.shape == tuple(want.shape), name
        assert got == want.numpy(), name
