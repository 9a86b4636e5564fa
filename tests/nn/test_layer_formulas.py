# SPDX-License-Identifier: Apache-2.0
"""Every layer gives what the formula of its function gives, with its options and its parameters.

The calls are those of cases/layers.py. A layer without a call fails, and so does an option that no
call changes.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from cases.layers import FORMULAS, LAYERS, NAMES_OF_LAYERS, Layer
from formulas.formula import draw, near, wide
from lamella import nn

# What no result depends on, and what the tests of the layer itself show.
ELSEWHERE = {"inplace", "device", "dtype", "momentum", "sparse", "scale_grad_by_freq"}
ELSEWHERE |= {"max_norm", "norm_type", "padding_idx"}
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
    assert sorted({row.name for row in LAYERS}) == NAMES_OF_LAYERS


@pytest.mark.parametrize("name", sorted({row.name for row in LAYERS}))
def test_every_option_is_tried(name: str) -> None:
    for option, parameter in inspect.signature(getattr(nn, name)).parameters.items():
        if parameter.default is inspect.Parameter.empty or option in ELSEWHERE:
            continue
        tried = [row.options[option] for row in LAYERS
                 if row.name == name and option in row.options]  # fmt: skip
        other = [v for v in tried if isinstance(v, np.ndarray) or v != parameter.default]
        assert other, f"{name}: no row with another {option}"
