# SPDX-License-Identifier: Apache-2.0
"""Entries picked and put by index, running values, and orders: one entry after another."""

from __future__ import annotations

import numpy as np

from formulas.formula import Formula, call, draw, formula

X, CUBE, ROWS = draw(4, 6), draw(2, 3, 4), draw(3, 6, seed=1)
EQUAL = np.float32([[1, 3, 3, 0], [2, -1, 2, -1], [0, 0, 0, 0]])
WHOLE = np.array([[3, -1, 2], [2, 5, 5]])
TRUE = X > 0
AT, THREE = np.array([[0, 3, 1], [2, 2, 0]]), np.array([3, 0, 3])
COLUMNS = np.array([[5], [0], [2], [5]])


def _gather(x, dim, index):
    y = np.empty(index.shape, x.dtype)
    for at in np.ndindex(index.shape):
        place = list(at)
        place[dim] = index[at]
        y[at] = x[tuple(place)]
    return y


def _take_along_dim(x, indices, dim=None):
    return np.take_along_axis(x, indices, dim) if dim is not None else x.ravel()[indices.ravel()]


_FOLDS = {
    "sum": np.sum, "add": np.sum, "prod": np.prod, "multiply": np.prod, "mean": np.mean,
    "amax": np.max, "amin": np.min, None: lambda found: found[-1],
}  # fmt: skip


def _scatter(x, dim, index, src, reduce=None, include_self=True):
    src = np.broadcast_to(src, np.shape(src) or index.shape)
    put = {}
    for at in np.ndindex(index.shape):
        place = list(at)
        place[dim] = int(index[at])
        put.setdefault(tuple(place), []).append(src[at])
    y = x.copy()
    for place, found in put.items():
        y[place] = _FOLDS[reduce]([x[place], *found] if include_self else found)
    return y


def _along(x, dim, index):
    """An index of one axis for each element of x but along dim."""
    shape = [1] * x.ndim
    shape[dim] = -1
    wanted = list(x.shape)
    wanted[dim] = index.size
    return np.broadcast_to(index.reshape(shape), wanted)


def _index(reduce):
    def of(x, dim, index, source, alpha=1):
        return _scatter(x, dim, _along(x, dim, index), alpha * source, reduce)

    return of


def _index_reduce(x, dim, index, source, reduce, include_self=True):
    return _scatter(x, dim, _along(x, dim, index), source, reduce, include_self)


def _masked_scatter(x, mask, source):
    y = x.copy()
    mask = np.broadcast_to(mask, x.shape)
    y[mask] = source.ravel()[: mask.sum()]
    return y


def _one_hot(tensor, num_classes=-1):
    count = tensor.max() + 1 if num_classes == -1 else num_classes
    return (tensor[..., None] == np.arange(count)).astype(np.int64)


def _running(of):
    def function(x, dim, dtype=None):
        if dtype is None:
            dtype = np.int64 if x.dtype.kind in "iub" else x.dtype
        return of(x.astype(dtype), axis=dim, dtype=dtype)

    return function


def _extreme(of):
    def function(x, dim):
        y = of.accumulate(x, axis=dim)
        shape = [-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)]
        at = np.arange(x.shape[dim]).reshape(shape)
        return y, np.maximum.accumulate(np.where(x == y, at, 0), axis=dim)

    return function


def _order(x, dim, descending):
    # Python's sort is stable, reversed too.
    moved = np.moveaxis(x, dim, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    order = [sorted(range(len(row)), key=row.__getitem__, reverse=descending) for row in rows]
    return np.moveaxis(np.array(order).reshape(moved.shape), -1, dim)


def _argsort(x, dim=-1, descending=False, stable=True):
    return _order(x, dim, descending)


def _sort(x, dim=-1, descending=False, stable=True):
    order = _order(x, dim, descending)
    return np.take_along_axis(x, order, dim), order


def _topk(x, k, dim=-1, largest=True, sorted=True):
    order = np.moveaxis(np.moveaxis(_order(x, dim, largest), dim, -1)[..., :k], -1, dim)
    return np.take_along_axis(x, order, dim), order


def _searchsorted(row, x, right=False, side=None):
    right = right or side == "right"
    row, x = np.broadcast_to(row, (*x.shape[:-1], row.shape[-1])), x[..., None]
    return (row[..., None, :] <= x if right else row[..., None, :] < x).sum(-1)


def _running_calls(of):
    return formula(
        of,
        *(call(X, 0), call(CUBE, -1), call(CUBE, 1, dtype=np.float64), call(WHOLE, 1)),
        call(TRUE, 1),
    )


def _extreme_calls(of):
    return formula(of, *(call(X, 0), call(EQUAL, 1), call(CUBE, -2), call(WHOLE, 0)))


def _unique_consecutive(x, return_inverse=False, return_counts=False, dim=None):
    rows = [*x.ravel()] if dim is None else [*np.moveaxis(x, dim, 0)]
    groups = []
    for row in rows:
        if not groups or not np.array_equal(groups[-1][0], row):
            groups.append([])
        groups[-1].append(row)
    kept = np.array([group[0] for group in groups])
    found = [kept if dim is None else np.moveaxis(kept, 0, dim)]
    if return_inverse:
        inverse = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        found.append(inverse.reshape(x.shape) if dim is None else inverse)
    if return_counts:
        found.append(np.array([len(group) for group in groups]))
    return tuple(found) if len(found) > 1 else found[0]


def _bincount(x, weights=None, minlength=0):
    y = np.zeros(max(x.max() + 1, minlength), np.int64 if weights is None else np.float64)
    for i, number in enumerate(x):
        y[number] += 1 if weights is None else weights[i]
    return y


def _nonzero(x, as_tuple=False):
    found = [at for at in np.ndindex(x.shape) if x[at] != 0]
    return tuple(map(np.array, zip(*found, strict=True))) if as_tuple else np.array(found)


def _masked_select(x, mask):
    both = zip(*(one.ravel() for one in np.broadcast_arrays(x, mask)), strict=True)
    return np.array([value for value, chosen in both if chosen], x.dtype)


FORMULAS: dict[str, Formula] = {
    "unique_consecutive": formula(
        _unique_consecutive,
        *(call(EQUAL), call(EQUAL, True, True), call(np.repeat(EQUAL, 2, 1), dim=1)),
        call(WHOLE[[0, 0, 1, 0]], return_counts=True, dim=0),
    ),
    "bincount": formula(
        _bincount,
        *(call(AT.ravel()), call(AT.ravel(), draw(6, seed=4)), call(AT.ravel(), minlength=9)),
    ),
    "nonzero": formula(_nonzero, call(EQUAL), call(EQUAL, as_tuple=True)),
    "masked_select": formula(_masked_select, call(X, TRUE), call(X, TRUE[0])),
    "gather": formula(
        _gather, call(X, 0, AT), call(CUBE, 2, np.array([[[3]], [[0]]])), call(X, -1, COLUMNS)
    ),
    "take_along_dim": formula(
        _take_along_dim,
        *(call(X, np.argsort(X, 1), 1), call(X, np.array([[-1, 0]]), -1), call(X, AT)),
        call(CUBE, np.array([[[1]], [[-1]]]), dim=1),
    ),
    "index_select": formula(
        lambda x, dim, index: np.take(x, index.ravel(), dim),
        *(call(X, 0, THREE), call(CUBE, -1, THREE), call(X, 1, np.array(2))),
    ),
    "scatter": formula(
        _scatter,
        *(call(X, 0, AT, ROWS), call(X, 1, COLUMNS, X), call(X, 1, COLUMNS, 2.5)),
        *(call(X, 0, AT, ROWS, reduce="add"), call(X, 0, AT, ROWS, reduce="multiply")),
    ),
    "scatter_add": formula(
        lambda x, dim, index, src: _scatter(x, dim, index, src, "sum"),
        *(call(X, 0, AT, ROWS), call(X, 0, np.broadcast_to(THREE[:, None], (3, 6)), ROWS)),
        call(CUBE, 1, np.array([[[2], [2]]]), CUBE),
    ),
    "scatter_reduce": formula(
        _scatter,
        *(
            call(X, 0, np.broadcast_to(THREE[:, None], (3, 6)), ROWS, kind, include_self=own)
            for kind in ("sum", "prod", "mean", "amax", "amin")
            for own in (True, False)
        ),
        call(X, 0, AT, ROWS, "mean"),
    ),
    "index_copy": formula(
        _index(None),
        *(call(X, 0, THREE, ROWS), call(CUBE, 2, np.array([1, 1]), CUBE[..., :2])),
        *(call(X, 0, np.array(2), ROWS[:1]), call(X, 0, np.zeros(0, np.int64), ROWS[:0])),
    ),
    "index_add": formula(
        _index("sum"),
        *(call(X, 0, THREE, ROWS), call(CUBE, 2, np.array([1, 1]), CUBE[..., :2], alpha=0.5)),
    ),
    "index_reduce": formula(
        _index_reduce,
        *(
            call(X, 0, THREE, ROWS, kind, include_self=own)
            for kind in ("prod", "mean", "amax", "amin")
            for own in (True, False)
        ),
    ),
    "index_fill": formula(
        lambda x, dim, index, value: _scatter(x, dim, _along(x, dim, index), value),
        *(call(X, 0, THREE, 2.5), call(CUBE, 2, np.array([1, 1]), np.float32(7))),
    ),
    "masked_fill": formula(
        lambda x, mask, value: np.where(mask, value, x),
        *(call(X, TRUE, -np.inf), call(X, TRUE[:, :1], np.float32(3))),
    ),
    "masked_scatter": formula(
        _masked_scatter, call(X, TRUE, draw(40, seed=2)), call(X, TRUE[0], draw(4, 6, seed=3))
    ),
    "one_hot": formula(_one_hot, call(AT), call(AT, 7), call(np.array(2), num_classes=3)),
    "cumsum": _running_calls(_running(np.cumsum)),
    "cumprod": _running_calls(_running(np.cumprod)),
    "cummax": _extreme_calls(_extreme(np.maximum)),
    "cummin": _extreme_calls(_extreme(np.minimum)),
    "sort": formula(
        _sort,
        *(call(X), call(EQUAL, 0), call(CUBE, 1, descending=True), call(EQUAL, stable=False)),
        call(WHOLE, descending=True),
    ),
    "argsort": formula(
        _argsort,
        *(call(X), call(EQUAL, 0), call(CUBE, 1, descending=True), call(EQUAL, stable=False)),
    ),
    "topk": formula(
        _topk,
        *(call(X, 3), call(EQUAL, 2, 0), call(CUBE, 3, largest=False), call(X, 2, sorted=False)),
    ),
    "searchsorted": formula(
        _searchsorted,
        *(call(np.sort(X, 1), CUBE.reshape(4, 6)), call(np.sort(EQUAL[0]), EQUAL)),
        *(call(np.sort(EQUAL[0]), EQUAL, right=True), call(np.sort(EQUAL[0]), EQUAL, side="right")),
    ),
    "bucketize": formula(
        lambda x, row, right=False: _searchsorted(row, x, right),
        *(call(EQUAL, np.sort(EQUAL[0])), call(EQUAL, np.sort(EQUAL[0]), right=True)),
    ),
}
