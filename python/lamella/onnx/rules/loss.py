# SPDX-License-Identifier: Apache-2.0
"""Losses: negative log-likelihood and softmax cross-entropy over the classes of axis 1.

The target's class is picked by a mask, so known targets stay in the core; others run on arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella import functional as F
from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import binary, floating, reduce, unary, where
from lamella.onnx.rules.activation import softmax
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]


def _likelihood(call: Call, logs: Any, target: Any, weight: Any) -> Any:
    call.ranked(logs, 2)
    classes = logs.shape[1]
    if tuple(target.shape) != (logs.shape[0], *logs.shape[2:]):
        raise call.malformed("target does not fit the scores")
    if weight is not None and tuple(weight.shape) != (classes,):
        raise call.malformed("one weight a class")
    reduction = call.text("reduction", "mean")
    if reduction not in ("none", "sum", "mean"):
        raise call.malformed(f"reduction {reduction!r}")
    if not is_array(target) or (weight is not None and not is_array(weight)):
        # A class that no target has, where the file ignores none.
        ignored = call.integer("ignore_index", -1)
        return F.nll_loss(logs, target, weight, ignore_index=ignored, reduction=reduction)
    kept = np.ones(target.shape, np.bool_)
    if call.has("ignore_index"):
        kept = target != call.integer("ignore_index")
    safe = np.where(kept, target, 0)
    if safe.size and not 0 <= safe.min() <= safe.max() < classes:
        raise call.malformed("a target is no class")
    dtype = logs.dtype if is_array(logs) else logs._type.dtype.numpy
    scale = kept.astype(dtype)
    zero = np.zeros((), dtype)
    if weight is not None:
        scale = scale * weight[safe].astype(dtype)
    call.room((classes, safe.size))
    shape = (1, classes) + (1,) * (safe.ndim - 1)
    hit = np.expand_dims(safe, 1) == np.arange(classes).reshape(shape)
    hit &= np.expand_dims(kept, 1)
    # Zero times -inf would be NaN: what is not the target does not enter.
    found = where(call, hit, logs, zero)
    scaled = binary(call, "mul", found, np.expand_dims(scale, 1))
    picked = unary("neg", reduce(call, "sum", scaled, [1], False))
    if reduction == "none":
        return picked
    total = reduce(call, "sum", picked, None, False)
    if reduction == "sum":
        return total
    return binary(call, "div", total, np.asarray(scale.sum(), dtype))


def _nll(call: Call, logs: Any, target: Any, weight: Any = None) -> Any:
    return _likelihood(call, floating(call, logs), target, weight)


def _cross_entropy(call: Call, scores: Any, target: Any, weight: Any = None) -> Any:
    logs = softmax(call, floating(call, scores), 1, log=True)
    return _likelihood(call, logs, target, weight), logs


RULES: dict[tuple[str, int], Rule] = {
    ("NegativeLogLikelihoodLoss", 12): Rule(_nll, "f i f?"),
    ("SoftmaxCrossEntropyLoss", 12): Rule(_cross_entropy, "f i f?"),
}
