# SPDX-License-Identifier: Apache-2.0
"""Absorb: a batch norm behind a dense layer vanishes in its weights; its error is the product's."""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from graphs import Functional, Weight, kind, ops, traced
from lamella import functional as F
from lamella import nn
from lamella.ir.graph import GraphBuilder
from lamella.ops.elementwise import Binary, Unary
from lamella.ops.matmul import MatMul
from lamella.passes import optimize
from lamella.runtime.session import compile_call

IN, OUT = 24, 20


def trained(rng, bias=True, affine=True, dtype=np.float32, outer=lambda net: net):
    """A layer and a norm with statistics as training leaves them."""
    layer = nn.Linear(IN, OUT, bias=bias)
    norm = nn.BatchNorm1d(OUT, affine=affine)
    layer.weight.data = rng.normal(size=(OUT, IN))
    norm.running_mean.data = rng.normal(size=OUT) * 3
    norm.running_var.data = rng.uniform(0.05, 9, OUT)
    if affine:
        norm.weight.data = rng.normal(size=OUT)
        norm.bias.data = rng.normal(size=OUT)
    return outer(nn.Sequential(layer, norm, nn.ReLU())).to(np.dtype(dtype).name).eval()


def graph_of(net, x):
    return compile_call(net, [x]).graph


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_one_step_is_left(rng, bias, affine):
    net = trained(rng, bias, affine)
    graph = graph_of(net, np.zeros((3, IN), np.float32))
    assert ops(graph) == ["dense(w.mT, bias, relu)"]
    assert [leaf.shape for leaf in graph.folded()] == [(OUT, IN), (OUT,)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_is_that_of_the_product(rng, dtype):
    """|error| <= gamma ((|x| |W| + |b| + |mean|) |scale| + |shift|), gamma of k + 8 roundings."""
    net = trained(rng, dtype=dtype)
    layer, norm, _ = net
    x = rng.normal(size=(50, IN)).astype(dtype)
    weight, b = layer.weight.array.astype(np.longdouble), layer.bias.array.astype(np.longdouble)
    mean, var, gain, shift = (
        one.array.astype(np.longdouble)
        for one in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    scale = gain / np.sqrt(var + dtype(norm.eps))
    known = np.maximum((x @ weight.T + b - mean) * scale + shift, 0)
    size = (np.abs(x) @ np.abs(weight).T + np.abs(b) + np.abs(mean)) * np.abs(scale) + np.abs(shift)
    unit = np.finfo(dtype).eps / 2
    rounds = (IN + 8) * unit
    assert (np.abs(net(x) - known) <= rounds / (1 - rounds) * size).all()
    norm.running_var.data = var * 1.01
    assert not (np.abs(net(x) - known) <= rounds / (1 - rounds) * size).all()


def test_the_same_bits_at_every_batch_size(rng):
    net = trained(rng)
    x = rng.normal(size=(67, IN)).astype(np.float32)
    whole = net(x)
    for rows in (1, 2, 3, 16, 33):
        same_bits(net(x[:rows]), whole[:rows])


def test_statistics_that_move_are_seen(rng):
    net = trained(rng)
    x = rng.normal(size=(16, IN)).astype(np.float32)
    before = net(x)
    net.train()
    net(x)
    net.eval()
    after = net(x)
    assert not np.array_equal(before, after)
    fresh = trained(rng)
    fresh.load_state_dict(net.state_dict())
    same_bits(fresh(x), after)


def test_an_own_statistic_of_zero_spread(rng):
    net = trained(rng)
    net[1].running_var.data = np.zeros(OUT)
    x = rng.normal(size=(4, IN)).astype(np.float32)
    assert np.isfinite(net(x)).all()
    net[1].running_var.data = np.full(OUT, np.nan)
    assert np.isnan(net(x)).all()


def test_training_keeps_the_norm(rng):
    net = trained(rng)
    step = lm.TrainStep(net, nn.MSELoss(), lm.optim.SGD(net.parameters(), lr=0.1))
    x, y = np.zeros((4, IN), np.float32), np.zeros((4, OUT), np.float32)
    step(x, y)
    assert "computed of parameters alone" not in str(lm.explain(step, x, y))
    net.train()
    assert not graph_of(net, x).folded()


def through(body):
    w, b, mean, var = (
        Weight(np.ones(shape, np.float32), name)
        for shape, name in (((IN, OUT), "w"), ((OUT,), "b"), ((OUT,), "mean"), ((OUT,), "var"))
    )
    return optimize(traced(lambda x: body(x, w, b, mean, (var + 1e-5).rsqrt()), kind(3, IN)))


# What differs from a norm behind a product, and how many nodes are left of it.
STAYS = {
    "another reader": lambda x, w, b, mean, scale: (x @ w, (x @ w - mean) * scale),
    "an output on the way": lambda x, w, b, mean, scale: [x @ w - mean, (x @ w - mean) * scale],
    "a scale that is no spread": lambda x, w, b, mean, scale: (x @ w - mean) * b,
    "a scale alone": lambda x, w, b, mean, scale: (x @ w) * scale,
    "turned about": lambda x, w, b, mean, scale: (mean - x @ w) * scale,
    "one mean for all": lambda x, w, b, mean, scale: (x @ w - mean[:1]) * scale,
    "in front": lambda x, w, b, mean, scale: ((x[:, :OUT] - mean) * scale) @ w.T,
    "a mean of the batch": lambda x, w, b, mean, scale: (x @ w - (x @ w).mean(0)) * scale,
}


@pytest.mark.parametrize("name", STAYS)
def test_what_stays(name):
    graph = through(STAYS[name])
    weights = [leaf for leaf in graph.folded() if leaf.shape == (IN, OUT)]
    assert not weights


def test_what_goes():
    graph = through(lambda x, w, b, mean, scale: ((x @ w + b) - mean) * scale)
    assert ops(graph) == ["dense(bias)"]
    graph = through(lambda x, w, b, mean, scale: b + scale * (x @ w - mean))
    assert ops(graph) == ["dense(bias)"]


def test_what_is_updated_keeps_its_norm():
    w, mean, var = (Weight(np.ones(shape, np.float32)) for shape in ((4, 4), (4,), (4,)))
    builder = GraphBuilder()
    x = builder.input(kind(2, 4), "x")
    leaves = [builder.parameter(one) for one in (w, mean, var)]
    (scale,) = builder.apply(Unary("rsqrt"), [leaves[2]])
    (y,) = builder.apply(MatMul(), [x, leaves[0]])
    (y,) = builder.apply(Binary("sub"), [y, leaves[1]])
    (y,) = builder.apply(Binary("mul"), [y, scale])
    (value,) = builder.apply(Unary("tanh"), [leaves[0]])
    assert ops(optimize(builder.build([y])))[0] == "dense(bias)"
    assert ops(optimize(builder.build([y], [(w, value)])))[0] != "dense(bias)"


def test_a_function_of_parameters(rng):
    """nn.functional's batch_norm on a module's own arrays."""
    net = trained(rng)
    layer, norm, _ = net

    def body(x):
        y = F.batch_norm(layer(x), norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return F.relu(y)

    x = rng.normal(size=(5, IN)).astype(np.float32)
    same_bits(Functional(body)(x), net(x))
