# SPDX-License-Identifier: Apache-2.0
"""What is exported keeps its digits: small values, tails, large numbers, numbers of float64.

Each function is written to a file, run by ONNX Runtime and read back by lamella; both are held to
the error that onnx/forms.py states, against float64 values of NumPy, SciPy's being C's own here.
Where ONNX has an operator it is taken as it is, whatever its runtime makes of it: ONNX Runtime's
Sigmoid, Elu and Gelu lose their tails, which lamella's keep.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import lamella as lm
from comparators import ulp_error
from graphs import Functional
from lamella import functional as F
from lamella import nn

runtime = pytest.importorskip("onnxruntime")


def by_runtime(data: bytes, x: np.ndarray) -> np.ndarray:
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def read_back(data: bytes, x: np.ndarray) -> np.ndarray:
    return lm.onnx.load(data)(x)


def points(low: float, high: float) -> np.ndarray:
    """All magnitudes of both signs between two bounds, and both zeros."""
    rng = np.random.default_rng(8)
    x = 2.0 ** rng.uniform(-120, 7, 3000) * rng.choice([-1.0, 1.0], 3000)
    x = np.concatenate([x, rng.uniform(-12, 12, 2000), rng.uniform(-1.5, 1.5, 2000), [0.0, -0.0]])
    return x[(x > low) & (x < high)].astype(np.float32)


def tanhshrink(x: float) -> float:
    if abs(x) < 0.03:
        return x**3 * (1 / 3 - x**2 * (2 / 15 - x**2 * (17 / 315 - x**2 * 62 / 2835)))
    return x - math.tanh(x)


# Function, values, bounds of the arguments, units in the last place.
FORMS = {
    "expm1": (F.expm1, math.expm1, (-100.0, 88.0), 4),
    "log1p": (F.log1p, math.log1p, (-1.0, 1e30), 4),
    "erfc": (F.erfc, math.erfc, (-100.0, 10.0), 6),
    "tanhshrink": (F.tanhshrink, tanhshrink, (-100.0, 100.0), 4),
}


@pytest.mark.parametrize("run", [by_runtime, read_back])
@pytest.mark.parametrize("name", FORMS)
def test_forms(name, run):
    function, exact, bounds, units = FORMS[name]
    x = points(*bounds)
    got = run(lm.onnx.encode(Functional(function), x), x)
    want = np.array([exact(float(v)) for v in x])
    error = ulp_error(got, want)
    assert error.max() <= units, f"{error.max():.2f} at {x[error.argmax()]!r}"
    assert (np.signbit(got) == np.signbit(want))[got != 0].all()


@pytest.mark.parametrize("name", FORMS)
def test_forms_at_the_ends(name):
    """Infinities, zeros and NaN give what the function itself gives.

    But for the sign of zero in ONNX Runtime, whose Where adds what it chose to a zero.
    """
    function = FORMS[name][0]
    x = np.array([np.inf, -np.inf, 0.0, -0.0, np.nan, 200.0, -200.0], np.float32)
    data = lm.onnx.encode(Functional(function), x)
    for run in (by_runtime, read_back):
        np.testing.assert_allclose(run(data, x), function(x), rtol=2.0**-22)
    same = np.signbit(read_back(data, x)) == np.signbit(function(x))
    assert same[~np.isnan(function(x))].all()


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_float64(name):
    function, _, bounds, units = FORMS[name]
    x = points(*bounds).astype(np.float64)
    got = lm.onnx.load(lm.onnx.encode(Functional(function), x))(x)
    want = function(x)
    normal = np.abs(want) > 1e-300
    scale = np.spacing(np.abs(want[normal]))
    # The exponent of erfc's rest reaches 3.4, whose rounding counts as often.
    assert (np.abs(got - want)[normal] / scale).max() <= 2 * units


SPREADS = [
    [1e25, 2e25, 3e25, 7e25], [1e-30, 2e-30, 3e-30, -1e-30], [1e38, -1e38, 5e37, 0.0],
    [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1e6, 1e6 + 1, 1e6 + 2, 1e6],
]  # fmt: skip


@pytest.mark.parametrize("run", [by_runtime, read_back])
def test_spreads_and_lengths(run):
    x = np.array(SPREADS, np.float32)
    wide = x.astype(np.float64)
    got = run(lm.onnx.encode(Functional(lambda v: F.std(v, 1)), x), x)
    assert ulp_error(got, wide.std(1, ddof=1)).max() <= 4
    other = np.array([[1.0, -2.0, 3.0, 0.5]], np.float32)
    got = run(lm.onnx.encode(Functional(lambda v: F.cosine_similarity(v, other)), x), x)
    lengths = np.maximum(np.linalg.norm(wide, axis=1), 1e-8) * np.linalg.norm(other)
    # Sums of four products of size up to 1: an absolute error.
    assert np.abs(got - (wide * other).sum(1) / lengths).max() <= 4 * 2.0**-23


def test_quotients_and_remainders():
    """a - floor(a / b) b would lose all digits of a small remainder."""
    a = np.array([1e10, -1e10, 7.0, -7.0, 5.5, 0.3, -0.0, 1.0, 6.0], np.float32)
    b = np.array([3.0, 3.0, -2.0, 2.0, np.inf, 0.1, 2.0, 0.0, -3.0], np.float32)
    for function in (F.remainder, F.floor_divide):
        data = lm.onnx.encode(Functional(lambda v, f=function: f(v, b)), a)
        want = function(a, b)
        for run in (by_runtime, read_back):
            np.testing.assert_array_equal(run(data, a), want)
        zero = want == 0
        assert (np.signbit(read_back(data, a)) == np.signbit(want))[zero].all()


def test_softplus_keeps_its_threshold():
    x = np.linspace(-5, 5, 41, dtype=np.float32)
    for module in (nn.Softplus(1.0, 1.0), nn.Softplus(2.0, 3.0), nn.Softplus()):
        data = lm.onnx.encode(module, x)
        for run in (by_runtime, read_back):
            np.testing.assert_allclose(run(data, x), module(x), rtol=1e-6)


MODULES = [
    nn.LeakyReLU(0.01), nn.Hardsigmoid(), nn.ELU(0.3), nn.SELU(), nn.Softshrink(0.1), nn.CELU(0.3),
    nn.Hardshrink(0.1), nn.ELU(), nn.Softplus(0.3), nn.Softplus(), nn.Hardtanh(-0.1, 0.3),
    nn.Threshold(0.1, 0.7), nn.Hardswish(), nn.LayerNorm(13), nn.RMSNorm(13), nn.GELU("tanh"),
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_float64_has_its_own_numbers(module):
    """Attributes of ONNX are float32: 0.01 as one is off by 2e-8 of itself."""
    x = np.linspace(-3, 3, 26).reshape(2, 13) * [[1.0], [1e-2]]
    module = module.double() if isinstance(module, nn.LayerNorm | nn.RMSNorm) else module
    again = lm.onnx.load(lm.onnx.encode(module, x))(x)
    np.testing.assert_allclose(again, module(x), rtol=1e-13, atol=1e-16)


def test_rules_of_large_and_small_numbers():
    """Normalisations of the door whose squares leave the range."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    for scale in (1e30, 1e-30, 1.0):
        x = (np.array([[[1.0, 2, -3, 4], [5, 6, 7, -9]]]) * scale).astype(np.float32)
        wide = x.astype(np.float64)
        rows = wide - wide.mean(2, keepdims=True)
        # Op, opset, attributes, further operands, the values, whether smallness matters.
        cases = [
            ("ReduceL2", 11, {"axes": [2], "keepdims": 0}, 0, np.linalg.norm(wide, axis=2)),
            ("LpNormalization", 11, {"axis": 2}, 0,
             wide / np.linalg.norm(wide, axis=2, keepdims=True)),
            ("InstanceNormalization", 11, {"epsilon": 1e-5}, 2,
             rows / np.sqrt(wide.var(2, keepdims=True) + float(np.float32(1e-5)))),
            ("MeanVarianceNormalization", 13, {"axes": [2]}, 0,
             rows / (wide.std(2, keepdims=True) + 1e-9)),
            ("ReduceLogSumExp", 18, {"noop_with_empty_axes": 1, "keepdims": 1}, 0, wide),
        ]  # fmt: skip
        for op, opset, attributes, vectors, want in cases:
            names = ["x", *("s", "b")[:vectors]]
            values = {"s": np.ones(2, np.float32), "b": np.zeros(2, np.float32)}
            graph = helper.make_graph(
                [helper.make_node(op, names, ["y"], **attributes)], "g",
                [helper.make_tensor_value_info("x", 1, x.shape)],
                [helper.make_tensor_value_info("y", 1, None)],
                [onnx.numpy_helper.from_array(values[name], name) for name in names[1:]],
            )  # fmt: skip
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
            got = lm.onnx.load(model.SerializeToString())(x)
            # The mean is subtracted: an error relative to the largest element.
            largest = np.abs(want).max()
            np.testing.assert_allclose(got, want, 1e-6, 3e-7 * largest, err_msg=f"{op} {scale:g}")
