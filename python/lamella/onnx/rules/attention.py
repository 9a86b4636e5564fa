# SPDX-License-Identifier: Apache-2.0
"""Operators of transformers: Attention with its masks, rotary embedding; composites of products.

Source: docs/Operators.md of ONNX, Attention-23/24 and RotaryEmbedding-23.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np

from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import (
    binary,
    cast,
    compare,
    concat,
    expand,
    floating,
    gather,
    logical,
    matmul,
    permute,
    reduce,
    reshape,
    slices,
    unary,
    where,
)
from lamella.onnx.rules.activation import softmax
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]


def _heads(call: Call, x: Any, name: str) -> Any:
    """(N, heads, T, D) of (N, T, heads * D)."""
    call.ranked(x, 3, 4)
    if len(x.shape) == 4:
        return x
    count = call.integer(name)
    n, t, width = x.shape
    if count < 1 or width % count:
        raise call.malformed(f"{name} does not divide the width")
    return permute(reshape(x, (n, t, count, width // count)), (0, 2, 1, 3))


def _repeated(call: Call, x: Any, heads: int) -> Any:
    """Heads that several query heads share, once for each."""
    n, have, t, d = x.shape
    if have == heads:
        return x
    if have < 1 or heads % have:
        raise call.malformed("query heads are no multiple of the key heads")
    spread = expand(call, reshape(x, (n, have, 1, t, d)), (n, have, heads // have, t, d))
    return reshape(spread, (n, heads, t, d))


def _attention(
    call: Call,
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    past_k: Any = None,
    past_v: Any = None,
    lengths: Any = None,
) -> Any:
    flat = len(q.shape) == 3
    mode = call.integer("qk_matmul_output_mode", 0)
    q = _heads(call, floating(call, q), "q_num_heads")
    k, v = (_heads(call, x, "kv_num_heads") for x in (k, v))
    past = 0
    if past_k is not None:
        call.ranked(past_k, 4, 4)
        past = past_k.shape[2]
        k, v = concat(call, [past_k, k], 2), concat(call, [past_v, v], 2)
    present = k, v
    heads, length, total = q.shape[1], q.shape[2], k.shape[2]
    # Both operands get the root of the scale, as the definition does, so that neither overflows.
    given = call.number("scale") if call.has("scale") else 1.0 / math.sqrt(q.shape[3])
    scale = math.sqrt(given)
    keys = permute(binary(call, "mul", _repeated(call, k, heads), scale), (0, 1, 3, 2))
    scores = matmul(call, binary(call, "mul", q, scale), keys)
    stages = [scores]
    cap = call.number("softcap", 0.0)
    if cap > 0:
        scores = unary("tanh", binary(call, "div", scores, cap))
        scores = binary(call, "mul", scores, cap)
    stages.append(scores)
    dtype = scores.dtype if is_array(scores) else scores._type.dtype.numpy
    bias = _hidden(call, length, total, past, lengths, dtype)
    if mask is not None:
        added = _bias(call, mask, total, dtype)
        bias = added if bias is None else binary(call, "add", bias, added)
    if bias is not None:
        scores = binary(call, "add", scores, bias)
    stages.append(scores)
    weights = softmax(call, scores, -1)
    if bias is not None:
        # A query that may look at nothing gets zeros, whatever its scores are.
        best = reduce(call, "max", bias, [len(bias.shape) - 1], True)
        zero = np.zeros((), dtype)
        weights = where(call, compare(call, "eq", best, -np.inf), zero, weights)
    stages.append(weights)
    y = _as(q, matmul(call, weights, _repeated(call, v, heads)))
    if flat:
        n, _, t, d = y.shape
        y = reshape(permute(y, (0, 2, 1, 3)), (n, t, heads * d))
    if not 0 <= mode < len(stages):
        raise call.malformed("no such qk_matmul_output_mode")
    return y, *present, stages[mode]


def _as(q: Any, y: Any) -> Any:
    """y in the type of q, where v had another."""
    ours, own = (x.dtype if is_array(x) else x._type.dtype.numpy for x in (y, q))
    return y if ours == own else cast(y, own)


def _hidden(
    call: Call, length: int, total: int, past: int, lengths: Any, dtype: np.dtype[Any]
) -> Any:
    """0 where a query may look and -inf elsewhere, by position; None where it may everywhere."""
    causal = bool(call.integer("is_causal", 0))
    left, right = call.integer("left_window_size", -1), call.integer("right_window_size", -1)
    if not causal and left < 0 and right < 0 and lengths is None:
        return None
    batch = 1 if lengths is None else prod(lengths.shape)
    call.room((batch, length, total))
    key = np.arange(total)
    # How far a key lies before its query.
    distance: Any = np.arange(length)[:, None] - key
    masks = []
    if lengths is None:
        distance = distance + past
    else:
        ends = reshape(cast(lengths, distance.dtype), (-1, 1, 1, 1))
        masks.append(compare(call, "lt", key, ends))
        distance = binary(call, "add", binary(call, "sub", ends, np.asarray(length)), distance)
    if causal:
        masks.append(compare(call, "ge", distance, np.asarray(0)))
    if left >= 0:
        masks.append(compare(call, "le", distance, np.asarray(left)))
    if right >= 0:
        masks.append(compare(call, "ge", distance, np.asarray(-right)))
    seen = masks[0]
    for mask in masks[1:]:
        seen = logical(call, "logical_and", seen, mask)
    return where(call, seen, np.zeros((), dtype), np.asarray(-np.inf, dtype))


def _bias(call: Call, mask: Any, total: int, dtype: np.dtype[Any]) -> Any:
    """A mask as what is added to the scores; a short one hides the rest."""
    kind = mask.dtype.kind if is_array(mask) else mask._type.dtype.numpy.kind
    if kind == "b":
        zero, low = np.zeros((), dtype), np.asarray(-np.inf, dtype)
        mask = where(call, mask, zero, low)
    elif kind in "iu" or is_array(mask):
        mask = cast(mask, dtype)
    missing = total - mask.shape[-1]
    if missing > 0:
        call.room((*mask.shape[:-1], missing))
        hidden = np.full((*mask.shape[:-1], missing), -np.inf, dtype)
        mask = concat(call, [mask, hidden], len(mask.shape) - 1)
    return mask


def _rotary(call: Call, x: Any, cosine: Any, sine: Any, positions: Any = None) -> Any:
    flat = len(x.shape) == 3
    x4 = _heads(call, floating(call, x), "num_heads")
    for table in (cosine, sine):
        call.ranked(table, 2 if positions is not None else 3, 3)
    if positions is not None:
        cosine, sine = (gather(call, table, positions, 0) for table in (cosine, sine))
    width = x4.shape[3]
    turned = call.integer("rotary_embedding_dim", 0) or width
    half = turned // 2
    n, _, t, _ = x4.shape
    cosine, sine = (
        reshape(
            slices(table, (*(slice(None),) * (len(table.shape) - 1), slice(0, half))),
            (n, 1, t, half),
        )
        for table in (cosine, sine)
    )
    every = (slice(None),) * 3
    rest = slices(x4, (*every, slice(turned, None))) if turned < width else None
    if call.integer("interleaved", 0):
        pairs = reshape(slices(x4, (*every, slice(0, turned))), (*x4.shape[:3], half, 2))
        a = reshape(slices(pairs, (*every, slice(None), slice(0, 1))), (*x4.shape[:3], half))
        b = reshape(slices(pairs, (*every, slice(None), slice(1, 2))), (*x4.shape[:3], half))
    else:
        a = slices(x4, (*every, slice(0, half)))
        b = slices(x4, (*every, slice(half, turned)))
    real = binary(call, "sub", binary(call, "mul", cosine, a), binary(call, "mul", sine, b))
    imaginary = binary(call, "add", binary(call, "mul", sine, a), binary(call, "mul", cosine, b))
    if call.integer("interleaved", 0):
        parts = [reshape(part, (*x4.shape[:3], half, 1)) for part in (real, imaginary)]
        y = reshape(concat(call, parts, 4), (*x4.shape[:3], turned))
    else:
        y = concat(call, [real, imaginary], 3)
    if rest is not None:
        y = concat(call, [y, rest], 3)
    return reshape(permute(y, (0, 2, 1, 3)), x.shape) if flat else y


RULES: dict[tuple[str, int], Rule] = {
    ("Attention", 23): Rule(_attention, "f f f e? f? f? i?"),
    ("RotaryEmbedding", 23): Rule(_rotary, "f f f i?"),
}
