# SPDX-License-Identifier: Apache-2.0
"""Gradient clipping as graph: between the gradients of a trace and an optimiser's `place`.

Formulas are torch.nn.utils.clip_grad's. The norm of all gradients is one sum over all elements,
without the roots and squares that torch takes in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lamella.errors import message
from lamella.ir.graph import Value
from lamella.ir.types import DType
from lamella.ops.composites import concatenate, reduce, reshape
from lamella.ops.elementwise import Binary, Cast, unary
from lamella.runtime.trace import Trace

__all__ = ["clip_norm", "clip_value"]

# torch's, against a division by zero.
_EPSILON = 1e-6


def clip_norm(
    trace: Trace,
    gradients: Sequence[Value | None],
    max_norm: float,
    norm_type: float = 2.0,
) -> tuple[list[Value | None], Value]:
    """Scales gradients so that the norm of all of them together is at most max_norm.

    g' = g min(1, max_norm / (total + 1e-6)), total = (sum |g|^norm_type)^(1 / norm_type).

    Parameters: trace, open; gradients, values of any shapes, None where there is none; max_norm >=
    0; norm_type > 0, math.inf for the largest magnitude.
    Returns: the scaled gradients, and total, 0-d, of the widest dtype among them.
    Raises: ValueError.
    Source: torch.nn.utils.clip_grad_norm_.

    >>> import lamella as lm, numpy as np
    >>> from lamella import optim
    >>> from lamella.runtime.tensor import Tensor
    >>> from lamella.runtime.trace import current
    >>> def clipped(g):
    ...     (scaled,), total = optim.clip_norm(current(), [g.value], 1.0)
    ...     return Tensor(scaled, current()), Tensor(total, current())
    >>> gradient = np.array([3.0, 4.0])
    >>> lm.compile(clipped, gradient)(gradient)[1]
    array(5.)
    """
    if not max_norm >= 0 or not norm_type > 0:
        raise ValueError(
            message(
                "clip_norm",
                "out of range",
                {"max_norm": max_norm, "norm_type": norm_type},
                "max_norm >= 0, norm_type > 0",
            )
        )
    present = [gradient for gradient in gradients if gradient is not None]
    if not present:
        return list(gradients), trace.constant(np.zeros((), np.float32))
    wide = any(gradient.dtype is DType.float64 for gradient in present)
    dtype = DType.float64 if wide else DType.float32
    parts = [
        _cast(trace, reshape(trace.place, _folded(trace, one, norm_type), (1,)), dtype)
        for one in present
    ]
    together = concatenate(trace.place, parts)
    kind = {2.0: "norm", math.inf: "max"}.get(norm_type, "sum")
    total = reduce(trace.place, kind, together)
    if norm_type not in (1, 2, math.inf):
        total = trace.place(Binary("pow"), total, _number(trace, 1 / norm_type, dtype))
    guarded = trace.place(Binary("add"), total, _number(trace, _EPSILON, dtype))
    factor = trace.place(Binary("div"), _number(trace, max_norm, dtype), guarded)
    factor = trace.place(Binary("minimum"), factor, _number(trace, 1.0, dtype))
    scaled: list[Value | None] = [
        None if one is None else trace.place(Binary("mul"), one, _cast(trace, factor, one.dtype))
        for one in gradients
    ]
    return scaled, total


def clip_value(
    trace: Trace, gradients: Sequence[Value | None], clip_value: float
) -> list[Value | None]:
    """Brings every element of the gradients into [-clip_value, clip_value].

    Parameters: trace, open; gradients, None where there is none; clip_value >= 0.
    Returns: the gradients in their order; NaN stays.
    Raises: ValueError.
    Source: torch.nn.utils.clip_grad_value_.
    """
    if not clip_value >= 0:
        raise ValueError(
            message("clip_value", "out of range", {"clip_value": clip_value}, "clip_value >= 0")
        )
    limit = unary("hardtanh", -float(clip_value), float(clip_value))
    return [None if one is None else trace.place(limit, one) for one in gradients]


def _folded(trace: Trace, gradient: Value, norm_type: float) -> Value:
    """The sum of powers of all magnitudes, the largest, or the length, without its square."""
    if norm_type == 2:
        return reduce(trace.place, "norm", gradient)
    magnitude = trace.place(unary("abs"), gradient)
    if norm_type == math.inf:
        return reduce(trace.place, "max", magnitude)
    if norm_type != 1:
        power = _number(trace, norm_type, gradient.dtype)
        magnitude = trace.place(Binary("pow"), magnitude, power)
    return reduce(trace.place, "sum", magnitude)


def _cast(trace: Trace, value: Value, dtype: DType) -> Value:
    return value if value.dtype is dtype else trace.place(Cast(dtype), value)


def _number(trace: Trace, number: float, dtype: DType) -> Value:
    return trace.constant(np.array(number, dtype.numpy))
