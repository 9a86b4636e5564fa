# SPDX-License-Identifier: Apache-2.0
"""Every optimiser and every schedule beside its formula in float64, with defaults and options.

Bits beside torch are in parity/test_torch_optim.py; here a wrong term, sign or default shows.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

from comparators import within_scale
from lamella import nn, optim
from lamella.optim import lr_scheduler

STEPS = 5
# Gradients of every size that a default eps tells from zero.
SIZES = 10.0 ** np.array([0, 0, -2, -4, -8, -10])
# What changes no number.
ELSEWHERE = {"params", "foreach", "capturable", "differentiable", "fused"}


def sgd(p, g, s, t, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        s["v"] = g if t == 1 else momentum * s["v"] + (1 - dampening) * g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return p - lr * g


def adam(p, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False,
         decoupled_weight_decay=False):  # fmt: skip
    if decoupled_weight_decay:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    s["largest"] = np.maximum(s.get("largest", 0), s["v"])
    second = s["largest"] if amsgrad else s["v"]
    root = np.sqrt(second / (1 - betas[1] ** t)) + eps
    return p - lr * s["m"] / (1 - betas[0] ** t) / root


def adamw(p, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False):
    return adam(p, g, s, t, lr, betas, eps, weight_decay, amsgrad, True)


def rmsprop(p, g, s, t, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False):
    g = g + weight_decay * p
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["mean"] = alpha * s.get("mean", 0) + (1 - alpha) * g
    root = np.sqrt(s["v"] - (s["mean"] ** 2 if centered else 0)) + eps
    s["b"] = momentum * s.get("b", 0) + g / root
    return p - lr * s["b"]


def adagrad(p, g, s, t, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0,
            eps=1e-10):  # fmt: skip
    g = g + weight_decay * p
    s["sum"] = s.get("sum", initial_accumulator_value) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["sum"]) + eps)


RULES = {
    "SGD": (sgd, [
        {"lr": 0.3, "momentum": 0.9, "dampening": 0.25, "weight_decay": 0.1},
        {"lr": 0.3, "momentum": 0.9, "nesterov": True, "maximize": True},
    ]),
    "Adam": (adam, [
        {"lr": 0.3, "betas": (0.5, 0.75), "eps": 1e-2, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.3, "betas": (0.5, 0.25), "amsgrad": True},
        {"lr": 0.3, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ]),
    "AdamW": (adamw, [
        {"lr": 0.3, "betas": (0.5, 0.75), "eps": 1e-2, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.3, "betas": (0.5, 0.25), "amsgrad": True},
    ]),
    "RMSprop": (rmsprop, [
        {"lr": 0.3, "alpha": 0.75, "eps": 1e-2, "weight_decay": 0.1, "momentum": 0.5},
        {"lr": 0.3, "centered": True, "maximize": True},
    ]),
    "Adagrad": (adagrad, [
        {"lr": 0.3, "lr_decay": 0.5, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.3, "initial_accumulator_value": 0.5, "eps": 1e-2},
    ]),
}  # fmt: skip
CASES = [(name, options) for name, (_, more) in RULES.items() for options in ({}, *more)]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_updates_are_those_of_the_formula(name, options):
    rng = np.random.default_rng(4)
    start = rng.uniform(0.5, 1, (3, len(SIZES))).astype(np.float32)
    parameter = nn.Parameter(start)
    optimizer = getattr(optim, name)([parameter], **options)
    numbers = {key: value for key, value in options.items() if key != "maximize"}
    sign = -1.0 if options.get("maximize") else 1.0
    p, state = start.astype(np.float64), {}
    for step in range(1, STEPS + 1):
        gradient = (rng.normal(size=p.shape) * SIZES).astype(np.float32)
        optimizer.step([gradient])
        before = p
        p = RULES[name][0](p, sign * gradient.astype(np.float64), state, step, **numbers)
        # A few roundings of the parameter and of its move, each step; a difference of squares
        # (centered) costs some more.
        scale = np.abs(p) + np.abs(p - before)
        within_scale(parameter.data, p, scale, np.float32, 24 * step)


def options_of(kind, given):
    """The options that no case gives another value than the default."""
    left = set()
    for option, parameter in inspect.signature(kind).parameters.items():
        if parameter.default is inspect.Parameter.empty or option in ELSEWHERE:
            continue
        if not any(option in one and one[option] != parameter.default for one in given):
            left.add(option)
    return left


def test_every_optimiser_and_option_is_tried():
    classes = {name: kind for name, kind in vars(optim).items() if isinstance(kind, type)}
    kinds = {name: kind for name, kind in classes.items() if issubclass(kind, optim.Optimizer)}
    del kinds["Optimizer"]
    assert RULES.keys() == kinds.keys()
    assert {name: options_of(kind, RULES[name][1]) for name, kind in kinds.items()} == {
        name: set() for name in kinds
    }


def _between(a, b, share, cosine=True):
    return a + (b - a) * ((1 - math.cos(math.pi * share)) / 2 if cosine else share)


def _one_cycle(t, steps=20, best=0.9, rise=0.3, divisor=25.0, last=1e4, cosine=True):
    first, top = best / divisor, rise * steps - 1
    if t <= top:
        return _between(first, best, t / top, cosine)
    return _between(best, first / last, (t - top) / (steps - 1 - top), cosine)


LR = 0.4
# A schedule of an optimiser with LR, and its rate after t steps.
SCHEDULES = {
    "StepLR": [
        (lambda o: lr_scheduler.StepLR(o, 3), lambda t: LR * 0.1 ** (t // 3)),
        (lambda o: lr_scheduler.StepLR(o, 4, 0.5), lambda t: LR * 0.5 ** (t // 4)),
    ],
    "MultiStepLR": [
        (
            lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
            lambda t: LR * 0.1 ** ((t >= 2) + (t >= 5)),
        ),
        (
            lambda o: lr_scheduler.MultiStepLR(o, [2, 5, 5], 0.5),
            lambda t: LR * 0.5 ** ((t >= 2) + 2 * (t >= 5)),
        ),
    ],
    "ConstantLR": [
        (lambda o: lr_scheduler.ConstantLR(o), lambda t: LR / 3 if t < 5 else LR),
        (lambda o: lr_scheduler.ConstantLR(o, 0.25, 4), lambda t: LR / 4 if t < 4 else LR),
    ],
    "LinearLR": [
        (lambda o: lr_scheduler.LinearLR(o), lambda t: LR * (1 + 2 * min(t, 5) / 5) / 3),
        (
            lambda o: lr_scheduler.LinearLR(o, 0.2, 0.9, 7),
            lambda t: LR * (0.2 + 0.7 * min(t, 7) / 7),
        ),
    ],
    "ExponentialLR": [(lambda o: lr_scheduler.ExponentialLR(o, 0.9), lambda t: LR * 0.9**t)],
    "CosineAnnealingLR": [
        (
            lambda o: lr_scheduler.CosineAnnealingLR(o, 6),
            lambda t: LR * (1 + math.cos(math.pi * t / 6)) / 2,
        ),
        (
            lambda o: lr_scheduler.CosineAnnealingLR(o, 6, 0.01),
            lambda t: 0.01 + (LR - 0.01) * (1 + math.cos(math.pi * t / 6)) / 2,
        ),
    ],
    "LambdaLR": [
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: LR / (1 + t))
    ],
    "OneCycleLR": [
        (lambda o: lr_scheduler.OneCycleLR(o, 0.9, total_steps=20), _one_cycle),
        (
            lambda o: lr_scheduler.OneCycleLR(
                o,
                0.5,
                epochs=5,
                steps_per_epoch=4,
                pct_start=0.5,
                anneal_strategy="linear",
                div_factor=10.0,
                final_div_factor=100.0,
            ),
            lambda t: _one_cycle(t, 20, 0.5, 0.5, 10.0, 100.0, False),
        ),
    ],
    "SequentialLR": [
        (
            lambda o: lr_scheduler.SequentialLR(
                o, [lr_scheduler.ExponentialLR(o, 0.5), lr_scheduler.StepLR(o, 2, 0.3)], [3]
            ),
            lambda t: LR * 0.5**t if t < 3 else LR * 0.3 ** ((t - 3) // 2),
        )
    ],
}


def optimizer_of_one(**options):
    return optim.SGD([nn.Parameter(np.ones(2, np.float32))], lr=LR, momentum=0.5, **options)


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, rows in SCHEDULES.items() for i in range(len(rows))]
)
def test_schedules_are_those_of_the_formula(name, number):
    make, rate = SCHEDULES[name][number]
    optimizer = optimizer_of_one()
    schedule = make(optimizer)
    for t in range(19):
        assert math.isclose(optimizer.param_groups[0]["lr"], rate(t), rel_tol=1e-12), t
        assert schedule.get_last_lr() == [optimizer.param_groups[0]["lr"]]
        assert schedule.last_epoch == t
        optimizer.step([np.ones(2, np.float32)])
        schedule.step()


def test_one_cycle_moves_momentum_the_other_way():
    optimizer = optimizer_of_one()
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.9, total_steps=20)
    for t in range(20):
        share = t / 5 if t <= 5 else 1 - (t - 5) / 14
        want = _between(0.95, 0.85, share)
        assert math.isclose(optimizer.param_groups[0]["momentum"], want, rel_tol=1e-12), t
        optimizer.step([np.ones(2, np.float32)])
        if t < 19:
            schedule.step()


def test_one_cycle_wants_a_momentum_to_move():
    optimizer = optim.Adagrad([nn.Parameter(np.ones(2, np.float32))], lr=LR)
    with pytest.raises(ValueError, match="cycle_momentum"):
        lr_scheduler.OneCycleLR(optimizer, 0.9, total_steps=20)
    lr_scheduler.OneCycleLR(optimizer, 0.9, total_steps=20, cycle_momentum=False)


@pytest.mark.parametrize(
    ("options", "metrics", "falls"),
    [
        # After more than patience steps without a gain, a gain being 1e-4 of the best.
        ({}, [1.0] * 24, {12: 0.1, 23: 0.1}),
        ({}, [1.0 - 5e-6 * i for i in range(14)], {12: 0.1}),
        ({}, [1.0 - 2e-4 * i for i in range(30)], {}),
        ({"patience": 1, "factor": 0.5}, [1, 2, 2, 2, 2], {3: 0.5, 5: 0.5}),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 3, 3], {5: 0.1}),
        ({"patience": 0, "cooldown": 2}, [1, 1, 1, 1, 1], {2: 0.1, 5: 0.1}),
        ({"patience": 0, "threshold": 0.5, "threshold_mode": "abs"}, [1.0, 0.6, 0.4], {2: 0.1}),
        ({"patience": 0, "min_lr": 0.1}, [1, 1, 1], {2: 0.25}),
        ({"patience": 0, "eps": 0.5}, [1, 1, 1], {}),
    ],
    ids=str,
)
def test_plateaus_are_counted(options, metrics, falls):
    """falls: after which step the rate is multiplied by what."""
    optimizer = optimizer_of_one()
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    want = LR
    for step, metric in enumerate(metrics, 1):
        schedule.step(metric)
        want *= falls.get(step, 1.0)
        assert math.isclose(optimizer.param_groups[0]["lr"], want, rel_tol=1e-12), step


def test_every_schedule_is_tried():
    names = set(lr_scheduler.__all__) - {"LRScheduler", "ReduceLROnPlateau"}
    assert SCHEDULES.keys() == names
