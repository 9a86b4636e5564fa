# SPDX-License-Identifier: Apache-2.0
"""Bad input at every layer: its call, its constructor and load_state_dict.

Layers are taken from the namespace of lamella.nn, so that a new one is tested from its first day.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from cases.layers import LAYERS as CALLS
from comparators import same_bits
from hostile.arrays import HUGE, OTHERS, SAME_VALUES, huge
from hostile.every import every
from hostile.refusals import REFUSALS, check_refusal
from lamella import nn
from lamella.errors import DTypeError, ShapeError
from lamella.nn import loss

X = np.random.default_rng(100).uniform(0.25, 1, (5, 6)).astype(np.float32)
INDICES = np.array([[0, 3, 1], [2, 2, 0]])

CLASSES = np.array([5, 0, 3, 3, 1])
SIGNS = np.where(X > 0.6, np.float32(1), np.float32(-1))
# Losses take two arrays of one shape where no row says more.
PAIRS = loss.__all__

# Constructor arguments and inputs of the layers for which those of cases/layers.py do not do.
LAYERS: dict[str, tuple[tuple[object, ...], tuple[np.ndarray, ...]]] = {
    "Linear": ((6, 3), (X,)),
    "Bilinear": ((6, 6, 2), (X, X)),
    "Embedding": ((4, 7), (INDICES,)),
    "LayerNorm": ((6,), (X,)),
    "RMSNorm": ((6,), (X,)),
    "BatchNorm1d": ((6,), (X,)),
    "InstanceNorm1d": ((2, 1e-5, 0.1, True), (X.reshape(5, 2, 3),)),
    "InstanceNorm2d": ((1, 1e-5, 0.1, True), (X.reshape(5, 1, 2, 3),)),
    "InstanceNorm3d": ((1, 1e-5, 0.1, True), (X.reshape(5, 1, 1, 2, 3),)),
    "Threshold": ((0.5, 2.0), (X,)),
    "Maxout": ((2,), (X,)),
    "Softmax": ((-1,), (X,)),
    "LogSoftmax": ((-1,), (X,)),
    "Softmin": ((-1,), (X,)),
    "Unflatten": ((1, (2, 3)), (X,)),
    **dict.fromkeys(PAIRS, ((), (X, X[::-1]))),
    "CrossEntropyLoss": (([1.0] * 6,), (X, CLASSES)),
    "NLLLoss": (([1.0] * 6,), (X, CLASSES)),
    "GaussianNLLLoss": ((), (X, X[::-1], X)),
    "HingeEmbeddingLoss": ((1.0,), (X, SIGNS)),
    "CosineEmbeddingLoss": ((0.5,), (X, X[::-1], SIGNS[:, 0])),
}
# Not layers of their own: bases, containers and what they hold.
NO_LAYERS = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"}
NAMES = sorted(
    name
    for name, value in vars(nn).items()
    if inspect.isclass(value) and issubclass(value, nn.Module) and name not in NO_LAYERS
)


def make(name: str) -> tuple[nn.Module, tuple[np.ndarray, ...]]:
    if name in LAYERS:
        arguments, inputs = LAYERS[name]
        return getattr(nn, name)(*arguments).eval(), inputs
    row = next(row for row in CALLS if row.name == name)
    return getattr(nn, name)(**row.options).eval(), row.inputs


@pytest.mark.parametrize("name", NAMES)
@every(form=SAME_VALUES)
def test_other_forms_of_the_same_array(name, form):
    layer, inputs = make(name)
    want = layer(*inputs).copy()
    for index, value in enumerate(inputs):
        spoiled = (*inputs[:index], SAME_VALUES[form](value), *inputs[index + 1 :])
        same_bits(layer(*spoiled).copy(), want)
        same_bits(layer(*spoiled).copy(), want)


@pytest.mark.parametrize("name", NAMES)
def test_floating_inputs_are_cast(name):
    layer, inputs = make(name)
    for dtype in (np.float16, np.float64, ">f2", ">f8"):
        cast = tuple(x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs)
        want = layer(*[x.astype(np.float32) if x.dtype.kind == "f" else x for x in cast]).copy()
        got = layer(*cast).copy()
        if any(True for _ in layer.parameters()):
            same_bits(got, want)
        else:
            # No dtype of its own: float64 stays float64.
            assert got.dtype in (np.float32, np.float64)
            np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every(form=OTHERS)
def test_other_things(name, form):
    layer, inputs = make(name)
    want = layer(*inputs).copy()
    for index, value in enumerate(inputs):
        try:
            thing = OTHERS[form](value)
        except (ValueError, TypeError, OverflowError):
            continue
        try:
            got = layer(*inputs[:index], thing, *inputs[index + 1 :])
        except REFUSALS as error:
            check_refusal(error)
        else:
            if layer.__class__ is not nn.Identity:
                assert type(got) is np.ndarray
    same_bits(layer(*inputs).copy(), want)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, bool, np.complex64, object, "U3"])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("Embedding", "Identity")])
def test_only_floating_inputs(name, dtype):
    layer, inputs = make(name)
    if name in ("Flatten", "Unflatten", "Maxout") and np.dtype(dtype).kind in "iub":
        pytest.skip("moves elements of any type")
    if name == "ReLU" and np.dtype(dtype).kind in "iu":
        pytest.skip("is defined on integers")
    with pytest.raises(DTypeError, match=r"float"):
        layer(*[x.astype(dtype) for x in inputs])


@pytest.mark.parametrize("name", NAMES)
@every(form=HUGE)
def test_products_of_sizes_do_not_wrap(name, form):
    layer, inputs = make(name)
    with pytest.raises((*REFUSALS, MemoryError)):
        layer(*[huge(HUGE[form], x.dtype) for x in inputs])


@pytest.mark.parametrize("name", NAMES)
def test_wrong_number_of_inputs(name):
    layer, inputs = make(name)
    with pytest.raises(TypeError):
        layer()
    with pytest.raises(TypeError):
        layer(*inputs, *inputs, X, X, X)
    with pytest.raises(TypeError):
        layer(*inputs, no_such_argument=1)


BAD_NUMBERS = (-1, 1.5, "6", None, (6, 6), [], np.nan, 2**40, 2**63, 10**30, True, object())


@pytest.mark.parametrize("bad", BAD_NUMBERS, ids=[repr(b)[:12] for b in BAD_NUMBERS])
@pytest.mark.parametrize("name", [n for n in NAMES if n in LAYERS])
def test_bad_constructor_arguments(name, bad):
    """Refused when built or when used, or good for something; never a crash, never gigabytes."""
    arguments, inputs = LAYERS[name]
    for index in range(len(arguments)):
        try:
            layer = getattr(nn, name)(*arguments[:index], bad, *arguments[index + 1 :])
            layer.eval()(*inputs)
        except MemoryError:
            continue
        except REFUSALS as error:
            check_refusal(error)


def test_the_text_names_both_shapes_and_the_path():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(64, 8)

        def forward(self, x):
            return self.fc1(x)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = Encoder()

        def forward(self, x):
            return self.encoder(x)

    model = Model()
    for x in (np.zeros((32, 100), np.float32), np.zeros(100, np.float32)):
        with pytest.raises(ShapeError) as caught:
            model(x)
        text = str(caught.value)
        assert str(x.shape) in text
        assert "64" in text
        assert text.endswith("(at encoder.fc1)"), text
    with pytest.raises(DTypeError, match="float"):
        model(np.zeros((32, 64), np.int64))
    assert model(np.zeros((2, 64), np.float32)).shape == (2, 8)


def test_load_state_dict_names_everything_and_changes_nothing():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    x = np.ones((2, 4), np.float32)
    before, kept = net(x).copy(), {k: np.array(v) for k, v in net.state_dict().items()}
    state = {
        "0.weight": np.zeros((3, 5), np.float32),
        "0.bias": np.zeros(3, np.float32),
        "1.bias": np.zeros((2, 1), np.float32),
        "extra": np.zeros(1, np.float32),
        "2.weight": np.zeros(1, np.float32),
    }
    with pytest.raises((ShapeError, ValueError, KeyError)) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    for part in ("0.weight", "(3, 5)", "(3, 4)", "1.bias", "1.weight", "extra", "2.weight"):
        assert part in text, (part, text)
    for name, value in net.state_dict().items():
        same_bits(np.array(value), kept[name])
    same_bits(net(x).copy(), before)


@pytest.mark.parametrize(
    "bad",
    [None, 1, "weights", [], [("0.weight", 1)], {"0.weight": None}, {1: 2}, {"0.weight": "x"}],
    ids=repr,
)
def test_load_state_dict_of_something_else(bad):
    net = nn.Sequential(nn.Linear(4, 3))
    kept = {k: np.array(v) for k, v in net.state_dict().items()}
    with pytest.raises((*REFUSALS, KeyError)):
        net.load_state_dict(bad)
    for name, value in net.state_dict().items():
        same_bits(np.array(value), kept[name])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every(form=[f for f in OTHERS if f not in ("other float", "list")])
def test_load_state_dict_of_other_arrays(form):
    """A bad array is refused and nothing changes, though the other entries are good."""
    net = nn.Linear(6, 3)
    kept = {k: np.array(v) for k, v in net.state_dict().items()}
    try:
        thing = OTHERS[form](kept["weight"])
    except (ValueError, TypeError, OverflowError):
        pytest.skip("cannot be made")
    try:
        net.load_state_dict({"weight": thing, "bias": np.full(3, 7, np.float32)})
    except (*REFUSALS, KeyError):
        for name, value in net.state_dict().items():
            same_bits(np.array(value), kept[name])
    else:
        assert np.array(net.state_dict()["weight"]).shape == (3, 6)
        assert net(X).shape == (5, 3)


def test_parameters_cannot_be_written_through_views():
    layer = nn.Linear(6, 3)
    for value in layer.state_dict().values():
        with pytest.raises(ValueError):
            value[...] = 0
    with pytest.raises(ValueError):
        np.asarray(layer.weight)[...] = 0


@pytest.mark.parametrize("bad", [-1, 4, 2**31, 2**62, -(2**63)])
def test_indices_outside_the_table(bad):
    table = nn.Embedding(4, 7)
    indices = INDICES.copy()
    indices[1, 2] = bad
    for _ in range(3):
        with pytest.raises(IndexError) as caught:
            table(indices)
        assert str(bad) in str(caught.value)
        assert "0 to 3" in str(caught.value)
    assert table(INDICES).shape == (2, 3, 7)
