# SPDX-License-Identifier: Apache-2.0
"""Parity of losses with PyTorch: every loss, reduction and option, on the same numbers.

The oracle is PyTorch in float64 on the float32 inputs. Losses are sums of few terms, which
`magnitude` bounds for each call: results lie within the roundings of those terms.
"""

from __future__ import annotations

import numpy as np
import pytest

from cases.reduce import row_chain
from comparators import within_scale
from lamella import functional as F
from lamella import nn
from parity.oracle import draw, oracle, wide

torch = pytest.importorskip("torch")
TF = torch.nn.functional

# torch announces to change the meaning of kl_div's 'mean'.
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")

ROWS, COLS = 7, 11
X, Y = draw(ROWS, COLS), draw(ROWS, COLS, seed=12)
P, Q = draw(ROWS, COLS, seed=13, low=0.01, high=0.99), draw(ROWS, COLS, seed=14, low=0, high=1)
W = draw(ROWS, COLS, seed=15, low=0.5, high=2)
OF_CLASS = draw(COLS, seed=16, low=0.5, high=2)
TARGET = np.random.default_rng(17).integers(0, COLS, ROWS)
IGNORING = np.where(np.arange(ROWS) % 3 == 1, -100, TARGET)
SIGNS = np.where(Y > 0, np.float32(1), np.float32(-1))
COUNTS = np.floor(Q * 6)
FAR = np.float32([1e4, -1e4, 88, -88, 30, -30, 0, 1, -1, 3e4, -3e4])[None] + X
IMAGE, PIXELS = draw(3, COLS, 2, 4), np.random.default_rng(18).integers(0, COLS, (3, 2, 4))
ENDS = np.where(Q < 0.3, np.float32(0), np.where(Q > 0.7, np.float32(1), P))

LOG_P = np.log(P / P.sum(1, keepdims=True))
SHARES = (P / P.sum(1, keepdims=True)).astype(np.float32)

# Name, arrays by torch's argument names, options; the oracle takes the same.
CALLS = [
    ("mse_loss", {"input": X, "target": Y}, {}),
    ("mse_loss", {"input": X, "target": Y, "weight": W}, {}),
    ("l1_loss", {"input": X, "target": Y}, {}),
    ("l1_loss", {"input": X, "target": Y, "weight": W}, {}),
    ("smooth_l1_loss", {"input": X, "target": Y}, {}),
    ("smooth_l1_loss", {"input": X, "target": Y}, {"beta": 0.25}),
    ("smooth_l1_loss", {"input": X, "target": Y}, {"beta": 0.0}),
    ("huber_loss", {"input": X, "target": Y}, {}),
    ("huber_loss", {"input": X, "target": Y, "weight": W}, {"delta": 0.75}),
    ("cross_entropy", {"input": X, "target": TARGET}, {}),
    ("cross_entropy", {"input": FAR, "target": TARGET}, {}),
    ("cross_entropy", {"input": X[0], "target": TARGET[0]}, {}),
    ("cross_entropy", {"input": IMAGE, "target": PIXELS, "weight": OF_CLASS}, {}),
    ("cross_entropy", {"input": X, "target": IGNORING}, {}),
    ("cross_entropy", {"input": X, "target": TARGET}, {"ignore_index": int(TARGET[2])}),
    ("cross_entropy", {"input": X, "target": IGNORING, "weight": OF_CLASS}, {}),
    ("cross_entropy", {"input": X, "target": IGNORING}, {"label_smoothing": 0.125}),
    ("cross_entropy", {"input": X, "target": IGNORING, "weight": OF_CLASS},
     {"label_smoothing": 0.125}),
    ("cross_entropy", {"input": X, "target": TARGET}, {"label_smoothing": 1.0}),
    ("cross_entropy", {"input": X, "target": SHARES}, {}),
    ("cross_entropy", {"input": X, "target": SHARES, "weight": OF_CLASS},
     {"label_smoothing": 0.125}),
    ("cross_entropy", {"input": X[0], "target": SHARES[0], "weight": OF_CLASS}, {}),
    ("cross_entropy", {"input": IMAGE, "target": np.abs(IMAGE)}, {}),
    ("nll_loss", {"input": LOG_P, "target": TARGET}, {}),
    ("nll_loss", {"input": LOG_P, "target": IGNORING, "weight": OF_CLASS}, {}),
    ("nll_loss", {"input": LOG_P[0], "target": TARGET[0]}, {}),
    ("nll_loss", {"input": IMAGE, "target": PIXELS}, {"ignore_index": 3}),
    ("binary_cross_entropy", {"input": P, "target": Q}, {}),
    ("binary_cross_entropy", {"input": P, "target": Q, "weight": OF_CLASS}, {}),
    ("binary_cross_entropy", {"input": ENDS, "target": (Q > 0.5).astype(np.float32)}, {}),
    ("binary_cross_entropy_with_logits", {"input": X, "target": Q}, {}),
    ("binary_cross_entropy_with_logits", {"input": FAR, "target": Q}, {}),
    ("binary_cross_entropy_with_logits",
     {"input": X, "target": Q, "weight": W, "pos_weight": OF_CLASS}, {}),
    ("kl_div", {"input": LOG_P, "target": Q}, {}),
    ("kl_div", {"input": LOG_P, "target": np.where(Q < 0.5, np.float32(0), Q)}, {}),
    ("kl_div", {"input": LOG_P, "target": Y}, {"log_target": True}),
    ("poisson_nll_loss", {"input": X, "target": COUNTS}, {}),
    ("poisson_nll_loss", {"input": X, "target": COUNTS}, {"full": True}),
    ("poisson_nll_loss", {"input": P, "target": COUNTS}, {"log_input": False}),
    ("poisson_nll_loss", {"input": P, "target": COUNTS},
     {"log_input": False, "full": True, "eps": 0.5}),
    ("gaussian_nll_loss", {"input": X, "target": Y, "var": P}, {}),
    ("gaussian_nll_loss", {"input": X, "target": Y, "var": P[:, 0]}, {"full": True}),
    ("gaussian_nll_loss", {"input": X, "target": Y, "var": P[:, :1]}, {"eps": 0.25}),
    ("soft_margin_loss", {"input": X, "target": SIGNS}, {}),
    ("hinge_embedding_loss", {"input": X, "target": SIGNS}, {}),
    ("hinge_embedding_loss", {"input": X, "target": SIGNS}, {"margin": 0.25}),
    ("hinge_embedding_loss", {"input": X, "target": np.float32(0) * X + 3}, {}),
    ("cosine_embedding_loss", {"input1": X, "input2": Y, "target": SIGNS[:, 0]}, {}),
    ("cosine_embedding_loss", {"input1": X, "input2": Y, "target": SIGNS[:, 0]}, {"margin": 0.25}),
    ("cosine_embedding_loss", {"input1": X[0], "input2": Y[0], "target": SIGNS[0, 0]}, {}),
]  # fmt: skip
IDS = [f"{name} {number}" for number, (name, _, _) in enumerate(CALLS)]


def theirs(name: str, arrays: dict, **options) -> np.ndarray:
    named = {key: wide(np.asarray(value)) for key, value in arrays.items()}
    return np.asarray(getattr(TF, name)(**named, **options).detach())


def magnitude(arrays: dict, losses: np.ndarray) -> np.ndarray:
    """What the terms of one loss add up to: its own size and the largest operand's."""
    numbers = [np.abs(np.asarray(a)).astype(np.float64) for a in arrays.values()]
    numbers = [a for a, key in zip(numbers, arrays, strict=True) if arrays[key].dtype.kind == "f"]
    return np.abs(losses) + max(a.max() for a in numbers) + 1


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("name", "arrays", "options"), CALLS, ids=IDS)
def test_forward(name, arrays, options, reduction, isa):
    got = getattr(F, name)(**arrays, **options, reduction=reduction)
    want = theirs(name, arrays, **options, reduction=reduction)
    losses = theirs(name, arrays, **options, reduction="none")
    scale = magnitude(arrays, losses)
    # Roundings of one loss: a row's sum of classes, and 24 for its functions and products.
    units = row_chain(COLS) + 24
    if reduction != "none":
        units += row_chain(losses.size)
        scale = scale.sum() if reduction == "sum" else scale.max()
        if "weight" in arrays and reduction == "mean":
            # Divided by a sum of weights, each at least 0.5.
            scale = 4 * scale
    within_scale(got, want, np.broadcast_to(scale, want.shape), np.float32, units)


def test_batchmean():
    for log_target, target in ((False, Q), (True, Y)):
        named = {"reduction": "batchmean", "log_target": log_target}
        got = F.kl_div(LOG_P, target, **named)
        want = oracle(lambda x, y, named=named: TF.kl_div(x, y, **named), LOG_P, target)
        within_scale(got, want, np.full((), 1e3), np.float32, 64)
    one = F.kl_div(LOG_P[0, 0], Q[0, 0], reduction="batchmean")
    np.testing.assert_allclose(one, F.kl_div(LOG_P[0, 0], Q[0, 0]))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cosine_similarity(dim, isa):
    got = F.cosine_similarity(X, Y[:1], dim)
    want = oracle(lambda a, b: TF.cosine_similarity(a, b, dim), X, Y[:1])
    within_scale(got, want, np.ones_like(want), np.float32, 2 * row_chain(COLS) + 12)
    small = oracle(lambda a, b: TF.cosine_similarity(a, b, dim, 100.0), X, Y)
    got = F.cosine_similarity(X, Y, dim, 100.0)
    within_scale(got, small, np.ones_like(small), np.float32, 2 * row_chain(COLS) + 12)


MODULES = [
    ("MSELoss", {}, (X, Y)),
    ("L1Loss", {}, (X, Y)),
    ("SmoothL1Loss", {"beta": 0.5}, (X, Y)),
    ("HuberLoss", {"delta": 0.5}, (X, Y)),
    ("CrossEntropyLoss", {"weight": OF_CLASS, "label_smoothing": 0.125}, (X, IGNORING)),
    ("CrossEntropyLoss", {"ignore_index": int(TARGET[0])}, (X, TARGET)),
    ("NLLLoss", {"weight": OF_CLASS}, (LOG_P, IGNORING)),
    ("BCELoss", {"weight": OF_CLASS}, (P, Q)),
    ("BCEWithLogitsLoss", {"weight": W, "pos_weight": OF_CLASS}, (X, Q)),
    ("KLDivLoss", {"log_target": True}, (LOG_P, Y)),
    ("PoissonNLLLoss", {"full": True}, (X, COUNTS)),
    ("GaussianNLLLoss", {"full": True, "eps": 0.25}, (X, Y, P)),
    ("HingeEmbeddingLoss", {"margin": 0.25}, (X, SIGNS)),
    ("CosineEmbeddingLoss", {"margin": 0.25}, (X, Y, SIGNS[:, 0])),
]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("name", "options", "inputs"), MODULES)
def test_modules(name, options, inputs, reduction):
    """The options reach the function, whose numbers are judged above."""
    ours = getattr(nn, name)(**options, reduction=reduction)
    named = {k: wide(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    twin = getattr(torch.nn, name)(**named, reduction=reduction)
    assert list(ours.state_dict()) == list(twin.state_dict())
    assert repr(ours) == repr(twin)
    np.testing.assert_allclose(ours(*inputs), oracle(twin, *inputs), rtol=1e-4, atol=1e-4)


def test_module_of_cosines():
    ours, twin = nn.CosineSimilarity(0, 1e-6), torch.nn.CosineSimilarity(0, 1e-6)
    assert repr(ours) == repr(twin)
    np.testing.assert_allclose(ours(X, Y), oracle(twin, X, Y), rtol=1e-4, atol=1e-4)
