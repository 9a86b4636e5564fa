# SPDX-License-Identifier: Apache-2.0
"""What a training step leaves alone: gradients without a step, rows, random numbers, refusals.

What is promised bit for bit is compared bit for bit; an error changes nothing at all.
"""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn, optim
from lamella.errors import DTypeError, ShapeError
from train.steps import (
    IN,
    LABELS,
    OUT,
    WEIGHT,
    N,
    Two,
    X,
    Y,
    mlp,
    same_state,
    sgd,
    state,
    two_loss,
)


class TestGradients:
    def test_changes_nothing(self):
        net = nn.Sequential(nn.Linear(IN, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, OUT))
        step = lm.TrainStep(net, nn.MSELoss(), optim.Adam(net.parameters()), accumulate=2)
        before, saved = state(net), step.optimizer.state_dict()["state"]
        loss, gradients = step.gradients(X, Y)
        assert loss > 0
        assert all(gradient.any() for gradient in gradients.values() if gradient.size)
        same_state(state(net), before)
        assert step.held == 0
        assert step.optimizer.state_dict()["state"] == saved == {}
        step(X, Y)
        assert net[1].num_batches_tracked.data == 1

    def test_equal_differences(self):
        """Central differences: off by the square of h, and by roundings of the loss over h."""
        net = nn.Sequential(nn.Linear(IN, 4), nn.BatchNorm1d(4), nn.SiLU(), nn.Linear(4, OUT))
        net.double()
        step = lm.TrainStep(net, nn.CrossEntropyLoss(label_smoothing=0.1), sgd(net))
        _, gradients = step.gradients(X, LABELS)
        largest = max(np.abs(gradient).max() for gradient in gradients.values())
        h = 1e-5
        for name, parameter in net.named_parameters():
            values = np.array(parameter.data)
            for at in np.ndindex(*values.shape):
                ends = []
                for shift in (h, -h):
                    moved = values.copy()
                    moved[at] += shift
                    parameter.data = moved
                    ends.append(float(step.gradients(X, LABELS)[0]))
                parameter.data = values
                slope = (ends[0] - ends[1]) / (2 * h)
                assert abs(slope - gradients[name][at]) <= 1e-6 * largest, (name, at)

    def test_names_frozen_and_unreached(self):
        class Spare(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.used, self.spare = nn.Linear(IN, OUT), nn.Linear(2, 2)

            def forward(self, x):
                return self.used(x)

        net = Spare()
        step = lm.TrainStep(net, nn.MSELoss(), optim.Adam(net.parameters(), weight_decay=0.1))
        before = state(net)
        _, gradients = step.gradients(X, Y)
        assert list(gradients) == [name for name, _ in net.named_parameters()]
        assert not gradients["spare.weight"].any()
        assert gradients["used.weight"].any()
        step(X, Y)
        same_bits(state(net)["spare.weight"], before["spare.weight"])
        assert sorted(step.optimizer.state_dict()["state"]) == [0, 1]
        net.used.bias.requires_grad = False
        _, gradients = step.gradients(X, Y)
        assert "used.bias" not in gradients
        before = state(net)
        step(X, Y)
        same_bits(state(net)["used.bias"], before["used.bias"])
        assert (state(net)["used.weight"] != before["used.weight"]).any()
        net.used.bias.requires_grad_()
        step(X, Y)
        assert (state(net)["used.bias"] != before["used.bias"]).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_rows(accumulate, weighted, isa, threads):
    """rows(x, y, index) is the call on x[index], bit for bit."""
    nets = [
        nn.Sequential(nn.Linear(IN, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, OUT))
        for _ in range(2)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    steps = [
        lm.TrainStep(
            net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()), accumulate=accumulate, seed=3
        )
        for net in nets
    ]
    x, weight = X.astype(np.float32), WEIGHT.astype(np.float32)
    for index in (np.array([3, 0, 3, 11]), np.arange(N)[::-1].copy(), np.array([5, 1, 1, 2])):
        more = [(weight,), (weight[index],)] if weighted else [(), ()]
        got = steps[0].rows(x, LABELS, index, *more[0])
        same_bits(got, steps[1](x[index], LABELS[index], *more[1]))
        same_state(state(nets[0]), state(nets[1]))
    before = state(nets[0])
    for wrong in (np.array([0, N]), np.array([-1, 0])):
        with pytest.raises(IndexError):
            steps[0].rows(x, LABELS, wrong, *more[0])
    same_state(state(nets[0]), before)


def test_rows_of_trees():
    net = Two().double()
    twin = Two().double()
    twin.load_state_dict(net.state_dict())
    index = np.array([1, 8, 8, 0])
    target = {"sum": Y, "part": 2 * Y}
    lm.TrainStep(net, two_loss, sgd(net)).rows({"a": X, "b": Y}, target, index)
    chosen = {name: value[index] for name, value in target.items()}
    lm.TrainStep(twin, two_loss, sgd(twin))((X[index], Y[index]), chosen)
    same_state(state(net), state(twin))


class TestRandomState:
    def test_repeats_at_any_number_of_threads(self):
        net = nn.Sequential(nn.Linear(IN, 300), nn.Dropout(0.5), nn.Linear(300, OUT))
        step = lm.TrainStep(net, nn.MSELoss(), sgd(net, 0.0), outputs=True, seed=5)
        x, y = np.tile(X, (40, 1)), np.tile(Y, (40, 1))
        start, before = step.random_state, lm.get_num_threads()
        want = None
        try:
            for threads in (1, 2, 3):
                lm.set_num_threads(threads)
                step.random_state = start
                got = [step(x, y) for _ in range(3)]
                assert step.random_state != start
                assert len({output.tobytes() for _, output in got}) == 3
                want = want or got
                for one, other in zip(got, want, strict=True):
                    same_bits(one[0], other[0])
                    same_bits(one[1], other[1])
        finally:
            lm.set_num_threads(before)

    def test_seeds(self):
        net = mlp()
        make = lambda seed: lm.TrainStep(net, nn.MSELoss(), sgd(net), seed=seed)  # noqa: E731
        assert make(1).random_state == make(1).random_state != make(2).random_state
        assert make(None).random_state != make(None).random_state
        with pytest.raises(ShapeError):
            make(1).random_state = (1, 2, 3)
        with pytest.raises(ValueError):
            make(-1)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"clip_norm": 0.0}, ValueError),
            ({"clip_norm": -1}, ValueError),
            ({"clip_norm": float("nan")}, ValueError),
            ({"clip_norm": "1"}, TypeError),
            ({"clip_value": 0}, ValueError),
            ({"accumulate": 0}, ValueError),
            ({"accumulate": 1.5}, ValueError),
            ({"accumulate": True}, ValueError),
            ({"accumulate": None}, TypeError),
            ({"seed": "x"}, TypeError),
        ],
    )
    def test_options(self, options, error):
        net = mlp()
        with pytest.raises(error):
            lm.TrainStep(net, nn.MSELoss(), sgd(net), **options)

    @pytest.mark.parametrize("at", ["net", "loss", "optimizer"])
    @pytest.mark.parametrize("wrong", [None, 3, "adam", np.ones(3)])
    def test_other_kinds_of_object(self, at, wrong):
        net = mlp()
        with pytest.raises(TypeError, match=f"TrainStep: {at}"):
            lm.TrainStep(**{"net": net, "loss": nn.MSELoss(), "optimizer": sgd(net), at: wrong})

    @pytest.mark.parametrize(
        ("loss", "error"),
        [
            (nn.MSELoss(reduction="none"), ShapeError),
            (lambda output, target: output.argmax(), ShapeError),
            (lambda output, target: (output, target), TypeError),
            (lambda output, target: None, TypeError),
            (lambda output, target: 1.0, TypeError),
            (lambda output, target: target.sum(), ValueError),
        ],
    )
    def test_losses_that_are_no_number(self, loss, error):
        net = mlp()
        before = state(net)
        with pytest.raises(error, match="loss"):
            lm.TrainStep(net, loss, sgd(net))(X, Y)
        same_state(state(net), before)

    def test_foreign_and_frozen_parameters(self):
        net = mlp()
        with pytest.raises(ValueError, match="none of the optimiser's parameters"):
            lm.TrainStep(net, nn.MSELoss(), sgd(mlp()))(X, Y)
        step = lm.TrainStep(net, nn.MSELoss(), sgd(net))
        net.requires_grad_(False)
        with pytest.raises(ValueError, match="none of the optimiser's parameters"):
            step(X, Y)
        net.requires_grad_()
        step(X, Y)

    @pytest.mark.parametrize("label", [OUT, -1, 10**12])
    def test_a_class_that_does_not_exist(self, label, threads):
        net = nn.Sequential(nn.BatchNorm1d(IN), nn.Dropout(0.1), mlp("float32"))
        step = lm.TrainStep(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters()))
        step(X, LABELS)
        before, saved, random = state(net), step.optimizer.state_dict(), step.random_state
        wrong = LABELS.copy()
        wrong[-1] = label
        with pytest.raises(IndexError):
            step(X, wrong)
        same_state(state(net), before)
        np.testing.assert_equal(step.optimizer.state_dict(), saved)
        assert step.random_state == random
        step(X, LABELS)

    def test_arrays_that_do_not_fit(self):
        net = mlp()
        step = lm.TrainStep(net, nn.MSELoss(), sgd(net))
        before = state(net)
        for x, y, weight in (
            (X[:, 1:], Y, None),
            (X, Y[:, 1:], None),
            (X, Y, WEIGHT[1:]),
            (X, Y, np.ones((N, OUT))),
        ):
            with pytest.raises(ShapeError):
                step(x, y, weight)
        with pytest.raises(DTypeError):
            step(X.astype(complex), Y)
        same_state(state(net), before)

    def test_weights_need_a_reduction(self):
        net = mlp()
        step = lm.TrainStep(net, lambda a, b: (a - b).square().mean(), sgd(net))
        step(X, Y)
        with pytest.raises(lm.UnsupportedError, match="reduction"):
            step(X, Y, WEIGHT)

    def test_within_a_traced_function(self):
        net = mlp()
        step = lm.TrainStep(net, nn.MSELoss(), sgd(net))
        with pytest.raises(lm.UnsupportedError, match="traced"):
            lm.compile(lambda x: step(x, Y), X)
        step(X, Y)
        with pytest.raises(lm.UnsupportedError, match="traced"):
            lm.compile(lambda x: step(x, Y), X)
