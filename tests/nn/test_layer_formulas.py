# SPDX-License-Identifier: Apache-2.0
"""Every layer gives what the formula of its function gives, with its options and its parameters.

A layer without a row fails, and so does an option that no row changes.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from formulas import along, losses, pointwise
from formulas.formula import draw, near, wide
from lamella import nn
from lamella.nn import activation, dropout, embedding, linear, loss, norm, softmax, units

FORMULAS = {**pointwise.FORMULAS, **along.FORMULAS, **losses.FORMULAS}
X, CUBE = pointwise.X, along.CUBE
ROOMS = (activation, dropout, embedding, linear, loss, norm, softmax, units)

# What no result depends on, and what the tests of the layer itself show.
ELSEWHERE = {"inplace", "device", "dtype", "momentum", "sparse", "scale_grad_by_freq"}
ELSEWHERE |= {"max_norm", "norm_type", "padding_idx"}


@dataclass(frozen=True)
class Layer:
    """One layer and the call it is tried with.

    options: of the constructor. of: the function whose formula it has; named: what that takes
    besides the inputs, where it is not the options; train: how it is called.
    """

    name: str
    of: str
    inputs: tuple[Any, ...] = (X,)
    options: dict[str, Any] = field(default_factory=dict)
    named: dict[str, Any] | None = None
    train: bool = False

    def __str__(self) -> str:
        return f"{self.name} {sorted(self.options)}"


def both(name: str, of: str, inputs: tuple[Any, ...] = (X,), **options: Any) -> list[Layer]:
    """With its defaults, and with these options for the layer as for the function."""
    plain = [Layer(name, of, inputs)]
    return [*plain, Layer(name, of, inputs, options)] if options else plain


def loss_layer(name: str, of: str, inputs: tuple[Any, ...], **options: Any) -> list[Layer]:
    more = [Layer(name, of, inputs, {**options, "reduction": r}) for r in ("sum", "none")]
    return [*both(name, of, inputs, **options), *more]


LAYERS = [
    *both("CELU", "celu", alpha=0.5),
    *both("ELU", "elu", alpha=0.5),
    *both("GELU", "gelu", approximate="tanh"),
    *both("SELU", "selu"),
    *both("Hardshrink", "hardshrink", lambd=1.0),
    *both("Hardsigmoid", "hardsigmoid"),
    *both("Hardswish", "hardswish"),
    *both("Hardtanh", "hardtanh", min_val=-0.5, max_val=2.0),
    *both("LeakyReLU", "leaky_relu", negative_slope=0.2),
    *both("LogSigmoid", "logsigmoid"),
    *both("Mish", "mish"),
    *both("ReLU", "relu"),
    *both("ReLU6", "relu6", (pointwise.CORNERS,)),
    *both("SiLU", "silu"),
    *both("Sigmoid", "sigmoid"),
    *both("Softplus", "softplus", (pointwise.CORNERS,), beta=2.0, threshold=3.0),
    *both("Softshrink", "softshrink", lambd=1.0),
    *both("Softsign", "softsign"),
    *both("Tanh", "tanh"),
    *both("Tanhshrink", "tanhshrink"),
    Layer("Threshold", "threshold", (X,), {"threshold": 0.5, "value": -2.0}, {"t": 0.5, "v": -2.0}),
    Layer("PReLU", "prelu", (X,), {"init": 0.4}, {"weight": np.float64([np.float32(0.4)])}),
    Layer("PReLU", "prelu", (X,), {"num_parameters": 6}, {}),
    Layer("PReLU", "prelu", (X,), {}, {"weight": np.float64([0.25])}),
    *both("GLU", "glu", dim=0),
    *both("Maxout", "maxout", num_pieces=3, dim=1)[1:],
    Layer("Maxout", "maxout", (X,), {}, {"num_pieces": 2}),
    *both("Softmax", "softmax", dim=0)[1:],
    *both("LogSoftmax", "log_softmax", dim=0)[1:],
    *both("Softmin", "softmin", dim=0)[1:],
    *loss_layer("BCELoss", "binary_cross_entropy", (losses.P, losses.Q), weight=losses.BY_CLASS),
    *loss_layer(
        "BCEWithLogitsLoss",
        "binary_cross_entropy_with_logits",
        (losses.X, losses.Q),
        weight=losses.WEIGHT,
        pos_weight=losses.BY_CLASS,
    ),
    *loss_layer(
        "CosineEmbeddingLoss",
        "cosine_embedding_loss",
        (losses.X, losses.Y, losses.SIGNS[:, 0]),
        margin=0.1,
    ),
    *both("CosineSimilarity", "cosine_similarity", (losses.X, losses.Y), dim=0, eps=3.0),
    *loss_layer(
        "CrossEntropyLoss",
        "cross_entropy",
        (losses.X, losses.CLASSES),
        weight=losses.BY_CLASS,
        ignore_index=4,
        label_smoothing=0.2,
    ),
    *loss_layer(
        "GaussianNLLLoss",
        "gaussian_nll_loss",
        (losses.X, losses.Y, losses.RATES),
        full=True,
        eps=1.0,
    ),
    *loss_layer(
        "HingeEmbeddingLoss", "hinge_embedding_loss", (losses.X, losses.SIGNS), margin=0.25
    ),
    *loss_layer("HuberLoss", "huber_loss", (losses.X, losses.Y), delta=2.5),
    *loss_layer("KLDivLoss", "kl_div", (losses.X, losses.Q), log_target=True),
    *loss_layer("L1Loss", "l1_loss", (losses.X, losses.Y)),
    *loss_layer("MSELoss", "mse_loss", (losses.X, losses.Y)),
    *loss_layer(
        "NLLLoss", "nll_loss", (losses.X, losses.CLASSES), weight=losses.BY_CLASS, ignore_index=4
    ),
    *loss_layer(
        "PoissonNLLLoss",
        "poisson_nll_loss",
        (losses.RATES, losses.COUNTS),
        log_input=False,
        full=True,
        eps=0.5,
    ),
    *loss_layer("SmoothL1Loss", "smooth_l1_loss", (losses.X, losses.Y), beta=2.5),
    Layer("Linear", "linear", (X,), {"in_features": 6, "out_features": 5}, {}),
    Layer("Linear", "linear", (X,), {"in_features": 6, "out_features": 5, "bias": False}, {}),
    Layer(
        "Bilinear",
        "bilinear",
        (X, draw(4, 3)),
        {"in1_features": 6, "in2_features": 3, "out_features": 5},
        {},
    ),
    Layer(
        "Bilinear",
        "bilinear",
        (X, draw(4, 3)),
        {"in1_features": 6, "in2_features": 3, "out_features": 5, "bias": False},
        {},
    ),
    Layer("Flatten", "flatten", (CUBE,), {}, {"start_dim": 1}),
    Layer("Flatten", "flatten", (CUBE,), {"start_dim": 0, "end_dim": 1}),
    Layer(
        "Unflatten",
        "unflatten",
        (X,),
        {"dim": 1, "unflattened_size": (2, 3)},
        {"dim": 1, "sizes": (2, 3)},
    ),
    Layer("Identity", "add", (X,), {}, {"y": 0.0}),
    Layer(
        "Embedding",
        "embedding",
        (np.array([[0, 3], [2, 2]]),),
        {"num_embeddings": 4, "embedding_dim": 6},
        {},
    ),
    Layer("Dropout", "dropout", (X,), {"p": 0.3}, {"training": False}),
    Layer("Dropout", "dropout", (X,), {"p": 1.0}, {"p": 1.0}, train=True),
    Layer("LayerNorm", "layer_norm", (X,), {"normalized_shape": 6}),
    Layer("LayerNorm", "layer_norm", (CUBE,), {"normalized_shape": (3, 4), "eps": 0.5}),
    Layer(
        "LayerNorm",
        "layer_norm",
        (X,),
        {"normalized_shape": 6, "bias": False},
        {"normalized_shape": 6},
    ),
    Layer(
        "LayerNorm",
        "layer_norm",
        (X,),
        {"normalized_shape": 6, "elementwise_affine": False},
        {"normalized_shape": 6},
    ),
    Layer("RMSNorm", "rms_norm", (X,), {"normalized_shape": 6}),
    Layer("RMSNorm", "rms_norm", (CUBE,), {"normalized_shape": (3, 4), "eps": 0.5}),
    Layer(
        "RMSNorm",
        "rms_norm",
        (X,),
        {"normalized_shape": 6, "elementwise_affine": False},
        {"normalized_shape": 6},
    ),
    Layer("BatchNorm1d", "batch_norm", (CUBE,), {"num_features": 3}, {}),
    Layer("BatchNorm1d", "batch_norm", (CUBE,), {"num_features": 3, "eps": 0.5}, {"eps": 0.5}),
    Layer("BatchNorm1d", "batch_norm", (CUBE,), {"num_features": 3, "affine": False}, {}),
    Layer("BatchNorm1d", "batch_norm", (CUBE,), {"num_features": 3, "bias": False}, {}),
    Layer(
        "BatchNorm1d",
        "batch_norm",
        (CUBE,),
        {"num_features": 3, "track_running_stats": False},
        {"mean": None, "var": None, "training": True},
    ),
    Layer(
        "BatchNorm1d", "batch_norm", (CUBE,), {"num_features": 3}, {"training": True}, train=True
    ),
]
# The names that formulas have for parameters and running statistics.
NAMES = {"running_mean": "mean", "running_var": "var"}


def _parameters(layer: nn.Module) -> dict[str, np.ndarray]:
    """Gives the layer other numbers than those it begins with, and tells them."""
    found = {}
    for i, (name, value) in enumerate(layer.state_dict().items()):
        if name == "num_batches_tracked":
            continue
        found[name] = draw(*value.shape, seed=50 + i, low=0.25)
    layer.load_state_dict({**layer.state_dict(), **found})
    return {NAMES.get(name, name): wide(value) for name, value in found.items()}


@pytest.mark.parametrize("row", LAYERS, ids=str)
def test_layers_mean_what_their_formulas_say(row: Layer) -> None:
    layer = getattr(nn, row.name)(**row.options)
    named = row.options if row.named is None else row.named
    named = {name: wide(value) for name, value in named.items()}
    if row.name != "PReLU" or not row.named:  # whose first value is an option
        named |= _parameters(layer)
    layer = layer.train() if row.train else layer.eval()
    got = layer(*row.inputs)
    near(got, np.asarray(FORMULAS[row.of].of(*map(wide, row.inputs), **named)))


def test_every_layer_has_a_row() -> None:
    names = {name for room in ROOMS for name in room.__all__}
    assert {row.name for row in LAYERS} == names


@pytest.mark.parametrize("name", sorted({row.name for row in LAYERS}))
def test_every_option_is_tried(name: str) -> None:
    for option, parameter in inspect.signature(getattr(nn, name)).parameters.items():
        if parameter.default is inspect.Parameter.empty or option in ELSEWHERE:
            continue
        tried = [row.options[option] for row in LAYERS
                 if row.name == name and option in row.options]  # fmt: skip
        other = [v for v in tried if isinstance(v, np.ndarray) or v != parameter.default]
        assert other, f"{name}: no row with another {option}"
