# SPDX-License-Identifier: Apache-2.0
"""Gradients where derivatives are delicate: PyTorch's autograd at corners, zeros, far and infinite.

In float64, since conventions are compared here, not roundings. Where autograd gives NaN (infinity
times zero inside its formula) we may give the limit instead; where it gives a number, so do we.
"""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from gradients import body_of, gradients
from lamella import functional as F
from lamella.ir.types import DType, TensorType
from lamella.ops import entries
from lamella.ops.base import number
from lamella.ops.composites import reduce, softmax
from lamella.ops.elementwise import Binary, unary
from lamella.ops.matmul import MatMul
from lamella.ops.norm import LayerNorm, RmsNorm
from lamella.ops.reduce import Reduce
from lamella.ops.tables import BINARY, UNARY
from lamella.passes import optimize
from lamella.passes.differentiate import differentiate
from lamella.runtime.emit import emit
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import begin, current

torch = pytest.importorskip("torch")
TF = torch.nn.functional

INF, NAN = float("inf"), float("nan")
# Corners of all functions, their neighbours, tails, ends of the range. Not NaN: what autograd gives
# there depends on the function and on its vector paths.
CORNERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 2.0, 3.0, 6.0, 1e-300, 1e-30, 1e-8, 0.7, 2.5, 5.0, 15.0)
CORNERS += (20.0, 37.0, 40.0, 100.0, 710.0, 800.0, 1e10, 1e200, INF)
POINTS = np.array([*CORNERS, *(-x for x in CORNERS)])
POINTS = np.concatenate([POINTS, np.nextafter(POINTS[:9], 9.0), np.nextafter(POINTS[:9], -9.0)])

# Functions without numbers that torch has under the same name.
TORCHS = [
    (name, (), function)
    for name, row in UNARY.items()
    if not row.params and (function := getattr(torch, name, None) or getattr(TF, name, None))
]
# Each row of the table: its numbers, and torch's function. What torch has not in any form is held
# to difference quotients alone (tests/ops/test_gradient.py).
FUNCTIONS = [
    *TORCHS,
    ("relu_squared", (), lambda x: torch.relu(x).square()),
    ("gelu_tanh", (), lambda x: TF.gelu(x, approximate="tanh")),
    ("leaky_relu", (0.25,), TF.leaky_relu),
    ("leaky_relu", (-0.5,), TF.leaky_relu),
    ("leaky_relu", (0.0,), TF.leaky_relu),
    ("elu", (1.5,), TF.elu),
    ("celu", (1.5,), TF.celu),
    ("softplus", (2.0, 4.0), TF.softplus),
    ("softplus", (1.0, 20.0), TF.softplus),
    ("hardtanh", (-0.75, 1.25), TF.hardtanh),
    ("clamp", (-0.75, 1.25), torch.clamp),
    ("clamp", (1.25, INF), torch.clamp),
    ("clamp", (-INF, 0.25), torch.clamp),
    ("softshrink", (0.75,), TF.softshrink),
    ("softshrink", (0.0,), TF.softshrink),
    ("hardshrink", (0.75,), TF.hardshrink),
    ("threshold", (0.25, -2.0), TF.threshold),
    ("threshold", (0.25, 2.0), TF.threshold),
]


def autograd(function, arrays, cotangent):
    tensors = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    function(*tensors).backward(torch.tensor(cotangent))
    return [x.grad.numpy() for x in tensors if x.grad is not None]


def agree(got, want, x=None, relative=1e-12):
    """Equal, or a number where autograd has none; roundings of both formulas apart."""
    number = ~np.isnan(want)
    with np.errstate(invalid="ignore"):
        close = np.abs(got - want) <= relative * np.abs(want) + 1e-15
    bad = number & ~close & (got != want)
    where = "" if x is None else f" at {x[bad]}"
    assert not bad.any(), f"got {got[bad]}, autograd {want[bad]}{where}"


def test_every_function_of_torch_is_compared():
    compared = {name for name, _, _ in FUNCTIONS}
    assert len(TORCHS) >= 40
    assert [n for n in UNARY if n not in compared and (hasattr(torch, n) or hasattr(TF, n))] == []


@pytest.mark.parametrize(
    ("name", "params", "function"), FUNCTIONS, ids=[f"{n}{p}" for n, p, _ in FUNCTIONS]
)
def test_functions(name, params, function):
    c = np.linspace(0.5, 2.0, POINTS.size)
    _, (got,) = gradients(body_of(unary(name, *params)), [POINTS], c)
    (want,) = autograd(lambda x: function(x, *params), [POINTS], c)
    # torch keeps hardsigmoid's 1/6 in float32.
    agree(got, want, POINTS, 2.0**-24 if name == "hardsigmoid" else 1e-12)


BOUND = np.where(np.arange(POINTS.size) % 2, POINTS, 0.5)
# One function under several names has torch's slope under each of them: on its bounds, and where
# elements are equal.
NAMES = {
    "clamp by numbers": (lambda x: F.clamp(x, -0.75, 1.25), lambda x: x.clamp(-0.75, 1.25)),
    "clamp method": (lambda x: x.clamp(-0.75, 1.25), lambda x: x.clamp(-0.75, 1.25)),
    "clamp from below": (lambda x: x.clamp(min=0.25), lambda x: x.clamp(min=0.25)),
    "clamp by an array": (lambda x: F.clamp(x, max=BOUND),
                          lambda x: x.clamp(max=torch.tensor(BOUND))),
    "hardtanh": (lambda x: F.hardtanh(x, -0.75, 1.25), lambda x: TF.hardtanh(x, -0.75, 1.25)),
    "Hardtanh": (lambda x: lm.nn.Hardtanh(-0.75, 1.25)(x), lambda x: TF.hardtanh(x, -0.75, 1.25)),
    "relu6": (F.relu6, TF.relu6),
    "ReLU6": (lambda x: lm.nn.ReLU6()(x), TF.relu6),
    "relu method": (lambda x: x.relu(), torch.relu),
    "maximum": (lambda x: x.maximum(0.25), lambda x: torch.maximum(x, torch.tensor(0.25))),
    "abs": (lambda x: abs(x), abs),
    "std method": (lambda x: (x[:3] * 0 + 2).std() + x.clamp(-9, 9).std(),
                   lambda x: (x[:3] * 0 + 2).std() + x.clamp(-9, 9).std()),
    "hinge": (lambda x: F.hinge_embedding_loss(x, -np.ones(POINTS.size), 0.25, reduction="none"),
              lambda x: TF.hinge_embedding_loss(x, -torch.ones(POINTS.size), 0.25,
                                                reduction="none")),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_one_function(name):
    ours, theirs = NAMES[name]

    def body(place, x):
        return ours(Tensor(x, current()))._value(current())

    points = POINTS[np.isfinite(POINTS)] if "std" in name else POINTS
    c = np.float64(1.5) if "std" in name else np.linspace(0.5, 2.0, points.size)
    _, (got,) = gradients(body, [points], c)
    (want,) = autograd(theirs, [points], c)
    agree(got, want, points, 1e-11)


@pytest.mark.parametrize("name", sorted(set(BINARY) - {"floor_divide"}))
def test_functions_of_two(name):
    values = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, 0.5, -0.5, 1e-300, 1e10, INF, NAN])
    a, b = (x.reshape(-1).copy() for x in np.meshgrid(values, values))
    c = np.linspace(0.5, 2.0, a.size)
    _, got = gradients(body_of(Binary(name)), [a, b], c)
    for mine, want in zip(got, autograd(getattr(torch, name), [a, b], c), strict=True):
        agree(mine, want, np.stack([a, b], 1))


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_powers_with_a_known_exponent(exponent):
    c = np.linspace(0.5, 2.0, POINTS.size)

    def body(place, x):
        return place(Binary("pow"), x, number(exponent, x.dtype))

    _, (got,) = gradients(body, [POINTS], c)
    (want,) = autograd(lambda x: x**exponent, [POINTS], c)
    agree(got, want, POINTS)


ROWS = np.array(
    [
        [1.0, 2.0, 2.0, -1.0],
        [0.0, 3.0, 0.5, 2.0],
        [0.0, 0.0, 4.0, 1.0],
        [-INF, -INF, -INF, -INF],
        [-INF, 1.0, 2.0, 2.0],
        [700.0, 710.0, -800.0, 0.0],
        [5.0, 5.0, 5.0, 5.0],
        [NAN, 1.0, 2.0, 3.0],
    ]
)
REDUCTIONS = {
    "sum": torch.sum,
    "mean": torch.mean,
    "prod": torch.prod,
    "max": torch.amax,
    "min": torch.amin,
    "logsumexp": torch.logsumexp,
    "var": torch.var,
    "std": torch.std,
    "norm": lambda x, dim: torch.linalg.vector_norm(x, 2, dim),
}


@pytest.mark.parametrize("kind", REDUCTIONS)
def test_reductions(kind):
    # Products of infinities: autograd divides or multiplies, by whether a zero is anywhere.
    rows = ROWS[np.isfinite(ROWS).all(1)] if kind == "prod" else ROWS
    c = np.linspace(0.5, 2.0, len(rows))
    _, (got,) = gradients(body_of(Reduce(kind, 1, 1)), [rows], c)
    (want,) = autograd(lambda x: REDUCTIONS[kind](x, 1), [rows], c)
    agree(got, want)


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_extremes_along_an_axis_pick_the_first(kind, dim, rng):
    # The values of max(dim): the gradient goes to one element, amax shares it.
    x = rng.integers(0, 3, (3, 4, 5)).astype(np.float64)
    y = x.max(dim)
    c = rng.normal(size=y.shape)
    _, (got,) = gradients(lambda place, v: reduce(place, kind, v, dim, pick=True), [x], c)
    first = np.expand_dims(x.argmax(dim) if kind == "max" else x.argmin(dim), dim)
    want = np.zeros_like(x)
    np.put_along_axis(want, first, np.expand_dims(c, dim), dim)
    np.testing.assert_array_equal(got, want)
    (theirs,) = autograd(lambda t: getattr(torch, kind)(t, dim).values, [x], c)
    # Which of equal elements torch names is its own affair; that it is one of them is not.
    assert (theirs != 0).sum() == (got != 0).sum()


@pytest.mark.parametrize("log", [False, True])
def test_softmax(log, rng):
    rows = np.delete(ROWS, 3, 0)
    c = rng.normal(size=rows.shape)
    _, (got,) = gradients(lambda place, x: softmax(place, x, -1, log), [rows], c)
    (want,) = autograd(lambda x: (TF.log_softmax if log else TF.softmax)(x, -1), [rows], c)
    agree(got, want)


def test_norms(rng):
    x, w, b = rng.normal(size=(5, 7, 12)), rng.normal(size=(7, 12)), rng.normal(size=(7, 12))
    x[0] = 3.0
    c = rng.normal(size=x.shape)
    _, got = gradients(body_of(LayerNorm(2, 1e-5, True, True)), [x, w, b], c)
    want = autograd(lambda x, w, b: TF.layer_norm(x, (7, 12), w, b, 1e-5), [x, w, b], c)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-11)
    _, got = gradients(body_of(RmsNorm(2, 1e-5, True)), [x, w], c)
    want = autograd(lambda x, w: TF.rms_norm(x, (7, 12), w, 1e-5), [x, w], c)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("padding", [None, 2])
def test_embedding(padding, rng):
    indices, table = rng.integers(0, 6, (4, 9)), rng.normal(size=(6, 5))
    c = rng.normal(size=(4, 9, 5))
    _, (got,) = gradients(
        lambda place, i, w: entries.rows(place, w, i, padding), [indices, table], c
    )
    (want,) = autograd(lambda i, w: TF.embedding(i, w, padding), [indices, table], c)
    np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-15)
    assert padding is None or not got[padding].any()


def test_embedding_hands_its_padding_on(rng):
    table = rng.normal(size=(6, 5))
    assert F.embedding(np.array([1, 5]), table, -1).shape == (2, 5)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_index_copy(dim, rng):
    shape, index = (5, 4, 6), np.array([3, 0])
    x, c = rng.normal(size=shape), rng.normal(size=shape)
    source = rng.normal(size=(*shape[:dim], 2, *shape[dim + 1 :]))

    def body(place, x, index, source):
        return entries.index_scatter("index_copy", place, x, dim, index, source)

    _, got = gradients(body, [x, index, source], c)
    want = autograd(lambda x, i, s: x.index_copy(dim, i, s), [x, index, source], c)
    for mine, theirs in zip(got, want, strict=True):
        assert mine.tobytes() == np.ascontiguousarray(theirs).tobytes()


@pytest.mark.parametrize(
    ("x", "w"),
    [((7,), (7,)), ((7,), (7, 4)), ((5, 7), (7,)), ((2, 3, 7), (7, 4)), ((2, 1, 3, 7), (5, 7, 4))],
)
def test_products(x, w, rng):
    arrays = [rng.normal(size=x), rng.normal(size=w)]
    c = rng.normal(size=np.matmul(*arrays).shape)
    _, got = gradients(body_of(MatMul()), arrays, c)
    for mine, want in zip(got, autograd(torch.matmul, arrays, c), strict=True):
        np.testing.assert_allclose(mine, want, rtol=1e-12, atol=1e-13)


def test_a_network(rng):
    """Layers, norms, a residual and a loss, all parameters at once."""
    net = lm.nn.Sequential(
        lm.nn.Linear(6, 16),
        lm.nn.LayerNorm(16),
        lm.nn.GELU(),
        lm.nn.Linear(16, 16, bias=False),
        lm.nn.RMSNorm(16, eps=1e-6),
        lm.nn.SiLU(),
        lm.nn.Linear(16, 5),
        lm.nn.LogSoftmax(-1),
    ).double()
    theirs = torch.nn.Sequential(
        torch.nn.Linear(6, 16),
        torch.nn.LayerNorm(16),
        torch.nn.GELU(),
        torch.nn.Linear(16, 16, bias=False),
        torch.nn.RMSNorm(16, eps=1e-6),
        torch.nn.SiLU(),
        torch.nn.Linear(16, 5),
        torch.nn.LogSoftmax(-1),
    ).double()
    state = {name: torch.from_numpy(np.array(p)) for name, p in net.state_dict().items()}
    theirs.load_state_dict(state)
    x, target = rng.normal(size=(12, 6)), np.eye(5)[rng.integers(0, 5, 12)]
    named = dict(net.named_parameters())
    with begin() as trace:
        leaf = Tensor(trace.builder.input(TensorType(x.shape, DType.float64), "x"), trace)
        loss = -(net(leaf) * target).sum() / 12.0
        wanted = [p._value(trace) for p in named.values()]
        found = differentiate(trace.place, loss._value(trace), wanted)
        graph = trace.build(found)
    got = emit(optimize(graph, check=True)).run([x])
    (-(theirs(torch.from_numpy(x)) * torch.from_numpy(target)).sum() / 12.0).backward()
    for dp, (name, p) in zip(got, theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(dp, p.grad.numpy(), rtol=1e-9, atol=1e-13, err_msg=name)
    assert list(named) == [name for name, _ in theirs.named_parameters()]


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1.0])
def test_norms_of_any_size(scale, rng):
    """Gradients are those of the rows brought to size 1: no square of theirs leaves the range."""
    x, c = rng.normal(size=(5, 12)), rng.normal(size=(5, 12))
    for op, theirs in (
        (LayerNorm(1, 0.0, False, False), lambda x: TF.layer_norm(x, (12,), eps=0.0)),
        (RmsNorm(1, 0.0, False), lambda x: TF.rms_norm(x, (12,), eps=0.0)),
    ):
        _, (got,) = gradients(body_of(op), [x * scale], c)
        (want,) = autograd(theirs, [x], c)
        np.testing.assert_allclose(got * scale, want, rtol=1e-10, atol=1e-11)
