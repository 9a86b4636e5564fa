# SPDX-License-Identifier: Apache-2.0
"""Every layer with calls of it: what its tests of meaning, parity and bad input begin with.

A layer without parameters whose function has its name takes the calls of that one's formula. Any
other one needs a row here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from formulas import along, composed, losses, pointwise
from formulas.formula import draw
from lamella import functional as F
from lamella import nn
from lamella.nn import activation, dropout, embedding, linear, loss, norm, softmax, units

FORMULAS = {
    **pointwise.FORMULAS,
    **along.FORMULAS,
    **losses.FORMULAS,
    **composed.FORMULAS,
}
X, CUBE, IMAGE = pointwise.X, along.CUBE, composed.IMAGE
ROOMS = (activation, dropout, embedding, linear, loss, norm, softmax, units)

# Layers with parameters, a form of their arguments or defaults of their own.
OTHERWISE = {"Bilinear", "Embedding", "Flatten", "LayerNorm", "Linear", "PReLU"}
OTHERWISE |= {"Dropout", "GroupNorm", "RMSNorm", "Threshold", "Unflatten"}


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


def function_of(layer: str) -> str | None:
    """The function of the layer's name: `leaky_relu` of LeakyReLU, `kl_div` of KLDivLoss."""
    by_letters = {name.replace("_", ""): name for name in FORMULAS}
    letters = layer.lower()
    return by_letters.get(letters) or by_letters.get(letters.removesuffix("loss"))


def derived(layer: str, of: str) -> Iterator[Layer]:
    """The calls of the function's formula: what the constructor takes are options."""
    taken = inspect.signature(getattr(nn, layer)).parameters
    signature = inspect.signature(getattr(F, of))
    for one in FORMULAS[of].calls:
        given = signature.bind(*one.args, **one.named).arguments
        options = {name: value for name, value in given.items() if name in taken}
        inputs = tuple(value for name, value in given.items() if name not in taken)
        if len(inputs) == len(inspect.signature(getattr(nn, layer).forward).parameters) - 1:
            yield Layer(layer, of, inputs, options)


def instance_norms(name: str, x: np.ndarray) -> list[Layer]:
    running = {"mean": np.zeros(6), "var": np.ones(6), "use_input_stats": False}
    options: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
        ({}, {}, False),
        ({"eps": 0.5, "affine": True}, {"eps": 0.5}, False),
        ({"affine": True, "bias": False}, {}, True),
        ({"track_running_stats": True}, running, False),
        ({"track_running_stats": True}, {}, True),
    ]
    return [
        Layer(name, "instance_norm", (x,), {"num_features": 6, **given}, named, train)
        for given, named, train in options
    ]


NAMES_OF_LAYERS = sorted(name for room in ROOMS for name in room.__all__)
# Layers without parameters whose function has their name need no row; all others stand here.
LAYERS = [
    *(
        row
        for layer in NAMES_OF_LAYERS
        if (of := function_of(layer)) and layer not in OTHERWISE
        for row in derived(layer, of)
    ),
    Layer("Threshold", "threshold", (X,), {"threshold": 0.5, "value": -2.0}, {"t": 0.5, "v": -2.0}),
    Layer("PReLU", "prelu", (X,), {"init": 0.4}, {"weight": np.float64([np.float32(0.4)])}),
    Layer("PReLU", "prelu", (X,), {"num_parameters": 6}, {}),
    Layer("PReLU", "prelu", (X,), {}, {"weight": np.float64([0.25])}),
    Layer("Maxout", "maxout", (X,), {}, {"num_pieces": 2}),
    *loss_layer("BCELoss", "binary_cross_entropy", (losses.P, losses.Q), weight=losses.BY_CLASS),
    *loss_layer(
        "BCEWithLogitsLoss",
        "binary_cross_entropy_with_logits",
        (losses.X, losses.Q),
        weight=losses.WEIGHT,
        pos_weight=losses.BY_CLASS,
    ),
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
    Layer("Softmax2d", "softmax", (CUBE,), {}, {"dim": -3}),
    Layer("Softmax2d", "softmax", (draw(2, 3, 2, 4),), {}, {"dim": -3}),
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
    Layer(
        "GroupNorm", "group_norm", (IMAGE,), {"num_groups": 3, "num_channels": 6}, {"num_groups": 3}
    ),
    Layer(
        "GroupNorm",
        "group_norm",
        (IMAGE,),
        {"num_groups": 2, "num_channels": 6, "eps": 0.5, "bias": False},
        {"num_groups": 2, "eps": 0.5},
    ),
    Layer(
        "GroupNorm",
        "group_norm",
        (X,),
        {"num_groups": 2, "num_channels": 6, "affine": False},
        {"num_groups": 2},
    ),
    *(
        row
        for name, x in (("1d", IMAGE[:, :, 0]), ("2d", IMAGE), ("3d", IMAGE[:, :, None]))
        for row in instance_norms(f"InstanceNorm{name}", x)
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
