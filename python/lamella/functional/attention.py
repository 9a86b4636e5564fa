# SPDX-License-Identifier: Apache-2.0
"""Attention: weighted means of values, the weights a softmax of products of queries and keys.

`out=` is written to and returned.
"""

from __future__ import annotations

import math

from lamella.errors import ShapeError, UnsupportedError, message
from lamella.functional.comparison import logical_not, logical_or
from lamella.functional.dropout import dropout
from lamella.functional.rearranging import triangle
from lamella.ir.types import DType
from lamella.ops.base import require_floating
from lamella.runtime import tensor
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, where

__all__ = ["scaled_dot_product_attention"]


@function
def scaled_dot_product_attention(
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Operand | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Operand:
    """Attention: each query's mean of the values, weighted by how well their keys fit.

    y = softmax(scale * query @ key.mT + mask) @ value, the softmax over the keys

    Parameters: query, (..., L, E); key, (..., S, E); value, (..., S, V); attn_mask, which
    broadcasts to (..., L, S): truth values, True where a query may look, or numbers that are added;
    dropout_p, the probability that a weight is dropped, 0 in inference; is_causal, whether query i
    looks at keys 0 to i only, without another mask; scale, 1 / sqrt(E) by default; enable_gqa,
    whether query heads, (..., H, L, E), share the heads of key and value, a divisor of H.
    Returns: (..., L, V); 0 for a query that may look nowhere. Raises: ShapeError, DTypeError;
    UnsupportedError for a mask beside is_causal.
    Source: Vaswani et al. 2017, "Attention is all you need";
    torch.nn.functional.scaled_dot_product_attention.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> query, key = np.zeros((1, 2), np.float32), np.eye(2, dtype=np.float32)
    >>> F.scaled_dot_product_attention(query, key, np.array([[1.0], [3.0]], np.float32))
    array([[2.]], dtype=float32)
    """
    operands = {"query": query, "key": key, "value": value}
    require_floating(
        "scaled_dot_product_attention", tuple(operands), [one._type for one in operands.values()]
    )
    _judge(query, key, value, enable_gqa)
    if is_causal and attn_mask is not None:
        raise UnsupportedError(
            message(
                "scaled_dot_product_attention",
                "two masks",
                {"attn_mask": attn_mask.shape, "is_causal": True},
                "attn_mask=None beside is_causal=True",
            )
        )
    heads, length, width = query.shape[:-1], query.shape[-2], query.shape[-1]
    if enable_gqa:
        # The queries that share a head stand below each other: no key is copied.
        query = query.reshape((*heads[:-2], key.shape[-3], -1, width))
    factor = 1.0 / math.sqrt(max(width, 1)) if scale is None else float(scale)
    scores: Operand = tensor.matmul(query * factor, key.mT)
    if enable_gqa:
        scores = scores.reshape((*heads, scores.shape[-1]))
    seen = None
    if is_causal:
        scores = where(triangle(length, scores.shape[-1]), scores, -math.inf)
    elif attn_mask is not None:
        scores, seen = _masked(scores, attn_mask)
    weights: Operand = scores.softmax(-1)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    if enable_gqa:
        weights = weights.reshape((*heads[:-2], key.shape[-3], -1, weights.shape[-1]))
    y = tensor.matmul(weights, value)
    if enable_gqa:
        y = y.reshape((*heads, y.shape[-1]))
    return y if seen is None else where(seen, y, 0.0)


def _masked(scores: Operand, mask: Operand) -> tuple[Operand, Operand]:
    """The scores where a query may look; and whether it may look anywhere at all."""
    if mask._type.dtype is DType.bool:
        seen = mask.to(scores._type.dtype).amax(-1, True) > 0.0
        # Who sees nothing gets a softmax all the same, one without NaN, also in its slopes.
        shown = logical_or(mask, logical_not(seen))
        return where(shown, scores, -math.inf), seen
    require_floating("scaled_dot_product_attention", ("attn_mask",), (mask._type,))
    seen = mask.amax(-1, True).ne(-math.inf)
    return scores + where(seen, mask, 0.0), seen


def _judge(query: Operand, key: Operand, value: Operand, shared: bool) -> None:
    least = 3 if shared else 2
    fits = min(query.ndim, key.ndim, value.ndim) >= least
    fits = fits and query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    if fits and shared:
        own, others = query.shape[-3], key.shape[-3]
        fits = others > 0 and own % others == 0 and value.shape[-3] == others
        fits = fits and query.shape[:-3] == key.shape[:-3] == value.shape[:-3]
    if not fits:
        heads = "H, " if shared else ""
        raise ShapeError(
            message(
                "scaled_dot_product_attention",
                "shapes do not fit",
                {"query": query.shape, "key": key.shape, "value": value.shape},
                f"query (..., {heads}L, E), key (..., {heads}S, E), value (..., {heads}S, V)"
                + (", one H a multiple of the others'" if shared else ""),
            )
        )
