# SPDX-License-Identifier: Apache-2.0
"""Every way to change a module sends the calls that depend on it through Python, and no others."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

from comparators import same_bits
from lamella import nn
from nn.leaves import CAME, Other, Reaching, Root, Seen, Tree, X, came, check, fresh, settled


def replace_dict(leaf):
    leaf.__dict__ = {**leaf.__dict__, "scale": 9.0}


def put(name, value):
    return lambda leaf: setattr(leaf, name, value() if callable(value) else value)


# What changes a leaf's results, and how it is undone where it can be.
CHANGES = {
    "number": (put("scale", 2.0), put("scale", 1.0)),
    "type of a number": (put("scale", 3), put("scale", 1.0)),
    "new attribute": (put("flag", True), lambda leaf: delattr(leaf, "flag")),
    "mode": (lambda leaf: leaf.eval(), lambda leaf: leaf.train()),
    "child": (put("inner", nn.ReLU), put("inner", nn.Identity)),
    "no child": (
        lambda leaf: (put("inner", None)(leaf), put("scale", 2.0)(leaf)),
        lambda leaf: (put("inner", nn.Identity)(leaf), put("scale", 1.0)(leaf)),
    ),
    "added child": (lambda leaf: leaf.add_module("inner", nn.Tanh()), put("inner", nn.Identity)),
    "parameter": (
        put("weight", lambda: nn.Parameter(np.full(3, 5, np.float32))),
        put("weight", lambda: nn.Parameter(np.ones(3, np.float32))),
    ),
    "registered parameter": (
        lambda leaf: leaf.register_parameter("extra", nn.Parameter(np.ones(3, np.float32))),
        put("extra", None),
    ),
    "buffer": (
        put("offset", lambda: nn.Buffer(np.full(3, 7, np.float32))),
        put("offset", lambda: nn.Buffer(np.zeros(3, np.float32))),
    ),
    "registered buffer": (
        lambda leaf: leaf.register_buffer("offset", np.full(3, 3, np.float32)),
        lambda leaf: leaf.register_buffer("offset", np.zeros(3, np.float32)),
    ),
    "buffer of none": (put("shift", lambda: np.ones(3, np.float32)), put("shift", None)),
    "type of parameters": (lambda leaf: leaf.double(), lambda leaf: leaf.float()),
    "type of one": (
        lambda leaf: (leaf.weight.cast(np.dtype("f8")), leaf.offset.cast(np.dtype("f8"))),
        lambda leaf: leaf.float(),
    ),
    "class": (put("__class__", lambda: Other), put("__class__", lambda: Root)),
    "dict": (replace_dict, put("scale", 1.0)),
    "state": (
        lambda leaf: leaf.__setstate__({**leaf.__getstate__(), "scale": -1.0}),
        put("scale", 1.0),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reaches_everything_that_depends_on_it_and_nothing_else(change):
    do, undo = CHANGES[change]
    leaf = Root()
    sharing = [leaf, Tree(leaf), Tree(leaf), Reaching(leaf), Tree(nn.Sequential(Reaching(leaf)))]
    others = [Root(), Tree(Root()), Reaching(Root())]
    settled(*sharing, *others)
    before = fresh(leaf)
    for _ in range(2):
        do(leaf)
        assert fresh(leaf).tobytes() != before.tobytes()
        assert not any(map(came, others))
        assert all(map(came, sharing))
        check(sharing)
        undo(leaf)
        same_bits(fresh(leaf), before)
        check(sharing)
    assert not any(map(came, others))


@pytest.mark.parametrize(
    "change",
    [
        lambda leaf: setattr(leaf, "scale", float("1.0")),
        lambda leaf: setattr(leaf, "label", "".join("leaf")),
        lambda leaf: setattr(leaf, "inner", leaf.inner),
        lambda leaf: setattr(leaf, "weight", leaf.weight),
        lambda leaf: setattr(leaf, "offset", leaf.offset),
        lambda leaf: setattr(leaf, "offset", np.ones(3)),
        lambda leaf: setattr(leaf, "extra", None),
        lambda leaf: leaf.weight.requires_grad_(True),
        lambda leaf: leaf.float(),
        lambda leaf: leaf.train(leaf.training),
        lambda leaf: leaf.eval().train(),
        lambda leaf: leaf.load_state_dict(leaf.state_dict()),
        lambda leaf: (setattr(leaf, "scale", 5.0), leaf.eval(), setattr(leaf, "scale", 1.0),
                      leaf.train()),
    ],
)  # fmt: skip
def test_what_changes_nothing_costs_nothing(change):
    leaf = Root()
    nets = [leaf, Tree(leaf), Reaching(leaf)]
    settled(*nets)
    change(leaf)
    assert not any(map(came, nets))
    check(nets)


def test_requires_grad_is_structure_of_training_alone_in_value():
    leaf = Root()
    net = Tree(leaf)
    settled(net)
    leaf.requires_grad_(False)
    assert came(net)
    settled(net)
    leaf.weight.requires_grad = True
    assert came(net)
    check([net])


CONTAINERS = {
    "set": lambda net: net.__setitem__(1, nn.Tanh()),
    "delete": lambda net: net.__delitem__(0),
    "slice": lambda net: net.__delitem__(slice(0, 2)),
    "append": lambda net: net.append(nn.Tanh()),
    "insert": lambda net: net.insert(0, nn.Tanh()),
    "extend": lambda net: net.extend([nn.Tanh()]),
    "pop": lambda net: net.pop(),
    "attribute": lambda net: setattr(net, "1", nn.Tanh()),
    "add": lambda net: net.add_module("more", nn.Tanh()),
}


@pytest.mark.parametrize("change", CONTAINERS)
def test_containers(change):
    net = nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.ELU())
    above = Tree(net)
    beside = nn.Sequential(*net)
    check([net, above, beside])
    CONTAINERS[change](net)
    same_bits(np.array(beside(X)), fresh(beside))
    check([net, above])


def test_dicts_and_lists_of_modules():
    class Heads(Seen):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
            self.scales = nn.ParameterList([[1.0], [2.0]])

        def forward(self, x):
            for head in self.heads.values():
                x = head(x)
            for scale in self.scales:
                x = x * scale
            return x

    net = Heads()
    check([net])
    for change in (
        lambda: net.heads.__delitem__("a"),
        lambda: net.heads.update({"b": nn.Sigmoid(), "c": nn.ELU()}),
        lambda: net.heads.pop("b"),
        lambda: net.scales.append([3.0]),
        lambda: delattr(net.scales, "0"),
    ):
        change()
        assert came(net)
        check([net])


def test_a_child_that_moves_from_tree_to_tree():
    leaf, spare = Root(), Root()
    first, second = Tree(leaf), Tree(spare)
    settled(first, second)
    second.blocks[0][0] = leaf
    first.blocks[0][0], first.blocks[1]["a"] = spare, spare
    check([first, second])
    settled(first, second)
    leaf.scale = 2.0
    assert not came(first)
    assert came(second)
    spare.scale = 3.0
    assert came(first)
    assert came(second)  # which still has it on the other floor
    check([first, second])
    second.blocks[1]["a"] = leaf
    settled(first, second)
    spare.scale = 4.0
    assert not came(second)
    check([first, second])


def test_trees_that_die_leave_the_others():
    leaf = Root()
    kept, gone = Tree(leaf), []
    for _ in range(50):
        for net in (Tree(leaf), Reaching(leaf), nn.Sequential(leaf)[:1]):
            net(X)
            gone.append(weakref.ref(net))
    settled(kept)
    leaf.scale = 2.0
    del net
    gc.collect()
    assert not any(one() is not None for one in gone)
    leaf.scale = 3.0
    check([kept, leaf])
    other = Tree(Root())
    settled(other)
    other.blocks[0][0] = nn.Identity()  # the leaf dies, or lives on in the other floor
    other.blocks[1]["a"] = nn.Identity()
    gc.collect()
    check([other])


def test_a_module_that_is_reached_later_is_followed_in_every_mode():
    leaf, later = Root(), Root()
    net = Reaching(leaf)
    for _ in range(2):
        net.eval()(X)
        net.train()(X)
    net.others[0]["leaf"] = later
    for mode in (False, True, False, True):
        check([net.train(mode)])
        later.scale += 1.0
        check([net])


def test_circles_of_modules():
    leaf = Root()
    net = Reaching(leaf)
    leaf.owner = net  # a child of the module that is above it
    above = Tree(Reaching(leaf))
    settled(net, above)
    leaf.scale = 2.0
    assert came(net)
    assert came(above)
    check([net, above])
    gone = [weakref.ref(leaf), weakref.ref(net)]
    del leaf, net, above
    CAME.clear()
    gc.collect()
    assert not any(one() is not None for one in gone)


def test_copies_and_pickles_are_their_own():
    leaf = Root()
    net = Tree(leaf)
    settled(net)
    twins = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net)]
    settled(*twins)
    leaf.scale = 2.0
    assert not any(map(came, twins))
    twins[0].blocks[0][0].scale = 5.0
    assert not came(twins[1])
    check([net, *twins])
    # A shallow copy has the children and parameters of the original, in tables of its own.
    shallow = copy.copy(leaf)
    settled(shallow, leaf, net)
    shallow.weight = nn.Parameter(np.full(3, 2, np.float32))
    shallow.inner = nn.ReLU()
    assert not came(net)
    check([net, leaf, shallow])
    same = copy.copy(leaf)
    settled(same)
    leaf.weight.cast(np.dtype("f8"))
    assert came(same)
    check([net, same])
