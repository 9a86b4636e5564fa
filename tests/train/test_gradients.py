# SPDX-License-Identifier: Apache-2.0
"""lm.gradients: by inputs and by parameters, with given gradients of the output, in a trace too.

The oracle here is the formula of small nets by hand; tests/parity has PyTorch's autograd.
"""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import functional as F
from lamella import nn, optim
from lamella.errors import DTypeError, ShapeError, UnsupportedError
from train.steps import LABELS, OUT, Two, X, Y, close, mlp, sgd, state, two_loss


def by_hand(net, x, dy):
    """Output, gradient of x and of the parameters of linear, tanh, linear."""
    p = state(net)
    h = np.tanh(x @ p["0.weight"].T + p["0.bias"])
    dh = dy @ p["2.weight"] * (1 - h * h)
    parameters = {
        "0.weight": dh.T @ x,
        "0.bias": dh.sum(0),
        "2.weight": dy.T @ h,
        "2.bias": dy.sum(0),
    }
    return h @ p["2.weight"].T + p["2.bias"], dh @ p["0.weight"], parameters


def test_by_inputs_and_parameters_by_hand(isa, threads):
    net, dy = mlp(), np.random.default_rng(1).normal(size=Y.shape)
    want, dx, parameters = by_hand(net, X, dy)
    value, d = lm.gradients(net)(X, wrt=("x", "parameters"), dy=dy)
    assert list(d) == ["x", "parameters"]
    close(value, want)
    close(d["x"], dx)
    assert d["parameters"].keys() == parameters.keys()
    for name, one in parameters.items():
        close(d["parameters"][name], one)


def test_with_a_loss_they_are_the_gradients_of_a_step():
    net = mlp()
    step = lm.TrainStep(net, nn.MSELoss(), sgd(net))
    loss, found = step.gradients(X, Y)
    value, d = lm.gradients(net, nn.MSELoss())(X, Y)
    assert value == loss
    for name, one in found.items():
        same_bits(d["parameters"][name], one)
    output = net(X)
    _, dx, _ = by_hand(net, X, 2 * (output - Y) / Y.size)
    close(lm.gradients(net, F.mse_loss)(X, Y, wrt="x")[1]["x"], dx)


@pytest.mark.parametrize("wrt", ["x", 0, -1])
def test_an_argument_by_name_and_position(wrt):
    net = mlp()
    _, d = lm.gradients(net, nn.CrossEntropyLoss())(X, LABELS, wrt=wrt)
    assert list(d) == [wrt]
    same_bits(d[wrt], lm.gradients(net, nn.CrossEntropyLoss())(X, LABELS, wrt=("x",))[1]["x"])


TARGET = {"sum": Y, "part": -Y}


class TestSeveralArguments:
    net = Two().double()

    def test_each_by_itself(self):
        a, b = X, Y
        g = lm.gradients(self.net, two_loss)
        _, both = g((a, b), TARGET, wrt=("a", "b", "parameters"))
        for x in ((a, b), {"a": a, "b": b}):
            for name, position in (("a", 0), ("b", 1)):
                _, d = g(x, TARGET, wrt=name)
                same_bits(d[name], both[name])
                same_bits(g(x, TARGET, wrt=position)[1][position], both[name])

        # The same array twice is two arguments.
        class Product(nn.Module):
            def forward(self, a, b):
                return a * b * b

        _, d = lm.gradients(Product())((a, a), wrt=(0, 1), dy=np.ones_like(a))
        close(d[0], a * a)
        close(d[1], 2 * a * a)

    def test_given_gradients_of_several_results(self):
        g, ones = lm.gradients(self.net), np.ones_like(Y)
        value, d = g((X, Y), wrt=("a", "b"), dy={"sum": ones, "part": 2 * ones})
        p = state(self.net)
        assert value.keys() == {"sum", "part"}
        close(d["a"], ones @ p["first.weight"])
        close(d["b"], 3 * ones @ p["second.weight"])
        _, d = g((X, Y), wrt=("a", "b"), dy={"sum": None, "part": ones})
        same_bits(d["a"], np.zeros_like(X))
        close(d["b"], ones @ p["second.weight"])

    def test_a_structure_of_arrays(self):
        class Net(nn.Module):
            def forward(self, x, scale=2.0):
                return (x["left"] * scale - x["more"][0] * x["more"][1]).sum()

        x = {"left": Y, "more": [Y + 1, Y - 1]}
        _, d = lm.gradients(Net())({"x": x, "scale": 3.0}, wrt="x")
        same_bits(d["x"]["left"], np.full_like(Y, 3))
        close(d["x"]["more"][0], 1 - Y)
        close(d["x"]["more"][1], -Y - 1)


def test_what_does_not_matter_has_zeros():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(5, 3), nn.Linear(5, 3)
            self.used.bias.requires_grad_(False)
            self.register_buffer("shift", nn.Buffer(np.ones(3, np.float32)))

        def forward(self, x, y):
            return self.used(x) * self.shift + F.detach(y)

    net, x = Net(), X.astype(np.float32)
    y = Y.astype(np.float32)
    _, d = lm.gradients(net)((x, y), wrt=("y", "parameters"), dy=np.ones_like(y))
    same_bits(d["y"], np.zeros_like(y))
    assert d["parameters"].keys() == {"used.weight", "idle.weight", "idle.bias"}
    same_bits(d["parameters"]["idle.weight"], np.zeros((3, 5), np.float32))


def test_nothing_is_changed():
    net = nn.Sequential(
        nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)
    ).double()
    before = state(net)
    lm.gradients(net, nn.MSELoss())(X, Y, wrt=("x", "parameters"))
    for name, array in state(net).items():
        same_bits(array, before[name])
    # As the step's own, it draws dropout's numbers in training.
    g = lm.gradients(net, nn.MSELoss())
    assert g(X, Y)[0] != g(X, Y)[0]
    net.eval()
    assert g(X, Y)[0] == g(X, Y)[0]


def test_sizes_follow_the_call():
    net = mlp()
    g = lm.gradients(net)
    for n in (1, 2, 3, 7, 12, 5):
        dy = np.cos(np.arange(n * OUT, dtype=float)).reshape(n, OUT)
        _, d = g(X[:n], wrt=("x", "parameters"), dy=dy)
        _, dx, parameters = by_hand(net, X[:n], dy)
        close(d["x"], dx)
        close(d["parameters"]["0.weight"], parameters["0.weight"])
    # A row has the bits that it has alone.
    _, all_rows = g(X, wrt="x", dy=np.ones_like(Y))
    same_bits(g(X[3:4], wrt="x", dy=np.ones((1, OUT)))[1]["x"], all_rows["x"][3:4])


def test_float_inputs_of_another_type_are_the_nets():
    net = mlp("float32")
    _, d = lm.gradients(net, nn.MSELoss())(X, Y, wrt="x")
    assert d["x"].dtype == np.float32
    half, y = X.astype(np.float16), Y.astype(np.float32)
    g = lm.gradients(net, F.mse_loss)
    want = g(half.astype(np.float32), y, wrt="x")[1]["x"]
    same_bits(g(half, y, wrt="x")[1]["x"], want)


def test_an_adversarial_step_raises_the_loss():
    net = mlp()
    g = lm.gradients(net, nn.CrossEntropyLoss())
    before, d = g(X, LABELS, wrt="x")
    after, _ = g(X + 0.05 * np.sign(d["x"]), LABELS, wrt="x")
    assert after > before


class Slope(nn.Module):
    """du/dx of a net that maps numbers to numbers, with u."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        u, d = lm.gradients(self.net)(x, wrt="x", dy=np.ones((x.shape[0], 1), np.float32))
        return u, d["x"]


def test_a_loss_of_slopes_trains():
    """u' = -u, u(0) = 1, whose solution is exp(-x)."""
    lm.manual_seed(3)
    net = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 1))
    model = Slope(net)

    def loss(output, start):
        u, slope = output
        return (slope + u).square().mean() + (u[:1] - start).square().mean()

    x = np.linspace(0, 2, 33, dtype=np.float32)[:, None]
    _, slope = model(x)
    close(slope, lm.gradients(net)(x, wrt=0, dy=np.ones_like(x))[1][0], 1e-6)
    step = lm.TrainStep(model, loss, optim.Adam(model.parameters(), lr=0.02))
    for _ in range(600):
        step(x, np.ones((1, 1), np.float32))
    assert np.abs(net(x) - np.exp(-x)).max() < 0.02
    # Gradients of the loss with slopes, against differences.
    net.double()
    x = x.astype(np.float64)
    start = np.ones((1, 1))
    _, d = lm.gradients(model, loss)(x, start)
    for name in ("0.weight", "2.bias"):
        parameter = dict(net.named_parameters())[name]
        values, h = np.array(parameter.data), 1e-6
        at = (0,) * values.ndim
        found = []
        for sign in (1, -1):
            moved = values.copy()
            moved[at] += sign * h
            parameter.data = moved
            found.append(float(lm.gradients(model, loss)(x, start)[0]))
        parameter.data = values
        assert abs((found[0] - found[1]) / (2 * h) - d["parameters"][f"net.{name}"][at]) < 1e-7


def test_in_a_trace_other_paths_do_not_count():
    class Both(nn.Module):
        def forward(self, a, b):
            return (a * b).sum()

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = Both()

        def forward(self, x):
            # b is made of a, and all the same another argument.
            return lm.gradients(self.both)((x, x * x), wrt=("a", "b"))[1]

    d = Outer()(X)
    close(d["a"], X * X)
    same_bits(d["b"], X)

    class Same(Outer):
        def forward(self, x):
            return lm.gradients(self.both)((x, x), wrt="a")[1]["a"]

    with pytest.raises(UnsupportedError, match="two arguments"):
        Same()(X)


def test_second_slopes_of_a_class_loss_are_refused():
    class Penalty(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x, y):
            return lm.gradients(self.net, F.cross_entropy)(x, y, wrt="x")[1]["x"].square().sum()

    assert Penalty()(X, LABELS) > 0
    with pytest.raises(UnsupportedError, match="cross_entropy"):
        lm.gradients(Penalty())((X, LABELS))


def test_threads_and_copies():
    net = mlp()
    g = pickle.loads(pickle.dumps(lm.gradients(net, nn.MSELoss())))
    want = g(X, Y, wrt="x")[1]["x"]
    found = [None] * 4

    def work(i):
        found[i] = [g(X, Y, wrt="x")[1]["x"].copy() for _ in range(20)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [one.start() for one in workers]
    [one.join() for one in workers]
    for rows in found:
        for one in rows:
            same_bits(one, want)


def test_it_is_explained_and_profiled():
    net = mlp()
    g = lm.gradients(net, nn.MSELoss())
    assert "gradients" in str(lm.explain(g, X, Y, wrt="x"))
    found = lm.profile(g, X, Y, wrt=("x", "parameters"), seconds=0.01)
    assert found.flops > 6 * X.shape[0] * 5 * 7
    with pytest.raises(ValueError, match="not given"):
        lm.profile(g, X, Y, wrt="z", seconds=0.01)


NET, INDEX = mlp(), nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: lm.gradients(lambda x: x), TypeError, "no module"),
        (lambda: lm.gradients(NET, 3), TypeError, "no function"),
        (lambda: lm.gradients(NET)(X, Y), TypeError, "target without a loss"),
        (lambda: lm.gradients(NET)(X), ShapeError, "only one number"),
        (lambda: lm.gradients(NET, nn.MSELoss(reduction="none"))(X, Y), ShapeError, "dy="),
        (lambda: lm.gradients(NET)(X, dy=np.ones(3)), ShapeError, "not like"),
        (lambda: lm.gradients(NET)(X, dy=np.ones(Y.shape, int)), DTypeError, "not like"),
        (lambda: lm.gradients(NET)(X, dy=[Y, Y]), TypeError, "structure"),
        (lambda: lm.gradients(NET)(X, wrt=(), dy=Y), ValueError, "nothing"),
        (lambda: lm.gradients(NET)(X, wrt=("x", "x"), dy=Y), ValueError, "different names"),
        (lambda: lm.gradients(NET)(X, wrt=1.0, dy=Y), ValueError, "no names"),
        (lambda: lm.gradients(NET)(X, wrt=("x", True), dy=Y), ValueError, "no names"),
        (lambda: lm.gradients(NET)(X, wrt="y", dy=Y), ValueError, "not given"),
        (lambda: lm.gradients(NET)(X, wrt=1, dy=Y), ValueError, "not given"),
        (lambda: lm.gradients(NET)(X, wrt=-2, dy=Y), ValueError, "not given"),
        (lambda: lm.gradients(INDEX)(LABELS, wrt="x", dy=Y), DTypeError, "floating arrays"),
        (lambda: lm.gradients(NET, lambda o, t: o.argmax())(X, Y), DTypeError, "floating results"),
        (lambda: lm.gradients(NET, lambda o, t: 1.0)(X, Y), ShapeError, "only one number"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()
