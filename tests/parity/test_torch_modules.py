# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own samples of its modules: outputs, and gradients of inputs and parameters.

torch.testing._internal.common_modules.module_db holds constructor and call arguments of each class
with which PyTorch tests itself; every class that lamella has runs all of them, in float64. Both
libraries compute the same formula there, in another order, hence the bound.
"""

from __future__ import annotations

import sys
import types
import unittest
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim
from lamella.errors import ShapeError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

# What lamella has and module_db does not sample, or samples of random numbers.
UNSAMPLED = {
    "CosineSimilarity", "Dropout", "Flatten", "Hardsigmoid", "Identity", "Maxout", "Module",
    "ModuleDict", "ModuleList", "ParameterList", "Sequential", "Unflatten",
}  # fmt: skip
# torch lets statistics of no values become NaN; lamella says that there are none.
REFUSED = {("BatchNorm1d", "zero_batch")}
CLASSES = {
    name
    for name in nn.__all__
    if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
}


@pytest.fixture(scope="module")
def infos() -> dict[str, Any]:
    """torch's samples by the names of their classes; importing them takes seconds."""
    # torch's module asks for a package of snapshots, which the samples do not use.
    stub = types.ModuleType("expecttest")
    stub.TestCase = unittest.TestCase
    sys.modules.setdefault("expecttest", stub)
    from torch.testing._internal.common_modules import module_db

    return {info.module_cls.__name__: info for info in module_db}


def test_every_class_is_here(infos):
    assert not set(infos) & UNSAMPLED
    assert set(infos) >= CLASSES - UNSAMPLED


def array(value: Any) -> Any:
    return value.detach().numpy().copy() if isinstance(value, torch.Tensor) else value


class Probe(nn.Module):
    """A module whose floating inputs are parameters: their gradients come with the others."""

    def __init__(self, inner: nn.Module, learnt: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.inner, self.count = inner, len(learnt)
        for name, value in learnt.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, *given: Any) -> Any:
        rest = iter(given)
        arguments = [
            getattr(self, f"input{number}") if hasattr(self, f"input{number}") else next(rest)
            for number in range(len(given) + self.count)
        ]
        return self.inner(*arguments)


def check(info: Any, sample: Any, training: bool) -> None:
    made = sample.constructor_input
    theirs = info.module_cls(*made.args, **made.kwargs).double().train(training)
    named = {k: array(v) for k, v in made.kwargs.items() if k not in ("device", "dtype")}
    ours = getattr(nn, info.module_cls.__name__)(*map(array, made.args), **named).double()
    ours.train(training)
    ours.load_state_dict({name: array(value) for name, value in theirs.state_dict().items()})

    called = sample.forward_input
    tensors = [
        one.detach().clone().requires_grad_(one.requires_grad)
        for one in (*called.args, *called.kwargs.values())
    ]
    output = theirs(*tensors)
    cotangent = np.random.default_rng(78).uniform(0.5, 1.5, tuple(output.shape))
    (output * torch.from_numpy(cotangent)).sum().backward()

    learnt = {f"input{i}": array(one) for i, one in enumerate(tensors) if one.requires_grad}
    given = tuple(array(one) for one in tensors if not one.requires_grad)
    probe = Probe(ours, learnt).train(training)
    wanted = {f"inner.{name}": one.grad for name, one in theirs.named_parameters()}
    wanted |= {name: tensors[int(name.removeprefix("input"))].grad for name in learnt}
    assert wanted
    step = lm.TrainStep(
        probe, lambda y, c: (y * c).sum(), optim.SGD(probe.parameters(), lr=0.0), outputs=True
    )
    _, gradients = step.gradients(given, cotangent)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        want = np.zeros(gradients[name].shape) if gradient is None else gradient.numpy()
        close(gradients[name], want, name)
    _, got = step(given, cotangent)
    close(got, output.detach().numpy(), "output")
    for name, value in ours.state_dict().items():
        close(value, array(theirs.state_dict()[name]), name)


def close(got: np.ndarray, want: np.ndarray, name: str) -> None:
    assert got.shape == want.shape, name
    assert got.dtype == want.dtype, name
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    # Sums of up to some hundred terms, over deviations as small as a hundredth.
    bound = 1e-11 * (1 + np.abs(want[np.isfinite(want)]).max(initial=0))
    with np.errstate(invalid="ignore"):
        assert (same | (np.abs(got - want) <= bound)).all(), (name, got, want)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", sorted(CLASSES - UNSAMPLED))
def test_samples(name, training, infos):
    info = infos[name]
    torch.manual_seed(79)
    samples = info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
    )
    assert samples
    for sample in samples:
        if training and (name, sample.desc) in REFUSED:
            with pytest.raises(ShapeError):
                check(info, sample, training)
        else:
            check(info, sample, training)
