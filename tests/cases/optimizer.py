# SPDX-License-Identifier: Apache-2.0
"""Optimisers' updates: every rule written once more, from torch's loops, in higher precision.

The first result's scale is the size of what is added up: parameter, decay, and the step taken by
the magnitudes of its terms, enlarged where the root's argument is a difference.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cases.case import Case
from comparators import within_scale
from lamella.ops.optimizer import (
    AdagradUpdate,
    AdamUpdate,
    RmsPropUpdate,
    SgdUpdate,
    Update,
    UpdateScalars,
)

SHAPES = ((), (1,), (17,), (3, 0), (5, 13), (130, 129))

# Longest chain of roundings in one element: the decayed gradient (3), its square (2), the running
# mean (4), their difference (2), root (1), correction (2), eps (2), factor (2), quotient, sum.
UNITS = 24

# Results, and the scale of each.
Both = tuple[list[np.ndarray], list[np.ndarray]]


def _decayed(p, g, s):
    value = s[0] * g
    return (value + s[1] * p, np.abs(g) + np.abs(s[1] * p)) if s[1] else (value, np.abs(g))


def _lerp(start, end, size, weight):
    return start + weight * (end - start), 3 * (np.abs(start) + size)


def _sgd(op: SgdUpdate, s, p, g, *state) -> Both:
    g, size = _decayed(p, g, s)
    d, d_size, new, scales = g, size, [], []
    if op.momentum:
        d = state[0] * s[2] + s[3] * g
        d_size = np.abs(state[0] * s[2]) + np.abs(s[3]) * size
        new, scales = [d], [d_size]
    if op.nesterov:
        d, d_size = g + s[4] * d, size + np.abs(s[4]) * d_size
    return [p + s[5] * d, *new], [np.abs(p) + np.abs(s[5]) * d_size, *scales]


def _quotient(p, top, top_size, square, square_size, divisor, eps, factor):
    """p + factor * top / (sqrt(square) / divisor + eps) and its scale."""
    spread = np.sqrt(square) / divisor + eps
    enlarged = np.where(square > 0, square_size / np.where(square > 0, square, 1), 1)
    step = np.abs(factor) * top_size / spread
    return p + factor * top / spread, np.abs(p) + step * (1 + enlarged)


def _adam(op: AdamUpdate, s, p, g, m, v, *largest) -> Both:
    g, size = _decayed(p, g, s)
    m, m_size = _lerp(m, g, size, s[2])
    v = v * s[3] + s[4] * g**2
    v_size = v + s[4] * size**2
    new, scales = [m, v], [m_size, v_size]
    if largest:
        v = np.maximum(v, largest[0])
        new, scales = [*new, v], [*scales, v_size]
    p, p_size = _quotient(p * s[8], m, m_size, v, v_size, s[5], s[6], s[7])
    return [p, *new], [p_size, *scales]


def _rmsprop(op: RmsPropUpdate, s, p, g, *state) -> Both:
    g, size = _decayed(p, g, s)
    v = state[0] * s[2] + s[3] * g**2
    v_size = state[0] * s[2] + s[3] * size**2
    new, scales = [v], [v_size]
    if op.centered:
        mean, mean_size = _lerp(state[1], g, size, s[3])
        new, scales = [*new, mean], [*scales, mean_size]
        v, v_size = v - mean**2, v_size + mean_size**2
    if not op.momentum:
        p, p_size = _quotient(p, g, size, v, v_size, 1, s[4], s[5])
        return [p, *new], [p_size, *scales]
    buffer, buffer_size = _quotient(state[-1] * s[6], g, size, v, v_size, 1, s[4], 1)
    p_size = np.abs(p) + np.abs(s[5]) * buffer_size
    return [p + s[5] * buffer, *new, buffer], [p_size, *scales, buffer_size]


def _adagrad(op: AdagradUpdate, s, p, g, total) -> Both:
    g, size = _decayed(p, g, s)
    total, total_size = total + g**2, total + size**2
    p, p_size = _quotient(p, g, size, total, total_size, 1, s[2], s[3])
    return [p, total], [p_size, total_size]


def _judge(op: Update, rule: Callable[..., Both]):
    def judge(got: tuple[np.ndarray, ...], *arrays: np.ndarray) -> None:
        precise = np.float64 if arrays[0].dtype == np.float32 else np.longdouble
        *operands, scalars = [x.astype(precise) for x in arrays]
        with np.errstate(all="ignore"):
            wanted, scales = rule(op, scalars, *operands)
        for one, want, scale in zip(got, wanted, scales, strict=True):
            within_scale(one, np.asarray(want), np.asarray(scale), arrays[0].dtype, UNITS)

    return judge


def _case(op: Update, rule: Callable[..., Both], scalars: list[float], shape: tuple[int, ...]):
    def inputs(rng: np.random.Generator, dtype: str) -> tuple[np.ndarray, ...]:
        arrays = [rng.normal(size=shape), rng.normal(size=shape)]
        for name in op.states:
            array = rng.normal(size=shape)
            # A mean square, large enough for the squared mean to be subtracted from it.
            squared = name not in ("exp_avg", "grad_avg", "momentum_buffer")
            arrays.append(36 + np.square(array) if squared else array)
        filled = np.array(scalars + [0.0] * (9 - len(scalars)))
        return (*(np.asarray(x).astype(dtype) for x in arrays), filled)

    return Case(f"{op} {shape} {scalars[:2]}", op, inputs, _judge(op, rule))


# Sign, weight decay, then each rule's own.
RULES = [
    (SgdUpdate(), _sgd, [0, 1, 0, -0.1]),
    (SgdUpdate(True), _sgd, [0.9, 0.7, 0.9, -0.1]),
    (SgdUpdate(True, True), _sgd, [0.9, 1, 0.9, -0.1]),
    (AdamUpdate(), _adam, [0.1, 0.999, 0.001, 0.5, 1e-8, -0.01, 1]),
    (AdamUpdate(True), _adam, [0.6, 0.9, 0.1, 0.5, 1e-8, -0.01, 1]),
    (AdamUpdate(False, True), _adam, [0.5, 0.9, 0.1, 1, 1e-3, -0.01, 0.75]),
    (AdamUpdate(True, True), _adam, [0.1, 0.99, 0.01, 0.9, 0, -0.01, 0.75]),
    (RmsPropUpdate(), _rmsprop, [0.9, 0.1, 1e-8, -0.1, 0]),
    (RmsPropUpdate(True), _rmsprop, [0.9, 0.1, 1e-8, -0.1, 0]),
    (RmsPropUpdate(False, True), _rmsprop, [0.9, 0.1, 1e-8, -0.1, 0.8]),
    (RmsPropUpdate(True, True), _rmsprop, [0.9, 0.1, 1e-3, -0.1, 0.8]),
    (AdagradUpdate(), _adagrad, [1e-10, -0.1]),
]

CASES = [
    _case(op, rule, [sign, decay, *own], shape)
    for op, rule, own in RULES
    for shape in SHAPES
    for sign, decay in ((1.0, 0.0), (-1.0, 0.25))
]


def _expected(rule: str, step: np.ndarray, h: np.ndarray) -> list[np.ndarray]:
    """The scalars in long double."""
    sign, decay, lr, *rest = h.astype(np.longdouble)
    t = step.astype(np.longdouble) + 1
    if rule == "sgd":
        momentum, dampening = rest
        first = t == 1
        return [sign, decay, momentum * (not first), 1 - dampening * (not first), momentum, -lr]
    if rule == "rmsprop":
        alpha, eps, momentum = rest
        return [sign, decay, alpha, 1 - alpha, eps, -lr, momentum]
    if rule == "adagrad":
        lr_decay, eps = rest
        return [sign, decay, eps, -lr / (1 + (t - 1) * lr_decay)]
    beta1, beta2, eps = rest
    coupled, shrink = (0, 1 - lr * decay) if rule == "adamw" else (decay, 1)
    moments = [1 - beta1, beta2, 1 - beta2, np.sqrt(1 - beta2**t), eps]
    return [sign, coupled, *moments, -lr / (1 - beta1**t), shrink]


def _scalars_case(rule: str, hyper: list[float], step: float) -> Case:
    def judge(got: tuple[np.ndarray, ...], before: np.ndarray, h: np.ndarray) -> None:
        assert got[0] == before + 1
        want = np.zeros(9, np.longdouble)
        expected = _expected(rule, before, h)
        want[: len(expected)] = expected
        # A power near 1 is subtracted from 1: its unit becomes that much larger.
        scale = np.abs(want)
        if rule.startswith("adam"):
            scale[5] = scale[5] + 1 / scale[5]
            scale[7] = scale[7] * (1 + 1 / (1 - h[3].astype(np.longdouble) ** (before + 1)))
        within_scale(got[1], want, scale, np.float64, 4)

    def inputs(rng: np.random.Generator, dtype: str) -> tuple[np.ndarray, ...]:
        return np.array(step), np.array(hyper)

    return Case(f"scalars {rule} {step:g}", UpdateScalars(rule), inputs, judge, dtypes=("float64",))


HYPER = {
    "sgd": [1, 0.1, 0.3, 0.9, 0.2],
    "adam": [-1, 0.1, 0.3, 0.9, 0.999, 1e-8],
    "adamw": [1, 0.1, 0.3, 0.9, 0.999, 1e-8],
    "rmsprop": [1, 0.1, 0.3, 0.9, 1e-8, 0.5],
    "adagrad": [1, 0.1, 0.3, 0.01, 1e-10],
}
CASES += [
    _scalars_case(rule, hyper, step)
    for rule, hyper in HYPER.items()
    for step in (0.0, 1.0, 99.0, 1e6)
]
