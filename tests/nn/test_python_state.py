# SPDX-License-Identifier: Apache-2.0
"""What forward reads of Python is read again when it has changed."""

from __future__ import annotations

import collections
import copy
import functools
import gc
import pickle
import random
import threading
import types
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn
from lamella.errors import UnsupportedError
from lamella.runtime.tensor import Operand

X = np.float32([[1.0, -2.0, 3.0]])
SETTINGS = {"scale": 2.0, "nested": {"scales": [2.0, 5.0]}}
SCALE = 2.0
TABLE = np.full(3, 2.0, np.float32)
RATES = collections.deque([2.0])
GENERATOR = np.random.default_rng(3)
config = types.ModuleType("config")
config.SCALE = 2.0


@dataclass
class Settings:
    scale: float = 2.0
    scales: list = field(default_factory=lambda: [2.0])


@dataclass(slots=True)
class Slotted:
    scale: float = 2.0


class Classy:
    scale = 2.0

    def __init__(self) -> None:
        self._twice = 1.0

    @property
    def twice(self):
        return self._twice * 2

    def __call__(self):
        return self._twice + 1


def scale_of_module():
    return config.SCALE


def aliased():
    settings = SETTINGS["nested"]
    return sum(settings["scales"][:1])


def with_default(scales=[2.0]):  # noqa: B006
    return scales[0]


class Net(nn.Module):
    """y = x * read(self)"""

    shared = 2.0

    def __init__(self, read) -> None:
        super().__init__()
        self.read = read
        self.number, self.items, self.table = 2.0, [2.0], {"k": {"deep": [2.0]}}
        self.choice, self.word, self.pair = {2}, bytearray(b"\x02"), ([2.0],)
        self.scalar, self.settings, self.slotted = [np.float32(2)], Settings(), Slotted()
        self.classy, self.space = Classy(), types.SimpleNamespace(scale=2.0)
        self.partial = functools.partial(lambda scale: scale[0], scale=[2.0])
        self.runs = 0

    def forward(self, x):
        Net.traced += 1
        return x * self.read(self)

    traced = 0


def put(holder, key, value):
    return lambda net: operator_of(holder, net).__setitem__(key, value)


def operator_of(holder, net):
    return holder(net) if callable(holder) else holder


def put_attribute(holder, name, value):
    return lambda net: setattr(operator_of(holder, net), name, value)


def slide_set(net):
    net.choice.clear()
    net.choice.add(3)


PLACES = {
    "number": (lambda n: n.number, put_attribute(lambda n: n, "number", 3.0)),
    "list": (lambda n: n.items[0], put(lambda n: n.items, 0, 3.0)),
    "longer list": (lambda n: sum(n.items), lambda n: n.items.append(1.0)),
    "nested": (lambda n: n.table["k"]["deep"][0], put(lambda n: n.table["k"]["deep"], 0, 3.0)),
    "set": (lambda n: float(max(n.choice)), slide_set),
    "bytearray": (lambda n: float(n.word[0]), put(lambda n: n.word, 0, 3)),
    "list in a tuple": (lambda n: n.pair[0][0], put(lambda n: n.pair[0], 0, 3.0)),
    "NumPy scalar": (lambda n: n.scalar[0], put(lambda n: n.scalar, 0, np.float32(3))),
    "dataclass": (lambda n: n.settings.scale, put_attribute(lambda n: n.settings, "scale", 3.0)),
    "its list": (lambda n: n.settings.scales[0], put(lambda n: n.settings.scales, 0, 3.0)),
    "slot": (lambda n: n.slotted.scale, put_attribute(lambda n: n.slotted, "scale", 3.0)),
    "namespace": (lambda n: n.space.scale, put_attribute(lambda n: n.space, "scale", 3.0)),
    "class attribute": (lambda n: n.shared, put_attribute(lambda n: Net, "shared", 3.0)),
    "class of an object": (lambda n: n.classy.scale, put_attribute(lambda n: Classy, "scale", 3.0)),
    "property": (lambda n: n.classy.twice, put_attribute(lambda n: n.classy, "_twice", 1.5)),
    "call of an object": (lambda n: n.classy(), put_attribute(lambda n: n.classy, "_twice", 2.0)),
    "partial": (lambda n: n.partial(), put(lambda n: n.partial.keywords["scale"], 0, 3.0)),
    "getattr": (lambda n: getattr(n, "items")[0], put(lambda n: n.items, 0, 3.0)),  # noqa: B009
    "put together": (
        lambda n: getattr(n, "it" + "em" + "s"[: len(n.items)])[0], put(lambda n: n.items, 0, 3.0)),
    "global": (lambda n: SCALE, lambda n: globals().update(SCALE=3.0)),
    "dict of globals": (lambda n: SETTINGS["scale"], put(SETTINGS, "scale", 3.0)),
    "alias": (lambda n: aliased(), put(SETTINGS["nested"]["scales"], 0, 3.0)),
    "deque": (lambda n: RATES[0], put(RATES, 0, 3.0)),
    "another module": (lambda n: scale_of_module(), put_attribute(config, "SCALE", 3.0)),
    "default": (lambda n: with_default(), put(with_default.__defaults__[0], 0, 3.0)),
    "array": (lambda n: TABLE, put(TABLE, slice(None), 3.0)),
    "element": (lambda n: float(TABLE[0]), put(TABLE, slice(None), 3.0)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _restored():
    before = copy.deepcopy((SETTINGS, TABLE))
    yield
    SETTINGS.clear()
    SETTINGS.update(before[0])
    TABLE[:] = 2.0
    RATES[0], config.SCALE, with_default.__defaults__[0][0] = 2.0, 2.0, 2.0
    Net.shared = Classy.scale = 2.0
    globals()["SCALE"] = 2.0
    PLACES["alias"] = (PLACES["alias"][0], put(SETTINGS["nested"]["scales"], 0, 3.0))


@pytest.mark.parametrize("place", PLACES)
def test_what_changes_in_place_is_seen(place):
    read, change = PLACES[place]
    net = Net(read)
    for _ in range(3):
        same_bits(net(X).copy(), 2 * X)
    traced = Net.traced
    change(net)
    for _ in range(3):
        same_bits(net(X).copy(), 3 * X)
    assert Net.traced - traced <= 1


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_compiled_while_nothing_changes(place):
    net = Net(PLACES[place][0])
    net(X)
    traced = Net.traced
    for _ in range(4):
        net(X)
        net._touch()  # sends the call through Python
        net(X)
    assert Net.traced == traced


def closure(values):
    return lambda net: values["scale"]


def test_closures():
    values = {"scale": 2.0}
    net = Net(closure(values))
    same_bits(net(X).copy(), 2 * X)
    values["scale"] = 3.0
    same_bits(net(X).copy(), 3 * X)

    scale = 2.0

    def read(_net):
        return scale

    net = Net(read)
    same_bits(net(X).copy(), 2 * X)
    scale = 3.0
    same_bits(net(X).copy(), 3 * X)


def test_equal_values_compile_nothing():
    net = Net(lambda n: n.items[0] + SETTINGS["scale"])
    net(X)
    traced = Net.traced
    for number in ("2.0", "2.0"):
        net.items[0] = SETTINGS["scale"] = float(number)
        same_bits(net(X).copy(), 4 * X)
    net.items = [float("2.0")]
    same_bits(net(X).copy(), 4 * X)
    assert Net.traced == traced
    net.items[0] = 1.0  # of the new list
    same_bits(net(X).copy(), 3 * X)
    net.items[0] = 1  # an integer is another constant
    net(X)
    assert Net.traced == traced + 2


def test_a_value_that_goes_back_finds_its_program():
    net = Net(lambda n: n.items[0])
    for _ in range(4):
        for number in (2.0, 3.0, 4.0):
            net.items[0] = number
            same_bits(net(X).copy(), number * X)
    traced = Net.traced
    for number in (4.0, 2.0, 3.0):
        net.items[0] = number
        same_bits(net(X).copy(), number * X)
    assert Net.traced == traced


def test_what_forward_writes_itself_is_not_compared():
    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.shapes, self.count = [], np.zeros(1)

        def forward(self, x):
            self.shapes.append(x.shape)
            self.count += 1
            return x * float(len(self.shapes) > 0)

    net = Noting()
    for rows in (1, 2, 1, 2, 1):
        net(np.ones((rows, 3), np.float32))
    assert net.shapes == [(1, 3), (2, 3)]
    assert net.count == [2]


def test_what_forward_does_not_read_is_not_compared():
    net = Net(lambda n: n.number)
    net.history, net.unread = [], np.zeros(3)
    net(X)
    traced = Net.traced
    for step in range(5):
        net.history.append(step)
        net.unread += 1
        net(X)
    assert Net.traced == traced


def test_modules_in_plain_lists_are_followed():
    net = Net(lambda n: n.layers[0].scale[0])
    inner = Net(lambda n: 1.0)
    inner.scale = [2.0]
    net.layers = [inner]
    same_bits(net(X).copy(), 2 * X)
    inner.scale[0] = 3.0
    same_bits(net(X).copy(), 3 * X)
    inner.scale = [4.0]
    same_bits(net(X).copy(), 4 * X)


def test_modules_in_closures_are_followed():
    layer = nn.Linear(3, 3)
    net = Net(lambda n: layer(X))
    first = net(X).copy()
    layer.bias = None
    same_bits(net(X).copy(), X * layer(X))
    assert (first != net(X)).any()


def test_pickles_and_copies_have_arrays_of_their_own():
    net = Held()
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        same_bits(twin(X).copy(), 2 * X)
        twin.array[:] = twin.items[0] = 3
        same_bits(twin(X).copy(), 6 * X)
        same_bits(net(X).copy(), 2 * X)
    net.array[:] = 5
    same_bits(net(X).copy(), 5 * X)


class Held(nn.Module):
    def __init__(self):
        super().__init__()
        self.array, self.items = np.full(3, 2, np.float32), [1.0]

    def forward(self, x):
        return x * self.array * (self.items[0] - 1.0 if self.items[0] > 1 else 1.0)


def test_an_exported_model_holds_the_array():
    net = Held()
    loaded = lm.onnx.load(lm.onnx.encode(net, X))
    same_bits(loaded(X).copy(), 2 * X)
    assert lm.summary(net, (1, 3)).total_params == 0


def test_what_is_watched_is_freed():
    net = Net(lambda n: n.items[0])
    net.items.append(net)  # a circle through the list
    net.array = np.ones(3, np.float32)
    net(X)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_threads_see_whole_values():
    net = Net(lambda n: n.items[0] * n.array)
    net.array = np.ones((2, 3), np.float32)[:, 1]
    net.array = np.ones((3, 2), np.float32)[:, 1]
    wrong = []

    def call():
        for _ in range(300):
            y = net(X) / X
            if not (y == y[0, 0]).all() or y[0, 0] not in (1, 2):
                wrong.append(y)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(300):
        net.items[0] = 1.0 + step % 2
    for thread in threads:
        thread.join()
    assert wrong == []


# Functions, warnings, random numbers


def test_functions_and_sessions():
    values, array = [2.0], np.full(3, 1, np.float32)

    @lm.function
    def scaled(x: Operand):
        return x * values[0] * array

    session = lm.compile(lambda x: x * values[0] * array, X)
    for call in (scaled, session):
        values[0], array[:] = 2.0, 1
        for _ in range(2):
            same_bits(call(X).copy(), 2 * X)
        values[0] = 3.0
        same_bits(call(X).copy(), 3 * X)
        array[:] = 2
        same_bits(call(X).copy(), 6 * X)
    net = Net(lambda n: n.number)
    session = lm.compile(net, X, debug=True)
    same_bits(session(X), 2 * X)
    net.number = 3.0
    same_bits(session(X), 3 * X)


def test_a_schedule_is_told_once():
    def anneal(net, change):
        for step in range(40):
            change(net, float(step))
            net(X)

    def put_item(net, value):
        net.items[0] = value

    with pytest.warns(RuntimeWarning, match=r"self\.items changed.*nn\.Buffer") as told:
        anneal(Net(lambda n: n.items[0]), put_item)
    assert len(told) == 1
    with pytest.warns(RuntimeWarning, match=r"attribute number changed"):
        anneal(Net(lambda n: n.number), lambda net, value: setattr(net, "number", value))


def draws():
    own = random.Random(5)
    state = np.random.RandomState(4)
    return {
        "numpy.random": lambda n: np.random.standard_normal(3).astype(np.float32),  # noqa: NPY002
        "random": lambda n: random.random(),
        "numpy.random._generator.Generator": lambda n: float(GENERATOR.normal()),
        "numpy.random.mtrand.RandomState": lambda n: float(state.normal()),
        "random.Random": lambda n: own.random(),
        "attribute": lambda n: float(n.generator.normal()),
    }


@pytest.mark.parametrize("kind", list(draws()))
def test_random_numbers_are_refused(kind):
    net = Net(draws()[kind])
    net.generator = np.random.default_rng(2)
    for _ in range(2):
        with pytest.raises(UnsupportedError, match=r"random numbers.*F\.randn_like"):
            net(X)
    with pytest.raises(UnsupportedError, match="random numbers"):
        lm.onnx.encode(net, X)


GO, DONE = threading.Event(), threading.Event()


def draw_when_told():
    GO.wait(60)
    np.random.standard_normal(1)  # noqa: NPY002
    random.random()
    DONE.set()


def test_draws_of_other_threads_are_nobodys_business():
    class Waiting(nn.Module):
        def forward(self, x):
            GO.set()
            DONE.wait(60)
            return x * 2

    thread = threading.Thread(target=draw_when_told)
    thread.start()
    same_bits(Waiting()(X).copy(), 2 * X)
    thread.join()
    assert DONE.is_set()
