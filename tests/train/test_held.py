# SPDX-License-Identifier: Apache-2.0
"""Calls that wait for an update: left over, left out, changed in between, kept in a checkpoint."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn, optim
from train.steps import IN, LABELS, OUT, WEIGHT, N, X, Y, close, mlp, same_state, state

KINDS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01},
}


def new_step(net: nn.Module, kind: str = "AdamW", loss: Any = None, **options: Any) -> lm.TrainStep:
    optimizer = getattr(optim, kind)(net.parameters(), **KINDS[kind])
    return lm.TrainStep(net, loss or nn.MSELoss(), optimizer, **options)


def everything(step: lm.TrainStep) -> dict[str, np.ndarray]:
    """All that a step may change, its random state too."""
    found = {"random": np.array(step.random_state), **state(step.net)}
    for number, entry in step.optimizer.state_dict()["state"].items():
        found |= {f"{number}.{name}": np.array(value) for name, value in entry.items()}
    return found


def mixed() -> nn.Sequential:
    """A net with everything that a call may change beside parameters."""
    parts = nn.Linear(IN, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, OUT)
    net = nn.Sequential(*parts)
    rng = np.random.default_rng(5)
    net.load_state_dict(
        {k: rng.uniform(0.1, 1, v.shape) if v.ndim else v for k, v in net.state_dict().items()}
    )
    return net.double()


class TestFlush:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.05, "clip_value": 0.01}])
    def test_what_is_left_over_is_a_step(self, kind, clip, isa):
        nets = mlp(), mlp()
        parts, whole = (
            new_step(nets[0], kind, accumulate=5, **clip),
            new_step(nets[1], kind, **clip),
        )
        for _ in range(2):
            for rows in (slice(0, 3), slice(3, 4), slice(4, N)):
                parts(X[rows], Y[rows])
            assert parts.held == 3
            parts.flush()
            assert parts.held == 0
            whole(X, Y)
            for name, value in state(nets[0]).items():
                close(value, state(nets[1])[name], 1e-9)

    def test_nothing_held_is_no_step(self):
        for accumulate in (1, 3):
            step = new_step(mlp(), accumulate=accumulate)
            step(X, Y)
            step.flush()
            before = everything(step)
            step.flush()
            same_state(everything(step), before)

    def test_an_interrupt_behind_the_update(self):
        step, want = (new_step(mlp(), accumulate=3, seed=1) for _ in range(2))
        for one in (step, want):
            for _ in range(2):
                one(X, Y)
        want.flush()
        part = step._part(lm.train.parts.Flush, False)

        def interrupted() -> None:
            part()
            raise KeyboardInterrupt

        step._parts[lm.train.parts.Flush, False] = interrupted
        with pytest.raises(KeyboardInterrupt):
            step.flush()
        assert step.held == 0
        same_state(everything(step), everything(want))

    def test_a_parameter_frozen_in_between_is_left_alone(self):
        net = mlp()
        step = new_step(net, "SGD", accumulate=2)
        step(X, Y)
        net[0].weight.requires_grad = False
        before = state(net)
        step.flush()
        same_bits(net[0].weight.data, before["0.weight"])
        assert (net[0].bias.data != before["0.bias"]).any()
        net[0].weight.requires_grad = True
        _, gradients = step.gradients(X, Y)
        before = state(net)
        step.optimizer.param_groups[0].update(momentum=0, weight_decay=0)
        step.accumulate = 1
        step(X, Y)
        close(net[0].weight.data, before["0.weight"] - 0.1 * gradients["0.weight"])


class TestNumberOfCalls:
    def test_it_may_change_at_any_time(self):
        """3 calls of 4 rows, in whatever groups: those of (1), (2) and (3) calls at a time."""
        for first, then, groups in ((3, 2, [2, 1]), (3, 1, [2, 1]), (1, 3, [1, 2]), (2, 5, [3])):
            net, other = mlp(), mlp()
            step, want = new_step(net, accumulate=first), new_step(other)
            step(X[:4], Y[:4])
            step.accumulate = then
            step(X[4:8], Y[4:8])
            step(X[8:], Y[8:])
            step.flush()
            assert (step.held, step.accumulate) == (0, then)
            ends = np.cumsum([0, *groups]) * 4
            for start, end in pairwise(ends):
                want(X[start:end], Y[start:end])
            for name, value in state(net).items():
                close(value, state(other)[name], 1e-9)

    @pytest.mark.parametrize("count", [0, 1.5, True, None, "2"])
    def test_no_number(self, count):
        step = new_step(mlp(), accumulate=2)
        with pytest.raises((ValueError, TypeError)):
            step.accumulate = count
        assert step.accumulate == 2

    def test_a_plain_step_is_answered_natively_again(self, monkeypatch):
        net = mlp()
        step = new_step(net, accumulate=2)
        step(X, Y)
        step.accumulate = 1
        step(X, Y)
        step(X, Y)
        monkeypatch.setattr(type(step._quick), "_dispatch", None)
        step(X, Y)


class TestBlankCalls:
    """No sample has a weight: nothing changes, whatever the optimiser remembers."""

    @pytest.mark.parametrize("rows", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_changes(self, kind, rows):
        step = new_step(mixed(), kind, seed=3, outputs=True, mass=True)
        step(X, Y)
        before = everything(step)
        weight = np.zeros(N)
        for none in (weight, weight.tolist(), np.zeros(N, np.int64)):
            if rows:
                loss, output, mass = step.rows(X, Y, np.array([3, 1]), np.asarray(none))
            else:
                loss, output, mass = step(X, Y, none)
            assert (loss, mass, output.shape) == (0, 0, (2 if rows else N, OUT))
            same_state(everything(step), before)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_of_several_calls_the_others_count(self, place):
        """It is one of the calls that make an update, wherever it comes."""
        step = new_step(mlp(), accumulate=3)
        want = new_step(mlp(), accumulate=2)
        order = [(X[:4], Y[:4], None), (X[4:], Y[4:], WEIGHT[4:])]
        for call in order:
            want(*call)
        order.insert(place, (X * np.inf, Y, np.zeros(N)))
        for number, call in enumerate(order):
            step(*call)
            assert step.held == (number + 1) % 3
        for name, value in state(step.net).items():
            close(value, state(want.net)[name], 1e-9)

    def test_blank_calls_only_make_no_update(self):
        step = new_step(mlp(), accumulate=2)
        step(X, Y)
        step.flush()
        before = everything(step)
        for end in (step.flush, lambda: step(X, Y, np.zeros(N))):
            step(X, Y, np.zeros(N))
            assert step.held == 1
            end()
            assert step.held == 0
            same_state(everything(step), before)
        step.accumulate = 1
        step(X, Y, np.zeros(N))
        same_state(everything(step), before)

    def test_rows_of_which_some_have_a_weight(self):
        weight = np.where(np.arange(N) < 4, 0.0, WEIGHT)
        step, want = new_step(mlp()), new_step(mlp())
        step.rows(X, Y, np.array([5, 0, 7]), weight)
        want(X[[5, 7]], Y[[5, 7]], weight[[5, 7]])
        for name, value in state(step.net).items():
            close(value, state(want.net)[name], 1e-9)
        with pytest.raises(IndexError):
            step.rows(X, Y, np.array([N]), weight)


class TestState:
    @pytest.mark.parametrize("held", [0, 1, 2])
    @pytest.mark.parametrize("blank", [False, True])
    def test_training_goes_on_to_the_bit(self, held, blank):
        def calls(step: lm.TrainStep, numbers: range) -> None:
            for number in numbers:
                weight = np.zeros(N) if blank and number % 4 == 1 else WEIGHT
                step(X + number, LABELS, weight)

        def new() -> lm.TrainStep:
            return new_step(mixed(), loss=nn.CrossEntropyLoss(), accumulate=3, seed=4)

        whole, first, second = new(), new(), new()
        calls(whole, range(12))
        calls(first, range(3 + held))
        assert first.held == held
        second(X, LABELS)  # what was there before does not matter
        second.net.load_state_dict(first.net.state_dict())
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        second.load_state_dict(first.state_dict())
        assert second.held == held
        calls(second, range(3 + held, 12))
        same_state(everything(second), everything(whole))

    def test_sums_of_another_net_are_refused(self):
        step, other = new_step(mlp(), accumulate=2), new_step(nn.Linear(2, 2), accumulate=2)
        step(X, Y)
        for saved in (step.state_dict(), {"random_state": [1, 2], "held": 1}):
            with pytest.raises((ValueError, KeyError)):
                other.load_state_dict(saved)

    def test_another_dtype_in_between_keeps_the_sums(self):
        net = mlp("float32")
        step = new_step(net, "SGD", accumulate=2)
        step(X.astype("f"), Y.astype("f"))
        net.double()
        _, first = step.gradients(X, Y)
        _, second = step.gradients(X[:4], Y[:4])
        before = state(net)
        step(X[:4], Y[:4])
        for name, value in state(net).items():
            mean = (N * first[name] + 4 * second[name]) / (N + 4)
            close(value, before[name] - 0.1 * (mean + 0.1 * before[name]), 1e-6)


def test_batch_norm_takes_the_statistics_of_each_call():
    """Documented: k calls are not one where a layer mixes samples."""
    net, other = mixed(), mixed()
    for one in (net, other):
        one[2].p = 0.0
    step, want = new_step(net, accumulate=2), new_step(other)
    for rows in (slice(0, 6), slice(6, N)):
        step(X[rows], Y[rows])
    want(X, Y)
    assert int(net[1].num_batches_tracked.data) == 2
    assert np.abs(net[0].weight.data - other[0].weight.data).max() > 1e-3
