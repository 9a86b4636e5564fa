# SPDX-License-Identifier: Apache-2.0
"""lm.gradients against torch.autograd.grad: inputs, frozen parameters, buffers, several results.

In float64, since what is compared is which derivative it is. Slopes within a loss are compared with
create_graph=True.
"""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn

torch = pytest.importorskip("torch")
TF = torch.nn.functional
RNG = np.random.default_rng(50)
X, Y = RNG.normal(size=(6, 5)), RNG.normal(size=(6, 4))
LABELS = RNG.integers(0, 4, 6)


def close(got, want):
    want = want.detach().numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-12 * (1 + np.abs(want).max())


ACTIVATIONS = "Tanh Sigmoid SiLU GELU Softplus ELU Mish"


def pair(activation="Tanh", norm=True):
    """The same net in both libraries."""

    def made(of):
        layers = [of.Linear(5, 7), getattr(of, activation)(), of.Linear(7, 4)]
        return (
            of.Sequential(*layers[:1], of.LayerNorm(7), *layers[1:])
            if norm
            else of.Sequential(*layers)
        )

    theirs, ours = made(torch.nn).double(), made(nn).double()
    with torch.no_grad():
        for one in theirs.parameters():
            one.copy_(torch.tensor(RNG.normal(size=tuple(one.shape)) / 2))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


LOSSES = {
    "mse": (F.mse_loss, TF.mse_loss, Y),
    "cross entropy": (nn.CrossEntropyLoss(label_smoothing=0.1),
                      torch.nn.CrossEntropyLoss(label_smoothing=0.1), LABELS),
    "huber, each": (lambda y, t: F.huber_loss(y, t, reduction="none"),
                    lambda y, t: TF.huber_loss(y, t, reduction="none"), Y),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss):
    ours, theirs = pair()
    ours[0].weight.requires_grad_(False)
    theirs[0].weight.requires_grad_(False)
    mine, other, target = LOSSES[loss]
    x = torch.tensor(X, requires_grad=True)
    value = other(theirs(x), torch.tensor(target))
    dy = None if value.ndim == 0 else RNG.normal(size=tuple(value.shape))
    trained = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    want = torch.autograd.grad(
        value, [x, *trained.values()], None if dy is None else torch.tensor(dy)
    )
    got, d = lm.gradients(ours, mine)(X, target, wrt=("x", "parameters"), dy=dy)
    close(got, value)
    close(d["x"], want[0])
    assert d["parameters"].keys() == trained.keys()
    for name, one in zip(trained, want[1:], strict=True):
        close(d["parameters"][name], one)


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.ones(5, dtype=torch.float64) / 2)

    def forward(self, a, b, c):
        h = a * self.shift + a.square() * b
        return h.sum(1), (h * 2).max(1).values, c * 0.0 + h.detach()


class Ours(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("shift", nn.Buffer(np.full(5, 0.5)))

    def forward(self, a, b, c):
        h = a * self.shift + a.square() * b
        return h.sum(1), (h * 2).max(1).values, c * 0.0 + F.detach(h)


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1, 2), (0, 2)])
def test_several_results_of_inputs_used_twice(which):
    arrays = [RNG.normal(size=(3, 5)) for _ in range(3)]
    dys = [RNG.normal(size=(3,)), RNG.normal(size=(3,)), RNG.normal(size=(3, 5))]
    tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
    results = Theirs()(*tensors)
    want = torch.autograd.grad(
        [results[i] for i in which], tensors, [torch.tensor(dys[i]) for i in which],
        allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    dy = tuple(dys[i] if i in which else None for i in range(3))
    values, d = lm.gradients(Ours())(tuple(arrays), wrt=("a", "b", "c"), dy=dy)
    for got, one in zip(values, results, strict=True):
        close(got, one)
    for got, one in zip(d.values(), want, strict=True):
        close(got, one)


@pytest.mark.parametrize("activation", ACTIVATIONS.split())
def test_a_loss_with_slopes(activation):
    """What a physics-informed loss of first order is trained by."""
    ours, theirs = pair(activation)

    class Slopes(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ours

        def forward(self, x):
            y, d = lm.gradients(self.net)(x, wrt="x", dy=np.ones((6, 4)))
            return (y.square().sum(1) + (d["x"] ** 3).sum(1)).mean()

    x = torch.tensor(X, requires_grad=True)
    y = theirs(x)
    (slope,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
    value = (y.square().sum(1) + (slope**3).sum(1)).mean()
    want = torch.autograd.grad(value, [x, *theirs.parameters()])
    got, d = lm.gradients(Slopes())(X, wrt=("x", "parameters"))
    close(got, value)
    close(d["x"], want[0])
    for mine, one in zip(d["parameters"].values(), want[1:], strict=True):
        close(mine, one)
