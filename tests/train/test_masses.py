# SPDX-License-Identifier: Apache-2.0
"""Sums over batches: every loss, cut into batches of any sizes, is the loss of all samples.

Steps of float64 are compared within the roundings of some dozens of terms. What the whole batch
gives is compared with the function's own value, which parity tests compare with PyTorch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import functional as F
from lamella import nn, optim
from lamella.train.data import Stream
from lamella.train.evaluation import Evaluation
from train.losses import ALL, CUTS, NAMES, SOME, VARIANTS, WEIGHT, N, Task, task
from train.steps import close

ONES = np.ones(N)


def trained(given: Task, sizes: tuple[int, ...], weight: Any, **options: Any) -> Any:
    """The parameter after one update of these calls, and the loss of all of them."""
    net = given.net()
    options = {"accumulate": len(sizes), "mass": True} | options
    step = lm.TrainStep(net, given.loss, optim.SGD(net.parameters(), lr=0.5), **options)
    pairs = [
        step(x, y, None if weight is None else weight[rows]) for x, y, rows in given.cut(sizes)
    ]
    assert step.held == 0
    losses, masses = np.array(pairs, np.float64).T
    whole = losses.sum() if np.isnan(masses).all() else (losses * masses).sum() / masses.sum()
    return net.scale.data.copy(), whole


def test_every_loss_is_tried() -> None:
    assert len(NAMES) >= 13
    assert {name for name, _, _ in VARIANTS.values()} == set(NAMES)


@pytest.mark.parametrize(("variant", "reduction"), ALL)
def test_calls_of_any_sizes_are_one_step(variant: str, reduction: str) -> None:
    given = task(variant, reduction)
    net = given.net()
    want, loss = trained(given, (N,), None)
    assert (want != net.scale.data).any()
    close(loss, given.loss(net(given.x), given.targets))
    for sizes in CUTS:
        got, mean = trained(given, sizes, None)
        close(got, want)
        close(mean, loss)


@pytest.mark.parametrize(("variant", "reduction"), ALL)
def test_weighted_calls_of_any_sizes_are_one_step(variant: str, reduction: str) -> None:
    given = task(variant, reduction)
    for weight in (WEIGHT, SOME):
        want, loss = trained(given, (N,), weight)
        for sizes in CUTS[: 1 if weight is WEIGHT else 2]:
            got, mean = trained(given, sizes, weight)
            close(got, want)
            close(mean, loss)


@pytest.mark.parametrize(("variant", "reduction"), ALL)
def test_weights_of_one_change_nothing_and_of_zero_leave_out(variant: str, reduction: str) -> None:
    given = task(variant, reduction)
    step = lm.TrainStep(given.net(), given.loss, optim.SGD([nn.Parameter(ONES)], lr=0.1))
    loss, plain = step.gradients(given.x, given.targets)
    one, weighted = step.gradients(given.x, given.targets, ONES)
    close(one, loss)
    close(weighted["scale"], plain["scale"])
    kept = np.flatnonzero(np.arange(N) != 2)
    left, without = step.gradients(*given.part(kept))
    zero, with_zero = step.gradients(given.x, given.targets, (np.arange(N) != 2).astype(float))
    close(zero, left)
    close(with_zero["scale"], without["scale"])


@pytest.mark.parametrize(("variant", "reduction"), ALL)
def test_an_evaluation_does_not_depend_on_the_cut(variant: str, reduction: str) -> None:
    given = task(variant, reduction)
    net = given.net().eval()
    want = float(given.loss(net(given.x), given.targets))
    for sizes in ((N,), *CUTS):
        cut = Stream(
            [(x, y) for x, y, _ in given.cut(sizes)], lambda y, w: w, dtype=np.dtype("float64")
        )
        close(Evaluation(net, given.loss, []).over(cut)["loss"], want)


def elements(output: Any, target: Any, reduction: str = "mean") -> Any:
    """A loss that is not lamella's, as users write them: squares of every element."""
    losses = (output - target[0]).square()
    return {"mean": losses.mean, "sum": losses.sum, "none": lambda: losses}[reduction]()


class Own(nn.Module):
    """The same as a module with a reduction."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, output: Any, target: Any) -> Any:
        return elements(output, target, self.reduction)


def mean_of_squares(output: Any, target: Any) -> Any:
    """One that has no reduction to choose."""
    return (output - target[0]).square().mean()


@pytest.mark.parametrize("loss", [elements, Own("mean"), Own("sum"), mean_of_squares])
def test_losses_of_users_count_their_samples(loss: Any) -> None:
    ours = task("mse_loss", "sum" if getattr(loss, "reduction", "") == "sum" else "mean")
    given = ours._replace(loss=loss)
    for weight in (None, WEIGHT):
        if weight is not None and loss is mean_of_squares:
            with pytest.raises(lm.UnsupportedError, match="losses of single samples"):
                trained(given, (N,), weight)
            continue
        want, value = trained(ours, (N,), weight)
        for sizes in ((N,), CUTS[0]):
            got, whole = trained(given, sizes, weight)
            close(got, want)
            close(whole, value)


def test_what_a_function_returns_of_ours_is_known() -> None:
    """Behind a lambda, a partial or a module stand the losses of lamella, with their masses."""
    ours = task("cross_entropy ignored", "mean")

    class Module(nn.Module):
        def forward(self, output: Any, target: Any) -> Any:
            return ours.loss(output, target)

    want, loss = trained(ours, (N,), WEIGHT)
    for other in (lambda output, target: ours.loss(output, target), Module(), partial(ours.loss)):
        got, whole = trained(ours._replace(loss=other), CUTS[1], WEIGHT)
        close(got, want)
        close(whole, loss)


def test_a_term_added_to_a_loss_is_not_added_twice() -> None:
    """A penalty inside the loss: k batches of one size have it once, as one batch has."""
    given = task("mse_loss", "mean")
    net = given.net()

    def penalised(output: Any, target: Any) -> Any:
        return given.loss(output, target) + 0.1 * net.scale.square().sum()

    _, alone = lm.TrainStep(net, given.loss, optim.SGD(net.parameters(), lr=0.5)).gradients(
        given.x, given.targets
    )
    for accumulate, sizes in ((1, (N,)), (3, CUTS[1])):
        net.load_state_dict(given.net().state_dict())
        before = net.scale.data.copy()
        step = lm.TrainStep(
            net, penalised, optim.SGD(net.parameters(), lr=0.5), accumulate=accumulate
        )
        for x, y, _ in given.cut(sizes):
            step(x, y)
        close(net.scale.data, before - 0.5 * (alone["scale"] + 0.2 * before))


@pytest.mark.parametrize("weight", [None, ONES])
@pytest.mark.parametrize(
    "loss", [nn.MSELoss(reduction="none"), partial(F.l1_loss, reduction="none")]
)
def test_losses_that_are_not_reduced_are_refused(loss: Any, weight: Any) -> None:
    net = nn.Linear(3, 2)
    step = lm.TrainStep(net, loss, optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(lm.ShapeError, match=r"the loss is no number.*reduction='mean' or 'sum'"):
        step(np.ones((N, 3)), np.ones((N, 2)), weight)


@pytest.mark.parametrize(
    ("variant", "reduction", "weight", "mass"),
    [
        ("mse_loss", "mean", None, N * 6),
        ("mse_loss", "mean", WEIGHT, WEIGHT.sum() * 6),
        ("mse_loss", "sum", WEIGHT, np.nan),
        ("kl_div", "batchmean", None, N),
        ("kl_div", "batchmean", WEIGHT, WEIGHT.sum()),
        ("cross_entropy ignored, no weights", "mean", None, 1 + 2 * 3),
        ("cross_entropy ignored, no weights", "mean", WEIGHT, 1 + 0.25 * 3 + 3 * 3),
        ("cosine_embedding_loss", "mean", None, N),
    ],
)
def test_the_mass_of_a_call(variant: str, reduction: str, weight: Any, mass: float) -> None:
    given = task(variant, reduction)
    net = given.net()
    step = lm.TrainStep(
        net, given.loss, optim.SGD(net.parameters(), lr=0.1), mass=True, outputs=True
    )
    loss, output, got = step(given.x, given.targets, weight)
    same_bits(output, given.net()(given.x))
    assert float(got) == pytest.approx(mass, nan_ok=True)
    assert np.isfinite(loss)


def test_a_call_in_which_every_target_is_ignored() -> None:
    """Loss and gradients are 0, with weights and without; of several calls the others count."""
    given = task("cross_entropy ignored", "mean")
    net = given.net()
    step = lm.TrainStep(net, given.loss, optim.SGD(net.parameters(), lr=0.1))
    for weight in (None, WEIGHT[:2]):
        loss, gradients = step.gradients(*given.part(slice(2)), weight)
        assert loss == 0
        assert not gradients["scale"].any()
    twice = lm.TrainStep(net, given.loss, optim.SGD(net.parameters(), lr=0.1), accumulate=2)
    for _ in range(2):
        assert twice(*given.part(slice(2))) == 0
    same_bits(net.scale.data, given.net().scale.data)


@pytest.mark.parametrize("weight", [0.0, 0.5, np.float64(1.0), "all", np.ones((N, 1)), np.ones(2)])
def test_what_is_no_weight_of_samples_is_refused(weight: Any) -> None:
    given = task("mse_loss", "mean")
    net = given.net()
    step = lm.TrainStep(net, given.loss, optim.SGD(net.parameters(), lr=0.1))
    for call in (step, step.gradients):
        with pytest.raises((lm.ShapeError, lm.DTypeError)):
            call(given.x, given.targets, weight)
    same_bits(net.scale.data, given.net().scale.data)


@pytest.mark.parametrize(
    "variant", ["mse_loss", "mse_loss weighted", "cross_entropy", "kl_div", "cosine_embedding_loss"]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_call_without_samples(variant: str, accumulate: int) -> None:
    """Loss, gradients and mass are 0; beside another call it adds nothing."""
    given = task(variant, "batchmean" if variant == "kl_div" else "mean")
    net = given.net()
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    step = lm.TrainStep(net, given.loss, optimizer, accumulate=accumulate, mass=True)
    loss, mass = step(*given.part(slice(0)))
    assert (loss, mass) == (0, 0)
    same_bits(net.scale.data, given.net().scale.data)
    step(given.x, given.targets)
    close(net.scale.data, trained(given, (N,), None)[0])
