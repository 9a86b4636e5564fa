# SPDX-License-Identifier: Apache-2.0
"""What a loss reads of Python is read again when it has changed."""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim
from lamella.errors import UnsupportedError

X = np.float32([[1.0, -2.0, 3.0], [0.5, 0.0, 1.0]])
Y = X[:, :1]
WEIGHT = {"beta": 0.0}


def global_loss(output, target):
    return ((output - target) ** 2).mean() + WEIGHT["beta"] * 100.0


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.betas = [0.0]

    def forward(self, output, target):
        return ((output - target) ** 2).mean() + self.betas[0] * 100.0


class Plain:
    def __init__(self):
        self.beta = 0.0

    def __call__(self, output, target):
        return ((output - target) ** 2).mean() + self.beta * 100.0


def losses():
    """Losses, and what sets the weight that each of them reads."""
    values, array, module, plain = {"beta": 0.0}, np.zeros(1, np.float32), Weighted(), Plain()

    def read(output, target):
        return ((output - target) ** 2).mean() + values["beta"] * 100.0

    return {
        "closure": (read, lambda beta: values.update(beta=beta)),
        "global": (global_loss, lambda beta: WEIGHT.update(beta=beta)),
        "array": (lambda y, t: ((y - t) ** 2).mean() + (array * 100.0).sum(),
                  lambda beta: array.fill(beta)),
        "module": (module, lambda beta: module.betas.__setitem__(0, beta)),
        "object": (plain, lambda beta: setattr(plain, "beta", beta)),
    }  # fmt: skip


@pytest.fixture(params=list(losses()))
def case(request):
    WEIGHT["beta"] = 0.0
    return losses()[request.param]


def stepping(loss, **options):
    net = nn.Linear(3, 1)
    return lm.TrainStep(net, loss, optim.SGD(net.parameters(), lr=0.0), **options)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"outputs": True}])
def test_steps(case, options):
    loss, put = case
    step = stepping(loss, **options)

    def value():
        found = step(X, Y)
        return float(found[0] if options.get("outputs") else found)

    before = [value() for _ in range(4)]
    assert len(set(before)) == 1
    for beta in (1.0, 2.0, 1.0, 0.0):
        put(beta)
        for _ in range(3):
            assert value() == pytest.approx(before[0] + 100 * beta, rel=1e-6)


def test_gradients_and_rows(case):
    loss, put = case
    step, index = stepping(loss), np.array([1, 0])
    before = float(step.gradients(X, Y)[0])
    put(1.0)
    assert float(step.gradients(X, Y)[0]) == pytest.approx(before + 100, rel=1e-6)
    assert float(step.rows(X, Y, index)) == pytest.approx(before + 100, rel=1e-6)
    put(0.0)
    assert float(step.rows(X, Y, index)) == pytest.approx(before, rel=1e-6)


def test_validation(case):
    """An annealed weight: each epoch trains and evaluates with what it is then."""
    loss, put = case
    net = nn.Linear(3, 1)

    class Anneal(lm.train.Callback):
        def on_epoch_begin(self, run):
            put(float(run.epoch % 2))

    history = lm.fit(
        net, X, Y, loss=loss, optimizer=optim.SGD(net.parameters(), lr=0.0), epochs=4,
        batch_size=2, validation_data=(X, Y), callbacks=[Anneal()], verbose=False,
    )  # fmt: skip
    for name in ("loss", "val_loss"):
        low, high, again, last = history[name]
        assert high == pytest.approx(low + 100, rel=1e-6), name
        assert (low, high) == (again, last)


def test_arrays_get_no_gradient_and_do_not_go_stale_while_training():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.scale = nn.Parameter(np.ones(3, np.float32)), np.ones(3, np.float32)

        def forward(self, x):
            return (x * self.w * self.scale).sum(1, keepdim=True)

    net = Scaled()
    step = lm.TrainStep(net, lambda y, t: y.sum(), optim.SGD(net.parameters(), lr=1.0))
    for factor in (1, 3):
        net.scale[:] = factor
        before = np.array(net.w.data)
        _, gradients = step.gradients(X, Y)
        assert list(gradients) == ["w"]
        assert gradients["w"].tolist() == (X.sum(0) * factor).tolist()
        step(X, Y)
        assert net.w.data.tolist() == (before - X.sum(0) * factor).tolist()
        assert (net.scale == factor).all()


def test_random_numbers_in_a_loss_are_refused():
    generator = np.random.default_rng(1)
    step = stepping(lambda y, t: (y - t).mean() * float(generator.normal()))
    with pytest.raises(UnsupportedError, match="random numbers"):
        step(X, Y)
