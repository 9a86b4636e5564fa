# SPDX-License-Identifier: Apache-2.0
"""explain: everything that a program has taken of Python, by the name that the code has for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim
from lamella.errors import ShapeError

X = np.ones((2, 3), np.float32)
SETTINGS = {"scale": 2.0, "names": ["a"] * 20, "many": list(range(3000))}


def doubled(x):
    return x * 2


class Net(nn.Module):
    kind = "plain"

    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(3, 3), nn.LayerNorm(3)
        self.power, self.scales, self.unread = 2, [0.5, {"deep": 3.0}], [1]
        self.mask, self.table, self.large = np.ones(3, np.float32), np.ones(3), np.ones(2000)
        self.shapes = []

    def forward(self, x):
        self.shapes.append(x.shape)
        y = doubled(self.norm(self.fc(x))) ** self.power * self.scales[0] * self.mask
        y = y + SETTINGS["scale"] + float(self.table[0] + self.large[0]) + len(self.kind)
        return y if len(SETTINGS["many"]) > 2 else y + len(SETTINGS["names"])


def test_every_value_has_its_name():
    found = lm.explain(Net(), X)
    known = {fact.name: (fact.value, fact.how) for fact in found.constants.facts}
    assigned, compared = "seen when the attribute is assigned", "compared at every call"
    assert known["self.power"] == ("2", assigned)
    assert known["self.norm.eps"] == ("1e-05", assigned)
    assert known["self.scales[0]"] == ("0.5", compared)
    assert known["self.scales[1]['deep']"] == ("3.0", compared)
    assert known["global doubled"] == ("function doubled", compared)
    assert known["Net.kind"] == ("'plain'", compared)
    assert known["global SETTINGS['scale']"][0] == "2.0"
    assert known["global SETTINGS['names'][...]"][0] == "12 more"
    assert known["global SETTINGS['many']"] == (
        "list of 3000 items",
        compared + ", parts by their size",
    )
    assert "changed by the traced code" in known["self.shapes[0][0]"][1]
    assert not any("unread" in name for name in known)
    arrays = {fact.name: (fact.value, fact.how) for fact in found.arrays.facts}
    assert arrays["self.mask"] == ("float32 (3,)", "read at every run")
    assert arrays["self.table"][1] == "read while tracing: its elements are compared at every call"
    assert arrays["self.large"][1] == "read while tracing: more than 4096 bytes, not compared"
    titles = ["constants of the program", "arrays", "sizes", "computed of parameters alone"]
    titles += ["stages"]
    assert [section.title for section in found.sections] == titles
    for fact in (*found.constants.facts, *found.arrays.facts):
        assert str(fact) in str(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.name = "other"


def test_names_are_told_whole():
    net = Net()
    net.kind = "/of/a/file/" + "deep/" * 40 + "net.onnx"
    facts = lm.explain(net, X).constants.facts
    assert {fact.name: fact.value for fact in facts}["self.kind"] == repr(net.kind)


def test_values_are_those_of_now():
    net = Net()
    lm.explain(net, X)
    net.scales[0] = 7.0
    assert "self.scales[0] = 7.0" in repr(lm.explain(net, X))


def test_functions_steps_and_sessions():
    beta = [0.5]

    def loss(output, target):
        return ((output - target) ** 2).mean() * beta[0]

    step = lm.TrainStep(nn.Linear(3, 3), loss, optim.SGD([nn.Parameter([1.0])], lr=0.1))
    step = lm.TrainStep(step.net, loss, optim.SGD(step.net.parameters(), lr=0.1))
    for found in (
        lm.explain(loss, X, X),
        lm.explain(lm.compile(loss, X, X)),
        lm.explain(step, X, X),
    ):
        assert "closure beta[0] = 0.5  (compared at every call)" in str(found)
    assert str(lm.explain(lm.functional.relu, X)) == "relu\nnothing but its parameters and buffers"
    assert lm.explain(nn.ReLU(), X).arrays.facts == ()


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="explain: nothing to call"):
        lm.explain(3, X)
    with pytest.raises(ShapeError):
        lm.explain(nn.Linear(2, 2), X)
