# SPDX-License-Identifier: Apache-2.0
"""Watch: what it holds to be the same, and what not; that it neither leaks nor lets memory move."""

from __future__ import annotations

import array
import gc
import math
import sys
import weakref
from collections import OrderedDict, deque, namedtuple

import numpy as np
import pytest

from lamella import _core
from recorder import Recorder, negation

Pair = namedtuple("Pair", "a b")


def watch_of(value):
    """A watch on one entry of a dict, and the dict."""
    scope = {"value": value}
    return _core.Watch((("entry", scope, "value"),), ()), scope


class Plain:
    pass


ONE = Plain()
SAME = [
    (1.5, float("1.5")),
    (10**30, int("1" + "0" * 30)),
    (math.nan, float("nan")),
    ("ab" * 20, "".join(["ab"] * 20)),
    (b"ab", bytes([97, 98])),
    (1 + 2j, complex(1, 2)),
    ((1, (2.0, "x")), (1, (float("2"), "x"))),
    (np.float32(0.1), np.float32(0.1)),
    (np.float64("nan"), np.float64("nan")),
    (np.int8(3), np.int8(3)),
    ([1, [2, {"a": 3}]], [1, [2, {"a": 3}]]),
    ({1, "a"}, {"a", 1}),
    (deque([1, 2]), deque([1, 2])),
    (bytearray(b"ab"), bytearray(b"ab")),
    (array.array("f", [1, 2]), array.array("f", [1, 2])),
    (Pair(1, [2]), Pair(1, [2])),
    (OrderedDict(a=1), OrderedDict(a=1)),
    ([ONE], [ONE]),
]
OTHER = [
    (1, True),
    (1, 1.0),
    (0.0, -0.0),
    (0, None),
    (2j, -2j),
    (np.float32(1), np.float64(1)),
    (np.float32(1), 1.0),
    (np.float64(0.0), np.float64(-0.0)),
    ([1], (1,)),
    ([1], [1, 2]),
    ([1, 2], [2, 1]),
    ([1], [True]),
    ({"a": 1}, {"b": 1}),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, OrderedDict(a=1)),
    ({1}, {2}),
    ([[1], [2]], [[1], [3]]),
    ([{1}], [{1, 2}]),
    (deque([1]), deque([2])),
    (bytearray(b"ab"), bytearray(b"ac")),
    (array.array("f", [1]), array.array("f", [2])),
    (Pair(1, [2]), Pair(1, [3])),
    (Plain(), Plain()),
    ([Plain()], [Plain()]),
    ((1, [2]), (1, [3])),
]


@pytest.mark.parametrize(("before", "after"), SAME)
def test_equal_beyond_doubt(before, after):
    watch, scope = watch_of(before)
    assert watch.holds()
    scope["value"] = after
    assert watch.holds()
    assert watch.changed() == watch.by_size() == []


@pytest.mark.parametrize(("before", "after"), OTHER)
def test_another_value(before, after):
    for one, two in ((before, after), (after, before)):
        watch, scope = watch_of(one)
        assert watch.holds()
        scope["value"] = two
        assert not watch.holds()
        assert watch.changed() == [0]
        scope["value"] = one
        assert watch.holds()


def test_nothing_there():
    watch, scope = watch_of(1)
    del scope["value"]
    assert not watch.holds()
    absent = _core.Watch((("entry", scope, "value"),), ())
    assert absent.holds()
    scope["value"] = None
    assert not absent.holds()


def test_what_is_large_or_deep_is_compared_by_size():
    deep = [1]
    for _ in range(12):
        deep = [deep]
    circle: list = []
    circle.append(circle)
    for large in (list(range(2000)), dict.fromkeys(range(2000)), set(range(2000)), {Plain()},
                  [list(range(600)), list(range(600))], bytearray(5000)):  # fmt: skip
        watch, _ = watch_of(large)
        assert watch.holds()
        assert watch.by_size() == [0]
        inner = large[-1] if isinstance(large, list) and isinstance(large[0], list) else large
        inner.add(Plain()) if isinstance(inner, set) else (
            inner.update(new=1) if isinstance(inner, dict) else inner.append(1)
        )
        assert not watch.holds()
    for value in (deep, circle):
        watch, scope = watch_of(value)
        assert watch.holds()
        assert watch.by_size() == [0]
        scope["value"] = [[]]
        assert not watch.holds()


class Loud(list):
    """A list that must not be asked in Python."""

    def __len__(self):
        raise AssertionError

    __iter__ = __getitem__ = __eq__ = __hash__ = __len__


def test_no_python_code_runs():
    for loud in (Loud([1, 2]), Loud(range(2000))):
        watch, _ = watch_of(loud)
        assert watch.holds()
        loud.append(3)
        assert not watch.holds()


class Slotted:
    __slots__ = ("a",)


def test_places():
    cell = (lambda value: lambda: value)([1])
    slotted, held = Slotted(), [1]
    slotted.a = 1

    class Base:
        a = 1

    class Derived(Base):
        pass

    places = (
        ("cell", cell.__closure__[0], None),
        ("class", Derived, "a"),
        ("slot", slotted, "a"),
        ("object", held, None),
    )
    changes = (
        lambda: cell().append(2),
        lambda: setattr(Base, "a", 2),
        lambda: setattr(slotted, "a", 2),
        lambda: held.append(2),
    )
    watch = _core.Watch(places, ())
    assert watch.holds()
    for number, change in enumerate(changes):
        change()
        assert not watch.holds()
        assert watch.changed() == list(range(number + 1))
    del slotted.a
    assert _core.Watch(places, ()).holds()


def test_arrays():
    ready, strided = np.ones(4, np.float32), np.ones((4, 2))[:, 0]
    copy, compared = np.zeros(4), np.zeros(4)
    watch = _core.Watch((), ((ready, None, True), (strided, copy, False)))
    assert watch.holds()
    assert (copy == 1).all()
    strided[1] = 5
    assert watch.holds()
    assert copy.tolist() == [1, 5, 1, 1]
    ready[2] = -1
    assert watch.changed() == [0]
    ready[2] = 1
    by_value = _core.Watch((), ((strided, compared, True),))
    assert by_value.holds()
    strided[0] = 7
    assert not by_value.holds()
    for change in ("shape", "dtype"):
        array = np.ones(4, np.float32)
        watch = _core.Watch((), ((array, None, False),))
        setattr(array, change, {"shape": (2, 2), "dtype": np.dtype(np.int32)}[change])
        assert not watch.holds()
    array = np.ones(4, np.float32)
    watch = _core.Watch((), ((array, None, False),))
    for refcheck in (True, False):
        with pytest.raises(ValueError, match="resize"):
            array.resize(8, refcheck=refcheck)
    del watch
    array.resize(8, refcheck=False)


@pytest.mark.parametrize(
    ("places", "arrays"),
    [
        ((("nowhere", {}, "a"),), ()),
        ((("entry", [], "a"),), ()),
        ((("entry", {}),), ()),
        ((("class", {}, "a"),), ()),
        ((("class", int, 3),), ()),
        ((), ((3, None, False),)),
        ((), ((np.ones(2), [1], False),)),
        ((), ((np.ones((2, 2)).T[1], None, True),)),
        ((), ((np.ones(2), np.ones(3), False),)),
        ([], ()),
    ],
)
def test_what_is_no_place_is_refused(places, arrays):
    with pytest.raises((ValueError, TypeError, IndexError)):
        _core.Watch(places, arrays)


def test_nothing_leaks():
    for value in (["text" * 9, {"k": ("a" * 30,)}], (Plain(),), {"s" * 30}, Plain()):
        count = sys.getrefcount(value)
        watch, scope = watch_of(value)
        watch.holds()
        del watch, scope
        assert sys.getrefcount(value) == count
    one = Plain()
    one.items = [one]
    one.watch = _core.Watch((("entry", one.__dict__, "items"),), ())
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_calls_go_on_only_while_it_holds():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    f, scope = Recorder(), {"value": 1}
    first = _core.Watch((("entry", scope, "value"),), ())
    assert f._remember((x,), (), negation(), None, watch=first)
    np.testing.assert_array_equal(f(x), -x)
    scope["value"] = 2
    assert f(x) == "dispatched"
    second = _core.Watch((("entry", scope, "value"),), ())
    assert f._remember((x,), (), negation(), "tuple", watch=second)
    assert type(f(x)) is tuple
    scope["value"] = 1
    assert type(f(x)) is np.ndarray
    scope["value"] = 2
    assert type(f(x)) is tuple
    with pytest.raises(TypeError, match="watch"):
        f._remember((x,), (), negation(), None, watch=scope)
