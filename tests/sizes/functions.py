# SPDX-License-Identifier: Apache-2.0
"""Calls of lamella.functional on arrays of sizes n and m: (function, arguments ...) by family.

What is an argument of a function (an axis, a shape, a number) may follow the sizes, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import lamella.functional as F
from sizes.drawn import draw, picked

Call = tuple[Any, ...]


def _losses(n: int, m: int) -> list[Call]:
    x, y, classes = draw(n, m + 1), draw(n, m + 1, seed=83), picked(m + 1, n)
    weight = np.abs(draw(m + 1, seed=84))
    return [
        (F.mse_loss, x, y),
        (partial(F.l1_loss, reduction="none"), x, y),
        (partial(F.huber_loss, reduction="sum"), x, y),
        (F.cross_entropy, x, classes),
        (partial(F.cross_entropy, label_smoothing=0.1), x, classes, weight),
        (partial(F.nll_loss, reduction="none"), x, classes),
        (partial(F.kl_div, reduction="batchmean"), x, y),
        (F.binary_cross_entropy_with_logits, x, y),
    ]


def _trained(x: np.ndarray) -> list[Any]:
    mean, var = np.zeros(x.shape[1], np.float32), np.ones(x.shape[1], np.float32)
    return [F.batch_norm(x, mean, var, training=True), mean, var]


def _elementwise(n: int, m: int) -> list[Call]:
    return [
        *((f, draw(n, m)) for f in (F.exp, F.gelu, F.mish, F.relu, F.square)),
        (F.tanh, draw(n)),
        (F.silu, draw(2, n, m)),
        (F.glu, draw(n, 2 * m)),
        (F.prelu, draw(n, m), draw(m)),
        (F.maxout, draw(n, 6), 3),
    ]


def _broadcast(n: int, m: int) -> list[Call]:
    return [
        (F.add, draw(n, m), draw(m)),
        (F.mul, draw(n, 1), draw(m)),
        (F.sub, draw(n, m), draw(n, 1)),
        (F.maximum, draw(n, 1, m), draw(1, m, 1)),
        (F.div, draw(3, n, 1), draw(n, m)),
        (F.add, draw(n, m), 2.5),
        (F.pow, draw(n), 2),
        (F.clamp, draw(m), -1, n),
        (F.where, draw(n, m) > 0, draw(n, m), draw(m)),
        (F.lt, draw(m), 0),
    ]


def _reductions(n: int, m: int) -> list[Call]:
    kinds = (F.sum, F.prod, F.logsumexp, F.mean, F.var, F.std, F.amax)
    return [
        *((f, draw(n, m), dim) for f in kinds for dim in (0, 1)),
        *((f, draw(n, m)) for f in (F.sum, F.mean, F.var)),
        (F.amax, draw(n, 3, m), (0, 2)),
        (F.max, draw(n, m), 1),
        (F.argmin, draw(n, m), 0),
    ]


def _rows(n: int, m: int) -> list[Call]:
    return [
        (F.softmax, draw(n), 0),
        (F.softmax, draw(n, m), -1),
        (F.log_softmax, draw(n, m, 5), 1),
        (F.layer_norm, draw(n, m), (m,)),
        (F.layer_norm, draw(3, n, m), (n, m)),
        (F.rms_norm, draw(n, m), (m,), draw(m)),
        (F.cosine_similarity, draw(n, m), draw(n, m, seed=9)),
        (F.batch_norm, draw(n, m), np.zeros(m, np.float32), np.ones(m, np.float32)),
        (_trained, draw(n, m)),
    ]


def _products(n: int, m: int) -> list[Call]:
    return [
        (F.matmul, draw(n, m), draw(m, 7)),
        (F.matmul, draw(3, n, m), draw(3, m, n)),
        (F.matmul, draw(m), draw(m, n)),
        (F.matmul, draw(n, m), draw(m)),
        (F.matmul, draw(n), draw(n)),
        (F.matmul, draw(m, n).T, draw(m, 3)),
        (F.matmul, draw(n, 6), draw(m, 6).T),
        (F.linear, draw(n, 5), draw(m, 5), draw(m)),
        (F.linear, draw(2, n, m), draw(4, m)),
        (F.bilinear, draw(n, 3), draw(n, 4), draw(m, 3, 4)),
    ]


def _moved(n: int, m: int) -> list[Call]:
    return [
        (F.cat, [draw(n, m), draw(2, m), draw(n, m)]),
        (F.cat, [draw(n, m), draw(n, 3)], 1),
        (F.stack, [draw(n, m), draw(n, m)], 1),
        (F.pad, draw(n, m), (1, 2, 0, n)),
        (F.chunk, draw(n, m), 3, 1),
        (F.split, draw(n, 6), [2, 4], 1),
        (F.split, draw(n), max(1, n // 2)),
        (F.narrow, draw(n, m), 0, n // 3, n // 2),
        (F.select, draw(n, m), 0, n - 1),
        (F.permute, draw(n, 3, m), (2, 0, 1)),
        (F.transpose, draw(n, m), 0, 1),
        (F.flatten, draw(n, m, 2), 1),
        (F.reshape, draw(2 * n, m), (n, -1)),
        (F.unflatten, draw(n, 2 * m), 1, (2, m)),
        (F.expand, draw(1, m), (n, m)),
        (F.broadcast_to, draw(n, 1), (n, m)),
        (F.unsqueeze, draw(n), 0),
        (F.squeeze, draw(n, 1, m)),
        (F.embedding, picked(5, n, m), draw(5, 6)),
        (F.embedding, picked(max(1, m), 4), draw(m, n)),
        (F.index_copy, draw(n, m), 0, picked(max(1, n), 2), draw(2, m)),
        (F.index_copy, draw(3, m), 1, picked(max(1, m), n), draw(3, n, seed=88)),
    ]


def _composed(n: int, m: int) -> list[Call]:
    heads = draw(2, 4, n, 6), draw(2, 4, m + 1, 6, seed=85), draw(2, 4, m + 1, 3, seed=86)
    return [
        (F.group_norm, draw(n, 6, m), 3),
        (F.instance_norm, draw(n, 3, m + 1)),
        (F.local_response_norm, draw(n, 6, m), 3),
        (F.scaled_dot_product_attention, *heads),
        (F.scaled_dot_product_attention, *heads, draw(n, m + 1) > 0),
        (partial(F.scaled_dot_product_attention, is_causal=True), *heads),
        (partial(F.einsum, "bij,jk,kl->bil"), draw(2, n, m), draw(m, 5), draw(5, n)),
        (partial(F.einsum, "...i,i->..."), draw(n, m), draw(m)),
        (F.norm, draw(n, m), 3.0, 1),
        (F.normalize, draw(n, m)),
        (F.inner, draw(n, m), draw(3, m)),
        (F.hypot, draw(n, m), draw(m)),
        (F.lerp, draw(n, m), draw(n, m), draw(m)),
    ]


def _rearranged(n: int, m: int) -> list[Call]:
    return [
        (F.pad, draw(n, m), (1, 2)),
        (F.pad, draw(2, n + 1), (n, 1), "reflect"),
        (F.pad, draw(2, n), (3, 1), "replicate"),
        (F.pad, draw(2, n), (n, 1), "circular"),
        (F.roll, draw(n, m), 1, 0),
        (F.roll, draw(n, m), -n, None),
        (F.flip, draw(n, m), (0, 1)),
        (F.rot90, draw(n, m)),
        (F.tile, draw(n, m), (2, n)),
        (F.repeat_interleave, draw(n, m), 3, 1),
        (F.diagonal, draw(n, n + 2), 1),
        (F.tril, draw(n, m), 1),
        (F.triu, draw(n, m), -n),
        (F.diag_embed, draw(n, m), 1),
        (F.movedim, draw(n, 3, m), 0, 2),
    ]


def _double(n: int, m: int) -> list[Call]:
    x = draw(n, m, dtype="float64")
    return [(F.softmax, x, 0), (F.matmul, x, draw(m, 2, dtype="float64")), (F.mean, x), (F.erf, x)]


CALLS: dict[str, Callable[[int, int], list[Call]]] = {
    "elementwise": _elementwise,
    "broadcast": _broadcast,
    "reductions": _reductions,
    "rows": _rows,
    "products": _products,
    "moved": _moved,
    "losses": _losses,
    "composed": _composed,
    "rearranged": _rearranged,
    "double": _double,
}
