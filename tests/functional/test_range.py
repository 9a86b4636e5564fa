# SPDX-License-Identifier: Apache-2.0
"""Every public function over the whole range of its operands: no formula may leave it on the way.

The operands of a row are scaled through all exponents, each by itself, and the result is held to a
few units in the last place of `magnitude`, the size that its roundings have (by default the result
itself), against the definition in long double, whose range no square leaves. Kernels of one
function have the finer tests of tests/ops and the sweep of tests/cpp; a public function that is in
neither place fails here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from comparators import ulp_size
from formulas.losses import FORMULAS
from lamella import functional as F
from lamella.ops.tables import BINARY, BITWISE, COMPARE, LOGICAL, UNARY

Function = Callable[..., np.ndarray]

# Elements are moved, chosen or masked: tests of values and of bits are elsewhere.
_EXACT = """all any amax amin argmax argmin max min arange eye full full_like ones ones_like zeros
    zeros_like bitwise_left_shift bitwise_right_shift maxout where prelu dropout embedding nll_loss
    broadcast_to cat chunk concat expand flatten narrow pad permute reshape select split
    squeeze stack transpose unflatten unsqueeze clip detach diag diag_embed diagonal flip movedim
    nan_to_num repeat repeat_interleave roll rot90 swapaxes tile tril triu unbind
    bernoulli rand rand_like randint randn randn_like
    gather take_along_dim index_select index_copy index_fill scatter masked_fill masked_scatter
    one_hot cummax cummin sort argsort topk searchsorted bucketize masked_select nonzero
    unique_consecutive bincount dequantize matmul_integer quantize_dynamic
    quantize_per_channel quantize_per_tensor"""
EXACT = set(_EXACT.split())
KERNELS = {*UNARY, *BINARY, *BITWISE, *COMPARE, *LOGICAL} & set(F.__all__)


@dataclass(frozen=True)
class Row:
    """call(a, b) is judged by exact(a, b), which sees long doubles; the units are of magnitude.

    highest, lowest: exponents of the scales of a and b (float64: eight times as many) beyond which
    the result is not meant to be a number, or an epsilon makes much of what is subnormal.
    """

    call: Function
    exact: Function
    units: float
    magnitude: Function | None = None
    highest: tuple[int, int] = (120, 120)
    lowest: tuple[int, int] = (-130, -130)


def _positive(x):
    return np.abs(x) + np.abs(x).max()


# Entries of a row that meet, and rows by their numbers.
AT, ALL = np.arange(30).reshape(5, 6) * 7 % 4, np.arange(5)


def _put(into, y, x):
    y = y.copy()
    into.at(y, (ALL[:, None], AT), x)
    return y


def _length(x):
    return np.sqrt(np.square(x).sum(-1, keepdims=True))


def _std(x):
    return np.sqrt(x.var(-1, ddof=1))


def _log_sum(x):
    """log of the sum of exp(x - peak), by what the peak does not add."""
    shifted = np.sort(x - x.max(-1, keepdims=True), -1)
    return np.log1p(np.exp(shifted[..., :-1]).sum(-1, keepdims=True))


def _log_softmax(x):
    return (x - x.max(-1, keepdims=True)) - _log_sum(x)


def _runner_up(x):
    """How far below the peak the next one is: what its exponential multiplies roundings by."""
    order = np.sort(x, -1)
    return np.minimum(order[..., -1:] - order[..., -2:-1], 2000)


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x):
    return np.exp(-_softplus(-x))


def _cosine(a, b, floor=1e-8):
    return (a * b).sum(-1) / (np.maximum(_length(a), floor) * np.maximum(_length(b), floor))[..., 0]


def _embedding_cosine(a, b):
    first, second = (np.square(x).sum(-1) + np.longdouble(1e-12) for x in (a, b))
    return (a * b).sum(-1) / np.sqrt(first * second)


def _entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1) / np.log(np.longdouble(2))


def _normal(x, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + np.longdouble(eps))


def _of_normal(x, eps):
    return np.abs(x).max(-1, keepdims=True) / np.sqrt(x.var(-1, keepdims=True) + np.longdouble(eps))


SIGNS = np.array([1, -1, 1, -1, 1])
CLASSES = np.array([0, 3, 5, 2, 2])
ONES = np.ones(6)


def like(a, x):
    return np.asarray(x, a.dtype)


def none(name: str, **options):
    """A loss of each element."""
    return lambda a, b: getattr(F, name)(a, b, reduction="none", **options)


def _grouped(of, a):
    """of rows of three, as a."""
    return (of(a.reshape(10, 3), 0) + np.zeros((10, 3))).reshape(5, 6)


def _crossed(a, b):
    a, b = np.abs(a[:, :3]), np.abs(b[:, :3])
    return np.stack([a[:, i] * b[:, j] + a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], 1)


# Keys of which the first fits ones better by 3.
TWO = np.stack([ONES * 0.5, ONES * 0])
_TILT = 3 / np.sqrt(np.longdouble(6))
_PRODUCTS = {
    "einsum": lambda a, b: F.einsum("ij,kj->ik", a, b),
    "inner": lambda a, b: F.inner(a, b),
    "mm": lambda a, b: F.mm(a, b.T),
    "bmm": lambda a, b: F.bmm(a[None], b.T[None])[0],
    "addmm": lambda a, b: F.addmm(like(a, 0), a, b.T),
    "baddbmm": lambda a, b: F.baddbmm(like(a, 0), a[None], b.T[None])[0],
}


def _poisson(a, b):
    return np.exp(a) - np.abs(b) * a


def _kl(a, b):
    return b * (np.log(np.where(b > 0, b, 1)) - a)


ROWS: dict[str, Row] = {
    "sum": Row(lambda a, b: F.sum(a, 1), lambda a, b: a.sum(1), 6, lambda a, b: np.abs(a).sum(1)),
    # Of one sign, for the sum to leave the range before the mean does.
    "mean": Row(lambda a, b: F.mean(_positive(a), 1), lambda a, b: _positive(a).mean(1), 6,
                None, (127, 0)),
    "mean of columns": Row(lambda a, b: F.mean(_positive(a), 0),
                           lambda a, b: _positive(a).mean(0), 6, None, (127, 0)),
    "prod": Row(lambda a, b: F.prod(a, 1), lambda a, b: a.prod(1), 6),
    "cumsum": Row(lambda a, b: F.cumsum(a, 1), lambda a, b: a.cumsum(1), 6,
                  lambda a, b: np.abs(a).cumsum(1)),
    "cumprod": Row(lambda a, b: F.cumprod(a, 1), lambda a, b: a.cumprod(1), 6),
    "scatter_add": Row(lambda a, b: F.scatter_add(b, 1, AT, a), lambda a, b: _put(np.add, b, a), 6,
                       lambda a, b: _put(np.add, np.abs(b), np.abs(a))),
    "scatter_reduce": Row(lambda a, b: F.scatter_reduce(b, 1, AT, a, "prod"),
                          lambda a, b: _put(np.multiply, b, a), 6),
    "index_add": Row(lambda a, b: F.index_add(b, 0, ALL, a), lambda a, b: b + a, 1,
                     lambda a, b: np.abs(b) + np.abs(a)),
    "index_reduce": Row(lambda a, b: F.index_reduce(b, 0, ALL, a, "prod"), lambda a, b: b * a, 1),
    "var": Row(lambda a, b: F.var(a, 1), lambda a, b: a.var(1, ddof=1), 8),
    "std": Row(lambda a, b: F.std(a, 1), lambda a, b: _std(a), 6),
    "logsumexp": Row(lambda a, b: F.logsumexp(a, 1),
                     lambda a, b: a.max(1) + _log_sum(a)[:, 0], 4,
                     lambda a, b: np.abs(a.max(1)) + (_log_sum(a) * (1 + _runner_up(a)))[:, 0]),
    "softmax": Row(lambda a, b: F.softmax(a, 1), lambda a, b: np.exp(_log_softmax(a)), 6,
                   lambda a, b: np.exp(_log_softmax(a)) * (1 + np.abs(_log_softmax(a)))),
    "softmin": Row(lambda a, b: F.softmin(a, 1), lambda a, b: np.exp(_log_softmax(-a)), 6,
                   lambda a, b: np.exp(_log_softmax(-a)) * (1 + np.abs(_log_softmax(-a)))),
    "log_softmax": Row(lambda a, b: F.log_softmax(a, 1), lambda a, b: _log_softmax(a), 4,
                       lambda a, b: np.abs(a - a.max(1, keepdims=True))
                       + _log_sum(a) * (1 + _runner_up(a))),
    "layer_norm": Row(lambda a, b: F.layer_norm(a, (6,)), lambda a, b: _normal(a, 1e-5), 6,
                      lambda a, b: _of_normal(a, 1e-5), (120, 0), (-110, 0)),
    "layer_norm of any size": Row(lambda a, b: F.layer_norm(a, (6,), eps=0.0),
                                  lambda a, b: _normal(a, 0), 6, lambda a, b: _of_normal(a, 0)),
    "rms_norm": Row(lambda a, b: F.rms_norm(a, (6,), eps=0.0),
                    lambda a, b: a / np.sqrt(np.square(a).mean(1, keepdims=True)), 6),
    "batch_norm": Row(lambda a, b: F.batch_norm(a, like(a, ONES * 0), like(a, ONES)),
                      lambda a, b: a / np.sqrt(1 + np.longdouble(1e-5)), 4),
    "cosine_similarity": Row(lambda a, b: F.cosine_similarity(a, b), _cosine, 8,
                             lambda a, b: _cosine(np.abs(a), np.abs(b))),
    "cosine_embedding_loss": Row(
        lambda a, b: F.cosine_embedding_loss(a, b, like(a, SIGNS), reduction="none"),
        lambda a, b: np.where(SIGNS > 0, 1 - _embedding_cosine(a, b),
                              np.maximum(_embedding_cosine(a, b), 0)), 8,
        lambda a, b: 1 + _embedding_cosine(np.abs(a), np.abs(b))),
    "hinge_embedding_loss": Row(
        lambda a, b: F.hinge_embedding_loss(a, np.where(b > 0, 1, -1), reduction="none"),
        lambda a, b: np.where(b > 0, a, np.maximum(1 - a, 0)), 1, lambda a, b: 1 + np.abs(a)),
    "poisson_nll_loss": Row(lambda a, b: F.poisson_nll_loss(a, np.abs(b), reduction="none"),
                            _poisson, 4, lambda a, b: np.exp(a) + np.abs(a * b), (6, 100)),
    "gaussian_nll_loss": Row(
        lambda a, b: F.gaussian_nll_loss(a, -a, np.abs(b), eps=1e-36, reduction="none"),
        lambda a, b: (np.log(np.maximum(np.abs(b), 1e-36))
                      + np.square(2 * a) / np.maximum(np.abs(b), 1e-36)) / 2, 6,
        lambda a, b: np.abs(np.log(np.maximum(np.abs(b), 1e-36)))
        + np.square(2 * a) / np.maximum(np.abs(b), 1e-36)),
    "kl_div": Row(lambda a, b: F.kl_div(a, np.abs(b), reduction="none"),
                  lambda a, b: _kl(a, np.abs(b)), 4,
                  lambda a, b: np.abs(b) * (np.abs(np.log(np.abs(b))) + np.abs(a))),
    "binary_cross_entropy": Row(
        lambda a, b: F.binary_cross_entropy(np.minimum(np.abs(a), like(a, 0.75)),
                                            np.full_like(a, 0.25), reduction="none"),
        lambda a, b: -np.maximum(np.log(np.minimum(np.abs(a), 0.75)), -100) / 4
        - 3 * np.log1p(-np.minimum(np.abs(a), 0.75)) / 4, 4, None, (0, 0)),
    "binary_cross_entropy_with_logits": Row(
        lambda a, b: F.binary_cross_entropy_with_logits(a, np.full_like(a, 0.25),
                                                        reduction="none"),
        lambda a, b: _softplus(-a) / 4 + 3 * _softplus(a) / 4, 4),
    "cross_entropy": Row(
        lambda a, b: F.cross_entropy(a, CLASSES, reduction="none"),
        lambda a, b: -_log_softmax(a)[np.arange(5), CLASSES], 4,
        lambda a, b: (np.abs(a.max(1) - a[np.arange(5), CLASSES])
                      + (_log_sum(a) * (1 + _runner_up(a)))[:, 0])),
    "entropy": Row(lambda a, b: F.entropy(np.abs(a)), lambda a, b: _entropy(np.abs(a)), 6,
                   lambda a, b: (np.abs(a * np.log(np.abs(a)))).sum(-1) * 2, (0, 0)),
    "information_gain": Row(
        lambda a, b: F.information_gain(np.abs(a) * 2, [np.abs(a), np.abs(a)]),
        lambda a, b: 0 * a.sum(-1), 16, lambda a, b: 3 + 0 * a.sum(-1), (100, 0), (-100, 0)),
    "glu": Row(lambda a, b: F.glu(np.concatenate([a, b], 1)), lambda a, b: a * _sigmoid(b), 3,
               None, (120, 4)),
    "linear": Row(lambda a, b: F.linear(a, b), lambda a, b: a @ b.T, 6,
                  lambda a, b: np.abs(a) @ np.abs(b).T, (60, 60), (-60, -60)),
    "matmul": Row(lambda a, b: F.matmul(a, b.T.copy()), lambda a, b: a @ b.T, 6,
                  lambda a, b: np.abs(a) @ np.abs(b).T, (60, 60), (-60, -60)),
    "bilinear": Row(lambda a, b: F.bilinear(a, b, np.ones((1, 6, 6), a.dtype)),
                    lambda a, b: a.sum(1, keepdims=True) * b.sum(1, keepdims=True), 10,
                    lambda a, b: (np.abs(a).sum(1, keepdims=True)
                                  * np.abs(b).sum(1, keepdims=True)), (60, 60), (-60, -60)),
    "group_norm": Row(lambda a, b: F.group_norm(a, 2, eps=0.0),
                      lambda a, b: _grouped(_normal, a), 6, lambda a, b: _grouped(_of_normal, a)),
    "instance_norm": Row(lambda a, b: F.instance_norm(a[None], eps=0.0)[0],
                         lambda a, b: _normal(a, 0), 6, lambda a, b: _of_normal(a, 0)),
    # Its squares are the formula's own.
    "local_response_norm": Row(lambda a, b: F.local_response_norm(a[None], 1, 0.5)[0],
                               lambda a, b: a / (1 + np.square(a) / 2) ** np.longdouble(0.75), 8,
                               None, (60, 0)),
    "scaled_dot_product_attention": Row(
        lambda a, b: F.scaled_dot_product_attention(like(a, ONES)[None], like(a, TWO), a[:2]),
        lambda a, b: (a[:1] * np.exp(_TILT) + a[1:2]) / (np.exp(_TILT) + 1), 8,
        lambda a, b: np.abs(a[:2]).sum(0, keepdims=True)),
    "norm": Row(lambda a, b: F.norm(a, dim=1), lambda a, b: _length(a)[:, 0], 4),
    **{f"norm of power {p}": Row(lambda a, b, p=p: F.norm(a, p, 1),
                                 lambda a, b, p=p: (np.abs(a) ** p).sum(1) ** (1 / p), 24)
       for p in map(np.longdouble, (1, 0.5, 3, -2))},
    "normalize": Row(lambda a, b: F.normalize(a, eps=0.0), lambda a, b: a / _length(a), 5,
                     None, (120, 0), (-120, 0)),
    "pairwise_distance": Row(lambda a, b: F.pairwise_distance(a, b, eps=0.0),
                             lambda a, b: _length(a - b)[:, 0], 4),
    "hypot": Row(F.hypot, lambda a, b: np.sqrt(a * a + b * b), 4),
    "logaddexp": Row(F.logaddexp, lambda a, b: np.maximum(a, b) + np.log1p(np.exp(-np.abs(a - b))),
                     4, lambda a, b: np.abs(np.maximum(a, b))
                     + (1 + np.minimum(np.abs(a - b), 2000)) * np.log1p(np.exp(-np.abs(a - b)))),
    "lerp": Row(lambda a, b: F.lerp(a, b, 0.25), lambda a, b: a + (b - a) / 4, 4,
                lambda a, b: np.abs(a) + np.abs(b)),
    "addcmul": Row(lambda a, b: F.addcmul(a, a, b, value=0.5), lambda a, b: a + a * b / 2, 4,
                   lambda a, b: np.abs(a) + np.abs(a * b), (60, 60), (-60, -60)),
    "addcdiv": Row(lambda a, b: F.addcdiv(a, a, b, value=0.5), lambda a, b: a + a / b / 2, 4,
                   lambda a, b: np.abs(a) + np.abs(a / b), (60, 60), (-60, -60)),
    "cross": Row(lambda a, b: F.cross(a[:, :3], b[:, :3], 1),
                 lambda a, b: np.cross(a[:, :3], b[:, :3]), 4, lambda a, b: _crossed(a, b),
                 (60, 60), (-60, -60)),
    **{name: Row(call, lambda a, b: a @ b.T, 6, lambda a, b: np.abs(a) @ np.abs(b).T, (60, 60),
                 (-60, -60)) for name, call in _PRODUCTS.items()},
    "mv": Row(lambda a, b: F.mv(a, b[0]), lambda a, b: a @ b[0], 6,
              lambda a, b: np.abs(a) @ np.abs(b[0]), (60, 60), (-60, -60)),
    "dot": Row(lambda a, b: F.dot(a[0], b[0]), lambda a, b: a[0] @ b[0], 6,
               lambda a, b: np.abs(a[0]) @ np.abs(b[0]), (60, 60), (-60, -60)),
    "outer": Row(lambda a, b: F.outer(a[0], b[0]), lambda a, b: np.outer(a[0], b[0]), 1, None,
                 (60, 60), (-60, -60)),
}  # fmt: skip


# A loss of two arrays without a row is held to its formula, which long doubles carry far enough.
LOSSES = [n for n in F.__all__ if "reduction" in inspect.signature(getattr(F, n)).parameters]


def _conditioned(of: Function) -> Function:
    """The size of of(a, b) and of its changes with relative changes of a and of b."""
    step = np.longdouble(2.0**-30)

    def size(a, b):
        value = of(a, b)
        changes = [of(a * (1 + step), b) - value, of(a, b * (1 + step)) - value]
        return np.abs(value) + sum(np.abs(change) / step for change in changes)

    return size


def _of_formula(name: str) -> Row:
    of = partial(FORMULAS[name].of, reduction="none")
    return Row(none(name), of, 6, _conditioned(of))


ROWS |= {name: _of_formula(name) for name in LOSSES if name not in ROWS and name not in EXACT}


def test_every_function_has_a_row():
    named = {name.split(" ")[0] for name in ROWS}
    assert named | EXACT | KERNELS == set(F.__all__)
    assert not named & EXACT


# All magnitudes, and those at which exponentials still see each other.
EXPONENTS = (*range(-130, 128, 12), 1, 3, 4, 5, 6, 125)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ROWS)
def test_range(name, dtype):
    row = ROWS[name]
    rng = np.random.default_rng(30)
    a, b = rng.normal(size=(2, 5, 6))
    limits, wider = np.finfo(dtype), 1 if dtype == "float32" else 8
    for first, second in [(k, m) for k in EXPONENTS for m in (0, k, -k)]:
        exponents = np.clip([first, second], row.lowest, row.highest)
        exponents = np.where(np.abs(exponents) > 8, exponents * wider, exponents)
        # The largest of a normal sample is below 4: the last exponents are left to it.
        tops = limits.maxexp - 3
        x, y = (np.ldexp(v, min(e, tops)).astype(dtype)
                for v, e in zip((a, b), exponents, strict=True))  # fmt: skip
        wide = x.astype(np.longdouble), y.astype(np.longdouble)
        with np.errstate(all="ignore"):
            want = np.asarray(row.exact(*wide))
            size = np.asarray(row.magnitude(*wide)) if row.magnitude else np.abs(want)
            got = row.call(x, y)
        assert got.shape == want.shape
        assert got.dtype == np.dtype(dtype)
        ceiling = np.ldexp(np.longdouble(1), limits.maxexp)
        near = np.clip(got.astype(np.longdouble), -ceiling, ceiling)
        error = np.abs(near - np.clip(want, -ceiling, ceiling))
        error = error / ulp_size(np.minimum(size, ceiling), dtype)
        # NaN fails too.
        assert (error <= row.units).all(), (
            f"2^{exponents[0]}, 2^{exponents[1]}: got {got.ravel()[:3]}, want {want.ravel()[:3]}, "
            f"{np.nanmax(error):.3g} units"
        )
