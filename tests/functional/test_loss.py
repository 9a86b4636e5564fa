# SPDX-License-Identifier: Apache-2.0
"""What the losses mean: their formulas in float64, reductions, refusals, the ends of the range.

PyTorch's answers are in parity/test_torch_loss.py; bounds of the op itself in cases/loss.py.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import lamella as lm
from comparators import UNIT, same_bits, same_values
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError, ShapeError

U = UNIT[np.dtype(np.float32)]


def draw(*shape: int, seed: int = 6, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def classes(*shape: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(7).integers(0, count, shape)


def near(got: np.ndarray, want: np.ndarray, scale: np.ndarray, units: float = 32) -> None:
    """Within `units` roundings of the largest term that went into an element."""
    assert got.dtype == np.float32
    assert got.shape == np.shape(want)
    assert (np.abs(got - want) <= units * U * scale).all()


X, Y = draw(4, 6), draw(4, 6, seed=8)
P, Q = draw(4, 6, low=0.02, high=0.98), draw(4, 6, seed=9, low=0, high=1)
SIGNS = np.where(Y > 0, np.float32(1), np.float32(-1))
LOGITS, TARGET = draw(4, 5), classes(4)

LOSSES = [n for n in F.__all__ if "reduction" in inspect.signature(getattr(F, n)).parameters]
# A call that gives a loss for each sample, without its reduction: two arrays if no row says more.
CALLS = {
    **dict.fromkeys(LOSSES, (X, Y)),
    "cross_entropy": (LOGITS, TARGET),
    "nll_loss": (-np.abs(LOGITS), TARGET),
    "binary_cross_entropy": (P, Q),
    "binary_cross_entropy_with_logits": (X, Q),
    "kl_div": (X, Q),
    "poisson_nll_loss": (X, Q),
    "gaussian_nll_loss": (X, Y, P),
    "hinge_embedding_loss": (X, SIGNS),
    "cosine_embedding_loss": (X, Y, SIGNS[:, 0]),
}


@pytest.mark.parametrize("name", CALLS)
def test_reductions_are_of_the_same_losses(name, isa):
    function, arrays = getattr(F, name), CALLS[name]
    losses = function(*arrays, reduction="none")
    assert losses.shape == np.shape(arrays[2] if name == "cosine_embedding_loss" else arrays[1])
    for reduction, whole in (("mean", losses.mean(dtype=float)), ("sum", losses.sum(dtype=float))):
        got = function(*arrays, reduction=reduction)
        assert got.shape == ()
        near(got, whole, np.abs(losses).sum(dtype=float))
    same_bits(function(*arrays), function(*arrays, reduction="mean"))


@pytest.mark.parametrize("name", CALLS)
def test_other_reductions_are_refused(name):
    for word in ("", "Mean", "batch", None, 1, True):
        with pytest.raises(ValueError, match=f"{name}: no such reduction; got .*; expected 'mean'"):
            getattr(F, name)(*CALLS[name], reduction=word)


@pytest.mark.parametrize("name", CALLS)
def test_float64_stays_float64(name):
    wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in CALLS[name]]
    got = getattr(F, name)(*wide)
    assert got.dtype == np.float64
    np.testing.assert_allclose(getattr(F, name)(*CALLS[name]), got, rtol=1e-5)


@pytest.mark.parametrize("name", CALLS)
def test_weights_of_samples(name):
    """With 'none' a loss takes weights of samples, in a compiled function as outside."""
    arrays, sample_weight = CALLS[name], draw(4, seed=12, low=0, high=2)

    def weighted(*given):
        *arrays, weight = given
        losses = getattr(F, name)(*arrays, reduction="none")
        return (losses.reshape(4, -1).mean(1) * weight).mean()

    got = lm.compile(weighted, *arrays, sample_weight)(*arrays, sample_weight)
    losses = getattr(F, name)(*arrays, reduction="none").astype(np.float64).reshape(4, -1)
    near(got, (losses.mean(1) * sample_weight).mean(), np.abs(losses).max() * 2)


@pytest.mark.parametrize("name", [n for n in CALLS if n not in ("nll_loss", "cross_entropy")])
def test_shapes_do_not_broadcast(name):
    first, second, *rest = CALLS[name]
    with pytest.raises(ShapeError, match=rf"{name}: .*\(4, 6\).*\(6,\)"):
        getattr(F, name)(first, second[0], *rest)


@pytest.mark.parametrize("name", CALLS)
def test_nan_goes_through(name):
    first, *rest = (np.array(x) for x in CALLS[name])
    first[2, 3] = np.nan
    losses = getattr(F, name)(first, *rest, reduction="none")
    spoiled = np.isnan(losses) if losses.ndim == 1 else np.isnan(losses).any(1)
    hit = name != "nll_loss" or TARGET[2] == 3
    assert spoiled.tolist() == [False, False, hit, False]
    assert np.isnan(getattr(F, name)(first, *rest)) == hit


def test_formulas():
    x, y, p, q = (one.astype(np.float64) for one in (X, Y, P, Q))
    e = np.abs(x - y)
    one = np.ones_like(x)

    def check(got, want, scale=one * 30):
        near(got, want, scale)

    check(F.mse_loss(X, Y, reduction="none"), e**2)
    check(F.l1_loss(X, Y, reduction="none"), e)
    smooth = np.where(e < 0.7, e**2 / 1.4, e - 0.35)
    check(F.smooth_l1_loss(X, Y, reduction="none", beta=0.7), smooth)
    same_bits(F.smooth_l1_loss(X, Y, reduction="none", beta=0.0), F.l1_loss(X, Y, reduction="none"))
    huber = np.where(e < 0.7, e**2 / 2, 0.7 * (e - 0.35))
    check(F.huber_loss(X, Y, "none", 0.7), huber)
    bce = -(q * np.log(p) + (1 - q) * np.log1p(-p))
    check(F.binary_cross_entropy(P, Q, reduction="none"), bce)
    logits = q * np.log1p(np.exp(-x)) + (1 - q) * np.log1p(np.exp(x))
    check(F.binary_cross_entropy_with_logits(X, Q, reduction="none"), logits)
    check(F.kl_div(X, Q, reduction="none"), q * (np.log(q) - x))
    check(F.kl_div(X, Y, reduction="none", log_target=True), np.exp(y) * (y - x), 200 * one)
    check(F.poisson_nll_loss(X, Q, reduction="none"), np.exp(x) - q * x)
    gauss = (np.log(p) + (x - y) ** 2 / p) / 2
    check(F.gaussian_nll_loss(X, Y, P, reduction="none"), gauss, 1 + np.abs(gauss) * 8)
    hinge = np.where(SIGNS == 1, x, np.maximum(0, 0.5 - x))
    check(F.hinge_embedding_loss(X, SIGNS, 0.5, reduction="none"), hinge)


def test_means_with_weights():
    weight = draw(4, 6, seed=13, low=0.5, high=2)
    for name in ("mse_loss", "l1_loss"):
        losses = getattr(F, name)(X, Y, reduction="none").astype(np.float64)
        near(
            getattr(F, name)(X, Y, weight=weight), np.average(losses, weights=weight), losses.max()
        )
    # A wart of torch's: this mean is not divided by the weights.
    losses = F.huber_loss(X, Y, "none").astype(np.float64)
    near(F.huber_loss(X, Y, weight=weight), (losses * weight).mean(), losses.max())
    of_class = draw(5, low=0.5, high=2)
    losses = F.cross_entropy(LOGITS, TARGET, reduction="none").astype(np.float64)
    want = np.average(losses, weights=of_class[TARGET])
    near(F.cross_entropy(LOGITS, TARGET, of_class), want, losses.max())


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    x = x.astype(np.float64)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (0, 5), (3, 5, 2), (2, 5, 3, 4)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_all_forms(shape, smoothing, isa):
    axis = 0 if len(shape) == 1 else 1
    x, samples = draw(*shape), (*shape[:axis], *shape[axis + 1 :])
    target = np.array(classes(*samples))
    log_p = log_softmax(x, axis)
    hot = np.moveaxis(np.eye(5)[target], -1, axis)
    soft = hot * (1 - smoothing) + smoothing / 5
    want = -(soft * log_p).sum(axis)
    named = {"reduction": "none", "label_smoothing": smoothing}
    near(F.cross_entropy(x, target, **named), want, 1 + want)
    near(F.cross_entropy(x, hot.astype(np.float32), **named), want, 1 + want)
    picked = -np.take_along_axis(log_p, np.expand_dims(target, axis), axis).squeeze(axis)
    log_p = F.log_softmax(x, axis)
    near(F.nll_loss(log_p, target, reduction="none"), picked, 1 + np.abs(picked))


def test_cross_entropy_far_from_zero(isa):
    x = np.float32([[1e4, -1e4], [-1e4, 1e4], [3e38, -3e38], [-1e4, -1e4], [0, -np.inf]])
    target = np.array([0, 0, 0, 1, 1])
    want = np.float32([0, 2e4, 0, math.log(2), np.inf])
    same_values(F.cross_entropy(x, target, reduction="none"), want)
    for row in ([np.inf, 0], [np.nan, 0], [-np.inf, -np.inf]):
        assert np.isnan(F.cross_entropy(np.float32(row), np.array(1)))


def test_ignored_samples():
    target = TARGET.copy()
    target[1] = 7
    losses = F.cross_entropy(LOGITS, target, ignore_index=7, reduction="none")
    full = F.cross_entropy(LOGITS, TARGET, reduction="none")
    same_bits(losses, np.where(target == 7, np.float32(0), full))
    kept = full[target != 7].astype(np.float64)
    near(F.cross_entropy(LOGITS, target, ignore_index=7), kept.mean(), kept.max())
    # Also an index that is a class; and a row of NaN that does not count.
    bad, first = LOGITS.copy(), int(TARGET[0])
    bad[first == TARGET] = np.nan
    got = F.cross_entropy(bad, TARGET, ignore_index=first, reduction="sum")
    near(got, full[first != TARGET].sum(dtype=float), full.sum())
    nobody = np.full(4, -100)
    assert np.isnan(F.cross_entropy(LOGITS, nobody))
    assert F.cross_entropy(LOGITS, nobody, reduction="sum") == 0
    assert np.isnan(F.cross_entropy(LOGITS[:0], TARGET[:0]))


@pytest.mark.parametrize("bad", [-1, 5, -101, 2**62, -(2**63)])
def test_targets_outside(bad, threads):
    target = np.zeros(3000, np.int64)
    target[2345] = bad
    x = np.zeros((3000, 5), np.float32)
    for name, of in (("cross_entropy", F.cross_entropy), ("nll", F.nll_loss)):
        with pytest.raises(IndexError, match=rf"{name}: index out of range; got {bad};.* 0 to 4"):
            of(x, target)
    assert of(x, np.zeros(3000, np.int64)) == 0


def test_targets_of_other_kinds():
    want = F.cross_entropy(LOGITS, TARGET)
    for dtype in (np.int8, np.uint8, np.int32, ">i4"):
        same_bits(F.cross_entropy(LOGITS, TARGET.astype(dtype)), want)
    same_bits(F.cross_entropy(LOGITS, TARGET.tolist()), want)
    with pytest.raises(
        DTypeError, match="cross_entropy: classes are not integers; got target=bool"
    ):
        F.cross_entropy(LOGITS, TARGET > 2)
    with pytest.raises(DTypeError, match="nll_loss: classes are not integers"):
        F.nll_loss(LOGITS, TARGET.astype(np.float32))
    with pytest.raises(DTypeError, match="cross_entropy: element types do not fit"):
        F.cross_entropy(LOGITS.astype(int), TARGET)


@pytest.mark.parametrize("target", [classes(5), classes(4, 1), classes(4, 5), np.array(1)])
def test_targets_of_other_shapes(target):
    for name in ("cross_entropy", "nll_loss"):
        with pytest.raises(ShapeError, match=rf"{name}: targets do not fit; got input=\(4, 5\)"):
            getattr(F, name)(LOGITS, target)
    with pytest.raises(ShapeError, match="no classes"):
        F.cross_entropy(np.float32(1), target)


def test_weights_of_other_shapes():
    weight = np.ones(4, np.float32)
    with pytest.raises(ShapeError, match=r"weight=\(4,\)"):
        F.cross_entropy(LOGITS, TARGET, weight)
    with pytest.raises(ShapeError, match=r"weight=\(4,\)"):
        F.cross_entropy(LOGITS, F.softmax(LOGITS), weight)
    with pytest.raises(ShapeError, match=r"weight=\(4,\)"):
        F.binary_cross_entropy(P, Q, weight)
    with pytest.raises(ShapeError, match=r"pos_weight=\(2, 4, 6\)"):
        F.binary_cross_entropy_with_logits(X, Q, pos_weight=np.ones((2, 4, 6), np.float32))
    with pytest.raises(ShapeError, match=r"var=\(6,\)"):
        F.gaussian_nll_loss(X, Y, np.ones(6, np.float32))


def test_options_out_of_range():
    for smoothing in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match="label_smoothing"):
            F.cross_entropy(LOGITS, TARGET, label_smoothing=smoothing)
    with pytest.raises(ValueError, match="no index to ignore"):
        F.cross_entropy(LOGITS, F.softmax(LOGITS), ignore_index=2)
    for call in (
        lambda: F.smooth_l1_loss(X, Y, beta=-1.0),
        lambda: F.huber_loss(X, Y, delta=0.0),
        lambda: F.gaussian_nll_loss(X, Y, P, eps=0.0),
        lambda: F.entropy(P, base=1.0),
        lambda: F.entropy(P, base=-2.0),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


def test_probabilities_at_the_ends(isa):
    x, y = np.float32([0, 1, 0, 1, 1e-40, 0.5]), np.float32([0, 1, 1, 0, 1, 0])
    want = [0, 0, 100, 100, -math.log(float(x[4])), math.log(2)]
    got = F.binary_cross_entropy(x, y, reduction="none")
    near(got, want, np.abs(want))
    # torch raises here; nothing is read twice to find out.
    for outside in (-0.25, 1.25, np.nan):
        assert np.isnan(F.binary_cross_entropy(np.float32([outside]), np.float32([0.5])))


def test_binary_logits_do_not_cancel(isa):
    x, y = np.float32([-20, 20, -1e4, 1e4, 80]), np.float32([0, 1, 0, 1, 1])
    want = np.log1p(np.exp(-np.abs(x.astype(np.float64))))
    got = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    near(got, want, want)


def test_gaussian_variances():
    want = F.gaussian_nll_loss(X, Y, np.broadcast_to(P[:, :1], X.shape), reduction="none")
    same_bits(F.gaussian_nll_loss(X, Y, P[:, :1], reduction="none"), want)
    same_bits(F.gaussian_nll_loss(X, Y, P[:, 0], reduction="none"), want)
    quarter = F.gaussian_nll_loss(X, Y, np.full_like(X, 0.25), reduction="none")
    same_bits(F.gaussian_nll_loss(X, Y, 0.25, reduction="none"), quarter)
    inside = lm.compile(lambda x, y: F.gaussian_nll_loss(x, y, 0.25, reduction="none"), X, Y)
    near(inside(X, Y), quarter, 1 + np.abs(quarter))
    # What is too small counts as eps, negative numbers too.
    tiny = F.gaussian_nll_loss(X, Y, np.full_like(X, 0.5), eps=0.5)
    same_bits(F.gaussian_nll_loss(X, Y, np.full_like(X, -1), eps=0.5), tiny)


def test_cosines():
    x, y = X.astype(np.float64), Y.astype(np.float64)
    want = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    near(F.cosine_similarity(X, Y), want, np.ones(4))
    near(F.cosine_similarity(X, Y[:1]), np.array([F.cosine_similarity(a, Y[0], 0) for a in X]), 1)
    assert F.cosine_similarity(X[:1] * 0, Y[:1]) == 0
    alike = F.cosine_embedding_loss(X, Y, np.array([1, 1, -1, -1]), reduction="none")
    near(alike, np.where([1, 1, 0, 0], 1 - want, np.maximum(want, 0)), np.ones(4))
    with pytest.raises(ShapeError, match=r"cosine_embedding_loss: .*target=\(4, 6\)"):
        F.cosine_embedding_loss(X, Y, SIGNS)


def test_integer_labels_are_numbers():
    for name in ("hinge_embedding_loss", "poisson_nll_loss"):
        whole = SIGNS.astype(int)
        same_bits(getattr(F, name)(X, whole), getattr(F, name)(X, SIGNS))


def test_entropy():
    p = F.softmax(X).astype(np.float64)
    got = F.entropy(F.softmax(X))
    near(got, -(p * np.log2(p)).sum(1), np.full(4, 3.0))
    near(F.entropy(F.softmax(X), base=math.e), -(p * np.log(p)).sum(1), np.full(4, 3.0))
    near(F.entropy(F.softmax(X, 0), 0), F.entropy(F.softmax(X.T)), np.full(6, 3.0))
    same_bits(F.entropy(np.float32([0, 1, 0])), np.array(0, np.float32))
    same_bits(F.entropy(np.full(8, 0.125)), np.array(3.0))
    assert np.isnan(F.entropy(np.float32([-0.5, 1.5])))
    with pytest.raises(DTypeError, match="entropy: element types"):
        F.entropy([1, 0])


def test_information_gain():
    """Quinlan 1986, section 4: gains of the four attributes of the Saturday mornings."""
    splits = {
        "outlook": ([[2, 3], [4, 0], [3, 2]], 0.246),
        "temperature": ([[2, 2], [4, 2], [3, 1]], 0.029),
        "humidity": ([[3, 4], [6, 1]], 0.151),
        "windy": ([[6, 2], [3, 3]], 0.048),
    }
    for children, gain in splits.values():
        # The paper cuts its figures off or rounds their parts.
        assert abs(F.information_gain([9, 5], children) - gain) < 1e-3
    same_bits(F.information_gain([8, 8], [[8, 0], [0, 8], [0, 0]]), np.array(1.0))
    assert F.information_gain([8, 8], [[4, 4], [4, 4]]) == 0
    assert np.isnan(F.information_gain([0, 0], []))
    weighted = F.information_gain(np.float32([2, 2]), [np.float32([2, 0]), np.float32([0, 2])])
    same_bits(weighted, np.array(1, np.float32))
    both = F.information_gain([[9, 5], [8, 8]], [[[6, 2], [8, 0]], [[3, 3], [0, 8]]])
    assert both.shape == (2,)
    assert both[1] == 1
    with pytest.raises(ShapeError, match=r"information_gain: .*parent=\(2,\), child=\(3,\)"):
        F.information_gain([9, 5], [[1, 2, 3]])


def test_weights_of_modules_are_state():
    loss = nn.CrossEntropyLoss([1, 2, 3, 4, 5], reduction="sum")
    assert loss.state_dict()["weight"].dtype == np.float32
    near(loss(LOGITS, TARGET), F.cross_entropy(LOGITS, TARGET, np.arange(1, 6, dtype=np.float32),
         reduction="sum"), 100)  # fmt: skip
    loss.load_state_dict({"weight": np.ones(5, np.float32)})
    same_bits(loss(LOGITS, TARGET), F.cross_entropy(LOGITS, TARGET, reduction="sum"))
    assert nn.BCELoss().state_dict() == {}
    assert nn.BCEWithLogitsLoss(pos_weight=np.ones(6)).state_dict()["pos_weight"].dtype == float
