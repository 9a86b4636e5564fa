# SPDX-License-Identifier: Apache-2.0
"""Functions made of other ones: norms of groups, attention, einsum, padding, rearranging."""

from __future__ import annotations

from typing import Any

import numpy as np

from formulas.formula import Formula, call, draw, formula

X, CUBE, ROW = draw(4, 6), draw(2, 3, 4), draw(6, seed=1)
IMAGE, SIX = draw(2, 6, 3, 4), (draw(6, seed=2), draw(6, seed=3))
MEAN, VAR = draw(6, seed=4), draw(6, seed=5, low=0.25)
A, B, C = draw(3, 4, seed=6), draw(4, 5, seed=7), draw(5, 3, seed=8)
SQUARE, OTHER = draw(4, 4, seed=9), draw(2, 3, 4, seed=10)
SPECIAL = np.float32([np.nan, np.inf, -np.inf, 0, -1.5])
QUERY, KEY, VALUE = draw(2, 4, 5, 6), draw(2, 4, 7, 6, seed=11), draw(2, 4, 7, 3, seed=12)
MASK = np.random.default_rng(0).integers(0, 2, (5, 7)).astype(bool)
MASK[2] = False
ADDED = np.where(MASK, draw(5, 7, seed=13), -np.inf).astype(np.float32)


def _scaled(y, weight, bias):
    shape = (-1,) + (1,) * (y.ndim - 2)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _normal(x, eps):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + eps)


def _group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    y = _normal(x.reshape(x.shape[0], num_groups, -1), eps).reshape(x.shape)
    return _scaled(y, weight, bias)


def _instance_norm(
    x, mean=None, var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    if use_input_stats:
        y = _normal(x.reshape(*x.shape[:2], -1), eps).reshape(x.shape)
    else:
        y = _scaled(x, None, -mean) / np.sqrt(_scaled(np.ones_like(x), var, None) + eps)
    return _scaled(y, weight, bias)


def _local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * np.square(window).sum(1)) ** beta
    return y


def _attention(q, k, v, mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    if enable_gqa:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    scores = np.einsum("...ld,...sd->...ls", q, k) * (
        q.shape[-1] ** -0.5 if scale is None else scale
    )
    if is_causal:
        mask = np.arange(scores.shape[-1]) <= np.arange(scores.shape[-2])[:, None]
    added = (
        np.zeros(1) if mask is None else np.where(mask, 0, -np.inf) if mask.dtype == bool else mask
    )
    weights = np.exp(scores + added)
    total = weights.sum(-1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return np.einsum("...ls,...sv->...lv", weights * (dropout_p < 1), v)


def _einsum(equation, *operands):
    """numpy's, which wants the axes of '...' in the result and repeats no single extent."""
    return np.einsum(equation, *operands)


MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(x, pad, mode="constant", value=None):
    def cut(y):
        """What negative widths leave."""
        pairs = reversed(
            [(max(-a, 0), y.shape[-1 - i] - max(-b, 0)) for i, (a, b) in enumerate(both)]
        )
        return y[(..., *(slice(first, last) for first, last in pairs))]

    both = [pad[2 * i : 2 * i + 2] for i in range(len(pad) // 2)]
    widths = [(0, 0)] * (x.ndim - len(both)) + [(max(a, 0), max(b, 0)) for a, b in reversed(both)]
    x = cut(x) if mode in ("constant", "circular") else x
    more: dict[str, Any] = {"constant_values": value or 0.0} if mode == "constant" else {}
    y = np.pad(x, widths, MODES[mode], **more)
    return y if mode in ("constant", "circular") else cut(y)


def _repeat(x, *counts):
    return np.tile(x, counts[0] if isinstance(counts[0], tuple) else counts)


def _length(x, p="fro", dim=None, keepdim=False):
    axis = tuple(dim) if isinstance(dim, list | tuple) else dim
    p = 2 if p == "fro" else p
    of = {np.inf: np.max, -np.inf: np.min}.get(p)
    if of is not None:
        return of(np.abs(x), axis=axis, keepdims=keepdim)
    if p == 0:
        return (x != 0).sum(axis=axis, keepdims=keepdim).astype(float)
    return (np.abs(x) ** p).sum(axis=axis, keepdims=keepdim) ** (1 / p)


def _normalize(x, p=2.0, dim=1, eps=1e-12):
    return x / np.maximum(_length(x, p, dim, True), eps)


def _diag_embed(x, offset=0, dim1=-2, dim2=-1):
    n = x.shape[-1] + abs(offset)
    y = np.zeros((*x.shape[:-1], n, n))
    i = np.arange(x.shape[-1])
    y[..., i + max(-offset, 0), i + max(offset, 0)] = x
    return np.moveaxis(y, (-2, -1), (dim1, dim2))


def _nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    limits = np.finfo(np.float32)
    high, low = (limits.max if posinf is None else posinf, limits.min if neginf is None else neginf)
    return np.nan_to_num(x, nan=nan or 0.0, posinf=high, neginf=low)


def _spread(of):
    return lambda x, diagonal=0: of(x, diagonal)


def _cross(x, y, dim=None):
    dim = x.shape.index(3) if dim is None else dim
    return np.cross(x, y, axisa=dim, axisb=dim, axisc=dim)


def _added(x, a, b, *, beta=1, alpha=1):
    return (beta * x if beta else 0) + alpha * (a @ b)


FORMULAS: dict[str, Formula] = {
    "group_norm": formula(
        _group_norm,
        *(call(IMAGE, 3), call(IMAGE, 2, *SIX), call(X, 2, eps=0.5), call(X, 6, SIX[0])),
        call(IMAGE, 1, bias=SIX[1]),
    ),
    "instance_norm": formula(
        _instance_norm,
        *(call(IMAGE), call(IMAGE, None, None, *SIX), call(IMAGE[:, :, 0], eps=0.5)),
        *(call(IMAGE, MEAN, VAR, *SIX, False), call(IMAGE, MEAN, VAR, momentum=0.5)),
    ),
    "local_response_norm": formula(
        _local_response_norm,
        *(call(IMAGE, size, 0.5, 0.6, 2.0) for size in (1, 2, 3, 5, 8, 40)),
        call(IMAGE, 3, k=0.5),
    ),
    "scaled_dot_product_attention": formula(
        _attention,
        *(call(QUERY, KEY, VALUE), call(QUERY, KEY, VALUE, MASK), call(QUERY, KEY, VALUE, ADDED)),
        *(call(QUERY, KEY, VALUE, is_causal=True), call(QUERY, KEY, VALUE, scale=0.75)),
        *(call(QUERY, KEY, VALUE, None, 1.0), call(QUERY[0, 0], KEY[0, 0], VALUE[0, 0])),
        call(QUERY, KEY[:, :2], VALUE[:, :2], MASK, enable_gqa=True),
        call(QUERY, KEY[:, :1], VALUE[:, :1], is_causal=True, enable_gqa=True),
    ),
    "einsum": formula(
        _einsum,
        *(call("ij->ji", X), call("ij->", X), call("ii->i", SQUARE), call("ii", SQUARE)),
        *(call("ij,jk->ki", A, B), call("ij,jk,kl->il", A, B, C), call("ij,jk,ki->", A, B, C)),
        *(call("bij,bij->bj", CUBE, OTHER), call("i,j->ij", ROW, ROW), call("i,i", ROW, ROW)),
        *(call("...ij,...jk->...ik", CUBE, SQUARE), call("b...,b...->...b", CUBE, OTHER)),
        *(call("aB,aB->B", X, X), call("ij,k->ij", A, ROW), call("bij", CUBE)),
    ),
    "pad": formula(
        _pad,
        *(call(X, (1, 2)), call(X, (1, 2, 3, 0), value=-1.5), call(X, (-1, 2, 0, -2))),
        *(call(IMAGE, (1, 3, 2, 0), mode) for mode in ("reflect", "replicate", "circular")),
        *(call(X, (-1, 2, 2, -1), mode) for mode in ("reflect", "replicate", "circular")),
    ),
    "norm": formula(
        _length,
        *(call(X, p) for p in (2, 1, 0, 3, 0.5, -1.5, np.inf, -np.inf)),
        *(call(X), call(X, dim=1), call(CUBE, 3, (0, 2), True), call(CUBE, 1.5, 1, keepdim=True)),
    ),
    "normalize": formula(
        _normalize, call(X), call(X, 1.0, 0), call(CUBE, 3.0, -1), call(X, eps=50.0)
    ),
    "pairwise_distance": formula(
        lambda x, y, p=2.0, eps=1e-6, keepdim=False: _length(x - y + eps, p, -1, keepdim),
        *(call(X, X[::-1]), call(CUBE, OTHER, 1.0, 0.5), call(X, ROW, 3.0, keepdim=True)),
    ),
    "clip": formula(
        lambda x, min=None, max=None: np.clip(x, min, max),
        *(call(X, -1, 1), call(X, max=0.5), call(X, X[:1], 2), call(X, min=X[:, :1])),
    ),
    "lerp": formula(
        lambda x, end, weight: x + weight * (end - x),
        *(call(X, X[::-1], weight) for weight in (0.25, 0.75, -1.0, X)),
        call(X, 2.0, 0.5),
    ),
    "addcmul": formula(
        lambda x, a, b, value=1: x + value * a * b, call(X, X, ROW), call(X, X, X, value=0.5)
    ),
    "addcdiv": formula(
        lambda x, a, b, value=1: x + value * a / b,
        *(call(X, X, VAR), call(X, X, VAR, value=0.5)),
    ),
    "hypot": formula(np.hypot, call(X, X[::-1]), call(X, ROW), call(SPECIAL, SPECIAL[::-1])),
    "logaddexp": formula(
        np.logaddexp, call(X, X[::-1]), call(X, ROW), call(SPECIAL, SPECIAL[::-1]), call(X, X)
    ),
    "nan_to_num": formula(
        _nan_to_num, call(SPECIAL), call(SPECIAL, 2.0, 3.0, 4.0), call(SPECIAL, nan=None)
    ),
    "detach": formula(lambda x: x, call(X)),
    "flip": formula(np.flip, call(X, 0), call(CUBE, (0, -1)), call(CUBE, ())),
    "rot90": formula(
        lambda x, k=1, dims=(0, 1): np.rot90(x, k, dims),
        *(call(CUBE, k, (0, 2)) for k in (-1, 0, 1, 2, 3)),
        *(call(X), call(CUBE, dims=(2, 1))),
    ),
    "roll": formula(
        np.roll,
        *(call(X, 2), call(X, -1, 1), call(CUBE, (1, -2), (0, 2)), call(CUBE, 7, -1)),
        call(CUBE, (1, 1), (2, 2)),
    ),
    "repeat": formula(_repeat, call(X, 2, 3), call(CUBE, (2, 1, 3, 2)), call(X, 0, 1)),
    "tile": formula(_repeat, call(X, 3), call(CUBE, (2, 2)), call(X, 2, 1, 2, 1)),
    "repeat_interleave": formula(
        lambda x, repeats, dim=None: np.repeat(x, repeats, dim),
        *(call(X, 2), call(X, 3, 0), call(CUBE, 2, -1), call(X, 0, 1)),
    ),
    "unbind": formula(
        lambda x, dim=0: tuple(np.moveaxis(x, dim, 0)), call(X), call(CUBE, 1), call(CUBE, -1)
    ),
    "movedim": formula(np.moveaxis, call(CUBE, 0, -1), call(CUBE, (0, 1), (2, 0))),
    "swapaxes": formula(np.swapaxes, call(X, 0, 1), call(CUBE, 0, -1)),
    "tril": formula(_spread(np.tril), call(X), *(call(CUBE, k) for k in (-2, 1, 9))),
    "triu": formula(_spread(np.triu), call(X), *(call(CUBE, k) for k in (-2, 1, 9))),
    "diagonal": formula(
        lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
        *(call(X), call(X, 2), call(X, -3), call(X, -9), call(CUBE, 1, 1, 2), call(CUBE, 0, 2, 0)),
        call(CUBE, dim2=2),
    ),
    "diag_embed": formula(
        _diag_embed,
        *(call(ROW), call(X, 2), call(X, -1), call(CUBE, 0, 0, 2), call(X, dim1=0)),
    ),
    "diag": formula(np.diag, call(X), call(X, 2), call(ROW), call(ROW, -1), call(ROW, 3)),
    "dot": formula(np.dot, call(ROW, SIX[0])),
    "inner": formula(np.inner, call(X, ROW), call(CUBE, A), call(A, CUBE)),
    "outer": formula(np.outer, call(ROW, X[:, 0])),
    "mv": formula(np.matmul, call(X, ROW)),
    "mm": formula(np.matmul, call(A, B)),
    "bmm": formula(np.matmul, call(CUBE, OTHER.mT)),
    "addmm": formula(
        _added,
        *(call(C.T, A, B), call(B[0], A, B, beta=0.5, alpha=2.0), call(C.T * np.nan, A, B, beta=0)),
    ),
    "baddbmm": formula(
        _added,
        call(CUBE[:, :, :3], CUBE, OTHER.mT),
        call(CUBE[:1, :, :1], CUBE, OTHER.mT, beta=0.5, alpha=2.0),
    ),
    "cross": formula(
        _cross, call(CUBE, OTHER), call(CUBE, OTHER[:, :, :1], 1), call(CUBE, OTHER, dim=-2)
    ),
    # Of no elements, and of probabilities that leave nothing to chance.
    "rand": formula(
        lambda *size, dtype=None: np.zeros(size), call(0, 3), call(2, 0, dtype="float64")
    ),
    "randn": formula(
        lambda *size, dtype=None: np.zeros(size), call(0, 3), call(2, 0, dtype="float64")
    ),
    "randint": formula(
        lambda low, high, size=None, dtype=None: np.full(
            *((high, 0) if size is None else (size, low)), np.float64 if dtype else np.int64
        ),
        *(call(3, 4, (2, 3)), call(1, (4,)), call(-2, -1, (2,), dtype="float32")),
    ),
    "rand_like": formula(lambda x, dtype=None: x, call(X[:0]), call(X[:0], dtype="float64")),
    "randn_like": formula(lambda x, dtype=None: x, call(X[:0]), call(X[:0], dtype="float64")),
    "bernoulli": formula(
        lambda x, p=None: x if p is None else np.full_like(x, p),
        *(call(np.float32([[0, 1], [1, 0]])), call(X, 1.0), call(X, 0.0)),
    ),
}
