# SPDX-License-Identifier: Apache-2.0
"""Optimisers beside their formulas: groups, state dictionaries, numbers that change, refusals.

Bits and options beside torch are in parity/test_torch_optim.py.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from comparators import same_bits
from lamella import _core, nn, optim
from lamella.errors import DTypeError, FormatError, ShapeError, UnsupportedError

KINDS = [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad]
MOMENTUM = {optim.SGD: {"momentum": 0.9}}


def gradients(rng, *parameters):
    return [rng.normal(size=p.shape).astype(p.numpy().dtype) for p in parameters]


def made(kind, **options):
    rng = np.random.default_rng(3)
    parameters = [nn.Parameter(rng.normal(size=s), dtype=np.float32) for s in ((7,), (3, 5))]
    return parameters, kind(parameters, **MOMENTUM.get(kind, {}), **options), rng


def entries(monkeypatch):
    """Counts the programs that are compiled from now on."""
    count = []
    build = _core.ProgramBuilder.build

    def counted(self):
        count.append(1)
        return build(self)

    monkeypatch.setattr(_core.ProgramBuilder, "build", counted)
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_change_without_compiling(kind, monkeypatch):
    parameters, optimizer, rng = made(kind)
    optimizer.step(gradients(rng, *parameters))
    structure, built = optimizer.structure(), entries(monkeypatch)
    group = optimizer.param_groups[0]
    changed = {"lr": 0.25, "weight_decay": 0.1, "maximize": True}
    for key in ("eps", "alpha", "momentum", "dampening", "lr_decay"):
        changed |= {key: 0.5} if group.get(key) else {}
    if "betas" in group:
        changed["betas"] = (0.5, 0.75)
    group.update(changed)
    given = gradients(rng, *parameters)
    twin = [nn.Parameter(p.data) for p in parameters]
    other = kind(twin)
    other.load_state_dict(optimizer.state_dict())
    optimizer.step(given)
    assert built == []
    assert optimizer.structure() == structure
    other.step(given)
    for mine, same in zip(parameters, twin, strict=True):
        same_bits(mine.data.copy(), same.data.copy())


def test_a_learning_rate_is_seen_by_the_next_run():
    p = nn.Parameter([0.0])
    optimizer = optim.SGD([p], lr=1.0)
    for lr in (1.0, 0.5, np.float64(0.25)):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step([np.ones(1, np.float32)])
    assert p.data[0] == -1.75


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (optim.SGD, {"nesterov": True}),
        (optim.SGD, {"momentum": 0.0}),
        (optim.Adam, {"amsgrad": True}),
        (optim.RMSprop, {"centered": True}),
        (optim.RMSprop, {"momentum": 0.5}),
    ],
)
def test_options_of_the_formula_are_structure(kind, change):
    parameters, optimizer, rng = made(kind)
    optimizer.step(gradients(rng, *parameters))
    before = optimizer.structure()
    optimizer.param_groups[0].update(change)
    assert optimizer.structure() != before
    hash(optimizer.structure())
    moved = parameters[0].data.copy()
    optimizer.step(gradients(rng, *parameters))
    assert (parameters[0].data != moved).all()


def test_groups_have_options_of_their_own():
    a, b, c = (nn.Parameter([1.0]) for _ in range(3))
    optimizer = optim.SGD([{"params": a}, {"params": [b], "lr": 0.5}], lr=0.25)
    optimizer.add_param_group({"params": [c], "lr": 1.0})
    optimizer.step([np.ones(1, np.float32)] * 3)
    assert [p.data[0] for p in (a, b, c)] == [0.75, 0.5, 0.0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.5, 1.0]
    assert optimizer.parameters == (a, b, c)


def test_named_parameters():
    net = nn.Linear(3, 2)
    optimizer = optim.SGD(net.named_parameters(), lr=1.0)
    before = net.weight.data.copy()
    optimizer.step({"weight": np.ones((2, 3), np.float32)})
    same_bits(net.weight.data.copy(), before - 1)
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="no parameters of these names"):
        optimizer.step({"wheight": before})
    with pytest.raises(ValueError, match="names"):
        optimizer.add_param_group({"params": [nn.Parameter([1.0])]})


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_on_where_it_was(kind):
    parameters, optimizer, rng = made(kind)
    for _ in range(3):
        optimizer.step(gradients(rng, *parameters))
    saved = optimizer.state_dict()
    twins = [nn.Parameter(p.data) for p in parameters]
    loaded = kind(twins)
    loaded.load_state_dict(saved)
    clones, restored = pickle.loads(pickle.dumps((parameters, optimizer)))
    copies, copied = copy.deepcopy((parameters, optimizer))
    for _ in range(3):
        given = gradients(rng, *parameters)
        for one in (optimizer, loaded, restored, copied):
            one.step(given)
    for others in (twins, clones, copies):
        for mine, other in zip(parameters, others, strict=True):
            same_bits(mine.data.copy(), other.data.copy())
    for name, value in saved["state"].get(0, {}).items():
        if name != "step":
            assert isinstance(value, np.ndarray)
            assert (value != optimizer.state_dict()["state"][0][name]).all()


def test_faults_of_a_state_dictionary_come_together():
    parameters, optimizer, rng = made(optim.Adam)
    optimizer.step(gradients(rng, *parameters))
    before, saved = optimizer.state_dict(), optimizer.state_dict()
    saved["state"][0]["exp_avg"] = np.zeros(8, np.float32)
    saved["state"][1]["unheard"] = np.zeros(1)
    saved["state"][9] = {}
    saved["state"][1]["step"] = np.array(-1.0)
    with pytest.raises(FormatError) as caught:
        optimizer.load_state_dict(saved)
    for part in ("exp_avg of 0", "unheard of 1", "state of 9", "step of 1"):
        assert part in str(caught.value)
    saved = optimizer.state_dict()
    saved["param_groups"][0]["betas"] = (0.9, 1.5)
    saved["param_groups"][0]["params"] = [0]
    with pytest.raises(FormatError, match=r"1 parameters, 2 here.*betas out of range"):
        optimizer.load_state_dict(saved)
    for wrong in ({}, {"state": {}, "param_groups": []}, None):
        with pytest.raises(FormatError):
            optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for index, state in before["state"].items():
        for name, value in state.items():
            same_bits(after["state"][index][name], value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_follows_the_parameter(dtype):
    net = nn.Linear(3, 2)
    optimizer = optim.Adam(net.parameters())
    given = [np.ones((2, 3)), np.ones(2)]
    optimizer.step(given)
    net.to(dtype)
    optimizer.step(given)
    assert {one.numpy().dtype for s in optimizer.state.values() for one in s.values()} == {
        np.dtype(dtype)
    }


def test_bad_gradients_change_nothing():
    parameters, optimizer, rng = made(optim.Adam)
    given = gradients(rng, *parameters)
    optimizer.step(given)
    before = [p.data.copy() for p in parameters]
    for wrong, error in (
        (given[:1], ShapeError),
        ([given[0], given[1].T], ShapeError),
        ([given[0], given[1].astype(int)], DTypeError),
        ([given[0], given[1].astype(complex)], DTypeError),
    ):
        with pytest.raises(error):
            optimizer.step(wrong)
    optimizer.step([None, None])
    for parameter, value in zip(parameters, before, strict=True):
        same_bits(parameter.data.copy(), value)
    assert optimizer.state_dict()["state"][0]["step"] == 1


P = nn.Parameter([1.0])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: optim.SGD([]), ValueError),
        (lambda: optim.SGD(P), TypeError),
        (lambda: optim.SGD([np.zeros(3)]), TypeError),
        (lambda: optim.SGD([{"params": {P}}]), TypeError),
        (lambda: optim.SGD([{"parms": [P]}]), TypeError),
        (lambda: optim.SGD([P, P]), ValueError),
        (lambda: optim.SGD([{"params": [P]}, {"params": [P]}]), ValueError),
        (lambda: optim.SGD([("p", P), nn.Parameter([1.0])]), ValueError),
        (lambda: optim.SGD([P], lr=-1), ValueError),
        (lambda: optim.SGD([P], lr=float("nan")), ValueError),
        (lambda: optim.SGD([P], nesterov=True), ValueError),
        (lambda: optim.SGD([P], nesterov=True, momentum=0.9, dampening=0.1), ValueError),
        (lambda: optim.Adam([P], betas=(0.9, 1.0)), ValueError),
        (lambda: optim.Adam([P], betas=(0.9,)), ValueError),
        (lambda: optim.Adam([P], betas=None), ValueError),
        (lambda: optim.Adam([P], betas=("a", 0.9)), TypeError),
        (lambda: optim.Adam([P], eps=-1e-8), ValueError),
        (lambda: optim.Adam([P], capturable=True), UnsupportedError),
        (lambda: optim.AdamW([P], differentiable=True), UnsupportedError),
        (lambda: optim.RMSprop([P], alpha=-0.1), ValueError),
        (lambda: optim.Adagrad([P], initial_accumulator_value=-1), ValueError),
        (lambda: optim.SGD([P]).param_groups[0].update(lr="fast"), TypeError),
        (lambda: optim.SGD([P], lr="fast"), TypeError),
    ],
)
def test_refusals(call, error):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error


def test_a_refused_number_leaves_the_group_alone():
    optimizer = optim.SGD([P], lr=0.5)
    group = optimizer.param_groups[0]
    with pytest.raises(TypeError):
        group["lr"] = None
    assert group["lr"] == 0.5
    assert group.hyper.data[2] == 0.5


def test_large_parameters_have_the_same_bits_on_any_team(threads):
    rng = np.random.default_rng(8)
    x, g = rng.normal(size=(2, 300_001)).astype(np.float32)
    found = []
    for count in (1, threads):
        _core.set_num_threads(count)
        p = nn.Parameter(x)
        optimizer = optim.AdamW([p])
        for _ in range(2):
            optimizer.step([g])
        found.append(p.data.copy())
    same_bits(found[0], found[1])
    # Every element by itself: the same as on an array of its own.
    q = nn.Parameter(x[1000:1010])
    optimizer = optim.AdamW([q])
    for _ in range(2):
        optimizer.step([g[1000:1010]])
    same_bits(q.data.copy(), found[0][1000:1010])


@pytest.mark.parametrize(
    ("name", "arguments", "error", "text"),
    [
        ("StepLR", (0,), ValueError, "StepLR: no steps; got step_size=0; expected step_size > 0"),
        ("StepLR", ("2",), TypeError, "step_size is no number"),
        ("StepLR", (2, -0.1), ValueError, "gamma >= 0"),
        ("MultiStepLR", ([1, 2.5],), TypeError, "not a number of steps; got milestones=2.5"),
        ("MultiStepLR", ([1], "a"), TypeError, "gamma is no number"),
        ("ExponentialLR", (float("nan"),), ValueError, "no factor; got gamma=nan"),
        ("CosineAnnealingLR", (0,), ValueError, "T_max > 0"),
    ],
)
def test_schedules_that_would_fail_later(name, arguments, error, text):
    """torch's fail after the first epoch, or not at all."""
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5)
    with pytest.raises(error, match=text):
        getattr(optim.lr_scheduler, name)(optimizer, *arguments)
    assert optimizer.param_groups[0]["lr"] == 0.5


class TestExtremes:
    """Second moments at the ends of their range: Adam divides as correctly rounded division."""

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize(
        ("beta2", "done"), [(0.999, 0), (0.999, 6), (0.25, 1), (1 - 2**-53, 0)]
    )
    def test_division(self, rng, dtype, beta2, done):
        info = np.finfo(dtype)
        ends = np.array([0, info.smallest_subnormal, info.tiny, info.max, np.inf, np.nan], dtype)
        spread = np.exp(rng.uniform(np.log(info.tiny), np.log(info.max), 5000)).astype(dtype)
        second = np.concatenate([ends, spread, rng.random(5000).astype(dtype)])
        first = rng.standard_normal(second.shape).astype(dtype)
        p = nn.Parameter(np.zeros_like(second))
        optimizer = optim.Adam([p], lr=1.0, betas=(0.5, beta2), eps=0.0)
        state = {"step": np.float32(done), "exp_avg": first, "exp_avg_sq": second}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: state}})
        optimizer.step([np.zeros_like(second)])
        after = optimizer.state_dict()["state"][0]
        with np.errstate(all="ignore"):
            root = np.sqrt(after["exp_avg_sq"])
            assert (root[6:] != 0).all()
            spread = root / dtype(np.sqrt(1 - beta2 ** (done + 1)))
            expected = dtype(-1 / (1 - 0.5 ** (done + 1))) * after["exp_avg"] / spread
        np.testing.assert_array_equal(p.data, expected)
