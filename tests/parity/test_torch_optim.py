# SPDX-License-Identifier: Apache-2.0
"""A hundred steps of every optimiser and option beside PyTorch's, bit for bit.

torch runs its single-tensor loops. On instruction sets with fused multiply-add its kernels fuse the
last product of add, lerp and addcmul, and so do ours; on the baseline neither does (ours is then
compared with NumPy's arithmetic in the case tables only, because torch picks its own instruction
set). One thing is replaced: torch's square root is MKL's, which is not correctly rounded; NumPy's
is, and ours.
"""

from __future__ import annotations

import numpy as np
import pytest

from comparators import same_bits
from lamella import _core, nn, optim
from lamella.optim import lr_scheduler

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

SHAPES = ((3,), (16, 9), (5, 41), (300,))
STEPS = 100

OPTIONS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "betas": (0.3, 0.5)}),
    ("Adam", {"lr": 0.01, "betas": (0.5, 0.0)}),
    ("Adam", {"amsgrad": True, "maximize": True}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"alpha": 0.4, "centered": True, "momentum": 0.9}),
    ("RMSprop", {"momentum": 0.5}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.1, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
]
IDS = [f"{name} {' '.join(f'{k}={v}' for k, v in options.items())}" for name, options in OPTIONS]


@pytest.fixture
def rounded_roots(monkeypatch):
    """torch's square roots, correctly rounded."""

    def sqrt(tensor):
        return torch.from_numpy(np.sqrt(tensor.numpy()))

    monkeypatch.setattr(torch.Tensor, "sqrt", sqrt)
    monkeypatch.setattr(torch.Tensor, "sqrt_", lambda tensor: tensor.copy_(sqrt(tensor)))


@pytest.fixture(params=[name for name in ("avx2", "avx512") if name in _core.isas()])
def fused_isa(request):
    before = _core.isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


def twins(dtype, seed=7):
    """The same parameters here and in torch."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    ours = [nn.Parameter(array, dtype=dtype) for array in arrays]
    theirs = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in arrays]
    return ours, theirs, rng


def both_step(ours, theirs, parameters, gradients):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else torch.from_numpy(gradient.copy())
    theirs.step()
    ours.step(gradients)


def draw(rng, dtype):
    scale = 10.0 ** rng.integers(-4, 2)
    gradients = [(scale * rng.normal(size=shape)).astype(dtype) for shape in SHAPES]
    gradients[-1][:40] = 0
    return gradients


def assert_same(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        same_bits(np.ascontiguousarray(mine.data), other.detach().numpy())


def assert_same_state(mine, other):
    assert mine["state"].keys() == other["state"].keys()
    for index, state in other["state"].items():
        state = {name: value for name, value in state.items() if value is not None}
        assert mine["state"][index].keys() == state.keys()
        for name, value in state.items():
            got = np.asarray(mine["state"][index][name])
            same_bits(got.astype(value.numpy().dtype), value.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=IDS)
def test_bits(name, options, dtype, fused_isa, rounded_roots):
    parameters, tensors, rng = twins(dtype)
    ours = getattr(optim, name)(parameters, **options)
    theirs = getattr(torch.optim, name)(tensors, **options, foreach=False)
    for _ in range(STEPS):
        both_step(ours, theirs, tensors, draw(rng, dtype))
        assert_same(parameters, tensors)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert_same_state(mine, other)
    for group, expected in zip(mine["param_groups"], other["param_groups"], strict=True):
        assert {**group, "foreach": False} == expected


def test_bounds_beside_plain_torch(isa):
    """Whatever torch's instruction set and root are, rounding is all that differs."""
    parameters, tensors, rng = twins("float32")
    ours, theirs = optim.Adam(parameters, lr=0.01), torch.optim.Adam(tensors, lr=0.01)
    for _ in range(STEPS):
        both_step(ours, theirs, tensors, draw(rng, "float32"))
    for mine, other in zip(parameters, tensors, strict=True):
        # A step is at most about lr; each is off by some 20 roundings of it and one of p.
        bound = STEPS * 2.0**-24 * (20 * 0.01 + np.abs(mine.data).max() + 1)
        assert np.abs(mine.data - other.detach().numpy()).max() <= bound


def test_gradients_that_come_and_go(fused_isa, rounded_roots):
    """Parameters without a gradient keep value, state and count."""
    for name, options in (
        ("Adam", {}),
        ("SGD", {"momentum": 0.9, "dampening": 0.5}),
        ("Adagrad", {"lr_decay": 0.1}),
    ):
        parameters, tensors, rng = twins("float32")
        ours = getattr(optim, name)(parameters, **options)
        theirs = getattr(torch.optim, name)(tensors, **options)
        for number in range(12):
            gradients = draw(rng, "float32")
            for index in range(4):
                if number % (index + 1) and number < 9:
                    gradients[index] = None
            both_step(ours, theirs, tensors, gradients)
            assert_same(parameters, tensors)
        assert_same_state(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=IDS)
def test_checkpoints_go_both_ways(name, options, fused_isa, rounded_roots):
    parameters, tensors, rng = twins("float32")
    ours = getattr(optim, name)(parameters, **options)
    theirs = getattr(torch.optim, name)(tensors, **options)
    for _ in range(5):
        both_step(ours, theirs, tensors, draw(rng, "float32"))
    taken = getattr(optim, name)(parameters)
    taken.load_state_dict(theirs.state_dict())
    saved = ours.state_dict()
    saved["state"] = {
        index: {key: torch.from_numpy(value) for key, value in state.items()}
        for index, state in saved["state"].items()
    }
    given = getattr(torch.optim, name)(tensors)
    given.load_state_dict(saved)
    for _ in range(5):
        both_step(taken, given, tensors, draw(rng, "float32"))
        assert_same(parameters, tensors)


SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 11], 0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.25, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.2, 0.9, 7),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 6, 0.01),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 0.95**epoch),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.9, total_steps=20),
    "OneCycleLR three": lambda s, o: s.OneCycleLR(
        o, [0.9, 0.5], epochs=4, steps_per_epoch=5, anneal_strategy="linear", three_phase=True
    ),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, 1.0, 4), s.CosineAnnealingLR(o, 5), s.StepLR(o, 2), s.ConstantLR(o)],
        [4, 9, 14],
    ),
    "SequentialLR closed": lambda s, o: s.SequentialLR(
        o, [s.ExponentialLR(o, 0.5), s.MultiStepLR(o, [2, 3]), s.LinearLR(o)], [3, 8]
    ),
}
PLATEAUS = [
    {"patience": 1},
    {"mode": "max", "patience": 0, "cooldown": 2, "threshold_mode": "abs", "threshold": 0.1},
    {"mode": "min", "patience": 0, "threshold_mode": "abs", "min_lr": [0.02, 0.001]},
    {"mode": "max", "patience": 2, "factor": 0.5, "eps": 0.05},
]


def scheduled(kind):
    """An optimiser of two groups here and in torch."""
    parameters, tensors, _ = twins("float32")
    pairs = []
    for library, given in ((optim, parameters), (torch.optim, tensors)):
        groups = [{"params": given[:2]}, {"params": given[2:], "lr": 0.05}]
        options = {"momentum": 0.9} if kind == "SGD" else {}
        pairs.append(getattr(library, kind)(groups, lr=0.4, **options))
    return pairs


def rates(optimizer):
    keys = ("lr", "initial_lr", "momentum", "betas")
    return [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name, kind):
    ours, theirs = scheduled(kind)
    mine = SCHEDULES[name](lr_scheduler, ours)
    other = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    for number in range(20):
        assert rates(ours) == rates(theirs), number
        assert mine.get_last_lr() == other.get_last_lr()
        if number == 10:
            # Continue from a checkpoint.
            fresh, _ = scheduled(kind)
            again = SCHEDULES[name](lr_scheduler, fresh)
            again.load_state_dict(mine.state_dict())
            fresh.load_state_dict(ours.state_dict())
            ours, mine = fresh, again
        mine.step()
        other.step()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateaus(options):
    ours, theirs = scheduled("SGD")
    mine = lr_scheduler.ReduceLROnPlateau(ours, **options)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for metric in np.random.default_rng(5).choice([1.0, 2.0, 2.05, 1.9999, 3.0, np.nan], 60):
        mine.step(metric)
        other.step(metric)
        assert rates(ours) == rates(theirs)
        assert mine.get_last_lr() == other.get_last_lr()
    again = lr_scheduler.ReduceLROnPlateau(ours)
    again.load_state_dict(mine.state_dict())
    assert again.state_dict() == mine.state_dict()
