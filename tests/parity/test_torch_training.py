# SPDX-License-Identifier: Apache-2.0
"""A hundred training steps beside PyTorch's: loss curves within 1e-4, whatever the net is made of.

Both start from the same weights and see the same batches, in float32. Their sums round differently,
and a hundred steps carry that on: to some 1e-6 of a loss, where 1e-4 is what lamella promises. What
makes any rounding large (jumps, divisions by what can vanish) is compared in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim
from lamella.nn import activation, loss, softmax, units
from parity.test_torch_layers import ACTIVATIONS
from parity.test_torch_optim import OPTIONS

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

STEPS, BATCH, IN, OUT = 100, 32, 6, 4
RNG = np.random.default_rng(75)
X = RNG.normal(size=(STEPS, BATCH, IN)).astype(np.float32)
TEACHER = RNG.normal(size=(IN, OUT)).astype(np.float32)
Z = np.tanh(X @ TEACHER)
LABELS = Z.argmax(-1)

Build = Callable[[Any], Any]


def mlp(*between: Build) -> Build:
    """Two dense layers with the layers `between` them, from either library."""
    return lambda lib: lib.Sequential(
        lib.Linear(IN, 16), *(layer(lib) for layer in between), lib.Linear(16, OUT)
    )


def weights(net: nn.Module) -> dict[str, np.ndarray]:
    """Numbers of the size that torch initialises with, from a fixed seed."""
    rng = np.random.default_rng(76)
    return {
        name: (value + rng.normal(size=value.shape) * value.shape[-1] ** -0.5).astype(value.dtype)
        if name.endswith(("weight", "bias"))
        else value
        for name, value in net.state_dict().items()
    }


def assert_same_curves(
    build: Build,
    loss: Build,
    x: np.ndarray,
    y: Any,
    kind: str = "Adam",
    call: Callable[..., Any] | None = None,
    dtype: str = "float32",
    **options: Any,
) -> None:
    """call(loss module, output, target): the loss, where it is not loss(output, target)."""
    x = x if x.dtype.kind == "i" else x.astype(dtype)
    options = options or {"lr": 0.01}
    ours, theirs = build(nn), build(torch.nn)
    state = weights(ours)
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()})
    if dtype == "float64":
        ours.double()
        theirs.double()
    mine, other = loss(nn), loss(torch.nn)
    step = lm.TrainStep(
        ours,
        mine if call is None else lambda output, target: call(mine, output, target),
        getattr(optim, kind)(ours.parameters(), **options),
    )
    optimizer = getattr(torch.optim, kind)(theirs.parameters(), **options, foreach=False)
    found, wanted = [], []
    for number in range(STEPS):
        target = {k: v[number] for k, v in y.items()} if isinstance(y, dict) else y[number]
        found.append(float(step(x[number], target)))
        optimizer.zero_grad()
        tensors = (
            {k: torch.from_numpy(v) for k, v in target.items()}
            if isinstance(target, dict)
            else torch.from_numpy(target)
        )
        output = theirs(torch.from_numpy(x[number]))
        value = other(output, tensors) if call is None else call(other, output, tensors)
        value.backward()
        optimizer.step()
        wanted.append(float(value.detach()))
    assert np.isfinite(wanted).all()
    assert len(set(wanted)) == STEPS
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    for name, value in theirs.state_dict().items():
        assert np.isfinite(value.numpy()).all(), name


def layer(name: str, *arguments: Any, **named: Any) -> Build:
    return lambda lib: getattr(lib, name)(*arguments, **named)


MSE, CROSS_ENTROPY = layer("MSELoss"), layer("CrossEntropyLoss")

BETWEEN = {
    **{name: (layer(name, *arguments),) for name, (_, arguments) in ACTIVATIONS.items()},
    "GELU": (layer("GELU"),),
    "GELU tanh": (layer("GELU", approximate="tanh"),),
    "PReLU": (layer("PReLU", 16),),
    "Softmax": (layer("Softmax", -1),),
    "LogSoftmax": (layer("LogSoftmax", -1),),
    "Softmin": (layer("Softmin", -1),),
    "GLU": (layer("Linear", 16, 32), layer("GLU")),
    "BatchNorm1d": (layer("BatchNorm1d", 16), layer("ReLU")),
    "BatchNorm1d cumulative": (layer("BatchNorm1d", 16, momentum=None), layer("Tanh")),
    "LayerNorm": (layer("LayerNorm", 16), layer("SiLU")),
    "RMSNorm": (layer("RMSNorm", 16, eps=1e-6), layer("GELU")),
    "Dropout of nothing": (layer("Dropout", 0.0), layer("ReLU")),
    "deep": (
        *map(layer, ("Tanh", "Identity", "Sigmoid")),
        *(layer("Linear", 16, 16), layer("ReLU"), layer("Linear", 16, 16), layer("ELU")),
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_layers(name):
    # Functions that jump: a rounding decides on which side, and the curves part there.
    dtype = "float64" if name in ("Hardshrink", "Threshold") else "float32"
    assert_same_curves(mlp(*BETWEEN[name]), CROSS_ENTROPY, X, LABELS, dtype=dtype)


@pytest.mark.parametrize("number", range(len(OPTIONS)), ids=lambda i: f"{OPTIONS[i][0]} {i}")
def test_optimisers(number):
    kind, options = OPTIONS[number]
    # Climbing has no floor: the rate is small enough for a hundred steps to stay finite.
    if options.get("maximize"):
        options = {**options, "lr": 1e-3}
    # Without a memory of squares a step is m / |g|: where g is about 0, of any size and sign.
    if options.get("betas", (0, 1))[1] == 0:
        options = {**options, "eps": 0.1}
    # Centred squares are differences that can all but vanish, and a step is divided by them.
    dtype = "float64" if options.get("centered") else "float32"
    assert_same_curves(mlp(layer("Tanh")), CROSS_ENTROPY, X, LABELS, kind, dtype=dtype, **options)


PROBABILITIES = np.exp(Z) / np.exp(Z).sum(-1, keepdims=True)
SIGNS = np.where(Z > 0, np.float32(1), np.float32(-1))
HALF = (Z > 0).astype(np.float32)
CLASS_WEIGHT = np.float32([0.5, 1.0, 2.0, 1.5])


def with_array(name: str, argument: str, **named: Any) -> Build:
    """A loss with a constructor argument that is an array, or a tensor."""

    def build(lib: Any) -> Any:
        wrap = torch.from_numpy if lib is torch.nn else np.asarray
        return getattr(lib, name)(**{argument: wrap(CLASS_WEIGHT)}, **named)

    return build


# Of three arguments: below.
OF_THREE = {"GaussianNLLLoss", "CosineEmbeddingLoss"}
OF_TWO = [n for n in loss.__all__ if n.endswith("Loss") and n not in OF_THREE]
LOSSES = {
    **{name: (layer(name), Z, ()) for name in OF_TWO},
    "MSELoss": (MSE, Z, ()),
    "MSELoss sum": (layer("MSELoss", reduction="sum"), Z, ()),
    "SmoothL1Loss narrow": (layer("SmoothL1Loss", beta=0.25), Z, ()),
    "HuberLoss": (layer("HuberLoss", delta=0.5), Z, ()),
    "CrossEntropyLoss": (CROSS_ENTROPY, LABELS, ()),
    "CrossEntropyLoss sum": (layer("CrossEntropyLoss", reduction="sum"), LABELS, ()),
    "CrossEntropyLoss smoothed": (layer("CrossEntropyLoss", label_smoothing=0.1), LABELS, ()),
    "CrossEntropyLoss ignoring": (layer("CrossEntropyLoss", ignore_index=2), LABELS, ()),
    "CrossEntropyLoss weighted": (with_array("CrossEntropyLoss", "weight"), LABELS, ()),
    "CrossEntropyLoss of probabilities": (CROSS_ENTROPY, PROBABILITIES, ()),
    "NLLLoss": (layer("NLLLoss"), LABELS, (layer("LogSoftmax", -1),)),
    "NLLLoss weighted": (with_array("NLLLoss", "weight"), LABELS, (layer("LogSoftmax", -1),)),
    "BCELoss": (layer("BCELoss"), HALF, (layer("Sigmoid"),)),
    "BCEWithLogitsLoss": (layer("BCEWithLogitsLoss"), HALF, ()),
    "BCEWithLogitsLoss weighted": (with_array("BCEWithLogitsLoss", "pos_weight"), HALF, ()),
    "KLDivLoss": (
        layer("KLDivLoss", reduction="batchmean"), PROBABILITIES, (layer("LogSoftmax", -1),)
    ),
    "KLDivLoss of logarithms": (
        layer("KLDivLoss", reduction="sum", log_target=True),
        np.log(PROBABILITIES),
        (layer("LogSoftmax", -1),),
    ),
    "PoissonNLLLoss": (layer("PoissonNLLLoss"), np.floor(3 * PROBABILITIES), ()),
    "PoissonNLLLoss full": (layer("PoissonNLLLoss", full=True), np.floor(9 * PROBABILITIES), ()),
    "HingeEmbeddingLoss": (layer("HingeEmbeddingLoss"), SIGNS, (layer("Softplus"),)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss, y, last = LOSSES[name]
    build = mlp(layer("Tanh"))
    assert_same_curves(
        lambda lib: lib.Sequential(*build(lib), *(one(lib) for one in last)), loss, X, y
    )


def test_losses_of_three_arguments():
    """Mean and variance from one net; two embeddings and a sign."""

    def gaussian(loss, output, target):
        return loss(output, target["y"], target["var"])

    var = (0.5 + Z**2).astype(np.float32)
    y = {"y": 3 + Z, "var": var}
    assert_same_curves(mlp(layer("Tanh")), layer("GaussianNLLLoss"), X, y, call=gaussian)

    def cosine(loss, output, target):
        return loss(output, target["y"], target["sign"])

    y = {"y": Z, "sign": SIGNS[:, :, 0].copy()}
    build = layer("CosineEmbeddingLoss", margin=0.1)
    assert_same_curves(mlp(layer("Tanh")), build, X, y, call=cosine)


def test_every_activation_loss_and_optimiser_is_here():
    # torch has no Maxout; Softmax2d wants images.
    other = {"Maxout", "Softmax2d"}
    activations = {*activation.__all__, *softmax.__all__, *units.__all__} - other
    assert {name.split()[0] for name in BETWEEN} >= activations
    losses = {name for name in nn.__all__ if name.endswith("Loss")}
    assert {name.split()[0] for name in LOSSES} | OF_THREE == losses
    assert {name for name, _ in OPTIONS} == set(optim.__all__) - {
        "Optimizer", "clip_norm", "clip_value", "lr_scheduler",
    }  # fmt: skip


@pytest.mark.parametrize("padding", [None, 1])
def test_embeddings(padding):
    """Rows that occur many times in a batch, rows that do not occur, and padding."""
    words = np.random.default_rng(77).integers(0, 20, (STEPS, BATCH, 3))

    def build(lib: Any) -> Any:
        return lib.Sequential(
            lib.Embedding(23, 5, padding_idx=padding),
            lib.Flatten(),
            lib.Linear(15, 16),
            lib.ReLU(),
            lib.Linear(16, OUT),
        )

    for kind in ("SGD", "Adam"):
        assert_same_curves(build, CROSS_ENTROPY, words, LABELS, kind, lr=0.05)


def test_odd_batches_and_wide_nets():
    """Many columns and few rows: other paths of the products than the small nets take."""
    x = RNG.normal(size=(STEPS, 9, 130)).astype(np.float32)
    y = x[:, :, :33].copy()

    def build(lib: Any) -> Any:
        return lib.Sequential(lib.Linear(130, 300), lib.ReLU(), lib.Linear(300, 33))

    assert_same_curves(build, MSE, x, y, "SGD", lr=0.05, momentum=0.9)
