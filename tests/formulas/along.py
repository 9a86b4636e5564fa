# SPDX-License-Identifier: Apache-2.0
"""Functions along axes: reductions, normalisation, products, and what moves elements."""

from __future__ import annotations

import numpy as np

from formulas.formula import Formula, call, draw, formula

X, CUBE = draw(4, 6), draw(2, 3, 4)
W, B, R = draw(5, 6, seed=1), draw(5, seed=2), draw(4, 5, seed=3)
SCALE, SHIFT = draw(6, seed=4), draw(6, seed=5)
MEAN, VAR = draw(3, seed=6), draw(3, seed=7, low=0.25)
CHANNELS = draw(3, seed=8), draw(3, seed=9)
EQUAL = np.float32([[1, 3, 3, 0], [2, -1, 2, -1], [0, 0, 0, 0]])


def _axes(dim):
    return tuple(dim) if isinstance(dim, list | tuple) else dim


def reduction(of):
    return lambda x, dim=None, keepdim=False: of(x, axis=_axes(dim), keepdims=keepdim)


def _logsumexp(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def _extreme(values, positions):
    def of(x, dim=None, keepdim=False):
        if dim is None:
            return values(x)
        return values(x, dim, keepdims=keepdim), positions(x, dim, keepdims=keepdim)

    return of


def _spread(of):
    return lambda x, dim=None, correction=1.0, keepdim=False: of(
        x, axis=_axes(dim), ddof=correction, keepdims=keepdim
    )


def softmax(x, dim=-1, dtype=None):
    return np.exp(x) / np.exp(x).sum(dim, keepdims=True)


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    count = len(normalized_shape) if isinstance(normalized_shape, tuple) else 1
    axes = tuple(range(x.ndim - count, x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _rms_norm(x, normalized_shape, weight=None, eps=None):
    count = len(normalized_shape) if isinstance(normalized_shape, tuple) else 1
    axes = tuple(range(x.ndim - count, x.ndim))
    eps = np.finfo(np.float32).eps if eps is None else eps
    y = x / np.sqrt((x**2).mean(axes, keepdims=True) + eps)
    return y if weight is None else y * weight


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    if training:
        mean, var = x.mean(others), x.var(others)

    def channels(values):
        return np.expand_dims(values, others)

    y = (x - channels(mean)) / np.sqrt(channels(var) + eps)
    y = y if weight is None else y * channels(weight)
    return y if bias is None else y + channels(bias)


ACTIVATIONS = {
    None: lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    ("leaky_relu", 0.2): lambda y: np.where(y > 0, y, 0.2 * y),
}


def _linear(x, weight, bias=None, activation=None, residual=None):
    y = np.einsum("...d,kd->...k", x, weight) if weight.ndim == 2 else x @ weight
    y = y if bias is None else y + bias
    return ACTIVATIONS[activation](y if residual is None else y + residual)


def _bilinear(x, y, weight, bias=None):
    z = np.einsum("...i,kij,...j->...k", x, weight, y)
    return z if bias is None else z + bias


def _split(x, sizes, dim=0):
    sizes = list(sizes) if isinstance(sizes, tuple) else [sizes] * -(-x.shape[dim] // sizes)
    return tuple(np.split(x, np.cumsum(sizes)[:-1], dim))


def _chunk(x, chunks, dim=0):
    return _split(x, -(-x.shape[dim] // chunks), dim)


def _squeeze(x, dim=None):
    axes = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return np.squeeze(x, tuple(axis for axis in axes if x.shape[axis] == 1))


def _flatten(x, start_dim=0, end_dim=-1):
    end = end_dim % x.ndim + 1
    return x.reshape(*x.shape[:start_dim], -1, *x.shape[end:])


def _index_copy(x, dim, index, source):
    y = np.moveaxis(x.copy(), dim, 0)
    for row, entry in zip(np.ravel(index), np.moveaxis(source, dim, 0), strict=True):
        y[row] = entry
    return np.moveaxis(y, 0, dim)


def _expand(x, size):
    sizes = [x.shape[i - len(size)] if n == -1 else n for i, n in enumerate(size)]
    return np.broadcast_to(x, sizes)


def _unflatten(x, dim, sizes):
    axis = dim % x.ndim
    return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])


def _axis(of, x=X):
    """dim in all its forms, and keepdim."""
    many = [call(CUBE, (0, 2)), call(CUBE, (0, -1), True), call(CUBE, 1, keepdim=True)]
    return formula(of, call(x), call(x, 0), call(x, -1), *many)


def _truth(of, x):
    """Of truth values, and of the numbers that are zero where those are not."""
    tried = formula(reduction(of), call(x), call(x, 0), call(x * CUBE, (0, 2)), call(x, 1, True))
    return formula(tried.of, *tried.calls, call(np.float32(x), (0, -1), keepdim=True))


def _one_axis(of):
    calls = [call(x, *dim) for x in (X, EQUAL) for dim in ((), (0,), (-1,))]
    return formula(of, *calls, call(CUBE, 1, True), call(CUBE, dim=0, keepdim=True))


def _rows(of):
    return formula(of, call(X), call(X, 0), call(CUBE, 1), call(X, dtype="float64"))


FORMULAS: dict[str, Formula] = {
    "sum": _axis(reduction(np.sum)),
    "mean": _axis(reduction(np.mean)),
    "prod": _axis(reduction(np.prod)),
    "amax": _axis(reduction(np.max)),
    "amin": _axis(reduction(np.min)),
    "logsumexp": _axis(reduction(_logsumexp)),
    "max": _one_axis(_extreme(np.max, np.argmax)),
    "min": _one_axis(_extreme(np.min, np.argmin)),
    "any": _truth(np.any, CUBE > 2),
    "all": _truth(np.all, CUBE > -2),
    "argmax": _one_axis(lambda x, dim=None, keepdim=False: np.argmax(x, dim, keepdims=keepdim)),
    "argmin": _one_axis(lambda x, dim=None, keepdim=False: np.argmin(x, dim, keepdims=keepdim)),
    "var": formula(
        _spread(np.var),
        *(call(X), call(X, 0), call(CUBE, (0, 2), correction=0), call(CUBE, 1, keepdim=True)),
        call(X, 1, correction=2),
    ),
    "std": formula(
        _spread(np.std),
        *(call(X), call(X, 0), call(CUBE, (0, 2), correction=0), call(CUBE, 1, keepdim=True)),
        call(X, 1, correction=2),
    ),
    "softmax": _rows(softmax),
    "softmin": _rows(lambda x, dim=-1, dtype=None: softmax(-x, dim)),
    "log_softmax": _rows(lambda x, dim=-1, dtype=None: np.log(softmax(x, dim))),
    "layer_norm": formula(
        _layer_norm,
        *(call(X, 6), call(X, (6,), SCALE, SHIFT), call(CUBE, (3, 4)), call(X, 6, eps=0.5)),
        *(call(X, 6, SCALE), call(X, 6, bias=SHIFT), call(X, (6,), SCALE, SHIFT, 2.0)),
    ),
    "rms_norm": formula(
        _rms_norm,
        *(call(X, 6), call(X, (6,), SCALE), call(CUBE, (3, 4)), call(X, 6, eps=0.5)),
    ),
    "batch_norm": formula(
        _batch_norm,
        *(call(CUBE, MEAN, VAR), call(CUBE, MEAN, VAR, *CHANNELS), call(CUBE[..., 0], MEAN, VAR)),
        *(call(CUBE, None, None, training=True), call(CUBE, MEAN, VAR, *CHANNELS, True)),
        *(call(CUBE, MEAN, VAR, bias=CHANNELS[0]), call(CUBE, MEAN, VAR, eps=0.5, momentum=0.5)),
    ),
    "linear": formula(
        _linear,
        *(call(X, W), call(X, W, B), call(CUBE, draw(5, 4)), call(X, W[0]), call(X[0], W, B)),
        *(call(X, W, B, "relu"), call(X, W, residual=R), call(X, W, B, ("leaky_relu", 0.2), R)),
    ),
    "bilinear": formula(
        _bilinear,
        call(X, draw(4, 3), draw(5, 6, 3)),
        call(CUBE, draw(2, 3, 5), draw(7, 4, 5), draw(7)),
    ),
    "matmul": formula(
        np.matmul,
        *(call(X, W.T), call(X[0], W.T), call(X, W[0]), call(X[0], W[0]), call(CUBE, CUBE.mT)),
        call(CUBE, draw(4, 3)),
        call(draw(3, 4), draw(5, 1, 4, 2)),
    ),
    "embedding": formula(
        lambda index, weight, padding_idx=None: weight[index],
        call(np.array([[0, 3, 1], [2, 2, 0]]), X),
        call(np.array([1, 0]), X, padding_idx=1),
    ),
    "reshape": formula(np.reshape, call(X, (8, 3)), call(X, 24), call(CUBE, (3, -1))),
    "flatten": formula(_flatten, call(CUBE), call(CUBE, 1), call(CUBE, 0, 1), call(CUBE, 0, -2)),
    "unflatten": formula(_unflatten, call(X, 1, (2, 3)), call(X, -2, (2, -1)), call(X, 0, (2, 2))),
    "transpose": formula(np.swapaxes, call(X, 0, 1), call(CUBE, 0, -1), call(CUBE, 1, 2)),
    "permute": formula(np.transpose, call(CUBE, (2, 0, 1)), call(CUBE, (1, 2, 0))),
    "squeeze": formula(
        _squeeze,
        *(call(CUBE[:1, :, :1]), call(CUBE[:1, :, :1], 0), call(CUBE[:1, :, :1], (0, -1))),
        call(CUBE[:1], 1),
    ),
    "unsqueeze": formula(np.expand_dims, call(X, 0), call(X, 1), call(X, -1)),
    "expand": formula(_expand, call(X[:, :1], (4, 3)), call(X[:1], (2, 5, -1))),
    "broadcast_to": formula(_expand, call(X[:, :1], (4, 3)), call(X[:1], (2, 5, 6))),
    "cat": formula(
        lambda arrays, dim=0: np.concatenate(arrays, dim), call([X, W]), call([X, X[:, :2]], 1)
    ),
    "concat": formula(
        lambda arrays, dim=0: np.concatenate(arrays, dim), call([X, W]), call([X, X[:, :2]], -1)
    ),
    "stack": formula(
        lambda arrays, dim=0: np.stack(arrays, dim),
        *(call([X, X + 1]), call([X, X + 1], 1), call([X, X + 1, X], -1)),
    ),
    "split": formula(_split, call(X, 2), call(X, 4, 1), call(X, (1, 2, 3), dim=-1)),
    "chunk": formula(_chunk, call(X, 3), call(X, 2, 1), call(CUBE, 4, dim=-1)),
    "narrow": formula(
        lambda x, dim, start, length: np.take(x, np.arange(start, start + length), dim),
        *(call(X, 0, 1, 2), call(X, 1, -3, 2)),
    ),
    "select": formula(
        lambda x, dim, index: np.take(x, index, dim),
        *(call(X, 0, 1), call(X, 1, -2), call(CUBE, 1, 2)),
    ),
}
