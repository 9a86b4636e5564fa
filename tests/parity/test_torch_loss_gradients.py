# SPDX-License-Identifier: Apache-2.0
"""Gradients of losses by PyTorch's autograd: every call of test_torch_loss.py, every reduction.

In float64, since formulas are compared here: roundings of ours are judged with the ops. Where the
two libraries differ on purpose, the difference is written down.
"""

from __future__ import annotations

import numpy as np
import pytest

from gradients import gradients
from lamella import functional as F
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import current
from parity.test_torch_loss import CALLS, ENDS, IDS, TF, pytestmark

torch = pytest.importorskip("torch")

__all__ = ["pytestmark"]


def widened(arrays: dict) -> dict:
    found = {key: np.asarray(value) for key, value in arrays.items()}
    return {key: x.astype(np.float64) if x.dtype.kind == "f" else x for key, x in found.items()}


# What neither library differentiates by: labels, weights of classes and elements.
LABELLED = ("hinge_embedding_loss", "cosine_embedding_loss", "soft_margin_loss")


def wanted(name: str, arrays: dict) -> list[str]:
    skipped = ("weight", "pos_weight", *(["target"] if name in LABELLED else []))
    return [key for key, x in arrays.items() if x.dtype.kind == "f" and key not in skipped]


def ours(name: str, arrays: dict, options: dict, cotangent: np.ndarray) -> dict:
    def body(place, *values):
        named = {k: Tensor(v, current()) for k, v in zip(arrays, values, strict=True)}
        return getattr(F, name)(**named, **options)._value(current())

    _, found = gradients(body, list(arrays.values()), cotangent)
    floating = [key for key, x in arrays.items() if x.dtype.kind == "f"]
    return dict(zip(floating, found, strict=True))


def theirs(name: str, arrays: dict, options: dict, cotangent: np.ndarray) -> dict:
    keys = wanted(name, arrays)
    named = {k: torch.tensor(x, requires_grad=k in keys) for k, x in arrays.items()}
    getattr(TF, name)(**named, **options).backward(torch.tensor(cotangent))
    return {key: named[key].grad.numpy() for key in keys}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("name", "arrays", "options"), CALLS, ids=IDS)
def test_gradients(name, arrays, options, reduction):
    if arrays.get("input") is ENDS:
        # At 0 and 1 the slopes are those of test_ends_of_probabilities.
        arrays = {**arrays, "input": np.clip(ENDS, 1e-5, 1 - 1e-5)}
    arrays, options = widened(arrays), {**options, "reduction": reduction}
    shape = getattr(F, name)(**arrays, **options).shape
    cotangent = np.random.default_rng(20).uniform(0.5, 1.5, shape)
    got, want = (f(name, arrays, options, cotangent) for f in (ours, theirs))
    for key, right in want.items():
        if key == "var" and options.get("eps") == 0.25:
            # Ours is zero below eps, as the loss does not depend on var there.
            right = np.where(arrays["var"] < 0.25, 0.0, right)
        assert got[key].shape == right.shape
        # A count of zero: autograd's 0 * log(0) is NaN, ours is a number.
        number = ~np.isnan(right)
        assert np.isfinite(got[key]).all()
        assert number.all() or (key == "target" and (arrays[key][~number] == 0).all())
        # Both are a few sums and products of terms no larger than the largest gradient.
        error, largest = np.abs(got[key] - right)[number], np.abs(right[number])
        assert error.max() <= 1e-12 * largest.max(), key


def test_ends_of_probabilities():
    """torch's numbers where a logarithm is cut off; limits where its formula takes 0 / 1e-12."""
    x, y = np.array([0.0, 1.0, 0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0, 1.0, 0.5])
    call = ("binary_cross_entropy", {"input": x, "target": y}, {"reduction": "none"}, np.ones(5))
    got, want = ours(*call)["input"], theirs(*call)["input"]
    np.testing.assert_allclose(got, [-1e12, 1e12, 1, -1, -5e11], rtol=1e-11)
    # Its 1e-12 is a float32.
    np.testing.assert_allclose(got[[0, 1, 4]], want[[0, 1, 4]], rtol=2.0**-24)
    assert want[2] == want[3] == 0


def test_logits_at_zero():
    """Where |x| has a corner the loss has none."""
    x, y = np.zeros(3), np.array([0.0, 1.0, 0.25])
    call = ("binary_cross_entropy_with_logits", {"input": x, "target": y}, {"reduction": "none"})
    np.testing.assert_allclose(ours(*call, np.ones(3))["input"], 0.5 - y, rtol=1e-15)


def test_vectors_of_zero():
    zero, other = np.zeros((1, 3)), np.array([[1.0, 2.0, 2.0]])
    for name in ("cosine_similarity", "cosine_embedding_loss"):
        arrays = {"x1": zero, "x2": other}
        if name == "cosine_embedding_loss":
            arrays = {"input1": zero, "input2": other, "target": np.ones(1)}
        found = ours(name, arrays, {}, np.ones(() if "input1" in arrays else 1))
        assert all(np.isfinite(dx).all() for dx in found.values() if dx is not None)


def test_ignored_rows_have_no_gradient():
    """Not even where they hold NaN, which torch's log_softmax passes back."""
    x = np.random.default_rng(21).normal(size=(3, 4))
    x[1] = np.nan
    arrays = {"input": x, "target": np.array([2, -100, 0])}
    dx = ours("cross_entropy", arrays, {}, np.ones(()))["input"]
    assert (dx[1] == 0).all()
    np.testing.assert_allclose(dx.sum(1), 0, atol=1e-15)
    assert (dx[[0, 2]] != 0).all()


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_a_batch_of_ignored_rows_has_no_gradient(name):
    """A loss of 0 / 0 is NaN in both libraries, its gradient 0: the net survives such a batch."""
    x = np.random.default_rng(22).normal(size=(3, 4))
    target = np.full(3, -100)
    dx = ours(name, {"input": x, "target": target}, {}, np.ones(()))["input"]
    leaf = torch.from_numpy(x).requires_grad_()
    loss = getattr(TF, name)(leaf, torch.from_numpy(target))
    loss.backward()
    assert loss.isnan()
    assert (leaf.grad == 0).all()
    np.testing.assert_array_equal(dx, np.zeros_like(x))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_classes_of_no_weight_have_no_gradient(name):
    """torch's is NaN, from 0 times 1 / 0."""
    x = np.random.default_rng(23).normal(size=(3, 4))
    arrays = {"input": x, "target": np.zeros(3, np.int64), "weight": np.array([0.0, 1, 1, 1])}
    np.testing.assert_array_equal(ours(name, arrays, {}, np.ones(()))["input"], np.zeros_like(x))
