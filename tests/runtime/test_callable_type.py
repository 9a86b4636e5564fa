# SPDX-License-Identifier: Apache-2.0
"""Callable as a type: subclasses, __call__, attributes, pickles and copies."""

from __future__ import annotations

import copy
import pickle
import weakref

import numpy as np
import pytest

from lamella import _core
from recorder import Recorder, negation

HAVE_VECTORCALL = 1 << 11


@pytest.fixture
def x():
    return np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def negate(x):
    f = Recorder()
    assert f._remember((x,), (), negation(), None)
    return f


def test_plain_subclass_is_called_directly():
    assert Recorder.__flags__ & HAVE_VECTORCALL
    assert type("Deeper", (Recorder,), {}).__flags__ & HAVE_VECTORCALL


def test_own_call_wins(x):
    class Own(Recorder):
        def __call__(self, *args, **kwargs):
            return ("own", super().__call__(*args, **kwargs))

    class Deeper(Own):
        pass

    for cls in (Own, Deeper):
        assert not cls.__flags__ & HAVE_VECTORCALL
        f = cls()
        f._remember((x,), (), negation(), None)
        name, y = f(x)
        assert name == "own"
        np.testing.assert_array_equal(y, -x)
        assert f(1, b=2) == ("own", "dispatched")
        assert f.missed == [((1,), {"b": 2})]


def test_call_assigned_later_wins(x):
    class Late(Recorder):
        pass

    f = Late()
    f._remember((x,), (), negation(), None)
    assert isinstance(f(x), np.ndarray)
    Late.__call__ = lambda self, *args, **kwargs: (args, kwargs)
    assert f(1, 2, a=3) == ((1, 2), {"a": 3})
    assert f() == ((), {})
    del Late.__call__
    np.testing.assert_array_equal(f(x), -x)


def test_call_through_the_type(negate, x):
    np.testing.assert_array_equal(type(negate).__call__(negate, x), -x)
    np.testing.assert_array_equal(_core.Callable.__call__(negate, x), -x)


def test_needs_dispatch():
    class Empty(_core.Callable):
        pass

    for f in (_core.Callable(), Empty()):
        with pytest.raises(TypeError, match="defines no _dispatch"):
            f(1)


def test_class_keywords_are_refused():
    with pytest.raises(TypeError, match="takes no keyword arguments"):
        type("Keyed", (Recorder,), {}, colour="red")


def test_attributes_and_weak_references(negate):
    negate.colour = "red"
    assert negate.__dict__["colour"] == "red"
    assert weakref.ref(negate)() is negate


def test_dispatch_on_the_instance(negate):
    negate._dispatch = lambda value: value + 1
    assert negate(1) == 2


def test_errors_of_dispatch_pass_through():
    class Failing(_core.Callable):
        def _dispatch(self, value):
            raise LookupError(value)

    with pytest.raises(LookupError, match="here"):
        Failing()("here")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_takes_attributes_only(negate, x, protocol):
    negate.colour = "red"
    other = pickle.loads(pickle.dumps(negate, protocol))
    assert type(other) is Recorder
    assert other.__dict__ == {"missed": [], "colour": "red"}
    assert other(x) == "dispatched"


def test_copy(negate, x):
    for other in (copy.copy(negate), copy.deepcopy(negate)):
        assert other.__dict__ == negate.__dict__
        assert other(x) == "dispatched"
        other.missed.clear()
