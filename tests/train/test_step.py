# SPDX-License-Identifier: Apache-2.0
"""What one training step computes: its formula and its options.

A step is compared with formulas written out in NumPy, in float64. Steps of float32 are compared
with those within roundings; what is promised bit for bit is compared bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits, within_scale
from lamella import functional as F
from lamella import nn, optim
from train.steps import (
    HIDDEN,
    IN,
    LABELS,
    OUT,
    WEIGHT,
    N,
    Two,
    X,
    Y,
    close,
    mlp,
    same_state,
    sgd,
    state,
    two_loss,
)


def by_hand(p: dict[str, np.ndarray], x: Any, y: Any, weight: Any) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of squared errors, the samples weighted by `weight`."""
    p = {name: value.astype(np.float64) for name, value in p.items()}
    h = np.tanh(x @ p["0.weight"].T + p["0.bias"])
    e = h @ p["2.weight"].T + p["2.bias"] - y
    loss = (weight[:, None] * e**2).sum()
    dy = 2 * weight[:, None] * e
    dh = (dy @ p["2.weight"]) * (1 - h**2)
    return loss, {
        "0.weight": dh.T @ x,
        "0.bias": dh.sum(0),
        "2.weight": dy.T @ h,
        "2.bias": dy.sum(0),
    }


UNIFORM = np.full(N, 1 / (N * OUT))


@pytest.mark.parametrize(("dtype", "rounding"), [("float64", 1e-13), ("float32", 1e-5)])
def test_a_step_by_hand(dtype, rounding, isa, threads):
    net = mlp(dtype)
    x, y = X.astype(dtype), Y.astype(dtype)
    step = lm.TrainStep(net, nn.MSELoss(), sgd(net))
    want = state(net)
    for _ in range(5):
        loss, gradients = by_hand(want, x, y, UNIFORM)
        got = step(x, y)
        assert got.shape == ()
        assert got.dtype == dtype
        close(got, loss, rounding)
        want = {name: value - 0.1 * gradients[name] for name, value in want.items()}
        for name, value in state(net).items():
            assert value.dtype == dtype
            close(value, want[name], rounding)


def test_adam_by_hand():
    net = mlp()
    step = lm.TrainStep(net, nn.MSELoss(), optim.Adam(net.parameters(), lr=0.01))
    want = state(net)
    m, v = (dict.fromkeys(want, 0.0) for _ in range(2))
    for t in range(1, 6):
        loss, gradients = by_hand(want, X, Y, UNIFORM)
        close(step(X, Y), loss)
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            root = np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8
            want[name] = want[name] - 0.01 * m[name] / (1 - 0.9**t) / root
        for name, value in state(net).items():
            close(value, want[name])


class TestOneCall:
    def test_python_is_not_asked_again(self, monkeypatch):
        net = mlp("float32")
        step = lm.TrainStep(net, nn.MSELoss(), optim.Adam(net.parameters()))
        x, y = X.astype("float32"), Y.astype("float32")
        step(x, y)

        def missed(*args: Any, **named: Any) -> None:
            raise AssertionError("not answered natively")

        monkeypatch.setattr(type(step._quick), "_dispatch", missed)
        before = state(net)
        first, second = step(x, y), step(x, y)
        assert second < first
        assert all((value != before[name]).any() for name, value in state(net).items())

    def test_the_learning_rate_is_read_when_it_runs(self, monkeypatch):
        net = mlp()
        optimizer = sgd(net)
        step = lm.TrainStep(net, nn.MSELoss(), optimizer)
        step(X, Y)
        monkeypatch.setattr(type(step._quick), "_dispatch", None)
        optimizer.param_groups[0]["lr"] = 0.0
        before = state(net)
        step(X, Y)
        same_state(state(net), before)
        optimizer.param_groups[0]["lr"] = 0.5
        _, gradients = by_hand(before, X, Y, UNIFORM)
        step(X, Y)
        for name, value in state(net).items():
            close(value, before[name] - 0.5 * gradients[name])

    def test_one_program_does_it_all(self):
        net = mlp("float32")
        step = lm.TrainStep(net, nn.MSELoss(), sgd(net))
        step(X.astype("float32"), Y.astype("float32"))
        compiled, _ = step._quick.find(X.astype("float32"), Y.astype("float32"), None)
        kinds = compiled.program.steps
        # Products: two forward, and backward the two of dW and the one of dX that is needed.
        assert sum(kind.startswith("matmul") for kind in kinds) == 5
        assert len({one.source for one in compiled.graph.parameters()} & set(net.parameters())) == 4

    @pytest.mark.parametrize(
        ("loss", "target"), [(nn.MSELoss(), Y), (nn.CrossEntropyLoss(), LABELS)]
    )
    def test_a_mass_that_nobody_asks_for_costs_nothing(self, loss, target):
        """A plain step has no result or update beside its own, and reads no sums."""
        steps = {}
        for name, options in {"plain": {}, "mass": {"mass": True}}.items():
            net = mlp()
            step = lm.TrainStep(net, loss, sgd(net), **options)
            steps[name] = step._last().find(X, target, None)[0]
            assert step.sums.mass not in {one.source for one in steps[name].graph.parameters()}
        plain = steps["plain"]
        assert (len(plain.graph.outputs), len(plain.graph.updates)) == (1, 4)
        assert len(plain.program.steps) <= len(steps["mass"].program.steps)


@pytest.mark.parametrize("kind", [tuple, list, dict])
def test_trees_of_inputs_targets_and_outputs(kind):
    net = Two().double()
    step = lm.TrainStep(net, two_loss, sgd(net), outputs=True)
    x = {"a": X, "b": Y} if kind is dict else kind([X, Y])
    target = {"sum": Y, "part": np.zeros_like(Y)}
    want = net(X, Y)
    _, gradients = step.gradients(x, target)
    before = state(net)
    loss, output = step(x, target)
    for name in ("sum", "part"):
        same_bits(output[name], want[name])
    close(loss, ((want["sum"] - Y) ** 2).mean() + np.abs(want["part"]).mean())
    for name, value in state(net).items():
        close(value, before[name] - 0.1 * gradients[name])


def test_outputs_come_back_in_the_form_of_the_net():
    net = mlp()
    want = net(X)
    step = lm.TrainStep(net, nn.MSELoss(), sgd(net), outputs=True, accumulate=2)
    for _ in range(2):
        loss, output = step(X, Y)
        same_bits(output, want)
        close(loss, ((want - Y) ** 2).mean())
    assert (step(X, Y)[1] != want).any()


class TestSampleWeight:
    @pytest.mark.parametrize("zeros", [False, True])
    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_formula(self, reduction, zeros):
        net = mlp()
        weight = np.where(np.arange(N) % 3 == 0, 0.0, WEIGHT) if zeros else WEIGHT
        scale = weight / weight.sum() / OUT if reduction == "mean" else weight
        loss, gradients = by_hand(state(net), X, Y, scale)
        before = state(net)
        step = lm.TrainStep(net, nn.MSELoss(reduction=reduction), sgd(net, 1e-3))
        close(step(X, Y, weight), loss)
        for name, value in state(net).items():
            close(value, before[name] - 1e-3 * gradients[name])

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_weights_of_zero_only_change_nothing(self, reduction):
        net = mlp()
        before = state(net)
        step = lm.TrainStep(net, nn.MSELoss(reduction=reduction), sgd(net))
        assert step(X, Y, np.zeros(N)) == 0
        same_state(state(net), before)

    def test_a_function_with_a_reduction(self):
        net = mlp()
        loss = F.cross_entropy
        logits = net(X)
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(N), LABELS]
        step = lm.TrainStep(net, loss, sgd(net))
        close(step.gradients(X, LABELS, WEIGHT)[0], (losses * WEIGHT).sum() / WEIGHT.sum())
        close(step.gradients(X, LABELS, 3 * np.ones(N))[0], losses.mean())
        close(step.gradients(X, LABELS, np.ones(N, np.int64))[0], losses.mean())

    def test_weights_equal_repeated_samples(self):
        net = mlp()
        times = np.arange(N) % 3
        step = lm.TrainStep(net, nn.CrossEntropyLoss(), sgd(net))
        loss, weighted = step.gradients(X, LABELS, times.astype(float))
        want, repeated = step.gradients(np.repeat(X, times, 0), np.repeat(LABELS, times))
        close(loss, want)
        for name, gradient in repeated.items():
            close(weighted[name], gradient)


class TestClipping:
    """torch's formulas, torch.nn.utils.clip_grad_norm_ and clip_grad_value_."""

    @pytest.mark.parametrize("bound", [0.05, 1e3])
    def test_norm(self, bound):
        net = mlp()
        step = lm.TrainStep(net, nn.MSELoss(), sgd(net), clip_norm=bound)
        before, (_, gradients) = state(net), step.gradients(X, Y)
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        assert (norm > bound) == (bound < 1)
        factor = min(1.0, bound / (norm + 1e-6))
        step(X, Y)
        for name, value in state(net).items():
            close(value, before[name] - 0.1 * factor * gradients[name])

    def test_value(self):
        net = mlp()
        step = lm.TrainStep(net, nn.MSELoss(), sgd(net), clip_value=0.01)
        before, (_, gradients) = state(net), step.gradients(X, Y)
        assert max(np.abs(g).max() for g in gradients.values()) > 0.01
        step(X, Y)
        for name, value in state(net).items():
            close(value, before[name] - 0.1 * np.clip(gradients[name], -0.01, 0.01))

    def test_values_before_the_norm_and_both_after_accumulation(self):
        net = mlp()
        step = lm.TrainStep(
            net, nn.MSELoss(), sgd(net), clip_norm=0.02, clip_value=0.01, accumulate=2
        )
        parts = [step.gradients(X[:6], Y[:6])[1], step.gradients(X[6:], Y[6:])[1]]
        before = state(net)
        step(X[:6], Y[:6])
        same_state(state(net), before)
        step(X[6:], Y[6:])
        clipped = {k: np.clip((parts[0][k] + parts[1][k]) / 2, -0.01, 0.01) for k in before}
        norm = np.sqrt(sum((g**2).sum() for g in clipped.values()))
        for name, value in state(net).items():
            close(value, before[name] - 0.1 * clipped[name] * min(1, 0.02 / (norm + 1e-6)))


class TestAccumulation:
    @pytest.mark.parametrize("count", [2, 3, 4])
    @pytest.mark.parametrize("kind", ["SGD", "Adam"])
    def test_equals_one_step_on_all_batches(self, kind, count):
        nets = mlp(), mlp()
        parts, whole = (
            lm.TrainStep(
                net, nn.MSELoss(), getattr(optim, kind)(net.parameters(), lr=0.1), accumulate=k
            )
            for net, k in zip(nets, (count, 1), strict=True)
        )
        for _ in range(3):
            losses = []
            batches = zip(np.split(X, count), np.split(Y, count), strict=True)
            for number, (x, y) in enumerate(batches):
                assert parts.held == number
                before = state(nets[0])
                losses.append(parts(x, y))
                if number + 1 < count:
                    same_state(state(nets[0]), before)
            assert parts.held == 0
            close(np.mean(losses), float(whole(X, Y)))
            for name, value in state(nets[0]).items():
                # Adam divides by the gradient's size: its roundings are relative to small numbers.
                close(value, state(nets[1])[name], 1e-9)

    def test_a_failed_call_holds_nothing(self):
        nets = mlp(), mlp()
        first, second = (
            lm.TrainStep(net, nn.CrossEntropyLoss(), sgd(net), accumulate=2) for net in nets
        )
        for number in range(2):
            with pytest.raises(IndexError):
                first(X, LABELS + 9)
            assert first.held == number
            first(X, LABELS)
        second(X, LABELS)
        second(X, LABELS)
        same_state(state(nets[0]), state(nets[1]))

    def test_an_interrupt_behind_a_finished_call(self):
        """Python notices signals when the native call is over: the call counts."""
        nets = mlp(), mlp()
        first, second = (lm.TrainStep(net, nn.MSELoss(), sgd(net), accumulate=2) for net in nets)
        first(X, Y)
        first(X, Y)
        second(X, Y)
        second(X, Y)
        parts = dict(first._parts)

        def interrupted(part):
            def call(*arguments):
                part(*arguments)
                raise KeyboardInterrupt

            return call

        for number in range(1, 5):
            first._parts = {key: interrupted(part) for key, part in parts.items()}
            with pytest.raises(KeyboardInterrupt):
                first(X, Y)
            first._parts = parts
            second(X, Y)
            assert first.held == second.held == number % 2
        same_state(state(nets[0]), state(nets[1]))

    def test_parameters_that_no_call_reaches_keep_value_and_state(self):
        net = nn.ModuleDict({"used": mlp(), "spare": nn.Linear(2, 2).double()})
        optimizer = optim.Adam(net.parameters(), weight_decay=0.1)
        step = lm.TrainStep(net["used"], nn.MSELoss(), optimizer, accumulate=2)
        for parameter in optimizer.parameters:
            step.sums.sum(parameter)
        before = state(net["spare"])
        for _ in range(4):
            step(X, Y)
        same_state(state(net["spare"]), before)
        assert sorted(optimizer.state_dict()["state"]) == [0, 1, 2, 3]

    def test_a_parameter_that_some_calls_do_not_reach(self):
        class Either(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = nn.Linear(IN, OUT), nn.Linear(IN, OUT)

            def forward(self, x):
                return self.a(x) if x.shape[0] == 4 else self.b(x)

        net = Either().double()
        step = lm.TrainStep(net, nn.MSELoss(), sgd(net), accumulate=2)
        for _ in range(2):
            want, before = {}, state(net)
            for rows in (4, 6):
                _, found = step.gradients(X[:rows], Y[:rows])
                want.update({k: g * rows / 10 for k, g in found.items() if g.any()})
            step(X[:4], Y[:4])
            step(X[:6], Y[:6])
            for name, value in state(net).items():
                close(value, before[name] - 0.1 * want[name])


def test_shared_weights_have_one_gradient():
    """y = W W x: the gradient is the sum over both uses, and one update."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(IN, IN, bias=False)
            self.other = self.one

        def forward(self, x):
            return self.other(self.one(x))

    net = Shared().double()
    w = np.array(net.one.weight.data)
    target = np.zeros((N, IN))
    step = lm.TrainStep(net, nn.MSELoss(), sgd(net))
    h = X @ w.T
    e = 2 * (h @ w.T) / (N * IN)
    want = e.T @ h + (e @ w).T @ X
    _, gradients = step.gradients(X, target)
    assert list(gradients) == ["one.weight"]
    close(gradients["one.weight"], want)
    step(X, target)
    close(net.other.weight.data, w - 0.1 * want)


def test_modes_are_programs_of_their_own():
    net = nn.Sequential(nn.Linear(IN, OUT), nn.Dropout(0.5)).double()
    step = lm.TrainStep(net, nn.MSELoss(), sgd(net, 0.0), outputs=True)
    assert (step(X, Y)[1] == 0).any()
    net.eval()
    same_bits(step(X, Y)[1], net(X))
    net.train()
    assert (step(X, Y)[1] == 0).any()


def test_other_dtypes_are_cast_and_kept_apart():
    net = mlp("float32")
    twin = mlp("float32")
    lm.TrainStep(net, nn.MSELoss(), sgd(net))(X, Y.tolist())
    step = lm.TrainStep(twin, nn.MSELoss(), sgd(twin))
    assert step(X.astype("f"), Y.astype("f")).dtype == np.float32
    same_state(state(net), state(twin))
    twin.double()
    before = state(twin)
    assert step(X, Y).dtype == np.float64
    _, gradients = by_hand(before, X, Y, UNIFORM)
    for name, value in state(twin).items():
        close(value, before[name] - 0.1 * gradients[name])


def test_float32_gradients_are_within_roundings(isa):
    net, wide = mlp("float32"), mlp()
    wide.load_state_dict(net.state_dict())
    _, got = lm.TrainStep(net, nn.MSELoss(), sgd(net)).gradients(X.astype("f"), Y.astype("f"))
    x, y = X.astype("f").astype("d"), Y.astype("f").astype("d")
    _, want = lm.TrainStep(wide, nn.MSELoss(), sgd(wide)).gradients(x, y)
    for name, gradient in want.items():
        # Sums of N terms no larger than those of the largest gradient, behind a few products.
        scale = np.full(gradient.shape, np.abs(gradient).max() + 1)
        within_scale(got[name], gradient, scale, np.float32, N + IN + HIDDEN + OUT + 20)
