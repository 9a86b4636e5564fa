# SPDX-License-Identifier: Apache-2.0
"""Many sizes in random order: each gives the bits that it gives where no other size has been.

Results, buffers, errors; of training also losses, parameters and the optimiser's state.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import nn, onnx, optim
from lamella.benchmarks.encoder import Encoder
from sizes.drawn import bits, compare, draw, flat, outcome, pairs, picked, sizes
from sizes.functions import CALLS
from sizes.nets import NETS, WIDTH, Residual, mlp, normalised, settled

MODELS = Path(__file__).parents[1] / "onnx" / "models"


@pytest.mark.parametrize("name", NETS)
def test_nets(name, threads):
    compare(settled(NETS[name].make()), NETS[name].inputs())


class Stale:
    """A net that is off by one bit somewhere, as soon as it has been called a few times."""

    def __init__(self, net: nn.Module, where: str) -> None:
        self.net, self.where, self.calls = net, where, 0

    def __deepcopy__(self, memo: Any) -> Stale:
        return Stale(copy.deepcopy(self.net, memo), "nowhere")

    def state_dict(self) -> dict[str, np.ndarray]:
        return self.spoilt(dict(self.net.state_dict()), "state")

    def spoilt(self, arrays: dict[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
        if self.where == where and self.calls > 3 and all(a.size for a in arrays.values()):
            last = [*arrays][-1]
            arrays[last] = arrays[last].copy()
            arrays[last].reshape(-1).view(np.uint8)[-4] ^= 1
        return arrays

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self.spoilt({"y": np.array(self.net(x))}, "result")["y"]


@pytest.mark.parametrize("where", ["result", "state"])
def test_one_wrong_bit_is_found(where):
    net, inputs = settled(normalised().eval()), NETS["batch norm, eval"].inputs()
    compare(Stale(net, "nowhere"), inputs)
    with pytest.raises(AssertionError):
        compare(Stale(net, where), inputs)


@pytest.mark.parametrize("name", CALLS)
def test_functions(name):
    """Against programs that are made when everything else has been forgotten."""
    chosen = pairs(33)
    lm.clear_cache()
    got = [[outcome(*call) for call in CALLS[name](n, m)] for n, m in chosen]
    for (n, m), found in zip(chosen, got, strict=True):
        lm.clear_cache()
        for call, one in zip(CALLS[name](n, m), found, strict=True):
            assert one == outcome(*call), (call[0], n, m)


class Step:
    """A training step, and all that it leaves behind as its outcome."""

    def __init__(self, net: nn.Module, loss: Any, optimizer: Any, **options: Any) -> None:
        net = settled(net).train()
        self.step = lm.TrainStep(net, loss, optimizer(net.parameters()), seed=5, **options)

    def again(self) -> Step:
        """The same state in a step that has made no program."""
        other = copy.deepcopy(self)
        other.step.load_state_dict(self.step.state_dict())
        return other

    def __call__(self, *batch: Any) -> list[np.ndarray]:
        loss = self.step(*batch)
        kept = (self.step.net, self.step.optimizer, self.step)
        return flat([loss, *(list(_leaves(one.state_dict())) for one in kept)])


def _leaves(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [leaf for value in state.values() for leaf in _leaves(value)]
    if isinstance(state, list | tuple):
        return [leaf for value in state for leaf in _leaves(value)]
    return [state]


def _classes(n: int) -> tuple[np.ndarray, ...]:
    return draw(n, 64), picked(4, n)


def _numbers(n: int) -> tuple[np.ndarray, ...]:
    return draw(n, WIDTH), draw(n, 7, seed=85)


STEPS = {
    "adam": (lambda: Step(mlp(), nn.CrossEntropyLoss(), optim.Adam), _classes),
    "dropout, clipped": (
        lambda: Step(
            nn.Sequential(nn.Dropout(0.3), mlp()), nn.CrossEntropyLoss(label_smoothing=0.1),
            lambda p: optim.SGD(p, lr=0.1, momentum=0.9), clip_norm=0.5,
        ),
        _classes,
    ),
    "batch norm": (lambda: Step(normalised(), nn.MSELoss(), optim.AdamW), _numbers),
    "accumulated": (
        lambda: Step(normalised(), nn.SmoothL1Loss(), optim.RMSprop, accumulate=3), _numbers
    ),
    "weighted": (
        lambda: Step(Residual(), nn.MSELoss(), optim.Adam),
        lambda n: (draw(n, WIDTH), draw(n, 23), np.abs(draw(n, seed=86))),
    ),
    "encoder": (
        lambda: Step(Encoder(1, WIDTH, 3), nn.MSELoss(), optim.Adam),
        lambda n: (draw(3, n, WIDTH), draw(3, n, WIDTH, seed=87)),
    ),
    "own loss": (
        lambda: Step(mlp(), lambda y, t: ((y - t) ** 2).sum() / len(y), optim.Adam),
        lambda n: (draw(n, 64), draw(n, 4)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_training(name):
    make, batch = STEPS[name]
    step = make()
    for size in sizes(90 if name == "encoder" else 200):
        fresh = step.again()
        assert outcome(step, *batch(size)) == outcome(fresh, *batch(size)), size


def test_rows_of_data_sets():
    """What `fit` calls: batches picked by index, the last one shorter."""
    x, y = _classes(100)
    step = Step(mlp(), nn.CrossEntropyLoss(), optim.Adam)
    for size in sizes(90):
        index, fresh = picked(100, size), step.again()
        rows = [outcome(one.step.rows, x, y, index) for one in (step, fresh)]
        assert rows[0] == rows[1], size
        assert bits(flat(_leaves(step.step.net.state_dict()))) == bits(
            flat(_leaves(fresh.step.net.state_dict()))
        )


def _written(net: nn.Module, *shape: int) -> bytes:
    return onnx.encode(settled(net).eval(), draw(*shape))


FILES = {
    "mlp": (lambda: _written(mlp(), 3, 64), 64),
    "residual": (lambda: (MODELS / "torch_residual.dynamo_20.onnx").read_bytes(), 8),
    "encoder, length": (lambda: _written(Encoder(1, WIDTH, 3), 5, WIDTH), WIDTH),
    "scikit-learn": (lambda: (MODELS / "sklearn_classifier.skl2onnx_17.onnx").read_bytes(), 6),
}


@pytest.mark.parametrize("name", FILES)
def test_files_with_a_free_batch(name):
    make, width = FILES[name]
    data = make()
    model = onnx.load(data)
    for size in sizes(60):
        x = draw(size, width)
        assert outcome(model, x) == outcome(onnx.load(data), x), size
