# SPDX-License-Identifier: Apache-2.0
"""Losses and measures of information: a formula for a sample, and what is made of the samples."""

from __future__ import annotations

import math

import numpy as np

from formulas.along import softmax
from formulas.formula import Formula, call, draw, formula
from formulas.pointwise import sigmoid

X, Y, P = draw(4, 5), draw(4, 5, seed=1), draw(4, 5, seed=2, low=0.05, high=0.95)
Q, WEIGHT = draw(4, 5, seed=3, low=0.05, high=0.95), draw(4, 5, seed=4, low=0.25)
CLASSES, IMAGE = np.array([2, 0, 4, 1]), draw(2, 5, 3)
POSITIONS = np.array([[0, 3, 2], [4, 1, 3]])
BY_CLASS = draw(5, seed=5, low=0.25)
SIGNS = np.where(Y > 0, np.float32(1), np.float32(-1))
ONE = np.ones((4, 5), np.float32)
COUNTS = np.float32(np.random.default_rng(0).integers(0, 6, (4, 5)))
RATES = draw(4, 5, seed=6, low=0.25)
BOOKED = np.float32([[0.5, 0.5, 0, 0, 0], [0.2] * 5, [1, 0, 0, 0, 0], [0, 0.25, 0.75, 0, 0]])


def _mean(losses, reduction="mean", weights=None):
    """weights: what the mean divides by the sum of, instead of counting."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / (losses.size if weights is None else weights.sum())


def _picked(log_p, target, weight, ignore_index, smoothing, reduction):
    """Losses against class indices, of logarithms with classes along axis 1."""
    log_p = np.moveaxis(log_p, 1, -1)
    count = log_p.shape[-1]
    kept = target != ignore_index
    index = np.where(kept, target, 0)
    weight = np.ones(count) if weight is None else weight
    own = np.take_along_axis(log_p, index[..., None], -1)[..., 0]
    losses = -(1 - smoothing) * weight[index] * own - smoothing / count * (log_p @ weight)
    return _mean(losses * kept, reduction, weight[index] * kept)


def _cross_entropy(
    x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    log_p = np.log(softmax(x, 1))
    if target.dtype.kind == "i":
        return _picked(log_p, target, weight, ignore_index, label_smoothing, reduction)
    target = (1 - label_smoothing) * target + label_smoothing / x.shape[1]
    weight = np.ones(x.shape[1]) if weight is None else weight
    return _mean(-np.einsum("nc...,nc...,c->n...", target, log_p, weight), reduction)


def _nll(x, target, weight=None, ignore_index=-100, reduction="mean"):
    return _picked(x, target, weight, ignore_index, 0.0, reduction)


def _bce(p, t, weight=1.0, reduction="mean", positive=1.0):
    return _mean(-weight * (positive * t * np.log(p) + (1 - t) * np.log(1 - p)), reduction)


def _bce_logits(x, t, weight=1.0, reduction="mean", pos_weight=1.0):
    return _bce(sigmoid(x), t, weight, reduction, pos_weight)


def _kl_div(x, t, reduction="mean", log_target=False):
    t, log_t = (np.exp(t), t) if log_target else (t, np.log(np.where(t > 0, t, 1)))
    losses = t * (log_t - x)
    return losses.sum() / len(x) if reduction == "batchmean" else _mean(losses, reduction)


def _weighted(of):
    def loss(x, y, reduction="mean", weight=None):
        losses = of(x - y)
        return _mean(losses if weight is None else losses * weight, reduction, weight)

    return loss


def _smooth_l1(x, y, reduction="mean", beta=1.0):
    e = np.abs(x - y)
    return _mean(np.where(e < beta, e**2 / (2 * beta or 1), e - beta / 2), reduction)


def _huber(x, y, reduction="mean", delta=1.0, weight=1.0):
    e = np.abs(x - y)
    return _mean(weight * np.where(e < delta, e**2 / 2, delta * (e - delta / 2)), reduction)


def _poisson(x, t, log_input=True, full=False, eps=1e-8, reduction="mean"):
    losses = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    many = np.maximum(t, 1)
    stirling = many * np.log(many) - many + np.log(2 * np.pi * many) / 2
    return _mean(losses + full * (t > 1) * stirling, reduction)


def _gaussian(x, t, var, full=False, eps=1e-6, reduction="mean"):
    var = np.maximum(np.asarray(var, np.float64), eps)
    var = var[..., None] if var.ndim == x.ndim - 1 and var.ndim else var
    losses = (np.log(var) + (x - t) ** 2 / var + full * np.log(2 * np.pi)) / 2
    return _mean(losses, reduction)


def _soft_margin(x, t, reduction="mean"):
    return _mean(np.logaddexp(0, -t * x), reduction)


def _hinge(x, t, margin=1.0, reduction="mean"):
    return _mean(np.where(t == 1, x, np.maximum(0, margin - x)), reduction)


def _cosine(x, y, dim=1, eps=1e-8):
    x, y = np.broadcast_arrays(x, y)
    lengths = [np.maximum(np.sqrt((v * v).sum(dim)), eps) for v in (x, y)]
    return (x * y).sum(dim) / (lengths[0] * lengths[1])


def _cosine_loss(x, y, t, margin=0.0, reduction="mean"):
    cosine = _cosine(x, y, -1)
    return _mean(np.where(t == 1, 1 - cosine, np.maximum(0, cosine - margin)), reduction)


def _entropy(p, dim=-1, base=2.0):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(dim) / np.log(base)


def _gain(parent, children, dim=-1, base=2.0):
    parent, children = np.asarray(parent, np.float64), [np.asarray(c, np.float64) for c in children]
    gain = _entropy(parent / parent.sum(dim, keepdims=True), dim, base)
    for child in children:
        size = child.sum(dim, keepdims=True)
        shares = child / np.where(size > 0, size, 1)
        gain = gain - size.squeeze(dim) / parent.sum(dim) * _entropy(shares, dim, base)
    return gain


def _reduced(of, *args, **more):
    """The three reductions, and more calls: the named arguments, one by one and together."""
    calls = [call(*args, reduction=reduction) for reduction in ("mean", "sum", "none")]
    calls += [call(*args, **{name: value}) for name, value in more.items()]
    return formula(of, *calls, call(*args, **more), call(*args, **more, reduction="none"))


FORMULAS: dict[str, Formula] = {
    "cross_entropy": formula(
        _cross_entropy,
        *_reduced(None, X, CLASSES, weight=BY_CLASS, ignore_index=4, label_smoothing=0.2).calls,
        *_reduced(None, IMAGE, POSITIONS, weight=BY_CLASS, ignore_index=3).calls,
        *_reduced(None, X, BOOKED, weight=BY_CLASS, label_smoothing=0.2).calls,
    ),
    "nll_loss": formula(
        _nll,
        *_reduced(None, X, CLASSES, weight=BY_CLASS, ignore_index=4).calls,
        *_reduced(None, IMAGE, POSITIONS, weight=BY_CLASS, ignore_index=3).calls,
    ),
    "binary_cross_entropy": _reduced(_bce, P, Q, weight=BY_CLASS),
    "binary_cross_entropy_with_logits": _reduced(
        _bce_logits, X, Q, weight=WEIGHT, pos_weight=BY_CLASS
    ),
    "kl_div": formula(
        _kl_div,
        *_reduced(None, np.log(P), BOOKED).calls,
        call(np.log(P), np.log(Q), log_target=True),
        call(np.log(P), np.log(Q), log_target=True, reduction="none"),
        call(np.log(P), BOOKED, reduction="batchmean"),
    ),
    "mse_loss": formula(
        _weighted(np.square),
        *_reduced(None, X, Y, weight=WEIGHT).calls,
        # Weights that add up to one, and to nothing.
        call(X[:, :4], Y[:, :4], weight=ONE[:, :4] / 16),
        call(X, Y, weight=ONE * 0),
    ),
    "l1_loss": _reduced(_weighted(np.abs), X, Y, weight=WEIGHT),
    "smooth_l1_loss": formula(
        _smooth_l1, *_reduced(None, X, Y, beta=2.5).calls, call(X, Y, beta=0.0)
    ),
    "huber_loss": _reduced(_huber, X, Y, delta=2.5, weight=WEIGHT),
    "poisson_nll_loss": formula(
        _poisson,
        *_reduced(None, X, COUNTS, full=True).calls,
        *_reduced(None, RATES, COUNTS, log_input=False, full=True, eps=0.5).calls,
    ),
    "gaussian_nll_loss": formula(
        _gaussian,
        *_reduced(None, X, Y, RATES, full=True, eps=1.0).calls,
        *(
            call(X, Y, RATES[:, 0]),
            call(X, Y, RATES[:, :1]),
            call(X, Y, 0.5),
            call(X, Y, RATES, True),
        ),
    ),
    "soft_margin_loss": formula(
        _soft_margin, *_reduced(None, X, SIGNS).calls, call(X, SIGNS.astype(np.int64))
    ),
    "hinge_embedding_loss": formula(
        _hinge, *_reduced(None, X, SIGNS, margin=0.25).calls, call(X, SIGNS.astype(np.int64))
    ),
    "cosine_similarity": formula(
        _cosine,
        *(call(X, Y), call(X, Y, 0), call(IMAGE, draw(5, 3), -1), call(X, Y, dim=-1, eps=3.0)),
    ),
    "cosine_embedding_loss": formula(
        _cosine_loss,
        *_reduced(None, X, Y, SIGNS[:, 0], margin=0.1).calls,
        *_reduced(None, X, X * 0.5, -np.ones(4, np.float32), margin=-0.5).calls,
        call(X[0], Y[0], np.array(1)),
    ),
    "entropy": formula(_entropy, call(BOOKED), call(BOOKED.T.copy(), 0), call(BOOKED, base=math.e)),
    "information_gain": formula(
        _gain,
        call([9, 5], [[6, 2], [3, 3]]),
        call(COUNTS.sum(0), [COUNTS[0], COUNTS[1:].sum(0)], base=math.e),
        call(COUNTS + 1, [COUNTS, np.ones_like(COUNTS)], 0),
        call(COUNTS + 1, [COUNTS + 1, np.zeros_like(COUNTS)], dim=1),
    ),
}
