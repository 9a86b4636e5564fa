# SPDX-License-Identifier: Apache-2.0
"""Every way to change a module sends the calls that depend on it through Python, and no others."""

from __future__ import annotations

import copy
import functools
import gc
import multiprocessing
import pickle
import threading
import weakref

import numpy as np
import pytest

from comparators import same_bits
from lamella import nn

X = np.float32([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
CAME: list[nn.Module] = []


class Seen(nn.Module):
    """Notes the calls that were not answered natively."""

    def _dispatch(self, *inputs, **named):
        CAME.append(self)
        return super()._dispatch(*inputs, **named)


class Leaf(nn.Module):
    """y = scale * weight * x + offset, by attributes of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.label = 1.0, "leaf"
        self.weight = nn.Parameter(np.ones(3, np.float32))
        self.register_buffer("offset", np.zeros(3, np.float32))
        self.register_parameter("extra", None)
        self.inner = nn.Identity()

    def forward(self, x):
        y = (x if self.inner is None else self.inner(x)) * self.weight * self.scale + self.offset
        y = y if self.extra is None else y + self.extra
        return y + 100 if hasattr(self, "flag") else y + 10 * self.training


class Tree(Seen):
    """Two floors, one leaf of which is met twice."""

    def __init__(self, leaf: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(leaf), nn.ModuleDict({"a": leaf})])

    def forward(self, x):
        return self.blocks[1]["a"](self.blocks[0](x))


class Reaching(Seen):
    """Reads a module that is none of its children."""

    def __init__(self, leaf: nn.Module) -> None:
        super().__init__()
        self.others = [{"leaf": leaf}]

    def forward(self, x):
        return self.others[0]["leaf"](x)


class Root(Leaf, Seen):
    pass


class Other(Root):
    def forward(self, x):
        return super().forward(x) - 1000


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


def fresh(net, x=X):
    """What forward means now: of a copy that has never been called."""
    return np.array(copy.deepcopy(net)(x))


def check(nets):
    """Every net gives what a fresh copy of it gives, again and again."""
    for net in nets:
        want = fresh(net)
        for _ in range(3):
            same_bits(np.array(net(X)), want)


def came(net, x=X) -> bool:
    """Whether a call goes through Python."""
    CAME.clear()
    net(x)
    return any(one is net for one in CAME)


def settled(*nets) -> None:
    for net in nets:
        net(X)
        net(X)
        assert not came(net)


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


# Threads


def in_thread(work):
    failed = []

    def run():
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not failed, failed


def gate(work):
    """Something that forward steps on, but that looking at forward's code does not lead into."""
    while True:
        work()
        yield


@pytest.mark.parametrize("reached", [False, True], ids=["child", "reached"])
def test_a_change_from_another_thread_during_a_trace_is_not_lost(reached):
    leaf, left = Root(), [3]

    def meanwhile():
        if left[0]:
            left[0] -= 1
            in_thread(lambda: setattr(leaf, "scale", leaf.scale + 1.0))

    class Net(Seen):
        def __init__(self):
            super().__init__()
            self.kept = (leaf,) if reached else leaf
            self.gate = gate(meanwhile)

        def forward(self, x):
            factor = (self.kept[0] if reached else self.kept).scale
            next(self.gate)
            return x * factor

    net = Net()
    net(X)
    for _ in range(3):
        same_bits(np.array(net(X)), X * np.float32(leaf.scale))
    assert leaf.scale == 4.0
    left[0] = 10**6  # never still: not kept, and right for the moment of the call
    x = X[:1]
    before = leaf.scale
    first = float(np.array(net(x))[0, 0])
    assert before <= first <= leaf.scale
    second = float(np.array(net(x))[0, 0])
    assert first < second <= leaf.scale
    left[0] = 0
    same_bits(np.array(net(x)), x * np.float32(leaf.scale))


def test_calls_from_other_threads_during_a_trace():
    """A child is answered meanwhile by its own programs, and the trace takes none of them."""
    leaf, results = Root(), []
    leaf.eval()

    class Net(Seen):
        def __init__(self):
            super().__init__()
            self.leaf = leaf
            self.gate = gate(lambda: in_thread(lambda: results.append(np.array(leaf(X)))))

        def forward(self, x):
            next(self.gate)
            return self.leaf(X) + x  # on an array, with the leaf's program known

    settled(leaf)
    net, zero = Net(), np.zeros_like(X)
    same_bits(np.array(net(zero)), X)
    same_bits(results[0], X)
    leaf.weight.data = np.full(3, 2, np.float32)
    same_bits(np.array(net(zero)), 2 * X)  # a constant of the trace would still be X


def test_threads_that_toggle_and_call():
    leaf, done, wrong = Root(), threading.Event(), []
    leaf.register_buffer("offset", np.zeros(3, np.float32))
    nets = [leaf, Tree(leaf), Reaching(leaf)]

    def call(net, times):
        while not done.is_set():
            got = np.array(net(X)) - (X if times == 1 else 0)
            if times == 1 and not ((got == 0).all() or (got == 10).all()):
                wrong.append(got)

    def toggle():
        while not done.is_set():
            leaf.eval()
            leaf.train()

    threads = [threading.Thread(target=call, args=(net, 2 if net is nets[1] else 1))
               for net in nets] + [threading.Thread(target=toggle)]  # fmt: skip
    for thread in threads:
        thread.start()
    done.wait(1.0)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    leaf.eval()
    check(nets)


def child_of(net, leaf, sender):
    leaf.scale = 7.0
    sender.send(np.array(net(X)).tobytes())
    sender.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_follows_on():
    leaf = Root()
    net = Tree(leaf)
    settled(net)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=functools.partial(child_of, net, leaf, sender))
    child.start()
    sender.close()
    try:
        assert receiver.poll(30)
        got = receiver.recv()
    finally:
        child.kill()
        child.join()
    assert not came(net)
    leaf.scale = 7.0
    assert np.array(net(X)).tobytes() == got
