# SPDX-License-Identifier: Apache-2.0
"""The profile of a step: every row has its part, and the step goes on as if nobody had looked."""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim
from lamella.train import StepProfile

RNG = np.random.default_rng(0)
X = RNG.standard_normal((32, 6)).astype(np.float32)
T = RNG.integers(0, 3, 32)


def new_step(accumulate=1, **options):
    lm.manual_seed(3)
    net = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
    )
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    return lm.TrainStep(
        net, nn.CrossEntropyLoss(), optimizer, seed=1, accumulate=accumulate, **options
    )


def rows(found, part):
    return [row for row, of in zip(found.rows, found.parts, strict=True) if of == part]


@pytest.mark.parametrize("outputs", [False, True])
def test_parts(outputs):
    step = new_step(clip_norm=1.0, outputs=outputs)
    found = lm.profile(step, X, T, seconds=0.02)
    assert isinstance(found, StepProfile)
    assert found.call > 0
    times = [found.part(part) for part in ("forward", "backward", "update")]
    assert all(time > 0 for time in times)
    assert sum(times) == pytest.approx(found.seconds)
    # Two products forward, two by the weights' gradients and one by the inner layer's backward.
    assert sum(row.flops > 0 for row in rows(found, "forward")) == 2
    assert sum(row.flops > 0 for row in rows(found, "backward")) == 3
    adam = [row for row in found.rows if row.op == "adam"]
    assert len(adam) == 6
    update = rows(found, "update")
    assert {row.path for row in update} == {"update"}
    assert {id(row) for row in adam} <= {id(row) for row in update}
    text = str(found).splitlines()
    assert len(text) == len(found.rows) + 3 + 2
    assert [line.split()[0] for line in text[: len(found.rows)]] == list(found.parts)
    assert text[-5].startswith("forward")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_step_is_as_it_was(accumulate):
    step, want = new_step(accumulate), new_step(accumulate)
    weight = np.linspace(0.5, 1.5, 32)
    for _ in range(3):
        step(X, T, weight)
        want(X, T, weight)
    lm.profile(step, X, T, weight, seconds=0.01)
    assert step.held == want.held
    for _ in range(3):
        assert float(step(X, T, weight)) == float(want(X, T, weight))
    assert step.random_state == want.random_state
    for name, array in want.net.state_dict().items():
        assert step.net.state_dict()[name].tobytes() == array.tobytes(), name


def test_refusals():
    step = new_step()
    before = {name: array.tobytes() for name, array in step.net.state_dict().items()}
    with pytest.raises(lm.ShapeError):
        lm.profile(step, X[:, :5], T)
    with pytest.raises(IndexError):
        lm.profile(step, X, T + 3, seconds=0.01)
    with pytest.raises(ValueError, match="no time"):
        lm.profile(step, X, T, seconds=0)
    with pytest.raises(TypeError):
        lm.profile(step, X)
    assert {name: array.tobytes() for name, array in step.net.state_dict().items()} == before
