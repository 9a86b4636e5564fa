# SPDX-License-Identifier: Apache-2.0
"""What people type out of habit from other libraries: every row of the table, and what it shows.

Each name is looked up on its object, where the error has to be an AttributeError (duck typing asks
with hasattr) whose text ends in code; the code is run.
"""

from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import functional as F
from lamella import nn, optim
from lamella.habits import HABITS, HabitError, is_device

X = np.random.default_rng(5).uniform(-1, 1, (4, 4)).astype(np.float32)
Y = np.array([0, 1, 2, 0])
ROWS = [(habit, kind) for habit in HABITS for kind in habit.kinds.split()]
CURES = sorted({habit.cure for habit in HABITS} - {""})
# Written within forward, where x is symbolic.
INSIDE = {habit.cure for habit in HABITS if habit.kinds == "tensor"}


def made() -> dict[str, object]:
    """What the cures are written with."""
    lm.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    return {
        "lm": lm,
        "nn": nn,
        "F": F,
        "np": np,
        "optim": optim,
        "net": net,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": optim.SGD(net.parameters(), lr=0.1),
        "x": X.copy(),
        "y": Y,
        "p": net[0].weight,
    }


def holders() -> dict[str, object]:
    """One object of each kind."""
    names = made()
    seen = []
    lm.compile(lambda x: (seen.append(x), x)[1], X)
    namespaces = {name: importlib.import_module(f"lamella.{name}") for name in
                  ("nn", "functional", "optim", "onnx")}  # fmt: skip
    return {
        "module": names["net"],
        "parameter": names["p"],
        "optimizer": names["optimizer"],
        "tensor": seen[0],
        "lamella": lm,
        **namespaces,
    }


@pytest.mark.parametrize(("habit", "kind"), ROWS, ids=lambda one: str(getattr(one, "names", one)))
def test_every_name_is_answered(habit, kind):
    holder = holders()[kind]
    for name in habit.names.split():
        asked = name.replace("*", "frobnicate")
        assert not hasattr(holder, asked), "the name exists now: take it out of the table"
        assert asked not in dir(holder)
        with pytest.raises(AttributeError) as error:
            getattr(holder, asked)
        text = str(error.value)
        assert isinstance(error.value, HabitError)
        assert f"has no attribute {asked!r}: {habit.rule}" in text
        assert "\n" not in text
        end = (f"; write `{habit.cure}`",) if habit.cure else ("leave it out", "not yet here")
        assert text.endswith(end)


@pytest.mark.parametrize("cure", CURES)
def test_every_cure_runs(cure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lm.onnx.save(made()["net"].eval(), "net.onnx", X)
    before = lm.get_num_threads()
    try:
        names = made()
        if cure in INSIDE:
            lm.compile(lambda x: (exec(cure, {**names, "x": x}), x)[1], X)
        else:
            exec(cure, names)
    finally:
        lm.set_num_threads(before)


@pytest.mark.parametrize("home", ["functional", "nn"])
def test_names_of_other_rooms_are_shown_the_way(home):
    names = importlib.import_module(f"lamella.{home}").__all__
    for name in names:
        if not hasattr(lm, name):
            with pytest.raises(AttributeError, match=rf"write `lm\.{home}\.{name}`"):
                getattr(lm, name)
            assert hasattr(eval(f"lm.{home}"), name)


def test_names_that_nobody_knows():
    for kind, holder in holders().items():
        with pytest.raises(AttributeError, match=r"has no attribute 'florp'$") as error:
            _ = holder.florp
        assert type(error.value) is AttributeError, kind
        assert getattr(holder, "__florp__", None) is None


def test_gradients_that_are_changed_between_backward_and_update():
    """The cure for hooks is the step itself."""
    names, other = made(), made()
    exec(next(h.cure for h in HABITS if "register_hook" in h.names), names)
    lm.TrainStep(other["net"], other["loss"], other["optimizer"])(X, Y)
    for name, array in other["net"].state_dict().items():
        same_bits(names["net"].state_dict()[name], array)


def test_protocols_ask_in_vain():
    """copy, pickle and NumPy look for names that are not there."""
    names = made()
    for holder in (names["net"], names["p"], names["optimizer"]):
        for one in (copy.copy(holder), copy.deepcopy(holder), pickle.loads(pickle.dumps(holder))):
            assert type(one) is type(holder)
    same_bits(np.asarray(names["p"]), names["p"].numpy())
    with pytest.raises(HabitError) as error:
        _ = names["p"].grad
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


class TestOptimizer:
    @pytest.mark.parametrize("given", [(), (None,), (lambda: 1.0,)])
    def test_a_step_without_gradients(self, given):
        optimizer = made()["optimizer"]
        before = [p.numpy().copy() for p in optimizer.parameters]
        with pytest.raises(TypeError, match=r"SGD\.step: .*lm\.TrainStep\(net, loss, optimizer\)"):
            optimizer.step(*given)
        for p, kept in zip(optimizer.parameters, before, strict=True):
            same_bits(p.numpy(), kept)


class TestParameter:
    def test_setting_a_gradient(self):
        p = made()["p"]
        for value in (None, np.zeros((4, 4))):
            with pytest.raises(HabitError, match="gradients"):
                p.grad = value
        with pytest.raises(AttributeError, match="has no attribute 'florp'"):
            p.florp = 1

    def test_changing_an_element(self):
        p = made()["p"]
        with pytest.raises(TypeError, match=r"p\.data = a"):
            p[0] = 1.0
        with pytest.raises(lm.UnsupportedError, match=r"p\.data = 0\.5 \* p\.numpy\(\)"):
            p -= 0.1 * p
        p.data = 0.5 * p.numpy()


class TestDevices:
    def test_the_cpu_is_where_everything_is(self):
        net = made()["net"]
        assert net.to("cpu") is net.to(device="cpu") is net.cpu() is net.to("cpu:0") is net
        assert net.to("cpu", np.float64)[0].weight.dtype == lm.ir.types.DType.float64
        assert net.to(device="cpu", dtype="float32")[0].weight.data.dtype == np.float32
        same_bits(lm.compile(lambda x: x.to("cpu").contiguous().clone() * 2, X)(X), X * 2)

    @pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "meta"])
    def test_others_are_refused(self, device):
        net = made()["net"]
        for call in (
            lambda: net.to(device),
            lambda: net.to(device=device),
            lambda: nn.Linear(2, 2, device=device),
            lambda: lm.compile(lambda x: x.to(device), X),
        ):
            with pytest.raises(lm.UnsupportedError, match="only CPUs; got device="):
                call()

    def test_devices_of_torch_are_known_by_their_name(self):
        device = type("device", (), {"__str__": lambda self: "cpu"})()
        assert is_device("to", device)
        assert not is_device("to", np.float32)
        assert not is_device("to", "float32")


def test_compile_asks_for_examples():
    with pytest.raises(TypeError, match=r"compile: no examples .* compile\(net, x\)"):
        lm.compile(made()["net"])
    assert lm.compile(lambda: nn.Parameter([1.0]) * 2)() == 2


def test_the_import_that_everybody_writes():
    code = "import lamella.nn.functional as F, lamella.functional; assert F is lamella.functional"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert nn.functional is F
