# SPDX-License-Identifier: Apache-2.0
"""Parity of layers with PyTorch: forward, state, names, layouts, constructor arguments, repr."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from cases.layers import LAYERS as CALLS
from comparators import same_values, within_scale
from lamella import functional as F
from lamella import nn
from parity.oracle import check_unary, draw, oracle, samples

torch = pytest.importorskip("torch")
TF = torch.nn.functional


INITIALISERS = """uniform_ normal_ trunc_normal_ constant_ ones_ zeros_ eye_ xavier_uniform_
    xavier_normal_ kaiming_uniform_ kaiming_normal_ orthogonal_ calculate_gain"""

ACTIVATIONS = {
    "ReLU": ("relu", ()),
    "ReLU6": ("relu6", ()),
    "LeakyReLU": ("leaky_relu", (0.25,)),
    "ELU": ("elu", (0.75,)),
    "SELU": ("selu", ()),
    "CELU": ("celu", (0.75,)),
    "SiLU": ("silu", ()),
    "Mish": ("mish", ()),
    "Softplus": ("softplus", (2.0, 3.0)),
    "Softsign": ("softsign", ()),
    "Sigmoid": ("sigmoid", ()),
    "Tanh": ("tanh", ()),
    "Hardtanh": ("hardtanh", (-0.5, 1.5)),
    "Hardsigmoid": ("hardsigmoid", ()),
    "Hardswish": ("hardswish", ()),
    "Tanhshrink": ("tanhshrink", ()),
    "Softshrink": ("softshrink", (0.625,)),
    "Hardshrink": ("hardshrink", (0.625,)),
    "Threshold": ("threshold", (0.25, -1.0)),
    "LogSigmoid": ("logsigmoid", ()),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_layers(name):
    row, arguments = ACTIVATIONS[name]
    # Numbers that float32 holds exactly; the defaults, some of which it does not, show in repr.
    x = samples(row)
    ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    check_unary(ours(x), oracle(theirs, x), row, x)
    if name != "Threshold":
        assert repr(getattr(nn, name)()) == repr(getattr(torch.nn, name)())


# Constructor arguments and input shapes of the layers that hold parameters or change shapes.
LAYERS = {
    "Linear": [((33, 5), [(7, 33)]), ((33, 5, False), [(7, 33)])],
    "Bilinear": [((9, 11, 4), [(6, 9), (6, 11)]), ((9, 11, 4, False), [(6, 9), (6, 11)])],
    "LayerNorm": [((37,), [(5, 37)]), (((5, 37), 1e-3, False), [(3, 5, 37)])],
    "RMSNorm": [((37, 1e-5), [(5, 37)]), (((5, 37), 1e-3, False), [(3, 5, 37)])],
    "BatchNorm1d": [((6,), [(9, 6)]), ((6, 1e-3, None), [(9, 6, 5)]),
                    ((6, 1e-5, 0.2, False), [(9, 6)]), ((6, 1e-5, 0.1, True, False), [(9, 6)])],
    "PReLU": [((), [(4, 6)]), ((6,), [(4, 6, 5)])],
    "Softmax": [((1,), [(4, 6)])],
    "LogSoftmax": [((-1,), [(4, 6)])],
    "Softmin": [((0,), [(4, 6)])],
    "GLU": [((), [(4, 6)]), ((0,), [(4, 6)])],
    "Flatten": [((), [(4, 6, 2)]), ((0, 1), [(4, 6, 2)])],
    "Unflatten": [((1, (2, 3)), [(4, 6)])],
    "Dropout": [((0.3,), [(4, 6)])],
    "Identity": [((1, 2), [(4, 6)])],
}  # fmt: skip
LAYER_CASES = [(name, *case) for name, cases in LAYERS.items() for case in cases]
# Layers without a row here, that make one array of one, as cases/layers.py has them.
LAYER_CASES += [
    (row.name, tuple(row.options.values()), [row.inputs[0].shape])
    for row in CALLS
    if row.name not in {*LAYERS, *ACTIVATIONS, "GELU"}
    and len(row.inputs) == 1
    and row.inputs[0].dtype.kind == "f"
    and hasattr(torch.nn, row.name)
]


def twins(name: str, arguments: tuple) -> tuple[nn.Module, torch.nn.Module]:
    """The same layer in both libraries, with our parameters in both."""
    ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    state = {
        key: draw(*value.shape, seed=40 + i, low=0.1, high=1.0)
        if value.dtype.kind == "f"
        else value
        for i, (key, value) in enumerate(ours.state_dict().items())
    }
    ours.load_state_dict(state)
    theirs.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in state.items()})
    return ours, theirs.double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "arguments", "shapes"), LAYER_CASES, ids=str)
def test_layers(name, arguments, shapes, training):
    if name == "Dropout" and training:
        pytest.skip("other random numbers")
    ours, theirs = twins(name, arguments)
    ours.train(training)
    theirs.train(training)
    inputs = [draw(*shape, seed=60 + i) for i, shape in enumerate(shapes)]
    for _ in range(2):
        want = oracle(theirs, *inputs)
        within_scale(ours(*inputs), want, np.abs(want) + 12, np.float32, 60)
    for key, value in ours.state_dict().items():
        want = theirs.state_dict()[key].numpy()
        if value.dtype.kind == "f":
            within_scale(value, want.astype(np.float64), np.abs(want) + 3, np.float32, 20)
        else:
            same_values(value, want)


@pytest.mark.parametrize(("name", "arguments", "shapes"), LAYER_CASES, ids=str)
def test_state_dicts_have_torchs_names_and_layouts(name, arguments, shapes):
    ours = getattr(nn, name)(*arguments).state_dict()
    theirs = getattr(torch.nn, name)(*arguments).state_dict()
    assert {k: (v.shape, str(v.dtype)) for k, v in ours.items()} == {
        k: (tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in theirs.items()
    }


def test_embedding_layer():
    ours, theirs = nn.Embedding(9, 5, padding_idx=-1), torch.nn.Embedding(9, 5, padding_idx=-1)
    theirs.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in ours.state_dict().items()})
    indices = np.array([[0, 8, 3], [3, 3, 1]])
    with torch.no_grad():
        same_values(ours(indices), theirs(torch.from_numpy(indices)).numpy())
    assert not ours.weight.data[8].any()
    assert ours.padding_idx == theirs.padding_idx == 8


NESTED = [
    ("Linear", 33, 5),
    ("ReLU",),
    ("LayerNorm", 5),
    ("RMSNorm", 5),
    ("Linear", 5, 4, False),
    ("BatchNorm1d", 4),
    ("Dropout", 0.25),
    ("LeakyReLU", 0.1),
    ("GELU",),
    ("PReLU",),
    ("Hardtanh",),
    ("Softplus",),
    ("Threshold", 0.1, 2.0),
    ("Embedding", 4, 3),
    ("Bilinear", 2, 3, 4),
    ("Softmax", -1),
    ("Flatten",),
    ("GLU",),
    ("Softshrink",),
]


def test_repr_and_names_of_a_model():
    def model(library):
        layers = [getattr(library, name)(*arguments) for name, *arguments in NESTED]
        return library.Sequential(*layers, library.Sequential(library.Linear(2, 2)))

    ours, theirs = model(nn), model(torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for kind in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        names = [[name for name, _ in getattr(one, kind)()] for one in (ours, theirs)]
        assert names[0] == names[1], kind


def names_of(callable_: object) -> list[str]:
    return [name for name in inspect.signature(callable_).parameters if name != "self"]


# torch adds what only training, GPUs or sparse gradients need; ours end earlier there.
@pytest.mark.parametrize("name", [n for n in nn.__all__ if hasattr(torch.nn, n)])
def test_constructor_arguments_have_torchs_names(name):
    if not inspect.isclass(getattr(nn, name)) or name in ("Sequential", "Buffer", "Module"):
        pytest.skip("takes what it is given")
    ours, theirs = names_of(getattr(nn, name).__init__), names_of(getattr(torch.nn, name).__init__)
    theirs = [n for n in theirs if not n.startswith("_")]
    if name in ("Parameter", "ParameterList"):
        return
    assert [n for n in ours if n in theirs] == [n for n in theirs if n in ours]
    assert set(ours) <= set(theirs)


@pytest.mark.parametrize("name", [n for n in F.__all__ if hasattr(TF, n)])
def test_functions_have_torchs_argument_names(name):
    try:
        theirs = names_of(getattr(TF, name))
    except ValueError:
        pytest.skip("built in, without a signature")
    if theirs in (["args", "kwargs"], []):
        pytest.skip("dispatches on its arguments")
    ours = [n for n in names_of(getattr(F, name)) if n not in ("out", "activation", "residual")]
    assert ours == [n for n in theirs if n in ours]


@pytest.mark.parametrize("name", INITIALISERS.split())
def test_initialisers_have_torchs_arguments(name):
    ours = names_of(getattr(nn.init, name))
    theirs = names_of(getattr(torch.nn.init, name))
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "param"),
    [("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None), ("relu", None),
     ("leaky_relu", None), ("leaky_relu", 0.3), ("selu", None)],
)  # fmt: skip
def test_gains(name, param):
    assert nn.init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)
